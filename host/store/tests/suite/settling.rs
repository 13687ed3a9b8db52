//! What attempts make of tasks, runs and plugins' state.

use std::time::Duration;

use trapjaw_engine::limits::STATE_KEYS_MAX;
use trapjaw_engine::ports::{Receipt, StateOp};
use trapjaw_engine::record::{
    AttemptResult, Command, NewTask, Progress, Reply, RunState, SendRecord, Settle, TaskState, TaskTo,
};

use crate::make::{START, append, at, attempt, changing, deduped, run, settle, settled, success, task, with_runs};
use crate::{Bench, page};

const RETRY: Progress = Progress { state: TaskState::WaitingRetry, due: Some(START), tries: 1, resumes: 2 };
const NEEDS: Progress = Progress { state: TaskState::WaitingNeeds, due: None, tries: 0, resumes: 0 };

pub(crate) async fn success_closes(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    assert_eq!(bench.one(settle(success(run, task))).await, Reply::Done);
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended), (RunState::Succeeded, Some(at(1))));
    let task = &view.tasks[0];
    assert_eq!((task.progress.state, task.attempt_last), (TaskState::Succeeded, 1));
    let attempt = &task.attempts[0];
    assert_eq!((attempt.number, attempt.started, attempt.ended), (1, START, at(1)));
    assert_eq!((attempt.result, attempt.state), (AttemptResult::Succeeded, TaskState::Succeeded));
    assert_eq!(&attempt.detail[..], b"detail 1");
    assert!(bench.store().work(crate::reading::after(0)).await.unwrap().runs.is_empty());
}

pub(crate) async fn retries_stay_open(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let failed = attempt(1, AttemptResult::Failed);
    bench.one(settle(settled(run, task, failed, TaskTo::Open(RETRY), RunState::Waiting))).await;
    let bench = bench.reopen().await;
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended), (RunState::Waiting, None));
    assert_eq!((view.tasks[0].progress, view.tasks[0].attempt_last), (RETRY, 1));
}

pub(crate) async fn others_move_along(bench: Bench<'_>) {
    let mut new = run("t", &["a"]);
    let rest: Vec<NewTask> = ["b", "c", "d"].iter().zip(1..).map(|(name, n)| task(name, n, NEEDS)).collect();
    new.tasks.extend(rest);
    let (run, first) = bench.start(new).await;
    let ids: Vec<_> = bench.run(run).await.tasks.iter().map(|task| task.id).collect();
    let others = vec![
        (ids[1], TaskTo::Open(Progress::READY)),
        (ids[2], TaskTo::Closed(TaskState::Cancelled)),
        (ids[3], TaskTo::Dead { cause: "gone".into() }),
    ];
    bench.one(settle(Settle { others, run_state: RunState::Running, ..success(run, first) })).await;
    let states: Vec<_> = bench.run(run).await.tasks.iter().map(|task| task.progress.state).collect();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Running, TaskState::Cancelled, TaskState::Dead]);
    let dead = bench.ledger().dead(Default::default(), page(9)).await.unwrap();
    assert_eq!((dead[0].task, &*dead[0].action, &*dead[0].cause), (ids[3], "d", "gone"));
}

pub(crate) async fn events_come_along(bench: Bench<'_>) {
    let (id, task) = bench.start(run("t", &["a"])).await;
    let events = vec![with_runs(deduped("2", 1), vec![run("u", &["b"])]), deduped("3", 1)];
    let reply = bench.one(settle(Settle { events, ..success(id, task) })).await;
    let Reply::Settled(replies) = reply else { panic!("not settled: {reply:?}") };
    let Reply::Appended(second) = &replies[0] else { panic!("not appended: {replies:?}") };
    assert_eq!(replies[1..], [Reply::Duplicate(second.event)]);
    assert_eq!(&*bench.run(second.runs[0].run.unwrap()).await.trigger, "u");
    assert_eq!(bench.one(append(deduped("4", 1))).await, Reply::Duplicate(second.event));
}

fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> StateOp {
    StateOp::Set { key: key.into(), value: value.into(), ttl }
}

fn compare(key: &str, expected: Option<&[u8]>, value: &[u8]) -> StateOp {
    StateOp::CompareAndSet { key: key.into(), expected: expected.map(Into::into), value: value.into() }
}

pub(crate) async fn state_ops_apply(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let change = async |ops| bench.one(settle(changing(success(run, task), ops))).await;
    let get = async |key: &str, now| bench.store().state("counter", "t", key, now).await.unwrap();
    let add = |by| StateOp::Increment { key: "n".into(), by };
    assert_eq!(get("n", at(1)).await, None);
    assert_eq!(change(vec![add(2), add(3), set("x", b"1", Some(Duration::from_secs(9)))]).await, Reply::Done);
    assert_eq!(
        change(vec![add(-1), compare("c", None, b"one"), compare("c", Some(b"one"), b"two")]).await,
        Reply::Done
    );
    assert_eq!(get("n", at(1)).await.as_deref(), Some(&b"4"[..]));
    assert_eq!(get("c", at(1)).await.as_deref(), Some(&b"two"[..]));
    assert_eq!((get("x", at(9)).await.as_deref(), get("x", at(10)).await), (Some(&b"1"[..]), None));
    assert_eq!(change(vec![StateOp::Remove { key: "c".into() }]).await, Reply::Done);
    assert_eq!(get("c", at(1)).await, None);
    assert_eq!(bench.store().state("counter", "other", "n", at(1)).await.unwrap(), None);
}

