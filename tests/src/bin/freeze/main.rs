//! Freezes a sample of what the daemon of this version stores: `freeze tests/compat/vN`, from the root of the checkout.
//!
//! The daemon itself writes it, by way of its API. Every kind of object is in it, every verdict, and a run in every
//! state in which one can rest. What the daemon says of it is asked twice, of the daemon that wrote it and of another
//! one on a copy, and kept only if both say the same.

mod define;
mod happen;
mod question;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use trapjaw_tests::{Bench, Receiver, Sample, differences, wait_until};

/// Nobody is there, now or ever: nothing of the sample finds a receiver before a test names one.
const NOWHERE: &str = "http://receiver.invalid";
const WAIT_MAX: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).context("a folder is wanted, such as tests/compat/v1")?.into();
    if folder.exists() {
        bail!("{} is there: a sample is never rewritten", folder.display());
    }
    let mut bench = Bench::start().await;
    let tokens = define::define(&bench).await?;
    let texts = happen::happen(&bench).await?;
    bench.api.put("/v1/secrets/RECEIVER", &json!({"value": NOWHERE})).await?.ok()?;
    rest(&bench).await?;

    let answers = answers(&bench, &question::questions(&bench).await?).await?;
    let written_by = bench.get("/v1/status").await["program"].take();
    let about = json!({"written_by": written_by, "signing": Bench::SIGNING, "tokens": tokens, "texts": texts});
    let sample = Sample { folder, about, answers };
    if !bench.daemon.stop().await?.success() {
        bail!("the daemon did not end well");
    }
    sample.freeze(&bench.folder.path().join("data"))?;
    if let Err(err) = check(&sample).await {
        std::fs::remove_dir_all(&sample.folder)?;
        return Err(err);
    }
    Ok(())
}

/// Waits until nothing moves any more.
async fn rest(bench: &Bench) -> anyhow::Result<()> {
    let is_still = async || {
        let running = bench.get("/v1/runs?state=running").await;
        // What a paused trigger or connection holds back is stored as running, and shown as waiting.
        let runs = running["items"].as_array()?;
        runs.iter().all(|run| run["state"] == "waiting").then_some(())
    };
    wait_until("rest", WAIT_MAX, is_still).await
}

/// Asks, and keeps each question with its answer.
async fn answers(bench: &Bench, paths: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut answers = Vec::new();
    for path in paths {
        answers.push(json!({"get": path, "answer": bench.api.get(path).await?.ok()?}));
    }
    Ok(answers)
}

/// Another daemon on a copy says the same.
async fn check(sample: &Sample) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    sample.unpack(&folder.path().join("data"))?;
    let bench = Bench::start_on(folder, Receiver::start(Bench::SIGNING).await?).await;
    rest(&bench).await?;
    for kept in &sample.answers {
        let path = kept["get"].as_str().context("read question")?;
        let different = differences(&kept["answer"], &bench.api.get(path).await?.ok()?);
        if !different.is_empty() {
            bail!("{path} is answered otherwise after a restart:\n{}", different.join("\n"));
        }
    }
    Ok(())
}
