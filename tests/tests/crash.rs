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
use trapjaw_tests::{Api, Bench, Delivery, Random, Receiver, Watched, amount, wait_until};

/// What every change has to pass, and what `make soak` asks for.
const KILLS: (usize, usize) = (50, 200);
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

/// Where deliveries arrive: what a trigger sends, and what the action sends on its two connections.
const PATHS: [&str; 3] = ["/sent", "/acted", "/audit"];

/// What arrived, path by path. Bodies are not kept: there are a million of them in a long test.
#[derive(Default)]
struct Arrived {
    paths: [Ids; PATHS.len()],
    n_deliveries: usize,
    /// What is wrong with any of them.
    problems: Vec<String>,
}

/// Each event's id in its deliveries on one path, and the other way round.
#[derive(Default)]
struct Ids {
    of_event: HashMap<String, String>,
    events: HashMap<String, String>,
}

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
    let arrived: Arc<Mutex<Arrived>> = Arc::default();
    let arriving = arrived.clone();
    let receiver = Receiver::start_watched(Bench::SIGNING, move |delivery| {
        arriving.lock().unwrap().take(&delivery);
        Watched::Counted
    });
    let mut bench = Bench::start_on(tempfile::tempdir().unwrap(), receiver.await.unwrap()).await;
    define(&bench).await;

    let load = Arc::new(Load::default());
    let mut feeders = JoinSet::new();
    for feeder in 0..FEEDERS {
        feeders.spawn(feed(bench.api.clone(), load.clone(), feeder, Random::of(seed ^ feeder)));
    }
    let n_kills = amount(KILLS.0, KILLS.1);
    for _ in 0..n_kills {
        tokio::time::sleep(Duration::from_micros(random.below(LIFE_MS_MAX * 1_000))).await;
        bench.daemon.kill().await.unwrap();
        bench.daemon.restart().await.unwrap();
    }
    load.is_over.store(true, Ordering::Relaxed);
    feeders.join_all().await;

    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let begin = Instant::now();
    let missing = || arrived.lock().unwrap().missing(&acknowledged);
    let all = wait_until("the last deliveries", REST_MAX, async || missing().is_empty().then_some(())).await;
    let lost = missing();
    let n_deliveries = arrived.lock().unwrap().n_deliveries;
    println!(
        "{n_kills} kills, {} events acknowledged, {} failed posts, {} duplicates refused, {n_deliveries} deliveries, the last after {:?}, {} lost",
        acknowledged.len(),
        load.n_failed_posts.load(Ordering::Relaxed),
        load.n_duplicates.load(Ordering::Relaxed),
        begin.elapsed(),
        lost.len(),
    );
    assert!(all.is_ok() && lost.is_empty(), "{} lost with seed {seed}, such as {:?}", lost.len(), lost.first());
    arrived.lock().unwrap().check(&acknowledged);
    assert!(acknowledged.len() > 1_000, "the load was too small to mean anything");
    assert_eq!(bench.get("/v1/dead-letters").await["items"], json!([]));
}

/// One trigger that sends, and one whose action does.
async fn define(bench: &Bench) {
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

impl Arrived {
    fn take(&mut self, delivery: &Delivery) {
        self.n_deliveries += 1;
        self.problems.extend(delivery.problem.clone());
        let path = PATHS.iter().position(|path| *path == delivery.path).unwrap();
        let (event, id) = (event_of(&delivery.json()), &delivery.id);
        let ids = &mut self.paths[path];
        if ids.of_event.entry(event.clone()).or_insert_with(|| id.clone()) != id {
            self.problems.push(format!("{event} came on {} under another id: {id}", delivery.path));
        }
        if *ids.events.entry(id.clone()).or_insert_with(|| event.clone()) != event {
            self.problems.push(format!("{event} came on {} under another event's id: {id}", delivery.path));
        }
    }

    /// The acknowledged events that have not arrived everywhere they should.
    fn missing(&self, acknowledged: &HashSet<String>) -> Vec<String> {
        let [sent, acted, audit] = &self.paths;
        let has = |ids: &Ids, id: &String| ids.of_event.contains_key(id);
        let is_done = |id: &&String| has(sent, id) && (!is_tenth(id) || has(acted, id) && has(audit, id));
        acknowledged.iter().filter(|id| !is_done(id)).cloned().collect()
    }

    /// Every delivery of one event on one path has one id, no two events share one, every signature is good, and
    /// nothing came that was not acknowledged in the end.
    fn check(&self, acknowledged: &HashSet<String>) {
        assert!(self.problems.is_empty(), "{} problems, such as {:?}", self.problems.len(), self.problems.first());
        for ids in &self.paths {
            let stranger = ids.of_event.keys().find(|event| !acknowledged.contains(*event));
            assert_eq!(stranger, None, "it was delivered but never acknowledged, not even when sent again");
        }
    }
}
