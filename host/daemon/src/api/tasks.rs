//! Single tasks: a dead one is tried again, or dropped.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{DeadFilter, Page, RunView, Store, WorkPage};
use trapjaw_engine::time::Time;

use super::App;
use super::auth::Caller;
use super::dead::Moved;
use super::error::{ApiError, ProblemBody};
use super::page::read_id;
use super::path::Path;
use crate::pass::Act;

/// Try a dead task again, under the same id and the same idempotency keys.
#[utoipa::path(post, path = "/v1/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<Moved>, ApiError> {
    let task = find(&app, &caller, &id).await?;
    moved(app.engine.redrive(vec![task], &caller.name).await?, &id)
}

/// Drop a dead task, with the tasks that need it. One that is not dead is cancelled with its run: 409 names it.
#[utoipa::path(post, path = "/v1/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path)), responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<Moved>, ApiError> {
    let task = find(&app, &caller, &id).await?;
    moved(app.engine.discard(vec![task], &caller.name).await?, &id)
}

/// The dead task with this id. To a token that does not cover its trigger there is none.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<TaskId, ApiError> {
    caller.may(Act::Operate)?;
    let task: TaskId = read_id("id", id)?;
    let filter = DeadFilter { tasks: vec![task], ..DeadFilter::default() };
    let dead = app.ledger.dead(filter, Page { before: None, rows_max: 1 }).await?;
    if dead.iter().any(|dead| caller.token.covers(&dead.trigger)) {
        return Ok(task);
    }
    match find_open(app, task).await?.filter(|run| caller.token.covers(&run.trigger)) {
        Some(run) => {
            let detail = format!("task {id} is not dead; with its run {} it can be cancelled", run.id);
            Err(ApiError::new(StatusCode::CONFLICT, detail))
        }
        None => Err(ApiError::missing(format_args!("dead task {id}"))),
    }
}

/// The run whose open task it is.
async fn find_open(app: &App, task: TaskId) -> Result<Option<RunView>, ApiError> {
    let page = WorkPage::After { task: task.seq() - 1, trigger: None, due_max: Time(i64::MAX), runs_max: 1 };
    let work = app.store.work(page).await?;
    Ok(work.runs.into_iter().find(|run| run.tasks.iter().any(|other| other.id == task)))
}

fn moved(count: u32, id: &str) -> Result<Json<Moved>, ApiError> {
    if count == 0 {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("task {id} is not dead any more")));
    }
    Ok(Json(Moved { count }))
}
