//! `trapjaw bench`: what this machine can do, measured by the daemon's own parts in a throw-away data directory.
//!
//! ```text
//! limits     what the machine gives without us: fsyncs and loopback POSTs
//! route      one thread routes fresh events over 1,000 triggers
//! condition  one thread calls a plugin's condition
//! accept     batches over HTTP, durable, no triggers
//! noop       the whole life: accept, one send on a connection that does nothing, settle
//! webhook    the whole life with a condition and a signed webhook to a receiver on loopback
//! ```
//!
//! The load's generator and the receivers are threads of this process, each with a runtime of its own: they never
//! queue before the daemon's workers, but they do use the same processors, and their CPU time is counted.

mod report;

mod gauge;
mod thread;

mod events;
mod load;
mod receiver;

mod limits;
mod route;
mod condition;
mod accept;
mod life;
mod daemon;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::BenchArgs;
use crate::config::settings::LogFormat;
use crate::{telemetry, text};

use condition::Candidate;
use report::Report;

/// How long each stage runs before it is measured: caches fill, connections open, the store's file grows.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measures, and shows what was measured on standard output.
pub(crate) async fn bench(args: BenchArgs) -> ExitCode {
    let shown = async {
        telemetry::start(LogFormat::Text, "warn")?;
        // The webhook's client wants it, as the daemon's does.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut interrupt = signal(SignalKind::interrupt()).context("watch for signals")?;
        // An interrupted bench takes its data away too.
        let report = tokio::select! {
            report = measure(&args) => report?,
            _ = interrupt.recv() => anyhow::bail!("measure: interrupted"),
        };
        report.show(args.output)
    };
    match Box::pin(shown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            say(&format!("trapjaw: bench: {err:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &BenchArgs) -> anyhow::Result<Report> {
    let span = Duration::from_secs(u64::from(args.seconds));
    let folder = throw_away(args.data.as_deref())?;
    let folder = folder.path();
    say(&format!("data in {} (removed at the end), {} s a stage", folder.display(), args.seconds));

    say("limits: fsync, then loopback POSTs");
    let limits = limits::measure(folder, span).await?;
    say("route: 1,000 triggers");
    let route = route::measure(span).await?;
    let candidate = args.plugin.as_deref().map(Candidate::read).transpose()?;
    let condition = match &candidate {
        Some(candidate) => {
            say("condition: in fresh instances, then in a warm one");
            Some(condition::measure(candidate, &folder.join("condition"), span).await?)
        }
        None => None,
    };
    say("accept: batches of 100 events, no triggers");
    let accept = accept::measure(&folder.join("accept"), span).await?;
    say("noop: one send each, on a connection that does nothing");
    let noop = life::noop(&folder.join("noop"), span).await?;
    say("webhook: a condition and a signed webhook each");
    let webhook = life::webhook(&folder.join("webhook"), candidate.as_ref(), span).await?;
    Ok(Report { limits, route, condition, accept, noop, webhook, is_plugin: candidate.is_some() })
}

/// A folder of our own within the one that was asked for, so that nothing that was there before is touched.
fn throw_away(data: Option<&Path>) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("trapjaw-bench-");
    let made = match data {
        Some(data) => std::fs::create_dir_all(data).and_then(|()| builder.tempdir_in(data)),
        None => builder.tempdir(),
    };
    made.context("make data directory")
}

/// Tells a person how far we are. Nobody may be reading, and that is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text::escape_controls(line));
}
