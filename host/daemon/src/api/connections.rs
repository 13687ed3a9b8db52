//! Connections. Credentials go in and never come out. A URL is no credential and is shown: what of it is secret belongs
//! into a secret, which the URL names as `{{ secret.NAME }}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use trapjaw_engine::ports::Refusal;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::credentials;
use super::error::{ApiError, ProblemBody};
use super::events::PageQuery;
use super::objects::{remove_object, save_object};
use super::page::{Items, read_limit, read_query};
use super::path::Path;
use super::precondition::{Precondition, versioned};
use crate::config::document::read_connection;
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Draft, Installation, Kind, Standing};
use crate::pass::Act;

/// A connection.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionBody {
    /// Its name.
    name: String,
    /// Its version.
    version: i64,
    /// Its kind.
    kind: String,
    /// Whether it works: `enabled` or `paused`.
    state: &'static str,
    /// The definition; credentials are shown as `(write-only)`.
    #[schema(value_type = Object)]
    definition: Map<String, Value>,
    /// Who made this version.
    actor: String,
    /// When.
    at: String,
}

/// What a test of a connection came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct TestBody {
    /// Whether the remote can be reached and takes our credentials.
    ok: bool,
    /// Why not.
    message: Option<String>,
    /// Whether another try may help.
    retry: Option<bool>,
    /// The HTTP status, where the protocol has one.
    status: Option<u16>,
}

/// List connections, in order of name.
#[utoipa::path(get, path = "/v1/connections", tag = "connections", params(PageQuery), responses((status = 200, body = Items<ConnectionBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<ConnectionBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let now = app.desk.current();
    let covered = now.connections.iter().filter(|(name, _)| caller.token.covers(name));
    Ok(Json(Items::of_names(covered, read_limit(query.limit)?, query.cursor.as_deref(), body)))
}

/// Show one connection, without its credentials.
#[utoipa::path(get, path = "/v1/connections/{name}", tag = "connections", params(("name" = String, Path)), responses((status = 200, body = ConnectionBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller, Path(name): Path) -> Result<Response, ApiError> {
    caller.may_on(Act::Read, &name)?;
    answer(&app.desk.current(), &name, StatusCode::OK)
}

/// Save a connection, whole. What of its URL is secret is shown like the rest, unless it stands in a secret that the URL
/// names as `{{ secret.NAME }}`.
#[utoipa::path(put, path = "/v1/connections/{name}", tag = "connections", params(("name" = String, Path)), request_body = Object, responses((status = 200, body = ConnectionBody), (status = 201, body = ConnectionBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    let (now, status) = save_object(&app, caller, (Kind::Connection, &name), &headers, body, read_connection).await?;
    answer(&now, &name, status)
}

/// Remove a connection that no trigger and no grant names.
#[utoipa::path(delete, path = "/v1/connections/{name}", tag = "connections", params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    remove_object(&app, caller, Kind::Connection, name, &headers).await
}

/// Test whether the remote can be reached and takes our credentials, without an effect there.
#[utoipa::path(post, path = "/v1/connections/{name}/test", tag = "connections", params(("name" = String, Path)), responses((status = 200, body = TestBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
) -> Result<Json<TestBody>, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    let tested = app.engine.probe(&name).await.ok_or_else(|| ApiError::missing(format_args!("connection {name}")))?;
    Ok(Json(match tested {
        Ok(()) => TestBody { ok: true, message: None, retry: None, status: None },
        Err(err) => TestBody {
            ok: false,
            retry: Some(matches!(err.refusal, Refusal::Retry(_))),
            status: err.status,
            message: Some(err.message),
        },
    }))
}

/// Let the sends of a connection wait; nothing is lost. Takes `If-Match`.
#[utoipa::path(post, path = "/v1/connections/{name}/pause", tag = "connections", params(("name" = String, Path)), responses((status = 200, body = ConnectionBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    set_paused(&app, caller, (name, &headers), true).await
}

/// Let a paused connection go on. Takes `If-Match`.
#[utoipa::path(post, path = "/v1/connections/{name}/resume", tag = "connections", params(("name" = String, Path)), responses((status = 200, body = ConnectionBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    set_paused(&app, caller, (name, &headers), false).await
}

async fn set_paused(
    app: &App,
    caller: Caller,
    (name, headers): (String, &HeaderMap),
    paused: bool,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    let condition = Precondition::read(headers)?;
    let setting = name.clone();
    let changed = app
        .desk
        .change(caller.name, move |now| {
            let connection = now.connections.get(&*setting);
            let connection = connection.ok_or_else(|| ChangeError::Missing(format!("connection {setting}")))?;
            condition.check(connection.version)?;
            let mut body = connection.body.clone();
            body.insert("paused".into(), paused.into());
            Ok(vec![Draft { name: setting.into(), body: Says::Connection(body) }])
        })
        .await?;
    answer(&changed.after, &name, StatusCode::OK)
}

fn answer(now: &Installation, name: &str, status: StatusCode) -> Result<Response, ApiError> {
    let found = now.connections.get_key_value(name);
    let (name, connection) = found.ok_or_else(|| ApiError::missing(format_args!("connection {name}")))?;
    Ok(versioned(status, connection.version, &body(name, connection)))
}

fn body(name: &Arc<str>, connection: &Standing<Map<String, Value>>) -> ConnectionBody {
    let value = |key: &str| connection.body.get(key);
    ConnectionBody {
        name: name.to_string(),
        version: connection.version,
        kind: value("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
        state: if value("paused").and_then(Value::as_bool).unwrap_or(false) { "paused" } else { "enabled" },
        definition: credentials::hide(&connection.body),
        actor: connection.actor.to_string(),
        at: connection.at.to_string(),
    }
}
