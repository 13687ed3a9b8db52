//! Waiting: delays, times, rechecks, deadlines, and actions that ask to be called again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::ports::{CallError, Failure, Outcome};
use trapjaw_engine::record::{RunState, TaskState};

use crate::support::ends::{SimPlugin, done};
use crate::support::{START, World};

/// When `crm` gets the message of an event at the start, in seconds.
async fn check(policy: Value, expected_s: &[u64], state: RunState) {
    for is_restarted in [false, true] {
        let mut world = World::sending(policy.clone()).go().await;
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        let at_s: Vec<u64> = world.tries().iter().map(|(at_ms, _)| at_ms / 1_000).collect();
        assert_eq!((at_s.as_slice(), world.states()), (expected_s, vec![state]), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn actions_wait_for_their_time() {
    use RunState::Succeeded;
    let at = |seconds: u64| (START + Duration::from_secs(seconds)).to_string();
    check(json!({"delay": "30s"}), &[30], Succeeded).await;
    check(json!({"delay": "3h"}), &[10_800], Succeeded).await;
    check(json!({"not_before": at(40)}), &[40], Succeeded).await;
    check(json!({"not_before": "2001-01-01T00:00:00Z"}), &[0], Succeeded).await;
    check(json!({"not_before": at(40), "delay": "50s"}), &[50], Succeeded).await;
    check(json!({"delay": "30s", "deadline": "20s"}), &[], RunState::Dead).await;
    check(json!({"not_before": "yesterday"}), &[], RunState::Dead).await;
}

/// A world with a condition that holds until this second, and takes so long.
fn rechecked(until_s: u64, span: Duration) -> World {
    let mut world = World::new();
    let until = START + Duration::from_secs(until_s);
    world.plugin("rule", SimPlugin::condition(span, move |call| Ok(call.now < until)));
    let policy = json!({"delay": "60s", "recheck": true, "limit": {"runs": 1}});
    world.trigger("t", json!({"when": [{"plugin": "rule"}], "do": [{"send": "crm"}], "policy": policy}));
    world
}

#[tokio::test(start_paused = true)]
async fn a_recheck_may_say_no_and_gives_back_what_was_reserved() {
    for span in [Duration::ZERO, Duration::from_millis(100)] {
        let mut world = rechecked(30, span).go().await;
        world.finish().await;
        assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::NotMatched], 0), "{span:?}");
        world.happen("").await;
        world.finish().await;
        let mut world = rechecked(1_000, span).go().await;
        world.finish().await;
        assert_eq!((world.states(), world.sent("crm")[0].at_ms / 1_000), (vec![RunState::Succeeded], 60));
        world.happen("").await;
        world.finish().await;
        assert_eq!(world.sent("crm").len(), 1, "the cap counts the run that acted");
    }
}

/// A world whose action asks to be called again, so many times, each after so many seconds.
fn resuming(n_resumes: u32, seconds: u64) -> (World, Arc<AtomicU32>) {
    let mut world = World::new();
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    world.plugin(
        "poll",
        SimPlugin::action(move |call, _| {
            assert_eq!(call.attempt, 1, "to be called again is no try");
            let n_calls = count.fetch_add(1, Ordering::SeqCst);
            async move {
                let at = call.now + Duration::from_secs(seconds);
                if n_calls < n_resumes { Ok(Outcome::ResumeAt(at)) } else { done() }
            }
        }),
    );
    world.trigger("t", json!({"do": [{"plugin": "poll"}], "policy": {"retry": {"attempts": 1}}}));
    (world, calls)
}

#[tokio::test(start_paused = true)]
async fn an_action_may_ask_to_be_called_again() {
    let (world, calls) = resuming(5, 60);
    let mut world = world.go().await;
    world.pass_s(90).await;
    world.start().await;
    world.finish().await;
    assert_eq!((world.states(), calls.load(Ordering::SeqCst)), (vec![RunState::Succeeded], 6));
    assert_eq!(world.runs()[0].ended, Some(START + Duration::from_secs(300)));
}

#[tokio::test(start_paused = true)]
async fn tries_are_counted_in_time_from_when_the_action_was_last_called_in_vain() {
    for is_restarted in [false, true] {
        let mut world = World::new();
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let poll = SimPlugin::action(move |call, _| {
            let n_calls = count.fetch_add(1, Ordering::SeqCst);
            async move {
                match n_calls {
                    0 => Ok(Outcome::ResumeAt(call.now + Duration::from_secs(3_000))),
                    1 | 2 => Err(CallError::Failed(Failure::transient("not now"))),
                    _ => done(),
                }
            }
        });
        world.plugin("poll", poll);
        world.trigger("t", json!({"do": [{"plugin": "poll"}], "policy": {"retry": {"for": "60s"}}}));
        let mut world = world.go().await;
        world.pass_s(3_001).await;
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        assert_eq!((world.states(), calls.load(Ordering::SeqCst)), (vec![RunState::Succeeded], 4));
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_may_not_ask_for_ever() {
    let (world, calls) = resuming(u32::MAX, 0);
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.states(), calls.load(Ordering::SeqCst)), (vec![RunState::Dead], 10_001));
}

#[tokio::test(start_paused = true)]
async fn an_action_may_have_nothing_to_do() {
    let mut world = World::new();
    world.plugin("idle", SimPlugin::action(|_, _| async { Ok(Outcome::Skipped("nothing new".into())) }));
    world.trigger("t", json!({"do": [{"plugin": "idle"}, {"send": "crm", "needs": ["idle"]}]}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!(world.tasks(0), [TaskState::Skipped, TaskState::Succeeded]);
}
