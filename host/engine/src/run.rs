//! Open runs, as they are held in memory between the commit that began them and the one that ends them.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::evaluation::read_detail;
use crate::event::Event;
use crate::id::{EventId, RunId, TaskId};
use crate::perform::Rendered;
use crate::ports::{RunView, TaskView};
use crate::record::{AppendedRun, NewRun, NewTask, Progress, RunState, TaskState};
use crate::time::Time;

/// A run with open tasks.
pub struct OpenRun {
    /// Its id.
    pub id: RunId,
    /// The event's id.
    pub event_id: EventId,
    /// The event.
    pub event: Arc<Event>,
    /// The trigger.
    pub trigger: Arc<str>,
    /// Its version when the run began.
    pub trigger_version: i64,
    /// Whom or what it is about; empty for no one.
    pub subject: Arc<str>,
    /// What it is ordered by, if it is.
    pub order_key: Option<Arc<str>>,
    /// When it began.
    pub created: Time,
    /// Its tasks, those that are over included.
    pub tasks: Vec<OpenTask>,
    /// What its actions gave, by name: an object with `output`.
    pub outputs: Arc<Value>,
    /// A person has cancelled it; what is under way ends, and nothing new begins.
    pub is_cancelled: bool,
    /// They wait for the end of what is under way, to hear that the cancelling is durable.
    pub cancellers: Vec<oneshot::Sender<bool>>,
}

/// A task of an open run.
pub struct OpenTask {
    /// Its id.
    pub id: TaskId,
    /// The action's name; empty for judging.
    pub action: Arc<str>,
    /// The action's place when the run began, or [`TASK_JUDGE`](crate::record::TASK_JUDGE).
    pub ordinal: i32,
    /// Where it stands.
    pub progress: Progress,
    /// The number of the last attempt.
    pub number: u32,
    /// When it was first tried since it began, asked to be called again, or was redriven.
    pub first_try: Option<Time>,
    /// Whether an attempt may have been made of which nothing is known.
    pub is_again: bool,
    /// Whether an attempt is under way.
    pub is_busy: bool,
    /// Whether it calls a plugin.
    pub is_calling: bool,
    /// The message that its first try rendered.
    pub rendered: Option<Arc<Rendered>>,
    /// Whether the first attempt on record holds it; else every one has to.
    pub is_request_kept: bool,
}

impl OpenTask {
    fn new(id: TaskId, task: &NewTask) -> Self {
        Self {
            id,
            action: Arc::clone(&task.action),
            ordinal: task.ordinal,
            progress: task.progress,
            number: 0,
            first_try: None,
            is_again: false,
            is_busy: false,
            is_calling: false,
            rendered: None,
            is_request_kept: false,
        }
    }

    fn stored(task: &TaskView) -> Self {
        let last = task.attempts.last().filter(|attempt| !attempt.result.begins_anew());
        let first_try = last.and_then(|attempt| read_detail(&attempt.detail).since_us).map(Time);
        let mut requests = task.attempts.iter().map(|attempt| (attempt.number, read_detail(&attempt.detail).request));
        let request = requests.find_map(|(number, request)| Some((number, request?)));
        Self {
            id: task.id,
            action: Arc::clone(&task.action),
            ordinal: task.ordinal,
            progress: task.progress,
            number: task.attempt_last,
            first_try,
            is_again: true,
            is_busy: false,
            is_calling: false,
            is_request_kept: request.as_ref().is_some_and(|(number, _)| *number == 1),
            rendered: request.map(|(_, request)| Arc::new(Rendered::from_request(request))),
        }
    }
}

impl OpenRun {
    /// The run that an append just wrote.
    pub fn appended(new: &NewRun, ids: AppendedRun, id: RunId, event: (EventId, &Arc<Event>), created: Time) -> Self {
        Self {
            id,
            event_id: event.0,
            event: Arc::clone(event.1),
            trigger: Arc::clone(&new.trigger),
            trigger_version: new.trigger_version,
            subject: Arc::clone(&new.subject),
            order_key: new.order_key.clone(),
            created,
            tasks: tasks_from(ids.task_first, &new.tasks),
            outputs: Arc::new(Value::Object(Map::new())),
            is_cancelled: false,
            cancellers: Vec::new(),
        }
    }

    /// A run that the store had; none when it came without its event.
    pub fn stored(view: RunView) -> Option<Self> {
        let mut outputs = Map::new();
        for task in view.tasks.iter().filter(|task| task.progress.state == TaskState::Succeeded) {
            let output = task.attempts.last().and_then(|attempt| read_detail(&attempt.detail).output);
            let output = output.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
            outputs.insert(task.action.to_string(), serde_json::json!({ "output": output }));
        }
        Some(Self {
            id: view.id,
            event_id: view.event_id,
            event: view.event?,
            trigger: view.trigger,
            trigger_version: view.trigger_version,
            subject: view.subject,
            order_key: view.order_key,
            created: view.created,
            tasks: view.tasks.iter().map(OpenTask::stored).collect(),
            outputs: Arc::new(Value::Object(outputs)),
            is_cancelled: false,
            cancellers: Vec::new(),
        })
    }

    /// What the run is.
    pub fn state(&self) -> RunState {
        RunState::of_tasks(self.tasks.iter().map(|task| task.progress.state))
    }

    /// Whether a task of it was cancelled, and another may wait for that one: the end of what a person dropped may
    /// have been missed by a crash.
    pub fn may_wait_in_vain(&self) -> bool {
        let any = |state| self.tasks.iter().any(|task| task.progress.state == state);
        any(TaskState::Cancelled) && any(TaskState::WaitingNeeds)
    }

    /// Whether an attempt of it was made.
    pub fn has_begun(&self) -> bool {
        self.tasks.iter().any(|task| task.is_busy || task.number > 0)
    }

    /// Notes what an action gave, for those that need it.
    pub fn note_output(&mut self, action: &str, output: Value) {
        let mut map = match &*self.outputs {
            Value::Object(map) => map.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
        };
        map.insert(action.to_owned(), serde_json::json!({ "output": output }));
        self.outputs = Arc::new(Value::Object(map));
    }

    /// About how much memory the run holds.
    pub fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.tasks.len() * size_of::<OpenTask>() + self.event.bytes_held()
    }

    /// The earliest time at which one of its tasks has to be looked at; none for at once.
    pub fn due_first(&self) -> Option<Time> {
        let open = self.tasks.iter().filter(|task| waits_for_time(task.progress.state));
        open.map(|task| task.progress.due).min().flatten()
    }
}

/// Whether a task goes on by itself, now or when its time has come.
pub fn waits_for_time(state: TaskState) -> bool {
    match state {
        TaskState::Scheduled
        | TaskState::Running
        | TaskState::WaitingRetry
        | TaskState::WaitingOrder
        | TaskState::WaitingRate
        | TaskState::WaitingBreaker
        | TaskState::WaitingPaused => true,
        TaskState::WaitingNeeds
        | TaskState::Succeeded
        | TaskState::Skipped
        | TaskState::Dead
        | TaskState::Cancelled
        | TaskState::Held => false,
    }
}

/// The tasks of a run, with ids that follow one another.
pub fn tasks_from(first: TaskId, tasks: &[NewTask]) -> Vec<OpenTask> {
    (first.seq()..).zip(tasks).map(|(seq, task)| OpenTask::new(TaskId::of(seq), task)).collect()
}
