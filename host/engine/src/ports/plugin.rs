//! The port of plugins: what a call is given, what it may do meanwhile, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::sink::{Failure, Message, Receipt};
use crate::event::Event;
use crate::time::Time;

/// One version of a plugin, compiled and ready to be called.
///
/// Calls never panic; a trap is an error value. A call may be dropped at any await: the guest is gone then, and only
/// what it did through its [`Hands`] stays. A call waits for a free place in the sandbox; it is never refused one.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// What the component exports.
    fn world(&self) -> World;

    /// Whether the component imports the ledger, so that its verdicts depend on what happened before.
    fn reads_past(&self) -> bool;

    /// Asks a condition. The same call gives the same answer.
    async fn judge(&self, call: JudgeCall, past: Arc<dyn Past>) -> Report<Verdict>;

    /// Has an action act.
    async fn perform(&self, call: PerformCall, hands: Arc<dyn Hands>) -> Report<Outcome>;
}

/// What a component is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Decides about an event.
    Condition,
    /// Does something about an event.
    Action,
}

impl World {
    /// The name of the WIT world.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Condition => "condition-plugin",
            Self::Action => "action-plugin",
        }
    }
}

/// What a condition is asked.
#[derive(Clone, Debug)]
pub struct JudgeCall {
    /// The event.
    pub event: Arc<Event>,
    /// The condition's configuration, JSON text.
    pub config: Arc<str>,
    /// The trigger that asks.
    pub trigger: Arc<str>,
    /// Whom or what the run would be about; empty for no one.
    pub subject: Arc<str>,
    /// The time that the guest's clock shows.
    pub now: Time,
    /// Facts that the trigger gathered, a JSON object.
    pub facts: Arc<str>,
}

/// What an action is given.
#[derive(Clone, Debug)]
pub struct PerformCall {
    /// The event.
    pub event: Arc<Event>,
    /// The action's configuration, JSON text, rendered for this run.
    pub config: Arc<str>,
    /// The trigger.
    pub trigger: Arc<str>,
    /// The run's public id.
    pub run: String,
    /// The action's name within the trigger.
    pub action: Arc<str>,
    /// Whom or what the run is about; empty for no one.
    pub subject: Arc<str>,
    /// 1 for the first try.
    pub attempt: u32,
    /// The time of this call.
    pub now: Time,
    /// Facts that the trigger gathered, a JSON object.
    pub facts: Arc<str>,
    /// The trace context that the attempt's sends continue.
    pub traceparent: Option<String>,
}

/// A condition's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the condition holds.
    pub matched: bool,
    /// One sentence for the person who asks why.
    pub reason: Option<String>,
}

/// An action's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Finished; the output is JSON text, empty for none.
    Done(String),
    /// Nothing to do after all, and why.
    Skipped(String),
    /// Call again at this time: neither a try nor an error.
    ResumeAt(Time),
}

/// What a call came to, and what is to be kept of it.
#[derive(Debug)]
pub struct Report<T> {
    /// The answer.
    pub answer: Result<T, CallError>,
    /// What the guest wrote.
    pub log: CallLog,
    /// The thread time that the guest took.
    pub cpu: Duration,
}

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest said so.
    #[error("{0}")]
    Failed(Failure),
    /// The guest trapped: a defect of the plugin.
    #[error("trap: {message}")]
    Trap {
        /// What the trap was.
        message: String,
        /// The guest's frames, symbolised.
        backtrace: String,
    },
    /// The guest went over a limit, named in the message.
    #[error("over the limit: {message}")]
    Limit {
        /// Which limit, and its value.
        message: String,
        /// The guest's frames, symbolised; empty where it was not in the guest's code.
        backtrace: String,
    },
    /// The host could not make the call; nothing of the guest ran.
    #[error("call plugin: {0}")]
    Host(String),
}

/// What the guest wrote during a call, bounded, with control characters escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallLog {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Standard error, where a language's panic or traceback goes.
    pub stderr: String,
    /// Lines beyond the bound, which were dropped.
    pub n_dropped: u32,
}

/// One line of a guest's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The line.
    pub text: String,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// For the plugin's author.
    Debug,
    /// For whoever reads the attempt.
    Info,
    /// Look at it tomorrow.
    Warn,
    /// Look at it now.
    Error,
}

impl LogLevel {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What happened before, for the ledger interface of plugins.
#[async_trait]
pub trait Past: Send + Sync {
    /// The runs of this trigger and subject that count, as of the moment the call began. Safe to drop.
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, Failure>;
}

/// How often a trigger ran for a subject, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Runs that count against caps.
    pub count: u32,
    /// When the last of them began.
    pub last: Option<Time>,
}

/// What an action may do through the host.
#[async_trait]
pub trait Hands: Past {
    /// Sends a message to the connection that the trigger bound to the request's label.
    ///
    /// `Ok` means that the remote confirmed now or at an earlier try. Dropped, the message may or may not have been
    /// sent; a later try carries the same idempotency key.
    async fn send(&self, request: SendRequest) -> Result<Receipt, Failure>;

    /// Reads the plugin's state of this trigger, as this attempt sees it: what it wrote itself first.
    async fn state_get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// Notes a change of the plugin's state; it is written when the attempt succeeds, and dropped otherwise.
    ///
    /// For `increment` the answer is the sum as this attempt sees it; for `compare-and-set` 1 where the value was as
    /// expected and 0 where it was not; else 0.
    async fn state_change(&self, op: StateOp) -> Result<i64, Failure>;
}

/// What a plugin asks to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRequest {
    /// The plugin's name for the connection.
    pub label: String,
    /// The message; what names the send and the attempt in it is the engine's to fill in.
    pub message: Message,
    /// Names this send across tries; by default its content does.
    pub dedup_key: Option<String>,
    /// Headers that the host completes, each with a secret that the grant lists.
    pub secret_headers: Vec<SecretHeader>,
}

/// A header whose value the plugin never sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHeader {
    /// The header's name.
    pub name: String,
    /// Stands before the secret, such as `Bearer `; may be empty.
    pub prefix: String,
    /// The name of the secret.
    pub secret: String,
}

/// A change of a plugin's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOp {
    /// Sets the value, for a while or for good.
    Set {
        /// The name of the value.
        key: String,
        /// The new value.
        value: Vec<u8>,
        /// How long it lives; for good when absent.
        ttl: Option<Duration>,
    },
    /// Sets the value if it is as expected (none: absent).
    CompareAndSet {
        /// The name of the value.
        key: String,
        /// What it has to be.
        expected: Option<Vec<u8>>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Adds to a decimal number, from 0 when absent.
    Increment {
        /// The name of the value.
        key: String,
        /// What to add.
        by: i64,
    },
    /// Removes the value.
    Remove {
        /// The name of the value.
        key: String,
    },
}

impl StateOp {
    /// The name of the value that changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. }
            | Self::CompareAndSet { key, .. }
            | Self::Increment { key, .. }
            | Self::Remove { key } => key,
        }
    }
}
