//! How events, runs, tasks and attempts are shown.

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use trapjaw_engine::evaluation::{Evaluation, read_detail, read_evaluations};
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{AttemptView, EventView, Receipt, RunView, TaskView};
use trapjaw_engine::record::{AttemptResult, RunState, TaskState};
use trapjaw_engine::time::Time;
use utoipa::ToSchema;

/// An event as it is kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventBody {
    /// Its id with us, `evt_…`.
    id: String,
    /// When it was taken.
    received: String,
    /// The event, a structured CloudEvent; its data are exactly what was sent.
    #[schema(value_type = Object)]
    event: CloudEvent<std::sync::Arc<Event>>,
    /// What each trigger whose pattern matched made of it.
    #[schema(value_type = Vec<Object>)]
    evaluations: Vec<Evaluation>,
    /// How many runs it caused.
    n_runs: u32,
}

impl EventBody {
    /// The event, with what [`evaluations_of`](super::events::evaluations_of) says of it.
    pub(crate) fn new(view: EventView, evaluations: Vec<Evaluation>) -> Self {
        Self {
            id: view.id.to_string(),
            received: view.received.to_string(),
            evaluations,
            n_runs: view.runs.map_or(0, |(_, n)| n),
            event: CloudEvent(view.event),
        }
    }
}

/// An event in the form of a structured CloudEvent.
pub(crate) struct CloudEvent<E>(pub(crate) E);

impl<E: AsRef<Event>> Serialize for CloudEvent<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = String::from_utf8(self.0.as_ref().to_structured()).map_err(S::Error::custom)?;
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// A run.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunBody {
    /// Its id, `run_…`.
    id: String,
    /// The event that caused it, `evt_…`.
    event_id: String,
    /// The trigger.
    trigger: String,
    /// The trigger's version when the run began.
    trigger_version: i64,
    /// Whom or what it is about.
    subject: Option<String>,
    /// What it is ordered by within the trigger.
    order_key: Option<String>,
    /// What it is.
    state: &'static str,
    /// What a waiting one waits for: `retry`, `order`, `rate`, `breaker`, `paused` or `needs`.
    waiting_for: Option<&'static str>,
    /// When it began.
    created: String,
    /// When it ended.
    ended: Option<String>,
    /// What judging after the event was stored came to.
    #[schema(value_type = Vec<Object>)]
    evaluations: Vec<Evaluation>,
    /// Its tasks, in the order of the actions.
    tasks: Vec<TaskBody>,
}

/// A task: an action of a run.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskBody {
    /// Its id, `tsk_…`.
    id: String,
    /// The action's name; null for judging.
    action: Option<String>,
    /// What it is.
    state: &'static str,
    /// What a waiting one waits for.
    waiting_for: Option<&'static str>,
    /// When it is due.
    due: Option<String>,
    /// Tries so far.
    tries: u32,
    /// How often the action asked to be called again later.
    resumes: u32,
    /// Its attempts, oldest first. Left out of listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptBody>,
    /// What it sent. Left out of listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sends: Vec<SendBody>,
}

/// One try of a task.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptBody {
    /// Which, from 1.
    number: u32,
    /// When it began.
    started: String,
    /// When it ended.
    ended: String,
    /// What it came to.
    result: &'static str,
    /// The rest: error, backtrace, log, output, digest.
    #[schema(value_type = Object)]
    detail: Value,
}

/// A message that a remote confirmed.
#[derive(Serialize, ToSchema)]
pub(crate) struct SendBody {
    /// The idempotency key.
    key: String,
    /// The connection.
    connection: String,
    /// When it was confirmed.
    at: String,
    /// The remote's own id of it.
    id: Option<String>,
    /// The HTTP status.
    status: Option<u16>,
    /// The media type of the answer.
    content_type: Option<String>,
    /// The answer, as text; what is not UTF-8 is replaced.
    answer: String,
}

