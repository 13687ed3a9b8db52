//! The port of sinks: what a message is, and what becomes of it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A connection's live end: sends messages to one remote.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends the message, once.
    ///
    /// `Ok` means that the remote confirmed. The sink does not retry by itself, and carries the message's
    /// idempotency key where its protocol has a place for one. Dropped before it returned, the message may or may
    /// not have been sent; nothing else is left behind. The caller sets the time limit.
    async fn send(&self, message: &Message) -> Result<Receipt, SendError>;

    /// Whether the remote can be reached and takes our credentials, without an effect there. Safe to drop.
    async fn probe(&self) -> Result<(), SendError>;
}

/// What one send carries. Its headers and options may hold secrets, so `Debug` shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The body.
    pub body: Bytes,
    /// Its media type.
    pub content_type: String,
    /// Headers or attributes: name and value.
    pub headers: Vec<(String, String)>,
    /// Partition, routing, group or ordering key, by the kind of sink.
    pub key: Option<String>,
    /// Options of the kind of sink, beyond what the connection fixes.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// The same for every try of this send, and for no other.
    pub idempotency_key: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The W3C trace context that the send belongs to.
    pub traceparent: Option<String>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("body_bytes", &self.body.len())
            .field("content_type", &self.content_type)
            .field("key", &self.key)
            .field("idempotency_key", &self.idempotency_key)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// What the remote said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The remote's own id of what was sent, where it gives one.
    pub id: Option<String>,
    /// The HTTP status, where the protocol has one.
    pub status: Option<u16>,
    /// The media type of `body`.
    pub content_type: Option<String>,
    /// The answer, cut at [`RECEIPT_BYTES_MAX`](crate::limits::RECEIPT_BYTES_MAX).
    pub body: Bytes,
    /// An earlier try had made this send already; this is its receipt.
    pub replayed: bool,
}

/// A send that was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// Whether another try may help, and who else is to know.
    pub refusal: Refusal,
    /// One sentence for people, without credentials.
    pub message: String,
    /// The HTTP status, where the protocol has one.
    pub status: Option<u16>,
    /// The start of the answer, for people.
    pub answer: Bytes,
}

/// What an unconfirmed send means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another try may help, no sooner than after the time the remote named.
    Retry(Option<Duration>),
    /// The remote, or a guard before it, refused this message: another try cannot help.
    Permanent,
    /// The remote refused our credentials: the connection is to pause until a test passes.
    Unauthorized,
}

/// What is to become of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Trying again may help.
    Transient,
    /// Trying again cannot help.
    Permanent,
    /// Configuration, input or grants are wrong: trying again cannot help, and the trigger's author is to know.
    Rejected,
}

impl FailureKind {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Rejected => "rejected",
        }
    }
}

/// The one error that doors return to plugins, and plugins to the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What is to become of the call.
    pub kind: FailureKind,
    /// One sentence for people.
    pub message: String,
    /// For transient failures: try again no sooner than this from now.
    pub after: Option<Duration>,
}

impl Failure {
    /// A failure that another try may get past.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Transient, message: message.into(), after: None }
    }

    /// A failure that no other try gets past.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, message: message.into(), after: None }
    }

    /// A failure that the trigger's author has to mend.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Rejected, message: message.into(), after: None }
    }
}
