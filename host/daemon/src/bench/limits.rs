//! The machine's own limits: how often the disk confirms, and how many bare POSTs loopback carries.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST};
use serde::Serialize;

use super::events::Arrivals;
use super::gauge::round;
use super::load::{connect, exchange};
use super::receiver::Receiver;
use super::{WARM_UP, events, thread};

/// What is appended before each confirmation: one page of the store.
const PAGE_BYTES: usize = 8 << 10;
/// Connections that POST at a time.
const CONNECTIONS: usize = 64;

/// The machine's own limits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Limits {
    /// Appends of 8 KiB that the disk confirmed, one after another.
    pub(super) fsync_per_s: f64,
    /// POSTs of 500 bytes from one thread to another, over connections that are kept alive.
    pub(super) loopback_posts_per_s: f64,
}

/// Measures both.
pub(super) async fn measure(folder: &Path, span: Duration) -> anyhow::Result<Limits> {
    let path = folder.join("fsync");
    let synced = tokio::task::spawn_blocking(move || {
        fsyncs(&path, WARM_UP)?;
        fsyncs(&path, span)
    });
    Ok(Limits { fsync_per_s: synced.await.context("measure fsync")??, loopback_posts_per_s: posts(span).await? })
}

fn fsyncs(path: &Path, span: Duration) -> anyhow::Result<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).context("open file")?;
    let page = [7; PAGE_BYTES];
    let (began, mut count) = (Instant::now(), 0u64);
    while began.elapsed() < span {
        file.write_all(&page).and_then(|()| file.sync_data()).context("write file")?;
        count += 1;
    }
    Ok(round(count as f64 / began.elapsed().as_secs_f64(), 0))
}

async fn posts(span: Duration) -> anyhow::Result<f64> {
    let arrivals = Arc::new(Arrivals::new());
    let receiver = Receiver::start(Arc::clone(&arrivals)).await?;
    let address = receiver.address;
    let posting = move |span| thread::run("bench-load", move || post_all(address, Instant::now() + span));
    posting(WARM_UP).await?;
    let (began, before) = (Instant::now(), arrivals.count());
    posting(span).await?;
    Ok(round((arrivals.count() - before) as f64 / began.elapsed().as_secs_f64(), 0))
}

async fn post_all(address: SocketAddr, until: Instant) -> anyhow::Result<()> {
    let lanes: Vec<_> = (0..CONNECTIONS).map(|_| tokio::task::spawn_local(post(address, until))).collect();
    for lane in lanes {
        lane.await.context("post")??;
    }
    Ok(())
}

async fn post(address: SocketAddr, until: Instant) -> anyhow::Result<()> {
    let mut sender = connect(address).await?;
    let body = bytes::Bytes::from(events::data(Duration::ZERO));
    while Instant::now() < until {
        let request = Request::post("/hook")
            .header(HOST, "127.0.0.1")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))
            .context("make request")?;
        let (status, _) = exchange(&mut sender, request).await?;
        ensure!(status.is_success(), "post: {status}");
    }
    Ok(())
}
