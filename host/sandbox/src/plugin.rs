//! A component that is compiled and linked, as the engine calls it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use async_trait::async_trait;
use serde::de::IgnoredAny;
use trapjaw_engine::event::{Event, JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::ports::{
    CallError, Failure, Hands, JudgeCall, Outcome, Past, PerformCall, Plugin, Report, Verdict, World,
};
use trapjaw_engine::time::Time;
use wasmtime::Store;

use crate::bindings::action::ActionPluginPre;
use crate::bindings::action::exports::trapjaw::plugin::action;
use crate::bindings::types;
use crate::call::{Broken, not_made};
use crate::guest::{Doors, Guest};
use crate::imports::from_guest;
use crate::judge::Condition;
use crate::sandbox::Sandbox;
use crate::settings::{OUTPUT_BYTES_MAX, REASON_BYTES_MAX};
use crate::text;
use crate::wasi::WasiOf;

/// A component, ready to be called. Its code is freed when the last call of it is over.
pub(crate) struct Linked {
    sandbox: Arc<Sandbox>,
    code: Code,
    reads_past: bool,
}

/// A component with its imports resolved.
pub(crate) enum Code {
    Condition(Box<Condition>),
    Action(Box<ActionPluginPre<Guest>>),
}

impl Linked {
    pub(crate) fn new(sandbox: Arc<Sandbox>, code: Code, reads_past: bool) -> Self {
        sandbox.n_linked.fetch_add(1, Ordering::Relaxed);
        Self { sandbox, code, reads_past }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        if let Code::Condition(condition) = &self.code
            && let Some(version) = &condition.version
        {
            self.sandbox.warm_pool.forget(version);
        }
        self.sandbox.n_linked.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Plugin for Linked {
    fn world(&self) -> World {
        match self.code {
            Code::Condition(_) => World::Condition,
            Code::Action(_) => World::Action,
        }
    }

    fn reads_past(&self) -> bool {
        self.reads_past
    }

    async fn judge(&self, call: JudgeCall, past: Arc<dyn Past>) -> Report<Verdict> {
        match &self.code {
            Code::Condition(condition) => condition.judge(&self.sandbox, &call, past).await,
            Code::Action(_) => not_made("the plugin is an action, not a condition"),
        }
    }

    async fn perform(&self, call: PerformCall, hands: Arc<dyn Hands>) -> Report<Outcome> {
        let Code::Action(pre) = &self.code else {
            return not_made("the plugin is a condition, not an action");
        };
        let lane = &self.sandbox.actions;
        let doors = Doors::of_action(Arc::clone(&call.trigger), Arc::clone(&call.subject), hands, lane.limits());
        let place = lane.take_place().await;
        let mut room = lane.open(Guest::new(WasiOf::Action(call.now, Instant::now()), lane.limits(), doors));
        let answer = lane.call(&place, &room.meter, act(pre, &call, &mut room.store)).await;
        Report { answer: answer.and_then(read), log: room.store.data_mut().take_log(), cpu: room.meter.so_far() }
    }
}

async fn act(
    pre: &ActionPluginPre<Guest>,
    call: &PerformCall,
    store: &mut Store<Guest>,
) -> Result<Result<action::Outcome, types::Failure>, Broken> {
    let instance = pre.instantiate_async(&mut *store).await.map_err(Broken::instantiate)?;
    let extensions = extensions(&call.event);
    let trace: Vec<_> = call.traceparent.iter().map(|value| ("traceparent", value.as_str())).collect();
    let context = types::Context {
        run_id: &call.run,
        trigger: &call.trigger,
        action: &call.action,
        subject: &call.subject,
        attempt: call.attempt,
        now_us: call.now.as_micros(),
        facts: &call.facts,
        extensions: &trace,
    };
    let action = instance.trapjaw_plugin_action();
    action.call_perform(store, event(&call.event, &extensions), &call.config, context).await.map_err(Broken::call)
}

fn read(answer: Result<action::Outcome, types::Failure>) -> Result<Outcome, CallError> {
    match answer.map_err(|failure| CallError::Failed(from_guest(failure)))? {
        action::Outcome::Done(output) => done(output),
        action::Outcome::Skipped(reason) => Ok(Outcome::Skipped(within("reason", reason, REASON_BYTES_MAX)?)),
        action::Outcome::ResumeAt(us) => match i64::try_from(us) {
            Ok(us) => Ok(Outcome::ResumeAt(Time(us))),
            Err(_) => Err(rejected(format!("the time to resume at, {us} µs, is beyond the end of time"))),
        },
    }
}

pub(crate) fn extensions(event: &Event) -> Vec<(&str, &str)> {
    event.extensions.iter().map(|(name, value)| (&**name, &**value)).collect()
}

pub(crate) fn event<'a>(event: &'a Event, extensions: &'a [(&'a str, &'a str)]) -> types::Event<'a> {
    types::Event {
        id: &event.id,
        source: &event.source,
        type_: &event.kind,
        subject: event.subject.as_deref(),
        time_us: event.time.as_micros(),
        content_type: event.content_type.as_deref(),
        data: &event.data,
        extensions,
    }
}

/// An output that others can read: JSON, or nothing.
fn done(output: String) -> Result<Outcome, CallError> {
    let output = within("output", output, OUTPUT_BYTES_MAX)?;
    if output.is_empty() {
        return Ok(Outcome::Done(output));
    }
    if is_deeper(output.as_bytes(), JSON_DEPTH_MAX) {
        return Err(rejected(format!("the output is nested deeper than {JSON_DEPTH_MAX}")));
    }
    match serde_json::from_str::<IgnoredAny>(&output) {
        Ok(IgnoredAny) => Ok(Outcome::Done(output)),
        Err(err) => Err(rejected(format!("the output is not JSON: {err}"))),
    }
}

pub(crate) fn within(what: &str, value: String, bytes_max: usize) -> Result<String, CallError> {
    if value.len() <= bytes_max {
        return Ok(value);
    }
    let message = format!("{what} of {} bytes, and {} is the most", value.len(), text::bytes(bytes_max));
    Err(CallError::Limit { message, backtrace: String::new() })
}

fn rejected(message: String) -> CallError {
    CallError::Failed(Failure::rejected(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_json_or_nothing() {
        let check = |output: &str, expected: &str| match done(output.into()) {
            Ok(outcome) => assert_eq!(format!("{outcome:?}"), expected),
            Err(err) => assert_eq!(err.to_string(), expected),
        };
        check("", r#"Done("")"#);
        check(r#"{"a":1}"#, r#"Done("{\"a\":1}")"#);
        check("{not json", "the output is not JSON: key must be a string at line 1 column 2");
        check("1 2", "the output is not JSON: trailing characters at line 1 column 3");
        check(&"[".repeat(100), "the output is nested deeper than 64");
        let long = format!("\"{}\"", "x".repeat(OUTPUT_BYTES_MAX));
        check(&long, "over the limit: output of 1048578 bytes, and 1 MiB is the most");
    }
}
