//! What an action may do through the host: sends that are not repeated, and state.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use trapjaw_engine::evaluation::read_detail;
use trapjaw_engine::limits::STATE_KEYS_MAX;
use trapjaw_engine::ports::{CallError, Failure, FailureKind, Hands, Outcome, StateOp};
use trapjaw_engine::record::RunState;

use crate::support::World;
use crate::support::ends::{SimPlugin, Step, done, passed_on, request};

/// A world whose action does this at each of its calls, which it is given the number of.
fn acting<F>(act: impl Fn(u32, Arc<dyn Hands>) -> F + Send + Sync + 'static) -> World
where
    F: Future<Output = Result<Outcome, CallError>> + Send + 'static,
{
    let mut world = World::new();
    let n_calls = AtomicU32::new(0);
    world.plugin("act", SimPlugin::action(move |_, hands| act(n_calls.fetch_add(1, Ordering::SeqCst) + 1, hands)));
    world.trigger("t", json!({"do": [{"plugin": "act", "connections": {"out": "crm"}}]}));
    world
}

fn transient() -> Result<Outcome, CallError> {
    Err(CallError::Failed(Failure::transient("not now")))
}

fn texts(world: &World) -> Vec<String> {
    world.sent("crm").into_iter().map(|sent| sent.text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_recorded_send_is_not_repeated() {
    for is_restarted in [false, true] {
        let mut world = acting(|call, hands| async move {
            let receipt = hands.send(request("a")).await.map_err(passed_on)?;
            assert_eq!((receipt.replayed, receipt.status), (call > 1, Some(200)));
            // Two sends alike are two.
            hands.send(request("a")).await.map_err(passed_on)?;
            if call == 1 { transient() } else { done() }
        })
        .go()
        .await;
        world.pass_s(1).await;
        if is_restarted {
            world.start().await;
        }
        world.finish().await;
        let sent = world.sent("crm");
        assert_eq!((world.states(), sent.len()), (vec![RunState::Succeeded], 2));
        assert_ne!(sent[0].message.idempotency_key, sent[1].message.idempotency_key);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_repeats_only_what_is_not_recorded() {
    let mut world = acting(|call, hands| async move {
        hands.send(request("a")).await.map_err(passed_on)?;
        if call == 1 {
            std::future::pending::<()>().await;
        }
        hands.send(request("b")).await.map_err(passed_on)?;
        done()
    })
    .go()
    .await;
    world.pass_s(1).await;
    world.start().await;
    world.finish().await;
    assert_eq!(texts(&world), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_recorded_send_that_is_not_made_again_is_shown() {
    let world = acting(|call, hands| async move {
        hands.send(request(if call == 1 { "a" } else { "b" })).await.map_err(passed_on)?;
        if call == 1 { transient() } else { done() }
    })
    .go()
    .await;
    world.finish().await;
    let attempts = world.task(0, 0).attempts;
    let diverged = read_detail(&attempts.last().unwrap().detail).diverged;
    assert_eq!(diverged, [world.sent("crm")[0].message.idempotency_key.clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_dedup_key_names_the_send() {
    let world = acting(|call, hands| async move {
        for body in ["a", "b"] {
            let mut request = request(&format!("{body}{call}"));
            request.dedup_key = Some("once".into());
            hands.send(request).await.map_err(passed_on)?;
        }
        if call == 1 { transient() } else { done() }
    })
    .go()
    .await;
    world.finish().await;
    assert_eq!(texts(&world), ["a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dedup_key_is_one_connections_own() {
    let mut world = World::new();
    let act = SimPlugin::action(|_, hands| async move {
        for label in ["out", "audit"] {
            let mut request = request("a");
            (request.label, request.dedup_key) = (label.into(), Some("once".into()));
            hands.send(request).await.map_err(passed_on)?;
        }
        done()
    });
    world.connection("log", json!({}), |_, _| Step::Ok);
    world.plugin("act", act);
    world.trigger("t", json!({"do": [{"plugin": "act", "connections": {"out": "crm", "audit": "log"}}]}));
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.sent("crm").len(), world.sent("log").len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_send_that_failed_and_is_made_again_is_the_same_send() {
    let mut world = acting(|call, hands| async move {
        if call == 1 {
            hands.send(request("a")).await.expect_err("the first is refused");
        }
        hands.send(request("a")).await.map_err(passed_on)?;
        if call == 1 { transient() } else { done() }
    });
    world.script(&[Step::Retry(None)]);
    let world = world.go().await;
    world.finish().await;
    let sent = world.sent("crm");
    assert_eq!(sent.len(), 2, "the second try finds it recorded");
    assert_eq!(sent[0].message.idempotency_key, sent[1].message.idempotency_key);
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_not_bound_is_rejected() {
    let world = acting(|_, hands| async move {
        let mut request = request("a");
        request.label = "other".into();
        let failure = hands.send(request).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Rejected);
        Err(CallError::Failed(failure))
    })
    .go()
    .await;
    world.finish().await;
    assert_eq!((world.states(), world.sent("crm").len()), (vec![RunState::Dead], 0));
    let attempts = world.task(0, 0).attempts;
    assert_eq!(read_detail(&attempts[0].detail).kind.as_deref(), Some("rejected"));
}

#[tokio::test(start_paused = true)]
async fn what_a_remote_says_decides_about_the_attempt() {
    let check = async |step: Step, n_sent: usize, state: RunState| {
        let mut world = acting(|_, hands| async move {
            hands.send(request("a")).await.map_err(passed_on)?;
            done()
        });
        world.script(std::slice::from_ref(&step));
        let world = world.go().await;
        world.finish().await;
        assert_eq!((world.sent("crm").len(), world.states()), (n_sent, vec![state]), "{step:?}");
    };
    check(Step::Retry(None), 2, RunState::Succeeded).await;
    check(Step::Permanent, 1, RunState::Dead).await;
    check(Step::Hang, 2, RunState::Succeeded).await;
}

fn increment(by: i64) -> StateOp {
    StateOp::Increment { key: "n".into(), by }
}

async fn counted(world: &World) -> Option<String> {
    use trapjaw_engine::ports::Store;
    let value = world.store.take_over().state("act", "t", "n", world.now()).await.unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

#[tokio::test(start_paused = true)]
async fn state_is_kept_when_the_attempt_succeeds_and_dropped_otherwise() {
    let world = acting(|call, hands| async move {
        assert_eq!(hands.state_change(increment(2)).await, Ok(2));
        assert_eq!(hands.state_change(increment(3)).await, Ok(5));
        assert_eq!(hands.state_get("n").await, Ok(Some(b"5".to_vec())));
        if call < 3 { transient() } else { done() }
    })
    .go()
    .await;
    world.finish().await;
    assert_eq!(counted(&world).await.as_deref(), Some("5"));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_repeats_the_attempt() {
    // Two runs read the same value at the same time, and each sets it to one more.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut world = acting(move |_, hands| {
        let log = Arc::clone(&log);
        async move {
            let expected = hands.state_get("n").await.map_err(passed_on)?;
            let old: u32 = expected.as_ref().map_or(0, |old| std::str::from_utf8(old).unwrap().parse().unwrap());
            let value = (old + 1).to_string().into_bytes();
            let answer = hands.state_change(StateOp::CompareAndSet { key: "n".into(), expected, value }).await;
            assert_eq!(answer, Ok(1));
            log.lock().unwrap().push(old);
            tokio::time::sleep(Duration::from_secs(1)).await;
            done()
        }
    });
    world.store.faults().delay_ms_max = 3;
    world.start().await;
    for _ in 0..3 {
        world.happen("").await;
    }
    world.finish().await;
    assert_eq!((world.states(), counted(&world).await.as_deref()), (vec![RunState::Succeeded; 3], Some("3")));
    assert!(seen.lock().unwrap().len() > 3, "there was no conflict");
    for run in 0..3 {
        assert_eq!(world.task(run, 0).attempt_last, 1, "an attempt that was not written is none");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_too_many_is_the_end_of_the_task() {
    let world = acting(|_, hands| async move {
        hands.state_change(increment(1)).await.map_err(passed_on)?;
        done()
    });
    for n in 0..STATE_KEYS_MAX {
        let name = ("act".to_owned(), "t".to_owned(), format!("key {n}"));
        world.store.lock().values.insert(name, (Vec::new(), None));
    }
    let world = world.go().await;
    world.finish().await;
    assert_eq!((world.states(), world.task(0, 0).attempt_last), (vec![RunState::Dead], 1));
}
