//! An event: a fact that happened, with the attributes of CloudEvents 1.0.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::Value;

use crate::time::Time;

/// The most bytes of data that one event may carry.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of JSON that an event or a definition may have.
pub const JSON_DEPTH_MAX: usize = 64;
/// The longest attribute of an event, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1_024;
/// The most extension attributes of an event.
pub const EXTENSIONS_MAX: usize = 64;

/// A fact that happened. Immutable and shared: an event, its tasks and its sends hold one copy.
#[derive(Debug)]
pub struct Event {
    /// The id that the sender gave it; unique within `source`.
    pub id: Box<str>,
    /// Where it happened.
    pub source: Box<str>,
    /// What happened, such as `com.example.order.placed`.
    pub kind: Box<str>,
    /// Whom or what it is about.
    pub subject: Option<Box<str>>,
    /// When it happened, as the sender says.
    pub time: Time,
    /// How to read `data`; JSON when absent.
    pub content_type: Option<Box<str>>,
    /// The payload exactly as it was sent. For JSON this is the text between the sender's own braces.
    pub data: Bytes,
    /// Extension attributes by name, and `dataschema`.
    pub extensions: Vec<(Box<str>, Box<str>)>,
    parsed: OnceLock<Value>,
}

impl Event {
    /// An event with the attributes that every event has, and no data.
    pub fn new(source: impl Into<Box<str>>, kind: impl Into<Box<str>>, id: impl Into<Box<str>>, time: Time) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time,
            content_type: None,
            data: Bytes::new(),
            extensions: Vec::new(),
            parsed: OnceLock::new(),
        }
    }

    /// Whether `data` is JSON text.
    pub fn is_json(&self) -> bool {
        self.content_type.as_deref().is_none_or(is_json_type)
    }

    /// The data as JSON, parsed at the first call: a string when the content type is textual, null when there is
    /// none or when it cannot be read. Intake has refused JSON that cannot be read, so null then means binary data.
    pub fn json(&self) -> &Value {
        self.parsed.get_or_init(|| {
            if self.data.is_empty() {
                Value::Null
            } else if self.is_json() {
                serde_json::from_slice(&self.data).unwrap_or(Value::Null)
            } else {
                std::str::from_utf8(&self.data).map_or(Value::Null, Value::from)
            }
        })
    }

    /// The extension attribute of this name.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find(|(n, _)| **n == *name).map(|(_, value)| &**value)
    }

    /// About how much memory the event holds.
    pub fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.data.len() + self.id.len() + self.source.len() + self.kind.len()
    }
}

/// Whether a media type says JSON: `application/json`, `text/json`, or any `…+json`.
pub fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let ends_with = |suffix: &str| {
        let start = essence.len().checked_sub(suffix.len());
        start.and_then(|start| essence.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    essence.eq_ignore_ascii_case("application/json") || essence.eq_ignore_ascii_case("text/json") || ends_with("+json")
}

/// Whether the brackets of a JSON text nest deeper than `max`, without parsing it.
///
/// The text need not be valid: the parser that follows says so. This bounds what that parser has to recurse. Few
/// brackets cannot nest deep, and to count them takes a tenth of the time of following them.
pub fn is_deeper(text: &[u8], max: usize) -> bool {
    let n_brackets = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    n_brackets > max && depth(text) > max
}

fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            (true | false, _) => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_ignores_strings() {
        for (text, expected) in [("1", 0), ("[]", 1), (r#"{"a":[{"b":"[[[\"{{"}]}"#, 3), ("[[[", 3), ("]]]", 0)] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn many_brackets_need_not_be_deep() {
        assert!(!is_deeper("[[]]".repeat(100).as_bytes(), 64));
        assert!(is_deeper("[".repeat(65).as_bytes(), 64));
    }

    #[test]
    fn json_has_many_types() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.x+Json", true),
            ("text/json", true),
            ("text/plain", false),
            ("json", false),
            ("é+json", true),
            ("+jso\u{301}n", false),
        ] {
            assert_eq!(is_json_type(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn data_is_read_by_its_type() {
        let check = |content_type: Option<&str>, data: &'static str, expected: Value| {
            let mut event = Event::new("s", "t", "1", Time(0));
            event.content_type = content_type.map(Into::into);
            event.data = Bytes::from_static(data.as_bytes());
            assert_eq!(event.json(), &expected);
        };
        check(None, "[1]", serde_json::json!([1]));
        check(Some("application/vnd.x+json; charset=utf-8"), "9007199254740993", 9_007_199_254_740_993_i64.into());
        check(Some("text/plain"), "[1]", "[1]".into());
        check(None, "", Value::Null);
    }
}
