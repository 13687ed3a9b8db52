//! How long a neighbour's events take, alone and beside hostile plugins, measured in the same run.
//!
//! A measurement and no test: what it gives hangs on the machine. Quiet phases stand between the others, because a
//! machine drifts; each hostile phase is held against the quiet ones before and after it.

#![expect(clippy::print_stdout, reason = "it is made to be read")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use trapjaw_tests::{Api, Bench, Delivery, Receiver, Watched, milliseconds, quantile, wait_until};

/// The neighbour's events: so many a second, for so long in each phase.
const RATE: u128 = 250;
const PHASE: Duration = Duration::from_secs(8);
/// Before the first phase, so that nothing is done for the first time in it.
const WARM_UP: Duration = Duration::from_secs(2);
/// How often it is looked how many posts are due.
const TICK: Duration = Duration::from_millis(2);
/// More hostile events than a phase can get through, so that there is always a next one; one batch takes them.
const HOSTILE_EVENTS: usize = 1_000;
/// The misdeeds, and how many attempts at one time commit them.
const HOSTILE: [(&str, &str, u32); 5] = [
    ("endless loop", "spin", 1),
    ("endless loop, 8 at a time", "spin", 8),
    ("memory bomb", "grow", 1),
    ("memory bomb, 8 at a time", "grow", 8),
    ("log flood", "log-flood", 1),
];
/// How long anything that is waited for may take.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The neighbour's events: when each was posted, and how long each took.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    posted: HashMap<String, Instant>,
    latencies: Vec<Duration>,
}

/// A phase in figures.
struct Figures {
    p50: Duration,
    p99: Duration,
    /// Hostile attempts that were made beside it.
    n_hostile: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let book = Book::default();
    let watching = book.clone();
    let receiver = Receiver::start_watched(Bench::SIGNING, move |delivery| watching.delivered(&delivery)).await?;
    let bench = Bench::start_on(tempfile::tempdir()?, receiver).await;
    set_up(&bench).await;
    feed(&bench.api, &book, "warm-up", WARM_UP).await?;

    println!(
        "\nneighbours: {RATE} events/s through a plugin's condition to a webhook, {} s a phase, from post to delivery\n",
        PHASE.as_secs()
    );
    println!("{:<28}{:>12}{:>12}{:>20}{:>19}", "beside it", "p50", "p99", "p99 against quiet", "hostile attempts");
    let mut before = quiet(&bench, &book, 0).await?;
    print("nothing", &before, "", "");
    for (n, (words, misdeed, at_once)) in HOSTILE.into_iter().enumerate() {
        let hostile = beside(&bench, &book, &format!("hostile.{n}"), misdeed, at_once).await?;
        let after = quiet(&bench, &book, n + 1).await?;
        let reference = (before.p99 + after.p99) / 2;
        let change = (hostile.p99.as_secs_f64() / reference.as_secs_f64() - 1.0) * 100.0;
        print(words, &hostile, &format!("{change:+.0} %"), &hostile.n_hostile.to_string());
        print("nothing", &after, "", "");
        before = after;
    }
    Ok(())
}

fn print(words: &str, figures: &Figures, change: &str, n_hostile: &str) {
    let (p50, p99) = (milliseconds(figures.p50), milliseconds(figures.p99));
    println!("{words:<28}{p50:>12}{p99:>12}{change:>20}{n_hostile:>19}");
}

/// The neighbour asks a plugin, so that it shares the sandbox with the others.
async fn set_up(bench: &Bench) {
    bench.connect("out").await;
    bench.push("big-push", "1", "big-push").await;
    let condition = json!({"plugin": "big-push", "config": {"min_commits": 1}});
    let neighbour = json!({"on": {"type": ["push"]}, "when": [condition], "do": [{"send": "out"}]});
    bench.trigger("neighbour", neighbour).await;
    bench.push("hostile-action", "1", "hostile-action").await;
    bench.grant("hostile-action", json!({"connections": ["out"], "state": true})).await;
}

