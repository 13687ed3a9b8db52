//! `POST /v1/events`: the hot path. 202 only after the events are durable.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trapjaw_engine::event::{ATTRIBUTE_BYTES_MAX, EVENT_BYTES_MAX, Event, is_json_type};
use trapjaw_engine::intake::Batch;
use trapjaw_engine::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use trapjaw_engine::problem::Problem;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::body::{Held, media_type};
use super::cloudevent::{self, Context, PlainQuery};
use super::error::{ApiError, ProblemBody};
use super::page::read_query;
use crate::pass::Act;

/// What became of published events.
#[derive(Serialize, ToSchema)]
pub(crate) struct Published {
    /// How many were new.
    accepted: u32,
    /// How many had been taken before.
    duplicates: u32,
    /// Their ids with us, in order; a duplicate has the id of the first.
    ids: Vec<String>,
}

/// How the events of a call are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Structured,
    Batch,
    Binary,
    Plain,
}

/// Room that the attributes of a single event may take beside its data.
const ENVELOPE_BYTES_MAX: usize = 128 << 10;
/// Our name for events that come over the API.
const SOURCE: &str = "http";
/// The source that is our own alerts'.
const OWN_SOURCE: &str = "trapjaw";
/// The extension attribute that continues a trace.
const TRACEPARENT: &str = "traceparent";

/// Publish one event or many: CloudEvents structured, binary or batch, or plain JSON with `?type=`.
#[utoipa::path(post, path = "/v1/events", tag = "events", params(PlainQuery), request_body(content = Vec<u8>, description = "one event, or a batch of at most 1,000"),
    responses((status = 202, body = Published, description = "durable"), (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "nothing was stored")))]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.may(Act::Ingest)?;
    let mode = read_mode(&headers)?;
    let query: PlainQuery = read_query(query.as_deref())?;
    let bytes_max = if mode == Mode::Batch { BATCH_BYTES_MAX } else { EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX };
    let held = app.bodies.read(&headers, body, bytes_max).await?;
    let ctx = Context { now: app.clock.now(), events_max: BATCH_EVENTS_MAX };
    let mut events = read_events(mode, query, &headers, &held, ctx).map_err(ApiError::bad)?;
    check_sources(&caller, &events, mode)?;
    if let Some(traceparent) = read_traceparent(&headers) {
        continue_trace(&mut events, traceparent);
    }
    if events.is_empty() {
        return Ok(answer(0, 0, Vec::new()));
    }
    let accepted = app.engine.accept(Batch { source: SOURCE.into(), events }).await?;
    Ok(answer(accepted.accepted, accepted.duplicates, accepted.ids.iter().map(ToString::to_string).collect()))
}

fn answer(accepted: u32, duplicates: u32, ids: Vec<String>) -> Response {
    let body = serde_json::to_vec(&Published { accepted, duplicates, ids }).expect("it is made of numbers and strings");
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], body).into_response()
}

fn read_mode(headers: &HeaderMap) -> Result<Mode, ApiError> {
    let media_type = media_type(headers);
    match media_type.as_str() {
        "application/cloudevents+json" => Ok(Mode::Structured),
        "application/cloudevents-batch+json" => Ok(Mode::Batch),
        _ if headers.contains_key("ce-specversion") => Ok(Mode::Binary),
        media_type if is_json_type(media_type) && !media_type.starts_with("application/cloudevents") => Ok(Mode::Plain),
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "content type application/json, application/cloudevents+json or application/cloudevents-batch+json, or \
                 `ce-` headers, are expected, not `{}`",
                crate::text::escape_controls(&media_type)
            ),
        )),
    }
}

