//! What the server refused, in the words of its problem document (RFC 9457).

use std::fmt;

use reqwest::StatusCode;
use serde_json::Value;

use super::words;

/// What the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What is wrong, in a sentence.
    pub(super) message: String,
    /// Each thing that is wrong: where, and what.
    pub(super) errors: Vec<(String, String)>,
}

/// How many of the server's errors are shown; the first ones are enough to begin with.
const ERRORS_SHOWN_MAX: usize = 100;
/// How much is shown of an answer that is no problem document: another server stands there, or a proxy.
const FOREIGN_CHARS_MAX: usize = 300;

impl Refusal {
    /// Reads the body of an answer with an error status.
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        match serde_json::from_slice::<Value>(body) {
            Ok(problem) if problem.is_object() => Self {
                status,
                message: text(&problem, "detail")
                    .or_else(|| text(&problem, "title"))
                    .unwrap_or_else(|| "refused without a reason".into()),
                errors: problem
                    .get("errors")
                    .and_then(Value::as_array)
                    .map_or(&[] as &[Value], Vec::as_slice)
                    .iter()
                    .map(|error| (text(error, "path").unwrap_or_default(), text(error, "message").unwrap_or_default()))
                    .collect(),
            },
            Ok(_) | Err(_) => {
                let foreign = String::from_utf8_lossy(body).trim().to_owned();
                let message = if foreign.is_empty() { "refused without a reason".into() } else { foreign };
                Self { status, message: words::cut(message, FOREIGN_CHARS_MAX), errors: Vec::new() }
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// A short message, then a line for each error, then what a person may try.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", words::one_line(&self.message), self.status.as_u16())?;
        for (path, message) in self.errors.iter().take(ERRORS_SHOWN_MAX) {
            let (path, message) = (words::one_line(path), words::one_line(message));
            if path.is_empty() { write!(f, "\n  {message}")? } else { write!(f, "\n  {path}: {message}")? }
        }
        if self.errors.len() > ERRORS_SHOWN_MAX {
            write!(f, "\n  and {} more", self.errors.len() - ERRORS_SHOWN_MAX)?;
        }
        if self.status == StatusCode::UNAUTHORIZED {
            write!(f, "\nname a token with --token or TRAPJAW_TOKEN")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: &str) {
        let refusal = Refusal::read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(refusal.to_string(), expected);
    }

    #[test]
    fn problems_are_readable() {
        check(
            400,
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"2 problems in the document",
                "errors":[{"path":"triggers.a.when[0].expr","message":"unknown name `evnt`"},{"path":"","message":"no"}],"more":1}"#,
            "2 problems in the document (400)\n  triggers.a.when[0].expr: unknown name `evnt`\n  no",
        );
        check(404, r#"{"title":"no such trigger"}"#, "no such trigger (404)");
        check(409, "{}", "refused without a reason (409)");
        check(502, "<html>\u{1b}[2J", "<html>\\u{1b}[2J (502)");
        check(503, "", "refused without a reason (503)");
        check(500, "[1]", "[1] (500)");
        check(401, r#"{"detail":"no token"}"#, "no token (401)\nname a token with --token or TRAPJAW_TOKEN");
    }

    #[test]
    fn long_lists_end() {
        let errors: Vec<_> = (0..150).map(|n| serde_json::json!({"path": format!("p{n}"), "message": "m"})).collect();
        let body = serde_json::json!({"detail": "d", "errors": errors}).to_string();
        let text = Refusal::read(StatusCode::BAD_REQUEST, body.as_bytes()).to_string();
        assert!(text.ends_with("\n  p99: m\n  and 50 more"), "{text}");
    }
}
