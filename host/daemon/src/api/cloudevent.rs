//! Reads CloudEvents 1.0: structured, batch and binary, and plain JSON with its attributes beside it.
//!
//! This is the hot path. Nothing is parsed into trees: attributes are borrowed from the body, and the data stay the
//! very bytes that were sent, once it is sure that they can be read.

mod raw;
mod sound;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use trapjaw_engine::event::{
    ATTRIBUTE_BYTES_MAX, EVENT_BYTES_MAX, EXTENSIONS_MAX, Event, JSON_DEPTH_MAX, is_deeper, is_json_type,
};
use trapjaw_engine::limits::EVENT_AHEAD_MAX;
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::Time;
use utoipa::IntoParams;

use self::raw::{Batch, Raw};
use crate::text;

/// What reading depends on beside the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// When the call came.
    pub(crate) now: Time,
    /// The most events of a batch.
    pub(crate) events_max: usize,
}

/// The attributes of an event that is sent as plain JSON.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlainQuery {
    /// What happened. Needed for plain JSON, and not allowed beside a CloudEvent.
    pub(crate) r#type: Option<String>,
    /// Where; `http` when absent.
    pub(crate) source: Option<String>,
    /// Whom or what it is about.
    pub(crate) subject: Option<String>,
    /// Its id; the `Idempotency-Key` header, or a random one, when absent.
    pub(crate) id: Option<String>,
    /// When it happened; now when absent.
    pub(crate) time: Option<String>,
}

/// The longest name of an extension attribute.
const EXTENSION_NAME_BYTES_MAX: usize = 20;
/// The source of an event that does not say where it is from.
const SOURCE: &str = "http";

/// Reads one structured CloudEvent.
pub(crate) fn read_structured(body: &Bytes, ctx: Context) -> Result<Event, Vec<Problem>> {
    let text = read_text(body)?;
    let raw: Raw<'_> = serde_json::from_str(text).map_err(|err| vec![Problem::at("", err.to_string())])?;
    let mut problems = Vec::new();
    let event = raw.event("", ctx, &mut problems);
    event.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Reads a batch of structured CloudEvents. One bad event refuses the batch, with all that is wrong in it.
pub(crate) fn read_batch(body: &Bytes, ctx: Context) -> Result<Vec<Event>, Vec<Problem>> {
    let text = read_text(body)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut batch = Batch::new(ctx);
    let read = batch.read(&mut deserializer).and_then(|()| deserializer.end());
    // What is no list has no places in it.
    let path = |batch: &Batch| if text.trim_start().starts_with('[') { batch.path() } else { String::new() };
    read.map_err(|err| vec![Problem::at(path(&batch), err.to_string())])?;
    batch.finish()
}

/// Reads a CloudEvent in binary mode: attributes in `ce-` headers, data in the body.
pub(crate) fn read_binary(
    headers: &HeaderMap,
    content_type: Option<&str>,
    body: &Bytes,
    ctx: Context,
) -> Result<Event, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let path = format!("ce-{name}");
        match text::percent_decode(value.as_bytes()) {
            None => problems.push(Problem::at(path, "it is not percent-encoded UTF-8")),
            Some(value) => attributes.take(name, &path, value, &mut problems),
        }
    }
    if attributes.specversion.as_deref() != Some("1.0") {
        problems.push(Problem::at("ce-specversion", "`1.0` is expected"));
    }
    let event = attributes.event("ce-", content_type, body, ctx, &mut problems);
    event.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Reads an event that is sent as plain JSON, with its attributes in the query.
pub(crate) fn read_plain(
    query: PlainQuery,
    key: Option<&str>,
    content_type: &str,
    body: &Bytes,
    ctx: Context,
) -> Result<Event, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut attributes = Attributes::default();
    let id = query.id.or(key.map(str::to_owned)).unwrap_or_else(text::random_id);
    let given = [
        ("id", Some(id)),
        ("source", Some(query.source.unwrap_or_else(|| SOURCE.into()))),
        ("type", query.r#type),
        ("subject", query.subject),
        ("time", query.time),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            attributes.take(name, name, value, &mut problems);
        }
    }
    if body.is_empty() {
        problems.push(Problem::at("data", "the body is empty"));
    }
    let event = attributes.event("", Some(content_type), body, ctx, &mut problems);
    event.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Makes an event that a person fires a trigger with, under the checks of one that is sent.
