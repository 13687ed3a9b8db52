//! Order: the runs of a key one after another, those of other keys beside them.

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::Step;

fn ordered(mut policy: Value, script: impl Fn(&str, usize) -> Step + Send + Sync + 'static) -> World {
    let mut world = World::new();
    policy["order_by"] = json!("subject");
    world.connection("crm", json!({}), move |sent, at| script(&sent.text, at));
    world.trigger("t", json!({"do": [{"send": "crm", "body": "{{ subject }}{{ event.data.n }} "}], "policy": policy}));
    world
}

/// The bodies that came for one subject, in their order.
fn sent(world: &World, subject: &str) -> String {
    let sent = world.sent("crm");
    sent.iter().map(|sent| sent.text.as_str()).filter(|text| text.starts_with(subject)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_key_is_in_order_and_others_go_on() {
    // The first message about ann fails twice; bob's are not held up by that.
    let script = |text: &str, at: usize| {
        if text == "ann1 " && at < 5 { Step::Retry(None) } else { Step::Slow(Duration::from_millis(100)) }
    };
    for is_restarted in [false, true] {
        let mut world = ordered(json!({}), script);
        world.start().await;
        for subject in ["ann", "bob", "ann", "bob", "ann"] {
            world.happen(subject).await;
        }
        world.pass_s(1).await;
        assert_eq!((sent(&world, "ann").as_str(), sent(&world, "bob").as_str()), ("ann1 ", "bob2 bob4 "));
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        let ann: Vec<String> = sent(&world, "ann").split_whitespace().map(str::to_owned).collect();
        let mut unique = ann.clone();
        unique.dedup();
        assert_eq!(unique, ["ann1", "ann3", "ann5"], "{ann:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn long_waits_keep_their_place_through_a_restart() {
    // The first waits for an hour, longer than memory looks ahead.
    let script = |text: &str, at: usize| if text == "ann1 " && at == 0 { hour() } else { Step::Ok };
    for is_restarted in [false, true] {
        let mut world = ordered(json!({"retry": {"first": "1h"}}), script).go_about("ann").await;
        world.pass_s(1).await;
        if is_restarted {
            world.start().await;
        }
        world.happen("ann").await;
        world.pass_s(60).await;
        assert_eq!(sent(&world, "ann"), "ann1 ");
        world.finish().await;
        assert_eq!(sent(&world, "ann"), "ann1 ann1 ann2 ");
    }
}

fn hour() -> Step {
    Step::Retry(Some(Duration::from_secs(3_600)))
}

impl World {
    async fn go_about(mut self, subject: &str) -> Self {
        self.start().await;
        self.happen(subject).await;
        self
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_run_lets_the_next_begin() {
    let actions = json!([
        {"send": "crm", "name": "a", "body": "{{ subject }}{{ event.data.n }} "},
        {"send": "crm", "name": "b", "body": "b ", "needs": ["a"]},
    ]);
    for is_restarted in [false, true] {
        let mut world = ordered(json!({}), |text, _| if text == "ann1 " { Step::Permanent } else { Step::Ok });
        world.trigger("t", json!({"do": actions, "policy": {"order_by": "subject"}}));
        let mut world = world.go_about("ann").await;
        world.pass_s(1).await;
        if is_restarted {
            world.start().await;
        }
        world.happen("ann").await;
        world.finish().await;
        assert_eq!(world.states(), [RunState::Dead, RunState::Succeeded]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_redriven_run_waits_for_the_one_that_has_begun() {
    let script = |text: &str, at: usize| match text {
        "ann1 " if at == 0 => Step::Permanent,
        "ann2 " if at == 1 => Step::Retry(None),
        _ => Step::Slow(Duration::from_millis(100)),
    };
    let mut world = ordered(json!({}), script).go_about("ann").await;
    world.finish().await;
    world.happen("ann").await;
    world.happen("ann").await;
    world.pass_s(1).await;
    let task = world.task(0, 0).id;
    world.engine().redrive(vec![task], "ann").await.unwrap();
    world.finish().await;
    assert_eq!(sent(&world, "ann"), "ann1 ann2 ann2 ann1 ann3 ");
    assert_eq!(world.sent_at_once("crm"), 1);
}

#[tokio::test(start_paused = true)]
async fn judging_is_in_order_too() {
    use crate::support::ends::SimPlugin;
    let mut world = ordered(json!({}), |_, _| Step::Ok);
    // The first judgement takes the longest.
    world.plugin(
        "slow",
        SimPlugin::Condition(Box::new(|call, _| {
            Box::pin(async move {
                let n = call.event.json()["n"].as_u64().unwrap();
                tokio::time::sleep(Duration::from_secs(5 - n)).await;
                Ok(trapjaw_engine::ports::Verdict { matched: n != 2, reason: None })
            })
        })),
    );
    world.trigger(
        "t",
        json!({
            "when": [{"plugin": "slow"}],
            "do": [{"send": "crm", "body": "{{ subject }}{{ event.data.n }} "}],
            "policy": {"order_by": "subject"},
        }),
    );
    world.start().await;
    for _ in 0..3 {
        world.happen("ann").await;
    }
    world.finish().await;
    assert_eq!(sent(&world, "ann"), "ann1 ann3 ");
}
