//! When dispatch looks again: at tasks whose time comes, and at lanes whose rate was used up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use crate::id::RunId;
use crate::time::Time;

/// What is looked at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// A task of a run, by its place.
    Task(RunId, usize),
    /// A trigger's lane.
    Lane(Arc<str>),
}

/// All looks that are planned. A task has one that counts, however often it is told to wait: else the looks at a task
/// that is held back would be more with every change that wakes it.
#[derive(Default)]
pub(super) struct Wakes {
    timers: BinaryHeap<Reverse<(Time, u64, Wake)>>,
    n_timers: u64,
    tasks: HashMap<(RunId, usize), Time>,
}

impl Wakes {
    /// Plans a look. Where one is planned earlier that one stays: it finds out whether it is time, and plans the next.
    pub(super) fn plan(&mut self, due: Time, wake: Wake) {
        if let Wake::Task(id, at) = &wake {
            match self.tasks.get(&(*id, *at)) {
                Some(planned) if *planned <= due => return,
                Some(_) | None => self.tasks.insert((*id, *at), due),
            };
        }
        self.n_timers += 1;
        self.timers.push(Reverse((due, self.n_timers, wake)));
    }

    /// The next look that is due by now.
    pub(super) fn next(&mut self, now: Time) -> Option<Wake> {
        while let Some(Reverse((due, _, _))) = self.timers.peek() {
            if *due > now {
                return None;
            }
            let Reverse((due, _, wake)) = self.timers.pop()?;
            match &wake {
                Wake::Lane(_) => return Some(wake),
                Wake::Task(id, at) if self.tasks.get(&(*id, *at)) == Some(&due) => {
                    self.tasks.remove(&(*id, *at));
                    return Some(wake);
                }
                // Another of the task counts.
                Wake::Task(..) => {}
            }
        }
        None
    }

    /// When the next one is.
    pub(super) fn due_next(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((due, _, _))| *due)
    }

    /// Forgets the tasks of a run.
    pub(super) fn forget(&mut self, id: RunId, n_tasks: usize) {
        for at in 0..n_tasks {
            self.tasks.remove(&(id, at));
        }
    }
}
