//! The door out: rates, places, the breaker, and pauses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::{SimPlugin, Step, done, passed_on, request};

/// Lets so many events happen at once, and says when each was sent, in milliseconds.
async fn sent_at(connection: Value, policy: Value, n_events: usize) -> (Vec<u64>, usize) {
    let mut world = World::sending(policy);
    world.connection("crm", connection, |_, _| Step::Slow(Duration::from_millis(100)));
    world.start().await;
    for _ in 0..n_events {
        world.happen("").await;
    }
    world.finish().await;
    assert!(world.tries().iter().all(|(_, attempt)| *attempt == 1), "to wait is no try");
    (world.sent("crm").iter().map(|sent| sent.at_ms).collect(), world.sent_at_once("crm"))
}

#[tokio::test(start_paused = true)]
async fn rates_hold() {
    for (connection, policy) in [(json!({"rate": "10/s"}), json!({})), (json!({}), json!({"rate": "10/s"}))] {
        let (sent, _) = sent_at(connection.clone(), policy.clone(), 30).await;
        let expected: Vec<u64> = (0..30).map(|n| n * 100).collect();
        let is_close = sent.iter().zip(&expected).all(|(at, wanted)| at.abs_diff(*wanted) <= 30);
        assert!(sent.len() == 30 && is_close, "{connection} {policy}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_triggers_rate_is_kept_while_it_is_idle() {
    let mut world = World::sending(json!({"rate": "1/m"})).go().await;
    world.finish().await;
    world.pass_s(1).await;
    world.happen("").await;
    world.finish().await;
    assert_eq!(world.sent("crm").iter().map(|sent| sent.at_ms / 1_000).collect::<Vec<_>>(), [0, 60]);
}

#[tokio::test(start_paused = true)]
async fn places_are_limited() {
    for (connection, policy) in [(json!({"concurrency": 3}), json!({})), (json!({}), json!({"concurrency": 3}))] {
        let (sent, most) = sent_at(connection, policy, 30).await;
        assert_eq!((sent.len(), most), (30, 3));
        assert!(*sent.last().unwrap() <= 1_500, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_holds_back_without_using_up_tries() {
    let mut world = World::sending(json!({"retry": {"first": "100s", "factor": 1.0, "attempts": 2}}));
    // The remote is down for the first two minutes.
    world.connection("crm", json!({}), |sent, _| if sent.at_ms < 120_000 { Step::Retry(None) } else { Step::Ok });
    world.start().await;
    for _ in 0..40 {
        world.happen("").await;
        world.pass(Duration::from_millis(10)).await;
    }
    world.pass_s(5).await;
    let n_sent = world.sent("crm").len();
    assert_eq!(n_sent, 20, "twenty calls open it, and nothing passes then");
    let blocked = world.engine().status().await.connections[0].blocked;
    assert_eq!(blocked, Some(trapjaw_engine::record::TaskState::WaitingBreaker));
    world.finish().await;
    let n_dead = world.states().iter().filter(|state| **state == RunState::Dead).count();
    // While it is open one call tries it now and then; only those used a try up.
    assert!(world.sent("crm").iter().filter(|sent| sent.at_ms < 120_000).count() <= 25);
    assert!(n_dead <= 4, "{n_dead} dead");
    assert_eq!(world.engine().status().await.connections[0].blocked, None);
}

#[tokio::test(start_paused = true)]
async fn calls_that_an_action_cuts_off_count_for_the_breaker() {
    let mut world = World::new();
    world.connection("crm", json!({}), |_, _| Step::Hang);
    world.trigger("t", json!({"do": [{"send": "crm", "timeout": "1s"}]}));
    world.start().await;
    for _ in 0..20 {
        world.happen("").await;
    }
    world.pass_s(2).await;
    let blocked = world.engine().status().await.connections[0].blocked;
    assert_eq!(blocked, Some(trapjaw_engine::record::TaskState::WaitingBreaker));
}

/// A world whose remote refuses our credentials once; by a plugin, or by a send.
fn unauthorized(is_plugin: bool) -> World {
    let mut world = World::new();
    world.script(&[Step::Unauthorized]);
    world.plugin(
        "act",
        SimPlugin::action(|_, hands| async move {
            hands.send(request("x")).await.map_err(passed_on)?;
            done()
        }),
    );
    let act = if is_plugin { json!({"plugin": "act", "connections": {"out": "crm"}}) } else { json!({"send": "crm"}) };
    world.trigger("t", json!({"do": [act], "policy": {"retry": {"attempts": 1}}}));
    world
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_pause_the_connection() {
    for is_plugin in [false, true] {
        for is_tested in [false, true] {
            let mut world = unauthorized(is_plugin).go().await;
            world.pass_s(3_600).await;
            assert_eq!(world.sent("crm").len(), 1, "nothing passes for an hour");
            assert!(world.engine().status().await.connections[0].is_unauthorized);
            if is_tested {
                world.engine().probe("crm").await.unwrap().unwrap();
            } else {
                world.reconnect("crm", json!({}));
                world.swap().await;
            }
            world.pass_s(1).await;
            world.finish().await;
            assert_eq!((world.states(), world.tries().len()), (vec![RunState::Succeeded], 2));
            assert_eq!(world.tries()[1], (3_600_000, 1), "it was no try");
            assert!(!world.engine().status().await.connections[0].is_unauthorized);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_paused_connection_waits() {
    let mut world = World::sending(json!({}));
    world.reconnect("crm", json!({"paused": true}));
    let mut world = world.go().await;
    world.pass_s(1_000).await;
    assert_eq!(world.sent("crm").len(), 0);
    world.reconnect("crm", json!({}));
    world.swap().await;
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(world.sent("crm").len(), 1);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_held_back_makes_room_at_once() {
    let mut world = World::new();
    world.connection("down", json!({"paused": true}), |_, _| Step::Ok);
    world.plugin(
        "act",
        SimPlugin::action(|call, hands| async move {
            let mut request = request("x");
            request.label = if &*call.event.id == "1" { "down".into() } else { "out".into() };
            hands.send(request).await.map_err(passed_on)?;
            done()
        }),
    );
    let act = json!({"plugin": "act", "connections": {"out": "crm", "down": "down"}});
    world.trigger("t", json!({"do": [act], "policy": {"concurrency": 1}}));
    world.start().await;
    let events = vec![world.event("", json!({})), world.event("", json!({}))];
    world.accept(events).await.unwrap();
    world.pass_s(1).await;
    assert_eq!(world.states(), [RunState::Running, RunState::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_is_looked_at_as_often_however_much_changes() {
    let calls_after = async |n_swaps: u32| {
        let mut world = World::new();
        world.connection("down", json!({"paused": true}), |_, _| Step::Ok);
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let act = SimPlugin::action(move |_, hands| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                hands.send(request("x")).await.map_err(passed_on)?;
                done()
            }
        });
        world.plugin("act", act);
        world.trigger("t", json!({"do": [{"plugin": "act", "connections": {"out": "down"}}]}));
        let mut world = world.go().await;
        for _ in 0..n_swaps {
            world.pass(Duration::from_millis(100)).await;
            world.swap().await;
        }
        world.pass_s(10).await;
        let before = calls.load(Ordering::SeqCst);
        world.pass_s(600).await;
        calls.load(Ordering::SeqCst) - before
    };
    let (few, many) = (calls_after(0).await, calls_after(50).await);
    assert!(many <= few + 1, "{few} calls, and after many changes {many}");
}

#[tokio::test(start_paused = true)]
async fn a_shut_door_that_a_plugin_got_around_is_no_excuse() {
    let mut world = World::new();
    world.connection("down", json!({"paused": true}), |_, _| Step::Ok);
    world.connection("crm", json!({}), |_, _| Step::Retry(None));
    let act = SimPlugin::action(|_, hands| async move {
        let mut first = request("x");
        first.label = "down".into();
        if hands.send(first).await.is_err() {
            hands.send(request("x")).await.map_err(passed_on)?;
        }
        done()
    });
    world.plugin("act", act);
    let act = json!({"plugin": "act", "connections": {"out": "crm", "down": "down"}});
    world.trigger("t", json!({"do": [act], "policy": {"retry": {"attempts": 3}}}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Dead], 3));
}
