//! Whether the daemon lives, whether it takes work, and how it stands.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use trapjaw_engine::deliver::DoorView;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::metrics::resident_bytes;
use crate::pass::Act;

/// How the daemon stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusBody {
    /// The program's version.
    program: &'static str,
    /// The revision of the configuration in force.
    revision: i64,
    /// How many triggers are defined.
    triggers: usize,
    /// How many plugins are known.
    plugins: usize,
    /// Events that were taken since the start.
    events_accepted: u64,
    /// Events that were there already.
    events_duplicate: u64,
    /// Runs that began.
    runs: u64,
    /// Attempts that succeeded.
    attempts_succeeded: u64,
    /// Attempts that failed and are made again.
    attempts_failed: u64,
    /// Tasks that became dead letters.
    tasks_dead: u64,
    /// Runs with open work in memory.
    open_runs: u64,
    /// About how many bytes they hold.
    open_bytes: u64,
    /// Calls that wait for the store's writer.
    store_queued: u64,
    /// Bytes of the store's log that are not yet in the database.
    wal_bytes: u64,
    /// The memory that the process holds.
    resident_bytes: u64,
    /// The connections.
    connections: Vec<ConnectionStatus>,
    /// The triggers with open work.
    lanes: Vec<LaneStatus>,
}

/// How a connection stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionStatus {
    /// Its name.
    name: String,
    /// Its kind.
    kind: String,
    /// `enabled`, or what holds its sends back: `paused`, `unauthorized`, `breaker` or `rate`.
    state: &'static str,
    /// Sends under way.
    sending: u32,
}

/// A trigger with open work.
#[derive(Serialize, ToSchema)]
pub(crate) struct LaneStatus {
    /// The trigger.
    trigger: String,
    /// Runs in memory.
    runs: usize,
    /// Tasks that could start now.
    ready: usize,
    /// Attempts under way.
    busy: u32,
    /// Whether there is more in the store.
    more: bool,
}

/// Say that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = String)))]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Say whether the daemon takes work.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses((status = 200, body = String), (status = 503, body = ProblemBody)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    if app.ready.load(Ordering::Relaxed) {
        return Ok("ready\n");
    }
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping"))
}

/// Show how the daemon stands: its counts as a whole, and the connections and triggers that the token covers.
#[utoipa::path(get, path = "/v1/status", tag = "health", responses((status = 200, body = StatusBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn status(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<StatusBody>, ApiError> {
    caller.may(Act::Read)?;
    let (installation, plan, store) = (app.desk.current(), app.engine.plan(), app.store.gauges());
    let engine = app.engine.status().await;
    let covered = plan.connections().filter(|connection| caller.token.covers(&connection.name));
    let connections = covered.map(|connection| {
        let door = engine.connections.iter().find(|door| door.name == connection.name);
        ConnectionStatus {
            name: connection.name.to_string(),
            kind: connection.kind.to_string(),
            state: connection_state(connection.is_paused, door),
            sending: door.map_or(0, |door| door.n_sending),
        }
    });
    let covered = engine.lanes.iter().filter(|lane| caller.token.covers(&lane.trigger));
    let lanes = covered.map(|lane| LaneStatus {
        trigger: lane.trigger.to_string(),
        runs: lane.n_runs,
        ready: lane.n_ready,
        busy: lane.n_busy,
        more: lane.has_more,
    });
    Ok(Json(StatusBody {
        program: env!("CARGO_PKG_VERSION"),
        revision: plan.revision(),
        triggers: plan.triggers().len(),
        plugins: installation.plugins.len(),
        events_accepted: engine.n_accepted,
        events_duplicate: engine.n_duplicates,
        runs: engine.n_runs,
        attempts_succeeded: engine.n_succeeded,
        attempts_failed: engine.n_failed,
        tasks_dead: engine.n_dead,
        open_runs: engine.n_open_in_memory,
        open_bytes: engine.open_bytes_in_memory,
        store_queued: store.queued,
        wal_bytes: store.wal_bytes,
        resident_bytes: resident_bytes(),
        connections: connections.collect(),
        lanes: lanes.collect(),
    }))
}

/// The word for what holds a connection's sends back.
pub(crate) fn connection_state(is_paused: bool, door: Option<&DoorView>) -> &'static str {
    if is_paused {
        return "paused";
    }
    match door {
        Some(door) if door.is_unauthorized => "unauthorized",
        Some(door) => door.blocked.and_then(|state| state.words().1).unwrap_or("enabled"),
        None => "enabled",
    }
}
