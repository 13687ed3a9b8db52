//! What is measured of a stage: events, processor time, and how long each thing took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// The figures of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Stage {
    /// Events a second.
    pub(super) events_per_s: f64,
    /// Processor time of the whole process for 1,000 events, in seconds.
    pub(super) cpu_s_per_1k: f64,
    /// The median time, in milliseconds.
    pub(super) p50_ms: f64,
    /// The time that one of a hundred is above, in milliseconds.
    pub(super) p99_ms: f64,
}

/// A stretch of time that is being measured.
pub(super) struct Window {
    began: Instant,
    cpu: Duration,
}

impl Window {
    /// Measures from now on.
    pub(super) fn open() -> Self {
        Self { began: Instant::now(), cpu: cpu() }
    }

    /// Measures until now.
    pub(super) fn close(self, n_events: u64, spans: &Spans) -> Stage {
        let (wall, cpu) = (self.began.elapsed(), cpu().saturating_sub(self.cpu));
        let n_events = n_events.max(1) as f64;
        Stage {
            events_per_s: round(n_events / wall.as_secs_f64(), 0),
            cpu_s_per_1k: round(cpu.as_secs_f64() * 1e3 / n_events, 6),
            p50_ms: round(spans.quantile(0.5).as_secs_f64() * 1e3, 4),
            p99_ms: round(spans.quantile(0.99).as_secs_f64() * 1e3, 4),
        }
    }
}

/// The processor time of all threads of this process so far, in the kernel too.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The number with so many digits after the point: more would only pretend.
pub(super) fn round(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

/// How long things took, in buckets of 1.6 % width: any number of them in a fixed space, from any thread.
pub(super) struct Spans(Box<[AtomicU64]>);

/// Each power of two is cut into so many buckets.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 6;

impl Spans {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let n_buckets = (u64::from(u64::BITS - STEP_BITS) + 1) * STEPS;
        Self((0..n_buckets).map(|_| AtomicU64::new(0)).collect())
    }

    /// Takes one in.
    pub(super) fn add(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.0[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }

    /// The span that this share of all is not above; none took any time where there are none.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let counts: Vec<u64> = self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let rank = (counts.iter().sum::<u64>() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (at, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_nanos(floor(at as u64));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a number: below `STEPS` one each, above that by the highest bits.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEP_BITS;
    let place = (u64::from(shift) + 1) * STEPS + ((nanos >> shift) - STEPS);
    place as usize
}

/// The least number of a bucket.
fn floor(bucket: u64) -> u64 {
    match bucket / STEPS {
        0 => bucket,
        row => (STEPS + bucket % STEPS) << (row - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_order_and_width() {
        for nanos in [0, 1, 63, 64, 65, 127, 128, 1_000, 999_999, 1 << 40, u64::MAX] {
            let least = floor(bucket(nanos) as u64);
            assert!(least <= nanos && nanos - least <= nanos / STEPS, "{nanos}: {least}");
        }
        assert!(bucket(u64::MAX) < Spans::new().0.len());
    }

    #[test]
    fn quantiles_are_within_a_bucket() {
        let spans = Spans::new();
        assert_eq!(spans.quantile(0.5), Duration::ZERO);
        (1..=1_000).for_each(|n| spans.add(Duration::from_micros(n)));
        let check = |share: f64, expected: f64| {
            let found = spans.quantile(share).as_secs_f64() * 1e6;
            assert!((expected * 0.98..=expected).contains(&found), "{share}: {found}");
        };
        check(0.5, 500.0);
        check(0.99, 990.0);
        check(1.0, 1_000.0);
        spans.clear();
        assert_eq!(spans.quantile(1.0), Duration::ZERO);
    }

    #[test]
    fn a_window_counts_processor_time_and_events() {
        let window = Window::open();
        let worked = std::hint::black_box((0..5_000_000u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
        let stage = window.close(1_000, &Spans::new());
        assert!(worked != 1 && stage.cpu_s_per_1k > 0.0 && stage.events_per_s > 0.0, "{stage:?}");
    }
}
