//! Caps and cooldowns: checked and counted by the commit.

use std::time::Duration;

use trapjaw_engine::record::{Guard, NewEvent, Reply, RunState, TaskState, TaskTo};
use trapjaw_engine::time::Time;

use crate::make::{about, append, at, event, guarded, limit, run, settle, success, with_runs};
use crate::{Bench, appended};

/// Appends an event under the guard at each of these seconds, and checks which runs were let through.
async fn check(bench: &Bench<'_>, guard: &Guard, expected: &[(u64, bool)]) {
    for (seconds, passes) in expected {
        let appended = bench.append(guarded("1", at(*seconds), guard.clone())).await;
        assert_eq!(appended.runs[0].run.is_some(), *passes, "at {seconds} s");
    }
}

pub(crate) async fn limits_count_runs_ever(bench: Bench<'_>) {
    check(&bench, &limit(2, None), &[(0, true), (1, true), (2, false)]).await;
    let bench = bench.reopen().await;
    check(&bench, &limit(2, None), &[(1_000_000, false)]).await;
    assert_eq!(bench.activity("capped", "ann").await, 2);
}

pub(crate) async fn windows_slide(bench: Bench<'_>) {
    let guard = limit(2, Some(10));
    check(&bench, &guard, &[(0, true), (4, true), (9, false), (10, true), (11, false), (14, true), (15, false)]).await;
    let bench = bench.reopen().await;
    check(&bench, &guard, &[(19, false), (20, true)]).await;
}

pub(crate) async fn cooldown_is_a_gap(bench: Bench<'_>) {
    let guard = Guard { subject: "ann".into(), limit: None, cooldown: Some(Duration::from_secs(10)) };
    check(&bench, &guard, &[(0, true), (9, false), (10, true), (19, false), (20, true)]).await;
}

pub(crate) async fn release_gives_back(bench: Bench<'_>) {
    let guard = Guard { cooldown: Some(Duration::from_secs(2)), ..limit(1, Some(10)) };
    check(&bench, &guard, &[(0, true)]).await;
    let appended = bench.append(guarded("1", at(10), guard.clone())).await;
    let (run, task) = (appended.runs[0].run.unwrap(), appended.runs[0].task_first);
    check(&bench, &guard, &[(11, false)]).await;
    let mut skipped = success(run, task);
    skipped.to = TaskTo::Closed(TaskState::Skipped);
    (skipped.run_state, skipped.release) = (RunState::Skipped, true);
    bench.one(settle(skipped.clone())).await;
    assert_eq!(bench.activity("capped", "ann").await, 1);
    let activity = bench.store().activity("capped", "ann").await.unwrap();
    assert_eq!(activity.last, Some(at(0)), "the run before is the last again");
    // A second release of the same run gives nothing back.
    bench.one(settle(skipped)).await;
    assert_eq!(bench.activity("capped", "ann").await, 1);
    check(&bench, &guard, &[(11, true), (12, false)]).await;
}

pub(crate) async fn guards_hold_within_a_batch(bench: Bench<'_>) {
    let commands = (0..4).map(|n| append(guarded("1", at(n), limit(3, Some(60))))).collect();
    let replies = bench.commit(commands).await.into_iter().map(appended);
    let passed: Vec<_> = replies.map(|appended| appended.runs[0].run.is_some()).collect();
    assert_eq!(passed, [true, true, true, false]);
}

pub(crate) async fn triggers_can_be_limited(bench: Bench<'_>) {
    let guard = Guard { subject: "".into(), ..limit(2, None) };
    let put = async |subject: &str| {
        let mut run = about(subject, run("capped", &["a"]));
        run.guard = Some(guard.clone());
        bench.append(with_runs(event("1"), vec![run])).await.runs[0].run
    };
    let first = put("ann").await;
    assert!(first.is_some() && put("bob").await.is_some() && put("eve").await.is_none());
    let counts = [bench.activity("capped", "").await, bench.activity("capped", "ann").await];
    assert_eq!((counts, bench.activity("capped", "eve").await), ([2, 1], 0));
    let task = bench.run(first.unwrap()).await.tasks[0].id;
    let mut skipped = success(first.unwrap(), task);
    skipped.release = true;
    bench.one(settle(skipped)).await;
    assert_eq!([bench.activity("capped", "").await, bench.activity("capped", "ann").await], [1, 0]);
    assert!(put("eve").await.is_some());
}

pub(crate) async fn subjects_are_counted(bench: Bench<'_>) {
    let of = |trigger: &str, received: Time| {
        append(NewEvent { received, ..with_runs(event("1"), vec![about("ann", run(trigger, &["a"]))]) })
    };
    let replies = bench.commit(vec![of("t", at(1)), of("u", at(5)), of("t", at(2))]).await;
    assert!(replies.iter().all(|reply| matches!(reply, Reply::Appended(_))));
    bench.one(of("t", at(3))).await;
    let views = bench.ledger().subject("ann").await.unwrap();
    let views: Vec<_> = views.iter().map(|v| (&*v.trigger, v.activity.count, v.activity.last)).collect();
    assert_eq!(views, [("u", 1, Some(at(5))), ("t", 3, Some(at(3)))]);
    assert!(bench.ledger().subject("bob").await.unwrap().is_empty());
    assert_eq!(bench.activity("unknown", "ann").await, 0);
}
