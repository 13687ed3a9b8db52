//! The load: keep-alive connections to an HTTP server, each of which sends its next request when the last is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::events::{Arrivals, write_batch};
use super::gauge::Spans;
use super::thread;

/// Connections that publish at a time. More do not add to what a machine takes: a commit takes in all that waits.
const CONNECTIONS: u64 = 16;
/// Events of one request.
pub(super) const BATCH: u64 = 100;
/// How much of an answer that is no success is shown.
const COMPLAINT_BYTES_MAX: usize = 300;

/// Events that are published, for as long as is wished.
#[derive(Clone)]
pub(super) struct Load {
    /// The daemon.
    pub(super) address: SocketAddr,
    /// A token of its.
    pub(super) token: Arc<str>,
    /// What the moments in the events are taken from.
    pub(super) arrivals: Arc<Arrivals>,
    /// How long each request took.
    pub(super) requests: Arc<Spans>,
    /// How many events were published over all spans of load.
    pub(super) n_sent: Arc<AtomicU64>,
    /// How many of them are over: no more than `open_max` are published beyond.
    pub(super) n_over: watch::Receiver<u64>,
    /// The most events that are open.
    pub(super) open_max: u64,
}

impl Load {
    /// Publishes for so long from a thread of its own, and says how many events were accepted.
    pub(super) async fn run(&self, span: Duration) -> anyhow::Result<u64> {
        let load = self.clone();
        let before = self.n_sent.load(Ordering::Relaxed);
        thread::run("bench-load", move || async move {
            let until = Instant::now() + span;
            let lanes: Vec<_> =
                (0..CONNECTIONS).map(|lane| tokio::task::spawn_local(load.clone().lane(lane, until))).collect();
            for lane in lanes {
                lane.await.context("publish")??;
            }
            Ok(load.n_sent.load(Ordering::Relaxed) - before)
        })
        .await
    }

    async fn lane(mut self, lane: u64, until: Instant) -> anyhow::Result<()> {
        let mut sender = connect(self.address).await?;
        let bearer = format!("Bearer {}", self.token);
        while Instant::now() < until {
            let first = self.n_sent.fetch_add(BATCH, Ordering::Relaxed);
            let closed = self.n_over.wait_for(|n_over| first + BATCH <= n_over.saturating_add(self.open_max));
            closed.await.context("wait for room")?;
            let body = write_batch(&format!("e{lane}"), first, BATCH, self.arrivals.now());
            let request = Request::post("/v1/events")
                .header(HOST, self.address.to_string())
                .header(AUTHORIZATION, &bearer)
                .header(CONTENT_TYPE, "application/cloudevents-batch+json")
                .body(Full::from(body))
                .context("make request")?;
            let began = Instant::now();
            let (status, answer) = exchange(&mut sender, request).await?;
            self.requests.add(began.elapsed());
            let complaint = String::from_utf8_lossy(&answer[..answer.len().min(COMPLAINT_BYTES_MAX)]);
            ensure!(status == StatusCode::ACCEPTED, "publish events: {status}: {complaint}");
        }
        Ok(())
    }
}

/// Opens a connection that is kept alive, on the thread of the caller.
pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true).context("set up connection")?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("connect")?;
    // What ends it shows in the next request.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// Sends a request and takes in the whole answer.
pub(super) async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    sender.ready().await.context("send request")?;
    let response = sender.send_request(request).await.context("send request")?;
    let status = response.status();
    let body = response.into_body().collect().await.context("read answer")?;
    Ok((status, body.to_bytes()))
}
