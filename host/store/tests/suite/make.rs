//! Commands for the tests, in as few words as a test needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use trapjaw_engine::event::Event;
use trapjaw_engine::id::{RunId, TaskId};
use trapjaw_engine::ports::{ObjectChange, PluginVersion, StateOp, VersionView};
use trapjaw_engine::record::{
    AttemptRecord, AttemptResult, Command, Configure, DeadMove, DeadTo, Guard, Judged, JudgedTo, Moved, NewEvent,
    NewRun, NewTask, Progress, Reply, RunState, Settle, TASK_JUDGE, TaskState, TaskTo,
};
use trapjaw_engine::time::Time;

/// The moment at which the tests begin.
pub(crate) const START: Time = Time(1_790_000_000_000_000);

/// So many seconds after the start.
pub(crate) fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

pub(crate) fn event(id: &str) -> NewEvent {
    let mut event = Event::new("shop", "order.paid", id, START);
    event.data = Bytes::from_static(br#"{"total":1}"#);
    NewEvent { event: Arc::new(event), received: START, dedup: None, evaluations: Bytes::new(), runs: Vec::new() }
}

pub(crate) fn deduped(id: &str, key: u128) -> NewEvent {
    NewEvent { dedup: Some(key), ..event(id) }
}

pub(crate) fn task(action: &str, ordinal: i32, progress: Progress) -> NewTask {
    NewTask { action: action.into(), ordinal, progress }
}

pub(crate) fn run(trigger: &str, actions: &[&str]) -> NewRun {
    let tasks = (0..).zip(actions).map(|(ordinal, action)| task(action, ordinal, Progress::READY));
    NewRun {
        trigger: trigger.into(),
        trigger_version: 3,
        subject: "".into(),
        subject_no: 0,
        order_key: None,
        state: RunState::Running,
        guard: None,
        tasks: tasks.collect(),
    }
}

pub(crate) fn judging(trigger: &str) -> NewRun {
    NewRun { tasks: vec![task("", TASK_JUDGE, Progress::READY)], ..run(trigger, &[]) }
}

pub(crate) fn about(subject: &str, run: NewRun) -> NewRun {
    NewRun { subject: subject.into(), ..run }
}

pub(crate) fn with_runs(event: NewEvent, runs: Vec<NewRun>) -> NewEvent {
    NewEvent { runs, ..event }
}

/// An event with one run that a guard limits.
pub(crate) fn guarded(id: &str, received: Time, guard: Guard) -> NewEvent {
    let run = NewRun { guard: Some(guard.clone()), ..about(&guard.subject, run("capped", &["a"])) };
    NewEvent { received, ..with_runs(event(id), vec![run]) }
}

pub(crate) fn limit(n_max: u32, window_seconds: Option<u64>) -> Guard {
    let window = window_seconds.map(Duration::from_secs);
    Guard { subject: "ann".into(), limit: Some((n_max, window)), cooldown: None }
}

pub(crate) fn append(event: NewEvent) -> Command {
    Command::Append(Arc::new(event))
}

pub(crate) fn attempt(number: u32, result: AttemptResult) -> AttemptRecord {
    AttemptRecord { number, started: START, result, detail: Bytes::from(format!("detail {number}")) }
}

/// A settle with an attempt and nothing else.
pub(crate) fn settled(run: RunId, task: TaskId, attempt: AttemptRecord, to: TaskTo, run_state: RunState) -> Settle {
    Settle {
        task,
        run,
        now: at(1),
        attempt: Some(attempt),
        to,
        run_state,
        others: Vec::new(),
        release: false,
        state: Vec::new(),
        state_of: None,
        events: Vec::new(),
    }
}

pub(crate) fn success(run: RunId, task: TaskId) -> Settle {
    let attempt = attempt(1, AttemptResult::Succeeded);
    settled(run, task, attempt, TaskTo::Closed(TaskState::Succeeded), RunState::Succeeded)
}

pub(crate) fn death(run: RunId, task: TaskId, cause: &str) -> Settle {
    settled(run, task, attempt(1, AttemptResult::Dead), TaskTo::Dead { cause: cause.into() }, RunState::Dead)
}

pub(crate) fn changing(settle: Settle, state: Vec<StateOp>) -> Settle {
    Settle { state, state_of: Some(("counter".into(), "t".into())), ..settle }
}

pub(crate) fn settle(settle: Settle) -> Command {
    Command::Settle(Box::new(settle))
}

pub(crate) fn judged(run: RunId, task: TaskId, to: JudgedTo) -> Command {
    Command::Judged(Box::new(Judged { run, task, now: at(1), evaluation: Bytes::from_static(b"why"), to }))
}

pub(crate) fn act(guard: Option<Guard>) -> JudgedTo {
    JudgedTo::Act { state: RunState::Running, guard, tasks: run("t", &["a", "b"]).tasks }
}

pub(crate) fn move_dead(tasks: &[TaskId], to: DeadTo) -> Command {
    Command::Dead(DeadMove { tasks: tasks.to_vec(), now: at(9), to, detail: Bytes::from_static(b"by ann") })
}

/// The answer to a move of one dead letter.
pub(crate) fn moved(task: TaskId, run: RunId, begins_again: bool) -> Reply {
    Reply::Moved(vec![Moved { task, run, begins_again }])
}

pub(crate) fn object(name: &str, body: Option<&'static str>, expected: Option<i64>) -> ObjectChange {
    ObjectChange { kind: "trigger".into(), name: name.into(), body: body.map(Bytes::from), expected }
}

pub(crate) fn configure(changes: Vec<ObjectChange>) -> Command {
    Command::Configure(Box::new(Configure { now: START, actor: "ann".into(), changes }))
}

pub(crate) fn version(plugin: &str, version: &str, bytes: &'static str) -> Command {
    let view = VersionView {
        plugin: plugin.into(),
        version: version.into(),
        digest: format!("digest of {bytes}").into(),
        size: bytes.len() as u64,
        about: Bytes::from_static(b"{}"),
        actor: "ann".into(),
        at: START,
    };
    Command::Publish(Box::new(PluginVersion { view, bytes: Bytes::from(bytes) }))
}
