//! Makes plans of installations: sinks are built and components loaded, each once for as long as it stays the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::{Map, Value};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::plan::{ConnectionInput, OptionsCheck, Plan, PlanInput, PluginInput, VersionInput};
use trapjaw_engine::ports::{Catalog, Plugin, Sink, VersionView};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::secret::Secret;
use trapjaw_sandbox::{LoadError, Sandbox};

use crate::config::placeholder::{Exposed, names_in};
use crate::config::resolve::{Resolved, ResolvedConnection, ResolvedPlugin, resolve};
use crate::desk::ChangeError;
use crate::installation::Installation;
use crate::sinks;

/// What plans are made with.
pub(crate) struct Composer {
    sandbox: Arc<Sandbox>,
    exposed: Exposed,
    sink_ctx: SinkContext,
    /// Whether every connection may reach private networks: the daemon for trying things out.
    allow_private: bool,
    in_force: Mutex<Parts>,
    /// The component that was loaded last: an upload loads it, and the change that activates it wants it again.
    last_loaded: Mutex<Option<Loaded>>,
}

/// A component that can be called.
struct Loaded {
    digest: Arc<str>,
    plugin: Arc<dyn Plugin>,
}

/// What a plan is made of beside the definitions: sinks by connection, components by digest.
#[derive(Default)]
struct Parts {
    sinks: HashMap<Arc<str>, Built>,
    components: HashMap<Arc<str>, Arc<dyn Plugin>>,
}

/// A plan that is not in force yet.
pub(crate) struct Composed {
    /// The plan.
    pub(crate) plan: Plan,
    parts: Parts,
}

/// A sink that was built, and what of.
#[derive(Clone)]
struct Built {
    /// Of the kind and its configuration, with the secrets in it: a changed secret makes another sink.
    digest: [u8; 32],
    sink: Arc<dyn Sink>,
    check: OptionsCheck,
}

impl Composer {
    /// A composer with nothing built yet.
    pub(crate) fn new(sandbox: Arc<Sandbox>, sink_ctx: SinkContext, exposed: Exposed, allow_private: bool) -> Self {
        let (in_force, last_loaded) = (Mutex::default(), Mutex::default());
        Self { sandbox, sink_ctx, exposed, allow_private, in_force, last_loaded }
    }

    /// Where components are checked and loaded.
    pub(crate) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// What the daemon's settings expose to definitions.
    pub(crate) fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    /// The plan of an installation. Everything that is wrong is reported at once, as far as it can be seen. Nothing of
    /// it is kept: a plan may be made only to be looked at.
    pub(crate) async fn compose(
        &self,
        installation: &Installation,
        catalog: &dyn Catalog,
        previous: Option<&Plan>,
    ) -> Result<Composed, ChangeError> {
        let Resolved { triggers, connections, plugins } = resolve(installation, &self.exposed)?;
        let (mut problems, mut parts) = (Vec::new(), Parts::default());
        let connect = |connection| self.connect(connection, &mut parts.sinks, &mut problems);
        let connections: Vec<ConnectionInput> = connections.into_iter().filter_map(connect).collect();
        let mut loaded = Vec::new();
        for plugin in plugins {
            loaded.push(self.load_versions(plugin, catalog, &mut parts, &mut problems).await?);
        }
        if !problems.is_empty() {
            return Err(ChangeError::Invalid(problems));
        }
        let input = PlanInput { revision: installation.revision, triggers, connections, plugins: loaded };
        // With a thousand triggers this computes for tens of milliseconds, which other calls are not to wait for.
        let plan = tokio::task::block_in_place(|| Plan::build(input, previous)).map_err(ChangeError::Invalid)?;
        Ok(Composed { plan, parts })
    }

    /// The plan, which comes into force: what it is made of is kept for the next one, and the rest is let go. Calls in
    /// flight keep what they began with.
    pub(crate) fn keep(&self, composed: Composed) -> Arc<Plan> {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = composed.parts;
        Arc::new(composed.plan)
    }

    /// A component that can be called: as it is held, or loaded.
    pub(crate) async fn load(&self, digest: &Arc<str>, bytes: Bytes) -> Result<Arc<dyn Plugin>, LoadError> {
        if let Some(plugin) = self.held(digest) {
            return Ok(plugin);
        }
        let plugin = self.sandbox.load(digest, bytes).await?;
        let last = Some(Loaded { digest: digest.clone(), plugin: plugin.clone() });
        *self.last_loaded.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(plugin)
    }

