//! What the API answers when it does not do as asked: RFC 9457 problem bodies that name the field.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trapjaw_engine::intake::Refused;
use trapjaw_engine::ports::StoreError;
use trapjaw_engine::problem::Problem;
use utoipa::ToSchema;

use crate::desk::ChangeError;

/// An answer that says why not.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    detail: String,
    errors: Vec<Problem>,
    retry_after: Option<Duration>,
}

/// The body of such an answer, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Always `about:blank`: the status and the detail say all.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// One sentence for people.
    detail: String,
    /// Everything that is wrong, with its place.
    errors: Vec<ProblemItem>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemItem {
    /// Where, such as `triggers.shop.vip.when[1].expr`; empty for the whole.
    pub(crate) path: String,
    /// What.
    pub(crate) message: String,
}

impl ApiError {
    /// An answer with this status and sentence.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// What was sent cannot be read: 400.
    pub(crate) fn bad(errors: Vec<Problem>) -> Self {
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, "what was sent cannot be read") }
    }

    /// One thing that was sent cannot be read: 400.
    pub(crate) fn bad_at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::bad(vec![Problem::at(path, message)])
    }

    /// What was sent can be read, and is wrong: 422.
    pub(crate) fn invalid(errors: Vec<Problem>) -> Self {
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "what was sent is not valid") }
    }

    /// There is no such thing: 404.
    pub(crate) fn missing(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// The caller may not: 403.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// Come again later.
    pub(crate) fn later(status: StatusCode, detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(status, detail) }
    }

    /// Everything that is wrong.
    pub(crate) fn errors(&self) -> &[Problem] {
        &self.errors
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let item = |problem: Problem| ProblemItem { path: problem.path, message: problem.message };
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Unknown"),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors.into_iter().map(item).collect(),
        };
        let body = serde_json::to_vec(&body).expect("the body is made of strings and numbers");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(err: StoreError) -> Self {
        match err {
            StoreError::Full(what) => Self::new(StatusCode::INSUFFICIENT_STORAGE, format!("store event: {what}")),
            StoreError::Closed(_) => stopping(),
            StoreError::Fatal(_) | StoreError::Lost => {
                tracing::error!(error = %err, "the store failed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store failed; the host stops")
            }
            StoreError::Read(ref source) => {
                tracing::warn!(error = %source, "a read from the store failed");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store could not be read")
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Bad(problems) => Self::bad(problems),
            Refused::Busy => {
                Self::later(StatusCode::TOO_MANY_REQUESTS, "the host has as much open work as it can hold", BUSY_WAIT)
            }
            Refused::Stopping => stopping(),
            Refused::Unknown(what) => Self::missing(what),
            Refused::Store(err) => err.into(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(err: ChangeError) -> Self {
        match err {
            ChangeError::Invalid(problems) => Self::invalid(problems),
            ChangeError::Missing(what) => Self::missing(what),
            ChangeError::Precondition(version) => {
                Self::new(StatusCode::PRECONDITION_FAILED, format!("it is at version {version}"))
            }
            ChangeError::Conflict(_) | ChangeError::Taken(_) => Self::new(StatusCode::CONFLICT, err.to_string()),
            ChangeError::Forbidden(why) => Self::forbidden(why),
            ChangeError::Stopping => stopping(),
            ChangeError::Store(err) => err.into(),
        }
    }
}

/// The answer of a host that is about to end.
pub(crate) fn stopping() -> ApiError {
    ApiError::later(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping", BUSY_WAIT)
}

/// How long a sender is to wait when the host is full or stopping.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// The answer to a path that leads nowhere.
pub(crate) async fn no_route(request: Request) -> ApiError {
    ApiError::missing(format_args!("{}", crate::text::escape_controls(request.uri().path())))
}

/// The answer to a method that the path does not take.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take the method")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn a_problem_has_its_form() {
        let response = ApiError::bad_at("data", "it is broken").into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let expected = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "what was sent cannot be read",
            "errors": [{"path": "data", "message": "it is broken"}],
        });
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn refusals_have_their_status() {
        let check = |error: ApiError, expected: u16| assert_eq!(error.into_response().status().as_u16(), expected);
        check(Refused::Busy.into(), 429);
        check(StoreError::Full("no room").into(), 507);
        check(Refused::Stopping.into(), 503);
        check(Refused::Unknown("trigger x".into()).into(), 404);
        check(ChangeError::Invalid(Vec::new()).into(), 422);
        check(ChangeError::Precondition(1).into(), 412);
        check(ChangeError::Taken("x".into()).into(), 409);
        check(ChangeError::Forbidden("x".into()).into(), 403);
        check(ChangeError::Stopping.into(), 503);
        check(StoreError::Closed("it is closed").into(), 503);
        check(StoreError::Lost.into(), 503);
    }

    #[test]
    fn a_full_host_says_when_to_come_again() {
        assert_eq!(ApiError::from(Refused::Busy).into_response().headers()[RETRY_AFTER], "1");
    }
}