pub(crate) async fn values_of_state_are_bounded_in_number(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let settle_at = async |now, ops| bench.one(settle(changing(Settle { now, ..success(run, task) }, ops))).await;
    let change = async |ops| settle_at(at(1), ops).await;
    let is_full = async |now| bench.store().is_state_full("counter", "t", now).await.unwrap();
    for part in 0..STATE_KEYS_MAX / 1_000 {
        let ends = |n: u32| (n == 0).then_some(Duration::from_secs(100));
        let key = |n: u32| format!("{}", part * 1_000 + n);
        assert!(!is_full(at(1)).await);
        let ops = (0..1_000).map(|n| set(&key(n), b"1", ends(part * 1_000 + n))).collect();
        assert_eq!(change(ops).await, Reply::Done);
    }
    assert!(is_full(at(1)).await);
    assert_eq!(change(vec![set("7", b"2", None), set("new", b"1", None)]).await, Reply::StateConflict);
    let get = async |key: &str| bench.store().state("counter", "t", key, at(1)).await.unwrap();
    assert_eq!((get("7").await.as_deref(), get("new").await), (Some(&b"1"[..]), None), "nothing is written");
    assert_eq!(change(vec![set("7", b"2", None)]).await, Reply::Done, "what is there may change");
    let swap = vec![StateOp::Remove { key: "8".into() }, set("9a", b"1", None)];
    assert_eq!(change(swap).await, Reply::Done, "one goes, one comes");
    let add = StateOp::Increment { key: "n".into(), by: 1 };
    assert_eq!(change(vec![add]).await, Reply::StateConflict);
    // The first value ends; another one may take its place, and then there is none.
    assert!(is_full(at(100)).await && !is_full(at(101)).await);
    assert_eq!(settle_at(at(101), vec![set("new", b"1", None)]).await, Reply::Done);
    assert_eq!(settle_at(at(101), vec![set("0", b"1", None)]).await, Reply::StateConflict);
    assert!(is_full(at(101)).await);
    let bench = bench.reopen().await;
    let again = bench.one(settle(changing(success(run, task), vec![set("more", b"1", None)]))).await;
    assert_eq!(again, Reply::StateConflict, "after a reopen");
}

pub(crate) async fn state_conflicts_write_nothing(bench: Bench<'_>) {
    let (run_id, task) = bench.start(run("t", &["a"])).await;
    let ops = vec![set("x", b"1", None), compare("c", Some(b"one"), b"two")];
    let events = vec![deduped("2", 5)];
    let conflict = settle(changing(Settle { events, ..success(run_id, task) }, ops));
    let replies = bench.commit(vec![conflict, append(deduped("3", 5))]).await;
    assert_eq!(replies[0], Reply::StateConflict);
    assert!(matches!(replies[1], Reply::Appended(_)), "the event of the settle was not taken: {replies:?}");
    assert_eq!(bench.store().state("counter", "t", "x", at(1)).await.unwrap(), None);
    let view = bench.run(run_id).await;
    assert_eq!((view.state, view.tasks[0].attempt_last), (RunState::Running, 0));
}

pub(crate) async fn settles_of_one_batch_keep_their_order(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let retry = attempt(1, AttemptResult::Failed);
    let again = settled(run, task, retry, TaskTo::Open(RETRY), RunState::Waiting);
    let last = Settle { attempt: Some(attempt(2, AttemptResult::Succeeded)), ..success(run, task) };
    bench.commit(vec![settle(again), settle(last)]).await;
    let view = bench.run(run).await;
    assert_eq!((view.state, view.tasks[0].progress.state), (RunState::Succeeded, TaskState::Succeeded));
    assert_eq!(view.tasks[0].attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
}

pub(crate) async fn first_and_last_attempts_are_shown(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let again = |number| {
        let resumed = attempt(number, AttemptResult::Resumed);
        settle(settled(run, task, resumed, TaskTo::Open(RETRY), RunState::Waiting))
    };
    bench.commit((1..=2_000).map(again).collect()).await;
    let view = bench.run(run).await;
    let numbers: Vec<_> = view.tasks[0].attempts.iter().map(|attempt| attempt.number).collect();
    assert!(numbers.is_sorted() && numbers.len() < 1_000, "{} attempts", numbers.len());
    assert_eq!((numbers.first(), numbers.last(), view.tasks[0].attempt_last), (Some(&1), Some(&2_000), 2_000));
}

pub(crate) async fn sends_are_kept_once(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    let receipt = Receipt { id: Some("r".into()), status: Some(202), body: "ok".into(), ..Receipt::default() };
    let record = |key: &str| {
        let receipt = receipt.clone();
        let send = SendRecord { task, key: key.into(), connection: "crm".into(), at: at(2), receipt };
        Command::Record(Box::new(send))
    };
    bench.commit(vec![record("k1"), record("k2"), record("k1")]).await;
    bench.one(record("k2")).await;
    let sends = bench.store().sends(task).await.unwrap();
    let replayed = Receipt { replayed: true, ..receipt };
    assert_eq!(sends, [("k1".into(), replayed.clone()), ("k2".into(), replayed.clone())]);
    let view = bench.run(run).await;
    assert_eq!(view.tasks[0].sends[1], ("k2".into(), "crm".into(), at(2), replayed));
}
