//! A store in memory that keeps to the contract of the port, tells when the engine breaks its own, and fails on a seed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use trapjaw_engine::event::Event;
use trapjaw_engine::id::{EventId, TaskId};
use trapjaw_engine::limits::STATE_KEYS_MAX;
use trapjaw_engine::ports::{
    Activity, AttemptView, EventView, Receipt, RunView, Store, StoreError, TaskView, Work, WorkPage,
};
use trapjaw_engine::record::{Command, NewTask, Progress, Reply, RunState};
use trapjaw_engine::time::Time;

use super::Seed;

/// What is on stable storage, whoever writes to it.
pub(crate) struct SimStore {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    /// The engine that owns the store; an earlier one is dead, and none of its calls ever return.
    epoch: AtomicU64,
}

/// What goes wrong with the store.
#[derive(Clone)]
pub(crate) struct Faults {
    pub(crate) seed: Seed,
    /// A commit takes up to this long before it is durable, and as long again before it says so.
    pub(crate) delay_ms_max: u64,
    /// So many commits succeed; the next one does not.
    pub(crate) commits_left: u64,
    /// So many pages of work cannot be read.
    pub(crate) reads_failing: u64,
}

/// One engine's way to the store.
pub(crate) struct Handle {
    store: Arc<SimStore>,
    epoch: u64,
}

/// A value of a plugin's state, and when it ends.
pub(crate) type Value = (Vec<u8>, Option<Time>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) events: Vec<EventView>,
    pub(crate) dedup: HashMap<u128, EventId>,
    pub(crate) runs: BTreeMap<i64, RunRow>,
    pub(crate) tasks: BTreeMap<i64, TaskRow>,
    /// The open tasks, each with its run.
    pub(crate) open: BTreeMap<i64, i64>,
    pub(crate) sends: HashMap<TaskId, Vec<(Box<str>, Receipt)>>,
    /// By plugin, trigger and key: the value, and when it ends.
    pub(crate) values: HashMap<(String, String, String), Value>,
    /// When the runs of a trigger and subject began that count.
    pub(crate) counted: HashMap<(String, String), Vec<Time>>,
    pub(crate) task_next: i64,
    pub(crate) violations: Vec<String>,
}

pub(crate) struct RunRow {
    pub(crate) view: RunView,
    pub(crate) tasks: Vec<i64>,
    pub(crate) reserved: Vec<((String, String), Time)>,
}

pub(crate) struct TaskRow {
    pub(crate) run: i64,
    pub(crate) new: NewTask,
    pub(crate) progress: Progress,
    pub(crate) attempts: Vec<AttemptView>,
    pub(crate) dead: Option<(Time, Box<str>)>,
}

impl SimStore {
    pub(crate) fn new(seed: Seed) -> Arc<Self> {
        let faults = Faults { seed, delay_ms_max: 0, commits_left: u64::MAX, reads_failing: 0 };
        let state = State { task_next: 1, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), faults: Mutex::new(faults), epoch: AtomicU64::new(0) })
    }

    /// A way to the store for a new engine; those of earlier ones are dead from now on.
    pub(crate) fn take_over(self: &Arc<Self>) -> Arc<Handle> {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        Arc::new(Handle { store: Arc::clone(self), epoch })
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// All runs, oldest first, as a person sees them.
    pub(crate) fn all_runs(&self) -> Vec<RunView> {
        let state = self.lock();
        state.runs.values().map(|run| state.view(run, Want::All)).collect()
    }

    /// All events, oldest first.
    pub(crate) fn all_events(&self) -> Vec<EventView> {
        self.lock().events.clone()
    }

    /// How many tasks are open.
    pub(crate) fn n_open(&self) -> usize {
        self.lock().open.len()
    }

    /// What the engine did that a store has to be able to rely on it not doing.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What of a run is loaded beside its tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// For dispatch: the event, the first attempt of each task, and the last of one that succeeded.
    Work,
    /// For people.
    All,
}

impl State {
    pub(crate) fn view(&self, run: &RunRow, want: Want) -> RunView {
        let mut view = run.view.clone();
        view.event = (want == Want::Work).then(|| self.event(view.event_id));
        view.tasks = run.tasks.iter().map(|seq| self.task_view(*seq, want)).collect();
        view
    }

    fn event(&self, id: EventId) -> Arc<Event> {
        Arc::clone(&self.events[usize::try_from(id.seq() - 1).unwrap()].event)
    }

    fn task_view(&self, seq: i64, want: Want) -> TaskView {
        let (id, row) = (TaskId::of(seq), &self.tasks[&seq]);
        let last = row.attempts.last().map_or(0, |attempt| attempt.number);
        let is_wanted = |number| want == Want::All || number == 1 || number == last;
        TaskView {
            id,
            action: Arc::clone(&row.new.action),
            ordinal: row.new.ordinal,
            progress: row.progress,
            attempt_last: last,
            attempts: row.attempts.iter().filter(|attempt| is_wanted(attempt.number)).cloned().collect(),
            sends: Vec::new(),
        }
    }

