//! Runs as they are kept, and the end of one by a person.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Deserialize;
use trapjaw_engine::id::{EventId, RunId};
use trapjaw_engine::ports::{Page, Rows, RunFilter, RunView};
use trapjaw_engine::record::RunState;
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::read_time;
use super::page::{Items, read_id, read_page, read_query};
use super::path::Path;
use super::view::RunBody;
use crate::pass::Act;

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunQuery {
    /// Of this trigger.
    trigger: Option<String>,
    /// In this state, as it is shown. Those that were judged after their event was stored, and did not match, are
    /// listed only where this or the event is given.
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
    let state = query.state.as_deref().map(read_state).transpose()?;
    let filter = RunFilter {
        trigger: query.trigger,
        state,
        event: query.event.as_deref().map(|event| read_id::<EventId>("event", event)).transpose()?,
        subject: query.subject,
        since: read_time("since", query.since.as_deref())?,
        until: read_time("until", query.until.as_deref())?,
    };
    let is_shown = |run: &RunView| match state {
        Some(state) => run.state == state,
        None => run.state != RunState::NotMatched || filter.event.is_some(),
    };
    let mut items: Vec<RunBody> = Vec::new();
    let mut next = page;
    for _ in 0..PAGES_MAX {
        let Rows { mut rows, is_all } = read_rows(&app, &filter, next).await?;
        let is_cut = !is_all && rows.len() < next.rows_max as usize;
        note_holds(&app, &mut rows).await;
        next.before = rows.last().map(|row| row.id.seq());
        for row in rows {
            let id = row.id;
            if is_shown(&row) && caller.token.covers(&row.trigger) {
                items.push(row.into());
            }
            if items.len() >= page.rows_max as usize {
                return Ok(Json(Items { items, next: Some(id.to_string()) }));
            }
        }
        if is_all {
            return Ok(Json(Items::all(items)));
        }
        // The store's page was as large as one may be: what is shown of it is no smaller with another one beside it.
        if is_cut {
            break;
        }
    }
    Ok(Json(Items { items, next: next.before.map(|seq| RunId::of(seq).to_string()) }))
}

/// The most pages of the store that are looked through for one of ours: what is shown as waiting may be rare among
/// what is stored as running. A page that is not full then still has a next one.
const PAGES_MAX: usize = 20;

/// Runs that may be shown in the wanted state: whether a stored one waits is known only when it is looked at closely.
async fn read_rows(app: &App, filter: &RunFilter, page: Page) -> Result<Rows<RunView>, ApiError> {
    let found = app.ledger.runs(filter.clone(), page).await?;
    if filter.state != Some(RunState::Waiting) {
        return Ok(found);
    }
    let running = RunFilter { state: Some(RunState::Running), ..filter.clone() };
    let running = app.ledger.runs(running, page).await?;
    // Where one of them was cut, the other may not go further: the next page begins there.
    let end = |found: &Rows<RunView>| found.rows.last().filter(|_| !found.is_all).map(|row| row.id);
    let (end, is_all) = (end(&found).max(end(&running)), found.is_all && running.is_all);
    let mut rows = found.rows;
    rows.extend(running.rows);
    rows.retain(|row| end.is_none_or(|end| row.id >= end));
    rows.sort_by_key(|row| Reverse(row.id));
    rows.dedup_by_key(|row| row.id);
    Ok(Rows { rows, is_all })
}

/// Show one run with its tasks, their attempts and sends.
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", params(("id" = String, Path)), responses((status = 200, body = RunBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<RunBody>, ApiError> {
    let mut run = find(&app, &caller, Act::Read, &id).await?;
    note_holds(&app, std::slice::from_mut(&mut run)).await;
    Ok(Json(run.into()))
}

/// Shows what holds tasks back that their stored states do not say: a paused trigger, an earlier run of their key, or
/// a connection that is paused, failing or at its rate.
pub(crate) async fn note_holds(app: &App, runs: &mut [RunView]) {
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
    Path(id): Path,
) -> Result<Json<RunBody>, ApiError> {
    let run = find(&app, &caller, Act::Operate, &id).await?;
    if !app.engine.cancel(run.id, &caller.name).await {
        return Err(ApiError::new(axum::http::StatusCode::CONFLICT, format!("run {id} is over already")));
    }
    Ok(Json(find(&app, &caller, Act::Operate, &id).await?.into()))
}

/// The run with this id. To a token that does not cover its trigger there is none.
async fn find(app: &App, caller: &Caller, act: Act, id: &str) -> Result<RunView, ApiError> {
    caller.may(act)?;
    let id: RunId = read_id("id", id)?;
    let run = app.ledger.run(id).await?.filter(|run| caller.token.covers(&run.trigger));
    run.ok_or_else(|| ApiError::missing(format_args!("run {id}")))
}

fn read_state(text: &str) -> Result<RunState, ApiError> {
    let known = RunState::ALL.into_iter().find(|state| state.word() == text);
    known.ok_or_else(|| {
        let words: Vec<&str> = RunState::ALL.iter().map(|state| state.word()).collect();
        ApiError::bad_at("state", format!("one of {} is expected", words.join(", ")))
    })
}
