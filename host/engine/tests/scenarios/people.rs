//! What people do: cancel, stop, and look.

use std::time::Duration;

use serde_json::json;
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::{SimPlugin, Step};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_run_can_be_cancelled_wherever_it_stands() {
    let slow = Step::Slow(Duration::from_secs(10));
    // Before its time, in memory and beyond it; between two tries; while a try is under way, which ends.
    let check = async |policy: serde_json::Value, step: &Step, is_restarted: bool, expected: RunState| {
        let mut world = World::sending(policy);
        world.script(std::slice::from_ref(step));
        let mut world = world.go().await;
        world.pass_s(1).await;
        if is_restarted {
            world.start().await;
            world.pass_s(1).await;
        }
        let run = world.runs()[0].id;
        assert!(world.engine().cancel(run, "ann").await);
        world.finish().await;
        assert_eq!(world.states(), [expected]);
        assert!(!world.engine().cancel(run, "ann").await, "there is nothing left to cancel");
        let status = world.engine().status().await;
        assert_eq!((status.n_open_in_memory, status.lanes.len()), (0, 0));
    };
    for is_restarted in [false, true] {
        check(json!({"delay": "60s"}), &Step::Ok, is_restarted, RunState::Cancelled).await;
        check(json!({"delay": "9h"}), &Step::Ok, is_restarted, RunState::Cancelled).await;
        check(json!({}), &Step::Retry(Some(60 * SECOND)), is_restarted, RunState::Cancelled).await;
    }
    check(json!({}), &slow, false, RunState::Succeeded).await;
    check(json!({}), &Step::Hang, false, RunState::Cancelled).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_can_be_cancelled_while_it_is_judged() {
    // At every moment of the judgement and of the commit that keeps it.
    for at_ms in (0..=80).step_by(3) {
        let mut world = World::new();
        world.plugin("slow", SimPlugin::condition(Duration::from_millis(40), |_| Ok(true)));
        world.connection("crm", json!({}), |_, _| Step::Slow(10 * SECOND));
        let actions = json!([{"send": "crm", "name": "a"}, {"send": "crm", "name": "b", "needs": ["a"]}]);
        world.trigger("t", json!({"when": [{"plugin": "slow"}], "do": actions}));
        world.store.faults().delay_ms_max = 20;
        let world = world.go().await;
        world.pass(Duration::from_millis(at_ms)).await;
        let run = world.runs()[0].id;
        world.engine().cancel(run, "ann").await;
        world.finish().await;
        // A send that is under way ends; nothing new begins.
        assert!(world.sent("crm").len() <= 1, "cancelled after {at_ms} ms: {:?}", world.tasks(0));
        assert!(world.tasks(0).iter().skip(1).all(|state| *state == trapjaw_engine::record::TaskState::Cancelled));
    }
}

#[tokio::test(start_paused = true)]
async fn to_stop_lets_attempts_end_or_gives_them_back() {
    let mut world = World::sending(json!({}));
    let steps = [Step::Slow(2 * SECOND), Step::Slow(60 * SECOND)];
    world.script(&steps);
    world.start().await;
    world.happen("").await;
    world.happen("").await;
    world.pass(SECOND).await;
    let engine = world.engine();
    let began_ms = world.elapsed_ms();
    engine.stop(5 * SECOND).await;
    assert!(world.elapsed_ms() - began_ms <= 5_001);
    assert_eq!(world.states(), [RunState::Succeeded, RunState::Running]);
    let event = world.event("", json!({}));
    assert!(world.accept(vec![event]).await.is_err());
    world.start().await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Succeeded; 2]);
    let keys: Vec<_> = world.sent("crm").into_iter().map(|sent| sent.message.idempotency_key).collect();
    assert_eq!((keys.len(), &keys[1]), (3, &keys[2]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_stops_the_host() {
    let mut world = World::sending(json!({}));
    world.start().await;
    world.store.faults().commits_left = 1;
    world.happen("").await;
    world.engine().failed().await;
    world.store.faults().commits_left = u64::MAX;
    world.start().await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn intake_refuses_what_is_too_much_and_counts_what_ended() {
    let mut world = World::new();
    world.settings.open_runs_max = 5;
    world.plugin("slow", SimPlugin::condition(SECOND, |call| Ok(call.event.json()["n"] == 0)));
    world.trigger("t", json!({"when": [{"plugin": "slow"}], "do": [{"send": "crm"}, {"send": "crm", "name": "b"}]}));
    world.start().await;
    for _ in 0..4 {
        for _ in 0..5 {
            world.happen("").await;
        }
        let event = world.event("", json!({}));
        assert!(world.accept(vec![event]).await.is_err(), "five are open");
        // What was judged not to match is over.
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_redrive_is_heard_of_even_if_its_caller_goes_away() {
    for limit_ms in (1..60).step_by(2) {
        let mut world = World::sending(json!({"retry": {"attempts": 1}}));
        world.script(&[Step::Retry(None)]);
        let world = world.go().await;
        world.finish().await;
        world.store.faults().delay_ms_max = 20;
        let (task, engine) = (world.task(0, 0).id, world.engine());
        let redriven = engine.redrive(vec![task], "ann");
        let _gone = tokio::time::timeout(Duration::from_millis(limit_ms), redriven).await;
        world.finish().await;
        let is_moved = world.states() == [RunState::Succeeded];
        assert!(is_moved || world.states() == [RunState::Dead], "after {limit_ms} ms: {:?}", world.states());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_was_answered_is_not_forgotten() {
    let mut world = World::sending(json!({}));
    world.script(&[Step::Slow(10 * SECOND)]);
    let mut world = world.go().await;
    world.pass_s(1).await;
    let (run, engine) = (world.runs()[0].id, world.engine());
    // Under way, it may yet succeed: there is no answer until that is known and durable.
    assert!(tokio::time::timeout(5 * SECOND, engine.cancel(run, "ann")).await.is_err());
    assert!(engine.cancel(run, "ann").await);
    world.start().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 1));
}
