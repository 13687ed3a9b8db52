//! The ports of durable state: one to write, one to read, one for definitions and plugins.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::plugin::Activity;
use super::sink::Receipt;
use crate::event::Event;
use crate::id::{EventId, RunId, TaskId};
use crate::record::{AttemptResult, Command, Progress, Reply, RunState, TaskState};
use crate::time::Time;

/// Writes. There is one owner of a store's shard; a host that lost it gets [`StoreError::Lost`] and writes nothing.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes the commands durable, together and in their order, and says what became of each.
    ///
    /// `Ok` means on stable storage. Calls that wait at the same time may share one commit. A future that is dropped
    /// before it returned leaves the commands either all written or none.
    async fn commit(&self, commands: Vec<Command>) -> Result<Vec<Reply>, StoreError>;

    /// Open work in the order of its tasks' ids, for dispatch: after a start, and when memory has room again. Of the
    /// attempts of each task the first and the last are with it.
    async fn work(&self, page: WorkPage) -> Result<Work, StoreError>;

    /// How many runs have an open task.
    async fn n_open_runs(&self) -> Result<u64, StoreError>;

    /// What earlier tries of a task sent, by idempotency key.
    async fn sends(&self, task: TaskId) -> Result<Vec<(Box<str>, Receipt)>, StoreError>;

    /// Whether the plugin is known to keep as many values for the trigger as it may: a commit with a new one was, or
    /// would be, answered with [`Reply::StateConflict`]. Known once the plugin brought a new one since the start, and
    /// no sooner than that commit's answer; cheap where the answer is no.
    async fn is_state_full(&self, plugin: &str, trigger: &str, now: Time) -> Result<bool, StoreError>;

    /// A value of a plugin's state, unless its time to live is over.
    async fn state(&self, plugin: &str, trigger: &str, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError>;

    /// How often the trigger ran for the subject, as caps count it.
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, StoreError>;
}

/// Reads, for people. Never waited for by the hot path. Every listing is newest first.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<EventView>, StoreError>;

    /// Events.
    async fn events(&self, filter: EventFilter, page: Page) -> Result<Rows<EventView>, StoreError>;

    /// One run, with its tasks, their attempts and sends. Where they are too many or too large, those in the middle are
    /// left out; of attempts the numbers tell.
    async fn run(&self, id: RunId) -> Result<Option<RunView>, StoreError>;

    /// Runs, with their tasks but without attempts.
    async fn runs(&self, filter: RunFilter, page: Page) -> Result<Rows<RunView>, StoreError>;

    /// Dead letters.
    async fn dead(&self, filter: DeadFilter, page: Page) -> Result<Vec<DeadView>, StoreError>;

    /// A subject's runs by trigger.
    async fn subject(&self, subject: &str) -> Result<Vec<SubjectView>, StoreError>;
}

/// Definitions and plugin versions. Versions are immutable; what is current is the last one.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// All current objects, as of one revision.
    async fn snapshot(&self) -> Result<Snapshot, StoreError>;

    /// All versions of one object, newest first.
    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Object>, StoreError>;

    /// One version of one object.
    async fn object(&self, kind: &str, name: &str, version: i64) -> Result<Option<Object>, StoreError>;

    /// All versions of one plugin, or of all, newest first, without their bytes.
    async fn versions(&self, plugin: Option<&str>) -> Result<Vec<VersionView>, StoreError>;

    /// The bytes of a component by its SHA-256, in hex.
    async fn component(&self, digest: &str) -> Result<Option<Bytes>, StoreError>;
}

/// The store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A write may or may not be on stable storage. The host has to stop: to go on would be to guess.
    #[error("write to the store")]
    Fatal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A read failed; nothing has changed.
    #[error("read from the store")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another host owns the shard.
    #[error("write to the store: another host has taken over")]
    Lost,
    /// The disk has too little room for new events.
    #[error("write to the store: {0}")]
    Full(&'static str),
    /// The store is closed, or whoever would have asked it has ended.
    #[error("use the store: {0}")]
    Closed(&'static str),
}

/// Which part of a listing. Newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only rows with a smaller number, when given.
    pub before: Option<i64>,
    /// At most this many rows.
    pub rows_max: u32,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether the listing ends here. If not, the page was cut at its number of rows, or where it grew too large for
    /// memory; there is one row in it at least, and the next page begins before the last one.
    pub is_all: bool,
}

/// Open work that was loaded.
#[derive(Clone, Debug)]
pub struct Work {
    /// The runs, in the page's order, each whole.
    pub runs: Vec<RunView>,
    /// Whether the page ends here. If not, it was cut at its number of runs, or where it grew too large for memory;
    /// there is one run in it at least.
    pub is_all: bool,
}

/// Which open work to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkPage {
    /// Runs with an open task whose number is above this, in order; tasks that are due later than `due_max` are left
    /// out where the run has no other.
    After {
        /// The last task that was seen.
        task: i64,
        /// Only this trigger's, when given.
        trigger: Option<Arc<str>>,
        /// Leave out what is due later.
        due_max: Time,
        /// At most this many runs.
        runs_max: u32,
    },
    /// Runs with an open task that is due in this time, exclusive of its start, inclusive of its end, in order of due.
    Due {
        /// From, exclusive.
        after: Time,
        /// To, inclusive.
        until: Time,
        /// At most this many runs.
        runs_max: u32,
    },
    /// These runs. They are loaded all, so there are few of them.
    Runs(Vec<RunId>),
}

