//! `sinks`: the one door out.

use serde_json::{Map, Value};
use trapjaw_engine::event::{JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::limits::BODY_BYTES_MAX;
use trapjaw_engine::ports::{self, Failure, SecretHeader, SendRequest};

use super::to_guest;
use crate::bindings::sinks::{Host, Message, Receipt};
use crate::bindings::types;
use crate::guest::{Doors, Guest};
use crate::text;

impl Host for Guest {
    async fn send(&mut self, label: String, message: Message) -> Result<Receipt, types::Failure> {
        send(&mut self.doors, label, message).await.map_err(to_guest)
    }
}

async fn send(doors: &mut Doors, label: String, message: Message) -> Result<Receipt, Failure> {
    let Some(hands) = &doors.hands else {
        return Err(Failure::rejected("a condition has no connections"));
    };
    if doors.n_sends == doors.n_sends_max {
        return Err(Failure::permanent(format!("over the limit of {} sends a call", doors.n_sends_max)));
    }
    doors.n_sends += 1;
    let receipt = hands.send(request(label, message)?).await?;
    Ok(Receipt {
        id: receipt.id,
        status: receipt.status,
        content_type: receipt.content_type,
        body: receipt.body.into(),
        replayed: receipt.replayed,
    })
}

fn request(label: String, message: Message) -> Result<SendRequest, Failure> {
    if message.body.len() > BODY_BYTES_MAX {
        return Err(Failure::permanent(format!("body over the limit of {}", text::bytes(BODY_BYTES_MAX))));
    }
    let secret_headers = message.secret_headers.into_iter().map(|header| SecretHeader {
        name: header.name,
        prefix: header.prefix,
        secret: header.secret,
    });
    Ok(SendRequest {
        label,
        secret_headers: secret_headers.collect(),
        dedup_key: message.dedup_key,
        message: ports::Message {
            options: options(message.options.as_deref())?,
            body: message.body.into(),
            content_type: message.content_type,
            headers: message.headers,
            key: message.key,
            ..ports::Message::default()
        },
    })
}

fn options(text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let Some(text) = text else {
        return Ok(Map::new());
    };
    if is_deeper(text.as_bytes(), JSON_DEPTH_MAX) {
        return Err(Failure::rejected(format!("read options: nested deeper than {JSON_DEPTH_MAX}")));
    }
    serde_json::from_str(text).map_err(|err| Failure::rejected(format!("read options: not a JSON object: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_an_object() {
        let check = |text: Option<&str>, expected: &str| match options(text) {
            Ok(options) => assert_eq!(Value::Object(options).to_string(), expected),
            Err(failure) => assert!(failure.message.starts_with(expected), "{failure}"),
        };
        check(None, "{}");
        check(Some(r#"{"topic":"vip"}"#), r#"{"topic":"vip"}"#);
        check(Some("[]"), "read options: not a JSON object: invalid type: sequence");
        check(Some("{"), "read options: not a JSON object: EOF");
        check(Some(&format!("{{\"a\":{}", "[".repeat(JSON_DEPTH_MAX))), "read options: nested deeper than 64");
    }
}
