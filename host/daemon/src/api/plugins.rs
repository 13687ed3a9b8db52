//! Plugins: which version is active, and what it may do.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trapjaw_engine::definition::{Grants, PluginStanding};
use trapjaw_engine::limits::{DEFINITION_BYTES_MAX, PAGE_ROWS_MAX};
use trapjaw_engine::ports::{Page, VersionView};
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::PageQuery;
use super::objects::remove_object;
use super::page::{Items, read_limit, read_query};
use super::path::Path;
use super::permit::{Intent, permit};
use super::precondition::{Precondition, versioned};
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Draft, Installation, Kind};
use crate::pass::Act;

/// A plugin.
#[derive(Serialize, ToSchema)]
pub(crate) struct PluginBody {
    /// Its name.
    name: String,
    /// The version of its standing; 0 when nothing has been activated or granted yet.
    version: i64,
    /// The active version.
    active: Option<String>,
    /// What the operator allows it.
    #[schema(value_type = Object)]
    grants: Grants,
    /// Its versions, newest first.
    versions: Vec<VersionBody>,
}

/// A version of a plugin.
#[derive(Serialize, ToSchema)]
pub(crate) struct VersionBody {
    /// The plugin.
    pub(crate) plugin: String,
    /// The version's name.
    pub(crate) version: String,
    /// SHA-256 of the component, in hex.
    pub(crate) digest: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// Whether it is the active one.
    pub(crate) active: bool,
    /// What it is for: `condition-plugin` or `action-plugin`.
    pub(crate) world: Option<String>,
    /// What it imports.
    pub(crate) imports: Vec<String>,
    /// What it exports.
    pub(crate) exports: Vec<String>,
    /// What its author says of it.
    #[schema(value_type = Object)]
    pub(crate) manifest: Option<Value>,
    /// Who uploaded it.
    pub(crate) actor: String,
    /// When.
    pub(crate) at: String,
}

/// What was found of a component at its upload, as it is kept with the version.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Found {
    /// What it is for.
    pub(crate) world: Option<String>,
    /// What it imports.
    pub(crate) imports: Vec<String>,
    /// What it exports.
    pub(crate) exports: Vec<String>,
    /// What its author says of it.
    pub(crate) manifest: Option<Value>,
}

/// The version that is to be active.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// Its name.
    version: String,
}

/// List plugins with their versions, in order of name.
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", params(PageQuery), responses((status = 200, body = Items<PluginBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<PluginBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let now = app.desk.current();
    let mut versions: HashMap<Arc<str>, Vec<VersionView>> = HashMap::new();
    for view in app.catalog.versions(None).await? {
        versions.entry(view.plugin.clone()).or_default().push(view);
    }
    let mut names: Vec<Arc<str>> = now.plugins.keys().chain(versions.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let covered = names.iter().filter(|name| caller.token.covers(name)).map(|name| (name, name));
    let show = |name: &Arc<str>, _: &Arc<str>| body(&now, name, versions.get(name).map_or(&[], Vec::as_slice));
    Ok(Json(Items::of_names(covered, read_limit(query.limit)?, query.cursor.as_deref(), show)))
}

/// Show one plugin with its versions.
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins", params(("name" = String, Path)), responses((status = 200, body = PluginBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(State(app): State<Arc<App>>, caller: Caller, Path(name): Path) -> Result<Response, ApiError> {
    caller.may_on(Act::Read, &name)?;
    answer(&app, &app.desk.current(), &name).await
}

/// List a plugin's versions, newest first.
#[utoipa::path(get, path = "/v1/plugins/{name}/versions", tag = "plugins", params(("name" = String, Path)), responses((status = 200, body = Items<VersionBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn versions(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
) -> Result<Json<Items<VersionBody>>, ApiError> {
    caller.may_on(Act::Read, &name)?;
    let versions = app.catalog.versions(Some(&name)).await?;
    if versions.is_empty() {
        return Err(ApiError::missing(format_args!("plugin {name}")));
    }
    Ok(Json(Items::all(body(&app.desk.current(), &name, &versions).versions)))
}

/// Make a version the active one. Calls in flight finish on the version they began with.
#[utoipa::path(put, path = "/v1/plugins/{name}/active", tag = "plugins", params(("name" = String, Path)), request_body = Activation, responses((status = 200, body = PluginBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn activate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Define, &name)?;
    let condition = Precondition::read(&headers)?;
    let Activation { version } = app.bodies.json(&headers, body, DEFINITION_BYTES_MAX).await?;
    let known = app.catalog.versions(Some(&name)).await?;
    if !known.iter().any(|view| *view.version == *version) {
        return Err(ApiError::missing(format_args!("version {version} of plugin {name}")));
    }
    let now = set_active(&app, &caller, &name, version, condition).await?;
    answer(&app, &now, &name).await
}

