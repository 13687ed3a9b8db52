//! The one door out: messages to the connections that the trigger bound to the plugin's labels.
//!
//! ```
//! # use trapjaw_sdk::{Failure, json, sinks::{self, Message}};
//! # fn tell() -> Result<(), Failure> {
//! let message = Message::json(&json!({"text": "3 commits"}))?
//!     .header("x-team", "growth")
//!     .key("main");
//! let receipt = sinks::send("chat", message)?;
//! # Ok(()) }
//! ```

pub use crate::bindings::sinks::{Message, Receipt, SecretHeader};

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::call::read_json;

/// Sends to the connection behind the label, and waits for the receipt.
///
/// `rejected`: no such label, or not granted. `permanent`: refused, or over a limit of this call.
/// `transient`: anything that a later try may get past.
#[cfg(target_family = "wasm")]
pub fn send(label: &str, message: Message) -> Result<Receipt, Failure> {
    crate::bindings::sinks::send(label, &message)
}

/// Sends to the connection behind the label, and waits for the receipt.
///
/// `rejected`: no such label, or not granted. `permanent`: refused, or over a limit of this call.
/// `transient`: anything that a later try may get past.
#[cfg(not(target_family = "wasm"))]
pub fn send(label: &str, _message: Message) -> Result<Receipt, Failure> {
    Err(Failure::rejected(format!("send on `{label}`: no connections outside Trapjaw")))
}

impl Message {
    /// Anything that serde can write, as JSON.
    pub fn json<T: Serialize + ?Sized>(body: &T) -> Result<Self, Failure> {
        Ok(Self::bytes("application/json", serde_json::to_vec(body)?))
    }

    /// Text in UTF-8.
    pub fn text(body: impl Into<String>) -> Self {
        Self::bytes("text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// Any bytes.
    pub fn bytes(content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            content_type: content_type.into(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            key: None,
            options: None,
            dedup_key: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header whose value the host makes of `prefix` and the named secret; the plugin never sees it.
    pub fn secret_header(
        mut self,
        name: impl Into<String>,
        prefix: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        self.secret_headers.push(SecretHeader { name: name.into(), prefix: prefix.into(), secret: secret.into() });
        self
    }

    /// Sets the partition, routing, group or ordering key, by the sink's kind.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Names this send across tries; by default its content does.
    pub fn dedup_key(mut self, key: impl Into<String>) -> Self {
        self.dedup_key = Some(key.into());
        self
    }

    /// Sets the options of the sink's kind, a JSON object.
    pub fn options<T: Serialize + ?Sized>(mut self, options: &T) -> Result<Self, Failure> {
        self.options = Some(serde_json::to_string(options)?);
        Ok(self)
    }
}

impl Receipt {
    /// The answer, read as JSON into `T`.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        read_json("read answer", &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_what_it_was_given() {
        let message = Message::json(&serde_json::json!({"a": 1}))
            .and_then(|message| message.options(&serde_json::json!({"topic": "t"})))
            .expect("plain JSON can be written")
            .header("x-a", "1")
            .secret_header("authorization", "Bearer ", "CRM")
            .key("k")
            .dedup_key("d");
        assert_eq!(message.body, br#"{"a":1}"#);
        assert_eq!(message.content_type, "application/json");
        assert_eq!(message.headers, [("x-a".to_owned(), "1".to_owned())]);
        assert_eq!(message.secret_headers[0].secret, "CRM");
        assert_eq!(message.key.as_deref(), Some("k"));
        assert_eq!(message.dedup_key.as_deref(), Some("d"));
        assert_eq!(message.options.as_deref(), Some(r#"{"topic":"t"}"#));
    }

    #[test]
    fn a_test_on_the_host_has_no_connections() {
        let failure = send("chat", Message::text("x")).expect_err("no host is there");
        assert_eq!(failure.message, "send on `chat`: no connections outside Trapjaw");
    }
}
