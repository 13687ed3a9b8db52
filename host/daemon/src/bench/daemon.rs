//! A daemon for a stage: put together and served as `trapjaw serve` does it, with a plan that the stage brings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use trapjaw_engine::definition;
use trapjaw_engine::engine::Status;
use trapjaw_engine::plan::{ConnectionInput, Plan, PlanInput, PluginInput, TriggerInput};
use trapjaw_engine::ports::{Message, Receipt, SendError, Sink};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::tasks;
use trapjaw_sandbox::Compiler;

use super::events::Arrivals;
use super::gauge::Spans;
use super::load::Load;
use crate::cli::args::DevArgs;
use crate::config::settings::Settings;
use crate::host::Host;
use crate::{api, clock, listener, text};

/// How long open work may take to end when a stage is over.
const GRACE: Duration = Duration::from_secs(10);
/// How often the counters are read.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long the last events of a stage may take.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A daemon at work on an empty data directory.
pub(super) struct Daemon {
    /// The host.
    pub(super) host: Host,
    address: SocketAddr,
    token: Arc<str>,
    serving: JoinHandle<()>,
}

impl Daemon {
    /// Opens a daemon that listens on loopback.
    pub(super) async fn open(folder: &Path) -> anyhow::Result<Self> {
        let token: Arc<str> = format!("bench_{}", text::hex(&clock::random::<24>())).into();
        let mut settings = Settings::of_dev(DevArgs { data: folder.to_owned(), listen: None, log: None });
        settings.admin_token = Some(token.to_string());
        let compiler = Compiler::Child(std::env::current_exe().context("find own program")?);
        let host = Host::open(&settings, compiler).await.context("open host")?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen on loopback")?;
        let address = tcp.local_addr().context("find own address")?;
        let (router, stopping) = (api::router(host.app.clone()), host.app.stopping.clone());
        let serving = listener::serve(tcp, router, settings.limits.connections, stopping, GRACE);
        Ok(Self { host, address, token, serving: tasks::spawn("listener", serving) })
    }

    /// The load that publishes to this daemon.
    pub(super) fn load(&self, arrivals: Arc<Arrivals>, n_over: watch::Receiver<u64>, open_max: u64) -> Load {
        Load {
            address: self.address,
            token: Arc::clone(&self.token),
            arrivals,
            requests: Arc::new(Spans::new()),
            n_sent: Arc::new(AtomicU64::new(0)),
            n_over,
            open_max,
        }
    }

    /// Tells from now on how many events are over.
    pub(super) fn watch(&self) -> (watch::Receiver<u64>, JoinHandle<()>) {
        let (told, n_over) = watch::channel(0);
        let app = self.host.app.clone();
        let watching = async move {
            let mut look = tokio::time::interval(LOOK_EVERY);
            while !told.is_closed() {
                look.tick().await;
                told.send_replace(over(&app.engine.status().await));
            }
        };
        (n_over, tasks::spawn("watch counters", watching))
    }

    /// Waits until every event that was accepted is over, each with one attempt that succeeded.
    pub(super) async fn drain(&self) -> anyhow::Result<()> {
        let engine = &self.host.app.engine;
        let drained = tokio::time::timeout(DRAIN_MAX, async {
            let mut look = tokio::time::interval(LOOK_EVERY);
            loop {
                look.tick().await;
                let status = engine.status().await;
                if over(&status) >= status.n_runs {
                    return status;
                }
            }
        });
        let status = drained.await.map_err(|_| anyhow!("settle events: not done after {} s", DRAIN_MAX.as_secs()))?;
        let Status { n_accepted, n_runs, n_succeeded, n_failed, .. } = status;
        ensure!(
            n_runs == n_accepted && n_succeeded == n_accepted && n_failed == 0,
            "settle events: of {n_accepted} events {n_runs} matched and {n_succeeded} succeeded, with {n_failed} retries"
        );
        Ok(())
    }

    /// Stops, and takes the data away.
    pub(super) async fn close(self, folder: &Path) -> anyhow::Result<()> {
        self.host.stop_intake();
        self.serving.await.context("stop listening")?;
        self.host.close(GRACE).await?;
        std::fs::remove_dir_all(folder).context("remove data")
    }
}

/// Attempts that ended a run: each run of the bench has one task.
fn over(status: &Status) -> u64 {
    status.n_succeeded + status.n_skipped + status.n_dead + status.n_cancelled
}

/// A plan of these triggers, on one connection.
pub(super) fn plan(
    triggers: Vec<(String, Value)>,
    connection: ConnectionInput,
    plugins: Vec<PluginInput>,
) -> anyhow::Result<Plan> {
    let triggers = triggers.into_iter().map(|(name, definition)| {
        let definition: definition::Trigger = serde_json::from_value(definition).context("read trigger")?;
        Ok(TriggerInput { name: name.into(), version: 1, definition })
    });
    let triggers = triggers.collect::<anyhow::Result<_>>()?;
    let input = PlanInput { revision: 1, triggers, connections: vec![connection], plugins };
    Plan::build(input, None).map_err(|problems: Vec<Problem>| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("make plan: {}", lines.join("; "))
    })
}

/// The connection `out` to a sink of ours.
pub(super) fn connection(sink: Arc<dyn Sink>) -> ConnectionInput {
    let mut map = Map::new();
    map.insert("kind".into(), json!("bench"));
    ConnectionInput {
        name: "out".into(),
        version: 1,
        definition: definition::Connection::read(map).expect("a kind is all that it must have"),
        sink,
        check: Arc::new(|_| Vec::new()),
        secrets: Vec::new(),
    }
}

/// A connection's end that is never sent to.
pub(super) struct Idle;

#[async_trait]
impl Sink for Idle {
    async fn send(&self, _message: &Message) -> Result<Receipt, SendError> {
        Ok(Receipt::default())
    }

    async fn probe(&self) -> Result<(), SendError> {
        Ok(())
    }
}
