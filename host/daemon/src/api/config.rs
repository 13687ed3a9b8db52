//! The whole configuration as one document: check it, see what it would change, apply it, write it out.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use trapjaw_engine::problem::Problem;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::auth::Caller;
use super::body::{expect_type, media_type};
use super::error::{ApiError, ProblemBody, ProblemItem};
use super::page::read_query;
use super::permit::{Intent, permit, permit_document};
use super::precondition::{Precondition, versioned};
use crate::config::document::File;
use crate::config::placeholder::Exposed;
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Difference, Draft, Installation, Kind};
use crate::pass::Act;

/// How a document is applied.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[into_params(parameter_in = Query)]
pub(crate) struct ApplyQuery {
    /// Whether triggers, connections and plugins that the document does not name are removed.
    prune: Option<bool>,
    /// Whether to answer what would change, and change nothing.
    dry_run: Option<bool>,
}

/// What a document changes.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangesBody {
    /// The revision of the configuration that is in force.
    revision: i64,
    /// Whether the changes were made.
    applied: bool,
    /// The changes.
    changes: Vec<ChangeBody>,
}

/// One change.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeBody {
    /// `trigger`, `connection`, `plugin` or `secret`.
    kind: &'static str,
    /// The name.
    name: String,
    /// `created`, `updated`, `removed` or `unchanged`.
    change: &'static str,
    /// The version before; null for none.
    version: Option<i64>,
}

/// Whether a document could be applied.
#[derive(Serialize, ToSchema)]
pub(crate) struct ValidBody {
    /// Whether it could.
    valid: bool,
    /// Everything that is wrong.
    errors: Vec<ProblemItem>,
}

/// The most bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
const TYPES: [&str; 4] = ["application/json", "application/yaml", "application/x-yaml", "text/yaml"];

/// Make the configuration what a document says: every change or none. It takes the scopes that its changes would take
/// one by one: an editor may apply triggers, and which version of a plugin is active. `If-Match` is compared with the
/// revision of the configuration.
#[utoipa::path(post, path = "/v1/config/apply", tag = "config", params(ApplyQuery), request_body = Object, responses((status = 200, body = ChangesBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn apply(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let query: ApplyQuery = read_query(query.as_deref())?;
    let is_dry = query.dry_run.unwrap_or(false);
    caller.may(if is_dry { Act::Read } else { Act::Define })?;
    let condition = Precondition::read(&headers)?;
    let prune = query.prune.unwrap_or(false);
    let file = read(&app, &headers, body).await?;
    if is_dry {
        return rehearse(&app, &caller, file, (condition, prune)).await.map(answer);
    }
    let exposed = app.desk.composer().exposed().clone();
    let actor = caller.name.clone();
    let named = file.names();
    let change = move |now: &Installation| {
        condition.check(now.revision)?;
        drafts(&caller, file, now, &exposed, (prune, Intent::Make))
    };
    let changed = app.desk.change(actor, change).await?;
    let changes = compare(&changed.before, &changed.after, named);
    Ok(answer(ChangesBody { revision: changed.after.revision, applied: true, changes }))
}

/// See what a document would change. One with connections or secrets takes a token that may write them, as the answer
/// would tell whether a guess of a credential is right.
#[utoipa::path(post, path = "/v1/config/diff", tag = "config", params(ApplyQuery), request_body = Object, responses((status = 200, body = ChangesBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn diff(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may(Act::Read)?;
    let query: ApplyQuery = read_query(query.as_deref())?;
    let condition = Precondition::read(&headers)?;
    let file = read(&app, &headers, body).await?;
    rehearse(&app, &caller, file, (condition, query.prune.unwrap_or(false))).await.map(answer)
}

