//! Request bodies: bounded in bytes, time and memory before anything reads them.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use trapjaw_engine::event::{JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::problem::Problem;

use super::error::{ApiError, stopping};
use crate::config::show_path;

/// How long a call waits for room in the budget of bodies before it is told to come again.
const ROOM_TIME_MAX: Duration = Duration::from_secs(10);
/// When it is to come again.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// Uploads that are checked and compiled at one time: each holds up to 64 MiB of the budget while it is.
const UPLOADS_MAX: usize = 2;
/// Uploads that may wait for that, with their bodies still at the sender's.
const UPLOADS_WAITING_MAX: usize = 16;
/// How long an upload waits before it is told to come again.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a body may take to arrive: longer than 8 MiB on a slow line, short enough that idlers do not pile up.
const READ_TIME_MAX: Duration = Duration::from_secs(60);
/// Bodies up to this size are inflated where they are; longer ones would hold up other calls.
const INFLATE_INLINE_BYTES_MAX: usize = 64 << 10;
/// How long, and how many bytes of, a refused body are read: enough for a component that is somewhat too large.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);
const DISCARD_BYTES_MAX: usize = 128 << 20;
/// What the budget of bodies is counted in.
const UNIT: usize = 1 << 10;

/// How many bytes of bodies may be held at one time.
pub(crate) struct BodyBudget {
    units: Semaphore,
    units_max: u32,
    room_time_max: Duration,
    uploads: Semaphore,
    uploads_waiting: Semaphore,
}

/// A body in memory. It counts against the budget until it is dropped.
pub(crate) struct Held<'a> {
    /// The body, inflated.
    pub(crate) bytes: Bytes,
    _permit: SemaphorePermit<'a>,
}

/// A place of an upload.
pub(crate) struct UploadPlace<'a> {
    _waiting: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl BodyBudget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Semaphore::new(units_max as usize),
            units_max,
            room_time_max: ROOM_TIME_MAX,
            uploads: Semaphore::new(UPLOADS_MAX),
            uploads_waiting: Semaphore::new(UPLOADS_MAX + UPLOADS_WAITING_MAX),
        }
    }

    /// A place for an upload, to be held until it is done. It is taken before the body is read.
    pub(crate) async fn place_for_upload(&self) -> Result<UploadPlace<'_>, ApiError> {
        let full = || {
            let detail = "there are as many uploads as the host takes at one time";
            ApiError::later(StatusCode::TOO_MANY_REQUESTS, detail, ROOM_WAIT)
        };
        let waiting = self.uploads_waiting.try_acquire().map_err(|_| full())?;
        let place = tokio::time::timeout(UPLOAD_TIME_MAX, self.uploads.acquire()).await.map_err(|_| full())?;
        Ok(UploadPlace { _waiting: waiting, _place: place.map_err(|_| stopping())? })
    }

    /// Reads a body of at most `max` bytes, inflated if it is compressed.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, max: usize) -> Result<Held<'_>, ApiError> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max) {
            discard(body).await;
            return Err(too_large(max));
        }
        let is_gzip = read_encoding(headers)?;
        let held = if is_gzip { max } else { announced.unwrap_or(max) };
        let units = u32::try_from(held / UNIT + 1).unwrap_or(u32::MAX).min(self.units_max);
        let room = tokio::time::timeout(self.room_time_max, self.units.acquire_many(units)).await.map_err(|_| {
            let detail = "the host holds as many bytes of bodies as it may";
            ApiError::later(StatusCode::SERVICE_UNAVAILABLE, detail, ROOM_WAIT)
        })?;
        let permit = room.map_err(|_| stopping())?;
        let bytes = tokio::time::timeout(READ_TIME_MAX, Limited::new(body, max).collect())
            .await
            .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive"))?
            .map_err(|err| read_error(&*err, max))?
            .to_bytes();
        let mut held = Held { bytes, _permit: permit };
        if is_gzip {
            held.bytes = inflate_off_path(held.bytes, max).await?;
        }
        Ok(held)
    }

    /// Reads a JSON body of at most `max` bytes into a type, and says which field is wrong.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
        max: usize,
    ) -> Result<T, ApiError> {
        expect_type(headers, &["application/json"])?;
        let held = self.read(headers, body, max).await?;
        read_json(&held.bytes)
    }
}

/// Reads a refused body to its end, or for as long as that takes no harm: a sender that is still writing when the
/// connection closes never sees the answer that says why.
async fn discard(body: Body) {
    let mut body = Limited::new(body, DISCARD_BYTES_MAX);
    let reading = async { while let Some(Ok(_)) = body.frame().await {} };
    // What is late is cut off; the answer is then all that can be done.
    let _in_time = tokio::time::timeout(DISCARD_TIME_MAX, reading).await;
}

/// Reads JSON text into a type: 400 for what is not JSON, 422 for what does not fit, with the path.
pub(crate) fn read_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    if is_deeper(text, JSON_DEPTH_MAX) {
        return Err(ApiError::bad_at("", format!("the JSON nests deeper than {JSON_DEPTH_MAX}")));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|err| {
        let problem = vec![Problem::at(show_path(err.path()), err.inner().to_string())];
        if err.inner().is_data() { ApiError::invalid(problem) } else { ApiError::bad(problem) }
    })?;
    deserializer.end().map_err(|err| ApiError::bad_at("", err.to_string()))?;
    Ok(value)
}

