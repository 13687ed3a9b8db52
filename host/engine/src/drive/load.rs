//! Paging: open work comes from the store at the start, when a lane has room again, and when its time is near.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Driver;
use super::attempt::{Ended, Needs, needs_of};
use crate::dispatch::{Dispatch, HORIZON, LANE_RUNS_MIN};
use crate::engine::Shared;
use crate::id::RunId;
use crate::ports::{RunView, StoreError, TaskView, Work, WorkPage};
use crate::run::OpenRun;
use crate::time::Time;

/// Due work is paged in this long before the end of what was paged in before.
pub(super) const AHEAD: Duration = Duration::from_secs(300);
/// The most runs of a page.
const PAGE_RUNS_MAX: u32 = 1_000;

/// The most runs that are loaded by their ids at once: none of them may be left out, and an event may be a mebibyte.
const NAMED_RUNS_MAX: usize = 32;
/// How often a page is read again at the start.
const START_READS_MAX: u32 = 5;
/// How long after a read that failed it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Later than anything is due.
const EVER: Time = Time(i64::MAX);

/// Somebody who wants the loaded run cancelled.
type Canceller = (Arc<str>, oneshot::Sender<bool>);

/// What to load.
pub(super) enum Load {
    /// A lane's work that is due by then, after this task.
    Lane { trigger: Arc<str>, task: i64, due_max: Time, runs_max: u32 },
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
            Self::Lane { trigger, task, due_max, runs_max } => {
                let trigger = Some(Arc::clone(trigger));
                WorkPage::After { task: *task, trigger, due_max: *due_max, runs_max: *runs_max }
            }
            Self::Due { after, until } => WorkPage::Due { after: *after, until: *until, runs_max },
            Self::Walk { task, due_max } => WorkPage::After { task: *task, trigger: None, due_max: *due_max, runs_max },
            Self::Runs { runs, .. } => WorkPage::Runs(runs.clone()),
        }
    }
}

/// Takes in all open work: each lane up to its window, and nothing that is due later than the horizon.
pub(super) async fn recover(shared: &Shared, dispatch: &mut Dispatch, now: Time) -> Result<(), StoreError> {
    let due_max = now + HORIZON;
    dispatch.cover(due_max);
    // Where there is an order, what is due far ahead holds back what comes after it.
    let plan = shared.plan.load_full();
    for trigger in plan.triggers().iter().filter(|trigger| trigger.policy.order_by.is_some()) {
        recover_all(shared, dispatch, Some(Arc::clone(&trigger.name)), EVER, now).await?;
    }
    recover_all(shared, dispatch, None, due_max, now).await?;
    let n_open = again(|| shared.tools.store.n_open_runs()).await?;
    shared.counters.reopened(usize::try_from(n_open).unwrap_or(usize::MAX));
    Ok(())
}

/// Reads at the start, where there is nobody to hold on to: once more, and again, and then it is an error.
async fn again<T, F>(read: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut n_failed = 0;
    loop {
        match read().await {
            Err(err @ StoreError::Read(_)) if n_failed < START_READS_MAX => {
                n_failed += 1;
                tracing::warn!(error = &err as &dyn std::error::Error, "take up open work: trying again");
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
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
        let work = again(|| shared.tools.store.work(page.clone())).await?;
        let Some(last) = last_task(&work.runs) else { return Ok(()) };
        // Pages are in the order of tasks; the next one has to begin further on, or this would not end.
        task = last.max(task + 1);
        for run in work.runs.into_iter().filter_map(OpenRun::stored) {
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
        let due_max = if is_ordered { EVER } else { self.dispatch.covered() };
        // Where memory is full, a lane gets what keeps it going.
        let runs_max = if self.dispatch.is_full() { LANE_RUNS_MIN } else { PAGE_RUNS_MAX };
        Some(Load::Lane { trigger, task, due_max, runs_max })
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
                        let id = run.id;
                        self.dispatch.keep(run, now);
                        self.follow_dropped(id);
                    }
                }
                self.dispatch.loaded(&trigger, last, is_all);
            }
            Load::Due { after, until } => {
                if !is_all {
                    // The page was cut: go on a moment before its last, whose equals may be on the next.
                    // It is in the order of each run's first due time within the span; later ones say nothing.
                    let in_span = |task: &TaskView| task.progress.due.filter(|due| *due > after);
                    let first = |run: &RunView| run.tasks.iter().filter_map(in_span).min();
                    let last = runs.iter().filter_map(first).max().map_or(until, |last| last.min(until));
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
        let is_wanted = cancel.is_some();
        let ids: Vec<RunId> = fresh.into_iter().map(|run| self.renew(run, is_wanted)).collect();
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
                let id = run.id;
                self.dispatch.add(run, now);
                self.follow_dropped(id);
            }
        }
    }

    /// Ends what of the run waits for a task that a person dropped. It may wait for others as well, so this looks.
    pub(super) fn follow_dropped(&mut self, id: RunId) {
        let Some(run) = self.dispatch.run(id).filter(|run| run.may_wait_in_vain()) else { return };
        let plan = self.shared.plan.load();
        let needs = plan.trigger(&run.trigger).map_or(Needs::Gone, |trigger| needs_of(trigger));
        self.pending.push_back(Ended::Dropped { run: id, needs });
    }

    /// Whether memory knows nothing newer of a run than the page that it came with.
    fn is_current(&self, run: &OpenRun) -> bool {
        !self.left.contains(&run.id) && self.dispatch.is_told(run)
    }

    /// Takes a run in as the store has it; what is under way of it stays as it is. One that is not wanted here at once
    /// may stay in the store until its lane has room.
    fn renew(&mut self, fresh: OpenRun, is_wanted: bool) -> RunId {
        let now = self.shared.tools.clock.now();
        let id = fresh.id;
        match self.dispatch.run(id) {
            Some(run) => {
                for task in fresh.tasks {
                    let Some(known) = run.tasks.iter_mut().find(|known| known.id == task.id && !known.is_busy) else {
                        continue;
                    };
                    // Memory may be ahead of the page. What a person moved has a number more.
                    if task.number > known.number {
                        known.progress = task.progress;
                        known.number = task.number;
                        known.first_try = task.first_try;
                    }
                }
            }
            None if is_wanted => self.dispatch.keep(fresh, now),
            None => self.dispatch.add(fresh, now),
        }
        self.follow_dropped(id);
        let is_over = |run: &mut OpenRun| run.state().is_over() && !run.tasks.iter().any(|task| task.is_busy);
        match self.dispatch.run(id).map(is_over) {
            Some(true) => self.end(id, now),
            Some(false) => self.dispatch.activate(id, now),
            None => {}
        }
        id
    }
}
