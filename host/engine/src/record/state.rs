//! The states of tasks and runs.

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TaskState {
    /// Its time has not come: a delay or a not-before.
    Scheduled = 1,
    /// An attempt is made, or is next.
    Running = 2,
    /// A failed attempt waits for its next try.
    WaitingRetry = 3,
    /// Another action of the run has to succeed first.
    WaitingNeeds = 4,
    /// An earlier run of its ordering key has to end first.
    WaitingOrder = 5,
    /// A rate limit.
    WaitingRate = 6,
    /// The connection's breaker is open.
    WaitingBreaker = 7,
    /// The trigger or the connection is paused.
    WaitingPaused = 8,
    /// It succeeded.
    Succeeded = 9,
    /// The action said that there was nothing to do.
    Skipped = 10,
    /// It waits for a person.
    Dead = 11,
    /// Ended by a person or a removed definition.
    Cancelled = 12,
    /// It waits for a person to let it begin.
    Held = 13,
}

impl TaskState {
    /// Every state, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Scheduled,
        Self::Running,
        Self::WaitingRetry,
        Self::WaitingNeeds,
        Self::WaitingOrder,
        Self::WaitingRate,
        Self::WaitingBreaker,
        Self::WaitingPaused,
        Self::Succeeded,
        Self::Skipped,
        Self::Dead,
        Self::Cancelled,
        Self::Held,
    ];

    /// The state with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Whether nothing more will happen by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Cancelled)
    }

    /// The state's word on the wire, and what a waiting one waits for.
    pub const fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Scheduled => ("scheduled", None),
            Self::Running => ("running", None),
            Self::WaitingRetry => ("waiting", Some("retry")),
            Self::WaitingNeeds => ("waiting", Some("needs")),
            Self::WaitingOrder => ("waiting", Some("order")),
            Self::WaitingRate => ("waiting", Some("rate")),
            Self::WaitingBreaker => ("waiting", Some("breaker")),
            Self::WaitingPaused => ("waiting", Some("paused")),
            Self::Succeeded => ("succeeded", None),
            Self::Skipped => ("skipped", None),
            Self::Dead => ("dead", None),
            Self::Cancelled => ("cancelled", None),
            Self::Held => ("held", None),
        }
    }
}

/// What a run is. The same words as a task's, and two of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RunState {
    /// Its time has not come.
    Scheduled = 1,
    /// It is judged, or some task of it is at work.
    Running = 2,
    /// Every open task of it waits.
    Waiting = 3,
    /// Every task succeeded, or was skipped.
    Succeeded = 9,
    /// Every task was skipped.
    Skipped = 10,
    /// No open task is left, and one waits for a person.
    Dead = 11,
    /// Every task was cancelled.
    Cancelled = 12,
    /// It waits for a person to let it begin.
    Held = 13,
    /// Judged after the append, and its conditions did not hold. No run for people; kept for `explain`.
    NotMatched = 14,
}

impl RunState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Running,
        Self::Waiting,
        Self::Succeeded,
        Self::Skipped,
        Self::Dead,
        Self::Cancelled,
        Self::Held,
        Self::NotMatched,
    ];

    /// The state with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// The state's word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::NotMatched => "not-matched",
        }
    }

    /// What a run is whose tasks are these: the most active open one; else dead if any is; else cancelled if all
    /// are; else skipped if all are or were cancelled; else succeeded.
    ///
    /// A task that waits for one that is dead does not move by itself. So it shows only while nothing is dead.
    pub fn of_tasks(tasks: impl Iterator<Item = TaskState> + Clone) -> Self {
        let any = |wanted: fn(TaskState) -> bool| tasks.clone().any(wanted);
        if any(|state| state == TaskState::Running) {
            Self::Running
        } else if any(|state| state.words().0 == "waiting" && state != TaskState::WaitingNeeds) {
            Self::Waiting
        } else if any(|state| state == TaskState::Scheduled) {
            Self::Scheduled
        } else if any(|state| state == TaskState::Held) {
            Self::Held
        } else if any(|state| state == TaskState::Dead) {
            Self::Dead
        } else if any(|state| state == TaskState::WaitingNeeds) {
            Self::Waiting
        } else if !any(|state| state != TaskState::Cancelled) {
            Self::Cancelled
        } else if !any(|state| state == TaskState::Succeeded) {
            Self::Skipped
        } else {
            Self::Succeeded
        }
    }

    /// Whether nothing more will happen by itself, so that the next run of an ordering key may begin.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Dead | Self::Cancelled | Self::NotMatched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_number(state as u8), Some(state));
        }
        for state in RunState::ALL {
            assert_eq!(RunState::from_number(state as u8), Some(state));
        }
        assert_eq!(TaskState::from_number(0), None);
        assert_eq!(RunState::from_number(4), None);
    }

    #[test]
    fn a_run_shows_its_most_active_task() {
        use TaskState::*;
        let check = |tasks: &[TaskState], expected| {
            assert_eq!(RunState::of_tasks(tasks.iter().copied()), expected, "{tasks:?}")
        };
        check(&[Succeeded, Running, Dead], RunState::Running);
        check(&[Succeeded, WaitingRetry], RunState::Waiting);
        check(&[Dead, WaitingNeeds], RunState::Dead);
        check(&[Dead, WaitingNeeds, WaitingRate], RunState::Waiting);
        check(&[Dead, WaitingNeeds, Scheduled], RunState::Scheduled);
        check(&[Succeeded, WaitingNeeds], RunState::Waiting);
        check(&[Scheduled, Succeeded], RunState::Scheduled);
        check(&[Succeeded, Dead, Cancelled], RunState::Dead);
        check(&[Cancelled, Cancelled], RunState::Cancelled);
        check(&[Cancelled, Skipped], RunState::Skipped);
        check(&[Skipped, Succeeded, Cancelled], RunState::Succeeded);
        check(&[Held], RunState::Held);
    }
}
