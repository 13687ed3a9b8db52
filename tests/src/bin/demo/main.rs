//! The demo: real GitHub webhooks in, conditions and actions replaced under load, one kill, signed webhooks out, and a
//! report in which every number is counted. It ends with 1 if anything was lost.

#![expect(clippy::print_stdout, reason = "it is made to be watched")]

mod command;
mod conduct;
mod expect;
mod feed;
mod options;
mod payloads;
mod report;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;
use trapjaw_tests::{ADMIN_TOKEN, Daemon, Receiver, component, components, wait_until};

use command::Cli;
use options::Options;
use payloads::Payloads;
use report::{Counted, say};
use tally::Tally;

const SIGNING: &str = "whsec_dGhlLWRlbW9zLW93bi1zaWduaW5nLXNlY3JldA==";
const DEFINITIONS: &str = "tests/demo/trapjaw.yaml";
/// How long the last deliveries may take without any progress before what is missing counts as lost.
const STALL_MAX: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let ended = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    match ended.and_then(|runtime| runtime.block_on(run())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("demo: {err:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let options = Options::read()?;
    for name in ["big-push", "big-push-v2", "announce", "announce-js"] {
        component(name)?;
    }
    let payloads = Payloads::load().await?;
    println!("\nTrapjaw: {}, {} events/s for {} s\n", payloads.origin, options.rate, options.seconds);

    let tally = Arc::new(Tally::default());
    let watching = tally.clone();
    let receiver = Receiver::start_watched(SIGNING, move |delivery| watching.delivered(&delivery)).await?;
    let folder = tempfile::tempdir().context("make a data directory")?;
    let mut daemon = start(&folder, &receiver).await?;

    println!("\n   second   posted   acknowledged   delivered   to come   p99 of the second   swaps");
    let feeding = feed::feed(daemon.api()?, &payloads, &options, tally.clone());
    let watching = report::watch(&tally, options.seconds);
    let (fed, swaps, ()) = tokio::join!(feeding, conduct::conduct(&mut daemon, &options, &tally), watching);
    fed?;
    let swaps = swaps?;
    settle(&tally).await;

    let counted = Counted::gather(&daemon, &tally, swaps).await?;
    let is_good = counted.print();
    if options.keep {
        keep(&daemon, &receiver).await?;
    }
    let status = daemon.stop().await?;
    say(&format!("told to stop with SIGTERM, the daemon ended with {status}"));
    Ok(is_good && status.success())
}

/// Everything before the first event: the daemon on an empty directory, its plugins, secrets and definitions.
async fn start(folder: &TempDir, receiver: &Receiver) -> anyhow::Result<Daemon> {
    let begin = Instant::now();
    let daemon = Daemon::start(&folder.path().join("data"), None).await?;
    say(&format!(
        "the daemon listens on {}, {} ms after its start on an empty directory",
        daemon.url(),
        begin.elapsed().as_millis()
    ));
    let cli = Cli::new(&daemon)?;
    let components = components()?;
    for (plugin, language) in [("big-push", "Rust"), ("announce", "Rust")] {
        let begin = Instant::now();
        cli.push(plugin, &components.join(plugin).with_extension("wasm"), "1.0.0").await?;
        say(&format!(
            "pushed {plugin} 1.0.0, {language}: checked, compiled, stored, active in {} ms",
            begin.elapsed().as_millis()
        ));
    }
    cli.run_with(&["secret", "set", "RECEIVER"], &receiver.url("")).await?;
    cli.run_with(&["secret", "set", "SIGNING"], SIGNING).await?;
    let applied = cli.run(&["apply", DEFINITIONS]).await?;
    say(&format!("applied trapjaw.yaml: {}", applied.lines().last().unwrap_or_default()));
    Ok(daemon)
}

/// Waits for what was acknowledged to arrive, for as long as anything does.
async fn settle(tally: &Tally) {
    let mut last = (tally.n_to_come(), Instant::now());
    let waited = wait_until("the last deliveries", Duration::from_secs(600), async || {
        let n_to_come = tally.n_to_come();
        if n_to_come != last.0 {
            last = (n_to_come, Instant::now());
        }
        (n_to_come == 0 || last.1.elapsed() > STALL_MAX).then_some(())
    });
    if let Err(err) = waited.await {
        say(&format!("{err:#}"));
    }
}

async fn keep(daemon: &Daemon, receiver: &Receiver) -> anyhow::Result<()> {
    let url = daemon.url();
    println!("\n  It runs on until Ctrl-C. Deliveries go to {}. In another terminal:\n", receiver.url(""));
    println!("    export TRAPJAW_URL={url} TRAPJAW_TOKEN={ADMIN_TOKEN}");
    println!("    PATH=\"{}:$PATH\"", trapjaw_tests::binary()?.parent().context("find own folder")?.display());
    println!("    trapjaw status");
    println!("    trapjaw trigger ls && trapjaw plugin ls && trapjaw run ls");
    println!("    trapjaw event tail --why &");
    let data = r#"{"action": "opened", "issue": {"title": "Hello", "number": 7}, "sender": {"login": "you"}}"#;
    println!("    trapjaw event publish --type com.github.issues --source github --data '{data}'");
    println!("    curl -s $TRAPJAW_URL/metrics -H \"authorization: Bearer $TRAPJAW_TOKEN\"\n");
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}
