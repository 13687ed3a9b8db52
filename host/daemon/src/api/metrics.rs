//! `GET /metrics`: counters and gauges as Prometheus reads them.

pub(crate) mod table;

mod page;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use self::table::Reading;
use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use crate::pass::Act;

/// Show counters and gauges in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, content_type = "text/plain", body = String), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller) -> Result<impl IntoResponse, ApiError> {
    caller.may(Act::Read)?;
    let reading = Reading {
        engine: app.engine.status().await,
        store: app.store.gauges(),
        sandbox: app.desk.composer().sandbox().gauges(),
        resident_bytes: resident_bytes(),
        revision: app.engine.plan().revision(),
    };
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], page::write(table::ALL, &reading)))
}

/// The memory that the process holds, in bytes; 0 where the system does not tell.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes() > 1 << 20);
    }
}
