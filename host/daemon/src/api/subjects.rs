//! Subjects: which triggers ran for whom, as caps and cooldowns count it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use trapjaw_engine::limits::KEY_BYTES_MAX;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::page::Items;
use super::path::Path;
use super::view;
use crate::pass::Act;

/// A subject's runs of one trigger.
#[derive(Serialize, ToSchema)]
pub(crate) struct ActivityBody {
    /// The trigger.
    trigger: String,
    /// How many runs began.
    runs: u32,
    /// When the last of them began.
    last: Option<String>,
}

/// List how often each trigger that counts runs by subject ran for this one, the latest first; at most 1,000.
#[utoipa::path(get, path = "/v1/subjects/{subject}", tag = "runs", params(("subject" = String, Path)), responses((status = 200, body = Items<ActivityBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(subject): Path,
) -> Result<Json<Items<ActivityBody>>, ApiError> {
    caller.may(Act::Read)?;
    if subject.len() > KEY_BYTES_MAX {
        return Err(ApiError::bad_at("subject", format!("at most {KEY_BYTES_MAX} bytes are expected")));
    }
    let rows = app.ledger.subject(&subject).await?;
    let covered = rows.into_iter().filter(|row| caller.token.covers(&row.trigger));
    let show = |row: trapjaw_engine::ports::SubjectView| ActivityBody {
        trigger: row.trigger.to_string(),
        runs: row.activity.count,
        last: view::show(row.activity.last),
    };
    Ok(Json(Items::all(covered.map(show).collect())))
}