async fn quiet(bench: &Bench, book: &Book, n: usize) -> anyhow::Result<Figures> {
    let latencies = feed(&bench.api, book, &format!("quiet-{n}"), PHASE).await?;
    Ok(Figures::of(latencies, 0))
}

/// A phase beside a trigger whose every event is a misdeed.
async fn beside(bench: &Bench, book: &Book, trigger: &str, misdeed: &str, at_once: u32) -> anyhow::Result<Figures> {
    let action = json!({"plugin": "hostile-action", "config": {"do": misdeed}, "connections": {"out": "out"}});
    let policy = json!({"retry": {"attempts": 1}, "concurrency": at_once});
    bench.trigger(trigger, json!({"on": {"type": [trigger]}, "do": [action], "policy": policy})).await;
    let event = |n| json!({"specversion": "1.0", "id": format!("{trigger}-{n}"), "source": "hostile", "type": trigger});
    let events: Vec<Value> = (0..HOSTILE_EVENTS).map(event).collect();
    let batch = Value::from(events).to_string();
    bench.api.post_bytes("/v1/events", "application/cloudevents-batch+json", batch).await?.ok()?;

    let latencies = feed(&bench.api, book, trigger, PHASE).await?;
    // What has not begun is cancelled with the trigger.
    bench.api.delete(&format!("/v1/triggers/{trigger}")).await?.ok()?;
    let has_ended = async || {
        let lanes = bench.get("/v1/status").await["lanes"].take();
        (!lanes.as_array()?.iter().any(|lane| lane["trigger"] == trigger)).then_some(())
    };
    bench.wait("the end of the hostile work", has_ended).await;
    let runs = bench.api.all(&format!("/v1/runs?trigger={trigger}")).await?;
    Ok(Figures::of(latencies, runs.iter().filter(|run| run["state"] != "cancelled").count()))
}

/// Posts at the steady rate, and gives how long each event took when all have arrived.
async fn feed(api: &Api, book: &Book, phase: &str, span: Duration) -> anyhow::Result<Vec<Duration>> {
    let n_events = usize::try_from(RATE * span.as_millis() / 1_000)?;
    let data = json!({"ref": "refs/heads/main", "commits": [{}]});
    let begin = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut posts = JoinSet::new();
    let mut n_posted = 0;
    while n_posted < n_events {
        ticks.tick().await;
        let due = usize::try_from(begin.elapsed().as_micros() * RATE / 1_000_000)?.min(n_events);
        for n in n_posted..due {
            let id = format!("{phase}-{n}");
            let event = json!({"specversion": "1.0", "id": id, "source": "tests", "type": "push", "data": data});
            book.posted(id);
            let api = api.clone();
            posts.spawn(async move { api.publish(event.to_string()).await?.ok() });
        }
        n_posted = due;
    }
    for posted in posts.join_all().await {
        posted?;
    }
    wait_until("the last deliveries", WAIT_MAX, async || book.take(n_events)).await
}

impl Book {
    fn posted(&self, id: String) {
        self.with(|entries| entries.posted.insert(id, Instant::now()));
    }

    fn delivered(&self, delivery: &Delivery) -> Watched {
        let id = delivery.json()["id"].as_str().unwrap_or_default().to_owned();
        self.with(|entries| {
            // A repeat is none of the first delivery's.
            let posted = entries.posted.remove(&id);
            entries.latencies.extend(posted.map(|posted| delivery.at.saturating_duration_since(posted)));
        });
        Watched::Counted
    }

    /// The latencies, once there are so many.
    fn take(&self, n_events: usize) -> Option<Vec<Duration>> {
        self.with(|entries| (entries.latencies.len() >= n_events).then(|| std::mem::take(&mut entries.latencies)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Entries) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Figures {
    fn of(latencies: Vec<Duration>, n_hostile: usize) -> Self {
        Self { p50: quantile(latencies.clone(), 50), p99: quantile(latencies, 99), n_hostile }
    }
}
