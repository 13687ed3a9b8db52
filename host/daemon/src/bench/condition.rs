//! One call of a condition, on one thread: in a fresh instance of the sandbox, and in one that was called before.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;
use serde::Serialize;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{Activity, Failure, JudgeCall, Past, Plugin, Verdict, World};
use trapjaw_engine::time::Time;
use trapjaw_sandbox::{Compiler, Sandbox, Settings, Warm};

use super::gauge::{Spans, round};
use super::{WARM_UP, events, thread};
use crate::text;

/// A condition's component, as it was read.
pub(super) struct Candidate {
    /// SHA-256 of the bytes, in hex.
    pub(super) digest: Arc<str>,
    /// The component.
    pub(super) bytes: Bytes,
}

/// How long a call takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Condition {
    /// The median in a fresh instance, in microseconds.
    pub(super) fresh_us: f64,
    /// The median where instances are called again, whether the plugin asks for that or not.
    pub(super) warm_us: f64,
}

impl Candidate {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("read plugin {}", path.display()))?;
        let digest = text::hex(digest::digest(&digest::SHA256, &bytes).as_ref());
        Ok(Self { digest: digest.into(), bytes: bytes.into() })
    }
}

/// Measures with sandboxes of its own, one after the other.
pub(super) async fn measure(candidate: &Candidate, folder: &Path, span: Duration) -> anyhow::Result<Condition> {
    Ok(Condition {
        fresh_us: median_us(candidate, folder, Warm::Never, span).await?,
        warm_us: median_us(candidate, folder, Warm::Always, span).await?,
    })
}

async fn median_us(candidate: &Candidate, folder: &Path, warm: Warm, span: Duration) -> anyhow::Result<f64> {
    let compiler = Compiler::Child(std::env::current_exe().context("find own program")?);
    let settings = Settings { warm, ..Settings::new(folder.join("compiled"), compiler) };
    let sandbox = Sandbox::new(settings).context("open sandbox")?;
    let plugin = sandbox.load(&candidate.digest, candidate.bytes.clone()).await.context("load plugin")?;
    ensure!(plugin.world() == World::Condition, "load plugin: a condition is wanted, and this is an action");
    let median = thread::run("bench-condition", move || async move {
        let spans = Spans::new();
        call_for(&*plugin, &spans, WARM_UP).await?;
        spans.clear();
        call_for(&*plugin, &spans, span).await?;
        Ok(spans.quantile(0.5))
    });
    Ok(round(median.await?.as_secs_f64() * 1e6, 1))
}

/// What the condition says to an event of the load.
pub(super) async fn ask(plugin: &dyn Plugin) -> anyhow::Result<Verdict> {
    judge(plugin, &event()).await
}

fn event() -> Arc<Event> {
    let mut event = Event::new(events::SOURCE, events::KIND, "e1", Time(1_700_000_000_000_000));
    event.subject = Some("octo/hello".into());
    event.data = Bytes::from(events::data(Duration::ZERO));
    Arc::new(event)
}

async fn call_for(plugin: &dyn Plugin, spans: &Spans, span: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + span;
    let event = event();
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(());
        }
        judge(plugin, &event).await?;
        spans.add(began.elapsed());
    }
}

async fn judge(plugin: &dyn Plugin, event: &Arc<Event>) -> anyhow::Result<Verdict> {
    let call = JudgeCall {
        event: Arc::clone(event),
        config: events::CONFIG.into(),
        trigger: "bench".into(),
        subject: "octo/hello".into(),
        now: Time(1_700_000_001_000_000),
        facts: "{}".into(),
    };
    match plugin.judge(call, Arc::new(Nothing)).await.answer {
        Ok(verdict) => Ok(verdict),
        Err(err) => bail!(
            "call condition: {err}; it is given the configuration {} and a push as GitHub tells of it",
            events::CONFIG
        ),
    }
}

/// Nothing happened before.
struct Nothing;

#[async_trait]
impl Past for Nothing {
    async fn activity(&self, _trigger: &str, _subject: &str) -> Result<Activity, Failure> {
        Ok(Activity::default())
    }
}
