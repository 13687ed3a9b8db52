//! Builds a webhook from its config, or says all that is wrong with it.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::{Method as HttpMethod, Uri};
use serde_json::Value;
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::format_span;
use url::Url;

use super::Webhook;
use super::config::{AuthFile, BodyForm, CredentialsIn, File, Fixed, Method, Oauth2File, header_name};
use super::oauth::{Client, Tokens, basic, secret_header};
use super::request::{Template, check_size};
use super::sign::Signer;
use crate::clients::{ClientKey, Guard, ProxyKey, TlsKey, client_config};
use crate::sinks::SinkContext;
use crate::sinks::config::{Problems, Secret, Span, Text, read};

/// The default of `connect_timeout`, and its bound.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// The most signing secrets: each costs a hash of the body for each send.
pub(super) const SIGNING_SECRETS_MAX: usize = 8;

/// Builds the sink. Connects to nothing.
pub(super) fn webhook(config: &Value, ctx: &SinkContext) -> Result<Webhook, Vec<Problem>> {
    let (file, problems) = read::<File>(config);
    let mut problems = Problems(problems);
    if file.allow_private && !ctx.egress.opens_private() {
        problems.add("allow_private", "is not allowed by the daemon's `egress`");
    }
    let guard = Guard::new(&ctx.egress, file.allow_private);
    let proxy = file.proxy.as_ref().and_then(|Secret(text)| read_proxy(text, ctx, &mut problems));
    let is_proxied = file.proxy.is_some();
    let target = |path: &str, url: Option<&String>, problems: &mut Problems| {
        problems.need(path, url).and_then(|url| read_url(path, url, &guard, is_proxied, problems))
    };
    let url = target("url", file.url.as_ref(), &mut problems).and_then(|mut url| {
        if !file.query.is_empty() {
            url.query_pairs_mut().extend_pairs(file.query.iter().map(|(name, Text(value))| (name, value)));
        }
        uri_of("url", &url, &mut problems)
    });
    let token_url = match &file.auth {
        Some(AuthFile::Oauth2(auth)) => {
            let path = "auth.oauth2.token_url";
            target(path, auth.token_url.as_ref(), &mut problems).and_then(|url| uri_of(path, &url, &mut problems))
        }
        Some(AuthFile::Basic(_) | AuthFile::Bearer(_)) | None => None,
    };
    let mut headers = read_headers(&file, &mut problems);
    headers.extend(read_auth(&file, &mut problems).map(|value| (AUTHORIZATION, value)));
    if let Err(problem) = check_size(0, headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))) {
        problems.add("headers", problem);
    }
    let signer = read_signing(&file, &mut problems);
    let connect_timeout = file.connect_timeout.map_or(CONNECT_TIMEOUT, |Span(span)| span);
    if connect_timeout.is_zero() || connect_timeout > CONNECT_TIMEOUT_MAX {
        let most = format_span(CONNECT_TIMEOUT_MAX);
        problems.add("connect_timeout", format!("must be more than 0s and at most {most}"));
    }
    let tls = TlsKey {
        ca: file.tls.ca.clone(),
        cert: file.tls.cert.clone(),
        key: file.tls.key.as_ref().map(|Secret(key)| key.clone()),
    };
    let tls_config = client_config(&tls);
    let tls_config = tls_config.map_err(|found| problems.0.extend(found.into_iter().map(|one| one.within("tls")))).ok();
    let (Some((uri, origin)), Some(tls_config), true) = (url, tls_config, problems.0.is_empty()) else {
        return Err(problems.0);
    };

    // The proxy is in the operator's network; only the daemon's bounds apply to it.
    let guard = if is_proxied { Guard::new(&ctx.egress, true) } else { guard };
    let key = ClientKey { guard, tls, proxy, connect_timeout };
    let http = ctx.clients.get(key, tls_config, &ctx.resolver);
    let tokens = match (&file.auth, token_url) {
        (Some(AuthFile::Oauth2(auth)), Some((endpoint, origin))) => {
            Some(Tokens::new(http.clone(), ctx.clock.clone(), endpoint, origin, &client_of(auth)))
        }
        (_, _) => None,
    };
    let template = Template {
        method: file.method.map_or(HttpMethod::POST, Method::http),
        uri,
        headers,
        body: file.body.unwrap_or(BodyForm::AsGiven),
        signer,
        fixed: Fixed::of(&file),
    };
    Ok(Webhook { http, clock: ctx.clock.clone(), template, origin, tokens })
}

/// Reads the URL of a target.
fn read_url(path: &str, text: &str, guard: &Guard, is_proxied: bool, problems: &mut Problems) -> Option<Url> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(err) => {
            problems.add(path, format!("is not a URL: {err}"));
            return None;
        }
    };
    let host = match (url.scheme(), url.host()) {
        ("http" | "https", Some(host)) => host,
        (_, _) => {
            problems.add(path, "must begin with `http://` or `https://`");
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        problems.add(path, "holds credentials: they belong into `auth`");
    }
    let checked = if is_proxied { guard.check_name(&host) } else { guard.check_host(&host) };
    if let Err(refused) = checked {
        problems.add(path, refused.to_string());
    }
    Some(url)
}