    fn held(&self, digest: &str) -> Option<Arc<dyn Plugin>> {
        let in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = in_force.components.get(digest) {
            return Some(plugin.clone());
        }
        let last = self.last_loaded.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| *last.digest == *digest).map(|last| last.plugin.clone())
    }

    fn connect(
        &self,
        connection: ResolvedConnection,
        sinks: &mut HashMap<Arc<str>, Built>,
        problems: &mut Vec<Problem>,
    ) -> Option<ConnectionInput> {
        let ResolvedConnection { name, version, definition, mut config, secrets } = connection;
        if self.allow_private {
            sinks::allow_private(&definition.kind, &mut config);
        }
        let digest = fingerprint(&definition.kind, &config);
        let held = self.in_force.lock().unwrap_or_else(PoisonError::into_inner).sinks.get(&name).cloned();
        let built = match held.filter(|built| built.digest == digest) {
            Some(built) => built,
            None => match sinks::build(&definition.kind, config, &self.sink_ctx) {
                Ok((sink, check)) => Built { digest, sink, check },
                Err(found) => {
                    let found = found.into_iter().map(|problem| without_secrets(problem, &definition.config));
                    problems.extend(found.map(|problem| problem.within(&format!("connections.{name}"))));
                    return None;
                }
            },
        };
        sinks.insert(name.clone(), built.clone());
        let version = with_secrets(version, &built.digest, &secrets);
        Some(ConnectionInput { name, version, definition, sink: built.sink, check: built.check, secrets })
    }

    async fn load_versions(
        &self,
        plugin: ResolvedPlugin,
        catalog: &dyn Catalog,
        parts: &mut Parts,
        problems: &mut Vec<Problem>,
    ) -> Result<PluginInput, ChangeError> {
        let ResolvedPlugin { name, standing, secrets, versions } = plugin;
        let known: BTreeMap<Arc<str>, VersionView> =
            catalog.versions(Some(&name)).await?.into_iter().map(|view| (view.version.clone(), view)).collect();
        let mut loaded = Vec::new();
        for version in versions {
            let path = format!("plugins.{name}.versions.{version}");
            let Some(view) = known.get(version.as_str()) else {
                // A version that is only pinned is reported where the trigger pins it, when the plan is built.
                if standing.active.as_deref() != Some(version.as_str()) {
                    continue;
                }
                problems.push(Problem::at(path, format!("there is no version `{version}` of plugin `{name}`")));
                continue;
            };
            match self.load_kept(&view.digest, catalog).await? {
                Ok(plugin) => {
                    parts.components.insert(view.digest.clone(), plugin.clone());
                    loaded.push(VersionInput { version: view.version.clone(), digest: view.digest.clone(), plugin });
                }
                Err(message) => problems.push(Problem::at(path, message)),
            }
        }
        Ok(PluginInput { name, standing, secrets, versions: loaded })
    }

    async fn load_kept(
        &self,
        digest: &Arc<str>,
        catalog: &dyn Catalog,
    ) -> Result<Result<Arc<dyn Plugin>, String>, ChangeError> {
        if let Some(plugin) = self.held(digest) {
            return Ok(Ok(plugin));
        }
        let Some(bytes) = catalog.component(digest).await? else {
            return Ok(Err(format!("the store has no component {digest}")));
        };
        Ok(self.load(digest, bytes).await.map_err(|err| err.to_string()))
    }
}

/// What is wrong with a connection, without the reason where that may show what a placeholder stands for.
fn without_secrets(problem: Problem, written: &Map<String, Value>) -> Problem {
    let key = problem.path.split(['.', '[']).next().unwrap_or_default();
    if written.get(key).is_some_and(|value| !names_in(value).is_empty()) {
        let message = "it is refused once its placeholders are filled in; the reason might show a secret";
        return Problem::at(problem.path, message);
    }
    problem
}

/// A number that differs when the connection's version, or a secret that it names, does.
fn with_secrets(version: i64, filled: &[u8; 32], secrets: &[(String, Secret)]) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&version.to_le_bytes());
    context.update(filled);
    for (name, secret) in secrets {
        for part in [name.as_str(), secret.reveal()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
    }
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&context.finish().as_ref()[..8]);
    i64::from_le_bytes(bytes)
}

fn fingerprint(kind: &str, config: &Map<String, Value>) -> [u8; 32] {
    let text = serde_json::to_vec(&(kind, config)).expect("the configuration came as JSON");
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
    bytes
}
