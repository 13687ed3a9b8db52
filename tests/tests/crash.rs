//! Killed at random moments under load, the daemon loses nothing that it acknowledged, and repeats itself by the same ids.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use trapjaw_tests::{Api, Bench, Random};

const KILLS: usize = 50;
/// The longest life between two kills.
const LIFE_MS_MAX: u64 = 1_200;
/// How many feeders post at the same time, and the most events of one post.
const FEEDERS: u64 = 6;
const BATCH_MAX: u64 = 20;
/// The rest of a feeder's post that was not acknowledged is sent again after so long.
const AGAIN: Duration = Duration::from_millis(20);
/// A bound on the load, so that the last deliveries come soon after the last kill.
const PAUSE: Duration = Duration::from_millis(8);
/// How long the last deliveries may take.
const REST_MAX: Duration = Duration::from_secs(120);

/// What the feeders know.
#[derive(Default)]
struct Load {
    acknowledged: Mutex<HashSet<String>>,
    n_duplicates: AtomicU64,
    n_failed_posts: AtomicU64,
    is_over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let seed = Random::seed();
    println!("seed {seed}");
    let mut random = Random::of(seed);
    let mut bench = Bench::start().await;
    bench.connect("sent").await;
    bench.connect("acted").await;
    bench.connect("audit").await;
    bench.push("big-push", "1.0.0", "big-push").await;
    bench.push("announce", "1.0.0", "announce").await;
    bench.grant("announce", json!({"connections": ["acted", "audit"], "state": true})).await;
    let when = json!([{"plugin": "big-push", "config": {"min_commits": 1}}]);
    let policy = json!({"retry": {"first": "100ms", "factor": 1.5, "max": "1s", "for": "1h"}});
    bench
        .trigger("send", json!({"on": {"type": ["push"]}, "when": when, "do": [{"send": "sent"}], "policy": policy}))
        .await;
    let act = json!({"plugin": "announce", "connections": {"chat": "acted", "audit": "audit"}});
    // Every tenth event, because the action's one counter makes its attempts wait for one another.
    let tenth = json!({"type": ["push"], "data": {"tenth": [true]}});
    bench.trigger("act", json!({"on": tenth, "do": [act], "policy": policy})).await;

    let load = Arc::new(Load::default());
    let mut feeders = JoinSet::new();
    for feeder in 0..FEEDERS {
        feeders.spawn(feed(bench.api.clone(), load.clone(), feeder, Random::of(seed ^ feeder)));
    }
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_micros(random.below(LIFE_MS_MAX * 1_000))).await;
        bench.daemon.kill().await.unwrap();
        bench.daemon.restart().await.unwrap();
    }
    load.is_over.store(true, Ordering::Relaxed);
    feeders.join_all().await;

    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let begin = Instant::now();
    let missing = async || missing(&bench, &acknowledged);
    let all =
        trapjaw_tests::wait_until("the last deliveries", REST_MAX, async || missing().await.is_empty().then_some(()))
            .await;
    let lost = missing().await;
    let n_deliveries = check_ids(&bench, &acknowledged);
    println!(
        "{KILLS} kills, {} events acknowledged, {} failed posts, {} duplicates refused, {n_deliveries} deliveries, the last after {:?}, {} lost",
        acknowledged.len(),
        load.n_failed_posts.load(Ordering::Relaxed),
        load.n_duplicates.load(Ordering::Relaxed),
        begin.elapsed(),
        lost.len(),
    );
    assert!(all.is_ok() && lost.is_empty(), "{} lost with seed {seed}, such as {:?}", lost.len(), lost.first());
    assert!(acknowledged.len() > 1_000, "the load was too small to mean anything");
    assert_eq!(bench.get("/v1/dead-letters").await["items"], json!([]));
}

/// Posts batches until the kills are over, each again and again until it is acknowledged.
async fn feed(api: Api, load: Arc<Load>, feeder: u64, mut random: Random) {
    for n in 0_u64.. {
        if load.is_over.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<String> = (0..=random.below(BATCH_MAX)).map(|at| format!("{feeder}-{n}-{at}")).collect();
        let batch: Vec<Value> = ids.iter().map(|id| event(id)).collect();
        let body = Value::from(batch).to_string();
        loop {
            match api.post_bytes("/v1/events", "application/cloudevents-batch+json", body.clone()).await {
                Ok(answer) if answer.status == 202 => {
                    load.n_duplicates.fetch_add(answer.json()["duplicates"].as_u64().unwrap(), Ordering::Relaxed);
                    break;
                }
                Ok(answer) => assert!([429, 503].contains(&answer.status), "{answer:?}"),
                Err(_) => drop(load.n_failed_posts.fetch_add(1, Ordering::Relaxed)),
            }
            tokio::time::sleep(AGAIN).await;
        }
        load.acknowledged.lock().unwrap().extend(ids);
        tokio::time::sleep(PAUSE).await;
    }
}

fn event(id: &str) -> Value {
    let data = json!({"ref": "refs/heads/main", "commits": [{}], "tenth": is_tenth(id)});
    json!({"specversion": "1.0", "id": id, "source": "tests", "type": "push", "data": data})
}

fn is_tenth(id: &str) -> bool {
    id.bytes().map(u64::from).sum::<u64>().is_multiple_of(10)
}

/// The event that a delivery is about: the structured event, or the action's record of it.
fn event_of(body: &Value) -> String {
    body["event"].as_str().or(body["id"].as_str()).unwrap_or_default().to_owned()
}

fn missing(bench: &Bench, acknowledged: &HashSet<String>) -> Vec<String> {
    let arrived = |path: &str| -> HashSet<String> {
        bench.receiver.at(path).iter().map(|delivery| event_of(&delivery.json())).collect()
    };
    let (sent, acted, audit) = (arrived("/sent"), arrived("/acted"), arrived("/audit"));
    let is_done = |id: &&String| sent.contains(*id) && (!is_tenth(id) || acted.contains(*id) && audit.contains(*id));
    acknowledged.iter().filter(|id| !is_done(id)).cloned().collect()
}

/// Every delivery of one event on one path has one id, no two events share one, and every signature is good.
fn check_ids(bench: &Bench, acknowledged: &HashSet<String>) -> usize {
    assert_eq!(bench.receiver.n_bad(), 0, "a signature is bad");
    let mut n_deliveries = 0;
    for path in ["/sent", "/acted", "/audit"] {
        let mut ids: HashMap<String, String> = HashMap::new();
        let mut events: HashMap<String, String> = HashMap::new();
        for delivery in bench.receiver.at(path) {
            n_deliveries += 1;
            let event = event_of(&delivery.json());
            assert!(
                acknowledged.contains(&event),
                "{event} was delivered but never acknowledged, not even when sent again"
            );
            assert_eq!(ids.entry(event.clone()).or_insert(delivery.id.clone()), &delivery.id, "{path} {event}");
            assert_eq!(events.entry(delivery.id).or_insert(event.clone()), &event, "two events share an id");
        }
    }
    n_deliveries
}
