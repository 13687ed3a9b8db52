//! Runs that are judged after the append.

use trapjaw_engine::id::{RunId, TaskId};
use trapjaw_engine::record::{AttemptResult, DeadTo, JudgedTo, Progress, Reply, RunState, TASK_JUDGE, TaskState};

use crate::make::{about, act, at, judged, judging, limit, move_dead, moved, settle, success};
use crate::{Bench, appended, page};

pub(crate) async fn acting_brings_tasks(bench: Bench<'_>) {
    let (run, task) = bench.start(judging("t")).await;
    let view = bench.run(run).await;
    assert_eq!((view.tasks.len(), view.tasks[0].ordinal, view.tasks[0].id), (1, TASK_JUDGE, task));
    let reply = appended(bench.one(judged(run, task, act(None))).await);
    assert_eq!((reply.event, reply.runs[0].run), (view.event_id, Some(run)));
    let view = bench.run(run).await;
    let tasks: Vec<_> = view.tasks.iter().map(|task| (&*task.action, task.ordinal, task.progress)).collect();
    assert_eq!(tasks, [("a", 0, Progress::READY), ("b", 1, Progress::READY)]);
    assert_eq!((view.tasks[0].id, &view.evaluation[..]), (reply.runs[0].task_first, &b"why"[..]));
    // The judgement was overtaken: nothing is written twice.
    assert_eq!(bench.one(judged(run, task, act(None))).await, Reply::Done);
    assert_eq!(bench.run(run).await.tasks[0].id, view.tasks[0].id);
}

pub(crate) async fn refused_acts_end(bench: Bench<'_>) {
    let start = async || bench.start(about("ann", judging("t"))).await;
    let (first, second) = (start().await, start().await);
    assert_eq!(bench.activity("t", "ann").await, 0, "a run that is yet to be judged reserves nothing");
    let act = |(run, task)| judged(run, task, act(Some(limit(1, None))));
    let replies = bench.commit(vec![act(first), act(second)]).await.into_iter().map(appended);
    let runs: Vec<_> = replies.map(|appended| appended.runs[0].run).collect();
    assert_eq!(runs, [Some(first.0), None]);
    let view = bench.run(second.0).await;
    assert_eq!((view.state, view.ended, view.tasks.len()), (RunState::NotMatched, Some(at(1)), 0));
    assert_eq!(bench.activity("t", "ann").await, 1);
}

pub(crate) async fn ends_end(bench: Bench<'_>) {
    let (run, task) = bench.start(about("ann", judging("t"))).await;
    bench.one(judged(run, task, JudgedTo::End(RunState::NotMatched))).await;
    let view = bench.run(run).await;
    assert_eq!((view.state, view.tasks.len(), bench.activity("t", "ann").await), (RunState::NotMatched, 0, 0));
    assert!(bench.store().work(crate::reading::after(0)).await.unwrap().runs.is_empty());
}

/// A run that acted, which reserved, and is judged once more before it does: the run and its new judging task.
async fn judged_twice(bench: &Bench<'_>) -> (RunId, TaskId) {
    let (run, task) = bench.start(about("ann", judging("t"))).await;
    let again = JudgedTo::Act { state: RunState::Running, guard: Some(limit(1, None)), tasks: judging("t").tasks };
    let reply = appended(bench.one(judged(run, task, again)).await);
    assert_eq!((reply.runs[0].run, bench.activity("t", "ann").await), (Some(run), 1));
    (run, reply.runs[0].task_first)
}

pub(crate) async fn ends_release(bench: Bench<'_>) {
    let (run, task) = judged_twice(&bench).await;
    bench.one(judged(run, task, JudgedTo::End(RunState::NotMatched))).await;
    assert_eq!((bench.run(run).await.state, bench.activity("t", "ann").await), (RunState::NotMatched, 0));
    let (run, task) = bench.start(about("ann", judging("t"))).await;
    let reply = appended(bench.one(judged(run, task, act(Some(limit(1, None))))).await);
    assert_eq!(reply.runs[0].run, Some(run), "another run may have the place");
}

pub(crate) async fn again_waits(bench: Bench<'_>) {
    let (run, task) = bench.start(judging("t")).await;
    let progress = Progress { state: TaskState::WaitingRetry, due: Some(at(60)), tries: 1, resumes: 0 };
    assert_eq!(bench.one(judged(run, task, JudgedTo::Again(progress))).await, Reply::Done);
    let view = bench.run(run).await;
    assert_eq!((view.state, view.tasks[0].progress), (RunState::Waiting, progress));
}

pub(crate) async fn dead_judgements_can_be_redriven(bench: Bench<'_>) {
    let (run, task) = bench.start(judging("t")).await;
    bench.one(judged(run, task, JudgedTo::Dead { cause: "trap".into() })).await;
    let view = bench.run(run).await;
    assert_eq!((view.state, view.tasks[0].progress.state), (RunState::Dead, TaskState::Dead));
    let dead = bench.ledger().dead(Default::default(), page(9)).await.unwrap();
    assert_eq!(
        (dead.len(), dead[0].task, &*dead[0].action, &*dead[0].cause, dead[0].attempts),
        (1, task, "", "trap", 1)
    );
    assert_eq!(bench.one(move_dead(&[task], DeadTo::Redriven)).await, moved(task, run, true));
    let view = bench.run(run).await;
    assert_eq!((view.state, view.tasks[0].progress), (RunState::Running, Progress::READY));
    assert_eq!(view.tasks[0].attempts[0].result, AttemptResult::Redriven);
    assert!(matches!(bench.one(judged(run, task, act(None))).await, Reply::Appended(_)));
}

pub(crate) async fn reservations_are_made_once(bench: Bench<'_>) {
    let (run, task) = judged_twice(&bench).await;
    let reply = appended(bench.one(judged(run, task, act(Some(limit(1, None))))).await);
    assert_eq!(reply.runs[0].run, Some(run), "the place that it has is its own");
    assert_eq!(bench.activity("t", "ann").await, 1);
    bench.one(settle(success(run, reply.runs[0].task_first))).await;
    assert_eq!(bench.activity("t", "ann").await, 1, "success keeps it");
}
