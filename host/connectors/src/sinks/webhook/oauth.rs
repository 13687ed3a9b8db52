//! Tokens by OAuth 2.0 client credentials.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use trapjaw_engine::limits::{DETAIL_BYTES_MAX, RECEIPT_BYTES_MAX};
use trapjaw_engine::ports::{Clock, Refusal, SendError};
use trapjaw_engine::time::Time;
use url::form_urlencoded;

use super::answer::{BODY_WAIT, refusal_of, start_of};
use super::body::FORM;
use crate::clients::{HttpClient, HttpError};

/// How long the body of a token is waited for once the status is there.
const TOKEN_WAIT: Duration = Duration::from_secs(10);
/// How long a token is used whose server does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(300);
/// How long before its end a token is not used any more, unless a tenth of its life is shorter.
const MARGIN_MAX: Duration = Duration::from_secs(60);

/// Gets tokens and keeps the last one.
pub(super) struct Tokens {
    http: Arc<HttpClient>,
    clock: Arc<dyn Clock>,
    endpoint: Uri,
    /// The endpoint as messages name it.
    origin: String,
    /// Basic credentials, unless they are in the form.
    auth: Option<HeaderValue>,
    form: Bytes,
    kept: Mutex<Option<Kept>>,
    /// The right to ask for a token: whoever waits for it finds the token that another call got.
    turn: Semaphore,
}

/// What a token endpoint is asked with.
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
    pub(super) scope: Option<&'a str>,
    pub(super) audience: Option<&'a str>,
    /// Whether the credentials are fields of the form.
    pub(super) in_body: bool,
}

/// A token as a header.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) header: HeaderValue,
    /// It was got for this very send.
    pub(super) is_new: bool,
}

struct Kept {
    header: HeaderValue,
    until: Time,
}

impl Tokens {
    pub(super) fn new(
        http: Arc<HttpClient>,
        clock: Arc<dyn Clock>,
        endpoint: Uri,
        origin: String,
        client: &Client<'_>,
    ) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", client.scope), ("audience", client.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let auth = if client.in_body {
            form.append_pair("client_id", client.id).append_pair("client_secret", client.secret);
            None
        } else {
            // The standard has both encoded before they are joined, so that an id may hold a colon.
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            Some(basic(&encode(client.id), &encode(client.secret)))
        };
        let form = Bytes::from(form.finish());
        Self { http, clock, endpoint, origin, auth, form, kept: Mutex::new(None), turn: Semaphore::new(1) }
    }

    /// A token that is valid now. Dropped, it leaves the request for a token to the next caller.
    pub(super) async fn get(&self) -> Result<Token, SendError> {
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        self.fetch().await
    }

    /// Asks for a new token, whatever is kept.
    pub(super) async fn fetch(&self) -> Result<Token, SendError> {
        let mut request = Request::new(Full::new(self.form.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(auth) = &self.auth {
            request.headers_mut().insert(AUTHORIZATION, auth.clone());
        }
        let response = self.http.send(request).await.map_err(|err| unsent(&self.origin, &err))?;
        let now = self.clock.now();
        let status = response.status();
        let refusal = refusal_of(status, response.headers(), now);
        if let Some(refusal) = refusal {
            // Whatever is wrong with the request will be wrong with the next one: the operator has to mend it.
            let refusal = if matches!(refusal, Refusal::Retry(_)) { refusal } else { Refusal::Unauthorized };
            let message = format!("get token: {} answered {status}", self.origin);
            let answer = start_of(response.into_body(), DETAIL_BYTES_MAX, BODY_WAIT).await;
            return Err(SendError { refusal, message, status: Some(status.as_u16()), answer });
        }
        let body = start_of(response.into_body(), RECEIPT_BYTES_MAX, TOKEN_WAIT).await;
        let kept = Kept::read(&body, now).ok_or_else(|| SendError {
            refusal: Refusal::Retry(None),
            // The body is not shown: it may hold the token.
            message: format!("get token: {} answered {status}, but not with a token", self.origin),
            status: Some(status.as_u16()),
            answer: Bytes::new(),
        })?;
        let header = kept.header.clone();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(Token { header, is_new: true })
    }

    /// Forgets a token that the remote refused, unless another has taken its place.
    pub(super) fn forget(&self, token: &Token) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| kept.header == token.header) {
            *kept = None;
        }
    }

    fn kept(&self) -> Option<Token> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| self.clock.now() < kept.until)?;
        Some(Token { header: kept.header.clone(), is_new: false })
    }
}

impl Kept {
    fn read(body: &[u8], now: Time) -> Option<Self> {
        /// The standard lets servers add fields, so unknown ones are no error here.
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            /// Some servers write it as text.
            expires_in: Option<Value>,
        }

        let answer: Answer = serde_json::from_slice(body).ok()?;
        let life = match answer.expires_in {
            None => LIFE_DEFAULT,
            Some(Value::String(text)) => Duration::from_secs(text.parse().ok()?),
            Some(seconds) => Duration::try_from_secs_f64(seconds.as_f64()?).ok()?,
        };
        let until = now + life.saturating_sub(MARGIN_MAX.min(life / 10));
        Some(Self { header: secret_header(&format!("Bearer {}", answer.access_token))?, until })
    }
}

/// The value of `authorization` for basic authentication.
pub(super) fn basic(user: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    secret_header(&format!("Basic {encoded}")).expect("base64 has no character that a header may not have")
}

/// A header value that is not shown and that HTTP/2 does not keep in its tables.
pub(super) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a request without an answer means.
pub(super) fn unsent(origin: &str, err: &HttpError) -> SendError {
    let message = format!("{origin}: {}", err.message);
    SendError { refusal: Refusal::Retry(None), message, status: None, answer: Bytes::new() }
}
