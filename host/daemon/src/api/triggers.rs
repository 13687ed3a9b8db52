//! Triggers: saved whole, switched, listed with their versions.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use trapjaw_engine::definition::{Switch, Trigger};
use trapjaw_engine::ports::Page;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::PageQuery;
use super::objects::{remove_object, save_object};
use super::page::{Items, read_limit, read_page, read_query};
use super::path::Path;
use super::precondition::{Precondition, versioned};
use crate::config::document::read_trigger;
use crate::desk::ChangeError;
use crate::installation::{self, Body as Says, Draft, Installation, Kind, Standing};
use crate::pass::Act;

/// A trigger.
#[derive(Serialize, ToSchema)]
pub(crate) struct TriggerBody {
    /// Its name.
    name: String,
    /// Its version.
    version: i64,
    /// Whether it works: `enabled`, `paused` or `disabled`.
    state: String,
    /// What it is for.
    description: Option<String>,
    /// The definition.
    #[schema(value_type = Object)]
    definition: Value,
    /// Who made this version.
    actor: String,
    /// When.
    at: String,
}

/// A version of a trigger.
#[derive(Serialize, ToSchema)]
pub(crate) struct TriggerVersion {
    /// The version.
    version: i64,
    /// The revision of the configuration that brought it.
    revision: i64,
    /// Who made it.
    actor: String,
    /// When.
    at: String,
    /// Whether it is the trigger's removal.
    removed: bool,
    /// The definition; null for a removal.
    #[schema(value_type = Object)]
    definition: Option<Value>,
}

/// List triggers, in order of name.
#[utoipa::path(get, path = "/v1/triggers", tag = "triggers", params(PageQuery), responses((status = 200, body = Items<TriggerBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<TriggerBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let now = app.desk.current();
    let covered = now.triggers.iter().filter(|(name, _)| caller.token.covers(name));
    Ok(Json(Items::of_names(covered, read_limit(query.limit)?, query.cursor.as_deref(), body)))
}

/// Show one trigger.
#[utoipa::path(get, path = "/v1/triggers/{name}", tag = "triggers", params(("name" = String, Path)), responses((status = 200, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller, Path(name): Path) -> Result<Response, ApiError> {
    caller.may_on(Act::Read, &name)?;
    answer(&app.desk.current(), &name, StatusCode::OK)
}

/// Save a trigger, whole. What it does not say about its state stays as it is.
#[utoipa::path(put, path = "/v1/triggers/{name}", tag = "triggers", params(("name" = String, Path)), request_body = Object, responses((status = 200, body = TriggerBody), (status = 201, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Define, &name)?;
    let (now, status) = save_object(&app, caller, (Kind::Trigger, &name), &headers, body, read_trigger).await?;
    answer(&now, &name, status)
}

/// Remove a trigger. Its open tasks are cancelled.
#[utoipa::path(delete, path = "/v1/triggers/{name}", tag = "triggers", params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.may_on(Act::Define, &name)?;
    remove_object(&app, caller, Kind::Trigger, name, &headers).await
}

/// Let a trigger work.
#[utoipa::path(post, path = "/v1/triggers/{name}/enable", tag = "triggers", params(("name" = String, Path)), responses((status = 200, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    switch(&app, caller, (name, &headers), Switch::Enabled).await
}

/// Let a trigger make no more runs; those begun end.
#[utoipa::path(post, path = "/v1/triggers/{name}/disable", tag = "triggers", params(("name" = String, Path)), responses((status = 200, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    switch(&app, caller, (name, &headers), Switch::Disabled).await
}

/// Let a trigger's runs wait; nothing is lost.
#[utoipa::path(post, path = "/v1/triggers/{name}/pause", tag = "triggers", params(("name" = String, Path)), responses((status = 200, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    switch(&app, caller, (name, &headers), Switch::Paused).await
}

/// Let a paused trigger go on.
#[utoipa::path(post, path = "/v1/triggers/{name}/resume", tag = "triggers", params(("name" = String, Path)), responses((status = 200, body = TriggerBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    switch(&app, caller, (name, &headers), Switch::Enabled).await
}

/// List a trigger's versions, newest first.
#[utoipa::path(get, path = "/v1/triggers/{name}/versions", tag = "triggers", params(("name" = String, Path), PageQuery), responses((status = 200, body = Items<TriggerVersion>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<TriggerVersion>>, ApiError> {
    caller.may_on(Act::Read, &name)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let page: Page = read_page::<i64>(query.limit, query.cursor.as_deref(), |version| version)?;
    let rows = app.catalog.history(Kind::Trigger.word(), &name, page).await?;
    if rows.is_empty() && query.cursor.is_none() {
        return Err(ApiError::missing(format_args!("trigger {name}")));
    }
    Ok(Json(Items::page(
        rows,
        page.rows_max,
        |row| row.version.to_string(),
        |row| {
            let definition = installation::read_trigger(&row).and_then(|trigger| serde_json::to_value(trigger).ok());
            Some(TriggerVersion {
                version: row.version,
                revision: row.revision,
                actor: row.actor.to_string(),
                at: row.at.to_string(),
                removed: row.removed,
                definition: definition.filter(|_| !row.removed),
            })
        },
    )))
}

async fn switch(
    app: &App,
    caller: Caller,
    (name, headers): (String, &HeaderMap),
    to: Switch,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Define, &name)?;
    let condition = Precondition::read(headers)?;
    let switching = name.clone();
    let changed = app
        .desk
        .change(caller.name, move |now| {
            let trigger = now.triggers.get(&*switching);
            let trigger = trigger.ok_or_else(|| ChangeError::Missing(format!("trigger {switching}")))?;
            condition.check(trigger.version)?;
            let body = Trigger { state: Some(to), ..trigger.body.clone() };
            Ok(vec![Draft { name: switching.into(), body: Says::Trigger(Box::new(body)) }])
        })
        .await?;
    answer(&changed.after, &name, StatusCode::OK)
}

fn answer(now: &Installation, name: &str, status: StatusCode) -> Result<Response, ApiError> {
    let (name, trigger) =
        now.triggers.get_key_value(name).ok_or_else(|| ApiError::missing(format_args!("trigger {name}")))?;
    Ok(versioned(status, trigger.version, &body(name, trigger)))
}

fn body(name: &Arc<str>, trigger: &Standing<Trigger>) -> TriggerBody {
    let state = serde_json::to_value(trigger.body.state.unwrap_or(Switch::Enabled)).unwrap_or_default();
    TriggerBody {
        name: name.to_string(),
        version: trigger.version,
        state: state.as_str().unwrap_or_default().to_owned(),
        description: trigger.body.description.clone(),
        definition: serde_json::to_value(&trigger.body).unwrap_or_default(),
        actor: trigger.actor.to_string(),
        at: trigger.at.to_string(),
    }
}
