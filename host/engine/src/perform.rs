//! Performing: one attempt of one action, from the plan that it pins to how it ended.

mod hands;
mod message;

use std::sync::Arc;

use serde_json::Value;

use crate::deliver::{Doors, NotSent};
use crate::evaluation::{AttemptDetail, PluginAsked};
use crate::event::Event;
use crate::id::{RunId, TaskId};
use crate::plan::{Act, ActionPlan, PluginPlan, SendPlan, TriggerPlan};
use crate::ports::{CallError, Clock, FailureKind, Outcome, PerformCall, Refusal, SendError, StateOp, Store};
use crate::settle::End;
use crate::template::{Scope, Template};
use crate::time::Time;

use hands::PluginHands;
pub use message::{Rendered, idempotency_key, render};

/// What an attempt needs of the world.
#[derive(Clone)]
pub struct Tools {
    /// Receipts and state.
    pub store: Arc<dyn Store>,
    /// The way out.
    pub doors: Arc<Doors>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// One attempt to be made.
#[derive(Clone)]
pub struct Attempt {
    /// The trigger, as it is now.
    pub trigger: Arc<TriggerPlan>,
    /// The action's place in it.
    pub action_at: usize,
    /// The run.
    pub run: RunId,
    /// The task.
    pub task: TaskId,
    /// The event.
    pub event: Arc<Event>,
    /// Whom or what the run is about.
    pub subject: Arc<str>,
    /// Tries before this one.
    pub tries: u32,
    /// Whether an attempt was made before, in this process or in an earlier one.
    pub is_again: bool,
    /// What earlier actions of the run gave, by name.
    pub outputs: Arc<Value>,
    /// The message, where an earlier try rendered it.
    pub rendered: Option<Arc<Rendered>>,
    /// Whether the first attempt on record holds the message.
    pub is_request_kept: bool,
}

/// What came of an attempt.
pub struct Performed {
    /// How it ended.
    pub end: End,
    /// The rest, for people.
    pub detail: AttemptDetail,
    /// What it gave for later actions.
    pub output: Value,
    /// Changes of the plugin's state.
    pub state: Vec<StateOp>,
    /// Whose state: the plugin and the trigger.
    pub state_of: Option<(Arc<str>, Arc<str>)>,
    /// The message that was rendered, for the next try.
    pub rendered: Option<Arc<Rendered>>,
}

impl Performed {
    fn ended(end: End, detail: AttemptDetail) -> Self {
        Self { end, detail, output: Value::Null, state: Vec::new(), state_of: None, rendered: None }
    }

