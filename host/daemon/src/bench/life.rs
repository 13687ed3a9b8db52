//! The whole life: events are accepted over HTTP, judged, sent and settled; from the first accept to the last settle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::definition::PluginStanding;
use trapjaw_engine::plan::{Plan, PluginInput, VersionInput};
use trapjaw_engine::ports::{Message, Receipt, SendError, Sink};

use super::WARM_UP;
use super::condition::{Candidate, ask};
use super::daemon::{Daemon, connection, plan};
use super::events::{self, Arrivals};
use super::gauge::{Stage, Window};
use super::receiver::Receiver;
use crate::clock::SystemClock;
use crate::sinks;

/// The most events that are open: fewer than the engine keeps of one trigger in memory, so that nothing is paged.
const OPEN_MAX: u64 = 8_000;
/// The name and version of the plugin.
const PLUGIN: (&str, &str) = ("condition", "1");
/// What stands in for a plugin where none is given.
const EXPR: &str = "size(event.data.commits) >= 1";
/// What the webhook signs with; the receiver does not look.
const SIGNING: &str = "whsec_dGhpcyBpcyBmb3IgbWVhc3VyaW5n";

/// Measures with one send an event, on a connection that does nothing.
pub(super) async fn noop(folder: &Path, span: Duration) -> anyhow::Result<Stage> {
    let arrivals = Arc::new(Arrivals::new());
    let sink = Arc::new(NoOp(Arc::clone(&arrivals)));
    let plan = plan(vec![trigger(&[])], connection(sink), Vec::new())?;
    let daemon = Daemon::open(folder).await?;
    live(daemon, folder, plan, &arrivals, span).await
}

/// Measures with a condition, the plugin or else an expression, and one signed webhook an event.
pub(super) async fn webhook(folder: &Path, plugin: Option<&Candidate>, span: Duration) -> anyhow::Result<Stage> {
    let arrivals = Arc::new(Arrivals::new());
    let receiver = Receiver::start(Arc::clone(&arrivals)).await?;
    let ctx = SinkContext::new(Arc::new(SystemClock), Arc::new(SystemResolver), EgressPolicy::OPEN);
    let mut config = Map::new();
    config.insert("url".into(), json!(format!("http://{}/hook", receiver.address)));
    config.insert("allow_private".into(), json!(true));
    config.insert("signing".into(), json!(SIGNING));
    let (sink, _) = sinks::build("webhook", config, &ctx).map_err(|problems| anyhow!("make webhook: {problems:?}"))?;

    let daemon = Daemon::open(folder).await?;
    let plan = match plugin {
        Some(candidate) => {
            let condition = json!({"plugin": PLUGIN.0, "config": config_of_condition()?});
            plan(vec![trigger(&[condition])], connection(sink), vec![load(&daemon, candidate).await?])?
        }
        None => plan(vec![trigger(&[json!({"expr": EXPR})])], connection(sink), Vec::new())?,
    };
    live(daemon, folder, plan, &arrivals, span).await
}

async fn live(
    daemon: Daemon,
    folder: &Path,
    plan: Plan,
    arrivals: &Arc<Arrivals>,
    span: Duration,
) -> anyhow::Result<Stage> {
    daemon.host.app.engine.swap(Arc::new(plan)).await;
    let (n_over, watching) = daemon.watch();
    let load = daemon.load(Arc::clone(arrivals), n_over, OPEN_MAX);
    load.run(WARM_UP).await?;
    daemon.drain().await?;
    arrivals.spans().clear();
    let before = arrivals.count();
    let window = Window::open();
    let n_events = load.run(span).await?;
    daemon.drain().await?;
    let stage = window.close(n_events, arrivals.spans());
    let n_arrived = arrivals.count() - before;
    ensure!(n_arrived == n_events, "count sends: {n_arrived} arrived of {n_events} events");
    watching.abort();
    daemon.close(folder).await?;
    Ok(stage)
}

/// A trigger that is about every event of the load.
fn trigger(when: &[Value]) -> (String, Value) {
    let on = json!({"source": [events::SOURCE], "type": [events::KIND]});
    ("bench".into(), json!({"on": on, "when": when, "do": [{"send": "out"}]}))
}

fn config_of_condition() -> anyhow::Result<Value> {
    serde_json::from_str(events::CONFIG).context("read configuration")
}

/// The plugin as the daemon loads it, once it has said yes to an event of the load.
async fn load(daemon: &Daemon, candidate: &Candidate) -> anyhow::Result<PluginInput> {
    let composer = daemon.host.app.desk.composer();
    let plugin = composer.load(&candidate.digest, candidate.bytes.clone()).await.context("load plugin")?;
    let verdict = ask(&*plugin).await?;
    ensure!(verdict.matched, "call condition: it says no to a push: {}", verdict.reason.unwrap_or_default());
    let (name, version) = PLUGIN;
    Ok(PluginInput {
        name: name.into(),
        standing: PluginStanding { active: Some(version.into()), ..PluginStanding::default() },
        secrets: Vec::new(),
        versions: vec![VersionInput { version: version.into(), digest: Arc::clone(&candidate.digest), plugin }],
    })
}

/// A connection's end that counts, and confirms at once.
struct NoOp(Arc<Arrivals>);

#[async_trait]
impl Sink for NoOp {
    async fn send(&self, message: &Message) -> Result<Receipt, SendError> {
        self.0.add(&message.body);
        Ok(Receipt::default())
    }

    async fn probe(&self) -> Result<(), SendError> {
        Ok(())
    }
}
