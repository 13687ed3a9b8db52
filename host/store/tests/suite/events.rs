//! Appending events: their numbers, taking them once, reading them back.

use std::sync::Arc;

use bytes::Bytes;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{EventFilter, Page};
use trapjaw_engine::record::{NewEvent, Reply};

use crate::make::{START, append, at, deduped, event, run, with_runs};
use crate::{Bench, appended, page};

pub(crate) async fn ids_grow_in_commit_order(bench: Bench<'_>) {
    let two = with_runs(event("1"), vec![run("t", &["a", "b"]), run("u", &["c"])]);
    let replies = bench.commit(vec![append(two), append(event("2"))]).await;
    let [first, second] = <[Reply; 2]>::try_from(replies).unwrap().map(appended);
    let third = bench.append(with_runs(event("3"), vec![run("t", &["a"])])).await;
    assert!(first.event < second.event && second.event < third.event);
    assert!(second.runs.is_empty());
    let runs: Vec<_> = first.runs.iter().chain(&third.runs).map(|run| run.run.unwrap()).collect();
    assert!(runs.is_sorted() && runs.len() == 3);
    assert_eq!(first.runs[1].task_first.seq(), first.runs[0].task_first.seq() + 2, "tasks follow without a gap");
    let view = bench.run(runs[0]).await;
    let tasks: Vec<_> = view.tasks.iter().map(|task| (task.id.seq(), &*task.action, task.ordinal)).collect();
    let task = first.runs[0].task_first.seq();
    assert_eq!(tasks, [(task, "a", 0), (task + 1, "b", 1)]);
}

pub(crate) async fn duplicates_write_nothing(bench: Bench<'_>) {
    let with_run = |id: &str, key| append(with_runs(deduped(id, key), vec![run("t", &["a"])]));
    let replies = bench.commit(vec![with_run("1", 7), with_run("2", 7), with_run("3", 8)]).await;
    let first = appended(replies[0].clone());
    assert_eq!(replies[1], Reply::Duplicate(first.event), "in the same batch");
    let third = appended(replies[2].clone());
    assert_eq!(bench.one(with_run("4", 7)).await, Reply::Duplicate(first.event), "in a later batch");
    let replies = bench.commit(vec![with_run("5", 9), with_run("6", 8), with_run("7", 8)]).await;
    assert!(matches!(replies[0], Reply::Appended(_)));
    assert_eq!(replies[1..], [Reply::Duplicate(third.event), Reply::Duplicate(third.event)]);
    let bench = bench.reopen().await;
    assert_eq!(bench.one(with_run("8", 7)).await, Reply::Duplicate(first.event), "after a reopen");
    let ids = bench.ledger().events(EventFilter::default(), page(10)).await.unwrap().rows;
    let ids: Vec<_> = ids.iter().map(|view| view.event.id.to_string()).collect();
    assert_eq!(ids, ["5", "3", "1"]);
}

pub(crate) async fn events_read_back(bench: Bench<'_>) {
    let check = async |event: Event, evaluations: &'static [u8]| {
        let event = Arc::new(event);
        let evaluations = Bytes::from_static(evaluations);
        let new = NewEvent {
            event: Arc::clone(&event),
            received: at(5),
            dedup: None,
            evaluations: evaluations.clone(),
            runs: Vec::new(),
        };
        let id = bench.append(new).await.event;
        let view = bench.ledger().event(id).await.unwrap().unwrap();
        assert_eq!((view.id, view.received, view.evaluations, view.runs), (id, at(5), evaluations, None));
        let (read, event) = (&view.event, &event);
        assert_eq!((&read.id, &read.source, &read.kind), (&event.id, &event.source, &event.kind));
        assert_eq!((&read.subject, read.time, &read.data), (&event.subject, event.time, &event.data));
        assert_eq!((&read.content_type, &read.extensions), (&event.content_type, &event.extensions));
    };
    check(Event::new("s", "t", "1", START), b"").await;
    let mut event = Event::new("s'\"", "t", "ö", at(1));
    event.subject = Some("<b>".into());
    event.content_type = Some("text/plain".into());
    event.extensions = vec![("traceparent".into(), "00-1".into())];
    event.data = Bytes::from_static(b"\0\xff{{ secret.X }}");
    check(event, b"\x01\x02").await;
}

