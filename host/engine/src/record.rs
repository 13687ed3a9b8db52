//! What the engine has the store write: a closed set of commands, validated before they are made.
//!
//! A command is a value. It never fails because of its content: a conflict is a [`Reply`], and the batch goes on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Event;
use crate::id::{EventId, RunId, TaskId};
use crate::ports::{ObjectChange, PluginVersion, Receipt, StateOp};
use crate::time::Time;

/// One write. The commands of one batch become durable together, in their order.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new event with every run it causes. Replied with [`Reply::Appended`] or [`Reply::Duplicate`].
    Append(Arc<NewEvent>),
    /// What judging after the append came to. Replied with [`Reply::Appended`] (of the run's tasks), [`Reply::Done`].
    Judged(Box<Judged>),
    /// What an attempt came to. Replied with [`Reply::Done`], or with [`Reply::Settled`] where it brought events, or
    /// with [`Reply::StateConflict`] and nothing written.
    Settle(Box<Settle>),
    /// A receipt of a plugin's send, so that no later try of the task repeats it. Replied with [`Reply::Done`].
    Record(Box<SendRecord>),
    /// Puts dead tasks back to work, or drops them. Replied with [`Reply::Moved`].
    Dead(DeadMove),
    /// New versions of objects, all or none. Replied with [`Reply::Configured`] or [`Reply::Refused`].
    Configure(Box<Configure>),
    /// A new version of a plugin. Replied with [`Reply::Done`], or [`Reply::VersionTaken`] if its bytes differ.
    Publish(Box<PluginVersion>),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is durable.
    Done,
    /// The event, or the judged run, is durable under these ids.
    Appended(Appended),
    /// The event was there already, under this id; nothing was written.
    Duplicate(EventId),
    /// The settle is durable, and this became of its events, in their order.
    Settled(Vec<Reply>),
    /// These dead tasks were moved, each with its run; the others were no dead letters.
    Moved(Vec<(TaskId, RunId)>),
    /// The configuration is durable, under this revision.
    Configured {
        /// The revision that the change made.
        revision: i64,
    },
    /// An object was not at the version that the change expected; nothing of it was written.
    Refused(crate::ports::Conflict),
    /// A value of the plugin's state was not as the attempt had read it; nothing of the settle was written.
    StateConflict,
    /// The plugin has this version with other bytes; nothing was written.
    VersionTaken,
}

/// The ids that an append got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The event.
    pub event: EventId,
    /// The runs, in the order of [`NewEvent::runs`].
    pub runs: Vec<AppendedRun>,
}

/// The ids that a run got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedRun {
    /// The run; none when its guard refused it, and then it was not written.
    pub run: Option<RunId>,
    /// The first of its tasks; the others follow without a gap.
    pub task_first: TaskId,
}

/// An event as intake took it, with what judging made of it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// When it was taken.
    pub received: Time,
    /// What it is known by, so that it is taken once; none when its source keeps its own position.
    pub dedup: Option<u128>,
    /// The evaluations of the triggers whose patterns matched, in a versioned format of the engine's.
    pub evaluations: Bytes,
    /// The runs it causes.
    pub runs: Vec<NewRun>,
}

/// A run to be written.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The trigger.
    pub trigger: Arc<str>,
    /// Its version.
    pub trigger_version: i64,
    /// Whom or what it is about; empty for no one.
    pub subject: Arc<str>,
    /// Which of the event's subjects, from 0.
    pub subject_no: u32,
    /// What it is ordered by within the trigger, if it is.
    pub order_key: Option<Arc<str>>,
    /// What the run begins as.
    pub state: RunState,
    /// The cap or cooldown that the commit checks and reserves.
    pub guard: Option<Guard>,
    /// Its open tasks. A run that is yet to be judged has one, with [`TASK_JUDGE`] for its action.
    pub tasks: Vec<NewTask>,
}

/// The ordinal of the task that stands for the judging of its run.
pub const TASK_JUDGE: i32 = -1;

/// A task to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTask {
    /// The action's name; empty for judging.
    pub action: Arc<str>,
    /// The action's place within the trigger, from 0, or [`TASK_JUDGE`].
    pub ordinal: i32,
    /// Where it begins.
    pub progress: Progress,
}

/// Where an open task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it waits for, if it does.
    pub state: TaskState,
    /// No sooner than this; at once when absent.
    pub due: Option<Time>,
    /// Tries so far.
    pub tries: u32,
    /// How often the action asked to be called again later.
    pub resumes: u32,
}

impl Progress {
    /// Ready at once.
    pub const READY: Self = Self { state: TaskState::Running, due: None, tries: 0, resumes: 0 };
}

/// A limit on runs by trigger and subject, checked and reserved by the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The subject that is counted; empty when the limit is the trigger's.
    pub subject: Arc<str>,
    /// The most runs, and in which time; ever when it has none.
    pub limit: Option<(u32, Option<Duration>)>,
    /// The shortest gap since the last run.
    pub cooldown: Option<Duration>,
}

/// What judging after the append came to.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The run.
    pub run: RunId,
    /// The task that stood for the judging; it is closed, or moved when `to` says so.
    pub task: TaskId,
    /// When.
    pub now: Time,
    /// The evaluation, in the format of [`NewEvent::evaluations`].
    pub evaluation: Bytes,
    /// What follows.
    pub to: JudgedTo,
}

