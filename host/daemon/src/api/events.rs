//! Events as they are kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Deserialize;
use serde_json::Value;
use trapjaw_engine::evaluation::{Evaluation, VerdictWord, note_refused, read_evaluations};
use trapjaw_engine::id::{EventId, RunId};
use trapjaw_engine::ports::{EventFilter, EventView, Page, RunFilter, RunView};
use trapjaw_engine::time::Time;
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::page::{Items, read_id, read_page, read_query};
use super::path::Path;
use super::runs::note_holds;
use super::view::{EventBody, RunBody};
use crate::pass::Act;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Of this CloudEvents source.
    source: Option<String>,
    /// With this CloudEvents id.
    id: Option<String>,
    /// Of this type.
    r#type: Option<String>,
    /// Taken at or after this time.
    since: Option<String>,
    /// Taken before this time.
    until: Option<String>,
    /// The most rows.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// List events, newest first. Events are for every token that may read; what triggers made of them is shown for the
/// triggers that the token covers.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventQuery), responses((status = 200, body = Items<EventBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<EventBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: EventQuery = read_query(query.as_deref())?;
    let page = read_page::<EventId>(query.limit, query.cursor.as_deref(), EventId::seq)?;
    let filter = EventFilter {
        source: query.source,
        id: query.id,
        kind: query.r#type,
        since: read_time("since", query.since.as_deref())?,
        until: read_time("until", query.until.as_deref())?,
    };
    let found = app.ledger.events(filter, page).await?;
    let mut evaluations = std::collections::VecDeque::with_capacity(found.rows.len());
    for row in &found.rows {
        evaluations.push_back(evaluations_of(&app, &caller, row).await?);
    }
    let show = |row| Some(EventBody::new(row, evaluations.pop_front().unwrap_or_default()));
    Ok(Json(Items::rows(found, |row| row.id.to_string(), show)))
}

/// Show one event.
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", params(("id" = String, Path)), responses((status = 200, body = EventBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<EventBody>, ApiError> {
    caller.may(Act::Read)?;
    let view = find(&app, &id).await?;
    let evaluations = evaluations_of(&app, &caller, &view).await?;
    Ok(Json(EventBody::new(view, evaluations)))
}

/// List what each trigger whose pattern matched made of the event.
#[utoipa::path(get, path = "/v1/events/{id}/evaluations", tag = "events", params(("id" = String, Path)), responses((status = 200, body = Items<Object>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn evaluations(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
) -> Result<Json<Items<Value>>, ApiError> {
    caller.may(Act::Read)?;
    let event = find(&app, &id).await?;
    let mut evaluations = evaluations_of(&app, &caller, &event).await?;
    // What was judged after the event was stored stands with the runs.
    let runs = runs_of(&app, event.id).await?;
    let covered = runs.iter().filter(|run| caller.token.covers(&run.trigger));
    evaluations.extend(covered.flat_map(|run| read_evaluations(&run.evaluation)));
    Ok(Json(Items::all(evaluations.iter().map(|one| serde_json::to_value(one).unwrap_or_default()).collect())))
}

/// List the runs that the event caused.
#[utoipa::path(get, path = "/v1/events/{id}/runs", tag = "events", params(("id" = String, Path), PageQuery), responses((status = 200, body = Items<RunBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn runs(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<RunBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let event = find(&app, &id).await?;
    let page = read_page::<RunId>(query.limit, query.cursor.as_deref(), RunId::seq)?;
    let filter = RunFilter { event: Some(event.id), ..RunFilter::default() };
    let mut found = app.ledger.runs(filter, page).await?;
    note_holds(&app, &mut found.rows).await;
    let show = |row: RunView| caller.token.covers(&row.trigger).then(|| row.into());
    Ok(Json(Items::rows(found, |row| row.id.to_string(), show)))
}

/// Which page of a listing.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The most rows.
    pub(crate) limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// The most runs of an event whose evaluations are shown with it.
const RUNS_MAX: u32 = 1_000;

/// The event with this id.
pub(crate) async fn find(app: &App, id: &str) -> Result<EventView, ApiError> {
    find_view(app, read_id("id", id)?).await
}

/// The event with this id, once it is read.
pub(crate) async fn find_view(app: &App, id: EventId) -> Result<EventView, ApiError> {
    app.ledger.event(id).await?.ok_or_else(|| ApiError::missing(format_args!("event {id}")))
}

/// Reads a time of a query.
pub(crate) fn read_time(path: &str, text: Option<&str>) -> Result<Option<Time>, ApiError> {
    let read = |text: &str| Time::parse(text).ok_or_else(|| ApiError::bad_at(path, "a time of RFC 3339 is expected"));
    text.map(read).transpose()
}

/// What each trigger that the caller's token covers, and whose pattern matched, made of the event when it was taken;
/// what a cap refused did not match.
pub(crate) async fn evaluations_of(app: &App, caller: &Caller, event: &EventView) -> Result<Vec<Evaluation>, ApiError> {
    let mut evaluations = read_evaluations(&event.evaluations);
    let wanted = evaluations.iter().filter(|one| one.verdict != VerdictWord::NotMatched).count();
    let made = event.runs.map_or(0, |(_, count)| count as usize);
    if made < wanted && made < RUNS_MAX as usize {
        let runs = runs_of(app, event.id).await?;
        let is_of = |run: &RunView, trigger: &str, subject: &str| *run.trigger == *trigger && *run.subject == *subject;
        note_refused(&mut evaluations, |trigger, subject| runs.iter().any(|run| is_of(run, trigger, subject)));
    }
    evaluations.retain(|evaluation| caller.token.covers(&evaluation.trigger));
    Ok(evaluations)
}

/// The event's runs, the newest [`RUNS_MAX`] of them. A page of the store may be cut before, where it grew too large; a
/// run that it left out is not one that was refused.
async fn runs_of(app: &App, event: EventId) -> Result<Vec<RunView>, ApiError> {
    let filter = RunFilter { event: Some(event), ..RunFilter::default() };
    let mut runs: Vec<RunView> = Vec::new();
    loop {
        let rows_max = RUNS_MAX.saturating_sub(u32::try_from(runs.len()).unwrap_or(RUNS_MAX));
        let before = runs.last().map(|run| run.id.seq());
        if rows_max == 0 {
            return Ok(runs);
        }
        let page = app.ledger.runs(filter.clone(), Page { before, rows_max }).await?;
        runs.extend(page.rows);
        if page.is_all {
            return Ok(runs);
        }
    }
}
