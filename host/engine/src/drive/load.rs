//! Paging: open work comes from the store at the start, when a lane has room again, and when its time is near.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Driver;
use crate::dispatch::{Dispatch, HORIZON};
use crate::engine::Shared;
use crate::id::RunId;
use crate::ports::{RunView, StoreError, Work, WorkPage};
use crate::record::TaskState;
use crate::run::OpenRun;
use crate::time::Time;

/// Due work is paged in this long before the end of what was paged in before.
pub(super) const AHEAD: Duration = Duration::from_secs(300);
/// The most runs of a page.
const PAGE_RUNS_MAX: u32 = 1_000;

/// The most runs that are loaded by their ids at once: none of them may be left out, and an event may be a mebibyte.
const NAMED_RUNS_MAX: usize = 32;
/// How long after a read that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Later than anything is due.
const EVER: Time = Time(i64::MAX);

/// Somebody who wants the loaded run cancelled.
type Canceller = (Arc<str>, oneshot::Sender<bool>);

/// What to load.
pub(super) enum Load {
    /// A lane's work that is due by then, after this task.
    Lane { trigger: Arc<str>, task: i64, due_max: Time },
    /// What is due in this time.
    Due { after: Time, until: Time },
    /// Everything that is due by then, in the order of tasks, after this one.
    Walk { task: i64, due_max: Time },
    /// These runs; and then, if somebody asked for it, cancel them.
    Runs { runs: Vec<RunId>, cancel: Option<Canceller> },
}

/// What was to be loaded, and what came of it.
pub(super) struct Loaded {
    load: Load,
    found: Result<Work, StoreError>,
}

impl Load {
    /// Loads of these runs.
    pub(super) fn of_runs(runs: &[RunId]) -> impl Iterator<Item = Self> {
        runs.chunks(NAMED_RUNS_MAX).map(|runs| Self::Runs { runs: runs.to_vec(), cancel: None })
    }

    fn page(&self) -> WorkPage {
        let runs_max = PAGE_RUNS_MAX;
        match self {
            Self::Lane { trigger, task, due_max } => {
                WorkPage::After { task: *task, trigger: Some(Arc::clone(trigger)), due_max: *due_max, runs_max }
            }
            Self::Due { after, until } => WorkPage::Due { after: *after, until: *until, runs_max },
            Self::Walk { task, due_max } => WorkPage::After { task: *task, trigger: None, due_max: *due_max, runs_max },
            Self::Runs { runs, .. } => WorkPage::Runs(runs.clone()),
        }
    }
}

/// Takes in all open work: each lane up to its window, and nothing that is due later than the horizon. Says until when
/// due work was taken in.
pub(super) async fn recover(shared: &Shared, dispatch: &mut Dispatch, now: Time) -> Result<Time, StoreError> {
    let due_max = now + HORIZON;
    // Where there is an order, what is due far ahead holds back what comes after it.
    let plan = shared.plan.load_full();
    for trigger in plan.triggers().iter().filter(|trigger| trigger.policy.order_by.is_some()) {
        recover_all(shared, dispatch, Some(Arc::clone(&trigger.name)), EVER, now).await?;
    }
    recover_all(shared, dispatch, None, due_max, now).await?;
    Ok(due_max)
}

async fn recover_all(
    shared: &Shared,
    dispatch: &mut Dispatch,
    trigger: Option<Arc<str>>,
    due_max: Time,
    now: Time,
) -> Result<(), StoreError> {
    let mut task = 0;
    loop {
        let page = WorkPage::After { task, trigger: trigger.clone(), due_max, runs_max: PAGE_RUNS_MAX };
        let work = shared.tools.store.work(page).await?;
        let Some(last) = last_task(&work.runs) else { return Ok(()) };
        // Pages are in the order of tasks; the next one has to begin further on, or this would not end.
        task = last.max(task + 1);
        for run in work.runs.into_iter().filter_map(OpenRun::stored) {
            if !run.state().is_over() && dispatch.run(run.id).is_none() {
                shared.counters.reopened(1);
            }
            dispatch.add(run, now);
        }
        if work.is_all {
            return Ok(());
        }
    }
}

/// The last task of a page. The tasks of a run follow one another without a gap, so the next page begins after it.
fn last_task(runs: &[RunView]) -> Option<i64> {
    runs.iter().flat_map(|run| run.tasks.iter().map(|task| task.id.seq())).max()
}

impl Driver {
    /// Begins the next load, one at a time.
    pub(super) fn begin_load(&mut self) {
        if self.load.is_some() || self.stop.is_some() || self.shared.tools.clock.now() < self.load_from {
            return;
        }
        let Some(load) = self.loads.pop_front().or_else(|| self.wanted()) else { return };
        self.left.clear();
        let store = Arc::clone(&self.shared.tools.store);
        self.load = Some(Box::pin(async move {
            let found = store.work(load.page()).await;
            Loaded { load, found }
        }));
    }

