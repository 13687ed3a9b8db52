//! Reads the configs of sinks: every problem at once, each with its path, none with a value that might be a secret.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::parse_span;

/// The most problems that are reported of one config.
const PROBLEMS_MAX: usize = 64;

/// Reads a value whose fields all have defaults. Fields with a problem are left at theirs.
///
/// Serde stops at the first problem. So the field it stopped at is taken out and the rest is read again, until it reads.
pub(super) fn read<T: DeserializeOwned + Default>(value: &Value) -> (T, Vec<Problem>) {
    // Serde would take a list of the fields for the object.
    if !value.is_object() {
        return (T::default(), vec![Problem::at("", "must be an object")]);
    }
    let mut value = Cow::Borrowed(value);
    let mut problems = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let err = match serde_path_to_error::deserialize::<_, T>(value.as_ref()) {
            Ok(read) => return (read, problems),
            Err(err) => err,
        };
        let path = err.path().clone();
        let message = explain(&err.into_inner().to_string(), find(&value, &path));
        problems.push(Problem::at(show(&path), message));
        if !take_out(value.to_mut(), &path) {
            break;
        }
    }
    (T::default(), problems)
}

/// The problems of one config, while it is checked.
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// Adds a problem.
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::at(path, message));
    }

    /// Reports a field that is needed but absent, unless it is absent because it could not be read.
    pub(super) fn need<T>(&mut self, path: &str, field: Option<T>) -> Option<T> {
        let is_told = self.0.iter().any(|problem| {
            path.strip_prefix(problem.path.as_str())
                .is_some_and(|rest| problem.path.is_empty() || rest.is_empty() || rest.starts_with('.'))
        });
        if field.is_none() && !is_told {
            self.add(path, "is missing");
        }
        field
    }
}

/// A text that is not to be shown: it has no `Debug`, and its schema says `writeOnly`.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Secret(pub(super) String);

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true})
    }
}

/// One secret, or a list of them.
#[derive(Clone, Default)]
pub(super) struct Secrets(pub(super) Vec<String>);

impl JsonSchema for Secrets {
    fn schema_name() -> Cow<'static, str> {
        "Secrets".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "array"], "items": {"type": "string"}, "writeOnly": true})
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Secrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Secrets, E> {
                Ok(Secrets(vec![text.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secrets, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(Secrets(all))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// The value of a header or a query parameter: a text, or a number or boolean that a template kept as such.
#[derive(Clone, Default)]
pub(super) struct Text(pub(super) String);

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"], "writeOnly": true})
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            Value::Bool(is_true) => Ok(Self(is_true.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                Err(D::Error::custom("invalid type, expected a string, a number or a boolean"))
            }
        }
    }
}

/// A duration such as `5s`.
#[derive(Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"})
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let span = parse_span(&text);
        span.map(Self).ok_or_else(|| D::Error::custom("invalid value, expected a duration such as `5s`"))
    }
}

/// Says what is wrong without the value, which serde's own text would quote.
fn explain(err: &str, found: Option<&Value>) -> String {
    if err.starts_with("unknown field") {
        return err.into();
    }
    let Some((_, expected)) = err.rsplit_once(", expected ") else {
        return "cannot be read".into();
    };
    if err.starts_with("unknown variant") {
        return format!("must be {expected}");
    }
    let found = match found {
        None | Some(Value::String(_)) => return format!("must be {expected}"),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    };
    format!("must be {expected}, but is {found}")
}

fn show(path: &Path) -> String {
    if path.iter().len() == 0 { String::new() } else { path.to_string() }
}

/// The keys that lead to a value. A list is a leaf: to take out one item would move the others.
fn keys(path: &Path) -> impl Iterator<Item = &str> {
    path.iter().map_while(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        Segment::Enum { variant } => Some(variant.as_str()),
        Segment::Seq { .. } | Segment::Unknown => None,
    })
}

fn find<'v>(value: &'v Value, path: &Path) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Enum { variant } => value.get(variant),
        Segment::Seq { index } => value.get(index),
        Segment::Unknown => None,
    })
}

/// Takes out the value at a path, or else the nearest one around it; `false` where nothing is left to take out.
fn take_out(value: &mut Value, path: &Path) -> bool {
    let mut keys: Vec<&str> = keys(path).collect();
    // What is left of an enum without its variant would be the next problem.
    if let Some(Segment::Enum { .. }) = path.iter().next_back() {
        keys.pop();
    }
    while let Some(last) = keys.pop() {
        let parent = keys.iter().try_fold(&mut *value, |value, key| value.get_mut(key));
        if parent.and_then(Value::as_object_mut).and_then(|parent| parent.remove(last)).is_some() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: Option<String>,
        count: u8,
        wait: Option<Span>,
        secrets: Secrets,
        choice: Option<Choice>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only the problems are looked at")]
    enum Choice {
        Word(Secret),
        Parts(Inner),
    }

    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        one: bool,
        two: bool,
    }

    #[track_caller]
    fn check(value: Value, expected: &[&str]) {
        let (_, problems) = read::<Outer>(&value);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        check(json!({"name": "a", "count": 1, "wait": "5s", "secrets": "x", "choice": {"word": "w"}}), &[]);
        check(
            json!({"choice": {"parts": {"one": 1, "two": 2, "three": 3}}, "wait": 5, "count": -1}),
            &[
                "choice.parts.one: must be a boolean, but is a number",
                "choice.parts.three: unknown field `three`, expected `one` or `two`",
                "choice.parts.two: must be a boolean, but is a number",
                "count: must be u8, but is a number",
                "wait: must be a string, but is a number",
            ],
        );
        check(
            json!({"choice": {"word": []}, "nmae": "a"}),
            &[
                "choice.word: must be a string, but is a list",
                "nmae: unknown field `nmae`, expected one of `name`, `count`, `wait`, `secrets`, `choice`",
            ],
        );
        check(json!({"secrets": ["a", 5, 6]}), &["secrets[1]: must be a string, but is a number"]);
        check(json!([]), &["must be an object"]);
    }

    #[test]
    fn no_value_is_quoted() {
        check(
            json!({"count": "s3cret", "wait": "s3cret, expected s3cret", "choice": "s3cret"}),
            &["choice: must be `word` or `parts`", "count: must be u8", "wait: must be a duration such as `5s`"],
        );
    }
}
