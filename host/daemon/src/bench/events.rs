//! The events of the load: pushes as GitHub tells of them, of about 500 bytes of data, each with the moment it was made.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::gauge::Spans;

/// The source of all events of the load.
pub(super) const SOURCE: &str = "github.com/octo/hello";
/// Their type.
pub(super) const KIND: &str = "com.github.push";
/// The configuration that the condition `big-push` wants, and that this push satisfies.
pub(super) const CONFIG: &str = r#"{"min_commits":1}"#;

/// What comes before the moment, within the data.
const STAMP: &[u8] = br#"{"sent_us":"#;
/// The data after the moment.
const PUSH: &str = concat!(
    r#","ref":"refs/heads/main","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","#,
    r#""after":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","forced":false,"#,
    r#""repository":{"id":186853002,"full_name":"octo/hello","private":false},"pusher":{"name":"octo"},"#,
    r#""commits":[{"id":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","message":"Say \"hello\" in Zürich","#,
    r#""author":{"name":"Ann","email":"ann@example.com"},"added":[],"modified":["README.md"],"distinct":true}]}"#,
);

/// The data of one event that is made at this moment of the bench.
pub(super) fn data(sent: Duration) -> String {
    let stamp = String::from_utf8_lossy(STAMP);
    format!("{stamp}{}{PUSH}", sent.as_micros())
}

/// Writes a batch of CloudEvents, as JSON, with ids that count up from `first`.
pub(super) fn write_batch(lane: &str, first: u64, n_events: u64, sent: Duration) -> Vec<u8> {
    let data = data(sent);
    let mut out = Vec::with_capacity((data.len() + 200) * n_events as usize);
    for id in first..first + n_events {
        out.push(if id == first { b'[' } else { b',' });
        write!(
            out,
            r#"{{"specversion":"1.0","id":"{lane}-{id}","source":"{SOURCE}","type":"{KIND}","subject":"octo/hello","time":"2026-01-31T12:00:00Z","datacontenttype":"application/json","data":{data}}}"#
        )
        .expect("a vector takes any number of bytes");
    }
    out.push(b']');
    out
}

/// Where sends arrive: counts them, and how long after their event was made.
pub(super) struct Arrivals {
    began: Instant,
    count: AtomicU64,
    spans: Spans,
}

/// One of so many is looked into: to search every body would itself be a cost.
const SAMPLE: u64 = 16;

impl Arrivals {
    /// Nothing arrived; moments count from now.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), count: AtomicU64::new(0), spans: Spans::new() }
    }

    /// The moment, for the events that are made now.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes a body in.
    pub(super) fn add(&self, body: &[u8]) {
        if self.count.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE)
            && let Some(sent) = sent(body)
        {
            self.spans.add(self.now().saturating_sub(sent));
        }
    }

    /// How many arrived.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long after their events were made.
    pub(super) fn spans(&self) -> &Spans {
        &self.spans
    }
}

/// The moment that the event in a body was made.
fn sent(body: &[u8]) -> Option<Duration> {
    let at = body.windows(STAMP.len()).position(|window| window == STAMP)? + STAMP.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let micros = digits.fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_batch_is_json_with_the_moment_in_it() {
        let body = write_batch("x", 5, 3, Duration::from_micros(1_234));
        let batch: Value = serde_json::from_slice(&body).unwrap();
        let ids: Vec<&str> = batch.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["x-5", "x-6", "x-7"]);
        assert_eq!(batch[2]["data"]["sent_us"], 1_234);
        assert_eq!(sent(&body), Some(Duration::from_micros(1_234)));
        assert!((450..650).contains(&data(Duration::ZERO).len()), "{}", data(Duration::ZERO).len());
    }

    #[test]
    fn arrivals_are_counted_and_timed() {
        let arrivals = Arrivals::new();
        (0..SAMPLE).for_each(|_| arrivals.add(data(Duration::ZERO).as_bytes()));
        assert_eq!(arrivals.count(), SAMPLE);
        assert!(arrivals.spans().quantile(1.0) > Duration::ZERO);
        assert_eq!(sent(b"{}"), None);
    }
}
