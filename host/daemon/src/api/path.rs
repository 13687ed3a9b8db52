//! The part of a path that is not fixed: a name or an id.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;

/// The name or id in the path, percent-decoded.
pub(crate) struct Path(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let text = found.map_err(|_| ApiError::bad_at("", "the path is not percent-encoded UTF-8"))?;
        Ok(Self(text.0))
    }
}
