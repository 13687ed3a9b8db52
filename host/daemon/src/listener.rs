//! The listener: accepts connections within a bound, and gives each the time that a well-meaning client needs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{self, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, interval_at, timeout};
use tower::ServiceExt;
use trapjaw_engine::tasks;

use crate::api::Peer;
use crate::api::error::ApiError;

/// How long a client may take to send the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a connection may stay without a call. It ends between one and two of these after its last one, whatever
/// it is silent about: the protocol that it speaks, a head, or everything but answers to pings.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a client may take nothing of an answer that waits for it.
const STALL_TIME_MAX: Duration = Duration::from_secs(60);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The most streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How long to wait after the system refused a connection, so that a lack of files is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopping`, then lets the calls that have begun end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    stopping: watch::Receiver<bool>,
    grace: Duration,
) {
    let places = u32::try_from(connections_max).unwrap_or(u32::MAX);
    Listener { router, places, stopping, grace, idle_max: IDLE_TIME_MAX }.serve(listener).await;
}

struct Listener {
    router: Router,
    places: u32,
    stopping: watch::Receiver<bool>,
    grace: Duration,
    idle_max: Duration,
}

impl Listener {
    async fn serve(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(self.places as usize));
        let builder = Arc::new(builder());
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                accepted = accept(&listener, &room) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let connection = Connection {
                builder: builder.clone(),
                router: self.router.clone(),
                peer,
                stopping: self.stopping.clone(),
                idle_max: self.idle_max,
            };
            tasks::spawn("serve connection", async move {
                connection.serve(stream).await;
                drop(permit);
            });
        }
        drop(listener);
        // Every place is free when every connection has ended.
        if timeout(self.grace, room.acquire_many(self.places)).await.is_err() {
            tracing::warn!("some calls did not end in time and are cut off");
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).keep_alive_interval(HEAD_TIME_MAX);
    builder
}

/// All that is needed to serve one connection.
struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    peer: SocketAddr,
    stopping: watch::Receiver<bool>,
    idle_max: Duration,
}

impl Connection {
    /// Serves it until it ends, is idle for too long, or the daemon stops.
    async fn serve(self, stream: TcpStream) {
        let Self { builder, router, peer, mut stopping, idle_max } = self;
        let calls = Arc::new(Calls::default());
        let counted = calls.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            answer(router.clone(), request, UnderWay::begin(&counted))
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // The library's own time limits begin with the head of a request; what comes before has none there. One look
        // in a while costs less than a timer that each call moves.
        let mut looks = interval_at(Instant::now() + idle_max, idle_max);
        let (mut n_seen, mut is_ending) = (0, false);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    // What ends a connection early is the client's affair; calls that matter have had their answer.
                    if let Err(err) = ended {
                        tracing::debug!(error = %err, "a connection ended early");
                    }
                    return;
                }
                _ = stopping.wait_for(|stopping| *stopping), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = looks.tick() => {
                    let n_begun = calls.n_begun.load(Ordering::Relaxed);
                    let is_idle = calls.n_under_way.load(Ordering::Relaxed) == 0 && n_begun == n_seen;
                    n_seen = n_begun;
                    match (is_idle, is_ending) {
                        (true, true) => return,
                        (true, false) => {
                            is_ending = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        (false, _) => {}
                    }
                }
            }
        }
    }
}

/// The calls of one connection.
#[derive(Default)]
struct Calls {
    n_begun: AtomicU64,
    n_under_way: AtomicUsize,
}

/// A call under way: until its answer has gone out, or nobody wants it any more.
struct UnderWay(Arc<Calls>);

impl UnderWay {
    fn begin(calls: &Arc<Calls>) -> Self {
        calls.n_begun.fetch_add(1, Ordering::Relaxed);
        calls.n_under_way.fetch_add(1, Ordering::Relaxed);
        Self(calls.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.n_under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer, which is under way as long as it is there: a stream of events may last for days.
struct Outgoing {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(ctx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers a request. A panic in a handler is a defect that one call is to pay for, not the whole host.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    under_way: UnderWay,
) -> Result<axum::http::Response<Outgoing>, Infallible> {
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let response: Response = match answered {
        Ok(Ok(response)) => response,
        Err(_) => {
            tracing::error!("a handler panicked");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the host has a defect; its log says more").into_response()
        }
    };
    Ok(response.map(|body| Outgoing { body, _under_way: under_way }))
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            if let Err(err) = prepare(&stream) {
                tracing::debug!(error = %err, "a connection ended early");
            }
            Some((stream, peer, permit))
        }
        Err(err) => {
            tracing::warn!(error = %err, "the system refused a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    // Answers are small and single; to wait for more of them would only be slow.
    stream.set_nodelay(true)?;
    // The system counts this also while the client says that it has no room for more.
    let stall_ms_max = u32::try_from(STALL_TIME_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, stall_ms_max)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    /// Short, so that tests wait for real time and not for long.
    const IDLE: Duration = Duration::from_millis(100);
    /// Longer than anything here takes.
    const WAIT_MAX: Duration = Duration::from_secs(20);

    struct Fixture {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        serving: JoinHandle<()>,
    }

    impl Fixture {
        async fn start(router: Router, places: u32) -> Self {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            let (stop, stopping) = watch::channel(false);
            let listener = Listener { router, places, stopping, grace: WAIT_MAX, idle_max: IDLE };
            Self { address, stop, serving: tasks::spawn("listener", listener.serve(tcp)) }
        }

        async fn open(&self, first: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(first).await.unwrap();
            stream
        }
    }

    /// All that comes until the other side ends the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        let _end = timeout(WAIT_MAX, stream.read_to_end(&mut bytes)).await.expect("the connection never ends");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn the_silent_make_room() {
        let fixture = Fixture::start(Router::new().route("/", get(|| async { "here" })), 1).await;
        // Nothing, the start of a method, of HTTP/2's preface, and HTTP/2 without a stream.
        let whole: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for first in [b"".as_slice(), b"G", b"GET / HTTP/1.1\r\nhost", b"PRI * HT", whole] {
            let silent = fixture.open(first).await;
            let asking = fixture.open(GET).await;
            assert!(rest(asking).await.ends_with("here"), "{first:?}");
            rest(silent).await;
        }
        // One that has asked is not let sit either.
        let asked = fixture.open(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(rest(asked).await.ends_with("here"));
    }

    #[tokio::test]
    async fn what_takes_long_is_not_silent() {
        let go = Arc::new(Notify::new());
        let waiting = go.clone();
        let slow = get(move || async move {
            waiting.notified().await;
            "late"
        });
        let fixture = Fixture::start(Router::new().route("/", slow), 2).await;
        let asking = fixture.open(GET).await;
        for _ in 0..3 {
            // Each takes the idle time or more to end.
            rest(fixture.open(b"").await).await;
        }
        go.notify_one();
        assert!(rest(asking).await.ends_with("late"));
    }

    #[tokio::test]
    async fn told_to_stop_it_answers_what_was_asked() {
        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begun, waiting) = (asked.clone(), go.clone());
        let slow = get(move || async move {
            begun.notify_one();
            waiting.notified().await;
            "late"
        });
        let fixture = Fixture::start(Router::new().route("/", slow), 2).await;
        let (asking, silent) = (fixture.open(GET).await, fixture.open(b"").await);
        asked.notified().await;
        fixture.stop.send_replace(true);
        rest(silent).await;
        assert!(!fixture.serving.is_finished());
        go.notify_one();
        assert!(rest(asking).await.ends_with("late"));
        timeout(WAIT_MAX, fixture.serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(fixture.address).await.is_err());
    }
}
