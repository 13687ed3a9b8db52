//! From definitions to a plan: names are resolved, everything is compiled, all problems are gathered.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::policy::{Reader, TIMEOUT_MIN};
use super::trigger::Builder;
use super::{ConnectionPlan, Plan, PluginPlan};
use crate::definition::{self, PluginStanding, Switch};
use crate::pattern::Index;
use crate::ports::{Plugin, Sink};
use crate::problem::Problem;
use crate::secret::Secret;

/// How long a send may take where nothing else is said.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);

/// All definitions, with the live ends that the daemon made for them.
pub struct PlanInput {
    /// The revision of the configuration.
    pub revision: i64,
    /// The triggers.
    pub triggers: Vec<TriggerInput>,
    /// The connections.
    pub connections: Vec<ConnectionInput>,
    /// The plugins.
    pub plugins: Vec<PluginInput>,
}

/// A trigger to be compiled.
pub struct TriggerInput {
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: i64,
    /// What it says.
    pub definition: definition::Trigger,
}

/// What is wrong with options that are added to a connection's own.
pub type OptionsCheck = Arc<dyn Fn(&Map<String, Value>) -> Vec<Problem> + Send + Sync>;

/// A connection to be taken in.
pub struct ConnectionInput {
    /// Its name.
    pub name: Arc<str>,
    /// Changes whenever the connection, or a secret that it names, does.
    pub version: i64,
    /// What it says.
    pub definition: definition::Connection,
    /// Its live end. Where the version is the previous plan's, that one's is kept and this one dropped.
    pub sink: Arc<dyn Sink>,
    /// Checks options against it.
    pub check: OptionsCheck,
    /// The secrets that triggers may name in headers.
    pub secrets: Vec<(String, Secret)>,
}

/// A plugin to be taken in.
pub struct PluginInput {
    /// Its name.
    pub name: Arc<str>,
    /// Which version is active, and what it may do.
    pub standing: PluginStanding,
    /// The values of the secrets it is granted.
    pub secrets: Vec<(String, Secret)>,
    /// The versions that are active or pinned.
    pub versions: Vec<VersionInput>,
}

/// A compiled version of a plugin.
pub struct VersionInput {
    /// Its name.
    pub version: Arc<str>,
    /// SHA-256 of the component, in hex.
    pub digest: Arc<str>,
    /// The compiled component.
    pub plugin: Arc<dyn Plugin>,
}

pub(super) fn build(input: PlanInput, previous: Option<&Plan>) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let connections: BTreeMap<Arc<str>, Arc<ConnectionPlan>> = input
        .connections
        .into_iter()
        .map(|connection| {
            let known = previous.and_then(|plan| plan.connection(&connection.name));
            let built = match known.filter(|known| known.version == connection.version) {
                Some(known) => Arc::clone(known),
                None => Arc::new(build_connection(connection, &mut problems)),
            };
            (Arc::clone(&built.name), built)
        })
        .collect();
    let plugins = build_plugins(input.plugins, &connections, &mut problems);
    let mut builder = Builder { connections: &connections, plugins: &plugins, problems: &mut problems };
    let mut triggers = Vec::with_capacity(input.triggers.len());
    for trigger in input.triggers {
        triggers.push(Arc::new(builder.trigger(trigger)));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let live = triggers.iter().enumerate().filter(|(_, trigger)| trigger.switch != Switch::Disabled);
    let patterns = live.flat_map(|(at, trigger)| trigger.patterns.iter().map(move |pattern| (at, pattern.clone())));
    Ok(Plan {
        revision: input.revision,
        index: Index::new(patterns.collect()),
        trigger_at: triggers.iter().enumerate().map(|(at, trigger)| (Arc::clone(&trigger.name), at)).collect(),
        triggers,
        connections,
    })
}

fn build_connection(input: ConnectionInput, problems: &mut Vec<Problem>) -> ConnectionPlan {
    let mut reader = Reader { path: format!("connections.{}", input.name), problems };
    let definition = input.definition;
    let secrets: Map<String, Value> =
        input.secrets.iter().map(|(name, secret)| (name.clone(), Value::String(secret.reveal().to_owned()))).collect();
    ConnectionPlan {
        kind: definition.kind.as_str().into(),
        version: input.version,
        sink: input.sink,
        is_paused: definition.paused,
        rate: reader.rate("rate", definition.rate.as_deref()),
        concurrency: reader.concurrency("concurrency", definition.concurrency),
        timeout: reader.span_from("timeout", definition.timeout.as_deref(), TIMEOUT_MIN).unwrap_or(SEND_TIMEOUT),
        secrets: Arc::new(Value::Object(secrets)),
        check: input.check,
        name: input.name,
    }
}

/// Every version under `name@version`, and the active one under `name` too.
pub(super) type Plugins = HashMap<String, Arc<PluginPlan>>;

fn build_plugins(
    inputs: Vec<PluginInput>,
    connections: &BTreeMap<Arc<str>, Arc<ConnectionPlan>>,
    problems: &mut Vec<Problem>,
) -> Plugins {
    let mut plugins = Plugins::new();
    for input in inputs {
        for (at, granted) in input.standing.grants.connections.iter().enumerate() {
            if !connections.contains_key(granted.as_str()) {
                let path = format!("plugins.{}.grants.connections[{at}]", input.name);
                problems.push(Problem::at(path, format!("there is no connection `{granted}`")));
            }
        }
        for version in input.versions {
            let plugin = Arc::new(PluginPlan {
                name: Arc::clone(&input.name),
                version: version.version,
                digest: version.digest,
                plugin: version.plugin,
                connections: input.standing.grants.connections.clone(),
                secrets: input.secrets.clone(),
                has_state: input.standing.grants.state,
            });
            if input.standing.active.as_deref() == Some(&*plugin.version) {
                plugins.insert(input.name.to_string(), Arc::clone(&plugin));
            }
            plugins.insert(format!("{}@{}", input.name, plugin.version), plugin);
        }
    }
    plugins
}