impl From<RunView> for RunBody {
    fn from(view: RunView) -> Self {
        let waiting_for = waiting_for(&view);
        Self {
            id: view.id.to_string(),
            event_id: view.event_id.to_string(),
            trigger: view.trigger.to_string(),
            trigger_version: view.trigger_version,
            subject: Some(view.subject.to_string()).filter(|subject| !subject.is_empty()),
            order_key: view.order_key.map(|key| key.to_string()),
            state: view.state.word(),
            waiting_for,
            created: view.created.to_string(),
            ended: show(view.ended),
            evaluations: read_evaluations(&view.evaluation),
            tasks: view.tasks.into_iter().map(TaskBody::from).collect(),
        }
    }
}

impl From<TaskView> for TaskBody {
    fn from(view: TaskView) -> Self {
        let (state, waiting_for) = view.progress.state.words();
        Self {
            id: view.id.to_string(),
            action: Some(view.action.to_string()).filter(|action| !action.is_empty()),
            state,
            waiting_for,
            due: show(view.progress.due),
            tries: view.progress.tries,
            resumes: view.progress.resumes,
            attempts: view.attempts.into_iter().map(AttemptBody::from).collect(),
            sends: view
                .sends
                .into_iter()
                .map(|(key, connection, at, receipt)| send(&key, &connection, at, &receipt))
                .collect(),
        }
    }
}

impl From<AttemptView> for AttemptBody {
    fn from(view: AttemptView) -> Self {
        Self {
            number: view.number,
            started: view.started.to_string(),
            ended: view.ended.to_string(),
            result: result_word(view.result),
            detail: serde_json::to_value(read_detail(&view.detail)).unwrap_or_default(),
        }
    }
}

/// What a waiting run waits for: the first of its tasks that waits for something other than another task.
fn waiting_for(run: &RunView) -> Option<&'static str> {
    let waiting = || run.tasks.iter().map(|task| task.progress.state).filter(|_| run.state == RunState::Waiting);
    let first = waiting().find(|state| *state != TaskState::WaitingNeeds && state.words().1.is_some());
    first.or(waiting().find(|state| state.words().1.is_some()))?.words().1
}

/// A moment, or nothing.
pub(crate) fn show(time: Option<Time>) -> Option<String> {
    time.map(|time| time.to_string())
}

fn send(key: &str, connection: &str, at: Time, receipt: &Receipt) -> SendBody {
    SendBody {
        key: key.into(),
        connection: connection.into(),
        at: at.to_string(),
        id: receipt.id.clone(),
        status: receipt.status,
        content_type: receipt.content_type.clone(),
        answer: String::from_utf8_lossy(&receipt.body).into_owned(),
    }
}

const fn result_word(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Succeeded => "succeeded",
        AttemptResult::Skipped => "skipped",
        AttemptResult::Resumed => "resumed",
        AttemptResult::Failed => "failed",
        AttemptResult::Dead => "dead",
        AttemptResult::Cancelled => "cancelled",
        AttemptResult::Redriven => "redriven",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn check(content_type: Option<&str>, data: &'static [u8], expected: &str) {
        let mut event = Event::new("s", "t", "1", Time(0));
        event.content_type = content_type.map(Into::into);
        event.data = data.into();
        let shown = serde_json::to_string(&CloudEvent(Arc::new(event))).unwrap();
        assert!(shown.ends_with(expected), "{shown}");
    }

    #[test]
    fn data_are_shown_as_they_were_sent() {
        check(None, br#"{"n": 9007199254740993,"q":"\u003cb>"}"#, r#","data":{"n": 9007199254740993,"q":"\u003cb>"}}"#);
        check(None, b"", r#""time":"1970-01-01T00:00:00Z"}"#);
        check(Some("text/plain"), b"{", r#""data":"{"}"#);
        check(Some("image/png"), b"\xff", r#""data_base64":"/w=="}"#);
    }
}
