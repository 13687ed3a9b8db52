//! What was measured, as a table for people or as JSON for scripts.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use super::condition::Condition;
use super::gauge::Stage;
use super::limits::Limits;
use super::load::BATCH;
use crate::cli::args::Format;

/// All figures. The shape is a promise to scripts.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The machine's own limits.
    pub(super) limits: Limits,
    /// Routing on one thread.
    pub(super) route: Stage,
    /// One call of the condition; none where no plugin was given.
    pub(super) condition: Option<Condition>,
    /// Durable accept.
    pub(super) accept: Stage,
    /// The whole life with an action that does nothing.
    pub(super) noop: Stage,
    /// The whole life with a condition and a webhook.
    pub(super) webhook: Stage,
    /// Whether the webhook's condition was a plugin.
    #[serde(skip)]
    pub(super) is_plugin: bool,
}

impl Report {
    /// Shows the figures on standard output.
    pub(super) fn show(&self, format: Format) -> anyhow::Result<()> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(self).context("write report")?,
            Format::Yaml => yaml_serde::to_string(self).context("write report")?,
            Format::Table => self.lines().join("\n"),
        };
        writeln!(std::io::stdout(), "{}", text.trim_end()).context("write to standard output")
    }

    fn lines(&self) -> Vec<String> {
        let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let row = |name: &str, stage: &Stage, limit: String| {
            let Stage { events_per_s, cpu_s_per_1k, p50_ms, p99_ms } = stage;
            format!("{name:<10} {events_per_s:>10.0} {cpu_s_per_1k:>12.4} {p50_ms:>10.3} {p99_ms:>10.3}   {limit}")
        };
        let Limits { fsync_per_s, loopback_posts_per_s } = self.limits;
        let posts = format!("{loopback_posts_per_s:.0} bare POSTs/s");
        let condition = match &self.condition {
            Some(Condition { fresh_us, warm_us }) => {
                format!("condition  {fresh_us:.1} µs a call in a fresh instance · {warm_us:.1} µs in a warm one")
            }
            None => "condition  not measured: give --plugin FILE".into(),
        };
        let judge = if self.is_plugin { "the plugin" } else { "an expression, as no plugin was given" };
        vec![
            format!("limits     {fsync_per_s:.0} fsyncs/s · {posts} on loopback · {n_cores} cores"),
            condition,
            String::new(),
            format!("{:<10} {:>10} {:>12} {:>10} {:>10}   beside", "stage", "events/s", "cpu s/1,000", "p50 ms", "p99 ms"),
            row("route", &self.route, "1,000 triggers, one thread".into()),
            row("accept", &self.accept, format!("{fsync_per_s:.0} fsyncs/s; batches of {BATCH}, durable")),
            row("noop", &self.noop, format!("{:.0} accepted/s", self.accept.events_per_s)),
            row("webhook", &self.webhook, format!("{posts}; the condition is {judge}")),
            String::new(),
            "CPU is that of the whole process, the load's generator and the receivers included.".into(),
            "Times: an event in route, a request in accept; else from event to send at full load, with the wait in line.".into(),
            self.reading(n_cores),
        ]
    }

    /// What the figures say, in one line.
    fn reading(&self, n_cores: usize) -> String {
        let busy = |stage: &Stage| stage.cpu_s_per_1k * stage.events_per_s / 1e3;
        let percent = |part: f64, whole: f64| (100.0 * part / whole.max(1.0)).round();
        let requests = self.accept.events_per_s / BATCH as f64;
        format!(
            "accept is at {} % of the machine's fsyncs and keeps {:.1} of {n_cores} cores busy; noop is at {} % of accept \
             ({:.1} cores); webhook is at {} % of the machine's POSTs ({:.1} cores)",
            percent(requests, self.limits.fsync_per_s),
            busy(&self.accept),
            percent(self.noop.events_per_s, self.accept.events_per_s),
            busy(&self.noop),
            percent(self.webhook.events_per_s, self.limits.loopback_posts_per_s),
            busy(&self.webhook),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn report() -> Report {
        let stage = |events_per_s, cpu_s_per_1k| Stage { events_per_s, cpu_s_per_1k, p50_ms: 1.5, p99_ms: 4.0 };
        Report {
            limits: Limits { fsync_per_s: 4_000.0, loopback_posts_per_s: 80_000.0 },
            route: stage(100_000.0, 0.01),
            condition: Some(Condition { fresh_us: 12.5, warm_us: 3.5 }),
            accept: stage(40_000.0, 0.04),
            noop: stage(20_000.0, 0.08),
            webhook: stage(16_000.0, 0.1),
            is_plugin: true,
        }
    }

    #[test]
    fn scripts_get_the_promised_shape() {
        let stage = |events_per_s: f64, cpu: f64| json!({"events_per_s": events_per_s, "cpu_s_per_1k": cpu, "p50_ms": 1.5, "p99_ms": 4.0});
        let expected = json!({
            "limits": {"fsync_per_s": 4_000.0, "loopback_posts_per_s": 80_000.0},
            "route": stage(100_000.0, 0.01),
            "condition": {"fresh_us": 12.5, "warm_us": 3.5},
            "accept": stage(40_000.0, 0.04),
            "noop": stage(20_000.0, 0.08),
            "webhook": stage(16_000.0, 0.1),
        });
        assert_eq!(serde_json::to_value(report()).unwrap(), expected);
    }

    #[test]
    fn people_get_a_reading() {
        let reading = report().reading(2);
        for part in ["accept is at 10 % of", "noop is at 50 % of accept", "webhook is at 20 % of", "1.6 of 2 cores"] {
            assert!(reading.contains(part), "{reading}");
        }
        let condition = "12.5 µs a call in a fresh instance · 3.5 µs in a warm one";
        assert!(report().lines().join("\n").contains(condition));
        let mut bare = report();
        (bare.condition, bare.is_plugin) = (None, false);
        assert!(bare.lines().join("\n").contains("an expression, as no plugin was given"));
    }
}
