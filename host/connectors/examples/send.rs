//! Measures a signed, guarded webhook send: CPU time on the sender's thread, and sends a second.
//!
//! `cargo run --release -p trapjaw-connectors --example send -- [SENDS] [CONCURRENT]`

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::{SinkContext, find};
use trapjaw_engine::ports::{Clock, Message, Sink};
use trapjaw_engine::time::Time;

type Failed = Box<dyn Error + Send + Sync>;

static RECEIVED: AtomicU64 = AtomicU64::new(0);

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let n_sends: u64 = args.next().map_or(Ok(400_000), |arg| arg.parse())?;
    let n_concurrent: u64 = args.next().map_or(Ok(32), |arg| arg.parse())?;
    let (tx, rx) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("receiver".into()).spawn(move || receive(&tx))?;
    let address = rx.recv()??;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ctx = SinkContext::new(Arc::new(SystemClock), Arc::new(SystemResolver), EgressPolicy::OPEN);
    let config = json!({"url": format!("http://{address}/hook"), "allow_private": true, "signing": "whsec_c2VjcmV0"});
    let webhook = find("webhook").ok_or("no webhook")?;
    let sink = (webhook.new)(&config, &ctx).map_err(|problems| format!("{problems:?}"))?;

    runtime.block_on(send_all(sink.clone(), n_sends / 10, n_concurrent))?;
    let (cpu, wall, before) = (thread_cpu()?, Instant::now(), RECEIVED.load(Ordering::SeqCst));
    runtime.block_on(send_all(sink, n_sends, n_concurrent))?;
    let (cpu, wall) = (thread_cpu()? - cpu, wall.elapsed());
    let n_received = RECEIVED.load(Ordering::SeqCst) - before;

    let micros = cpu.as_secs_f64() * 1e6 / n_received as f64;
    let rate = n_received as f64 / wall.as_secs_f64();
    println!("{n_received} sends received, {n_concurrent} at a time");
    println!("{micros:.1} µs of CPU a send on the sender's thread, {rate:.0} sends a second");
    Ok(())
}

/// Sends with so many loops at a time.
async fn send_all(sink: Arc<dyn Sink>, n_sends: u64, n_concurrent: u64) -> Result<(), Failed> {
    let body = Bytes::from(json!({"order": 17, "text": "x".repeat(300)}).to_string());
    let tasks = LocalSet::new();
    let mut loops = Vec::new();
    for lane in 0..n_concurrent {
        let (sink, body) = (sink.clone(), body.clone());
        loops.push(tasks.spawn_local(async move {
            for number in 0..n_sends / n_concurrent {
                let message = Message {
                    body: body.clone(),
                    content_type: "application/json".into(),
                    idempotency_key: format!("msg_{lane:08}{number:016}"),
                    attempt: 1,
                    ..Message::default()
                };
                sink.send(&message).await?;
            }
            Ok::<_, Failed>(())
        }));
    }
    tasks
        .run_until(async {
            for sending in loops {
                sending.await??;
            }
            Ok(())
        })
        .await
}

/// Answers every request with 200, on a thread of its own.
fn receive(address: &std::sync::mpsc::SyncSender<std::io::Result<SocketAddr>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => return drop(address.send(Err(err))),
    };
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => listener,
            Err(err) => return drop(address.send(Err(err))),
        };
        drop(address.send(listener.local_addr()));
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
}

async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    if request.headers().contains_key("webhook-signature") && request.into_body().collect().await.is_ok() {
        RECEIVED.fetch_add(1, Ordering::SeqCst);
    }
    Ok(hyper::Response::new(Full::default()))
}

/// The time that this thread was on a CPU.
fn thread_cpu() -> Result<Duration, Failed> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split_whitespace().next().ok_or("no schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
