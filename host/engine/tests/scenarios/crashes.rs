//! Crashes at any moment: what was acknowledged is not lost, and every task ends once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use trapjaw_engine::record::{AttemptResult, TaskState};

use crate::support::ends::{SimPlugin, Step, done, passed_on, request};
use crate::support::store::is_open;
use crate::support::{Seed, World};

const SEEDS: u64 = 300;

/// A world in which everything happens: slow judgements, failures, needs, order, delays, plugins' sends and state.
fn world(seed: &Seed) -> World {
    let mut world = World::new();
    world.settings.lane_runs_max = 5;
    {
        let mut faults = world.store.faults();
        (faults.seed, faults.delay_ms_max) = (seed.clone(), 15);
    }
    let chance = seed.0;
    world.connection("crm", json!({}), move |_, at| match Seed(chance ^ at as u64).next() % 8 {
        0 => Step::Retry(None),
        1 => Step::Slow(Duration::from_millis(20)),
        2 => Step::Permanent,
        3 => Step::Retry(Some(Duration::from_secs(700))),
        _ => Step::Ok,
    });
    world.plugin("slow", SimPlugin::condition(Duration::from_millis(12), |call| Ok(call.event.id.len() % 2 == 1)));
    world.plugin(
        "act",
        SimPlugin::action(|_, hands| async move {
            hands.send(request("x")).await.map_err(passed_on)?;
            let add = trapjaw_engine::ports::StateOp::Increment { key: "n".into(), by: 1 };
            hands.state_change(add).await.map_err(passed_on)?;
            done()
        }),
    );
    let chain = json!([
        {"send": "crm", "name": "a"},
        {"plugin": "act", "needs": ["a"], "connections": {"out": "crm"}},
        {"send": "crm", "name": "c"},
    ]);
    world.trigger("chain", json!({"do": chain, "policy": {"order_by": "subject"}}));
    world.trigger("late", json!({"when": [{"plugin": "slow"}], "do": [{"send": "crm"}]}));
    world.trigger("wait", json!({"do": [{"send": "crm"}], "policy": {"delay": "20s", "limit": {"runs": 3}}}));
    world
}

async fn check(number: u64) {
    let mut seed = Seed(number);
    let mut world = world(&seed);
    world.start().await;
    let mut acknowledged = HashSet::new();
    for _ in 0..6 {
        for _ in 0..1 + seed.below(3) {
            let event = world.event(if seed.below(2) == 0 { "ann" } else { "bob" }, json!({}));
            let accepted = world.accept(vec![event]);
            let limit = Duration::from_millis(seed.below(40));
            if let Ok(Ok(accepted)) = tokio::time::timeout(limit, accepted).await {
                acknowledged.extend(accepted.ids);
            }
        }
        world.pass(Duration::from_millis(seed.below(3) * seed.below(15_000))).await;
        match seed.below(3) {
            0 => world.start().await,
            1 => {
                world.engine().stop(Duration::from_millis(seed.below(30))).await;
                world.start().await;
            }
            _ => {}
        }
        redrive_one(&world, &mut seed).await;
    }
    world.finish().await;
    let kept: HashSet<_> = world.store.all_events().iter().map(|event| event.id).collect();
    assert!(kept.is_superset(&acknowledged), "an acknowledged event is lost");
    assert_eq!(world.store.n_open(), n_waiting(&world), "a task is open in the store and nobody has it");
    let ends = [AttemptResult::Succeeded, AttemptResult::Skipped, AttemptResult::Cancelled];
    for task in world.runs().iter().flat_map(|run| &run.tasks) {
        let n_ends = task.attempts.iter().filter(|attempt| ends.contains(&attempt.result)).count();
        assert!(n_ends <= 1, "{} ended {n_ends} times", task.id);
    }
    keys_name_bodies(&world);
}

/// Puts a dead letter back to work now and then.
async fn redrive_one(world: &World, seed: &mut Seed) {
    let runs = world.runs();
    let dead = runs.iter().flat_map(|run| &run.tasks).find(|task| task.progress.state == TaskState::Dead);
    if let Some(task) = dead.filter(|_| seed.below(2) == 0) {
        world.engine().redrive(vec![task.id], "ann").await.unwrap();
    }
}

/// The tasks that wait for a dead one.
fn n_waiting(world: &World) -> usize {
    let runs = world.runs();
    assert!(!runs.iter().any(is_open));
    runs.iter().flat_map(|run| &run.tasks).filter(|task| task.progress.state == TaskState::WaitingNeeds).count()
}

/// Two messages of one idempotency key are the same message.
fn keys_name_bodies(world: &World) {
    let mut bodies: HashMap<String, String> = HashMap::new();
    for sent in world.sent("crm") {
        let body = bodies.entry(sent.message.idempotency_key).or_insert_with(|| sent.text.clone());
        assert_eq!(*body, sent.text);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_whenever_it_crashes() {
    let only: Option<u64> = option_env!("TRAPJAW_SEED").and_then(|text| text.parse().ok());
    for number in only.map_or(0..SEEDS, |only| only..only + 1) {
        struct Named(u64);
        impl Drop for Named {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("seed {}", self.0);
                }
            }
        }
        let named = Named(number);
        check(number).await;
        std::mem::forget(named);
    }
}