/// An event as it is kept.
#[derive(Clone, Debug)]
pub struct EventView {
    /// Its id.
    pub id: EventId,
    /// When it was taken.
    pub received: Time,
    /// The event.
    pub event: Arc<Event>,
    /// The evaluations, in the engine's format.
    pub evaluations: Bytes,
    /// The runs it caused: the first, and how many.
    pub runs: Option<(RunId, u32)>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this CloudEvents source.
    pub source: Option<String>,
    /// With this CloudEvents id.
    pub id: Option<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// Taken at or after.
    pub since: Option<Time>,
    /// Taken before.
    pub until: Option<Time>,
}

/// A run as it is kept.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// The event's id.
    pub event_id: EventId,
    /// The event; only where the call says so.
    pub event: Option<Arc<Event>>,
    /// The trigger.
    pub trigger: Arc<str>,
    /// Its version when the run began.
    pub trigger_version: i64,
    /// Whom or what it is about; empty for no one.
    pub subject: Arc<str>,
    /// Which of the event's subjects.
    pub subject_no: u32,
    /// What it is ordered by, if it is.
    pub order_key: Option<Arc<str>>,
    /// What it is.
    pub state: RunState,
    /// When it began.
    pub created: Time,
    /// When it ended, if it has.
    pub ended: Option<Time>,
    /// The evaluation of a judgement after the append, in the engine's format; empty for none.
    pub evaluation: Bytes,
    /// Its tasks, in the order of their actions.
    pub tasks: Vec<TaskView>,
}

/// A task as it is kept.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// The action's name; empty for judging.
    pub action: Arc<str>,
    /// The action's place, or [`TASK_JUDGE`](crate::record::TASK_JUDGE).
    pub ordinal: i32,
    /// Where it stands.
    pub progress: Progress,
    /// The number of the last attempt or move; 0 for none.
    pub attempt_last: u32,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// What it sent: idempotency key, connection, when, receipt.
    pub sends: Vec<(Box<str>, Arc<str>, Time, Receipt)>,
}

/// An attempt as it is kept.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Which, from 1.
    pub number: u32,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// What it came to.
    pub result: AttemptResult,
    /// What the task was after it.
    pub state: TaskState,
    /// The rest, in the engine's format.
    pub detail: Bytes,
}

/// Which runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this trigger.
    pub trigger: Option<String>,
    /// In this state.
    pub state: Option<RunState>,
    /// Of this event.
    pub event: Option<EventId>,
    /// About this subject.
    pub subject: Option<String>,
    /// Begun at or after.
    pub since: Option<Time>,
    /// Begun before.
    pub until: Option<Time>,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadView {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub run: RunId,
    /// The event.
    pub event: EventId,
    /// The trigger.
    pub trigger: Arc<str>,
    /// The action's name; empty for a judgement.
    pub action: Arc<str>,
    /// When it died.
    pub at: Time,
    /// What it is grouped by.
    pub cause: Box<str>,
    /// How many attempts were made.
    pub attempts: u32,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    /// Of this trigger.
    pub trigger: Option<String>,
    /// Of this cause.
    pub cause: Option<String>,
    /// These tasks only, when not empty.
    pub tasks: Vec<TaskId>,
}

/// A subject and one trigger.
#[derive(Clone, Debug)]
pub struct SubjectView {
    /// The trigger.
    pub trigger: Arc<str>,
    /// How often, and when last.
    pub activity: Activity,
}

/// One version of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `trigger`, `connection`, `source`, `secret`, `plugin`, `token` or `setting`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its version, from 1.
    pub version: i64,
    /// The revision of the configuration that brought this version.
    pub revision: i64,
    /// JSON text, or whatever the daemon made of it (a secret is sealed).
    pub body: Bytes,
    /// Who made it.
    pub actor: Arc<str>,
    /// When.
    pub at: Time,
    /// Whether this version is the object's removal.
    pub removed: bool,
}

/// A new version of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    /// The kind.
    pub kind: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The new body; none removes the object.
    pub body: Option<Bytes>,
    /// The version it has to have now: 0 for an object that must not exist, none for any.
    pub expected: Option<i64>,
}

/// An object was not at the version that a change expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The kind.
    pub kind: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// The version it has; 0 when it does not exist.
    pub version: i64,
}

/// All current objects.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The revision; 0 for an empty store.
    pub revision: i64,
    /// The objects that are not removed, in order of kind and name.
    pub objects: Vec<Object>,
}

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginVersion {
    /// What is known of it.
    pub view: VersionView,
    /// The component.
    pub bytes: Bytes,
}

/// What is known of a version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionView {
    /// The plugin.
    pub plugin: Arc<str>,
    /// The version's name, such as `1.2.0`.
    pub version: Arc<str>,
    /// SHA-256 of the component, in hex.
    pub digest: Arc<str>,
    /// The component's size in bytes.
    pub size: u64,
    /// What else was found at the upload (world, imports, exports, manifest), JSON text of the daemon's.
    pub about: Bytes,
    /// Who uploaded it.
    pub actor: Arc<str>,
    /// When.
    pub at: Time,
}