    /// The first so many runs of these tasks.
    fn runs_of(&self, tasks: impl Iterator<Item = (i64, i64)>, runs_max: u32) -> Vec<RunView> {
        let mut runs: Vec<i64> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (_, run) in tasks {
            if runs.len() >= runs_max as usize {
                break;
            }
            if seen.insert(run) {
                runs.push(run);
            }
        }
        runs.iter().map(|run| self.view(&self.runs[run], Want::Work)).collect()
    }

    fn work(&self, page: &WorkPage) -> Work {
        let runs = self.runs_on(page);
        let is_all = match page {
            WorkPage::After { runs_max, .. } | WorkPage::Due { runs_max, .. } => runs.len() < *runs_max as usize,
            WorkPage::Runs(_) => true,
        };
        Work { runs, is_all }
    }

    fn runs_on(&self, page: &WorkPage) -> Vec<RunView> {
        let due = |task: &i64| self.tasks[task].progress.due;
        match page {
            WorkPage::After { task, trigger, due_max, runs_max } => {
                let open = self.open.range(task + 1..).map(|(task, run)| (*task, *run));
                let open = open.filter(|(task, _)| due(task).is_none_or(|due| due <= *due_max));
                let is_wanted = |run: &i64| trigger.as_ref().is_none_or(|t| *t == self.runs[run].view.trigger);
                self.runs_of(open.filter(|(_, run)| is_wanted(run)), *runs_max)
            }
            WorkPage::Due { after, until, runs_max } => {
                let open = self.open.iter().filter_map(|(task, run)| Some((due(task)?, *task, *run)));
                let mut open: Vec<_> = open.filter(|(due, ..)| due > after && due <= until).collect();
                open.sort_unstable();
                self.runs_of(open.into_iter().map(|(_, task, run)| (task, run)), *runs_max)
            }
            WorkPage::Runs(runs) => {
                let rows = runs.iter().filter_map(|run| self.runs.get(&run.seq()));
                rows.map(|run| self.view(run, Want::Work)).collect()
            }
        }
    }
}

impl Handle {
    /// Returns while the engine that holds this is the store's; else never.
    async fn alive(&self) {
        if self.store.epoch.load(Ordering::SeqCst) != self.epoch {
            std::future::pending::<()>().await;
        }
    }

    async fn delay(&self) {
        let delay_ms = {
            let mut faults = self.store.faults();
            let most = faults.delay_ms_max;
            faults.seed.below(most + 1)
        };
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        self.alive().await;
    }
}

#[async_trait]
impl Store for Handle {
    async fn commit(&self, commands: Vec<Command>) -> Result<Vec<Reply>, StoreError> {
        self.delay().await;
        {
            let mut faults = self.store.faults();
            if faults.commits_left == 0 {
                return Err(StoreError::Fatal("the disk is gone".into()));
            }
            faults.commits_left -= 1;
        }
        let replies = commands.iter().map(|command| self.store.lock().apply(command)).collect();
        self.delay().await;
        Ok(replies)
    }

    async fn work(&self, page: WorkPage) -> Result<Work, StoreError> {
        self.delay().await;
        {
            let mut faults = self.store.faults();
            if faults.reads_failing > 0 {
                faults.reads_failing -= 1;
                return Err(StoreError::Read("it took too long".into()));
            }
        }
        let work = self.store.lock().work(&page);
        self.delay().await;
        Ok(work)
    }

    async fn n_open_runs(&self) -> Result<u64, StoreError> {
        let state = self.store.lock();
        let runs: std::collections::HashSet<i64> = state.open.values().copied().collect();
        Ok(runs.len() as u64)
    }

    async fn sends(&self, task: TaskId) -> Result<Vec<(Box<str>, Receipt)>, StoreError> {
        self.delay().await;
        let state = self.store.lock();
        let sends = state.sends.get(&task).into_iter().flatten();
        Ok(sends.cloned().collect())
    }

    async fn is_state_full(&self, plugin: &str, trigger: &str, now: Time) -> Result<bool, StoreError> {
        Ok(self.store.lock().n_values(plugin, trigger, now) >= STATE_KEYS_MAX as usize)
    }

    async fn state(&self, plugin: &str, trigger: &str, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError> {
        self.delay().await;
        Ok(self.store.lock().value(plugin, trigger, key, now))
    }

    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, StoreError> {
        self.delay().await;
        Ok(self.store.lock().activity(trigger, subject))
    }
}

/// Whether the run may still have work to do.
pub(crate) fn is_open(run: &RunView) -> bool {
    !run.state.is_over() && run.state != RunState::Held
}