pub(crate) fn make(
    kind: &str,
    subject: Option<String>,
    data: Option<&RawValue>,
    ctx: Context,
) -> Result<Event, Vec<Problem>> {
    let (id, source) = (Some(text::random_id()), Some(SOURCE.to_owned()));
    let attributes = Attributes { id, source, kind: Some(kind.to_owned()), subject, ..Attributes::default() };
    let data = data.map(|data| Bytes::copy_from_slice(data.get().as_bytes())).unwrap_or_default();
    let mut problems = Vec::new();
    let event = attributes.event("", None, &data, ctx, &mut problems);
    event.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Whether a text is a W3C trace context that a send may continue.
pub(crate) fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    let is_set = |part: &str| part.bytes().any(|c| c != b'0');
    let mut parts = text.splitn(4, '-');
    let (Some(version), Some(trace), Some(span), Some(flags)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_set(trace)
        && is_hex(span, 16)
        && is_set(span)
        && is_hex(flags, 2)
}

/// The attributes of an event that come as texts.
#[derive(Default)]
struct Attributes {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    extensions: Vec<(Box<str>, Box<str>)>,
}

impl Attributes {
    fn take(&mut self, name: &str, path: &str, value: String, problems: &mut Vec<Problem>) {
        let place = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            _ => {
                if let Err(message) = check_extension(name, &value, &self.extensions) {
                    problems.push(Problem::at(path, message));
                } else {
                    self.extensions.push((name.into(), value.into()));
                }
                return;
            }
        };
        if place.replace(value).is_some() {
            problems.push(Problem::at(path, "it is there twice"));
        }
    }

    fn event(
        self,
        prefix: &str,
        content_type: Option<&str>,
        body: &Bytes,
        ctx: Context,
        problems: &mut Vec<Problem>,
    ) -> Option<Event> {
        let required = |name: &str, value: Option<String>, problems: &mut Vec<Problem>| -> Option<Box<str>> {
            let path = format!("{prefix}{name}");
            let Some(value) = value else {
                problems.push(Problem::at(path, "it is missing"));
                return None;
            };
            if let Err(message) = check_text(&value, false) {
                problems.push(Problem::at(path, message));
            }
            Some(value.into())
        };
        let id = required("id", self.id, problems);
        let source = required("source", self.source, problems);
        let kind = required("type", self.kind, problems);
        let time = read_time(self.time.as_deref(), ctx).unwrap_or_else(|message| {
            problems.push(Problem::at(format!("{prefix}time"), message));
            ctx.now
        });
        if let Err(message) = self.subject.as_deref().map_or(Ok(()), |subject| check_text(subject, true)) {
            problems.push(Problem::at(format!("{prefix}subject"), message));
        }
        if let Err(message) = check_data(content_type, body) {
            problems.push(Problem::at("data", message));
        }
        let mut event = Event::new(source?, kind?, id?, time);
        event.subject = self.subject.map(Into::into);
        event.content_type = content_type.map(Into::into);
        event.data = body.clone();
        event.extensions = self.extensions;
        Some(event)
    }
}

/// Checks the whole text before it is parsed: UTF-8 once for all. How deep it nests is the data's own check: what the
/// parser skips it does not recurse into, and an envelope has no depth.
fn read_text(body: &Bytes) -> Result<&str, Vec<Problem>> {
    std::str::from_utf8(body).map_err(|err| vec![Problem::at("", format!("it is not UTF-8: {err}"))])
}

/// Checks an attribute: its length, and that it has none of the characters that CloudEvents forbids.
fn check_text(value: &str, may_be_empty: bool) -> Result<(), String> {
    if value.is_empty() && !may_be_empty {
        return Err("it is empty".into());
    }
    if value.len() > ATTRIBUTE_BYTES_MAX {
        return Err(format!("{} bytes are more than {ATTRIBUTE_BYTES_MAX}", value.len()));
    }
    if value.chars().any(char::is_control) {
        return Err("it holds control characters".into());
    }
    Ok(())
}

fn check_extension(name: &str, value: &str, known: &[(Box<str>, Box<str>)]) -> Result<(), String> {
    let sound = (1..=EXTENSION_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !sound {
        return Err(format!("an attribute's name has 1 to {EXTENSION_NAME_BYTES_MAX} lower-case letters and digits"));
    }
    if known.len() >= EXTENSIONS_MAX {
        return Err(format!("there are more than {EXTENSIONS_MAX} extension attributes"));
    }
    if known.iter().any(|(other, _)| **other == *name) {
        return Err("it is there twice".into());
    }
    check_text(value, true)
}

fn read_time(time: Option<&str>, ctx: Context) -> Result<Time, String> {
    let Some(text) = time else { return Ok(ctx.now) };
    let time = Time::parse(text).ok_or("it is not a time of RFC 3339, such as 2026-01-31T12:00:00Z")?;
    if time > ctx.now + EVENT_AHEAD_MAX {
        return Err("it is more than a day ahead of our clock".into());
    }
    Ok(time)
}

/// Checks data that are the whole of a body: their size, and that JSON can be read.
fn check_data(content_type: Option<&str>, data: &[u8]) -> Result<(), String> {
    if data.len() > EVENT_BYTES_MAX {
        return Err(format!("{} bytes are more than {EVENT_BYTES_MAX}", data.len()));
    }
    if data.is_empty() || !content_type.is_none_or(is_json_type) {
        return Ok(());
    }
    if is_deeper(data, JSON_DEPTH_MAX) {
        return Err(format!("it nests deeper than {JSON_DEPTH_MAX}"));
    }
    let text = std::str::from_utf8(data).map_err(|err| format!("it is not UTF-8: {err}"))?;
    sound::check(text).map_err(|err| err.to_string())
}

/// Decodes data that came as base 64.
fn decode_base64(text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Into::into).map_err(|err| format!("it is not base 64: {err}"))
}

#[cfg(test)]
mod tests;
