//! What happens to the daemon while events flow: plugins are replaced, back and forth, and it is killed once.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};
use trapjaw_tests::{Api, Daemon, components, wait_until};

use crate::command::Cli;
use crate::options::Options;
use crate::report::say;
use crate::tally::Tally;

/// What is replaced: the plugin, the component of its version 2.0.0, and what that is.
const REPLACED: [(&str, &str, &str); 2] = [
    ("big-push", "big-push-v2", "the condition's next version, Rust"),
    ("announce", "announce-js", "the action in another language, JavaScript"),
];
const BEAT: Duration = Duration::from_secs(1);
/// The kill waits until the receiver holds so many deliveries without an answer, but no longer than this.
const BUSY: usize = 32;
const BUSY_MAX: Duration = Duration::from_secs(2);

/// Conducts, beat by beat: the new versions after a quarter of the time, the kill after half of it, and a swap of each
/// plugin at every other beat from then on. Gives how often a plugin was replaced.
pub(crate) async fn conduct(daemon: &mut Daemon, options: &Options, tally: &Tally) -> anyhow::Result<usize> {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut swaps = 0;
    for beat in 0..options.seconds {
        beats.tick().await;
        if beat == options.seconds / 4 {
            swaps += push(daemon).await?;
        } else if beat == options.seconds / 2 {
            kill(daemon, tally).await?;
        } else if beat > options.seconds / 4 {
            let version = if beat % 2 == 0 { "1.0.0" } else { "2.0.0" };
            swaps += swap(&daemon.api()?, version).await?;
        }
        tally.count(|counts| counts.swaps = swaps);
    }
    Ok(swaps)
}

async fn push(daemon: &Daemon) -> anyhow::Result<usize> {
    let (cli, components) = (Cli::new(daemon)?, components()?);
    for (plugin, component, what) in REPLACED {
        let begin = Instant::now();
        cli.push(plugin, &components.join(component).with_extension("wasm"), "2.0.0").await?;
        say(&format!(
            "pushed {plugin} 2.0.0 while events flow: {what}; active after {} ms",
            begin.elapsed().as_millis()
        ));
    }
    Ok(REPLACED.len())
}

/// Makes a version of both plugins the active one; those that were replaced count.
async fn swap(api: &Api, version: &str) -> anyhow::Result<usize> {
    let mut n_swapped = 0;
    for (plugin, ..) in REPLACED {
        let path = format!("/v1/plugins/{plugin}");
        let before = api.get(&path).await?.ok().with_context(|| format!("look at {plugin}"))?;
        let after = api.put(&format!("{path}/active"), &json!({"version": version})).await?.ok();
        let after = after.with_context(|| format!("activate {plugin} {version}"))?;
        if after["active"] != version {
            bail!("activate {plugin} {version}: {} is active", after["active"]);
        }
        n_swapped += usize::from(before["active"] != after["active"]);
    }
    Ok(n_swapped)
}

async fn kill(daemon: &mut Daemon, tally: &Tally) -> anyhow::Result<()> {
    let process = daemon.id().unwrap_or_default();
    // A kill between two events would prove little, and a delivery is over in a moment: the receiver stops answering,
    // so that the daemon dies with work that it has begun and knows no end of.
    tally.silence(true);
    let busy = wait_until("work under way", BUSY_MAX, async || (tally.counts().unanswered >= BUSY).then_some(()));
    // At a low rate there are fewer, and the report says how many.
    let _fewer = busy.await;
    let from = Instant::now();
    daemon.kill().await?;
    tally.silence(false);
    let (before, n_to_come) = (tally.counts(), tally.n_to_come());
    daemon.restart().await?;
    let until = Instant::now();
    tally.outage(from, until);
    say(&format!(
        "kill -9 {process} with {} deliveries under way, and {n_to_come} to come for what it had acknowledged; up again on the same data after {} ms",
        before.unanswered,
        (until - from).as_millis(),
    ));
    if before.acknowledged == 0 {
        bail!("the daemon was killed before it had acknowledged anything");
    }
    Ok(())
}
