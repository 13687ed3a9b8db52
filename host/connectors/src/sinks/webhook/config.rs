//! The config of webhook connections, as operators write it, and what triggers may add to it.

use std::collections::{BTreeMap, BTreeSet};

use http::header::{self, HeaderName};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::format_span;
use url::Url;

use super::build::{CONNECT_TIMEOUT, CONNECT_TIMEOUT_MAX, SIGNING_SECRETS_MAX};
use super::request::{HEADER_BYTES_MAX, HEADERS_MAX, check_size};
use crate::sinks::config::{Secret, Secrets, Span, Text, read};

/// A webhook connection. Every field is optional to the reader, so that one problem does not hide the others.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Webhook connection")]
pub(super) struct File {
    /// Where to send: `http` or `https`, without credentials. Never a template of event data.
    #[schemars(required, url)]
    pub(super) url: Option<String>,
    /// The method. A `GET` carries no body.
    #[schemars(extend("default" = "POST"))]
    pub(super) method: Option<Method>,
    /// Headers of every request. A `content-type` here is sent instead of the message's own.
    #[serde(default)]
    #[schemars(extend("x-bound" = bound_of_headers()))]
    pub(super) headers: BTreeMap<String, Text>,
    /// Query parameters of every request, after those that stand in the URL.
    #[serde(default)]
    pub(super) query: BTreeMap<String, Text>,
    /// How the message's body is sent.
    #[schemars(extend("default" = "as-given"))]
    pub(super) body: Option<BodyForm>,
    /// One or several secrets to sign with after Standard Webhooks: `whsec_` and base64, or any other text as it is.
    /// With several, every request carries a signature by each.
    #[serde(default)]
    #[schemars(extend("x-bound" = format!("at most {SIGNING_SECRETS_MAX} secrets")))]
    pub(super) signing: Secrets,
    /// Credentials of every request.
    pub(super) auth: Option<AuthFile>,
    /// Certificates beside the public ones.
    #[serde(default)]
    pub(super) tls: TlsFile,
    /// Whether addresses of private networks and loopback ones may be reached. Link-local ones and the clouds' metadata
    /// services may then be reached too, but only where the URL holds the address itself.
    #[serde(default)]
    pub(super) allow_private: bool,
    /// An HTTP proxy, such as `http://user:password@proxy:3128`, that opens the connections. It looks up names itself,
    /// so the target's addresses are not checked.
    pub(super) proxy: Option<Secret>,
    /// How long a connection may take to open, with look-up and TLS.
    #[schemars(extend("default" = format_span(CONNECT_TIMEOUT), "x-bound" = bound_of_connect()))]
    pub(super) connect_timeout: Option<Span>,
}

fn bound_of_headers() -> String {
    format!("at most {HEADERS_MAX} in a request, and {} KiB", HEADER_BYTES_MAX >> 10)
}

fn bound_of_connect() -> String {
    format!("more than 0s, at most {}", format_span(CONNECT_TIMEOUT_MAX))
}

/// What a trigger may add to one send.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Options of a send to a webhook")]
pub(super) struct With {
    /// Further headers.
    #[serde(default)]
    #[schemars(extend("x-bound" = bound_of_headers()))]
    pub(super) headers: BTreeMap<String, Text>,
    /// Further query parameters.
    #[serde(default)]
    pub(super) query: BTreeMap<String, Text>,
    /// The method, where the connection does not fix it.
    pub(super) method: Option<Method>,
    /// How the body is sent, where the connection does not fix it.
    pub(super) body: Option<BodyForm>,
}

/// The methods of a webhook.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(super) fn http(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

/// How the message's body is sent.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BodyForm {
    /// The message's bytes under the message's content type.
    AsGiven,
    /// The fields of the message's JSON object as an HTML form. A list repeats its field.
    Form,
}

/// Credentials of every request.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AuthFile {
    /// HTTP basic authentication.
    Basic(BasicFile),
    /// A fixed token.
    Bearer(Secret),
    /// A token by OAuth 2.0 client credentials, kept until shortly before it expires.
    Oauth2(Oauth2File),
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicFile {
    /// The user; without a colon.
    #[schemars(required)]
    pub(super) user: Option<String>,
    /// The password.
    #[schemars(required)]
    pub(super) password: Option<Secret>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Oauth2File {
    /// The token endpoint; it passes the same guard as the connection's URL.
    #[schemars(required, url)]
    pub(super) token_url: Option<String>,
    /// The client's id.
    #[schemars(required)]
    pub(super) client_id: Option<String>,
    /// The client's secret.
    #[schemars(required)]
    pub(super) client_secret: Option<Secret>,
    /// The scopes, separated by spaces.
    pub(super) scope: Option<String>,
    /// The audience, for servers that ask for one.
    pub(super) audience: Option<String>,
    /// Where the client's id and secret are sent.
    #[schemars(extend("default" = "header"))]
    pub(super) credentials_in: Option<CredentialsIn>,
}

/// Where the client's id and secret are sent.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum CredentialsIn {
    /// As basic authentication.
    Header,
    /// As fields of the form.
    Body,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    /// Certificate authorities to trust beside the public ones, in PEM form.
    pub(super) ca: Option<String>,
    /// Our certificate for mutual TLS, with its chain, in PEM form.
    pub(super) cert: Option<String>,
    /// Its private key, in PEM form.
    pub(super) key: Option<Secret>,
}

