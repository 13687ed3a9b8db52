//! Intake: events come in, are checked and bounded, and are durable when `accept` returns.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::append::draft;
use crate::event::{ATTRIBUTE_BYTES_MAX, EVENT_BYTES_MAX, EXTENSIONS_MAX, Event, JSON_DEPTH_MAX, is_deeper};
use crate::id::EventId;
use crate::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_AHEAD_MAX, HOPS_MAX, JUDGE_BUDGET};
use crate::plan::Plan;
use crate::ports::{Past, StoreError};
use crate::problem::Problem;
use crate::record::{Command, NewEvent};
use crate::time::Time;

/// How long judging before the append may take a whole batch.
const BATCH_JUDGE_BUDGET: Duration = Duration::from_millis(50);

/// Events that come in together, from one source of ours.
pub struct Batch {
    /// Our source: `http` for the API.
    pub source: Arc<str>,
    /// The events.
    pub events: Vec<Event>,
}

/// What became of a batch. Everything is on stable storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Events that were taken.
    pub accepted: u32,
    /// Events that were there already.
    pub duplicates: u32,
    /// The ids, in order; that of the first one for a duplicate.
    pub ids: Vec<EventId>,
}

/// Why nothing of a batch was taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// What came is not in order.
    #[error("read events: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Bad(Vec<Problem>),
    /// There is too much open work; the same may be taken later.
    #[error("too much work is open: try again later")]
    Busy,
    /// The host is stopping.
    #[error("the host is stopping")]
    Stopping,
    /// There is no such trigger, event or run.
    #[error("there is no {0}")]
    Unknown(String),
    /// The store did not write it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a batch against every bound, and names each event that is over one.
