//! The one place where the configuration changes: one change at a time, checked whole, durable, and then in force.
//!
//! A change is: the next installation → its plan, which finds everything that is wrong → one commit → the engine's
//! plan is swapped. What fails at a step leaves all as it was; so nothing may fail after the commit, and nothing is
//! read then: the next installation is made with the very versions that the store is going to give.

use std::sync::{Arc, PoisonError, RwLock};

use trapjaw_engine::engine::Engine;
use trapjaw_engine::plan::Plan;
use trapjaw_engine::ports::{Catalog, Clock, Conflict, Page, PluginVersion, Store, StoreError};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::record::{Command, Configure, Reply};
use trapjaw_engine::tasks;

use crate::composer::Composer;
use crate::installation::{Body, Draft, Installation, Past};
use crate::vault::Vault;

/// What the desk works with.
pub(crate) struct Desk {
    store: Arc<dyn Store>,
    catalog: Arc<dyn Catalog>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    composer: Composer,
    vault: Arc<Vault>,
    current: RwLock<Arc<Installation>>,
    /// Held through a whole change, so that each is checked against what the one before it left.
    writing: tokio::sync::Mutex<()>,
}

/// A change was not made; nothing is different.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// What it asks for is wrong, here and here.
    #[error("check configuration")]
    Invalid(Vec<Problem>),
    /// There is no such object.
    #[error("find {0}")]
    Missing(String),
    /// The object is not at the version that the caller expects.
    #[error("change configuration: the object is at version {0}")]
    Precondition(i64),
    /// Another writer was faster.
    #[error("change configuration: {} {} is at version {}", .0.kind, .0.name, .0.version)]
    Conflict(Conflict),
    /// The name is taken by something else.
    #[error("change configuration: {0}")]
    Taken(String),
    /// The caller may not.
    #[error("change configuration: {0}")]
    Forbidden(String),
    /// The host is about to end.
    #[error("change configuration: the host is stopping")]
    Stopping,
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Vec<Problem>> for ChangeError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Invalid(problems)
    }
}

/// What a change made.
pub(crate) struct Changed {
    /// The installation before it.
    pub(crate) before: Arc<Installation>,
    /// The installation after it.
    pub(crate) after: Arc<Installation>,
}

/// All that a desk is made of.
pub(crate) struct Parts {
    /// Where changes become durable.
    pub(crate) store: Arc<dyn Store>,
    /// Where they are read again.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// Whose plan is swapped.
    pub(crate) engine: Arc<Engine>,
    /// When a change is made.
    pub(crate) clock: Arc<dyn Clock>,
    /// What makes plans.
    pub(crate) composer: Composer,
    /// What seals secrets.
    pub(crate) vault: Arc<Vault>,
    /// What is in force.
    pub(crate) installation: Arc<Installation>,
}

impl Desk {
    /// The desk over what is in force.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            store: parts.store,
            catalog: parts.catalog,
            engine: parts.engine,
            clock: parts.clock,
            composer: parts.composer,
            vault: parts.vault,
            current: RwLock::new(parts.installation),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<Installation> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What makes plans, and what they are made of.
    pub(crate) fn composer(&self) -> &Composer {
        &self.composer
    }

    /// Makes a change. `decide` sees what is in force and says what is to change; nobody else changes it meanwhile.
    ///
    /// Once begun, a change goes through even when the caller is gone: a plan that was committed but not swapped
    /// would be in force after the next start only.
    pub(crate) async fn change<F>(self: &Arc<Self>, actor: Arc<str>, decide: F) -> Result<Changed, ChangeError>
    where
        F: FnOnce(&Installation) -> Result<Vec<Draft>, ChangeError> + Send + 'static,
    {
        let desk = self.clone();
        let change = tasks::spawn("change configuration", async move { desk.change_alone(actor, decide).await });
        change.await.map_err(|_| ChangeError::Stopping)?
    }

    /// What a change would come to, without making it: the installation and its plan.
    pub(crate) async fn rehearse(&self, drafts: Vec<Draft>) -> Result<(Installation, Plan), ChangeError> {
        let by = (&"rehearsal".into(), self.clock.now());
        let (next, _) = self.current().with(drafts, by, &Past::new(), &self.vault)?;
        let composed = self.composer.compose(&next, &*self.catalog, Some(&self.engine.plan())).await?;
        Ok((next, composed.plan))
    }

    /// Makes a version of a plugin durable. The same bytes under the same name once more are no error.
    pub(crate) async fn publish(&self, version: PluginVersion) -> Result<(), ChangeError> {
        let name = format!("{} {}", version.view.plugin, version.view.version);
        match self.commit(Command::Publish(Box::new(version))).await? {
            Reply::VersionTaken => Err(ChangeError::Taken(format!("{name} exists with other bytes"))),
            _ => Ok(()),
        }
    }

    async fn change_alone<F>(&self, actor: Arc<str>, decide: F) -> Result<Changed, ChangeError>
    where
        F: FnOnce(&Installation) -> Result<Vec<Draft>, ChangeError> + Send,
    {
        let _writing = self.writing.lock().await;
        let before = self.current();
        let now = self.clock.now();
        let drafts = decide(&before)?;
        let past = self.past_of(&before, &drafts).await?;
        let (next, changes) = before.with(drafts, (&actor, now), &past, &self.vault)?;
        if changes.is_empty() {
            return Ok(Changed { after: before.clone(), before });
        }
        let composed = self.composer.compose(&next, &*self.catalog, Some(&self.engine.plan())).await?;
        if let Reply::Refused(conflict) =
            self.commit(Command::Configure(Box::new(Configure { now, actor, changes }))).await?
        {
            return Err(ChangeError::Conflict(conflict));
        }
        let after = Arc::new(next);
        self.engine.swap(self.composer.keep(composed)).await;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = after.clone();
        Ok(Changed { before, after })
    }

    /// The last versions of the objects that are not there, and are to be.
    async fn past_of(&self, before: &Installation, drafts: &[Draft]) -> Result<Past, StoreError> {
        let mut past = Past::new();
        for draft in drafts.iter().filter(|draft| !matches!(draft.body, Body::Removed(_))) {
            let kind = draft.body.kind();
            if before.version(kind, &draft.name) != 0 {
                continue;
            }
            let newest = self.catalog.history(kind.word(), &draft.name, Page { before: None, rows_max: 1 }).await?;
            past.extend(newest.first().map(|object| ((kind, draft.name.clone()), object.version)));
        }
        Ok(past)
    }

    async fn commit(&self, command: Command) -> Result<Reply, StoreError> {
        let replies = self.store.commit(vec![command]).await?;
        // A store that gives no reply broke its contract: whether it wrote is not known.
        replies.into_iter().next().ok_or_else(|| StoreError::Fatal("it gave no reply".into()))
    }
}
