//! Conditions: what is asked, in which order, and what becomes of an evaluation that takes long or goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::evaluation::{VerdictWord, read_evaluations};
use trapjaw_engine::ports::{CallError, Failure};
use trapjaw_engine::record::{RunState, TaskState};

use crate::support::World;
use crate::support::ends::{SimPlugin, trap};

const SLOW: Duration = Duration::from_millis(500);

/// A world whose plugins `yes`, `no` and `bad` answer so at once, and count how often any was asked.
fn world(span: Duration) -> (World, Arc<AtomicU32>) {
    let mut world = World::new();
    let asked = Arc::new(AtomicU32::new(0));
    for (name, answer) in [("yes", Ok(true)), ("no", Ok(false)), ("bad", Err(trap()))] {
        let asked = Arc::clone(&asked);
        world.plugin(
            name,
            SimPlugin::condition(span, move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                answer.clone()
            }),
        );
    }
    (world, asked)
}

/// Judges one event, and checks the runs, how often plugins were asked, and the verdict at the append.
async fn check(when: Value, states: &[RunState], n_asked: u32, verdict: VerdictWord) {
    let (mut world, asked) = world(Duration::ZERO);
    world.trigger("t", json!({"when": when, "do": [{"send": "crm"}]}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.states().as_slice(), asked.load(Ordering::SeqCst)), (states, n_asked), "{when}");
    let evaluations = read_evaluations(&world.store.all_events()[0].evaluations);
    assert_eq!(evaluations[0].verdict, verdict, "{when}");
}

fn plugin(name: &str) -> Value {
    json!({"plugin": name})
}

#[tokio::test(start_paused = true)]
async fn conditions_combine_cheapest_first() {
    use RunState::{Dead, Succeeded};
    use VerdictWord::{Error, Matched, NotMatched};
    let (yes, no) = (json!({"expr": "event.data.n == 1"}), json!({"expr": "event.data.n > 1"}));
    check(json!([]), &[Succeeded], 0, Matched).await;
    check(json!([yes]), &[Succeeded], 0, Matched).await;
    check(json!([no]), &[], 0, NotMatched).await;
    check(json!([plugin("yes"), no]), &[], 0, NotMatched).await;
    check(json!([plugin("yes"), plugin("no")]), &[], 2, NotMatched).await;
    check(json!([{"any": [plugin("no"), yes]}]), &[Succeeded], 0, Matched).await;
    check(json!([{"any": [no, plugin("yes")]}]), &[Succeeded], 1, Matched).await;
    check(json!([{"not": {"all": [yes, no]}}]), &[Succeeded], 0, Matched).await;
    check(json!([{"not": plugin("yes")}]), &[], 1, NotMatched).await;
    // What is broken decides only where nothing else does. A judgement that cannot stand is asked again once, after
    // the append, where it becomes a dead letter.
    check(json!([plugin("bad"), plugin("no")]), &[], 2, NotMatched).await;
    check(json!([{"any": [plugin("bad"), plugin("yes")]}]), &[Succeeded], 2, Matched).await;
    check(json!([{"any": [plugin("bad"), plugin("no")]}]), &[Dead], 4, Error).await;
    check(json!([{"not": plugin("bad")}]), &[Dead], 2, Error).await;
    check(json!([{"expr": "event.data.n.x == 1"}]), &[Dead], 0, Error).await;
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_is_judged_after_the_append() {
    let check = async |when: Value, state: RunState, n_sent: usize| {
        let (mut world, _) = world(SLOW);
        world.trigger("t", json!({"when": when, "do": [{"send": "crm"}]}));
        let world = world.go().await;
        assert!(world.elapsed_ms() <= 6, "taken within the budget: {} ms", world.elapsed_ms());
        assert_eq!(world.states(), [RunState::Running]);
        world.finish().await;
        assert_eq!((world.states(), world.sent("crm").len()), (vec![state], n_sent), "{when}");
    };
    check(json!([plugin("yes")]), RunState::Succeeded, 1).await;
    check(json!([plugin("no")]), RunState::NotMatched, 0).await;
    check(json!([plugin("bad")]), RunState::Dead, 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_the_events_and_not_each_subjects() {
    let (mut world, _) = world(SLOW);
    let subjects: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    world.trigger("t", json!({"subject": subjects, "when": [plugin("yes")], "do": [{"send": "crm"}]}));
    let world = world.go().await;
    assert!(world.elapsed_ms() <= 10, "taken after {} ms", world.elapsed_ms());
    world.finish().await;
    assert_eq!(world.sent("crm").len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_dead_judgement_is_mended_by_a_new_version() {
    let (mut world, _) = world(Duration::ZERO);
    world.trigger("t", json!({"when": [plugin("bad")], "do": [{"send": "crm"}]}));
    let mut world = world.go().await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Dead]);
    world.plugin("bad", SimPlugin::condition(SLOW, |_| Ok(true)));
    world.swap().await;
    let task = world.task(0, 0).id;
    assert_eq!(world.engine().redrive(vec![task], "ann").await.unwrap(), 1);
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Succeeded], 1));
}

#[tokio::test(start_paused = true)]
async fn on_error_may_say_no() {
    for span in [Duration::ZERO, SLOW] {
        let (mut world, _) = world(span);
        world.trigger("t", json!({"when": [plugin("bad")], "do": [{"send": "crm"}], "policy": {"on_error": "no"}}));
        let world = world.go().await;
        world.finish().await;
        assert!(world.states().iter().all(|state| *state == RunState::NotMatched));
    }
}

/// When a condition is asked that never answers anything but "not now", and what becomes of the run.
async fn check_transient(on_error: &str, n_fails: u32, expected_s: &[u64], state: RunState) {
    let mut world = World::new();
    let began = tokio::time::Instant::now();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    world.plugin(
        "flaky",
        SimPlugin::condition(Duration::ZERO, move |_| {
            let mut seen = seen.lock().unwrap();
            seen.push(began.elapsed().as_secs());
            let is_up = seen.len() > n_fails as usize;
            if is_up { Ok(true) } else { Err(CallError::Failed(Failure::transient("no place"))) }
        }),
    );
    let policy = json!({"on_error": on_error});
    world.trigger("t", json!({"when": [plugin("flaky")], "do": [{"send": "crm"}], "policy": policy}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!((asked.lock().unwrap().as_slice(), world.states()), (expected_s, vec![state]), "{on_error}");
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_asked_five_times_after_the_append() {
    check_transient("dead", 99, &[0, 0, 2, 6, 14, 30], RunState::Dead).await;
    check_transient("no", 99, &[0, 0, 2, 6, 14, 30], RunState::NotMatched).await;
    check_transient("dead", 3, &[0, 0, 2, 6], RunState::Succeeded).await;
}

#[tokio::test(start_paused = true)]
async fn a_subject_that_cannot_be_rendered_is_a_dead_letter() {
    let mut world = World::new();
    world.trigger("t", json!({"subject": "{{ event.data.nope.x }}", "do": [{"send": "crm"}]}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.states(), world.tasks(0)), (vec![RunState::Dead], vec![TaskState::Dead]));
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_never_answers_is_given_up() {
    let mut world = World::new();
    world.plugin("hangs", SimPlugin::condition(Duration::from_secs(1_000_000_000), |_| Ok(true)));
    world.trigger("t", json!({"when": [plugin("hangs")], "do": [{"send": "crm"}]}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!(world.states(), [RunState::Dead]);
}
