//! `GET /metrics`: counters and gauges as Prometheus reads them.

use std::fmt::{Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use trapjaw_engine::engine::Status;
use trapjaw_sandbox::LaneGauges;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::health::connection_state;
use crate::pass::Act;

/// Show counters and gauges in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain", body = String), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<impl IntoResponse, ApiError> {
    caller.may(Act::Read)?;
    let mut page = MetricsPage::default();
    engine(&mut page, &app.engine.status().await);
    store(&mut page, &app);
    sandbox(&mut page, &app);
    page.gauge("trapjaw_process_resident_bytes", "Memory that the process holds.", resident_bytes());
    page.gauge("trapjaw_config_revision", "Revision of the configuration in force.", app.engine.plan().revision());
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], page.0))
}

/// The memory that the process holds, in bytes; 0 where the system does not tell.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.unwrap_or(0) << 10
}

fn engine(page: &mut MetricsPage, status: &Status) {
    page.counter("trapjaw_events_accepted_total", "Events that were taken.", status.n_accepted);
    page.counter("trapjaw_events_duplicate_total", "Events that were there already.", status.n_duplicates);
    page.counter("trapjaw_runs_total", "Runs that began.", status.n_runs);
    page.counter("trapjaw_judged_later_total", "Judgements after the append.", status.n_judged_later);
    page.counter("trapjaw_tasks_dead_total", "Tasks that became dead letters.", status.n_dead);
    page.head("trapjaw_attempts_total", "Attempts by what they came to.", "counter");
    let results = [
        ("succeeded", status.n_succeeded),
        ("skipped", status.n_skipped),
        ("failed", status.n_failed),
        ("dead", status.n_dead),
        ("cancelled", status.n_cancelled),
        ("resumed", status.n_resumed),
    ];
    for (result, n) in results {
        page.line("trapjaw_attempts_total", &[("result", result)], n);
    }
    page.gauge("trapjaw_open_runs", "Runs with open work in memory.", status.n_open_in_memory);
    page.gauge("trapjaw_open_bytes", "About how many bytes they hold.", status.open_bytes_in_memory);
    page.head("trapjaw_connection_sending", "Sends under way by connection.", "gauge");
    for door in &status.connections {
        page.line("trapjaw_connection_sending", &[("connection", &door.name)], door.n_sending);
    }
    page.head("trapjaw_connection_open", "Whether sends of the connection may go out.", "gauge");
    for door in &status.connections {
        let is_open = connection_state(false, Some(door)) == "enabled";
        page.line("trapjaw_connection_open", &[("connection", &door.name)], u8::from(is_open));
    }
}

fn store(page: &mut MetricsPage, app: &App) {
    let gauges = app.store.gauges();
    page.gauge("trapjaw_store_queued_calls", "Calls that wait for the store's writer.", gauges.queued);
    page.counter("trapjaw_store_commits_total", "Transactions on stable storage.", gauges.commits);
    page.counter("trapjaw_store_calls_total", "Calls that the transactions carried.", gauges.calls);
    page.counter("trapjaw_store_commands_total", "Commands that the transactions carried.", gauges.commands);
    page.counter("trapjaw_store_checkpoints_total", "Checkpoints of the store.", gauges.checkpoints);
    page.gauge("trapjaw_store_wal_bytes", "Bytes of the log that are not yet in the database.", gauges.wal_bytes);
    page.head("trapjaw_store_commit_seconds", "How long commits took.", "histogram");
    let mut count = 0;
    for (bound, n) in &gauges.commit_times {
        count += n;
        let is_open = bound.as_secs() > 1_000_000;
        let bound = if is_open { "+Inf".to_owned() } else { bound.as_secs_f64().to_string() };
        page.line("trapjaw_store_commit_seconds_bucket", &[("le", &bound)], count);
    }
    page.line("trapjaw_store_commit_seconds_sum", &[], gauges.commit_time.as_secs_f64());
    page.line("trapjaw_store_commit_seconds_count", &[], count);
}

fn sandbox(page: &mut MetricsPage, app: &App) {
    let gauges = app.desk.composer().sandbox().gauges();
    let lanes: [(&str, LaneGauges); 2] = [("condition", gauges.conditions), ("action", gauges.actions)];
    page.head("trapjaw_plugin_calls_running", "Calls of plugins under way.", "gauge");
    for (world, lane) in lanes {
        page.line("trapjaw_plugin_calls_running", &[("world", world)], lane.n_running);
    }
    page.head("trapjaw_plugin_calls_waiting", "Calls of plugins that wait for a place.", "gauge");
    for (world, lane) in lanes {
        page.line("trapjaw_plugin_calls_waiting", &[("world", world)], lane.n_waiting);
    }
    page.gauge("trapjaw_plugins_loaded", "Components that can be called.", gauges.n_plugins);
    page.gauge("trapjaw_plugin_instances", "Instances in the pool.", gauges.n_instances);
    page.gauge("trapjaw_plugin_warm_bytes", "Bytes that free memories of the pool still hold.", gauges.warm_bytes);
}

/// A page of metrics while it is written.
#[derive(Default)]
struct MetricsPage(String);

impl MetricsPage {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "counter");
        self.line(name, &[], value);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.write(format_args!("{name}"));
        for (n, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.write(format_args!("{}{label}=\"{text}\"", if n == 0 { '{' } else { ',' }));
        }
        self.write(format_args!("{} {value}\n", if labels.is_empty() { "" } else { "}" }));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = MetricsPage::default();
        page.line("m", &[("a", "x\"\\\n"), ("b", "y")], 1);
        page.gauge("g", "Help.", 2.5);
        assert_eq!(page.0, "m{a=\"x\\\"\\\\\\n\",b=\"y\"} 1\n# HELP g Help.\n# TYPE g gauge\ng 2.5\n");
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes() > 1 << 20);
    }
}
