//! Single tasks: a dead one is tried again, or dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{DeadFilter, Page};

use super::App;
use super::auth::Caller;
use super::dead::Moved;
use super::error::{ApiError, ProblemBody};
use super::page::read_id;
use crate::pass::Act;

/// Try a dead task again, under the same id and the same idempotency keys.
#[utoipa::path(post, path = "/v1/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Moved>, ApiError> {
    let task = find(&app, &caller, &id).await?;
    moved(app.engine.redrive(vec![task], &caller.name).await?, &id)
}

/// Drop a dead task, with the tasks that need it.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Moved>, ApiError> {
    let task = find(&app, &caller, &id).await?;
    moved(app.engine.discard(vec![task], &caller.name).await?, &id)
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<TaskId, ApiError> {
    caller.may(Act::Operate)?;
    let task: TaskId = read_id("id", id)?;
    let filter = DeadFilter { tasks: vec![task], ..DeadFilter::default() };
    let dead = app.ledger.dead(filter, Page { before: None, rows_max: 1 }).await?;
    let dead = dead.first().ok_or_else(|| ApiError::missing(format_args!("dead task {id}")))?;
    caller.covers(&dead.trigger)?;
    Ok(task)
}

fn moved(count: u32, id: &str) -> Result<Json<Moved>, ApiError> {
    if count == 0 {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("task {id} is not dead any more")));
    }
    Ok(Json(Moved { count }))
}