/// What the operator fixed, so that nothing else may set it.
pub(super) struct Fixed {
    headers: BTreeSet<String>,
    query: BTreeSet<String>,
    method: bool,
    body: bool,
}

impl Fixed {
    pub(super) fn of(file: &File) -> Self {
        let mut headers: BTreeSet<_> = file.headers.keys().map(|name| name.to_ascii_lowercase()).collect();
        if file.auth.is_some() {
            headers.insert(header::AUTHORIZATION.as_str().into());
        }
        let mut query: BTreeSet<_> = file.query.keys().cloned().collect();
        if let Some(url) = file.url.as_deref().and_then(|url| Url::parse(url).ok()) {
            query.extend(url.query_pairs().map(|(name, _)| name.into_owned()));
        }
        Self { headers, query, method: file.method.is_some(), body: file.body.is_some() }
    }

    /// Whether a header is the connection's own.
    pub(super) fn has_header(&self, name: &HeaderName) -> bool {
        self.headers.contains(name.as_str())
    }

    /// What of the options may not be, with paths within them.
    pub(super) fn conflicts(&self, with: &With) -> Vec<Problem> {
        let mut problems = Vec::new();
        let headers = with.headers.iter().map(|(name, Text(text))| (name.as_str(), text.as_bytes()));
        if let Err(problem) = check_size(0, headers) {
            return vec![Problem::at("headers", problem)];
        }
        for name in with.headers.keys() {
            match header_name(name) {
                Err(problem) => problems.push(Problem::at(format!("headers.{name}"), problem)),
                Ok(known) if self.has_header(&known) => {
                    let what = format!("`with` sets header `{name}`, but the connection sets `{known}`");
                    problems.push(Problem::at(format!("headers.{name}"), what));
                }
                Ok(_) => {}
            }
        }
        for name in with.query.keys().filter(|name| self.query.contains(*name)) {
            let what = format!("`with` sets query parameter `{name}`, but so does the connection");
            problems.push(Problem::at(format!("query.{name}"), what));
        }
        for (field, is_fixed) in
            [("method", self.method && with.method.is_some()), ("body", self.body && with.body.is_some())]
        {
            if is_fixed {
                problems.push(Problem::at(field, format!("`with` sets `{field}`, but so does the connection")));
            }
        }
        problems
    }
}

/// The check of a trigger's `with:`, for the table of sinks.
pub(super) fn check_options(config: &Value, options: &Map<String, Value>) -> Vec<Problem> {
    let (file, _) = read::<File>(config);
    let (with, mut problems) = read::<With>(&Value::Object(options.clone()));
    problems.extend(Fixed::of(&file).conflicts(&with));
    problems
}

/// Reads the name of a header that people may set.
pub(super) fn header_name(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not the name of a header")?;
    if CONNECTION_HEADERS.contains(&name.as_str()) {
        return Err("belongs to the HTTP connection and cannot be set");
    }
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err("is set by the sink itself");
    }
    Ok(name)
}

/// Headers that say where a message ends or how the connection goes on: set from outside, they could smuggle a second
/// request past a proxy.
const CONNECTION_HEADERS: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that receivers rely on to be ours.
const OWN_HEADERS: [&str; 5] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "trapjaw-attempt", "traceparent"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(config: Value, options: Value, expected: &[&str]) {
        let problems = check_options(&config, options.as_object().unwrap());
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn options_may_add_but_not_override() {
        let config = || {
            json!({"url": "http://a/?a=1", "method": "PUT", "body": "form", "headers": {"X-Team": "{{ secret.A }}"},
                "query": {"b": 1}, "auth": {"bearer": "{{ secret.B }}"}, "unknown": true})
        };
        check(config(), json!({}), &[]);
        check(config(), json!({"headers": {"x-other": 1}, "query": {"A": "2", "c": true}}), &[]);
        check(
            config(),
            json!({"headers": {"x-team": "a", "AUTHORIZATION": "b", "Host": "c", "a b": "d", "webhook-id": "e"},
                "query": {"a": "2", "b": "2"}, "method": "GET", "body": "as-given"}),
            &[
                "headers.AUTHORIZATION: `with` sets header `AUTHORIZATION`, but the connection sets `authorization`",
                "headers.Host: belongs to the HTTP connection and cannot be set",
                "headers.a b: is not the name of a header",
                "headers.webhook-id: is set by the sink itself",
                "headers.x-team: `with` sets header `x-team`, but the connection sets `x-team`",
                "query.a: `with` sets query parameter `a`, but so does the connection",
                "query.b: `with` sets query parameter `b`, but so does the connection",
                "method: `with` sets `method`, but so does the connection",
                "body: `with` sets `body`, but so does the connection",
            ],
        );
        check(json!({"url": "http://a/"}), json!({"method": "DELETE", "body": "form"}), &[]);
        check(
            json!({}),
            json!({"url": "http://b/", "method": "TRACE"}),
            &[
                "method: must be one of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`",
                "url: unknown field `url`, expected one of `headers`, `query`, `method`, `body`",
            ],
        );
    }
}
