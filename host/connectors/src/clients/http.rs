//! The pooled HTTP client, and which connections share one.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tower::Service;

use super::dial::{Connector, Dialer, Proxy, Route};
use super::guard::Guard;
use super::resolve::Resolve;
use super::tls::TlsKey;

/// Idle connections that are kept to one host: as many as there are attempts at one time, which may all be to one host.
/// With fewer, most sends of a busy host pay for a new connection (measured: a quarter of the CPU of a delivery).
const IDLE_PER_HOST_MAX: usize = 256;
/// How long a connection is kept idle; servers give up theirs after 60 s or more.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How often a busy HTTP/2 connection is asked whether it still lives, and how long it may take to answer. Without
/// this, a connection that went silent would be used for ever: requests share it, and none of them ends it.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_WAIT: Duration = Duration::from_secs(5);

/// What makes two connections' clients different. Secrets are in it: it has no `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey {
    pub(crate) guard: Guard,
    pub(crate) tls: TlsKey,
    pub(crate) proxy: Option<ProxyKey>,
    pub(crate) connect_timeout: Duration,
}

/// An operator's proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ProxyKey {
    /// Scheme, host and port.
    pub(crate) address: Uri,
    /// The value of `proxy-authorization`.
    pub(crate) auth: Option<HeaderValue>,
}

/// The clients in use, one for each [`ClientKey`]. A connection that is built anew finds its old pool still warm.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<ClientKey, Weak<HttpClient>>>);

impl Clients {
    /// The client of this key; makes it where there is none. Connects to nothing.
    pub(crate) fn get(&self, key: ClientKey, tls: ClientConfig, resolver: &Arc<dyn Resolve>) -> Arc<HttpClient> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
            return client;
        }
        // The map holds what is in use, and what fell out of use since a client was last made.
        clients.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(HttpClient::new(key.clone(), tls, resolver.clone()));
        clients.insert(key, Arc::downgrade(&client));
        client
    }
}

/// Sends requests over guarded, pooled connections. It follows no redirects and reads no proxy from the environment.
pub(crate) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    /// The proxy's credentials for requests that it forwards; a tunnel has its own.
    forward_auth: Option<HeaderValue>,
}

/// Why there was no answer. Another try may get one, even where the guard said no: literal addresses are checked when a
/// connection is built, so what is refused here is what a name leads to just now.
pub(crate) struct HttpError {
    /// What happened, without the URL.
    pub(crate) message: String,
}

impl HttpClient {
    fn new(key: ClientKey, tls: ClientConfig, resolver: Arc<dyn Resolve>) -> Self {
        let forward_auth = key.proxy.as_ref().and_then(|proxy| proxy.auth.clone());
        let proxy = key.proxy.map(|proxy| Proxy { address: proxy.address, auth: proxy.auth });
        let limit = key.connect_timeout;
        let route = Route { dialer: Dialer { guard: key.guard, resolver, limit }, proxy };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(route);
        let connector = Connector { https, limit };
        // The client spawns its connections' tasks itself. A panic in one closes that connection and fails its sends,
        // which is all that such a task holds.
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_WAIT)
            // A request is repeated only where the pooled connection was closed before a byte of it was written.
            .retry_canceled_requests(true)
            .build(connector.clone());
        Self { client, connector, forward_auth }
    }

    /// Sends one request. Dropped, it closes an HTTP/1.1 connection or resets the HTTP/2 stream.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        if let Some(auth) = &self.forward_auth
            && request.uri().scheme_str() == Some("http")
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth.clone());
        }
        // The outermost error only says that the client failed; what it failed at is the cause below.
        self.client.request(request).await.map_err(|err| match err.source() {
            Some(cause) => HttpError::of(cause),
            None => HttpError::of(&err),
        })
    }

    /// Opens a connection, with TLS where the scheme says so, and closes it.
    pub(crate) async fn probe(&self, target: Uri) -> Result<(), HttpError> {
        let connecting = self.connector.clone().call(target);
        connecting.await.map(|_| ()).map_err(|err| HttpError::of(err.as_ref()))
    }
}

impl HttpError {
    /// Writes down an error's chain of causes.
    pub(crate) fn of(err: &(dyn Error + 'static)) -> Self {
        let mut message = String::new();
        let mut cause = Some(err);
        while let Some(err) = cause {
            let text = err.to_string();
            // Many errors repeat their cause in their own text.
            if !message.contains(&text) {
                let separator = if message.is_empty() { "" } else { ": " };
                let _infallible = write!(message, "{separator}{text}");
            }
            cause = err.source();
        }
        Self { message }
    }
}
