//! Runs as they are kept, and the end of one by a person.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::Deserialize;
use trapjaw_engine::id::{EventId, RunId};
use trapjaw_engine::ports::{RunFilter, RunView};
use trapjaw_engine::record::RunState;
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::read_time;
use super::page::{Items, read_id, read_page, read_query};
use super::view::RunBody;
use crate::pass::Act;

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunQuery {
    /// Of this trigger.
    trigger: Option<String>,
    /// In this state.
    state: Option<String>,
    /// Of this event, `evt_…`.
    event: Option<String>,
    /// About this subject.
    subject: Option<String>,
    /// Begun at or after this time.
    since: Option<String>,
    /// Begun before this time.
    until: Option<String>,
    /// The most rows.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// List runs with their tasks, newest first.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", params(RunQuery), responses((status = 200, body = Items<RunBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<RunBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: RunQuery = read_query(query.as_deref())?;
    let page = read_page::<RunId>(query.limit, query.cursor.as_deref(), RunId::seq)?;
    let filter = RunFilter {
        trigger: query.trigger,
        state: query.state.as_deref().map(read_state).transpose()?,
        event: query.event.as_deref().map(|event| read_id::<EventId>("event", event)).transpose()?,
        subject: query.subject,
        since: read_time("since", query.since.as_deref())?,
        until: read_time("until", query.until.as_deref())?,
    };
    let mut rows = app.ledger.runs(filter, page).await?;
    note_holds(&app, &mut rows).await;
    let show = |row: RunView| caller.token.covers(&row.trigger).then(|| row.into());
    Ok(Json(Items::page(rows, page.rows_max, |row| row.id.to_string(), show)))
}

/// Show one run with its tasks, their attempts and sends.
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", params(("id" = String, Path)), responses((status = 200, body = RunBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RunBody>, ApiError> {
    let mut run = find(&app, &id).await?;
    caller.may_on(Act::Read, &run.trigger)?;
    note_holds(&app, std::slice::from_mut(&mut run)).await;
    Ok(Json(run.into()))
}

/// Shows what holds tasks back that their stored states do not say: a paused trigger, an earlier run of their key, or
/// a connection that is paused, failing or at its rate.
async fn note_holds(app: &App, runs: &mut [RunView]) {
    let running: Vec<RunId> = runs.iter().filter(|run| run.state == RunState::Running).map(|run| run.id).collect();
    if running.is_empty() {
        return;
    }
    let held = app.engine.holds(running).await;
    for run in runs.iter_mut().filter(|run| run.state == RunState::Running) {
        for task in &mut run.tasks {
            if let Some((_, state)) = held.iter().find(|(id, _)| *id == task.id) {
                task.progress.state = *state;
            }
        }
        run.state = RunState::of_tasks(run.tasks.iter().map(|task| task.progress.state));
    }
}

/// Cancel the open tasks of a run.
#[utoipa::path(post, path = "/v1/runs/{id}/cancel", tag = "runs", params(("id" = String, Path)), responses((status = 200, body = RunBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<RunBody>, ApiError> {
    let run = find(&app, &id).await?;
    caller.may_on(Act::Operate, &run.trigger)?;
    if !app.engine.cancel(run.id, &caller.name).await {
        return Err(ApiError::new(axum::http::StatusCode::CONFLICT, format!("run {id} is over already")));
    }
    Ok(Json(find(&app, &id).await?.into()))
}

async fn find(app: &App, id: &str) -> Result<RunView, ApiError> {
    let id: RunId = read_id("id", id)?;
    app.ledger.run(id).await?.ok_or_else(|| ApiError::missing(format_args!("run {id}")))
}

fn read_state(text: &str) -> Result<RunState, ApiError> {
    let known = RunState::ALL.into_iter().find(|state| state.word() == text);
    known.ok_or_else(|| {
        let words: Vec<&str> = RunState::ALL.iter().map(|state| state.word()).collect();
        ApiError::bad_at("state", format!("one of {} is expected", words.join(", ")))
    })
}
