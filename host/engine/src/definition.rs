//! Definitions as people write them, in YAML and in JSON alike. What they mean is worked out in [`plan`](crate::plan).
//!
//! These types are a promise: every field here is in users' files. Unknown fields are refused.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// When this happens, if that holds, do those things.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it works. An update that leaves it out leaves it as it is; a new trigger is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Switch>,
    /// The patterns, any of which has to match.
    #[serde(deserialize_with = "one_or_many")]
    pub on: Vec<Map<String, Value>>,
    /// Whom or what the run is about: a template, or a list of them for one run each. The event's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Value>,
    /// Current data for the decision. Reserved: refused for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
    /// The conditions, all of which have to hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// The actions.
    pub r#do: Vec<Action>,
    /// How it is carried out.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

/// Whether a trigger works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// It works.
    Enabled,
    /// It makes runs, and they wait.
    Paused,
    /// It makes no runs; those begun end.
    Disabled,
}

/// One condition: exactly one of its forms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// A CEL expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// A plugin, `name` or `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The plugin's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// One of these has to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<Condition>>,
    /// All of these have to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<Condition>>,
    /// This must not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Condition>>,
}

/// One action: a send on a connection, or a plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// What it is called within the trigger; the connection's or plugin's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The connection to send on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// The plugin to call, `name` or `name@version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The plugin's configuration; strings in it are templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The plugin's labels, each bound to a connection that the plugin is granted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, String>,
    /// The actions that have to succeed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// The message's key, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Options of the connection's kind, beyond what the connection fixes; strings in it are templates.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub with: Map<String, Value>,
    /// The body; strings in it are templates. The event itself, as a CloudEvent, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The longest that an attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How it is tried again; the trigger's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

/// How a trigger is carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How long after the event the actions run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// When the actions run at the earliest: a template that gives a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// How long after the event a task may still be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Whether the conditions are asked again after the delay.
    #[serde(skip_serializing_if = "is_false")]
    pub recheck: bool,
    /// What keeps runs in order: `subject`, or a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// The most runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The shortest gap between two runs of a subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<String>,
    /// The most attempts in a time, such as `100/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// The most attempts at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How a failed attempt is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What becomes of an evaluation that went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_error: Option<OnError>,
    /// What becomes of an evaluation that lacked a value. Without effect in this version, in which no source leaves a
    /// value unknown; what is missing is an error, and `on_error` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// What becomes of the tasks of a trigger that was disabled after their run began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<DefinitionTime>,
}

impl Policy {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// The most runs in a time, by subject or in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How many.
    pub runs: u32,
    /// In which time; ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#in: Option<String>,
    /// What is counted.
    #[serde(default)]
    pub per: Per,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// The runs of each subject.
    #[default]
    Subject,
    /// All runs of the trigger.
    Trigger,
}

/// How a failed attempt is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// The wait before the second try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// What each wait is multiplied by to give the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// How long after its first try a task may still be tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    /// The most tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

/// What becomes of an evaluation that went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// A dead letter, for a person to look at.
    #[default]
    Dead,
    /// As if the condition did not hold. (YAML reads a bare `no` as a word here, and so may JSON say `false`.)
    #[serde(alias = "false")]
    No,
}

/// What becomes of an evaluation that lacked a value. Accepted, so that files written for later versions can be read
/// by this one; nothing asks for it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// The run waits for a person.
    #[default]
    Hold,
    /// As if the condition did not hold.
    No,
    /// As if it did.
    Yes,
}

/// Which definition a begun run's tasks obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefinitionTime {
    /// A run that began ends, even if its trigger is disabled meanwhile.
    #[default]
    Early,
    /// A task whose trigger is disabled at its attempt is cancelled.
    Late,
}

/// A named, operator-made endpoint with its credentials.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The kind of sink.
    pub kind: String,
    /// Whether its sends wait.
    pub paused: bool,
    /// The most sends in a time, such as `100/s`.
    pub rate: Option<String>,
    /// The most sends at one time.
    pub concurrency: Option<u32>,
    /// The longest that a send may take.
    pub timeout: Option<String>,
    /// Secrets that triggers may name in headers of their own.
    pub secrets: Vec<String>,
    /// What the kind of sink wants; may name secrets as `{{ secret.NAME }}`.
    pub config: Map<String, Value>,
}

impl Connection {
    /// Reads a connection: what is common to all kinds, and the rest for the kind.
    pub fn read(mut map: Map<String, Value>) -> Result<Self, String> {
        fn take<T: de::DeserializeOwned>(map: &mut Map<String, Value>, name: &str) -> Result<Option<T>, String> {
            map.remove(name).map(serde_json::from_value).transpose().map_err(|err| format!("{name}: {err}"))
        }
        Ok(Self {
            kind: take(&mut map, "kind")?.ok_or("kind: missing")?,
            paused: take(&mut map, "paused")?.unwrap_or(false),
            rate: take(&mut map, "rate")?,
            concurrency: take(&mut map, "concurrency")?,
            timeout: take(&mut map, "timeout")?,
            secrets: take(&mut map, "secrets")?.unwrap_or_default(),
            config: map,
        })
    }
}

/// A plugin's standing: which version is active, and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginStanding {
    /// The active version; none when nothing is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// What the operator allows it.
    pub grants: Grants,
}

/// What the operator allows a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Connections that triggers may bind its labels to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<String>,
    /// Secrets that it may have the host put into headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether it may keep state.
    #[serde(skip_serializing_if = "is_false")]
    pub state: bool,
}

/// Reads one pattern or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Map<String, Value>>, D::Error> {
    struct Patterns;

    impl<'de> Visitor<'de> for Patterns {
        type Value = Vec<Map<String, Value>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a pattern or a list of patterns")
        }

        fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            let pattern = Map::deserialize(de::value::MapAccessDeserializer::new(map))?;
            Ok(vec![pattern])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut patterns = Vec::new();
            while patterns.len() < PATTERNS_MAX {
                let Some(pattern) = seq.next_element()? else {
                    return Ok(patterns);
                };
                patterns.push(pattern);
            }
            match seq.next_element::<IgnoredAny>()? {
                None => Ok(patterns),
                Some(_) => Err(de::Error::custom(format_args!("more than {PATTERNS_MAX} patterns"))),
            }
        }
    }

    deserializer.deserialize_any(Patterns)
}

/// The most patterns of one trigger.
pub const PATTERNS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Trigger, String> {
        serde_json::from_value(value).map_err(|err| err.to_string())
    }

    #[test]
    fn one_pattern_or_many() {
        let one = read(json!({"on": {"type": ["a"]}, "do": []})).unwrap();
        let many = read(json!({"on": [{"type": ["a"]}], "do": []})).unwrap();
        assert_eq!(one, many);
    }

    #[test]
    fn unknown_fields_are_refused() {
        for (value, name) in [
            (json!({"on": [], "do": [], "nope": 1}), "nope"),
            (json!({"on": [], "do": [{"sned": "x"}]}), "sned"),
            (json!({"on": [], "do": [], "policy": {"retries": 1}}), "retries"),
            (json!({"on": [], "do": [], "when": [{"expression": "true"}]}), "expression"),
        ] {
            assert!(read(value).unwrap_err().contains(name));
        }
    }

    #[test]
    fn a_connection_keeps_what_its_kind_wants() {
        let Value::Object(map) = json!({"kind": "webhook", "url": "http://x", "rate": "5/s"}) else { unreachable!() };
        let connection = Connection::read(map).unwrap();
        assert_eq!(connection.rate.as_deref(), Some("5/s"));
        assert_eq!(Value::Object(connection.config), json!({"url": "http://x"}));
    }
}
