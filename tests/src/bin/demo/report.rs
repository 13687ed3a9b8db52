//! What is shown: a line a second while events flow, and the count at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{interval, interval_at};
use trapjaw_tests::{Daemon, milliseconds};

use crate::tally::{Counts, Tally};

/// One line about something that happened.
pub(crate) fn say(text: &str) {
    println!("  · {text}");
}

/// Shows a line a second until the time is over.
pub(crate) async fn watch(tally: &Tally, seconds: u32) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(interval(second).tick().await + second, second);
    for n in 1..=seconds {
        let from = Instant::now();
        ticks.tick().await;
        let Counts { posted, acknowledged, delivered, swaps, .. } = tally.counts();
        let p99 = tally.latency_since(from, 99);
        let to_come = tally.n_to_come();
        println!("{n:>9}{posted:>9}{acknowledged:>15}{delivered:>12}{to_come:>10}{:>20}{swaps:>8}", milliseconds(p99));
    }
}

/// All that the report says.
pub(crate) struct Counted {
    counts: Counts,
    n_lost: usize,
    lost: Vec<String>,
    n_matches_wanted: u64,
    /// Runs in the daemon's ledger, by state.
    runs: BTreeMap<String, u64>,
    /// Verdicts of the condition in the daemon's ledger, by version.
    verdicts: BTreeMap<String, u64>,
    swaps: usize,
    latencies: [Duration; 4],
    errors: Vec<String>,
}

impl Counted {
    /// Counts what the receiver saw and what the daemon kept.
    pub(crate) async fn gather(daemon: &Daemon, tally: &Tally, swaps: usize) -> anyhow::Result<Self> {
        let api = daemon.api()?;
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let mut runs = BTreeMap::new();
        for run in api.all("/v1/runs").await? {
            *runs.entry(text(&run["state"])).or_default() += 1;
        }
        let mut verdicts = BTreeMap::new();
        for event in api.all("/v1/events?type=com.github.push").await? {
            let evaluations = event["evaluations"].as_array().cloned().unwrap_or_default();
            let asked = evaluations.iter().find(|evaluation| evaluation["trigger"] == "pushes.big");
            let version = asked.map(|asked| text(&asked["plugins"][0]["version"])).unwrap_or_default();
            *verdicts.entry(version).or_default() += 1;
        }
        let (n_lost, lost) = tally.lost();
        Ok(Self {
            counts: tally.counts(),
            n_lost,
            lost,
            n_matches_wanted: tally.n_matches(),
            runs,
            verdicts,
            swaps,
            latencies: [(50, true), (99, true), (50, false), (99, false)]
                .map(|(percent, calm)| tally.latency(percent, calm)),
            errors: daemon.log().unexpected(),
        })
    }

    /// Prints the report; whether all is well.
    pub(crate) fn print(&self) -> bool {
        let counts = &self.counts;
        let n_runs: u64 = self.runs.values().sum();
        let n_open = n_runs - self.runs.get("succeeded").copied().unwrap_or(0);
        let unacknowledged = counts.posted - counts.acknowledged;
        let [p50_calm, p99_calm, p50, p99] = self.latencies.map(milliseconds);
        println!();
        line(
            "events accepted",
            counts.acknowledged,
            &format!("each acknowledged after the durable write; {} posts were made again", counts.posts_again),
        );
        line(
            "duplicates refused",
            counts.duplicates_refused,
            "sent twice on purpose, or again because the kill ate the answer",
        );
        line(
            "matched",
            n_runs,
            &format!(
                "runs in the ledger, {}; by the definitions it should be {}",
                words(&self.runs),
                self.n_matches_wanted
            ),
        );
        line(
            "delivered",
            counts.delivered,
            &format!("announced by Rust {}, by JavaScript {}", counts.by_rust, counts.by_javascript),
        );
        line(
            "open at the kill",
            counts.unanswered,
            &format!("the receiver had got them, and never answered; {} came again and were", counts.came_again),
        );
        line("duplicates seen", counts.duplicates_seen, "by the receiver, after its answer, under the same webhook-id");
        if counts.announced_anew > 0 {
            line(
                "announced anew",
                counts.announced_anew,
                "an interrupted attempt, made again by the other version: another text",
            );
        }
        line("other webhook-ids", counts.wrong_ids, "a repeat under another id");
        line("unexpected", counts.unexpected, "deliveries that no definition asks for");
        line("bad signatures", counts.bad_signatures, "checked by an implementation of the receiver's own");
        line(
            "swaps",
            self.swaps,
            &format!("plugins replaced under load; verdicts of the condition by version: {}", words(&self.verdicts)),
        );
        line(
            "p50 / p99",
            format!("{p50_calm} / {p99_calm}"),
            "from post, before the durable write, to delivery; the kill left out",
        );
        line("with the kill", format!("{p50} / {p99}"), "the same for all deliveries");
        line("lost", self.n_lost, "acknowledged events that did not arrive everywhere they should");
        for (text, events) in [("lost", &self.lost), ("error in the daemon's log", &self.errors)] {
            for event in events {
                println!("      {text}: {event}");
            }
        }
        println!();
        let is_complete =
            counts.acknowledged > 0 && unacknowledged == 0 && n_runs == self.n_matches_wanted && n_open == 0;
        let is_sound = counts.wrong_ids == 0
            && counts.unexpected == 0
            && counts.bad_signatures == 0
            && counts.came_again == counts.unanswered;
        is_complete && is_sound && self.n_lost == 0 && self.errors.is_empty()
    }
}

fn line(name: &str, value: impl std::fmt::Display, about: &str) {
    println!("  {name:<20}{value:>18}   {about}");
}

fn words(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    words.join(", ")
}
