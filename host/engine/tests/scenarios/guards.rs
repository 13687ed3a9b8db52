//! Caps, cooldowns, and what gives back what was reserved.

use serde_json::{Value, json};
use trapjaw_engine::ports::Outcome;
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::{SimPlugin, Step, done};

/// At each of these seconds an event about this subject happens; how many runs there are by then.
async fn check(policy: Value, happenings: &[(u64, &str, usize)]) {
    for is_restarted in [false, true] {
        let mut world = World::sending(policy.clone());
        world.start().await;
        for (at_s, subject, n_runs) in happenings {
            world.pass_s(at_s - world.elapsed_ms() / 1_000).await;
            if is_restarted {
                world.start().await;
            }
            world.happen(subject).await;
            assert_eq!(world.states().len(), *n_runs, "{policy} at {at_s} s");
        }
        world.finish().await;
        assert_eq!(world.sent("crm").len(), happenings.last().unwrap().2);
    }
}

#[tokio::test(start_paused = true)]
async fn runs_are_limited() {
    let twice = |per: &str| json!({"limit": {"runs": 2, "in": "10s", "per": per}});
    check(twice("subject"), &[(0, "ann", 1), (1, "ann", 2), (2, "ann", 2), (2, "bob", 3), (10, "ann", 4)]).await;
    check(twice("trigger"), &[(0, "ann", 1), (1, "bob", 2), (2, "eve", 2), (10, "eve", 3), (10, "ann", 3)]).await;
    check(json!({"limit": {"runs": 1}}), &[(0, "ann", 1), (99_999, "ann", 1), (99_999, "bob", 2)]).await;
    check(json!({"cooldown": "5s"}), &[(0, "ann", 1), (4, "ann", 1), (4, "bob", 2), (5, "ann", 3), (9, "ann", 3)])
        .await;
}

/// A world with a cap of one run, whose action does this with its first run.
fn capped(first: fn() -> Result<Outcome, trapjaw_engine::ports::CallError>) -> World {
    let mut world = World::new();
    let act =
        SimPlugin::action(move |call, _| async move { if call.event.id.as_ref() == "1" { first() } else { done() } });
    world.plugin("act", act);
    let policy = json!({"limit": {"runs": 1}, "retry": {"attempts": 1}});
    world.trigger("t", json!({"do": [{"plugin": "act"}], "policy": policy}));
    world
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_is_given_back_when_nothing_was_done() {
    let check = async |first, states: &[RunState]| {
        let mut world = capped(first).go().await;
        world.finish().await;
        world.happen("").await;
        world.finish().await;
        assert_eq!(world.states(), states);
    };
    check(|| Ok(Outcome::Skipped("nothing".into())), &[RunState::Skipped, RunState::Succeeded]).await;
    check(done, &[RunState::Succeeded]).await;
    check(|| Err(crate::support::ends::trap()), &[RunState::Dead]).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_dead_letter_gives_its_place_back() {
    let mut world = World::sending(json!({"limit": {"runs": 1}}));
    world.script(&[Step::Permanent]);
    let mut world = world.go().await;
    world.finish().await;
    world.happen("").await;
    assert_eq!(world.states(), [RunState::Dead]);
    let task = world.task(0, 0).id;
    assert_eq!(world.engine().discard(vec![task], "ann").await.unwrap(), 1);
    world.happen("").await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Cancelled, RunState::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn a_late_judgement_reserves_when_it_acts() {
    let mut world = World::new();
    world.plugin("slow", SimPlugin::condition(std::time::Duration::from_secs(1), |_| Ok(true)));
    let policy = json!({"limit": {"runs": 1}});
    world.trigger("t", json!({"when": [{"plugin": "slow"}], "do": [{"send": "crm"}], "policy": policy}));
    let mut world = world.go().await;
    world.happen("").await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Succeeded, RunState::NotMatched]);
    assert_eq!((world.sent("crm").len(), world.engine().status().await.n_open_in_memory), (1, 0));
}