    fn dead(kind: &str, cause: &str, reason: String, mut detail: AttemptDetail) -> Self {
        detail.kind = Some(kind.to_owned());
        detail.reason = Some(reason);
        Self::ended(End::Dead { cause: cause.into() }, detail)
    }
}

/// Makes the attempt.
pub async fn perform(tools: &Tools, attempt: &Attempt) -> Performed {
    let action = &attempt.trigger.actions[attempt.action_at];
    match &action.act {
        Act::Send(send) => perform_send(tools, attempt, action, send).await,
        Act::Plugin { plugin, config, .. } => perform_plugin(tools, attempt, action, plugin, config).await,
    }
}

impl Attempt {
    fn scope(&self, now: Time) -> Scope {
        let mut scope = Scope::new(Arc::clone(&self.event));
        scope.subject = Arc::clone(&self.subject);
        scope.trigger = Arc::clone(&self.trigger.name);
        scope.run = self.run.to_string().into();
        scope.now = now;
        scope.tasks = Arc::clone(&self.outputs);
        scope
    }
}

async fn perform_send(tools: &Tools, attempt: &Attempt, action: &ActionPlan, send: &SendPlan) -> Performed {
    let mut detail = AttemptDetail { connection: Some(send.connection.name.to_string()), ..AttemptDetail::default() };
    let scope = attempt.scope(tools.clock.now());
    let (rendered, message) = match message::for_send(attempt, send, &scope) {
        Ok(both) => both,
        Err(reason) => return Performed::dead("template", &format!("{}: template", action.name), reason, detail),
    };
    detail.idempotency_key = Some(message.idempotency_key.clone());
    let mut performed = match tools.doors.deliver(&send.connection, &message, action.timeout).await {
        Err(NotSent::Failed(err)) => {
            // The refusal of our credentials has paused the connection: the task waits with it, and it was no try.
            match tools.doors.peek(&send.connection).filter(|_| err.refusal == Refusal::Unauthorized) {
                Some(blocked) => Performed::ended(End::Blocked { state: blocked.state, until: blocked.until }, detail),
                None => failed_send(err, detail, &send.connection.name),
            }
        }
        Err(NotSent::Blocked(blocked)) => {
            Performed::ended(End::Blocked { state: blocked.state, until: blocked.until }, detail)
        }
        Ok(receipt) => {
            detail.take_receipt(&receipt);
            let output = message::output_of(&receipt);
            let mut performed = Performed::ended(End::Done, detail);
            performed.output = output;
            performed
        }
    };
    if matches!(performed.end, End::Retry { .. } | End::Dead { .. }) && !attempt.is_request_kept {
        performed.detail.request = Some(rendered.to_request());
    }
    performed.rendered = Some(rendered);
    performed
}

fn failed_send(err: SendError, mut detail: AttemptDetail, connection: &str) -> Performed {
    detail.status = err.status;
    if !err.answer.is_empty() {
        detail.answer = Some(crate::pattern::cut(&String::from_utf8_lossy(&err.answer)));
    }
    let cause: Box<str> = match err.status {
        Some(status) => format!("{connection}: status {status}").into(),
        None => format!("{connection}: {}", first_words(&err.message)).into(),
    };
    let (kind, end) = match err.refusal {
        Refusal::Retry(after) => ("transient", End::Retry { after, cause }),
        Refusal::Permanent => ("permanent", End::Dead { cause }),
        // A test of the connection has passed since.
        Refusal::Unauthorized => ("unauthorized", End::Retry { after: None, cause }),
    };
    detail.kind = Some(kind.to_owned());
    detail.reason = Some(err.message);
    Performed::ended(end, detail)
}

/// What dead letters are grouped by has to be the same for the same trouble: without addresses and numbers at its end.
fn first_words(message: &str) -> String {
    message.split(':').next().unwrap_or_default().chars().take(80).collect()
}

async fn perform_plugin(
    tools: &Tools,
    attempt: &Attempt,
    action: &ActionPlan,
    plugin: &Arc<PluginPlan>,
    config: &Template,
) -> Performed {
    let now = tools.clock.now();
    let mut detail = AttemptDetail {
        plugin: Some(PluginAsked {
            name: plugin.name.to_string(),
            version: plugin.version.to_string(),
            digest: plugin.digest.to_string(),
            log: Vec::new(),
        }),
        ..AttemptDetail::default()
    };
    let config = match config.render(&attempt.scope(now)) {
        Ok(config) => config.to_string(),
        Err(reason) => return Performed::dead("template", &format!("{}: template", action.name), reason, detail),
    };
    let hands = match PluginHands::new(tools, attempt).await {
        Ok(hands) => Arc::new(hands),
        Err(err) => {
            detail.reason = Some(err.to_string());
            return Performed::ended(End::Retry { after: None, cause: "store".into() }, detail);
        }
    };
    let call = PerformCall {
        event: Arc::clone(&attempt.event),
        config: config.into(),
        trigger: Arc::clone(&attempt.trigger.name),
        run: attempt.run.to_string(),
        action: Arc::clone(&action.name),
        subject: Arc::clone(&attempt.subject),
        attempt: attempt.tries + 1,
        now,
        facts: "{}".into(),
        traceparent: attempt.event.extension("traceparent").map(Into::into),
    };
    let limit = action.timeout;
    let called = tokio::time::timeout(limit, plugin.plugin.perform(call, Arc::clone(&hands) as _)).await;
    let Ok(report) = called else {
        detail.kind = Some("timeout".into());
        detail.reason = Some(format!("not done within {}", crate::time::format_span(limit)));
        return Performed::ended(End::Retry { after: None, cause: format!("{}: timeout", plugin.name).into() }, detail);
    };
    detail.take_log(report.log);
    detail.cpu_us = u64::try_from(report.cpu.as_micros()).unwrap_or(u64::MAX);
    let (end, output) = end_of(report.answer, plugin, hands.blocked(), &mut detail);
    let mut performed = Performed::ended(end, detail);
    if matches!(performed.end, End::Done | End::Skipped | End::ResumeAt(_)) {
        performed.detail.diverged = hands.diverged();
        performed.state = hands.take_state();
        performed.state_of =
            (!performed.state.is_empty()).then(|| (Arc::clone(&plugin.name), Arc::clone(&attempt.trigger.name)));
    }
    performed.output = output;
    performed
}

fn end_of(
    answer: Result<Outcome, CallError>,
    plugin: &PluginPlan,
    blocked: Option<crate::deliver::Blocked>,
    detail: &mut AttemptDetail,
) -> (End, Value) {
    let cause = |word: &str| -> Box<str> { format!("{}: {word}", plugin.name).into() };
    let err = match answer {
        Ok(Outcome::Done(text)) => {
            let output = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::Null) };
            detail.output = (!text.is_empty()).then_some(text);
            return (End::Done, output);
        }
        Ok(Outcome::Skipped(reason)) => {
            detail.reason = Some(reason);
            return (End::Skipped, Value::Null);
        }
        Ok(Outcome::ResumeAt(at)) => {
            detail.next_us = Some(at.0);
            return (End::ResumeAt(at), Value::Null);
        }
        Err(err) => err,
    };
    detail.reason = Some(err.to_string());
    let (kind, end) = match err {
        CallError::Failed(failure) => match (failure.kind, blocked) {
            // A door was shut, and the plugin passed that on: not its try.
            (FailureKind::Transient, Some(blocked)) => {
                ("transient", End::Blocked { state: blocked.state, until: blocked.until })
            }
            (FailureKind::Transient, None) => {
                ("transient", End::Retry { after: failure.after, cause: cause(&first_words(&failure.message)) })
            }
            (FailureKind::Permanent, _) => ("permanent", End::Dead { cause: cause(&first_words(&failure.message)) }),
            (FailureKind::Rejected, _) => ("rejected", End::Dead { cause: cause(&first_words(&failure.message)) }),
        },
        CallError::Trap { backtrace, message } => {
            detail.backtrace = backtrace;
            ("trap", End::Retry { after: None, cause: cause(&first_words(&message)) })
        }
        CallError::Limit { backtrace, message } => {
            detail.backtrace = backtrace;
            ("limit", End::Retry { after: None, cause: cause(&first_words(&message)) })
        }
        CallError::Host(_) => ("transient", End::Retry { after: None, cause: cause("host") }),
    };
    detail.kind = Some(kind.to_owned());
    (end, Value::Null)
}