/// The media type of a body, in lower case and without parameters; empty when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses a body of another media type: 415.
pub(crate) fn expect_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), ApiError> {
    let got = media_type(headers);
    if expected.contains(&got.as_str()) {
        return Ok(());
    }
    let expected = expected.join(" or ");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("content type {expected} is expected, not `{got}`")))
}

/// The answer to a body that is too large.
pub(crate) fn too_large(max: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max} bytes"))
}

fn read_encoding(headers: &HeaderMap) -> Result<bool, ApiError> {
    match headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase()).as_deref() {
        None | Some("identity") => Ok(false),
        Some("gzip" | "x-gzip") => Ok(true),
        Some(_) => Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content encoding gzip or none is expected")),
    }
}

fn read_error(err: &(dyn std::error::Error + Send + Sync + 'static), max: usize) -> ApiError {
    if err.is::<LengthLimitError>() { too_large(max) } else { ApiError::bad_at("", "the body broke off") }
}

async fn inflate_off_path(bytes: Bytes, max: usize) -> Result<Bytes, ApiError> {
    if bytes.len() <= INFLATE_INLINE_BYTES_MAX && max <= INFLATE_INLINE_BYTES_MAX {
        return inflate(&bytes, max);
    }
    let inflating = tokio::task::spawn_blocking(move || inflate(&bytes, max));
    inflating.await.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be inflated"))?
}

/// Inflates, and stops at the first byte beyond the bound: a small body may stand for gigabytes.
fn inflate(bytes: &[u8], max: usize) -> Result<Bytes, ApiError> {
    let mut inflated = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes)
        .take(bound)
        .read_to_end(&mut inflated)
        .map_err(|err| ApiError::bad_at("", format!("the gzip stream is broken: {err}")))?;
    if inflated.len() > max { Err(too_large(max)) } else { Ok(inflated.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    const MAX: usize = 1_000;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn check(encoding: Option<&str>, body: Vec<u8>, expected: Result<&[u8], u16>) {
        let budget = BodyBudget::new(1 << 20);
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        }
        let read = budget.read(&headers, Body::from(body), MAX).await;
        match (read, expected) {
            (Ok(held), expected) => assert_eq!(Ok(&held.bytes[..]), expected),
            (Err(error), expected) => assert_eq!(Err(error.into_response().status().as_u16()), expected),
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_and_inflated() {
        check(None, b"abc".to_vec(), Ok(b"abc")).await;
        check(None, vec![b'x'; MAX], Ok(&[b'x'; MAX])).await;
        check(None, vec![b'x'; MAX + 1], Err(413)).await;
        check(Some("gzip"), gzip(b"abc"), Ok(b"abc")).await;
        check(Some("gzip"), gzip(&[b'x'; MAX]), Ok(&[b'x'; MAX])).await;
        check(Some("gzip"), gzip(&vec![b'x'; 1 << 20]), Err(413)).await;
        check(Some("gzip"), b"not gzip".to_vec(), Err(400)).await;
        check(Some("gzip"), gzip(b"abc")[..10].to_vec(), Err(400)).await;
        check(Some("br"), b"abc".to_vec(), Err(415)).await;
    }

    #[test]
    fn json_errors_tell_syntax_from_content() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shape {
            #[expect(dead_code, reason = "only its reading is tested")]
            n: u32,
        }
        let check = |text: &str, status: u16, path: &str| {
            let error = read_json::<Shape>(text.as_bytes()).unwrap_err();
            assert_eq!(error.errors()[0].path, path, "{text}");
            assert_eq!(error.into_response().status().as_u16(), status, "{text}");
        };
        check("{", 400, "");
        check("", 400, "");
        check(r#"{"n": "x"}"#, 422, "n");
        check(r#"{"m": 1}"#, 422, "m");
        check(r#"{"n": 1} x"#, 400, "");
        check(&"[".repeat(65), 400, "");
        assert!(read_json::<Shape>(br#"{"n": 1}"#).is_ok());
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_to_come_again() {
        let budget = BodyBudget { room_time_max: Duration::ZERO, ..BodyBudget::new(2 * UNIT) };
        let read = || async {
            let headers = [(CONTENT_LENGTH, "3".parse().unwrap())].into_iter().collect();
            budget.read(&headers, Body::from("abc"), MAX).await
        };
        let (first, second) = (read().await.ok().unwrap(), read().await.ok().unwrap());
        let refused = read().await.err().unwrap().into_response();
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true));
        drop(first);
        assert_eq!(&read().await.ok().unwrap().bytes[..], b"abc");
        drop(second);
    }

    #[tokio::test]
    async fn uploads_have_a_bound() {
        let budget = BodyBudget::new(UNIT);
        let first = budget.place_for_upload().await.ok().unwrap();
        let others = budget.uploads_waiting.try_acquire_many((UPLOADS_MAX + UPLOADS_WAITING_MAX - 1) as u32).unwrap();
        assert_eq!(budget.place_for_upload().await.err().unwrap().into_response().status().as_u16(), 429);
        drop(others);
        assert_eq!(budget.uploads.available_permits(), UPLOADS_MAX - 1);
        drop(first);
        assert!(budget.place_for_upload().await.is_ok());
        assert_eq!(budget.uploads.available_permits(), UPLOADS_MAX, "a place comes back when the upload is done");
    }
}
