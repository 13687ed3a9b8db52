//! A receiver of webhooks on a free port: it checks every signature, keeps what it got, and answers by a script.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::signature::Verifier;
use crate::wait::{spawn, wait_until};

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The path, such as `/chat`.
    pub path: String,
    /// The `webhook-id`.
    pub id: String,
    /// Which attempt the sender says it is.
    pub attempt: u32,
    /// What is wrong with the signature, if anything.
    pub problem: Option<String>,
    /// When it had arrived whole.
    pub at: Instant,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Delivery {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this status.
    Status(u16),
    /// With this status, these headers and this body.
    Full(u16, Vec<(&'static str, String)>, String),
    /// With 200 once the receiver is told to release.
    Hold,
}

/// A receiver. It works until the runtime ends.
#[derive(Clone)]
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

/// What a watcher makes of a delivery.
#[derive(Debug)]
pub enum Watched {
    /// It is kept, and answered.
    Keep(Box<Delivery>),
    /// It is answered, and the watcher has counted what there is to count.
    Counted,
    /// It is never answered, as by a receiver that hangs: the sender gets nothing, until it gives up or dies.
    Unanswered,
}

/// What looks at deliveries as they come.
type Watcher = Box<dyn Fn(Delivery) -> Watched + Send + Sync>;

struct Shared {
    verifier: Verifier,
    watcher: Watcher,
    deliveries: Mutex<Vec<Delivery>>,
    scripts: Mutex<HashMap<String, VecDeque<Reply>>>,
    released: watch::Sender<bool>,
}

impl Receiver {
    /// Starts one that keeps all it gets.
    pub async fn start(secret: &str) -> anyhow::Result<Self> {
        Self::start_watched(secret, |delivery| Watched::Keep(Box::new(delivery))).await
    }

    /// Starts one that shows each delivery to a watcher, which says what becomes of it.
    pub async fn start_watched(
        secret: &str,
        watcher: impl Fn(Delivery) -> Watched + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("start the receiver")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            verifier: Verifier::new(secret),
            watcher: Box::new(watcher),
            deliveries: Mutex::default(),
            scripts: Mutex::default(),
            released: watch::Sender::new(false),
        });
        let serving = shared.clone();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _unneeded = stream.set_nodelay(true);
                let shared = serving.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                // A connection that breaks is the sender's affair: the daemon is killed in the middle of sends.
                spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { port, shared })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers the next requests on a path like this; all others get 200.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.shared.scripts).entry(path.to_owned()).or_default().extend(replies);
    }

    /// Lets held requests go.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// What arrived on a path so far, in order.
    pub fn at(&self, path: &str) -> Vec<Delivery> {
        lock(&self.shared.deliveries).iter().filter(|delivery| delivery.path == path).cloned().collect()
    }

    /// Waits for so many deliveries on a path.
    pub async fn wait(&self, path: &str, n_wanted: usize, most: Duration) -> anyhow::Result<Vec<Delivery>> {
        let waited = wait_until("deliveries", most, async || Some(self.at(path)).filter(|all| all.len() >= n_wanted));
        waited.await.with_context(|| format!("{n_wanted} on {path} were wanted, {} came", self.at(path).len()))
    }

    /// How many deliveries had a bad signature.
    pub fn n_bad(&self) -> usize {
        lock(&self.shared.deliveries).iter().filter(|delivery| delivery.problem.is_some()).count()
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let at = Instant::now();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let delivery = Delivery {
        problem: shared.verifier.check(id, timestamp, signature, &body).err(),
        path: head.uri.path().to_owned(),
        id: id.to_owned(),
        attempt: header("trapjaw-attempt").parse().unwrap_or(0),
        at,
        headers: head.headers.clone(),
        body,
    };
    let reply = lock(&shared.scripts).get_mut(&delivery.path).and_then(VecDeque::pop_front);
    match (shared.watcher)(delivery) {
        Watched::Keep(kept) => lock(&shared.deliveries).push(*kept),
        Watched::Counted => {}
        // Dropped with its connection, when the sender lets go of that.
        Watched::Unanswered => std::future::pending().await,
    }
    Ok(respond(reply, &shared).await.unwrap_or_else(|never| match never {}))
}

async fn respond(reply: Option<Reply>, shared: &Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, headers, body) = match reply {
        None => (200, Vec::new(), String::new()),
        Some(Reply::Status(status)) => (status, Vec::new(), String::new()),
        Some(Reply::Full(status, headers, body)) => (status, headers, body),
        Some(Reply::Hold) => {
            // The sender lives in `shared`, so this ends by a release only.
            let mut released = shared.released.subscribe();
            let _released = released.wait_for(|released| *released).await;
            (200, Vec::new(), String::new())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
