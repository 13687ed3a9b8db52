//! The host put together: store, sandbox, plan, engine and desk, opened in this order and closed in the reverse.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::{Semaphore, watch};
use trapjaw_connectors::clients::SystemResolver;
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::engine::{self, Engine};
use trapjaw_engine::ports::{Catalog, Clock, Ledger, Store};
use trapjaw_sandbox::{Compiler, Sandbox};
use trapjaw_store::Sqlite;

use crate::api::{App, BodyBudget, Inbox};
use crate::clock::{SystemClock, SystemDice};
use crate::composer::Composer;
use crate::config::settings::{Settings, StoreChoice};
use crate::desk::{self, ChangeError, Desk};
use crate::installation::{Body, Draft, Installation};
use crate::pass::{Failures, Scope, Token};
use crate::vault::Vault;

/// A host at work.
pub(crate) struct Host {
    /// What the API works with.
    pub(crate) app: Arc<App>,
    stopping: watch::Sender<bool>,
}

/// The token that an installation without tokens begins with. It is good once it is kept.
pub(crate) struct FirstToken {
    /// The token itself.
    pub(crate) shown: String,
    token: Token,
}

/// The purpose of the key that event ids are hashed with.
const IDS_PURPOSE: &str = "trapjaw event ids 1";
/// The name of the token that the first start makes.
const FIRST_TOKEN: &str = "admin";
/// Who makes what the host makes by itself.
const HOST_ACTOR: &str = "trapjaw";

impl Host {
    /// Opens everything, and recovers what a former run left open.
    pub(crate) async fn open(settings: &Settings, compiler: Compiler) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = open_store(settings).await?;
        let (ports, catalog): (Arc<dyn Store>, Arc<dyn Catalog>) = (Arc::new(store.clone()), Arc::new(store.clone()));
        let vault = Arc::new(Vault::open(&settings.data)?);
        let sandbox = open_sandbox(&settings.data, compiler)?;
        let sink_ctx = SinkContext::new(clock.clone(), Arc::new(SystemResolver), settings.egress.clone());
        let composer = Composer::new(sandbox, sink_ctx, settings.exposed.clone(), settings.dev);

        let snapshot = catalog.snapshot().await.context("read configuration")?;
        let installation = Installation::read(snapshot, &vault).map_err(ChangeError::Invalid).map_err(explain)?;
        let composed = composer.compose(&installation, &*catalog, None).await.map_err(explain)?;
        let parts = engine::Parts {
            store: ports.clone(),
            clock: clock.clone(),
            dice: Arc::new(SystemDice::new()),
            plan: composer.keep(composed),
            settings: engine_settings(settings, &vault),
        };
        let engine = Engine::start(parts).await.context("recover open work")?;
        let desk = Desk::new(desk::Parts {
            store: ports,
            catalog: catalog.clone(),
            engine: engine.clone(),
            clock: clock.clone(),
            composer,
            vault,
            installation: Arc::new(installation),
        });
        let (stopping, stopped) = watch::channel(false);
        let app = Arc::new(App {
            engine,
            desk,
            ledger: Arc::new(store.clone()) as Arc<dyn Ledger>,
            catalog,
            store,
            clock,
            operator_token: settings.admin_token.as_deref().map(|shown| Arc::new(Token::of_operator(shown))),
            failures: Failures::default(),
            bodies: BodyBudget::new(settings.limits.body_bytes),
            streams: Arc::new(Semaphore::new(settings.limits.streams)),
            stopping: stopped,
            ready: AtomicBool::new(true),
            inbox: settings.dev.then(Inbox::default),
        });
        Ok(Self { app, stopping })
    }

    /// A new token where there is none by which anybody could make one. It has to be shown before it is kept: a start
    /// that ends between the two then leaves no token that nobody has seen, and the next start makes another.
    pub(crate) fn first_token(&self) -> Option<FirstToken> {
        let is_needed = self.app.operator_token.is_none() && self.app.desk.current().tokens.is_empty();
        is_needed.then(|| {
            let (shown, token) = Token::make(vec![Scope::Admin], Vec::new(), Vec::new(), None);
            FirstToken { shown, token }
        })
    }

    /// Makes the token good.
    pub(crate) async fn keep(&self, first: FirstToken) -> anyhow::Result<()> {
        let draft = Draft { name: FIRST_TOKEN.into(), body: Body::Token(first.token) };
        self.app.desk.change(HOST_ACTOR.into(), move |_| Ok(vec![draft])).await.context("keep the first token")?;
        Ok(())
    }

    /// Takes no more work: streams end, listeners that watch stop.
    pub(crate) fn stop_intake(&self) {
        self.app.ready.store(false, Ordering::Relaxed);
        self.stopping.send_replace(true);
    }

    /// Lets running attempts end within `grace`, or go back to the store, and closes it.
    pub(crate) async fn close(self, grace: Duration) -> anyhow::Result<()> {
        self.stop_intake();
        self.app.engine.stop(grace).await;
        self.app.store.close().await.context("close store")
    }
}

/// Shows every problem of a configuration that cannot come into force.
fn explain(err: ChangeError) -> anyhow::Error {
    match err {
        ChangeError::Invalid(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!("read configuration: {}", lines.join("; "))
        }
        err => anyhow::Error::from(err).context("read configuration"),
    }
}

async fn open_store(settings: &Settings) -> anyhow::Result<Sqlite> {
    match settings.store {
        StoreChoice::Sqlite => Ok(trapjaw_store::open(trapjaw_store::Settings::new(&settings.data)).await?),
    }
}

fn open_sandbox(data: &Path, compiler: Compiler) -> anyhow::Result<Arc<Sandbox>> {
    Ok(Sandbox::new(trapjaw_sandbox::Settings::new(data.join("compiled"), compiler))?)
}

fn engine_settings(settings: &Settings, vault: &Vault) -> engine::Settings {
    let mut ids_key = [0; 16];
    ids_key.copy_from_slice(&vault.derive(IDS_PURPOSE)[..16]);
    let mut engine = engine::Settings::new(ids_key);
    engine.attempts_max = settings.limits.attempts.unwrap_or(engine.attempts_max);
    engine.memory_bytes_max = settings.limits.work_bytes.unwrap_or(engine.memory_bytes_max);
    engine
}