fn read_events(
    mode: Mode,
    query: PlainQuery,
    headers: &HeaderMap,
    held: &Held<'_>,
    ctx: Context,
) -> Result<Vec<Event>, Vec<Problem>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE.as_str());
    let body = &held.bytes;
    if mode != Mode::Plain {
        refuse_attributes(&query)?;
    }
    match mode {
        Mode::Batch => cloudevent::read_batch(body, ctx),
        Mode::Structured => cloudevent::read_structured(body, ctx).map(|event| vec![event]),
        Mode::Binary => cloudevent::read_binary(headers, content_type, body, ctx).map(|event| vec![event]),
        Mode::Plain => {
            let key = read_key(headers)?;
            let event = cloudevent::read_plain(query, key, content_type.unwrap_or("application/json"), body, ctx);
            event.map(|event| vec![event])
        }
    }
}

/// What a call is known by, so that it is done once however often it is made. One that cannot be read is refused: to
/// leave it out would do a repeated call twice.
pub(crate) fn read_key(headers: &HeaderMap) -> Result<Option<&str>, Vec<Problem>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=ATTRIBUTE_BYTES_MAX).contains(&key.len()) => Ok(Some(key)),
        Ok(_) | Err(_) => {
            let message = format!("1 to {ATTRIBUTE_BYTES_MAX} printable ASCII characters are expected");
            Err(vec![Problem::at("Idempotency-Key", message)])
        }
    }
}

/// A CloudEvent has its attributes in itself; others beside it would be ignored silently.
fn refuse_attributes(query: &PlainQuery) -> Result<(), Vec<Problem>> {
    let given = [
        ("type", &query.r#type),
        ("source", &query.source),
        ("subject", &query.subject),
        ("id", &query.id),
        ("time", &query.time),
    ];
    let problems: Vec<Problem> = given
        .into_iter()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| Problem::at(name, "a CloudEvent has its attributes in itself"))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn check_sources(caller: &Caller, events: &[Event], mode: Mode) -> Result<(), ApiError> {
    for (n, event) in events.iter().enumerate() {
        let path = if mode == Mode::Batch { format!("[{n}].source") } else { "source".to_owned() };
        let source = &*event.source;
        if source == OWN_SOURCE {
            return Err(ApiError::bad_at(path, format!("`{OWN_SOURCE}` is the daemon's own source")));
        }
        if !caller.token.may_write(source) {
            return Err(ApiError::forbidden(format!("{path}: the token may not write events of this source")));
        }
    }
    Ok(())
}

fn read_traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok().filter(|text| cloudevent::is_traceparent(text))
}

/// The call's trace goes on in its events, unless an event names its own.
fn continue_trace(events: &mut [Event], traceparent: &str) {
    for event in events.iter_mut().filter(|event| event.extension(TRACEPARENT).is_none()) {
        event.extensions.push((TRACEPARENT.into(), traceparent.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)], expected: Option<Mode>) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(read_mode(&headers).ok(), expected, "{headers:?}");
    }

    #[test]
    fn the_mode_is_told_by_the_headers() {
        check(&[("content-type", "application/cloudevents+json; charset=utf-8")], Some(Mode::Structured));
        check(&[("content-type", "application/cloudevents-batch+json")], Some(Mode::Batch));
        check(&[("content-type", "image/png"), ("ce-specversion", "1.0")], Some(Mode::Binary));
        check(&[("ce-specversion", "1.0")], Some(Mode::Binary));
        check(&[("content-type", "application/json")], Some(Mode::Plain));
        check(&[("content-type", "application/vnd.shop+json")], Some(Mode::Plain));
        check(&[("content-type", "application/cloudevents+avro")], None);
        check(&[("content-type", "application/x-www-form-urlencoded")], None);
        check(&[("content-type", "text/plain")], None);
        check(&[], None);
    }

    #[test]
    fn a_trace_goes_on_unless_the_event_has_its_own() {
        let time = trapjaw_engine::time::Time(0);
        let mut events = vec![Event::new("s", "t", "1", time), Event::new("s", "t", "2", time)];
        events[0].extensions.push((TRACEPARENT.into(), "own".into()));
        continue_trace(&mut events, "new");
        assert_eq!((events[0].extension(TRACEPARENT), events[1].extension(TRACEPARENT)), (Some("own"), Some("new")));
    }
}
