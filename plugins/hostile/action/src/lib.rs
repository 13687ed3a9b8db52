//! An action that misbehaves as its config says, to test the sandbox; what it has to report is the output.

use hostile_common::{Config, Done, Misdeed, commit};
use trapjaw_sdk::sinks::{self, Message};
use trapjaw_sdk::{Context, Failure, Outcome, state};

#[trapjaw_sdk::action]
fn misbehave(config: Config, context: &Context) -> Result<Outcome, Failure> {
    let amount = match commit(&config)? {
        Done::Report(report) => return Ok(Outcome::done(report)),
        Done::Yours(amount) => amount,
    };
    match config.r#do {
        Misdeed::InvalidJson => Ok(Outcome::Done("{not json".to_owned())),
        Misdeed::ManySends => send_many(amount),
        Misdeed::UngrantedLabel => {
            sinks::send("nobody-granted-this", Message::text("x"))?;
            Ok(Outcome::done("the send went out"))
        }
        Misdeed::StateFlood => fill_state(amount),
        Misdeed::ResumeAt => Ok(Outcome::resume_at(resume_time_us(&config, context))),
        Misdeed::Skip => Ok(Outcome::skipped("told to skip")),
        other => Err(Failure::rejected(format!("an action cannot do {other:?}"))),
    }
}

/// Different messages on the label `out`, so that none is taken for a repeat.
fn send_many(n_sends: u64) -> Result<Outcome, Failure> {
    for n in 0..n_sends {
        sinks::send("out", Message::text(format!("message {n}")))?;
    }
    Ok(Outcome::done(format!("sent {n_sends}")))
}

fn fill_state(n_keys: u64) -> Result<Outcome, Failure> {
    let value = vec![b'x'; 64 << 10];
    for n in 0..n_keys {
        state::set(&format!("key-{n}"), &value)?;
    }
    Ok(Outcome::done(format!("set {n_keys}")))
}

/// So many milliseconds after this call, by default one second.
fn resume_time_us(config: &Config, context: &Context) -> u64 {
    context.now_us.saturating_add(config.amount.unwrap_or(1_000).saturating_mul(1_000))
}
