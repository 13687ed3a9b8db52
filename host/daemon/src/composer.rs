//! Makes plans of installations: sinks are built and components loaded, each once for as long as it stays the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use bytes::Bytes;
use serde_json::{Map, Value};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::plan::{ConnectionInput, OptionsCheck, Plan, PlanInput, PluginInput, VersionInput};
use trapjaw_engine::ports::{Catalog, Plugin, Sink, VersionView};
use trapjaw_engine::problem::Problem;
use trapjaw_sandbox::{LoadError, Sandbox};

use crate::config::placeholder::Exposed;
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
    sinks: Mutex<HashMap<Arc<str>, Built>>,
    components: Mutex<HashMap<Arc<str>, Arc<dyn Plugin>>>,
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
        Self { sandbox, sink_ctx, exposed, allow_private, sinks: Mutex::default(), components: Mutex::default() }
    }

    /// Where components are checked and loaded.
    pub(crate) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// What the daemon's settings expose to definitions.
    pub(crate) fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    /// The plan of an installation. Everything that is wrong is reported at once, as far as it can be seen.
    pub(crate) async fn compose(
        &self,
        installation: &Installation,
        catalog: &dyn Catalog,
        previous: Option<&Plan>,
    ) -> Result<Plan, ChangeError> {
        let Resolved { triggers, connections, plugins } = resolve(installation, &self.exposed)?;
        let mut problems = Vec::new();
        let connections: Vec<ConnectionInput> =
            connections.into_iter().filter_map(|connection| self.connect(connection, &mut problems)).collect();
        let mut loaded = Vec::new();
        for plugin in plugins {
            loaded.push(self.load_versions(plugin, catalog, &mut problems).await?);
        }
        if !problems.is_empty() {
            return Err(ChangeError::Invalid(problems));
        }
        let input = PlanInput { revision: installation.revision, triggers, connections, plugins: loaded };
        // With a thousand triggers this computes for tens of milliseconds, which other calls are not to wait for.
        tokio::task::block_in_place(|| Plan::build(input, previous)).map_err(ChangeError::Invalid)
    }

    /// A component that can be called: as it is held, or loaded.
    pub(crate) async fn load(&self, digest: &Arc<str>, bytes: Bytes) -> Result<Arc<dyn Plugin>, LoadError> {
        if let Some(plugin) = self.held(digest) {
            return Ok(plugin);
        }
        let plugin = self.sandbox.load(digest, bytes).await?;
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.insert(digest.clone(), plugin.clone());
        Ok(plugin)
    }

    /// Lets go of sinks of connections that are gone, and of components that no plan in force may call. Calls in
    /// flight keep theirs.
    pub(crate) fn forget_unused(&self, installation: &Installation, in_force: &HashSet<Arc<str>>) {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.retain(|name, _| installation.connections.contains_key(name));
        let mut components = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        components.retain(|digest, _| in_force.contains(digest));
    }

    fn held(&self, digest: &str) -> Option<Arc<dyn Plugin>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn connect(&self, connection: ResolvedConnection, problems: &mut Vec<Problem>) -> Option<ConnectionInput> {
        let ResolvedConnection { name, version, definition, mut config, secrets } = connection;
        if self.allow_private {
            sinks::allow_private(&definition.kind, &mut config);
        }
        let digest = fingerprint(&definition.kind, &config);
        let held = self.sinks.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let built = match held.filter(|built| built.digest == digest) {
            Some(built) => built,
            None => match sinks::build(&definition.kind, config, &self.sink_ctx) {
                Ok((sink, check)) => Built { digest, sink, check },
                Err(found) => {
                    problems.extend(found.into_iter().map(|problem| problem.within(&format!("connections.{name}"))));
                    return None;
                }
            },
        };
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), built.clone());
        Some(ConnectionInput { name, version, definition, sink: built.sink, check: built.check, secrets })
    }

    async fn load_versions(
        &self,
        plugin: ResolvedPlugin,
        catalog: &dyn Catalog,
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

fn fingerprint(kind: &str, config: &Map<String, Value>) -> [u8; 32] {
    let text = serde_json::to_vec(&(kind, config)).expect("the configuration came as JSON");
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
    bytes
}
