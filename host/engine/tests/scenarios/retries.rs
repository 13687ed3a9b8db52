//! Tries: when the next one is, which bytes it carries, and when it is the last.

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::Step;

const SECOND: Duration = Duration::from_secs(1);

fn retry(after_s: u64) -> Step {
    Step::Retry(Some(Duration::from_secs(after_s)))
}

/// When `crm` is tried, in milliseconds, and what becomes of the run.
async fn check(policy: Value, steps: &[Step], expected: &[(u64, u32)], state: RunState) {
    let mut world = World::sending(policy.clone());
    world.script(steps);
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.tries().as_slice(), world.states()), (expected, vec![state]), "{policy} {steps:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_grow() {
    use RunState::{Dead, Succeeded};
    let no = || Step::Retry(None);
    check(json!({}), &[no()], &[(0, 1), (5_000, 2)], Succeeded).await;
    check(json!({}), &[no(), no(), no()], &[(0, 1), (5_000, 2), (15_000, 3), (35_000, 4)], Succeeded).await;
    let policy = json!({"retry": {"first": "1s", "factor": 3.0, "max": "4s", "attempts": 4}});
    check(policy, &[no(), no(), no(), no()], &[(0, 1), (1_000, 2), (4_000, 3), (8_000, 4)], Dead).await;
    check(json!({}), &[retry(60)], &[(0, 1), (60_000, 2)], Succeeded).await;
    check(json!({}), &[retry(1)], &[(0, 1), (5_000, 2)], Succeeded).await;
    check(json!({}), &[Step::Permanent], &[(0, 1)], Dead).await;
    check(json!({"deadline": "12s"}), &[no(), no(), no()], &[(0, 1), (5_000, 2)], Dead).await;
    check(json!({"retry": {"for": "20s"}}), &[no(), no(), no()], &[(0, 1), (5_000, 2), (15_000, 3)], Dead).await;
}

#[tokio::test(start_paused = true)]
async fn what_hangs_runs_out_of_time() {
    let check = async |connection: Value, timeout: Value, expected: &[(u64, u32)]| {
        let mut world = World::new();
        world.connection("crm", connection, |_, at| if at == 0 { Step::Hang } else { Step::Ok });
        let mut action = json!({"send": "crm"});
        if !timeout.is_null() {
            action["timeout"] = timeout;
        }
        world.trigger("t", json!({"do": [action]}));
        let world = world.go().await;
        world.finish().await;
        assert_eq!(world.tries(), expected);
    };
    check(json!({}), Value::Null, &[(0, 1), (20_000, 2)]).await;
    check(json!({"timeout": "2s"}), Value::Null, &[(0, 1), (7_000, 2)]).await;
    check(json!({}), json!("3s"), &[(0, 1), (8_000, 2)]).await;
}

/// A world whose `crm` refuses so many times; every definition change shows in the body.
async fn failing(n_fails: usize, policy: Value) -> World {
    let mut world = World::new();
    world.connection("crm", json!({}), move |_, at| if at < n_fails { Step::Retry(None) } else { Step::Ok });
    world.trigger("t", json!({"do": [{"send": "crm", "body": "one {{ event.data.n }}"}], "policy": policy}));
    world.go().await
}

fn same(world: &World) {
    let sent = world.sent("crm");
    for other in &sent[1..] {
        assert_eq!(other.text, sent[0].text);
        assert_eq!(other.message.idempotency_key, sent[0].message.idempotency_key);
    }
}

fn redefine(world: &mut World) {
    world.trigger("t", json!({"do": [{"send": "crm", "body": "two {{ event.data.n }}"}]}));
}

#[tokio::test(start_paused = true)]
async fn every_try_sends_the_same_bytes_whatever_is_defined_by_then() {
    let mut world = failing(3, json!({})).await;
    world.pass(SECOND).await;
    redefine(&mut world);
    world.swap().await;
    world.pass_s(6).await;
    world.start().await;
    world.finish().await;
    assert_eq!(world.tries(), [(0, 1), (5_000, 2), (15_000, 3), (35_000, 4)]);
    same(&world);
}

#[tokio::test(start_paused = true)]
async fn a_redriven_task_sends_the_same_bytes() {
    let mut world = failing(2, json!({"retry": {"attempts": 1}})).await;
    world.finish().await;
    redefine(&mut world);
    world.swap().await;
    let task = world.task(0, 0).id;
    assert_eq!(world.engine().redrive(vec![task], "ann").await.unwrap(), 1);
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 3));
    same(&world);
}

#[tokio::test(start_paused = true)]
async fn a_redrive_begins_the_window_anew() {
    let world = failing(5, json!({"retry": {"for": "20s"}})).await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Dead]);
    world.pass_s(100).await;
    let task = world.task(0, 0).id;
    world.engine().redrive(vec![task], "ann").await.unwrap();
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 6));
}

#[tokio::test(start_paused = true)]
async fn a_redrive_begins_the_window_anew_for_the_next_host_too() {
    let mut world = failing(5, json!({"retry": {"for": "20s"}})).await;
    world.finish().await;
    world.pass_s(100).await;
    let task = world.task(0, 0).id;
    world.engine().redrive(vec![task], "ann").await.unwrap();
    world.pass_s(1).await;
    world.start().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 6));
}

#[tokio::test(start_paused = true)]
async fn a_pause_before_the_first_try_is_none_of_its_window() {
    let mut world = World::new();
    world.connection("crm", json!({"paused": true}), |_, at| if at == 0 { Step::Retry(None) } else { Step::Ok });
    world.trigger("t", json!({"do": [{"send": "crm"}], "policy": {"retry": {"for": "20s"}}}));
    let mut world = world.go().await;
    world.pass_s(100).await;
    world.reconnect("crm", json!({}));
    world.swap().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 2));
}

#[tokio::test(start_paused = true)]
async fn the_window_ends_although_long_waits_leave_memory() {
    // Waits beyond ten minutes are spent in the store.
    let policy = json!({"retry": {"first": "20m", "factor": 1.0, "for": "2h"}});
    let world = failing(1_000, policy).await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Dead], 7));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_first_rendered_by_a_later_try_are_kept_too() {
    let mut world = World::new();
    world.script(&[Step::Retry(None), Step::Retry(None)]);
    let define = |world: &mut World, body: &str| world.trigger("t", json!({"do": [{"send": "crm", "body": body}]}));
    define(&mut world, "{{ event.data.nope }}");
    let mut world = world.go().await;
    world.finish().await;
    define(&mut world, "one");
    world.swap().await;
    let task = world.task(0, 0).id;
    world.engine().redrive(vec![task], "ann").await.unwrap();
    world.pass_s(7).await;
    define(&mut world, "two");
    world.start().await;
    world.finish().await;
    let texts: Vec<String> = world.sent("crm").into_iter().map(|sent| sent.text).collect();
    assert_eq!(texts, ["one", "one", "one"]);
}
