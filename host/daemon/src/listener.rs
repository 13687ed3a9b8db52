//! The listener: accepts connections within a bound, and gives each the time that a well-meaning client needs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;
use trapjaw_engine::tasks;

use crate::api::Peer;
use crate::api::error::ApiError;

/// How long a client may take to send the head of a request. Idle connections end by it too.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
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
    mut stopping: watch::Receiver<bool>,
    grace: Duration,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).keep_alive_interval(HEAD_TIME_MAX);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let router = router.clone();
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            answer(router.clone(), request)
        });
        let connection =
            builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        tasks::spawn("serve connection", async move {
            // What ends a connection early is the client's affair; calls that matter have had their answer.
            if let Err(err) = connection.await {
                tracing::debug!(error = %err, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not end in time and are cut off");
    }
}

/// Answers a request. A panic in a handler is a defect that one call is to pay for, not the whole host.
async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        Ok(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the host has a defect; its log says more").into_response())
    })
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small and single; to wait for more of them would only be slow.
            if let Err(err) = stream.set_nodelay(true) {
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
