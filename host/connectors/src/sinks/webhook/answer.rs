//! What an answer means.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;
use trapjaw_engine::limits::{DETAIL_BYTES_MAX, RECEIPT_BYTES_MAX, RETRY_AFTER_MAX};
use trapjaw_engine::ports::{Receipt, Refusal, SendError};
use trapjaw_engine::time::Time;

/// How long the body of an answer is waited for: the status has said already what is to be done.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(2);
/// The most bytes of a media type that are kept.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Reads an answer. Its status decides; a body that hangs or breaks off is kept as far as it came.
pub(super) async fn take(response: Response<Incoming>, origin: &str, now: Time) -> Result<Receipt, SendError> {
    let (head, body) = response.into_parts();
    let status = Some(head.status.as_u16());
    let Some(refusal) = refusal_of(head.status, &head.headers, now) else {
        let body = start_of(body, RECEIPT_BYTES_MAX, BODY_WAIT).await;
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(|text| text.chars().take(CONTENT_TYPE_BYTES_MAX).collect());
        return Ok(Receipt { id: None, status, content_type, body, replayed: false });
    };
    let answer = start_of(body, DETAIL_BYTES_MAX, BODY_WAIT).await;
    let why = if head.status.is_redirection() { ": redirects are not followed" } else { "" };
    let message = format!("{origin} answered {}{why}", head.status);
    Err(SendError { refusal, message, status, answer })
}

/// What a status means for what comes next; `None` for success.
pub(super) fn refusal_of(status: StatusCode, headers: &HeaderMap, now: Time) -> Option<Refusal> {
    match status.as_u16() {
        200..=299 => None,
        401 | 403 => Some(Refusal::Unauthorized),
        408 | 425 | 429 | 500..=599 => {
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Some(Refusal::Retry(after.and_then(|after| wait_of(after, now))))
        }
        _ => Some(Refusal::Permanent),
    }
}

/// Reads `Retry-After`: seconds, or a date. A date that is past asks for no wait.
fn wait_of(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // What does not fit is longer than the longest wait, too.
        text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        (Time::default() + date).since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The first bytes of a body, as far as they come within the wait. The rest is not read: the connection is closed
/// instead.
pub(super) async fn start_of(mut body: Incoming, bytes_max: usize, wait: Duration) -> Bytes {
    let mut start = Vec::new();
    let reading = timeout(wait, read_into(&mut start, &mut body, bytes_max));
    // Whether it ended, broke off or took too long: what came is all that there is.
    let _ended = reading.await;
    start.into_boxed_slice().into()
}

/// Copies what comes, because a frame is a slice of a read buffer that it would hold whole.
async fn read_into(start: &mut Vec<u8>, body: &mut Incoming, bytes_max: usize) {
    while start.len() < bytes_max && !body.is_end_stream() {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        if let Ok(data) = frame.into_data() {
            let n_bytes = data.len().min(bytes_max - start.len());
            start.extend_from_slice(&data[..n_bytes]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1994-11-06 08:49:37 UTC.
    const NOW: Time = Time(784_111_777_000_000);

    #[track_caller]
    fn check(status: u16, retry_after: &str, expected: Option<Refusal>) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, retry_after.parse().unwrap())]);
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(refusal_of(status, &headers, NOW), expected, "{status} {retry_after}");
    }

    fn retry(seconds: u64) -> Option<Refusal> {
        Some(Refusal::Retry(Some(Duration::from_secs(seconds))))
    }

    #[test]
    fn every_class_of_answers_has_its_meaning() {
        for status in [200, 201, 202, 204, 299] {
            check(status, "5", None);
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
            check(status, "5", retry(5));
            check(status, "soon", Some(Refusal::Retry(None)));
        }
        for status in [401, 403] {
            check(status, "5", Some(Refusal::Unauthorized));
        }
        for status in [300, 301, 302, 303, 304, 307, 308, 400, 402, 404, 405, 409, 410, 413, 418, 422, 451, 600, 999] {
            check(status, "5", Some(Refusal::Permanent));
        }
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        check(503, "0", retry(0));
        check(503, " 120 ", retry(120));
        check(503, "3601", retry(3600));
        check(503, "99999999999999999999999", retry(3600));
        check(503, "Sun, 06 Nov 1994 08:50:07 GMT", retry(30));
        check(503, "Sunday, 06-Nov-94 08:50:07 GMT", retry(30));
        check(503, "Sun Nov  6 08:50:07 1994", retry(30));
        check(503, "Sun, 06 Nov 1994 08:00:00 GMT", retry(0));
        check(503, "Sun, 06 Nov 2044 08:00:00 GMT", retry(3600));
        for text in ["", "-1", "1.5", "+5", "5s", "tomorrow"] {
            check(503, text, Some(Refusal::Retry(None)));
        }
    }
}
