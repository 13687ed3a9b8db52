//! Messages: what a send carries, rendered once and sent the same at every try.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Attempt;
use crate::evaluation::Request;
use crate::event::Event;
use crate::id::TaskId;
use crate::limits::BODY_BYTES_MAX;
use crate::plan::SendPlan;
use crate::ports::{Message, Receipt};
use crate::template::Scope;

/// What every try of a send has in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The body.
    pub body: Bytes,
    /// Its media type.
    pub content_type: String,
    /// The key.
    pub key: Option<String>,
    /// The options without the headers, which may hold today's credentials.
    pub options: Map<String, Value>,
}

impl Rendered {
    pub(crate) fn to_request(&self) -> Request {
        let text = std::str::from_utf8(&self.body).ok().map(str::to_owned);
        Request {
            bytes: if text.is_none() { Some(self.body.to_vec()) } else { None },
            text,
            content_type: self.content_type.clone(),
            key: self.key.clone(),
            options: self.options.clone(),
        }
    }

    pub(crate) fn from_request(request: Request) -> Self {
        let body = request.text.map(String::into_bytes).or(request.bytes).unwrap_or_default();
        Self { body: body.into(), content_type: request.content_type, key: request.key, options: request.options }
    }
}

/// Renders what every try of a send has in common.
pub fn render(send: &SendPlan, scope: &Scope) -> Result<Rendered, String> {
    let (body, content_type) = match &send.body {
        None => (Bytes::from(scope.event.to_structured()), "application/cloudevents+json".to_owned()),
        Some(template) => body_of(template.render(scope).map_err(|reason| format!("body: {reason}"))?),
    };
    if body.len() > BODY_BYTES_MAX.max(scope.event.data.len() + ENVELOPE_BYTES_MAX) {
        return Err(format!("body: {} bytes are more than {BODY_BYTES_MAX}", body.len()));
    }
    let key = match &send.key {
        None => None,
        Some(template) => Some(template.render_text(scope).map_err(|reason| format!("key: {reason}"))?),
    };
    let mut options = options(send, scope)?;
    options.remove("headers");
    Ok(Rendered { body, content_type, key, options })
}

/// The most that an event's attributes add to its data.
const ENVELOPE_BYTES_MAX: usize = 128 << 10;

fn options(send: &SendPlan, scope: &Scope) -> Result<Map<String, Value>, String> {
    let mut scope = scope.clone();
    scope.secrets = Arc::clone(&send.connection.secrets);
    match send.with.render(&scope).map_err(|reason| format!("with: {reason}"))? {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Ok(Map::new()),
    }
}

/// Text is sent as it is; whatever else as JSON. Text that is JSON is called so.
fn body_of(value: Value) -> (Bytes, String) {
    match value {
        Value::String(text) => {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
            (text.into(), content_type.to_owned())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            (other.to_string().into(), "application/json".to_owned())
        }
    }
}

/// The message of this try: what all tries have in common, and today's headers.
pub(super) fn for_send(attempt: &Attempt, send: &SendPlan, scope: &Scope) -> Result<(Arc<Rendered>, Message), String> {
    let rendered = match &attempt.rendered {
        Some(rendered) => Arc::clone(rendered),
        None => Arc::new(render(send, scope)?),
    };
    let mut map = rendered.options.clone();
    if let Some(headers) = options(send, scope)?.remove("headers") {
        map.insert("headers".into(), headers);
    }
    let message = Message {
        body: rendered.body.clone(),
        content_type: rendered.content_type.clone(),
        headers: Vec::new(),
        key: rendered.key.clone(),
        options: map,
        idempotency_key: idempotency_key(attempt.task, b"send"),
        attempt: attempt.tries + 1,
        traceparent: attempt.event.extension("traceparent").map(str::to_owned),
    };
    Ok((rendered, message))
}

