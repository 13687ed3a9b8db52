//! The document of definitions, `trapjaw.yaml`: as it is written, and what it would change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trapjaw_engine::definition::{Connection, Grants, PluginStanding, Switch, Trigger};
use trapjaw_engine::event::{JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::secret::Secret;

use super::placeholder::{Exposed, Names, fill_text};
use super::{check_name, check_secret_name, show_path, unique};
use crate::api::credentials;
use crate::installation::{Body, Draft, Installation, Kind};

/// A document as it is written. Every section may be left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    /// Triggers by name.
    #[serde(deserialize_with = "unique::by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) triggers: BTreeMap<String, Value>,
    /// Connections by name.
    #[serde(deserialize_with = "unique::by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) connections: BTreeMap<String, Value>,
    /// Sources by name. No kind of source can be configured yet.
    #[serde(deserialize_with = "unique::by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sources: BTreeMap<String, Value>,
    /// Plugins' standings by name.
    #[serde(deserialize_with = "unique::by_name", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) plugins: BTreeMap<String, Value>,
    /// Secrets by name. They are never written out again.
    #[serde(deserialize_with = "unique::by_name", skip_serializing)]
    pub(crate) secrets: BTreeMap<String, Value>,
}

/// A plugin in a document.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PluginEntry {
    /// Where the command line finds the component. The daemon never reads it.
    #[serde(skip_serializing)]
    pub(crate) file: Option<String>,
    /// The active version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// What the plugin may do.
    pub(crate) grants: Grants,
}

impl File {
    /// Reads a document of JSON or YAML.
    pub(crate) fn read(text: &[u8], is_yaml: bool) -> Result<Self, Vec<Problem>> {
        let wrong = |path: String, message: String| vec![Problem::at(path, message)];
        if is_yaml {
            let text = std::str::from_utf8(text).map_err(|err| wrong(String::new(), err.to_string()))?;
            let file: Option<Self> = serde_path_to_error::deserialize(yaml_serde::Deserializer::from_str(text))
                .map_err(|err| wrong(show_path(err.path()), err.inner().to_string()))?;
            return Ok(file.unwrap_or_default());
        }
        if is_deeper(text, JSON_DEPTH_MAX) {
            return Err(wrong(String::new(), format!("it nests deeper than {JSON_DEPTH_MAX}")));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let file = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|err| wrong(show_path(err.path()), err.inner().to_string()))?;
        deserializer.end().map_err(|err| wrong(String::new(), err.to_string()))?;
        Ok(file)
    }

    /// What the document wants changed. With `prune`, triggers, connections and plugins that it does not name go.
    pub(crate) fn drafts(self, now: &Installation, exposed: &Exposed, prune: bool) -> Result<Vec<Draft>, Vec<Problem>> {
        let mut problems: Vec<Problem> = Vec::new();
        let mut drafts = Vec::new();
        for (name, value) in &self.sources {
            let kind = value.get("kind").and_then(Value::as_str).unwrap_or("?");
            let message = format!("sources of kind `{kind}` cannot be configured in this version");
            problems.push(Problem::at(format!("sources.{name}.kind"), message));
        }
        let removed = if prune { self.pruned(now) } else { Vec::new() };
        for (name, value) in self.triggers {
            collect(&mut drafts, &mut problems, read_trigger(&name, value, now), &name);
        }
        for (name, value) in self.connections {
            collect(&mut drafts, &mut problems, read_connection(&name, value, now), &name);
        }
        for (name, value) in self.plugins {
            collect(&mut drafts, &mut problems, read_plugin(&name, value, now), &name);
        }
        for (name, value) in self.secrets {
            collect(&mut drafts, &mut problems, read_secret(&name, &value, exposed), &name);
        }
        drafts.extend(removed);
        if problems.is_empty() { Ok(drafts) } else { Err(problems) }
    }

    /// What the document names.
    pub(crate) fn names(&self) -> Vec<(Kind, String)> {
        let of = |kind: Kind, section: &BTreeMap<String, Value>| -> Vec<(Kind, String)> {
            section.keys().map(|name| (kind, name.clone())).collect()
        };
        let mut names = of(Kind::Connection, &self.connections);
        names.extend(of(Kind::Plugin, &self.plugins));
        names.extend(of(Kind::Secret, &self.secrets));
        names.extend(of(Kind::Trigger, &self.triggers));
        names
    }

