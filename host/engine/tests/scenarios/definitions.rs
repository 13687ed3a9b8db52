//! Definitions that change while runs are open.

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::evaluation::read_detail;
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::{SimPlugin, Step};

/// A run waits for its second try; the trigger becomes this meanwhile, and then this becomes of the run.
async fn check(definition: Option<Value>, expected: RunState) -> World {
    let mut world = World::sending(json!({}));
    world.script(&[Step::Retry(None)]);
    let mut world = world.go().await;
    world.pass_s(1).await;
    match definition.clone() {
        Some(definition) => world.trigger("t", definition),
        None => world.remove_trigger("t"),
    }
    world.swap().await;
    world.pass_s(100).await;
    assert_eq!(world.states(), [expected], "{definition:?}");
    world.check_store();
    world
}

#[tokio::test(start_paused = true)]
async fn a_switch_does_what_it_says() {
    let with = |state: &str, policy: Value| json!({"state": state, "do": [{"send": "crm"}], "policy": policy});
    check(Some(with("enabled", json!({}))), RunState::Succeeded).await;
    check(Some(with("disabled", json!({}))), RunState::Succeeded).await;
    let late = check(Some(with("disabled", json!({"definition": "late"}))), RunState::Cancelled).await;
    names_revision(&late, "disabled");
    let mut world = check(Some(with("paused", json!({}))), RunState::Waiting).await;
    world.happen("").await;
    world.pass_s(100).await;
    assert_eq!(world.sent("crm").len(), 1, "it makes runs, and they wait");
    let held = world.engine().holds(vec![world.runs()[1].id]).await;
    assert_eq!(held.first().map(|(_, state)| *state), Some(trapjaw_engine::record::TaskState::WaitingPaused));
    world.trigger("t", with("enabled", json!({})));
    world.swap().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded; 2], 3));
}

fn names_revision(world: &World, what: &str) {
    let task = world.task(0, 0);
    let reason = read_detail(&task.attempts.last().unwrap().detail).reason.unwrap();
    assert!(reason.contains(what) && reason.contains("revision 2"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn what_was_removed_is_cancelled_by_name() {
    let removed = check(None, RunState::Cancelled).await;
    names_revision(&removed, "the trigger was removed");
    let other = json!({"do": [{"name": "other", "send": "crm"}]});
    let removed = check(Some(other), RunState::Cancelled).await;
    names_revision(&removed, "the action was removed");
}

#[tokio::test(start_paused = true)]
async fn judging_of_a_removed_trigger_is_cancelled() {
    let mut world = World::new();
    world.plugin("slow", SimPlugin::condition(Duration::from_secs(1), |_| Ok(true)));
    let policy = json!({"delay": "60s", "recheck": true});
    world.trigger("t", json!({"when": [{"plugin": "slow"}], "do": [{"send": "crm"}], "policy": policy}));
    let mut world = world.go().await;
    world.pass_s(5).await;
    world.remove_trigger("t");
    world.swap().await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Cancelled], 0));
}

#[tokio::test(start_paused = true)]
async fn plans_are_swapped_under_load() {
    let mut world = World::new();
    world.connection("crm", json!({}), |_, _| Step::Slow(Duration::from_millis(30)));
    world.store.faults().delay_ms_max = 5;
    let mut version = 0;
    let mut define = |world: &mut World| {
        version += 1;
        let body = format!("{version}");
        world.trigger("t", json!({"do": [{"send": "crm", "body": body}]}));
    };
    define(&mut world);
    world.start().await;
    let mut expected = Vec::new();
    for n in 1..=200u32 {
        // The version that is active when the call starts judges; no other does.
        expected.push(world.engine().plan().trigger("t").unwrap().version);
        world.happen("").await;
        if n % 10 == 0 {
            define(&mut world);
            world.swap().await;
        }
    }
    world.finish().await;
    let versions: Vec<i64> = world.runs().iter().map(|run| run.trigger_version).collect();
    assert_eq!((versions, world.states()), (expected, vec![RunState::Succeeded; 200]));
    let bodies: Vec<u32> = world.sent("crm").iter().map(|sent| sent.text.parse().unwrap()).collect();
    assert!(bodies.len() == 200 && bodies.iter().max() <= Some(&21) && bodies.is_sorted(), "{bodies:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_is_about_what_it_was_about_when_it_began() {
    let mut world = World::new();
    let define = |world: &mut World, subject: Value| {
        world.trigger("t", json!({"subject": subject, "do": [{"send": "crm", "body": "<{{ subject }}>"}]}));
    };
    define(&mut world, json!("{{ event.data.nope }}"));
    let mut world = world.go().await;
    world.finish().await;
    define(&mut world, json!(["ann", "bob"]));
    world.swap().await;
    let task = world.task(0, 0).id;
    world.engine().redrive(vec![task], "ann").await.unwrap();
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Dead], 0));
}
