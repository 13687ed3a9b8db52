//! A condition that misbehaves as its config says, to test the sandbox; what it has to report is the reason.

use hostile_common::{Config, Done, commit};
use trapjaw_sdk::{Failure, Value, Verdict};

#[trapjaw_sdk::condition]
fn misbehave(config: Config) -> Result<Verdict, Failure> {
    match commit(&config)? {
        Done::Report(Value::String(text)) => Ok(Verdict::yes(text)),
        Done::Report(report) => Ok(Verdict::yes(report.to_string())),
        Done::Yours(_) => Err(Failure::rejected(format!("a condition cannot do {:?}", config.r#do))),
    }
}
