//! From an installation to what a plan is built of: secrets substituted, versions of plugins chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use trapjaw_engine::definition::{Action, Condition, Connection, PluginStanding, Trigger};
use trapjaw_engine::plan::TriggerInput;
use trapjaw_engine::problem::Problem;
use trapjaw_engine::secret::Secret;

use super::placeholder::{Exposed, Names, fill};
use crate::installation::{Installation, read_connection};

/// Definitions with nothing left to look up but sinks and components.
pub(crate) struct Resolved {
    /// The triggers.
    pub(crate) triggers: Vec<TriggerInput>,
    /// The connections.
    pub(crate) connections: Vec<ResolvedConnection>,
    /// The plugins.
    pub(crate) plugins: Vec<ResolvedPlugin>,
}

/// A connection whose placeholders are filled in.
pub(crate) struct ResolvedConnection {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its version.
    pub(crate) version: i64,
    /// As it was written.
    pub(crate) definition: Connection,
    /// What its kind wants, filled in: it holds credentials.
    pub(crate) config: Map<String, Value>,
    /// The secrets that triggers may name in headers.
    pub(crate) secrets: Vec<(String, Secret)>,
}

/// A plugin and the versions of it that have to be loaded.
pub(crate) struct ResolvedPlugin {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its standing.
    pub(crate) standing: PluginStanding,
    /// The secrets that it is granted.
    pub(crate) secrets: Vec<(String, Secret)>,
    /// The active version and those that triggers pin.
    pub(crate) versions: BTreeSet<String>,
}

/// Resolves an installation. All problems are reported at once.
pub(crate) fn resolve(installation: &Installation, exposed: &Exposed) -> Result<Resolved, Vec<Problem>> {
    let mut problems = Vec::new();
    let secrets: BTreeMap<Arc<str>, Secret> =
        installation.secrets.iter().map(|(name, it)| (name.clone(), it.body.clone())).collect();
    let names = Names { secrets: &secrets, exposed };
    let pick = |path: &str, wanted: &[String], problems: &mut Vec<Problem>| -> Vec<(String, Secret)> {
        let one = |(n, name): (usize, &String)| match secrets.get(name.as_str()) {
            Some(secret) => Some((name.clone(), secret.clone())),
            None => {
                problems.push(Problem::at(format!("{path}.secrets[{n}]"), format!("there is no secret `{name}`")));
                None
            }
        };
        wanted.iter().enumerate().filter_map(one).collect()
    };

    let mut connections = Vec::new();
    for (name, standing) in &installation.connections {
        let path = format!("connections.{name}");
        match read_connection(&standing.body) {
            Err(message) => problems.push(Problem::at(path, message)),
            Ok(definition) => {
                let config = fill(&path, &definition.config, &names, &mut problems);
                let secrets = pick(&path, &definition.secrets, &mut problems);
                connections.push(ResolvedConnection {
                    name: name.clone(),
                    version: standing.version,
                    definition,
                    config,
                    secrets,
                });
            }
        }
    }
    let pins = pins(installation);
    let mut plugins = Vec::new();
    for (name, standing) in &installation.plugins {
        let path = format!("plugins.{name}.grants");
        let secrets = pick(&path, &standing.body.grants.secrets, &mut problems);
        let mut versions = pins.get(&**name).cloned().unwrap_or_default();
        versions.extend(standing.body.active.clone());
        plugins.push(ResolvedPlugin { name: name.clone(), standing: standing.body.clone(), secrets, versions });
    }
    let triggers = installation
        .triggers
        .iter()
        .map(|(name, it)| TriggerInput { name: name.clone(), version: it.version, definition: it.body.clone() })
        .collect();
    if problems.is_empty() { Ok(Resolved { triggers, connections, plugins }) } else { Err(problems) }
}

/// The plugins that a trigger names, each with the version that it pins.
pub(crate) fn plugins_of(trigger: &Trigger) -> Vec<(&str, Option<&str>)> {
    let mut references = Vec::new();
    collect_conditions(&trigger.when, &mut references);
    references.extend(trigger.r#do.iter().filter_map(|action: &Action| action.plugin.as_deref()));
    references.into_iter().map(split_pin).collect()
}

fn split_pin(reference: &str) -> (&str, Option<&str>) {
    reference.split_once('@').map_or((reference, None), |(name, pin)| (name, Some(pin)))
}

/// The versions that triggers pin, by plugin.
fn pins(installation: &Installation) -> BTreeMap<String, BTreeSet<String>> {
    let mut pins: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, pin) in installation.triggers.values().flat_map(|trigger| plugins_of(&trigger.body)) {
        if let Some(version) = pin {
            pins.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    pins
}

fn collect_conditions<'a>(conditions: &'a [Condition], references: &mut Vec<&'a str>) {
    for condition in conditions {
        references.extend(condition.plugin.as_deref());
        for nested in [&condition.any, &condition.all].into_iter().flatten() {
            collect_conditions(nested, references);
        }
        if let Some(nested) = &condition.not {
            collect_conditions(std::slice::from_ref(nested), references);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::File;
    use crate::installation::Past;
    use crate::vault::Vault;
    use trapjaw_engine::time::Time;

    fn installation(yaml: &str) -> Installation {
        let empty = Installation::default();
        let drafts =
            File::read(yaml.as_bytes(), true).ok().unwrap().drafts(&empty, &Exposed::default(), false).ok().unwrap();
        let by = "test".into();
        empty.with(drafts, (&by, Time(0)), &Past::new(), &Vault::new(&[0; 32])).ok().unwrap().0
    }

    #[test]
    fn secrets_are_filled_in_and_pins_collected() {
        let resolved = resolve(
            &installation(
                r#"
secrets: {CRM: k}
connections: {c: {kind: webhook, url: "http://x", signing: "{{ secret.CRM }}", secrets: [CRM]}}
plugins: {p: {version: "2", grants: {secrets: [CRM]}}}
triggers:
  t: {"on": [], when: [{any: [{plugin: "p@1"}, {not: {plugin: "p@3"}}]}], do: [{plugin: "p@4"}, {plugin: p}]}
"#,
            ),
            &Exposed::default(),
        )
        .ok()
        .unwrap();
        assert_eq!(resolved.connections[0].config["signing"], "k");
        assert_eq!(resolved.connections[0].definition.config["signing"], "{{ secret.CRM }}");
        assert_eq!(resolved.connections[0].secrets[0].1.reveal(), "k");
        let versions: Vec<_> = resolved.plugins[0].versions.iter().map(String::as_str).collect();
        assert_eq!(versions, ["1", "2", "3", "4"]);
    }

    #[test]
    fn all_missing_names_are_reported() {
        let yaml = r#"
connections: {c: {kind: webhook, url: "{{ secret.A }}{{ env.B }}", secrets: [S]}}
plugins: {p: {grants: {secrets: [T]}}}
"#;
        let problems = resolve(&installation(yaml), &Exposed::default()).err().unwrap();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["connections.c.url", "connections.c.url", "connections.c.secrets[0]", "plugins.p.grants.secrets[0]"]
        );
    }
}
