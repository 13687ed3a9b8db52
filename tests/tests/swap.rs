//! A condition is replaced again and again under load: nothing is lost, and no verdict is of a version that was not
//! active when its call started.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it counted"
)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use trapjaw_tests::{Api, Bench, amount};

/// What every change has to pass, and what `make soak` asks for.
const SWAPS: (usize, usize) = (200, 1_000);
/// A new version this often, longer than a post takes, so that for most posts only one version is right.
const SWAP_EVERY: Duration = Duration::from_millis(100);
/// Each feeder posts one event this often.
const FEEDERS: usize = 4;
const POST_EVERY: Duration = Duration::from_millis(5);
const REST_MAX: Duration = Duration::from_secs(60);

/// When a version may have been active: from the call that activated it to the answer of the next one's.
struct Reign {
    version: &'static str,
    from: Instant,
    until: Instant,
}

/// When an event's judging may have started.
type Posted = (Instant, Instant);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verdicts_are_of_the_active_version() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let digest_1 = bench.push("big-push", "1.0.0", "big-push").await;
    let digest_2 = bench.push("big-push", "2.0.0", "big-push-v2").await;
    let begin = Instant::now();
    let condition = json!({"plugin": "big-push", "config": {"min_commits": 1}});
    bench.trigger("t", json!({"on": {"type": ["push"]}, "when": [condition], "do": [{"send": "out"}]})).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let posted: Arc<Mutex<HashMap<String, Posted>>> = Arc::default();
    let mut feeders = JoinSet::new();
    for feeder in 0..FEEDERS {
        feeders.spawn(feed(bench.api.clone(), feeder, is_over.clone(), posted.clone()));
    }
    let reigns = swap(&bench, begin).await;
    is_over.store(true, Ordering::Relaxed);
    feeders.join_all().await;

    let posted = posted.lock().unwrap().clone();
    let delivered = bench.receiver.wait("/out", posted.len(), REST_MAX).await.unwrap();
    let arrived: HashMap<String, Instant> =
        delivered.iter().map(|delivery| (delivery.json()["id"].as_str().unwrap().to_owned(), delivery.at)).collect();
    let lost = posted.keys().filter(|id| !arrived.contains_key(*id)).count();
    assert_eq!((lost, bench.receiver.n_bad()), (0, 0));

    let (mut n_wrong, mut n_decided, mut n_late) = (0, 0, 0);
    let mut n_of: HashMap<&str, usize> = HashMap::new();
    for event in bench.api.all("/v1/events").await.unwrap() {
        let id = event["event"]["id"].as_str().unwrap();
        let (asked, is_late) = asked(&bench, &event).await;
        let version = if asked["digest"] == digest_1 { "1.0.0" } else { "2.0.0" };
        assert!(asked["digest"] == digest_1 || asked["digest"] == digest_2, "{asked}");
        assert_eq!(asked["version"], version);
        *n_of.entry(version).or_default() += 1;
        // What is judged after the append starts at some time before its delivery.
        let (from, answered) = posted[id];
        let until = if is_late { arrived[id] } else { answered };
        n_late += usize::from(is_late);
        let right: Vec<&str> = reigns
            .iter()
            .filter(|reign| reign.from <= until && from <= reign.until)
            .map(|reign| reign.version)
            .collect();
        n_wrong += usize::from(!right.contains(&version));
        n_decided += usize::from(!right.iter().any(|other| *other != version));
    }
    println!(
        "{} swaps, {} events, {lost} lost, {n_wrong} verdicts of a version that was not active, {n_decided} where only one was, {n_late} judged after the append, {n_of:?}",
        reigns.len() - 1,
        posted.len(),
    );
    assert_eq!(n_wrong, 0);
    assert!(n_decided * 2 > posted.len(), "the swaps are too fast for this machine to tell versions apart");
    assert!(n_of.values().all(|n| *n > posted.len() / 10), "both versions have judged: {n_of:?}");
}

async fn swap(bench: &Bench, begin: Instant) -> Vec<Reign> {
    let far = begin + Duration::from_secs(86_400);
    let mut reigns = vec![Reign { version: "2.0.0", from: begin, until: far }];
    let mut ticks = interval(SWAP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..amount(SWAPS.0, SWAPS.1) {
        ticks.tick().await;
        let version = if n % 2 == 0 { "1.0.0" } else { "2.0.0" };
        let from = Instant::now();
        let answer = bench.api.put("/v1/plugins/big-push/active", &json!({"version": version})).await.unwrap();
        assert_eq!((answer.status, &answer.json()["active"]), (200, &json!(version)), "{answer:?}");
        reigns.last_mut().unwrap().until = Instant::now();
        reigns.push(Reign { version, from, until: far });
    }
    reigns
}

async fn feed(api: Api, feeder: usize, is_over: Arc<AtomicBool>, posted: Arc<Mutex<HashMap<String, Posted>>>) {
    let data = json!({"ref": "refs/heads/main", "commits": [{"committer": {"email": "a@example.com"}}]});
    let mut ticks = interval(POST_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0.. {
        ticks.tick().await;
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("{feeder}-{n}");
        let event = json!({"specversion": "1.0", "id": id, "source": "tests", "type": "push", "data": data});
        let from = Instant::now();
        let answer = api.publish(event.to_string()).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        posted.lock().unwrap().insert(id, (from, Instant::now()));
    }
}

/// The plugin that was asked about an event, and whether that was after the append.
async fn asked(bench: &Bench, event: &Value) -> (Value, bool) {
    let evaluation = &event["evaluations"][0];
    if evaluation["verdict"] != "judging" {
        assert_eq!(evaluation["verdict"], "matched", "{evaluation}");
        return (evaluation["plugins"][0].clone(), false);
    }
    let all = bench.get(&format!("/v1/events/{}/evaluations", event["id"].as_str().unwrap())).await;
    let later = all["items"].as_array().unwrap().iter().find(|item| item["verdict"] == "matched").cloned();
    (later.unwrap_or_else(|| panic!("never judged: {all}"))["plugins"][0].clone(), true)
}
