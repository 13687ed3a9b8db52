//! Latencies in figures.

use std::time::Duration;

/// The latency that so many of a hundred kept; none of nothing is zero.
pub fn quantile(mut latencies: Vec<Duration>, percent: usize) -> Duration {
    latencies.sort_unstable();
    let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
    latencies.get(at).copied().unwrap_or_default()
}

/// A latency for people.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_is_there() {
        let check = |n_latencies: u64, percent: usize, expected_ms: u64| {
            let latencies = (1..=n_latencies).rev().map(Duration::from_millis).collect();
            assert_eq!(quantile(latencies, percent), Duration::from_millis(expected_ms), "{n_latencies} {percent}");
        };
        check(0, 99, 0);
        check(1, 99, 1);
        check(100, 50, 51);
        check(100, 99, 100);
        check(1_000, 99, 991);
    }
}
