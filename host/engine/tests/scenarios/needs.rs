//! Actions that need others, and actions that are isolated from others.

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::record::{RunState, TaskState};

use crate::support::World;
use crate::support::ends::{Sent, Step};

use TaskState::{Cancelled, Dead, Succeeded, WaitingNeeds};

/// A world whose actions send their name, and whose remote answers by it.
fn world(actions: Value, script: impl Fn(&str, usize) -> Step + Send + Sync + 'static) -> World {
    let mut world = World::new();
    world.connection("crm", json!({}), move |sent, at| script(&sent.text, at));
    world.trigger("t", json!({"do": actions}));
    world
}

fn chain() -> Value {
    json!([
        {"name": "a", "send": "crm", "body": "a"},
        {"name": "b", "send": "crm", "body": "b", "needs": ["a"]},
        {"name": "c", "send": "crm", "body": "c", "needs": ["a", "b"]},
    ])
}

fn sent(world: &World) -> String {
    world.sent("crm").iter().map(|sent| sent.text.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn actions_wait_for_those_they_need() {
    let world = world(chain(), |_, _| Step::Slow(Duration::from_secs(1))).go().await;
    world.finish().await;
    assert_eq!((sent(&world).as_str(), world.tasks(0)), ("abc", vec![Succeeded; 3]));
}

#[tokio::test(start_paused = true)]
async fn actions_that_need_nothing_are_isolated() {
    let actions = json!([{"name": "a", "send": "crm", "body": "a"}, {"name": "b", "send": "crm", "body": "b"}]);
    let world = world(actions, |text, _| if text == "a" { Step::Permanent } else { Step::Ok }).go().await;
    world.finish().await;
    assert_eq!((world.tasks(0), world.states()), (vec![Dead, Succeeded], vec![RunState::Dead]));
}

#[tokio::test(start_paused = true)]
async fn a_dead_action_holds_those_that_need_it() {
    for is_restarted in [false, true] {
        for is_redriven in [false, true] {
            let script = |_: &str, at| if at == 1 { Step::Permanent } else { Step::Ok };
            let mut world = world(chain(), script).go().await;
            world.finish().await;
            assert_eq!((sent(&world).as_str(), world.tasks(0)), ("ab", vec![Succeeded, Dead, WaitingNeeds]));
            assert_eq!(world.states(), [RunState::Dead]);
            if is_restarted {
                world.start().await;
                assert_eq!(world.engine().status().await.lanes.len(), 0, "a run that is over is no open work");
            }
            let task = world.task(0, 1).id;
            if is_redriven {
                assert_eq!(world.engine().redrive(vec![task], "ann").await.unwrap(), 1);
                world.finish().await;
                assert_eq!((sent(&world).as_str(), world.tasks(0)), ("abbc", vec![Succeeded; 3]));
            } else {
                assert_eq!(world.engine().discard(vec![task], "ann").await.unwrap(), 1);
                world.pass_s(1).await;
                world.finish().await;
                assert_eq!((sent(&world).as_str(), world.tasks(0)), ("ab", vec![Succeeded, Cancelled, Cancelled]));
            }
            assert_eq!(world.engine().status().await.n_open_in_memory, 0);
            assert_eq!(world.engine().status().await.lanes.len(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn outputs_reach_those_that_need_them() {
    for is_restarted in [false, true] {
        let actions = json!([
            {"name": "a", "send": "crm", "body": "a"},
            {"name": "b", "send": "crm", "body": "b {{ tasks.a.output.status }}", "needs": ["a"]},
        ]);
        let script = |_: &str, at| if at == 1 { Step::Retry(None) } else { Step::Ok };
        let mut world = world(actions, script).go().await;
        if is_restarted {
            world.pass_s(1).await;
            world.start().await;
        }
        world.finish().await;
        assert_eq!(sent(&world), "ab 200b 200");
    }
}

/// What becomes of a chain whose definition is changed while its first action is tried.
async fn check_change(actions: Option<Value>, expected: &[TaskState]) {
    let script = |_: &str, at| if at == 0 { Step::Retry(None) } else { Step::Ok };
    let mut world = world(chain(), script).go().await;
    world.pass_s(1).await;
    match &actions {
        Some(actions) => world.trigger("t", json!({"do": actions})),
        None => world.remove_trigger("t"),
    }
    world.swap().await;
    world.finish().await;
    assert_eq!(world.tasks(0), expected, "{actions:?}");
    assert_eq!(world.engine().status().await.n_open_in_memory, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_action_or_trigger_strands_nothing() {
    let one = |name: &str, needs: Value| json!({"name": name, "send": "crm", "body": name, "needs": needs});
    check_change(None, &[Cancelled; 3]).await;
    // Those that still need it go with it; those that do not any more go on.
    check_change(Some(json!([one("b", json!([])), one("c", json!(["b"]))])), &[Cancelled, Succeeded, Succeeded]).await;
    check_change(Some(json!([one("a", json!([])), one("b", json!(["a"]))])), &[Succeeded, Succeeded, Cancelled]).await;
    check_change(Some(json!([one("a", json!([])), one("c", json!(["a"]))])), &[Succeeded, Cancelled, Succeeded]).await;
    // An action that the run has no task for is nothing to wait for.
    let other = json!([one("a", json!([])), one("x", json!([])), one("b", json!(["x"])), one("c", json!(["b"]))]);
    check_change(Some(other), &[Succeeded; 3]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_due_later_goes_on_beside_a_dead_one() {
    for is_restarted in [false, true] {
        let mut world = World::new();
        world.connection("crm", json!({}), |_, _| Step::Permanent);
        world.connection("bus", json!({"paused": true}), |_, _| Step::Ok);
        let actions = json!([
            {"send": "crm", "name": "a"},
            {"send": "crm", "name": "b", "needs": ["a"]},
            {"send": "bus", "name": "c"},
        ]);
        world.trigger("t", json!({"do": actions, "policy": {"delay": "30s"}}));
        let mut world = world.go().await;
        world.pass_s(40).await;
        world.reconnect("bus", json!({}));
        world.swap().await;
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        assert_eq!((world.sent("bus").len(), world.states()), (1, vec![RunState::Dead]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_one_takes_those_that_need_it_and_no_others() {
    for is_restarted in [false, true] {
        let mut world = World::new();
        let step = |sent: &Sent, at: usize| match &*sent.text {
            "a" => Step::Permanent,
            "b" if at < 3 => Step::Retry(Some(Duration::from_secs(100))),
            _ => Step::Ok,
        };
        world.connection("crm", json!({}), step);
        let actions = json!([
            {"send": "crm", "name": "a", "body": "a"},
            {"send": "crm", "name": "b", "body": "b"},
            {"send": "crm", "name": "c", "body": "c", "needs": ["b"]},
            {"send": "crm", "name": "d", "body": "d", "needs": ["a", "b"]},
        ]);
        world.trigger("t", json!({"do": actions}));
        let mut world = world.go().await;
        world.pass_s(5).await;
        let dead = world.task(0, 0).id;
        world.engine().discard(vec![dead], "ann").await.unwrap();
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        assert_eq!(world.tasks(0), [Cancelled, Succeeded, Succeeded, Cancelled]);
        assert_eq!(world.states(), [RunState::Succeeded]);
    }
}
