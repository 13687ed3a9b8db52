//! Makes the request of one send.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use trapjaw_engine::ports::Message;
use trapjaw_engine::time::Time;
use url::form_urlencoded;

use super::body::{FORM, form};
use super::config::{BodyForm, Fixed, With, header_name};
use super::sign::Signer;
use crate::sinks::config::Text;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const ATTEMPT: HeaderName = HeaderName::from_static("trapjaw-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("trapjaw/", env!("CARGO_PKG_VERSION")));
/// Headers of the sink's own in a request, for its capacity.
const OWN_HEADERS: usize = 8;
/// The most headers of a request beside the sink's own, and the most bytes of their names and values. Receivers take
/// hardly more, and messages and options come from plugins and templates: a map of some 24,600 headers panics.
pub(super) const HEADERS_MAX: usize = 100;
pub(super) const HEADER_BYTES_MAX: usize = 32 << 10;

/// What all requests of a connection have in common.
pub(super) struct Template {
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// The operator's headers, with fixed credentials.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: BodyForm,
    pub(super) signer: Option<Signer>,
    pub(super) fixed: Fixed,
}

impl Template {
    /// The request of a message. The problem of an `Err` lies in the message, so that no other try can help.
    pub(super) fn request(
        &self,
        message: &Message,
        with: Option<&With>,
        token: Option<&HeaderValue>,
        now: Time,
    ) -> Result<Request<Full<Bytes>>, String> {
        let n_headers = self.count_headers(message, with, token)?;
        let method = with.and_then(|with| with.method).map_or_else(|| self.method.clone(), |method| method.http());
        let mut headers = HeaderMap::with_capacity(OWN_HEADERS + n_headers);
        let is_form = matches!(with.and_then(|with| with.body).unwrap_or(self.body), BodyForm::Form);
        let body = if method == Method::GET {
            Bytes::new()
        } else if is_form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
            form(&message.body)?
        } else {
            if !message.content_type.is_empty() {
                headers.insert(CONTENT_TYPE, value("content-type", &message.content_type)?);
            }
            message.body.clone()
        };
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        self.add_given(&mut headers, message, with)?;
        self.add_own(&mut headers, message, &body, now)?;

        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = match with.filter(|with| !with.query.is_empty()) {
            None => self.uri.clone(),
            Some(with) => extend(&self.uri, &with.query)?,
        };
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// How many headers there are beside the sink's own: the connection's, the trigger's and the message's.
    fn count_headers(
        &self,
        message: &Message,
        with: Option<&With>,
        token: Option<&HeaderValue>,
    ) -> Result<usize, String> {
        let fixed = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let with =
            with.iter().flat_map(|with| &with.headers).map(|(name, Text(text))| (name.as_str(), text.as_bytes()));
        let given = message.headers.iter().map(|(name, text)| (name.as_str(), text.as_bytes()));
        let own_bytes = message.content_type.len() + token.map_or(0, HeaderValue::len);
        check_size(own_bytes, fixed.chain(with).chain(given))
    }

    /// Adds the headers of the trigger and of the message. Neither may set what the operator or the other one set.
    fn add_given(&self, headers: &mut HeaderMap, message: &Message, with: Option<&With>) -> Result<(), String> {
        let mut taken = HashSet::new();
        for (name, Text(text)) in with.iter().flat_map(|with| &with.headers) {
            // The conflicts of options were looked for before.
            let known = header_name(name).map_err(|problem| format!("header `{}` {problem}", name.escape_debug()))?;
            headers.insert(known.clone(), given_value(name, text)?);
            taken.insert(known);
        }
        let mut given = HashSet::new();
        for (name, text) in &message.headers {
            let known = header_name(name).map_err(|problem| format!("header `{}` {problem}", name.escape_debug()))?;
            if self.fixed.has_header(&known) {
                return Err(format!("the message sets header `{name}`, but the connection sets `{known}`"));
            }
            if taken.contains(&known) {
                return Err(format!("the message sets header `{name}`, but so does `with`"));
            }
            // A message may repeat a header; its first value replaces a default.
            if given.insert(known.clone()) {
                headers.insert(known, given_value(name, text)?);
            } else {
                headers.append(known, given_value(name, text)?);
            }
        }
        Ok(())
    }

    /// Adds what names, counts and signs the send.
    fn add_own(&self, headers: &mut HeaderMap, message: &Message, body: &[u8], now: Time) -> Result<(), String> {
        let id = message.idempotency_key.as_str();
        let seconds = now.as_micros() / 1_000_000;
        headers.insert(WEBHOOK_ID, value("webhook-id", id)?);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(ATTEMPT, HeaderValue::from(message.attempt));
        if let Some(signer) = &self.signer {
            headers.insert(WEBHOOK_SIGNATURE, value("webhook-signature", &signer.sign(id, seconds, body))?);
        }
        if let Some(traceparent) = &message.traceparent {
            headers.insert(TRACEPARENT, value("traceparent", traceparent)?);
        }
        Ok(())
    }
}

/// Counts headers, unless they are too many for a request, or too long together with values of the sink's own.
pub(super) fn check_size<'a>(
    own_bytes: usize,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<usize, String> {
    let sizes = headers.map(|(name, value)| name.len() + value.len());
    let (n_headers, n_bytes) = sizes.fold((0, own_bytes), |(n_headers, n_bytes), size| (n_headers + 1, n_bytes + size));
    if n_headers > HEADERS_MAX {
        return Err(format!("a request has at most {HEADERS_MAX} headers beside the sink's own, not {n_headers}"));
    }
    if n_bytes > HEADER_BYTES_MAX {
        return Err(format!("the headers of a request have at most {HEADER_BYTES_MAX} bytes, not {n_bytes}"));
    }
    Ok(n_headers)
}

/// A header's value. Line breaks and other control characters cannot pass.
fn value(name: &str, text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("header `{name}` holds a control character"))
}

/// The value of a header from outside, which may be a secret.
fn given_value(name: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value = value(name, text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn extend(uri: &Uri, query: &BTreeMap<String, Text>) -> Result<Uri, String> {
    let mut text = uri.to_string();
    text.push(if uri.query().is_some() { '&' } else { '?' });
    let start = text.len();
    let mut serializer = form_urlencoded::Serializer::for_suffix(text, start);
    for (name, Text(value)) in query {
        serializer.append_pair(name, value);
    }
    serializer.finish().try_into().map_err(|_| "the URL is too long with the query of `with`".to_owned())
}
