//! ETags and the conditions of a change: `If-Match`, `If-None-Match`.

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use crate::desk::ChangeError;

/// What version an object has to have for a change to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Precondition {
    /// One of these; any when empty.
    matches: Option<Wanted>,
    /// It must not exist.
    absent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Any,
    Version(i64),
}

impl Precondition {
    /// Reads the condition of a call.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?").trim());
        let matches = match text(IF_MATCH) {
            None => None,
            Some("*") => Some(Wanted::Any),
            Some(tag) => Some(Wanted::Version(read_tag("If-Match", tag)?)),
        };
        let absent = match text(IF_NONE_MATCH) {
            None => false,
            Some("*") => true,
            Some(_) => return Err(ApiError::bad_at("If-None-Match", "`*` is expected")),
        };
        Ok(Self { matches, absent })
    }

    /// Refuses the change unless the object's version (0: there is none) is as expected.
    pub(crate) fn check(self, version: i64) -> Result<(), ChangeError> {
        let held = match self.matches {
            None => true,
            Some(Wanted::Any) => version != 0,
            Some(Wanted::Version(wanted)) => version == wanted,
        };
        if held && !(self.absent && version != 0) { Ok(()) } else { Err(ChangeError::Precondition(version)) }
    }
}

/// An answer with a body and its version as ETag.
pub(crate) fn versioned(status: StatusCode, version: i64, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).unwrap_or_default();
    let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits and quotes are header text");
    let content_type = HeaderValue::from_static("application/json");
    let mut response = (status, body).into_response();
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, content_type);
    response
}

/// 201 for what was not there before, else 200.
pub(crate) const fn saved(version_before: i64) -> StatusCode {
    if version_before == 0 { StatusCode::CREATED } else { StatusCode::OK }
}

fn read_tag(path: &str, tag: &str) -> Result<i64, ApiError> {
    let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    inner.parse().map_err(|_| ApiError::bad_at(path, "`*` or the ETag of one version is expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &str)], version: i64, expected: bool) {
        let headers: HeaderMap =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let condition = Precondition::read(&headers).unwrap();
        assert_eq!(condition.check(version).is_ok(), expected, "{pairs:?} {version}");
    }

    #[test]
    fn conditions_hold_or_not() {
        check(&[], 0, true);
        check(&[], 5, true);
        check(&[("if-match", "\"5\"")], 5, true);
        check(&[("if-match", "5")], 5, true);
        check(&[("if-match", "\"4\"")], 5, false);
        check(&[("if-match", "*")], 5, true);
        check(&[("if-match", "*")], 0, false);
        check(&[("if-none-match", "*")], 0, true);
        check(&[("if-none-match", "*")], 5, false);
    }

    #[test]
    fn broken_conditions_are_refused() {
        for (name, value) in [("if-match", "W/\"x\""), ("if-none-match", "\"5\""), ("if-match", "\"1\", \"2\"")] {
            let headers = [(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect();
            assert!(Precondition::read(&headers).is_err(), "{value}");
        }
    }
}
