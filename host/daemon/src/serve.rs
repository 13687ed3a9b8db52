//! `trapjaw serve` and `trapjaw dev`: the daemon from its first line of output to its exit code.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
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
    let compiler = Compiler::Child("/proc/self/exe".into());
    let host = Host::open(&settings, compiler).await?;
    let (router, store) = (api::router(host.app.clone()), host.app.store.clone());
    let tcp = TcpListener::bind(settings.listen).await.with_context(|| format!("listen on {}", settings.listen))?;
    let address = tcp.local_addr().context("find own address")?;
    if settings.dev {
        make_inbox(&host, address).await?;
        save_context(&settings, address)?;
    }
    let serving = tasks::spawn(
        "listener",
        listener::serve(tcp, router, settings.limits.connections, host.app.stopping.clone(), settings.grace),
    );
    announce(&host, address)?;
    tokio::select! {
        signal = told_to_stop() => tracing::info!(signal = signal?, "stopping"),
        reason = store.failed() => {
            // What was acknowledged is on disk, and nothing more can be: to go on would be to guess.
            tracing::error!(reason = %reason, "the store failed");
            anyhow::bail!("write to the store: {reason}");
        }
    }
    host.stop_intake();
    serving.await.context("stop listening")?;
    host.close(settings.grace).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Says what scripts wait for, and shows the first token once.
fn announce(host: &Host, address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut say = || -> std::io::Result<()> {
        if let Some(token) = &host.made_token {
            writeln!(out, "admin token (shown this once): {token}")?;
        }
        writeln!(out, "listening on http://{address}")?;
        out.flush()
    };
    say().context("write to standard output")
}

async fn told_to_stop() -> anyhow::Result<&'static str> {
    let mut term = signal(SignalKind::terminate()).context("watch for signals")?;
    let mut int = signal(SignalKind::interrupt()).context("watch for signals")?;
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
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

fn save_context(settings: &Settings, address: SocketAddr) -> anyhow::Result<()> {
    let (Some(token), Some(path)) = (&settings.admin_token, Context::default_path()) else { return Ok(()) };
    Context { url: format!("http://{address}"), token: token.clone() }.write(&path)
}