    /// What a lane that has room again wants to load.
    fn wanted(&mut self) -> Option<Load> {
        let (trigger, task) = self.dispatch.wants()?;
        let plan = self.shared.plan.load();
        let is_ordered = plan.trigger(&trigger).is_some_and(|trigger| trigger.policy.order_by.is_some());
        let due_max = if is_ordered { EVER } else { self.due_until };
        Some(Load::Lane { trigger, task, due_max })
    }

    /// Takes in what was loaded. What could not be read is read again a while later; nothing is lost by that but time.
    pub(super) fn take_in(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        let now = self.shared.tools.clock.now();
        let Work { runs, is_all } = match loaded.found {
            Ok(work) => work,
            Err(err @ StoreError::Read(_)) => {
                tracing::warn!(error = &err as &dyn std::error::Error, "load open work: trying again");
                self.loads.push_front(loaded.load);
                self.load_from = now + AGAIN;
                return Ok(());
            }
            Err(err) => return Err(err),
        };
        match loaded.load {
            Load::Lane { trigger, .. } => {
                let last = last_task(&runs);
                for run in runs.into_iter().filter_map(OpenRun::stored) {
                    if self.is_current(&run) {
                        self.dispatch.keep(run, now);
                    }
                }
                self.dispatch.loaded(&trigger, last, is_all);
            }
            Load::Due { after, until } => {
                if !is_all {
                    // The page was cut: go on a moment before its last, whose equals may be on the next.
                    let dues = runs.iter().flat_map(|run| run.tasks.iter().filter_map(|task| task.progress.due));
                    let last = dues.filter(|due| *due <= until).max().unwrap_or(until);
                    let next = last - Duration::from_micros(1);
                    // More are due at one moment than a page holds: they are found in the order of their tasks.
                    let walk = Load::Walk { task: 0, due_max: until };
                    self.loads.push_front(if next > after { Load::Due { after: next, until } } else { walk });
                }
                self.add_all(runs, now);
            }
            Load::Walk { due_max, .. } => {
                if let (Some(task), false) = (last_task(&runs), is_all) {
                    self.loads.push_front(Load::Walk { task, due_max });
                }
                self.add_all(runs, now);
            }
            Load::Runs { cancel, .. } => self.take_runs(runs, cancel),
        }
        Ok(())
    }

    fn take_runs(&mut self, runs: Vec<RunView>, cancel: Option<Canceller>) {
        if runs.iter().any(|run| self.left.contains(&run.id)) {
            // Some moved meanwhile: what is here may be older than that.
            let runs = runs.into_iter().map(|run| run.id).collect();
            self.loads.push_front(Load::Runs { runs, cancel });
            return;
        }
        let fresh: Vec<OpenRun> = runs.into_iter().filter_map(OpenRun::stored).collect();
        if cancel.is_none() {
            // Dead letters were put back to work, of runs that had ended.
            let ended = fresh.iter().filter(|run| self.dispatch.run(run.id).is_none());
            let n_back = ended.filter(|run| !run.state().is_over()).count();
            self.shared.counters.reopened(n_back);
        }
        let ids: Vec<RunId> = fresh.into_iter().map(|run| self.renew(run)).collect();
        match (cancel, ids.first()) {
            (Some((actor, done)), Some(id)) => self.cancel(*id, &actor, done),
            (Some((_, done)), None) => {
                let _told = done.send(false);
            }
            (None, _) => {}
        }
    }

    fn add_all(&mut self, runs: Vec<RunView>, now: Time) {
        for run in runs.into_iter().filter_map(OpenRun::stored) {
            if self.is_current(&run) {
                self.dispatch.add(run, now);
            }
        }
    }

    /// Whether memory knows nothing newer of a run than the page that it came with.
    fn is_current(&self, run: &OpenRun) -> bool {
        !self.left.contains(&run.id) && self.dispatch.is_told(run)
    }

    /// Takes a run in as the store has it; what is under way of it stays as it is.
    fn renew(&mut self, fresh: OpenRun) -> RunId {
        let now = self.shared.tools.clock.now();
        let id = fresh.id;
        match self.dispatch.run(id) {
            Some(run) => {
                for task in fresh.tasks {
                    let Some(known) = run.tasks.iter_mut().find(|known| known.id == task.id && !known.is_busy) else {
                        continue;
                    };
                    // Memory may be ahead of the page. What a person moved has a number more; what went with it has
                    // none, and is cancelled.
                    let state = (known.progress.state, task.progress.state);
                    if task.number > known.number || state == (TaskState::WaitingNeeds, TaskState::Cancelled) {
                        known.progress = task.progress;
                        known.number = task.number;
                        known.first_try = task.first_try;
                    }
                }
            }
            None => self.dispatch.keep(fresh, now),
        }
        let is_over = |run: &mut OpenRun| run.state().is_over() && !run.tasks.iter().any(|task| task.is_busy);
        match self.dispatch.run(id).map(is_over) {
            Some(true) => self.end(id, now),
            Some(false) => self.dispatch.activate(id, now),
            None => {}
        }
        id
    }
}
