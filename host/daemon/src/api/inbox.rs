//! The receiving connection of the daemon for trying things out: what it delivers to itself can be looked at.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use trapjaw_engine::limits::BODY_BYTES_MAX;
use trapjaw_engine::time::Time;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::PageQuery;
use super::page::{Items, read_limit, read_query};
use crate::pass::Act;

/// The most deliveries that are kept; older ones make room.
const DELIVERIES_MAX: usize = 1_000;
/// The most bytes of a delivery's body that are kept.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// The most headers of a delivery that are kept.
const HEADERS_MAX: usize = 50;

/// What was delivered, the last ones.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    n_received: u64,
    deliveries: VecDeque<Delivery>,
}

#[derive(Clone)]
struct Delivery {
    number: u64,
    at: Time,
    headers: Vec<(String, String)>,
    body: String,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryBody {
    /// Which, from 1.
    number: u64,
    /// When it came.
    at: String,
    /// Its headers.
    headers: Vec<(String, String)>,
    /// Its body as text, cut at 16 KiB.
    body: String,
}

/// Take a delivery. It needs no token, as no receiver of webhooks knows ours.
pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let Some(inbox) = &app.inbox else { return Err(ApiError::missing("inbox")) };
    let held = app.bodies.read(&headers, body, BODY_BYTES_MAX).await?;
    let kept = &held.bytes[..held.bytes.len().min(KEPT_BYTES_MAX)];
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers =
        headers.iter().take(HEADERS_MAX).map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let mut ring = inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
    ring.n_received += 1;
    if ring.deliveries.len() >= DELIVERIES_MAX {
        ring.deliveries.pop_front();
    }
    let number = ring.n_received;
    ring.deliveries.push_back(Delivery { number, at: app.clock.now(), headers, body: text(kept) });
    Ok(StatusCode::NO_CONTENT)
}

/// List what was delivered to the connection `inbox` of `trapjaw dev`, newest first.
#[utoipa::path(get, path = "/dev/inbox", tag = "dev", params(PageQuery), responses((status = 200, body = Items<DeliveryBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<DeliveryBody>>, ApiError> {
    caller.may(Act::Read)?;
    let Some(inbox) = &app.inbox else { return Err(ApiError::missing("inbox: `trapjaw dev` has one")) };
    let query: PageQuery = read_query(query.as_deref())?;
    let limit = read_limit(query.limit)?;
    let before: Option<u64> = query
        .cursor
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::bad_at("cursor", "it is not a cursor of this listing"))?;
    let ring = inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = ring.deliveries.iter().rev().filter(|row| before.is_none_or(|before| row.number < before));
    let rows: Vec<_> = rows.take(limit as usize).cloned().collect();
    drop(ring);
    Ok(Json(Items::page(
        rows,
        limit,
        |row| row.number.to_string(),
        |Delivery { number, at, headers, body }| Some(DeliveryBody { number, at: at.to_string(), headers, body }),
    )))
}