/// A target as the client takes it, and what messages show of it.
fn uri_of(path: &str, url: &Url, problems: &mut Problems) -> Option<(Uri, String)> {
    match Uri::try_from(url.as_str()) {
        Ok(uri) => Some((uri, url.origin().ascii_serialization())),
        Err(_) => {
            problems.add(path, "holds characters that cannot be sent: write them as `%` and two digits");
            None
        }
    }
}

fn read_proxy(text: &str, ctx: &SinkContext, problems: &mut Problems) -> Option<ProxyKey> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "http" && url.path() == "/" && url.query().is_none());
    let Some((url, host)) = url.as_ref().and_then(|url| Some((url, url.host()?))) else {
        problems
            .add("proxy", "must be like `http://proxy:3128`, or with credentials `http://user:password@proxy:3128`");
        return None;
    };
    if let Err(refused) = Guard::new(&ctx.egress, true).check_host(&host) {
        problems.add("proxy", refused.to_string());
    }
    let decode = |text: &str| -> Option<String> {
        // A form's decoder does but for two characters, which stand for themselves here.
        let text = text.replace('+', "%2B").replace('&', "%26");
        url::form_urlencoded::parse(text.as_bytes()).next().map(|(text, _)| text.into_owned())
    };
    let user = decode(url.username());
    let password = url.password().and_then(decode);
    let auth = user.or(password.as_ref().map(|_| String::new()));
    let auth = auth.map(|user| basic(&user, password.as_deref().unwrap_or_default()));
    let port = url.port_or_known_default().unwrap_or(80);
    let address = Uri::try_from(format!("http://{host}:{port}/")).ok()?;
    Some(ProxyKey { address, auth })
}

fn read_headers(file: &File, problems: &mut Problems) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (written, Text(text)) in &file.headers {
        let path = format!("headers.{written}");
        let name = match header_name(written) {
            Ok(name) => name,
            Err(problem) => {
                problems.add(path, problem);
                continue;
            }
        };
        if headers.iter().any(|(other, _)| *other == name) {
            problems.add(&path, format!("sets header `{name}` a second time"));
        }
        if name == AUTHORIZATION && file.auth.is_some() {
            problems.add(&path, "is set by `auth`");
        }
        match secret_header(text) {
            Some(value) => headers.push((name, value)),
            None => problems.add(path, "holds a control character"),
        }
    }
    headers
}

/// The fixed value of `authorization`; a token of OAuth 2.0 comes later.
fn read_auth(file: &File, problems: &mut Problems) -> Option<HeaderValue> {
    match file.auth.as_ref()? {
        AuthFile::Basic(auth) => {
            let user = problems.need("auth.basic.user", auth.user.as_ref());
            let password = problems.need("auth.basic.password", auth.password.as_ref());
            let (user, Secret(password)) = (user?, password?);
            if user.contains(':') {
                problems.add("auth.basic.user", "holds a colon, which ends a user's name");
            }
            Some(basic(user, password))
        }
        AuthFile::Bearer(Secret(token)) => {
            let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_token {
                problems.add("auth.bearer", "must be visible ASCII characters without spaces");
            }
            secret_header(&format!("Bearer {token}"))
        }
        AuthFile::Oauth2(auth) => {
            problems.need("auth.oauth2.client_id", auth.client_id.as_ref());
            problems.need("auth.oauth2.client_secret", auth.client_secret.as_ref());
            None
        }
    }
}

fn client_of(auth: &Oauth2File) -> Client<'_> {
    Client {
        id: auth.client_id.as_deref().unwrap_or_default(),
        secret: auth.client_secret.as_ref().map(|Secret(secret)| secret.as_str()).unwrap_or_default(),
        scope: auth.scope.as_deref(),
        audience: auth.audience.as_deref(),
        in_body: matches!(auth.credentials_in, Some(CredentialsIn::Body)),
    }
}

fn read_signing(file: &File, problems: &mut Problems) -> Option<Signer> {
    let secrets = &file.signing.0;
    if secrets.len() > SIGNING_SECRETS_MAX {
        problems.add("signing", format!("holds more than {SIGNING_SECRETS_MAX} secrets"));
    }
    if secrets.is_empty() {
        return None;
    }
    match Signer::new(secrets) {
        Ok(signer) => Some(signer),
        Err(found) => {
            for (place, problem) in found {
                let path = if secrets.len() == 1 { "signing".into() } else { format!("signing[{place}]") };
                problems.add(path, problem);
            }
            None
        }
    }
}