/// Check a document against what is in force; everything that is wrong is reported. One with connections or secrets
/// takes a token that may write them.
#[utoipa::path(post, path = "/v1/config/validate", tag = "config", request_body = Object, responses((status = 200, body = ValidBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn validate(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ValidBody>, ApiError> {
    caller.may(Act::Read)?;
    let file = match read(&app, &headers, body).await {
        Err(err) if !err.errors().is_empty() => return Ok(Json(invalid(err.errors().to_vec()))),
        file => file?,
    };
    let tried = async {
        let drafts =
            drafts(&caller, file, &app.desk.current(), app.desk.composer().exposed(), (false, Intent::Rehearse));
        app.desk.rehearse(drafts?).await
    };
    match tried.await {
        Ok(_) => Ok(Json(ValidBody { valid: true, errors: Vec::new() })),
        Err(ChangeError::Invalid(problems)) => Ok(Json(invalid(problems))),
        Err(err) => Err(err.into()),
    }
}

/// Write the configuration out as a document, without credentials. The ETag is its revision.
#[utoipa::path(get, path = "/v1/config/export", tag = "config", responses((status = 200, body = Object), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn export(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, ApiError> {
    caller.may(Act::Read)?;
    let now = app.desk.current();
    let mut file = File::of(&now);
    file.triggers.retain(|name, _| caller.token.covers(name));
    file.connections.retain(|name, _| caller.token.covers(name));
    file.plugins.retain(|name, _| caller.token.covers(name));
    Ok(versioned(StatusCode::OK, now.revision, &file))
}

fn answer(changes: ChangesBody) -> Response {
    versioned(StatusCode::OK, changes.revision, &changes)
}

async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<File, ApiError> {
    expect_type(headers, &TYPES)?;
    let held = app.bodies.read(headers, body, DOCUMENT_BYTES_MAX).await?;
    File::read(&held.bytes, media_type(headers) != TYPES[0]).map_err(ApiError::invalid)
}

async fn rehearse(
    app: &App,
    caller: &Caller,
    file: File,
    (condition, prune): (Precondition, bool),
) -> Result<ChangesBody, ApiError> {
    let now = app.desk.current();
    condition.check(now.revision)?;
    let named = file.names();
    let drafts = drafts(caller, file, &now, app.desk.composer().exposed(), (prune, Intent::Rehearse))?;
    let (next, _) = app.desk.rehearse(drafts).await?;
    Ok(ChangesBody { revision: now.revision, applied: false, changes: compare(&now, &next, named) })
}

/// What the document wants changed, if the caller may.
fn drafts(
    caller: &Caller,
    file: File,
    now: &Installation,
    exposed: &Exposed,
    (prune, intent): (bool, Intent),
) -> Result<Vec<Draft>, ChangeError> {
    permit_document(caller, &file)?;
    let drafts = file.drafts(now, exposed, prune)?;
    // Pruning by a token that is limited to some names leaves the others' alone.
    let is_others = |draft: &Draft| matches!(draft.body, Says::Removed(_)) && !caller.token.covers(&draft.name);
    let drafts: Vec<Draft> = drafts.into_iter().filter(|draft| !is_others(draft)).collect();
    permit(caller, &drafts, now, intent)?;
    Ok(drafts)
}

/// The changes, and after them what the document names and leaves as it is.
fn compare(before: &Installation, after: &Installation, named: Vec<(Kind, String)>) -> Vec<ChangeBody> {
    let mut changes: Vec<ChangeBody> = before
        .changes_to(after)
        .into_iter()
        .map(|Difference { kind, name, old, new }| ChangeBody {
            kind: kind.word(),
            name: name.to_string(),
            change: match (old, new) {
                (None, _) => "created",
                (_, None) => "removed",
                (Some(_), Some(_)) => "updated",
            },
            version: old,
        })
        .collect();
    let is_unchanged = |(kind, name): &(Kind, String)| before.version(*kind, name) == after.version(*kind, name);
    let unchanged = named.into_iter().filter(is_unchanged).map(|(kind, name)| ChangeBody {
        kind: kind.word(),
        version: Some(before.version(kind, &name)),
        name,
        change: "unchanged",
    });
    changes.extend(unchanged);
    changes
}

fn invalid(problems: Vec<Problem>) -> ValidBody {
    let item = |problem: Problem| ProblemItem { path: problem.path, message: problem.message };
    ValidBody { valid: false, errors: problems.into_iter().map(item).collect() }
}
