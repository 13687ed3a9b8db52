//! What saving and removing have in common, whatever the kind of object.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use trapjaw_engine::limits::DEFINITION_BYTES_MAX;
use trapjaw_engine::problem::Problem;

use super::App;
use super::auth::Caller;
use super::error::ApiError;
use super::permit::{Intent, permit};
use super::precondition::{Precondition, saved};
use crate::config::unique::Unique;
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Draft, Installation, Kind};

/// Reads a definition that is to be saved, in the light of what there is.
type Reader = fn(&str, Value, &Installation) -> Result<Says, Vec<Problem>>;

/// Saves an object, whole: what is in force then, and whether it is new.
pub(crate) async fn save_object(
    app: &App,
    caller: Caller,
    (kind, name): (Kind, &str),
    headers: &HeaderMap,
    body: Body,
    read: Reader,
) -> Result<(Arc<Installation>, StatusCode), ApiError> {
    let condition = Precondition::read(headers)?;
    let Unique(value) = app.bodies.json(headers, body, DEFINITION_BYTES_MAX).await?;
    let (saving, actor) = (name.to_owned(), caller.name.clone());
    let save = move |now: &Installation| {
        condition.check(now.version(kind, &saving))?;
        let body = read(&saving, value, now)?;
        let drafts = vec![Draft { name: saving.into(), body }];
        permit(&caller, &drafts, now, Intent::Make)?;
        Ok(drafts)
    };
    let changed = app.desk.change(actor, save).await?;
    Ok((changed.after, saved(changed.before.version(kind, name))))
}

/// Removes an object; 404 when there is none.
pub(crate) async fn remove_object(
    app: &App,
    caller: Caller,
    kind: Kind,
    name: String,
    headers: &HeaderMap,
) -> Result<StatusCode, ApiError> {
    let condition = Precondition::read(headers)?;
    let remove = move |now: &Installation| {
        let version = now.version(kind, &name);
        if version == 0 {
            return Err(ChangeError::Missing(format!("{} {name}", kind.word())));
        }
        condition.check(version)?;
        Ok(vec![Draft { name: name.into(), body: Says::Removed(kind) }])
    };
    app.desk.change(caller.name, remove).await?;
    Ok(StatusCode::NO_CONTENT)
}
