//! What the engine has the store write: a closed set of commands, validated before they are made.
//!
//! A command is a value. It never fails because of its content: a conflict is a [`Reply`], and the batch goes on.

mod state;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Event;
use crate::id::{EventId, RunId, TaskId};
use crate::ports::{ObjectChange, PluginVersion, Receipt, StateOp};
use crate::time::Time;

pub use state::{RunState, TaskState};

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
    Moved(Vec<Moved>),
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

/// A dead letter that was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub run: RunId,
    /// Whether the run was over, and is open again.
    pub begins_again: bool,
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
    /// Cancelled. What needs it follows, when the engine has looked at what the trigger says.
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
