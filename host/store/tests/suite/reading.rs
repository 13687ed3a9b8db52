//! Work for dispatch, and runs for people.

use std::sync::Arc;

use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::ports::{Page, RunFilter, WorkPage};
use trapjaw_engine::record::{
    AttemptResult, Command, JudgedTo, NewEvent, NewRun, Progress, RunState, TaskState, TaskTo,
};
use trapjaw_engine::time::Time;

use crate::make::{
    about, act, at, attempt, death, event, judged, judging, run, settle, settled, success, task, with_runs,
};
use crate::{Bench, page};

/// All open work above this task.
pub(crate) fn after(task: i64) -> WorkPage {
    WorkPage::After { task, trigger: None, due_max: Time(i64::MAX), runs_max: 100 }
}

fn due_at(seconds: u64) -> NewRun {
    let progress = Progress { state: TaskState::Scheduled, due: Some(at(seconds)), tries: 0, resumes: 0 };
    NewRun { state: RunState::Scheduled, tasks: vec![task("a", 0, progress)], ..run("t", &[]) }
}

async fn found(bench: &Bench<'_>, page: WorkPage) -> Vec<RunId> {
    bench.store().work(page).await.unwrap().runs.iter().map(|run| run.id).collect()
}

pub(crate) async fn work_comes_in_pages(bench: Bench<'_>) {
    let (first, task) = bench.start(run("t", &["a", "b"])).await;
    let (second, _) = bench.start(run("u", &["a"])).await;
    let (later, _) = bench.start(due_at(100)).await;
    assert_eq!(found(&bench, after(0)).await, [first, second, later]);
    assert_eq!(found(&bench, after(task.seq())).await, [first, second, later], "its second task is above");
    assert_eq!(found(&bench, after(task.seq() + 1)).await, [second, later]);
    let bounded = |trigger: Option<&str>, due_max, runs_max| WorkPage::After {
        task: 0,
        trigger: trigger.map(Into::into),
        due_max,
        runs_max,
    };
    assert_eq!(found(&bench, bounded(None, at(99), 100)).await, [first, second]);
    assert_eq!(found(&bench, bounded(None, at(100), 100)).await, [first, second, later]);
    assert_eq!(found(&bench, bounded(Some("u"), at(100), 100)).await, [second]);
    assert_eq!(found(&bench, bounded(Some("none"), at(100), 100)).await, []);
    assert_eq!(found(&bench, bounded(None, at(100), 2)).await, [first, second]);
    bench.one(settle(success(first, task))).await;
    assert_eq!(found(&bench, after(0)).await, [first, second, later], "its second task is open");
}

pub(crate) async fn a_page_of_work_is_bounded_in_bytes(bench: Bench<'_>) {
    let large = |n: u32| {
        let mut new = with_runs(event(&n.to_string()), vec![run("t", &["a"])]);
        let event = Arc::get_mut(&mut new.event).expect("nobody else has it yet");
        event.data = vec![b'7'; 1 << 20].into();
        new
    };
    for n in 0..40 {
        bench.append(large(n)).await;
    }
    let (mut task, mut pages) = (0, Vec::new());
    loop {
        let work = bench.store().work(after(task)).await.unwrap();
        task = work.runs.iter().flat_map(|run| &run.tasks).map(|task| task.id.seq()).max().unwrap();
        pages.push(work.runs.len());
        if work.is_all {
            break;
        }
    }
    assert_eq!(pages, [32, 8]);
}

pub(crate) async fn work_is_found_by_due(bench: Bench<'_>) {
    let (at_30, _) = bench.start(due_at(30)).await;
    let (at_10, _) = bench.start(due_at(10)).await;
    let (at_20, _) = bench.start(due_at(20)).await;
    bench.start(run("t", &["a"])).await;
    let due = |after, until, runs_max| WorkPage::Due { after: at(after), until: at(until), runs_max };
    assert_eq!(found(&bench, due(0, 99, 9)).await, [at_10, at_20, at_30]);
    assert_eq!(found(&bench, due(10, 20, 9)).await, [at_20], "exclusive of its start, inclusive of its end");
    assert_eq!(found(&bench, due(0, 99, 1)).await, [at_10]);
}

pub(crate) async fn work_brings_events_and_outputs(bench: Bench<'_>) {
    let mut new = about("ann", run("t", &["a", "b", "c"]));
    (new.order_key, new.subject_no) = (Some("k".into()), 4);
    let appended = bench.append(NewEvent { received: at(3), ..with_runs(event("1"), vec![new]) }).await;
    let (id, first) = (appended.runs[0].run.unwrap(), appended.runs[0].task_first);
    let mut one = success(id, first);
    one.run_state = RunState::Running;
    one.others = vec![(TaskId::of(first.seq() + 1), TaskTo::Closed(TaskState::Cancelled))];
    bench.one(settle(one)).await;
    let runs = bench.store().work(WorkPage::Runs(vec![id, RunId::of(id.seq() + 1_000_000)])).await.unwrap().runs;
    let [view] = <[_; 1]>::try_from(runs).unwrap();
    assert_eq!(&*view.event.unwrap().id, "1");
    assert_eq!((&*view.trigger, view.trigger_version, &*view.subject, view.subject_no), ("t", 3, "ann", 4));
    assert_eq!((view.order_key.as_deref(), view.created, view.event_id), (Some("k"), at(3), appended.event));
    let states: Vec<_> = view.tasks.iter().map(|task| (task.progress.state, task.attempt_last)).collect();
    assert_eq!(states, [(TaskState::Succeeded, 1), (TaskState::Cancelled, 0), (TaskState::Running, 0)]);
    assert_eq!(&view.tasks[0].attempts[0].detail[..], b"detail 1", "later actions may read the output");
}

