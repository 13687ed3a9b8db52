//! What a condition may return.

pub use crate::bindings::condition_world::exports::trapjaw::plugin::condition::Verdict;

use crate::Failure;

impl Verdict {
    /// A verdict with its reason: one sentence for the person who asks why.
    pub fn new(matched: bool, reason: impl Into<String>) -> Self {
        Self { matched, reason: Some(reason.into()) }
    }

    /// The condition holds.
    pub fn yes(reason: impl Into<String>) -> Self {
        Self::new(true, reason)
    }

    /// The condition does not hold.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::new(false, reason)
    }
}

/// What `#[condition]` accepts: `bool`, [`Verdict`], or a `Result` of one of them.
#[diagnostic::on_unimplemented(
    message = "a condition returns `bool`, `Verdict`, or a `Result` of one of them with `Failure`",
    label = "not one of these"
)]
pub trait IntoVerdict {
    /// Turns it into what the host gets.
    fn into_verdict(self) -> Result<Verdict, Failure>;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Result<Verdict, Failure> {
        Ok(self)
    }
}

impl IntoVerdict for bool {
    fn into_verdict(self) -> Result<Verdict, Failure> {
        Ok(Verdict { matched: self, reason: None })
    }
}

impl<T: IntoVerdict, E: Into<Failure>> IntoVerdict for Result<T, E> {
    fn into_verdict(self) -> Result<Verdict, Failure> {
        self.map_err(Into::into)?.into_verdict()
    }
}
