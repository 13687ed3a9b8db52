//! What an action may return.

pub use crate::bindings::action_world::exports::trapjaw::plugin::action::Outcome;

use serde::Serialize;
use serde_json::Value;

use crate::Failure;

impl Outcome {
    /// Finished, with an output that later actions and people can read: `Outcome::done(json!({"id": 1}))`.
    pub fn done(output: impl Into<Value>) -> Self {
        Self::Done(output.into().to_string())
    }

    /// Finished, with anything that serde can write as the output.
    pub fn done_with<T: Serialize + ?Sized>(output: &T) -> Result<Self, Failure> {
        Ok(Self::Done(serde_json::to_string(output)?))
    }

    /// Nothing to do after all, and why.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::Skipped(reason.into())
    }

    /// Asks to be called again at this time, in microseconds since the Unix epoch.
    pub fn resume_at(time_us: u64) -> Self {
        Self::ResumeAt(time_us)
    }
}

/// What `#[action]` accepts: [`Outcome`], `()` for no output, a JSON [`Value`] as the output, or a `Result` of one of them.
#[diagnostic::on_unimplemented(
    message = "an action returns `()`, `Outcome`, `Value`, or a `Result` of one of them with `Failure`",
    label = "not one of these"
)]
pub trait IntoOutcome {
    /// Turns it into what the host gets.
    fn into_outcome(self) -> Result<Outcome, Failure>;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(self)
    }
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome::Done(String::new()))
    }
}

impl IntoOutcome for Value {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        Ok(Outcome::Done(self.to_string()))
    }
}

impl<T: IntoOutcome, E: Into<Failure>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        self.map_err(Into::into)?.into_outcome()
    }
}
