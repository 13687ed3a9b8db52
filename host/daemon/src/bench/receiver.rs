//! A receiver on loopback: a bare HTTP server on a thread of its own that takes every request and answers 200.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::events::Arrivals;
use super::thread;

/// A receiver at work; it stops when it is dropped.
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    _alive: oneshot::Sender<()>,
}

impl Receiver {
    /// Starts a receiver that counts what arrives.
    pub(super) async fn start(arrivals: Arc<Arrivals>) -> anyhow::Result<Self> {
        let (alive, gone) = oneshot::channel();
        let (told, address) = oneshot::channel();
        let _ended = thread::start("bench-receiver", move || async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on loopback")?;
            // Whoever waited may be gone: the bench was interrupted.
            let _told = told.send(listener.local_addr().context("find own address")?);
            tokio::select! {
                accepted = accept_all(listener, arrivals) => accepted,
                _ = gone => Ok(()),
            }
        })?;
        let address = address.await.context("start receiver")?;
        Ok(Self { address, _alive: alive })
    }
}

async fn accept_all(listener: TcpListener, arrivals: Arc<Arrivals>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept connection")?;
        stream.set_nodelay(true).context("set up connection")?;
        let arrivals = Arc::clone(&arrivals);
        let service = service_fn(move |request| answer(request, Arc::clone(&arrivals)));
        // A connection ends when its client closes it; there is nothing to say about that.
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(request: Request<Incoming>, arrivals: Arc<Arrivals>) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await {
        arrivals.add(&body.to_bytes());
    }
    Ok(Response::new(Full::default()))
}
