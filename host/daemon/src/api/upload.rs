//! `POST /v1/plugins/{name}/versions`: the life of a version, from its bytes to the plan. What fails at a step leaves
//! the active version running and says why.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use trapjaw_engine::ports::{PluginVersion, VersionView};
use trapjaw_engine::problem::Problem;
use trapjaw_sandbox::{About, LoadError};
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::body::expect_type;
use super::error::{ApiError, ProblemBody};
use super::page::read_query;
use super::path::Path;
use super::plugins::{Found, VersionBody, set_active, version_body};
use super::precondition::{Precondition, versioned};
use crate::config::check_name;
use crate::pass::Act;
use crate::text;

/// How a version is taken in.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UploadQuery {
    /// The version's name; the start of its digest when absent.
    version: Option<String>,
    /// Whether it is made the active one.
    activate: Option<bool>,
}

/// The most bytes of a component.
const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// The longest name of a version.
const VERSION_BYTES_MAX: usize = 64;
/// How much of the digest names a version that has no other name.
const DIGEST_NAME_CHARS: usize = 12;

/// Upload a version of a plugin: the component's bytes.
#[utoipa::path(post, path = "/v1/plugins/{name}/versions", tag = "plugins", params(("name" = String, Path), UploadQuery), request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = VersionBody), (status = 409, body = ProblemBody, description = "the version exists with other bytes"), (status = 422, body = ProblemBody, description = "it is not a plugin, with every reason")))]
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may_on(Act::Define, &name)?;
    check_name("name", &name).map_err(|problem| ApiError::invalid(vec![problem]))?;
    let query: UploadQuery = read_query(query.as_deref())?;
    let condition = Precondition::read(&headers)?;
    expect_type(&headers, &["application/wasm", "application/octet-stream"])?;
    // Both are held to the end: what is checked, compiled and written is in memory until then.
    let _place = app.bodies.place_for_upload().await?;
    let held = app.bodies.read(&headers, body, COMPONENT_BYTES_MAX).await?;
    let bytes = held.bytes.clone();

    let sandbox = app.desk.composer().sandbox().clone();
    let checked = bytes.clone();
    let checking = tokio::task::spawn_blocking(move || {
        let digest: Arc<str> = text::hex(&Sha256::digest(&checked)).into();
        (digest, sandbox.check(&checked))
    });
    let (digest, about) = checking
        .await
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the component could not be checked"))?;
    let about = about.map_err(|reasons| refuse(reasons.iter().map(ToString::to_string)))?;
    let version = read_version(query.version, &digest)?;
    app.desk.composer().load(&digest, bytes.clone()).await.map_err(load_error)?;

    let view = VersionView {
        plugin: name.as_str().into(),
        version: version.as_str().into(),
        digest,
        size: bytes.len() as u64,
        about: describe(about).into(),
        actor: caller.name.clone(),
        at: app.clock.now(),
    };
    app.desk.publish(PluginVersion { view: view.clone(), bytes }).await?;
    let now = if query.activate.unwrap_or(false) {
        set_active(&app, &caller, &name, version, condition).await?
    } else {
        app.desk.current()
    };
    drop(held);
    let standing = now.plugins.get(&*name);
    let active = standing.and_then(|standing| standing.body.active.as_deref());
    Ok(versioned(StatusCode::CREATED, standing.map_or(0, |standing| standing.version), &version_body(&view, active)))
}

/// Reads the version's name. It stands after `@` in triggers and in file names, so it is plain.
fn read_version(version: Option<String>, digest: &str) -> Result<String, ApiError> {
    let version = version.unwrap_or_else(|| digest[..DIGEST_NAME_CHARS].to_owned());
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'+');
    if version.is_empty() || version.len() > VERSION_BYTES_MAX || !version.bytes().all(is_plain) {
        let message = format!("1 to {VERSION_BYTES_MAX} letters, digits, `.`, `-`, `_` and `+` are expected");
        return Err(ApiError::bad_at("version", message));
    }
    Ok(version)
}

fn describe(about: About) -> Vec<u8> {
    let found = Found {
        world: Some(about.world.word().to_owned()),
        imports: about.imports,
        exports: about.exports,
        manifest: about.manifest,
    };
    serde_json::to_vec(&found).unwrap_or_default()
}

fn refuse(reasons: impl Iterator<Item = String>) -> ApiError {
    ApiError::invalid(reasons.map(|reason| Problem::at("", reason)).collect())
}

fn load_error(err: LoadError) -> ApiError {
    match err {
        LoadError::Refused(reasons) => refuse(reasons.iter().map(ToString::to_string)),
        LoadError::Compile(reason) => refuse(std::iter::once(reason)),
        LoadError::Unavailable(reason) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_names_are_plain() {
        let check = |version: Option<&str>, expected: Option<&str>| {
            let read = read_version(version.map(str::to_owned), "00112233445566778899");
            assert_eq!(read.ok().as_deref(), expected);
        };
        check(None, Some("001122334455"));
        check(Some("1.2.0-rc.1+5"), Some("1.2.0-rc.1+5"));
        check(Some(""), None);
        check(Some("a@b"), None);
        check(Some("../x"), None);
    }
}
