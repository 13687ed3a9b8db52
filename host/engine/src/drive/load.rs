//! Paging: open work comes from the store at the start, when a lane has room again, and when its time is near.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Driver;
use crate::dispatch::{Dispatch, HORIZON};
use crate::engine::Shared;
use crate::id::RunId;
use crate::ports::{RunView, StoreError, WorkPage};
use crate::run::OpenRun;
use crate::time::Time;

/// Due work is paged in this long before the end of what was paged in before.
pub(super) const AHEAD: Duration = Duration::from_secs(300);
/// The most runs of a page.
const PAGE_RUNS_MAX: u32 = 1_000;

/// Somebody who wants the loaded run cancelled.
type Canceller = (Arc<str>, oneshot::Sender<bool>);

/// What to load.
pub(super) enum Load {
    /// What is due in this time.
    Due { after: Time, until: Time },
    /// These runs; and then, if somebody asked for it, cancel them.
    Runs { runs: Vec<RunId>, cancel: Option<Canceller> },
}

/// What was loaded.
pub(super) enum Loaded {
    Lane { trigger: Arc<str>, runs: Result<Vec<RunView>, StoreError> },
    Due { until: Time, runs: Result<Vec<RunView>, StoreError> },
    Runs { runs: Result<Vec<RunView>, StoreError>, cancel: Option<Canceller> },
}

/// Takes in all open work: each lane up to its window, and nothing that is due later than the horizon. Says until when
/// due work was taken in.
pub(super) async fn recover(shared: &Shared, dispatch: &mut Dispatch, now: Time) -> Result<Time, StoreError> {
    let due_max = now + HORIZON;
    let mut task = 0;
    loop {
        let page = WorkPage::After { task, trigger: None, due_max, runs_max: PAGE_RUNS_MAX };
        let runs = shared.tools.store.work(page).await?;
        let Some(last) = last_task(&runs) else { return Ok(due_max) };
        // Pages are in the order of tasks; the next one has to begin further on, or this would not end.
        task = last.max(task + 1);
        for run in runs.into_iter().filter_map(OpenRun::stored) {
            dispatch.add(run, now);
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
        if self.load.is_some() || self.stop.is_some() {
            return;
        }
        let store = Arc::clone(&self.shared.tools.store);
        if let Some(load) = self.loads.pop_front() {
            self.load = Some(match load {
                Load::Due { after, until } => Box::pin(async move {
                    let page = WorkPage::Due { after, until, runs_max: PAGE_RUNS_MAX };
                    Loaded::Due { until, runs: store.work(page).await }
                }),
                Load::Runs { runs, cancel } => {
                    Box::pin(async move { Loaded::Runs { runs: store.work(WorkPage::Runs(runs)).await, cancel } })
                }
            });
        } else if let Some((trigger, task)) = self.dispatch.wants() {
            let due_max = self.due_until;
            self.load = Some(Box::pin(async move {
                let named = Some(Arc::clone(&trigger));
                let page = WorkPage::After { task, trigger: named, due_max, runs_max: PAGE_RUNS_MAX };
                Loaded::Lane { trigger, runs: store.work(page).await }
            }));
        }
    }

    /// Takes in what was loaded.
    pub(super) fn take_in(&mut self, loaded: Loaded) -> Result<(), StoreError> {
        let now = self.shared.tools.clock.now();
        match loaded {
            Loaded::Lane { trigger, runs } => {
                let runs = runs?;
                let last = last_task(&runs);
                let is_all = runs.len() < PAGE_RUNS_MAX as usize;
                runs.into_iter().filter_map(OpenRun::stored).for_each(|run| self.dispatch.keep(run, now));
                self.dispatch.loaded(&trigger, last, is_all);
            }
            Loaded::Due { until, runs } => {
                let runs = runs?;
                if runs.len() >= PAGE_RUNS_MAX as usize {
                    // The page is full: go on a moment before its last, whose equals may be on the next.
                    let dues = runs.iter().flat_map(|run| run.tasks.iter().filter_map(|task| task.progress.due));
                    let last = dues.filter(|due| *due <= until).max().unwrap_or(until);
                    self.loads.push_front(Load::Due { after: last - Duration::from_micros(1), until });
                }
                runs.into_iter().filter_map(OpenRun::stored).for_each(|run| self.dispatch.add(run, now));
            }
            Loaded::Runs { runs, cancel } => {
                let fresh = runs?.into_iter().filter_map(OpenRun::stored);
                let ids: Vec<RunId> = fresh.map(|run| self.renew(run)).collect();
                match (cancel, ids.first()) {
                    (Some((actor, done)), Some(id)) => self.cancel(*id, &actor, done),
                    (Some((_, done)), None) => {
                        let _told = done.send(false);
                    }
                    (None, _) => {}
                }
            }
        }
        Ok(())
    }

    /// Takes a run in as the store has it; what is under way of it stays as it is.
    fn renew(&mut self, fresh: OpenRun) -> RunId {
        let now = self.shared.tools.clock.now();
        let id = fresh.id;
        match self.dispatch.run(id) {
            Some(run) => {
                for task in fresh.tasks {
                    if let Some(known) = run.tasks.iter_mut().find(|known| known.id == task.id && !known.is_busy) {
                        known.progress = task.progress;
                        known.number = task.number;
                    }
                }
                self.dispatch.activate(id, now);
            }
            None => self.dispatch.keep(fresh, now),
        }
        id
    }
}
