//! Many runs: a small window of memory, and turns for everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{CallError, Outcome};
use trapjaw_engine::record::RunState;

use crate::support::ends::{SimPlugin, Step, done};
use crate::support::{START, World};

/// Takes in so many events of a type, a thousand at once.
async fn flood(world: &World, kind: &str, n_events: usize) {
    for from in (0..n_events).step_by(1_000) {
        let event = |n: usize| Event::new("shop", kind, format!("{kind} {n}"), world.now());
        let events = (from..n_events.min(from + 1_000)).map(event).collect();
        world.accept(events).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_window_gets_all_of_it_done() {
    for (delay_ms_max, step, is_restarted) in [(0, Step::Ok, false), (9, Step::Slow(Duration::from_millis(3)), true)] {
        let mut world = World::sending(json!({}));
        world.settings.lane_runs_max = 100;
        world.connection("crm", json!({}), move |_, _| step.clone());
        world.store.faults().delay_ms_max = delay_ms_max;
        world.trigger("u", json!({"on": {"type": ["rare"]}, "do": [{"send": "crm", "body": "rare"}]}));
        world.start().await;
        flood(&world, "order", 25_000).await;
        let n_before = world.sent("crm").len();
        flood(&world, "rare", 1).await;
        world.pass(Duration::from_millis(100)).await;
        let place = world.sent("crm").iter().position(|sent| sent.text == "rare").expect("the rare one had its turn");
        assert!(place < n_before + 5_000, "after {} others", place - n_before);
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        assert_eq!(world.states().iter().filter(|state| **state == RunState::Succeeded).count(), 25_001);
        let n_sent = world.sent("crm").len();
        let n_again = if is_restarted { 256 } else { 0 };
        assert!((25_001..=25_001 + n_again).contains(&n_sent), "{n_sent} sends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_read_is_read_again() {
    let mut world = World::sending(json!({}));
    world.settings.lane_runs_max = 100;
    world.start().await;
    world.store.faults().reads_failing = 5;
    flood(&world, "order", 3_000).await;
    world.finish().await;
    assert_eq!(world.store.faults().reads_failing, 0, "a page was wanted");
    assert_eq!(world.states(), vec![RunState::Succeeded; 3_000]);
}

#[tokio::test(start_paused = true)]
async fn lanes_that_hang_leave_places_for_the_others() {
    let mut world = World::new();
    let hang = |_, _| async { std::future::pending::<Result<Outcome, CallError>>().await };
    world.plugin("hang", SimPlugin::action(hang));
    world.plugin("act", SimPlugin::action(|_, _| async { done() }));
    world.connection("slow", json!({"timeout": "10m"}), |_, _| Step::Hang);
    for n in 0..3 {
        world.trigger(&format!("hang{n}"), json!({"on": {"type": ["bad"]}, "do": [{"plugin": "hang"}]}));
        world.trigger(&format!("slow{n}"), json!({"on": {"type": ["bad"]}, "do": [{"send": "slow"}]}));
    }
    let good = json!({"on": {"type": ["good"]}, "do": [{"send": "crm"}, {"plugin": "act"}]});
    world.trigger("t", good);
    world.start().await;
    flood(&world, "bad", 2_000).await;
    world.pass(Duration::from_millis(100)).await;
    flood(&world, "good", 500).await;
    world.pass(Duration::from_millis(500)).await;
    let n_good = world.runs().iter().filter(|run| &*run.trigger == "t" && run.state == RunState::Succeeded).count();
    assert_eq!((n_good, world.sent("crm").len()), (500, 500));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_delayed_runs_is_done_in_time() {
    let mut world = World::sending(json!({"delay": "30m"}));
    world.settings.lane_runs_max = 100;
    world.store.faults().delay_ms_max = 2;
    world.trigger("u", json!({"do": [{"send": "crm", "body": "now"}]}));
    world.start().await;
    flood(&world, "order", 3_000).await;
    world.finish().await;
    assert_eq!(world.states(), vec![RunState::Succeeded; 6_000]);
    let sent = world.sent("crm");
    assert_eq!(sent.len(), 6_000);
    let delayed = sent.iter().filter(|sent| sent.text != "now");
    assert!(delayed.clone().all(|sent| (1_800_000..1_830_000).contains(&sent.at_ms)), "{:?}", delayed.last());
}

#[tokio::test(start_paused = true)]
async fn ordered_runs_beyond_the_window_stay_in_order() {
    let mut world = World::new();
    world.settings.lane_runs_max = 20;
    world.store.faults().delay_ms_max = 4;
    world.connection("crm", json!({}), |_, at| {
        if at % 7 == 3 { Step::Retry(None) } else { Step::Slow(Duration::from_millis(2)) }
    });
    let action = json!({"send": "crm", "body": "{{ event.id }}"});
    world.trigger("t", json!({"do": [action], "policy": {"order_by": "{{ event.data.key }}"}}));
    world.start().await;
    for _ in 0..10 {
        let events = (0..60).map(|n| world.event("", json!({"key": format!("k{}", n % 4)}))).collect();
        world.accept(events).await.unwrap();
    }
    world.finish().await;
    let ids: Vec<u32> = world.sent("crm").iter().map(|sent| sent.text.parse().unwrap()).collect();
    for key in 0..4 {
        let of_key: Vec<u32> = ids.iter().copied().filter(|id| (id - 1) % 60 % 4 == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fills_the_memory_does_not_stop_the_others() {
    let mut world = World::new();
    world.settings.memory_bytes_max = 20_000;
    world.connection("down", json!({"paused": true}), |_, _| Step::Ok);
    world.trigger("a", json!({"on": {"type": ["bad"]}, "do": [{"send": "down"}]}));
    world.trigger("b", json!({"on": {"type": ["good"]}, "do": [{"send": "crm"}]}));
    world.start().await;
    flood(&world, "bad", 300).await;
    world.pass_s(1).await;
    flood(&world, "good", 500).await;
    world.pass_s(100).await;
    assert_eq!(world.sent("crm").len(), 500);
}

#[tokio::test(start_paused = true)]
async fn what_is_redriven_keeps_to_the_window() {
    let mut world = World::sending(json!({"retry": {"attempts": 1}}));
    world.settings.lane_runs_max = 100;
    world.connection("crm", json!({}), |sent, _| if sent.at_ms < 5_000 { Step::Permanent } else { Step::Ok });
    world.start().await;
    flood(&world, "order", 1_000).await;
    world.pass_s(20).await;
    world.reconnect("crm", json!({"paused": true}));
    world.swap().await;
    let tasks = world.runs().iter().map(|run| run.tasks[0].id).collect();
    assert_eq!(world.engine().redrive(tasks, "ann").await.unwrap(), 1_000);
    world.pass_s(1).await;
    assert!(world.engine().status().await.n_open_in_memory <= 200);
    world.reconnect("crm", json!({}));
    world.swap().await;
    world.finish().await;
    assert_eq!(world.states(), vec![RunState::Succeeded; 1_000]);
}

#[tokio::test(start_paused = true)]
async fn open_runs_are_counted_once_whatever_memory_holds() {
    let mut world = World::sending(json!({"order_by": "subject"}));
    world.connection("crm", json!({"paused": true}), |_, _| Step::Ok);
    (world.settings.lane_runs_max, world.settings.open_runs_max) = (5, 26);
    world.start().await;
    for _ in 0..25 {
        world.happen("ann").await;
    }
    world.start().await;
    let events = [world.event("ann", json!({})), world.event("ann", json!({}))];
    let [first, second] = events.map(|event| world.accept(vec![event]));
    assert!(first.await.is_ok(), "25 of 26 are open");
    assert!(second.await.is_err(), "26 of 26 are open");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_due_work_that_is_cut_leaves_nothing_behind() {
    let mut world = World::new();
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    world.plugin(
        "later",
        SimPlugin::action(move |call, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let at = if call.now < START + Duration::from_secs(1_000) { 3_000 } else { 0 };
                if at > 0 { Ok(Outcome::ResumeAt(START + Duration::from_secs(at))) } else { done() }
            }
        }),
    );
    // Each run has a task that is due with the others' and one that is due much later.
    let actions = json!([{"plugin": "later"}, {"send": "crm", "name": "b"}]);
    world.trigger("t", json!({"do": actions, "policy": {"retry": {"first": "30m", "factor": 1.0}}}));
    world.connection("crm", json!({}), |_, at| if at < 2_500 { Step::Retry(None) } else { Step::Ok });
    world.start().await;
    flood(&world, "order", 2_500).await;
    world.finish().await;
    assert_eq!(world.states(), vec![RunState::Succeeded; 2_500]);
    assert_eq!(calls.load(Ordering::SeqCst), 5_000);
}
