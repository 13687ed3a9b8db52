//! Routing alone: fresh events, so that their parsing is paid, over the patterns of 1,000 triggers.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use trapjaw_engine::event::Event;
use trapjaw_engine::plan::Plan;
use trapjaw_engine::route::route;
use trapjaw_engine::time::Time;

use super::WARM_UP;
use super::daemon::{Idle, connection, plan};
use super::gauge::{Spans, Stage, Window};

/// Triggers in the plan.
const TRIGGERS: usize = 1_000;
/// Different events, which come round and round.
const EVENTS: usize = 4_096;
/// Events between two looks at the clock.
const TURN: usize = 256;

/// The parts of an event, of which a fresh one is made each time.
struct Sample {
    source: String,
    kind: &'static str,
    data: Bytes,
}

/// Measures on one thread.
pub(super) async fn measure(span: Duration) -> anyhow::Result<Stage> {
    let triggers = (0..TRIGGERS).map(|n| (format!("t{n}"), trigger(n))).collect();
    let plan = plan(triggers, connection(Arc::new(Idle)), Vec::new())?;
    let measured = tokio::task::spawn_blocking(move || {
        let samples: Vec<Sample> = (0..EVENTS).map(sample).collect();
        let spans = Spans::new();
        route_for(&plan, &samples, &spans, WARM_UP);
        spans.clear();
        let window = Window::open();
        let n_events = route_for(&plan, &samples, &spans, span);
        window.close(n_events, &spans)
    });
    measured.await.context("measure routing")
}

fn route_for(plan: &Plan, samples: &[Sample], spans: &Spans, span: Duration) -> u64 {
    let mut n_events = 0;
    let until = Instant::now() + span;
    for turn in samples.chunks(TURN).cycle() {
        let mut before = Instant::now();
        if before >= until {
            break;
        }
        for sample in turn {
            black_box(route(plan, &sample.event()));
            let now = Instant::now();
            spans.add(now - before);
            before = now;
        }
        n_events += turn.len() as u64;
    }
    n_events
}

impl Sample {
    fn event(&self) -> Event {
        let mut event = Event::new(self.source.as_str(), self.kind, "1", Time(0));
        event.data = self.data.clone();
        event
    }
}

/// A trigger with a pattern such as people write: most name exact values, some use the dearer operators.
fn trigger(n: usize) -> Value {
    let (org, repository) = (format!("github.com/org-{}", n % 50), format!("org-{}/repo-{n}", n % 50));
    let on = match n % 10 {
        0..=2 => {
            json!({"source": [org], "type": [KINDS[n % KINDS.len()]], "data": {"repository": {"full_name": [repository]}}})
        }
        3 => {
            json!({"type": [KINDS[n % KINDS.len()]], "data": {"sender": {"login": [format!("user-{n}"), format!("bot-{n}")]}}})
        }
        4 => json!({"source": [org], "data": {"ref": [{"prefix": format!("refs/heads/release-{n}-")}]}}),
        5 => {
            json!({"type": [{"prefix": "com.github."}], "data": {"size": [{"numeric": [">=", n * 10, "<", n * 10 + 10]}]}})
        }
        6 => {
            json!({"source": [org], "data": {"repository": {"full_name": [repository]}, "sender": {"login": [{"anything-but": ["dependabot", "renovate"]}]}}})
        }
        7 => {
            json!({"source": [org], "$or": [{"data": {"repository": {"full_name": [repository]}}}, {"data": {"size": [{"numeric": [">", 9_990]}]}}]})
        }
        8 => json!({"data": {"repository": {"full_name": [repository]}, "forced": [true]}}),
        _ => json!({"source": [org], "data": {"head_commit": {"message": [{"suffix": format!("[deploy {n}]")}]}}}),
    };
    json!({"on": on, "do": [{"send": "out"}]})
}

/// The types of the events.
const KINDS: [&str; 4] = ["com.github.push", "com.github.issues", "com.github.release", "com.github.check_run"];

/// An event of about 500 bytes that matches a few triggers.
fn sample(n: usize) -> Sample {
    // A step that shares no factor with the number of triggers visits all of them.
    let target = n * 7 % TRIGGERS;
    let org = target % 50;
    let data = json!({
        "ref": format!("refs/heads/release-{target}-{n}"),
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
        "forced": n.is_multiple_of(3),
        "size": n * 13 % 10_000,
        "repository": {"id": 186_853_002, "full_name": format!("org-{org}/repo-{target}"), "private": false},
        "sender": {"login": format!("user-{target}"), "type": "User"},
        "head_commit": {
            "message": format!("Say \"hello\" [deploy {target}]"),
            "author": {"name": "Ann", "email": "ann@example.com"},
            "modified": ["README.md", "src/main.rs"],
        },
    });
    let kind = KINDS[target % KINDS.len()];
    Sample { source: format!("github.com/org-{org}"), kind, data: Bytes::from(data.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_match_a_few_triggers_of_every_kind() {
        let triggers = (0..TRIGGERS).map(|n| (format!("t{n}"), trigger(n))).collect();
        let plan = plan(triggers, connection(Arc::new(Idle)), Vec::new()).unwrap();
        let mut kinds = [0; 10];
        for sample in (0..EVENTS).map(sample) {
            let matched = route(&plan, &sample.event());
            assert!(matched.len() < 100, "{}", matched.len());
            for trigger in matched {
                kinds[trigger.name[1..].parse::<usize>().unwrap() % 10] += 1;
            }
            assert!((400..650).contains(&sample.data.len()), "{}", sample.data.len());
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }
}