/// The name of a send across tries: a hash of the task and of what names the send within it.
pub fn idempotency_key(task: TaskId, name: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update([task.0.shard]);
    hash.update(task.0.seq.to_be_bytes());
    hash.update(name);
    let digest = hash.finalize();
    let mut text = String::with_capacity(4 + 32);
    text.push_str("msg_");
    for byte in &digest[..16] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

/// What later actions see of a send.
pub(super) fn output_of(receipt: &Receipt) -> Value {
    let body = match serde_json::from_slice(&receipt.body) {
        Ok(value) => value,
        Err(_) if receipt.body.is_empty() => Value::Null,
        Err(_) => Value::String(String::from_utf8_lossy(&receipt.body).into_owned()),
    };
    serde_json::json!({"status": receipt.status, "id": receipt.id, "body": body})
}

impl Event {
    /// The event as CloudEvents writes it in JSON ("structured mode"), with its data exactly as it was sent.
    pub fn to_structured(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.data.len());
        let field = |out: &mut Vec<u8>, name: &str, value: &str| {
            out.push(if out.is_empty() { b'{' } else { b',' });
            write_text(out, name);
            out.push(b':');
            write_text(out, value);
        };
        field(&mut out, "specversion", "1.0");
        field(&mut out, "id", &self.id);
        field(&mut out, "source", &self.source);
        field(&mut out, "type", &self.kind);
        field(&mut out, "time", &self.time.to_string());
        if let Some(subject) = &self.subject {
            field(&mut out, "subject", subject);
        }
        if let Some(content_type) = &self.content_type {
            field(&mut out, "datacontenttype", content_type);
        }
        for (name, value) in &self.extensions {
            field(&mut out, name, value);
        }
        if !self.data.is_empty() {
            if self.is_json() {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(&self.data);
            } else if let Ok(text) = std::str::from_utf8(&self.data) {
                field(&mut out, "data", text);
            } else {
                field(&mut out, "data_base64", &STANDARD.encode(&self.data));
            }
        }
        out.push(b'}');
        out
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn structured_events_carry_data_as_it_was_sent() {
        let check = |content_type: Option<&str>, data: &'static [u8], expected: &str| {
            let mut event = Event::new("shop", "t", "1\"", Time(1_000_000));
            event.content_type = content_type.map(Into::into);
            event.data = Bytes::from_static(data);
            let text = String::from_utf8(event.to_structured()).unwrap();
            assert!(text.starts_with(
                r#"{"specversion":"1.0","id":"1\"","source":"shop","type":"t","time":"1970-01-01T00:00:01Z""#
            ));
            assert!(text.ends_with(expected), "{text}");
            serde_json::from_str::<Value>(&text).unwrap();
        };
        let tricky = br#"{"a":"'\"<b>\u00e9","n":9007199254740993,"t":true,"z":null,"s":"{{ secret.X }}"}"#;
        check(None, tricky, &format!(",\"data\":{}}}", std::str::from_utf8(tricky).unwrap()));
        check(None, b"", "Z\"}");
        check(Some("text/plain"), "a\"é".as_bytes(), r#","data":"a\"é"}"#);
        check(Some("image/png"), &[0xff, 0, 1, 2], r#","data_base64":"/wABAg=="}"#);
    }

    #[test]
    fn keys_name_the_send_and_not_the_try() {
        let key = idempotency_key(TaskId::of(7), b"send");
        assert_eq!(key, idempotency_key(TaskId::of(7), b"send"));
        assert_ne!(key, idempotency_key(TaskId::of(8), b"send"));
        assert_eq!(key.len(), 36);
    }

    #[test]
    fn requests_read_back() {
        for body in [&b"text"[..], &[0xff, 0]] {
            let rendered =
                Rendered { body: Bytes::copy_from_slice(body), key: Some("k".into()), ..Rendered::default() };
            assert_eq!(Rendered::from_request(rendered.to_request()), rendered);
        }
    }
}