    /// The document that makes an installation what this one is, credentials apart.
    pub(crate) fn of(now: &Installation) -> Self {
        let value =
            |result: serde_json::Result<Value>| result.expect("definitions have string keys and finite numbers");
        let plugin = |standing: &PluginStanding| PluginEntry {
            file: None,
            version: standing.active.clone(),
            grants: standing.grants.clone(),
        };
        Self {
            triggers: now
                .triggers
                .iter()
                .map(|(name, it)| (name.to_string(), value(serde_json::to_value(&it.body))))
                .collect(),
            connections: now
                .connections
                .iter()
                .map(|(name, it)| (name.to_string(), Value::Object(credentials::hide(&it.body))))
                .collect(),
            plugins: now
                .plugins
                .iter()
                .map(|(name, it)| (name.to_string(), value(serde_json::to_value(plugin(&it.body)))))
                .collect(),
            sources: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    fn pruned(&self, now: &Installation) -> Vec<Draft> {
        let gone = |kind: Kind, name: &Arc<str>| Draft { name: name.clone(), body: Body::Removed(kind) };
        let triggers = now.triggers.keys().filter(|name| !self.triggers.contains_key(&***name));
        let connections = now.connections.keys().filter(|name| !self.connections.contains_key(&***name));
        let plugins = now.plugins.keys().filter(|name| !self.plugins.contains_key(&***name));
        triggers
            .map(|name| gone(Kind::Trigger, name))
            .chain(connections.map(|name| gone(Kind::Connection, name)))
            .chain(plugins.map(|name| gone(Kind::Plugin, name)))
            .collect()
    }
}

/// Reads a trigger. One that does not say whether it works is left as it is; a new one is enabled.
pub(crate) fn read_trigger(name: &str, value: Value, now: &Installation) -> Result<Body, Vec<Problem>> {
    let path = format!("triggers.{name}");
    check_name(&path, name).map_err(|problem| vec![problem])?;
    let mut trigger: Trigger = read_value(&path, value)?;
    if trigger.facts.is_some() {
        return Err(vec![Problem::at(format!("{path}.facts"), "facts cannot be looked up in this version")]);
    }
    trigger.state = trigger.state.or(now.triggers.get(name).and_then(|old| old.body.state)).or(Some(Switch::Enabled));
    Ok(Body::Trigger(Box::new(trigger)))
}

/// Reads a connection. Credentials that come back as we showed them stay what they are.
pub(crate) fn read_connection(name: &str, value: Value, now: &Installation) -> Result<Body, Vec<Problem>> {
    let path = format!("connections.{name}");
    check_name(&path, name).map_err(|problem| vec![problem])?;
    let Value::Object(map) = value else {
        return Err(vec![Problem::at(path, "a mapping is expected")]);
    };
    let old = now.connections.get(name).map(|old| &old.body);
    let mut map = credentials::put_back(&path, map, old)?;
    // As with triggers: what the new definition does not say stays as it is.
    if let Some(paused) = old.and_then(|old| old.get("paused")).filter(|_| !map.contains_key("paused")) {
        map.insert("paused".into(), paused.clone());
    }
    match Connection::read(map.clone()) {
        Ok(_) => Ok(Body::Connection(map)),
        Err(message) => {
            let (field, message) = message.split_once(": ").unwrap_or(("", &message));
            Err(vec![Problem::at(field, message).within(&path)])
        }
    }
}

fn read_plugin(name: &str, value: Value, now: &Installation) -> Result<Body, Vec<Problem>> {
    let path = format!("plugins.{name}");
    check_name(&path, name).map_err(|problem| vec![problem])?;
    let entry: PluginEntry = read_value(&path, value)?;
    let active = entry.version.or_else(|| now.plugins.get(name).and_then(|old| old.body.active.clone()));
    Ok(Body::Plugin(PluginStanding { active, grants: entry.grants }))
}

fn read_secret(name: &str, value: &Value, exposed: &Exposed) -> Result<Body, Vec<Problem>> {
    let path = format!("secrets.{name}");
    check_secret_name(&path, name).map_err(|problem| vec![problem])?;
    let Value::String(text) = value else {
        return Err(vec![Problem::at(path, "a string is expected")]);
    };
    let mut problems = Vec::new();
    let names = Names { secrets: &BTreeMap::new(), exposed };
    let filled = fill_text(&path, text, &names, &mut problems);
    if problems.is_empty() { Ok(Body::Secret(Secret::new(filled))) } else { Err(problems) }
}

/// Reads a value and says where it is wrong.
pub(crate) fn read_value<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(value)
        .map_err(|err| vec![Problem::at(show_path(err.path()), err.inner().to_string()).within(path)])
}

fn collect(drafts: &mut Vec<Draft>, problems: &mut Vec<Problem>, body: Result<Body, Vec<Problem>>, name: &str) {
    match body {
        Ok(body) => drafts.push(Draft { name: name.into(), body }),
        Err(found) => problems.extend(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expected: &[&str]) {
        let file = File::read(yaml.as_bytes(), true);
        let drafts = file.and_then(|file| file.drafts(&Installation::default(), &Exposed::default(), false));
        let problems: Vec<String> = drafts.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} / {expected}");
        }
    }