pub(crate) async fn runs_are_filtered(bench: Bench<'_>) {
    let two = with_runs(event("1"), vec![about("ann", run("t", &["a"])), run("u", &["a"])]);
    let first = bench.append(NewEvent { received: at(1), ..two }).await;
    let third = with_runs(event("2"), vec![run("t", &["a"])]);
    let second = bench.append(NewEvent { received: at(2), ..third }).await;
    let fourth = bench.append(NewEvent { received: at(3), ..with_runs(event("3"), vec![due_at(100)]) }).await;
    let ids: Vec<_> = [&first, &second, &fourth].iter().flat_map(|a| &a.runs).map(|run| run.run.unwrap()).collect();
    bench.one(settle(death(ids[0], first.runs[0].task_first, "x"))).await;
    bench.one(settle(success(ids[1], first.runs[1].task_first))).await;
    let check = async |filter: RunFilter, page: Page, expected: &[usize]| {
        let runs = bench.ledger().runs(filter.clone(), page).await.unwrap().rows;
        assert!(runs.iter().all(|run| run.tasks.len() == 1 && run.tasks[0].attempts.is_empty()));
        let found: Vec<_> = runs.iter().map(|run| run.id).collect();
        assert_eq!(found, expected.iter().map(|n| ids[*n]).collect::<Vec<_>>(), "{filter:?} {page:?}");
    };
    let any = RunFilter::default();
    let of_state = |state| RunFilter { state: Some(state), ..RunFilter::default() };
    check(any.clone(), page(9), &[3, 2, 1, 0]).await;
    check(any.clone(), page(2), &[3, 2]).await;
    check(any.clone(), Page { before: Some(ids[2].seq()), rows_max: 9 }, &[1, 0]).await;
    check(of_state(RunState::Dead), page(9), &[0]).await;
    check(of_state(RunState::Succeeded), page(9), &[1]).await;
    check(of_state(RunState::Running), page(9), &[2]).await;
    check(of_state(RunState::Scheduled), page(9), &[3]).await;
    check(of_state(RunState::Cancelled), page(9), &[]).await;
    check(RunFilter { trigger: Some("t".into()), ..any.clone() }, page(9), &[3, 2, 0]).await;
    check(RunFilter { trigger: Some("none".into()), ..any.clone() }, page(9), &[]).await;
    check(RunFilter { subject: Some("ann".into()), ..any.clone() }, page(9), &[0]).await;
    check(RunFilter { event: Some(first.event), ..any.clone() }, page(9), &[1, 0]).await;
    check(RunFilter { since: Some(at(2)), until: Some(at(3)), ..any.clone() }, page(9), &[2]).await;
    check(RunFilter { trigger: Some("t".into()), state: Some(RunState::Dead), ..any }, page(9), &[0]).await;
}

pub(crate) async fn a_page_of_runs_is_bounded_in_bytes(bench: Bench<'_>) {
    for _ in 0..40 {
        let (run, task) = bench.start(judging("t")).await;
        let mut end = judged(run, task, JudgedTo::End(RunState::NotMatched));
        if let Command::Judged(judged) = &mut end {
            judged.evaluation = vec![b'7'; 1 << 20].into();
        }
        bench.one(end).await;
    }
    let (mut before, mut n_runs) = (None, 0);
    loop {
        let found = bench.ledger().runs(RunFilter::default(), Page { before, rows_max: 30 }).await.unwrap();
        let n_bytes: usize = found.rows.iter().map(|run| run.evaluation.len()).sum();
        assert!(!found.rows.is_empty() && n_bytes <= 16 << 20, "{n_bytes} bytes");
        n_runs += found.rows.len();
        before = found.rows.last().map(|run| run.id.seq());
        if found.is_all {
            break;
        }
    }
    assert_eq!(n_runs, 40);
}

pub(crate) async fn the_attempts_of_a_run_are_bounded_in_bytes(bench: Bench<'_>) {
    let (run, task) = bench.start(run("t", &["a"])).await;
    for number in 1..=40 {
        let mut again = attempt(number, AttemptResult::Resumed);
        again.detail = vec![b'7'; 1 << 20].into();
        let open = TaskTo::Open(Progress::READY);
        bench.one(settle(settled(run, task, again, open, RunState::Running))).await;
    }
    let attempts = &bench.run(run).await.tasks[0].attempts;
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt.number).collect();
    assert!(numbers.is_sorted() && numbers.len() <= 16, "{numbers:?}");
    assert_eq!((numbers[0], numbers[1], numbers.last()), (1, 42 - numbers.len() as u32, Some(&40)), "{numbers:?}");
}

pub(crate) async fn open_runs_are_counted(bench: Bench<'_>) {
    let check = async |expected| assert_eq!(bench.store().n_open_runs().await.unwrap(), expected);
    check(0).await;
    let (first, task) = bench.start(run("t", &["a", "b"])).await;
    let (second, judge) = bench.start(judging("t")).await;
    bench.start(due_at(100)).await;
    check(3).await;
    // The tasks of a judged run have higher numbers than those of runs that began after it.
    bench.one(judged(second, judge, act(None))).await;
    check(3).await;
    bench.one(settle(success(first, task))).await;
    check(3).await;
    let last = TaskId::of(task.seq() + 1);
    bench.one(settle(success(first, last))).await;
    check(2).await;
}

pub(crate) async fn unknown_ids_are_none(bench: Bench<'_>) {
    assert!(bench.ledger().event(EventId::of(77)).await.unwrap().is_none());
    assert!(bench.ledger().run(RunId::of(77)).await.unwrap().is_none());
    assert!(bench.store().sends(TaskId::of(77)).await.unwrap().is_empty());
}