/// Make the version active that was active before the present one.
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "plugins", params(("name" = String, Path)), responses((status = 200, body = PluginBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rollback(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Define, &name)?;
    let condition = Precondition::read(&headers)?;
    let now = app.desk.current();
    let active = now.plugins.get(&*name).and_then(|standing| standing.body.active.clone());
    let history =
        app.catalog.history(Kind::Plugin.word(), &name, Page { before: None, rows_max: PAGE_ROWS_MAX }).await?;
    let former = history.iter().find_map(|object| {
        let standing: PluginStanding = serde_json::from_slice(&object.body).ok()?;
        standing.active.filter(|version| Some(version) != active.as_ref())
    });
    let former = former.ok_or_else(|| {
        ApiError::new(StatusCode::CONFLICT, format!("no other version of plugin {name} was active before"))
    })?;
    let now = set_active(&app, &caller, &name, former, condition).await?;
    answer(&app, &now, &name).await
}

/// Say what a plugin may do, whole.
#[utoipa::path(put, path = "/v1/plugins/{name}/grants", tag = "plugins", params(("name" = String, Path)), request_body = Object, responses((status = 200, body = PluginBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn grant(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    let condition = Precondition::read(&headers)?;
    let grants: Grants = app.bodies.json(&headers, body, DEFINITION_BYTES_MAX).await?;
    let actor = caller.name.clone();
    let has_versions = !app.catalog.versions(Some(&name)).await?.is_empty();
    let granting = name.clone();
    let change = move |now: &Installation| {
        let old = now.plugins.get(&*granting);
        if old.is_none() && !has_versions {
            return Err(ChangeError::Missing(format!("plugin {granting}")));
        }
        condition.check(now.version(Kind::Plugin, &granting))?;
        let active = old.and_then(|old| old.body.active.clone());
        let drafts = vec![Draft { name: granting.into(), body: Says::Plugin(PluginStanding { active, grants }) }];
        permit(&caller, &drafts, now, Intent::Make)?;
        Ok(drafts)
    };
    let changed = app.desk.change(actor, change).await?;
    answer(&app, &changed.after, &name).await
}

/// Remove a plugin's standing: nothing of it is active or granted any more. Its versions stay in the store.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins", params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    remove_object(&app, caller, Kind::Plugin, name, &headers).await
}

/// Makes a version active; its grants stay.
pub(crate) async fn set_active(
    app: &App,
    caller: &Caller,
    name: &str,
    version: String,
    condition: Precondition,
) -> Result<Arc<Installation>, ApiError> {
    let activating: Arc<str> = name.into();
    let change = move |now: &Installation| {
        condition.check(now.version(Kind::Plugin, &activating))?;
        let grants = now.plugins.get(&activating).map(|old| old.body.grants.clone()).unwrap_or_default();
        Ok(vec![Draft { name: activating, body: Says::Plugin(PluginStanding { active: Some(version), grants }) }])
    };
    Ok(app.desk.change(caller.name.clone(), change).await?.after)
}

/// A version as it is shown.
pub(crate) fn version_body(view: &VersionView, active: Option<&str>) -> VersionBody {
    let found: Found = serde_json::from_slice(&view.about).unwrap_or_default();
    VersionBody {
        plugin: view.plugin.to_string(),
        version: view.version.to_string(),
        digest: view.digest.to_string(),
        size: view.size,
        active: active == Some(&*view.version),
        world: found.world,
        imports: found.imports,
        exports: found.exports,
        manifest: found.manifest,
        actor: view.actor.to_string(),
        at: view.at.to_string(),
    }
}

async fn answer(app: &App, now: &Installation, name: &str) -> Result<Response, ApiError> {
    let versions = app.catalog.versions(Some(name)).await?;
    if versions.is_empty() && !now.plugins.contains_key(name) {
        return Err(ApiError::missing(format_args!("plugin {name}")));
    }
    let body = body(now, name, &versions);
    Ok(versioned(StatusCode::OK, body.version, &body))
}

fn body(now: &Installation, name: &str, versions: &[VersionView]) -> PluginBody {
    let standing = now.plugins.get(name);
    let active = standing.and_then(|standing| standing.body.active.clone());
    PluginBody {
        name: name.to_owned(),
        version: standing.map_or(0, |standing| standing.version),
        versions: versions.iter().map(|view| version_body(view, active.as_deref())).collect(),
        grants: standing.map(|standing| standing.body.grants.clone()).unwrap_or_default(),
        active,
    }
}
