//! `trapjaw serve` and `trapjaw dev`: the daemon from its first line of output to its exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use trapjaw_engine::tasks;
use trapjaw_sandbox::Compiler;

use crate::cli::args::{DevArgs, ServeArgs};
use crate::cli::context::Context;
use crate::config::document::read_connection;
use crate::config::settings::Settings;
use crate::host::Host;
use crate::installation::Draft;
use crate::{api, clock, listener, telemetry, text};

/// The connection that the daemon for trying things out delivers to itself by.
const INBOX: &str = "inbox";

/// Runs the daemon until it is told to stop.
pub(crate) async fn serve(args: ServeArgs) -> ExitCode {
    finish(async { run(Settings::of_serve(args)?).await }.await)
}

/// Runs the daemon for trying things out.
pub(crate) async fn dev(args: DevArgs) -> ExitCode {
    let mut settings = Settings::of_dev(args);
    // A new token each time: it is in the context file, and good for as long as this process lives.
    settings.admin_token = Some(format!("dev_{}", text::hex(&clock::random::<24>())));
    finish(run(settings).await)
}

fn finish(ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            // Logging may not have begun; a person reads this.
            let _ = writeln!(std::io::stderr(), "trapjaw: {}", text::escape_controls(&format!("{err:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    telemetry::start(settings.log_format, &settings.log_filter)?;
    // Every TLS user of the process shares it; a second provider would panic at the first handshake.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Before anything is opened or changed: a port that is taken is the most likely reason for a start to fail.
    let tcp = TcpListener::bind(settings.listen).await.with_context(|| format!("listen on {}", settings.listen))?;
    let address = tcp.local_addr().context("find own address")?;
    let host = Host::open(&settings, Compiler::Child("/proc/self/exe".into())).await?;
    let (router, store) = (api::router(host.app.clone()), host.app.store.clone());
    if let Some(first) = host.first_token() {
        say(&[&format!("admin token (shown this once): {}", first.shown)])?;
        host.keep(first).await?;
    }
    if settings.dev {
        make_inbox(&host, address).await?;
    }
    // Before anybody is told that we listen: who reads that may tell us to stop at once.
    let mut signals = Signals::watch()?;
    let serving = tasks::spawn(
        "listener",
        listener::serve(tcp, router, settings.limits.connections, host.app.stopping.clone(), settings.grace),
    );
    say(&[&format!("listening on http://{address}")])?;
    if let (true, Some(token)) = (settings.dev, &settings.admin_token) {
        show_the_way(address, token)?;
    }
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, "stopping"),
        reason = store.failed() => {
            // What was acknowledged is on disk, and nothing more can be: to go on would be to guess.
            tracing::error!(reason = %reason, "the store failed");
            anyhow::bail!("write to the store: {reason}");
        }
        // Whatever ended it: nothing would be delivered any more, and to answer 202 would hide that.
        () = host.app.engine.failed() => anyhow::bail!("carry open work on: see the log"),
    }
    host.stop_intake();
    serving.await.context("stop listening")?;
    host.close(settings.grace).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Writes lines that scripts and people wait for.
fn say(lines: &[&str]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.flush()
    };
    write().context("write to standard output")
}

/// The signals that tell the daemon to stop. One that comes while nobody waits for it is not lost.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind: SignalKind| signal(kind).context("watch for signals");
        Ok(Self { term: watch(SignalKind::terminate())?, int: watch(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Points the connection `inbox` at this process, whatever its port is today.
async fn make_inbox(host: &Host, address: SocketAddr) -> anyhow::Result<()> {
    let definition = json!({"kind": "webhook", "url": format!("http://{address}/dev/inbox"), "allow_private": true});
    let change = move |now: &crate::installation::Installation| {
        let body = read_connection(INBOX, definition, now)?;
        Ok(vec![Draft { name: Arc::from(INBOX), body }])
    };
    host.app.desk.change("trapjaw dev".into(), change).await.context("make connection inbox")?;
    Ok(())
}

/// Tells a person how to go on: the commands of this user find the daemon by themselves, and others are told by lines
/// that can be copied.
fn show_the_way(address: SocketAddr, token: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}");
    let way = match Context::default_path() {
        Some(path) => {
            Context { url: url.clone(), token: token.to_owned() }.write(&path)?;
            "`trapjaw` finds it by itself from another terminal; for other programs, copy this line there:"
        }
        None => "in another terminal, copy this line first:",
    };
    say(&[way, &format!("export TRAPJAW_URL={url} TRAPJAW_TOKEN={token}")])
}
