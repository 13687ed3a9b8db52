//! A component that is compiled and linked, as the engine calls it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use serde::de::IgnoredAny;
use trapjaw_engine::event::{Event, JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::ports::{
    CallError, Failure, Hands, JudgeCall, Outcome, Past, PerformCall, Plugin, Report, Verdict, World,
};
use trapjaw_engine::time::Time;

use crate::bindings::action::ActionPluginPre;
use crate::bindings::action::exports::trapjaw::plugin::action;
use crate::bindings::condition::ConditionPluginPre;
use crate::bindings::types;
use crate::call::{Broken, not_made};
use crate::guest::{Doors, Guest};
use crate::imports::from_guest;
use crate::sandbox::Sandbox;
use crate::settings::{OUTPUT_BYTES_MAX, REASON_BYTES_MAX};
use crate::text;
use crate::wasi::WasiOf;

/// A component, ready to be called. Its code is freed when the last call of it is over.
pub(crate) struct Linked {
    sandbox: Arc<Sandbox>,
    pre: Pre,
    reads_past: bool,
}

/// A component with its imports resolved.
pub(crate) enum Pre {
    Condition(Arc<ConditionPluginPre<Guest>>),
    Action(Arc<ActionPluginPre<Guest>>),
}

impl Linked {
    pub(crate) fn new(sandbox: Arc<Sandbox>, pre: Pre, reads_past: bool) -> Self {
        sandbox.n_linked.fetch_add(1, Ordering::Relaxed);
        Self { sandbox, pre, reads_past }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.sandbox.n_linked.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Plugin for Linked {
    fn world(&self) -> World {
        match self.pre {
            Pre::Condition(_) => World::Condition,
            Pre::Action(_) => World::Action,
        }
    }

    fn reads_past(&self) -> bool {
        self.reads_past
    }

    async fn judge(&self, call: JudgeCall, past: Arc<dyn Past>) -> Report<Verdict> {
        let Pre::Condition(pre) = &self.pre else {
            return not_made("the plugin is an action, not a condition");
        };
        let (lane, pre) = (&self.sandbox.conditions, Arc::clone(pre));
        let doors = Doors::of_condition(Arc::clone(&call.trigger), Arc::clone(&call.subject), past);
        let guest = Guest::new(WasiOf::Condition(call.clone()), lane.limits(), doors);
        let report = lane.call(guest, move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await.map_err(Broken::instantiate)?;
                let extensions = extensions(&call.event);
                let event = event(&call.event, &extensions);
                let context = types::Context {
                    run_id: "",
                    trigger: &call.trigger,
                    action: "",
                    subject: &call.subject,
                    attempt: 1,
                    now_us: call.now.as_micros(),
                    facts: &call.facts,
                    extensions: &[],
                };
                let condition = instance.trapjaw_plugin_condition();
                condition.call_evaluate(store, event, &call.config, context).await.map_err(Broken::call)
            })
        });
        then(report.await, |answer| {
            let verdict = answer.map_err(|failure| CallError::Failed(from_guest(failure)))?;
            let reason = verdict.reason.map(|reason| within("reason", reason, REASON_BYTES_MAX)).transpose()?;
            Ok(Verdict { matched: verdict.matched, reason })
        })
    }

    async fn perform(&self, call: PerformCall, hands: Arc<dyn Hands>) -> Report<Outcome> {
        let Pre::Action(pre) = &self.pre else {
            return not_made("the plugin is a condition, not an action");
        };
        let (lane, pre) = (&self.sandbox.actions, Arc::clone(pre));
        let doors = Doors::of_action(Arc::clone(&call.trigger), Arc::clone(&call.subject), hands, lane.limits());
        let guest = Guest::new(WasiOf::Action(call.now), lane.limits(), doors);
        let report = lane.call(guest, move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await.map_err(Broken::instantiate)?;
                let extensions = extensions(&call.event);
                let event = event(&call.event, &extensions);
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
                action.call_perform(store, event, &call.config, context).await.map_err(Broken::call)
            })
        });
        then(report.await, |answer| match answer.map_err(|failure| CallError::Failed(from_guest(failure)))? {
            action::Outcome::Done(output) => done(output),
            action::Outcome::Skipped(reason) => Ok(Outcome::Skipped(within("reason", reason, REASON_BYTES_MAX)?)),
            action::Outcome::ResumeAt(us) => match i64::try_from(us) {
                Ok(us) => Ok(Outcome::ResumeAt(Time(us))),
                Err(_) => Err(rejected(format!("the time to resume at, {us} µs, is beyond the end of time"))),
            },
        })
    }
}

/// The report with its answer read further.
fn then<A, B>(report: Report<A>, read: impl FnOnce(A) -> Result<B, CallError>) -> Report<B> {
    Report { answer: report.answer.and_then(read), log: report.log, cpu: report.cpu }
}

fn extensions(event: &Event) -> Vec<(&str, &str)> {
    event.extensions.iter().map(|(name, value)| (&**name, &**value)).collect()
}

fn event<'a>(event: &'a Event, extensions: &'a [(&'a str, &'a str)]) -> types::Event<'a> {
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

fn within(what: &str, value: String, bytes_max: usize) -> Result<String, CallError> {
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