/// What follows from a judgement.
#[derive(Clone, Debug)]
pub enum JudgedTo {
    /// The run goes on with these tasks, unless the guard refuses it.
    Act {
        /// What the run becomes.
        state: RunState,
        /// The cap or cooldown that the commit checks and reserves; none when the run has reserved already.
        guard: Option<Guard>,
        /// Its tasks.
        tasks: Vec<NewTask>,
    },
    /// The run ends without acting; what it had reserved is released.
    End(RunState),
    /// The judgement is tried again.
    Again(Progress),
    /// The judgement is a dead letter.
    Dead {
        /// What the dead letters are grouped by.
        cause: Box<str>,
    },
}

/// What an attempt, or a person, made of a task.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub run: RunId,
    /// When.
    pub now: Time,
    /// The attempt, for people; none when no attempt was made.
    pub attempt: Option<AttemptRecord>,
    /// Where the task goes.
    pub to: TaskTo,
    /// What the run is from now on.
    pub run_state: RunState,
    /// Other tasks of the run that this one let go on, or took with it.
    pub others: Vec<(TaskId, TaskTo)>,
    /// Whether what the run reserved is given back: it was skipped or cancelled.
    pub release: bool,
    /// Changes of the plugin's state.
    pub state: Vec<StateOp>,
    /// Whose state: the plugin and the trigger.
    pub state_of: Option<(Arc<str>, Arc<str>)>,
    /// Events that the attempt published, and our own alerts. They are written, judged already, in the same commit.
    pub events: Vec<NewEvent>,
}

/// Where a task goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskTo {
    /// It stays open.
    Open(Progress),
    /// It is over.
    Closed(TaskState),
    /// It used up its tries, or cannot succeed: it waits for a person.
    Dead {
        /// What the dead letters are grouped by.
        cause: Box<str>,
    },
}

/// An attempt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which, from 1; grows by one with every attempt and every move by a person.
    pub number: u32,
    /// When it began.
    pub started: Time,
    /// Success, or why not: one word.
    pub result: AttemptResult,
    /// The rest, in a versioned format of the engine's: error, backtrace, log, sends, output, digest.
    pub detail: Bytes,
}

/// What an attempt came to, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AttemptResult {
    /// It succeeded.
    Succeeded = 1,
    /// The action had nothing to do.
    Skipped = 2,
    /// The action asked to be called again later.
    Resumed = 3,
    /// It failed, and is tried again.
    Failed = 4,
    /// It failed, for the last time.
    Dead = 5,
    /// A person, or a removed definition, ended it.
    Cancelled = 6,
    /// A person put it back to work.
    Redriven = 7,
}

impl AttemptResult {
    /// Whether the time that tries may go on for is counted anew after it.
    pub const fn begins_anew(self) -> bool {
        match self {
            Self::Resumed | Self::Redriven => true,
            Self::Succeeded | Self::Skipped | Self::Failed | Self::Dead | Self::Cancelled => false,
        }
    }
}

/// A receipt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRecord {
    /// The task.
    pub task: TaskId,
    /// The send's idempotency key, which names it across tries.
    pub key: Box<str>,
    /// The connection it went to.
    pub connection: Arc<str>,
    /// When it was confirmed.
    pub at: Time,
    /// The receipt.
    pub receipt: Receipt,
}

/// What a person does with dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMove {
    /// The tasks.
    pub tasks: Vec<TaskId>,
    /// When.
    pub now: Time,
    /// What is done with them.
    pub to: DeadTo,
    /// What stands among the attempts, in the engine's format: who did it.
    pub detail: Bytes,
}

/// What becomes of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadTo {
    /// Open again, with its tries from 0, under the same id and the same idempotency keys.
    Redriven,
    /// Cancelled, with the tasks that need it.
    Dropped,
}

/// A change of the configuration: every object or none.
#[derive(Clone, Debug)]
pub struct Configure {
    /// When.
    pub now: Time,
    /// Who.
    pub actor: Arc<str>,
    /// The objects.
    pub changes: Vec<ObjectChange>,
}

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
    pub fn of_tasks(tasks: impl Iterator<Item = TaskState> + Clone) -> Self {
        let any = |wanted: fn(TaskState) -> bool| tasks.clone().any(wanted);
        let waits = |state: TaskState| state.words().0 == "waiting";
        if any(|state| state == TaskState::Running) {
            Self::Running
        } else if any(waits) {
            // A task that waits only because the one it needs is dead will not move by itself.
            let stuck =
                any(|s| s == TaskState::Dead) && !tasks.clone().any(|s| waits(s) && s != TaskState::WaitingNeeds);
            if stuck { Self::Dead } else { Self::Waiting }
        } else if any(|state| state == TaskState::Scheduled) {
            Self::Scheduled
        } else if any(|state| state == TaskState::Held) {
            Self::Held
        } else if any(|state| state == TaskState::Dead) {
            Self::Dead
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
        check(&[Scheduled, Succeeded], RunState::Scheduled);
        check(&[Succeeded, Dead, Cancelled], RunState::Dead);
        check(&[Cancelled, Cancelled], RunState::Cancelled);
        check(&[Cancelled, Skipped], RunState::Skipped);
        check(&[Skipped, Succeeded, Cancelled], RunState::Succeeded);
        check(&[Held], RunState::Held);
    }
}