pub fn check(batch: &Batch, now: Time) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    let n_events = batch.events.len();
    if n_events == 0 || n_events > BATCH_EVENTS_MAX {
        problems.push(Problem::at("", format!("{n_events} events; 1 to {BATCH_EVENTS_MAX} are taken at once")));
    }
    if batch.events.iter().map(|event| event.data.len()).sum::<usize>() > BATCH_BYTES_MAX {
        problems.push(Problem::at("", format!("more than {BATCH_BYTES_MAX} bytes at once")));
    }
    for (at, event) in batch.events.iter().enumerate() {
        let path = |name: &str| if n_events == 1 { name.to_owned() } else { format!("[{at}].{name}") };
        check_event(event, now, &mut |name, message| problems.push(Problem::at(path(name), message)));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_event(event: &Event, now: Time, problem: &mut dyn FnMut(&str, String)) {
    let attributes = [
        ("id", &*event.id),
        ("source", &*event.source),
        ("type", &*event.kind),
        ("subject", event.subject.as_deref().unwrap_or("-")),
    ];
    for (name, value) in attributes {
        if value.is_empty() {
            problem(name, "empty".into());
        }
        if value.len() > ATTRIBUTE_BYTES_MAX {
            problem(name, format!("{} bytes; {ATTRIBUTE_BYTES_MAX} are the most", value.len()));
        }
    }
    if event.extensions.len() > EXTENSIONS_MAX {
        problem("", format!("{} extension attributes; {EXTENSIONS_MAX} are the most", event.extensions.len()));
    }
    for (name, value) in &event.extensions {
        if value.len() > ATTRIBUTE_BYTES_MAX {
            problem(name, format!("{} bytes; {ATTRIBUTE_BYTES_MAX} are the most", value.len()));
        }
    }
    if event.time < Time(0) {
        problem("time", format!("{} is before 1970, where the clocks of plugins begin", event.time));
    }
    if event.time > now + EVENT_AHEAD_MAX {
        problem("time", format!("{} is more than 24 h ahead", event.time));
    }
    if event.data.len() > EVENT_BYTES_MAX {
        problem("data", format!("{} bytes; {EVENT_BYTES_MAX} are the most", event.data.len()));
    } else if event.is_json() && is_deeper(&event.data, JSON_DEPTH_MAX) {
        problem("data", format!("nested deeper than {JSON_DEPTH_MAX}"));
    }
    let hops: u32 = event.extension(HOPS).and_then(|text| text.parse().ok()).unwrap_or(0);
    if hops > HOPS_MAX {
        problem(HOPS, format!("caused by {hops} events one after another, which looks like a loop"));
    }
}

/// The extension attribute that counts how many events caused one another.
pub const HOPS: &str = "trapjawhops";

/// Routes and judges the events, and drafts one command for each.
pub async fn drafts(plan: &Plan, batch: Batch, key: &[u8; 16], now: Time, past: &Arc<dyn Past>) -> Vec<Arc<NewEvent>> {
    let share = BATCH_JUDGE_BUDGET / u32::try_from(batch.events.len().max(1)).unwrap_or(u32::MAX);
    let budget = share.clamp(Duration::from_micros(500), JUDGE_BUDGET);
    let mut drafts = Vec::with_capacity(batch.events.len());
    for event in batch.events {
        let dedup = dedup_key(key, &batch.source, &event);
        let mut new = draft(plan, Arc::new(event), now, budget, past).await;
        new.dedup = Some(dedup);
        drafts.push(Arc::new(new));
    }
    drafts
}

/// The commands that make drafts durable.
pub fn commands(drafts: &[Arc<NewEvent>]) -> Vec<Command> {
    drafts.iter().map(|draft| Command::Append(Arc::clone(draft))).collect()
}

/// What an event is known by: a keyed hash, so that nobody can make two events that are taken for one.
pub fn dedup_key(key: &[u8; 16], source: &str, event: &Event) -> u128 {
    hash_of(key, [source, &event.source, &event.id])
}

/// What the firing of a trigger by hand is known by, so that it is done once however often it is asked for.
pub(crate) fn firing_key(key: &[u8; 16], trigger: &str, once: &str) -> u128 {
    hash_of(key, ["manual", trigger, once])
}

fn hash_of(key: &[u8; 16], parts: [&str; 3]) -> u128 {
    let mut hash = Sha256::new();
    hash.update(key);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest[..16].iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_name_their_field() {
        let now = Time(1_000_000_000_000_000);
        let check = |change: fn(&mut Event), field: &str| {
            let mut event = Event::new("shop", "t", "1", Time(1_000_000_000_000_000));
            change(&mut event);
            let problems = check(&Batch { source: "http".into(), events: vec![event] }, now).err().unwrap_or_default();
            assert_eq!(problems.first().map(|problem| problem.path.as_str()), (!field.is_empty()).then_some(field));
        };
        check(|_| {}, "");
        check(|event| event.id = "".into(), "id");
        check(|event| event.kind = "x".repeat(2_000).into(), "type");
        check(|event| event.time = event.time + Duration::from_secs(90_000), "time");
        check(|event| event.data = vec![b' '; EVENT_BYTES_MAX + 1].into(), "data");
        check(|event| event.data = "[".repeat(65).into(), "data");
        check(|event| event.data = format!("[{}0]", "[],".repeat(65)).into(), "");
        check(|event| event.data = format!("\"{}\"", "[".repeat(65)).into(), "");
        check(|event| event.extensions.push((HOPS.into(), "17".into())), HOPS);
    }

    #[test]
    fn an_event_is_known_by_its_source_and_id() {
        let event = |source: &str, id: &str| Event::new(source, "t", id, Time(0));
        let key = |ours: &str, source: &str, id: &str| dedup_key(&[7; 16], ours, &event(source, id));
        assert_eq!(key("http", "a", "b"), key("http", "a", "b"));
        for other in [key("kafka", "a", "b"), key("http", "ab", ""), key("http", "", "ab")] {
            assert_ne!(key("http", "a", "b"), other);
        }
        assert_ne!(dedup_key(&[7; 16], "http", &event("a", "b")), dedup_key(&[8; 16], "http", &event("a", "b")));
    }
}
