//! Making failures: the kind decides whether the host tries again.

use std::time::Duration;

use crate::{Failure, FailureKind};

impl Failure {
    /// Trying again may help.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Transient, message.into())
    }

    /// Trying again cannot help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, message.into())
    }

    /// Configuration, input or grants are wrong; the trigger's author gets to see it.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Rejected, message.into())
    }

    /// Asks for the next try no sooner than this; it has a meaning for `transient` only.
    pub fn after(mut self, wait: Duration) -> Self {
        self.after_ms = Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Says what was being done: `send invoice` makes `send invoice: connection refused`.
    pub fn context(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    fn new(kind: FailureKind, message: String) -> Self {
        Self { kind, message, after_ms: None }
    }
}

/// JSON that cannot be read or written does not get better by trying again.
impl From<serde_json::Error> for Failure {
    fn from(err: serde_json::Error) -> Self {
        Self::rejected(err.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wait: Duration, expected_ms: u32) {
        let failure = Failure::transient("x").after(wait);
        assert_eq!(failure.after_ms, Some(expected_ms));
        assert_eq!(failure.kind, FailureKind::Transient);
    }

    #[test]
    fn waits_are_whole_milliseconds_and_never_overflow() {
        check(Duration::from_micros(1_999), 1);
        check(Duration::from_secs(2), 2_000);
        check(Duration::MAX, u32::MAX);
    }

    #[test]
    fn context_stands_before_the_message() {
        assert_eq!(Failure::permanent("refused").context("send").message, "send: refused");
    }
}