pub(crate) async fn filters_and_pages(bench: Bench<'_>) {
    let put = async |id: &str, source: &str, kind: &str, seconds| {
        let event = Arc::new(Event::new(source, kind, id, START));
        bench.append(NewEvent { event, received: at(seconds), ..event_of(id) }).await;
    };
    for (id, source, kind, seconds) in [("1", "a", "x", 1), ("2", "a", "y", 2), ("3", "b", "x", 3), ("4", "a", "x", 4)]
    {
        put(id, source, kind, seconds).await;
    }
    let check = async |filter: EventFilter, page: Page, expected: &[&str]| {
        let views = bench.ledger().events(filter.clone(), page).await.unwrap().rows;
        let ids: Vec<_> = views.iter().map(|view| &*view.event.id).collect();
        assert_eq!(ids, expected, "{filter:?} {page:?}");
    };
    let any = EventFilter::default();
    check(any.clone(), page(10), &["4", "3", "2", "1"]).await;
    check(any.clone(), page(2), &["4", "3"]).await;
    check(any.clone(), Page { before: Some(3), rows_max: 10 }, &["2", "1"]).await;
    check(EventFilter { source: Some("a".into()), ..any.clone() }, page(10), &["4", "2", "1"]).await;
    check(EventFilter { kind: Some("x".into()), ..any.clone() }, page(10), &["4", "3", "1"]).await;
    check(EventFilter { source: Some("a".into()), id: Some("2".into()), ..any.clone() }, page(10), &["2"]).await;
    check(EventFilter { since: Some(at(2)), until: Some(at(4)), ..any }, page(10), &["3", "2"]).await;
}

fn event_of(id: &str) -> NewEvent {
    event(id)
}

pub(crate) async fn reopening_keeps_everything(bench: Bench<'_>) {
    let (id, _) = bench.start(run("t", &["a", "b"])).await;
    let before = format!("{:?}", bench.run(id).await);
    let bench = bench.reopen().await;
    assert_eq!(format!("{:?}", bench.run(id).await), before);
}

pub(crate) async fn numbers_are_never_given_twice(bench: Bench<'_>) {
    let first = bench.append(with_runs(event("1"), vec![run("t", &["a"])])).await;
    let bench = bench.reopen().await;
    let second = bench.append(with_runs(event("2"), vec![run("t", &["a"])])).await;
    assert!(second.event > first.event && second.runs[0].run > first.runs[0].run);
    assert!(second.runs[0].task_first > first.runs[0].task_first);
}

pub(crate) async fn a_page_of_events_is_bounded_in_bytes(bench: Bench<'_>) {
    for n in 0..40 {
        let mut event = Event::new("shop", "t", n.to_string(), START);
        event.data = vec![b'7'; 1 << 20].into();
        bench.append(NewEvent { event: Arc::new(event), ..event_of("") }).await;
    }
    let (mut before, mut ids) = (None, Vec::new());
    loop {
        let found = bench.ledger().events(EventFilter::default(), Page { before, rows_max: 30 }).await.unwrap();
        let n_bytes: usize = found.rows.iter().map(|view| view.event.data.len()).sum();
        assert!(!found.rows.is_empty() && n_bytes <= 16 << 20, "{n_bytes} bytes");
        ids.extend(found.rows.iter().map(|view| view.event.id.to_string()));
        before = found.rows.last().map(|view| view.id.seq());
        if found.is_all {
            break;
        }
    }
    assert_eq!(ids, (0..40).rev().map(|n| n.to_string()).collect::<Vec<_>>(), "every one, and once");
}
