//! Dead letters: they wait, are put back to work, or are dropped.

use trapjaw_engine::id::{RunId, TaskId};
use trapjaw_engine::ports::{DeadFilter, Page};
use trapjaw_engine::record::{AttemptResult, DeadTo, Progress, Reply, RunState, TaskState};

use crate::make::{about, at, death, move_dead, moved, run, settle, success, task};
use crate::{Bench, page};

/// A run whose first task is dead.
async fn dead(bench: &Bench<'_>, trigger: &str, cause: &str) -> (RunId, TaskId) {
    let (run, task) = bench.start(about("ann", run(trigger, &["a"]))).await;
    assert_eq!(bench.one(settle(death(run, task, cause))).await, Reply::Done);
    (run, task)
}

pub(crate) async fn dead_letters_wait(bench: Bench<'_>) {
    let (run, task) = dead(&bench, "t", "refused").await;
    let bench = bench.reopen().await;
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended, view.tasks[0].progress.state), (RunState::Dead, Some(at(1)), TaskState::Dead));
    let letter = bench.ledger().dead(DeadFilter::default(), page(9)).await.unwrap().pop().unwrap();
    assert_eq!((letter.task, letter.run, letter.event, letter.at), (task, run, view.event_id, at(1)));
    assert_eq!((&*letter.trigger, &*letter.action, &*letter.cause, letter.attempts), ("t", "a", "refused", 1));
    assert!(bench.store().work(crate::reading::after(0)).await.unwrap().runs.is_empty());
}

pub(crate) async fn redriven_tasks_begin_anew(bench: Bench<'_>) {
    let (run, task) = dead(&bench, "t", "refused").await;
    assert_eq!(bench.one(move_dead(&[task], DeadTo::Redriven)).await, moved(task, run, true));
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended), (RunState::Running, None));
    let moved = &view.tasks[0];
    assert_eq!((moved.progress, moved.attempt_last), (Progress::READY, 2));
    assert_eq!((moved.attempts[1].result, &moved.attempts[1].detail[..]), (AttemptResult::Redriven, &b"by ann"[..]));
    assert!(bench.ledger().dead(DeadFilter::default(), page(9)).await.unwrap().is_empty());
    assert_eq!(bench.store().work(crate::reading::after(0)).await.unwrap().runs.len(), 1);
    let mut last = success(run, task);
    last.attempt.as_mut().unwrap().number = 3;
    bench.one(settle(last)).await;
    assert_eq!(bench.run(run).await.state, RunState::Succeeded);
}

pub(crate) async fn dropped_tasks_give_back(bench: Bench<'_>) {
    let (run, task) = dead(&bench, "t", "refused").await;
    assert_eq!(bench.activity("t", "ann").await, 1, "a dead run keeps what it reserved");
    assert_eq!(bench.one(move_dead(&[task], DeadTo::Dropped)).await, moved(task, run, false));
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended), (RunState::Cancelled, Some(at(9))));
    assert_eq!(view.tasks[0].progress.state, TaskState::Cancelled);
    assert_eq!(bench.activity("t", "ann").await, 0, "a cancelled one gives it back");
    assert!(bench.store().work(crate::reading::after(0)).await.unwrap().runs.is_empty());
}

pub(crate) async fn followers_of_dropped_tasks_stay_open(bench: Bench<'_>) {
    let mut new = run("t", &["a"]);
    let needs = Progress { state: TaskState::WaitingNeeds, ..Progress::READY };
    new.tasks.push(task("b", 1, needs));
    let (run, first) = bench.start(about("ann", new)).await;
    bench.one(settle(death(run, first, "refused"))).await;
    assert_eq!(bench.run(run).await.state, RunState::Dead);
    assert_eq!(bench.one(move_dead(&[first], DeadTo::Dropped)).await, moved(first, run, true));
    let view = bench.run(run).await;
    assert_eq!((view.state, view.ended), (RunState::Waiting, None));
    let states: Vec<_> = view.tasks.iter().map(|task| task.progress.state).collect();
    assert_eq!(states, [TaskState::Cancelled, TaskState::WaitingNeeds]);
    assert_eq!(bench.activity("t", "ann").await, 1, "the run goes on");
    let work = bench.store().work(crate::reading::after(0)).await.unwrap();
    assert_eq!(work.runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run]);
}

pub(crate) async fn unknown_tasks_are_skipped(bench: Bench<'_>) {
    let (run, task) = dead(&bench, "t", "refused").await;
    let unknown = TaskId::of(task.seq() + 1_000_000);
    let reply = bench.one(move_dead(&[unknown, task, task], DeadTo::Dropped)).await;
    assert_eq!(reply, moved(task, run, false));
    assert_eq!(bench.one(move_dead(&[task], DeadTo::Redriven)).await, Reply::Moved(Vec::new()));
}

pub(crate) async fn dead_letters_are_filtered(bench: Bench<'_>) {
    let mut tasks = Vec::new();
    for (trigger, cause) in [("t", "x"), ("u", "x"), ("t", "y")] {
        tasks.push(dead(&bench, trigger, cause).await.1);
    }
    let check = async |filter: DeadFilter, page: Page, expected: &[usize]| {
        let letters = bench.ledger().dead(filter.clone(), page).await.unwrap();
        let found: Vec<_> = letters.iter().map(|letter| letter.task).collect();
        assert_eq!(found, expected.iter().map(|n| tasks[*n]).collect::<Vec<_>>(), "{filter:?} {page:?}");
    };
    let any = DeadFilter::default();
    check(any.clone(), page(9), &[2, 1, 0]).await;
    check(any.clone(), page(1), &[2]).await;
    check(any.clone(), Page { before: Some(tasks[2].seq()), rows_max: 9 }, &[1, 0]).await;
    check(DeadFilter { trigger: Some("t".into()), ..any.clone() }, page(9), &[2, 0]).await;
    check(DeadFilter { trigger: Some("t".into()), cause: Some("x".into()), ..any.clone() }, page(9), &[0]).await;
    check(DeadFilter { tasks: vec![tasks[1]], ..any.clone() }, page(9), &[1]).await;
    check(DeadFilter { trigger: Some("none".into()), ..any }, page(9), &[]).await;
}