    #[test]
    fn documents_are_read() {
        check("", &[]);
        check("triggers: {}", &[]);
        check(
            "triggers:\n  a: {\"on\": {type: [x]}, do: [{send: c}]}\nconnections:\n  c: {kind: webhook, url: 'http://x'}\nsecrets: {S: v}",
            &[],
        );
        check("plugins: {p: {file: ./p.wasm, version: 1.0.0, grants: {connections: [c]}}}", &[]);
    }

    #[test]
    fn all_mistakes_are_reported_with_their_paths() {
        check("trigers: {}", &["trigers: unknown field `trigers`"]);
        check("triggers: [", &["triggers"]);
        check(
            "triggers:\n  a: {\"on\": [], do: [], polcy: 1}\n  B: {\"on\": [], do: []}\n  c: {\"on\": [], do: [{sned: x}]}\n  d: {\"on\": [], do: [], facts: {x: 1}}",
            &["triggers.B: a name", "triggers.a", "triggers.c.do[0]", "triggers.d.facts: facts cannot"],
        );
        check("sources: {n: {kind: schedule, cron: '0 2 * * *'}}", &["sources.n.kind: sources of kind `schedule`"]);
        check("connections: {c: {url: x}, d: 1}", &["connections.c.kind: missing", "connections.d: a mapping"]);
        check("plugins: {p: {versoin: 1}}", &["plugins.p"]);
        check("secrets: {S: 1, T: '{{ env.HOME }}'}", &["secrets.S: a string", "secrets.T: `env.HOME` is not among"]);
    }

    #[test]
    fn deep_json_is_refused_before_it_is_parsed() {
        let deep = "[".repeat(100_000);
        assert!(File::read(deep.as_bytes(), false).err().unwrap()[0].message.contains("deeper than 64"));
    }

    #[test]
    fn nothing_is_ignored_silently() {
        let check = |text: &str, is_yaml: bool, expected: &str| {
            let problems = File::read(text.as_bytes(), is_yaml).err().unwrap();
            assert!(problems[0].to_string().contains(expected), "{text}: {problems:?}");
        };
        check(r#"{"triggers": {}} {"triggers": {}}"#, false, "trailing characters");
        check(r#"{"triggers": {"a": {}, "b": {}, "a": {}}}"#, false, "`a` is there twice");
        check(r#"{"connections": {"a": {"kind": "webhook", "url": "x", "url": "y"}}}"#, false, "`url` is there twice");
        check(r#"{"triggers": {}, "triggers": {}}"#, false, "duplicate field");
        check("triggers: {}\n---\ntriggers: {}", true, "more than one document");
        check("triggers: {a: 1, a: 2}", true, "twice");
    }

    #[test]
    fn deep_yaml_is_refused() {
        let deep = format!("triggers: {}", "[".repeat(100_000));
        assert!(File::read(deep.as_bytes(), true).is_err());
    }
}
