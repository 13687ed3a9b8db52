//! The ports: what the engine needs of the world, as small traits that the other crates implement.
//!
//! An `Ok` is a promise and says which. Every future may be dropped at any await; what that means stands at the method.

mod plugin;
mod sink;
mod store;

use async_trait::async_trait;

pub use plugin::{
    Activity, CallError, CallLog, Hands, JudgeCall, LogLevel, LogLine, Outcome, Past, PerformCall, Plugin, Report,
    SecretHeader, SendRequest, StateOp, Verdict, World,
};
pub use sink::{Failure, FailureKind, Message, Receipt, Refusal, SendError, Sink};
pub use store::{
    AttemptView, Catalog, Conflict, DeadFilter, DeadView, EventFilter, EventView, Ledger, Object, ObjectChange, Page,
    PluginVersion, Rows, RunFilter, RunView, Snapshot, Store, StoreError, SubjectView, TaskView, VersionView, Work,
    WorkPage,
};

use crate::time::Time;

/// What time it is. The daemon reads the system's clock; tests bring their own.
pub trait Clock: Send + Sync {
    /// The moment of the call. It may stand still or step back; no caller may rely on more.
    fn now(&self) -> Time;
}

/// Randomness for jitter. The daemon seeds it from the system; tests from a number.
pub trait Dice: Send + Sync {
    /// A number in `0.0..1.0`.
    fn roll(&self) -> f64;
}

/// Looks up current data, read only, for a decision. Reserved: nothing implements it yet.
#[async_trait]
pub trait Facts: Send + Sync {
    /// The value of one fact, as JSON text. `Ok` is recorded with the evaluation. Safe to drop.
    async fn gather(&self, connection: &str, query: &str, args: &[serde_json::Value]) -> Result<Box<str>, Failure>;
}
