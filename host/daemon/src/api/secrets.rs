//! Secrets: their names can be seen, their values cannot.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use trapjaw_engine::secret::Secret;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::PageQuery;
use super::objects::remove_object;
use super::page::{Items, read_limit, read_query};
use super::path::Path;
use super::precondition::{Precondition, saved, versioned};
use crate::config::check_secret_name;
use crate::installation::{Body as Says, Draft, Kind, Standing};
use crate::pass::Act;

/// A secret, without its value.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretBody {
    /// Its name.
    name: String,
    /// Its version.
    version: i64,
    /// Who set it.
    actor: String,
    /// When.
    at: String,
}

/// A secret's value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretValue {
    /// The value.
    value: String,
}

/// The most bytes of a secret: a private key or a certificate chain fits.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// Room for the JSON around it, with every character escaped.
const BODY_BYTES_MAX: usize = 6 * SECRET_BYTES_MAX + 64;

/// List the names of secrets, in order.
#[utoipa::path(get, path = "/v1/secrets", tag = "secrets", params(PageQuery), responses((status = 200, body = Items<SecretBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<SecretBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let now = app.desk.current();
    let covered = now.secrets.iter().filter(|(name, _)| caller.token.covers(name));
    Ok(Json(Items::of_names(covered, read_limit(query.limit)?, query.cursor.as_deref(), body)))
}

/// Set a secret. Connections that name it use the new value from now on.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "secrets", params(("name" = String, Path)), request_body = SecretValue, responses((status = 200, body = SecretBody), (status = 201, body = SecretBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    check_secret_name("name", &name).map_err(|problem| ApiError::invalid(vec![problem]))?;
    let condition = Precondition::read(&headers)?;
    let SecretValue { value } = app.bodies.json(&headers, body, BODY_BYTES_MAX).await?;
    if value.is_empty() || value.len() > SECRET_BYTES_MAX {
        return Err(ApiError::bad_at("value", format!("1 to {SECRET_BYTES_MAX} bytes are expected")));
    }
    let saving = name.clone();
    let changed = app
        .desk
        .change(caller.name, move |now| {
            condition.check(now.version(Kind::Secret, &saving))?;
            Ok(vec![Draft { name: saving.into(), body: Says::Secret(Secret::new(value)) }])
        })
        .await?;
    let status = saved(changed.before.version(Kind::Secret, &name));
    let found = changed.after.secrets.get_key_value(&*name);
    let (name, secret) = found.ok_or_else(|| ApiError::missing(format_args!("secret {name}")))?;
    Ok(versioned(status, secret.version, &self::body(name, secret)))
}

/// Remove a secret that nothing names.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "secrets", params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.may_on(Act::Operate, &name)?;
    remove_object(&app, caller, Kind::Secret, name, &headers).await
}

fn body(name: &Arc<str>, secret: &Standing<Secret>) -> SecretBody {
    SecretBody {
        name: name.to_string(),
        version: secret.version,
        actor: secret.actor.to_string(),
        at: secret.at.to_string(),
    }
}
