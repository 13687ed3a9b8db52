//! Placeholders in the strings of a connection: `{{ secret.X }}`, `{{ env.X }}` and `{{ file.X }}`.
//!
//! One pass: a value that looks like a placeholder stays as it is. A name that is not listed is an error, never an
//! empty string.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::secret::Secret;

/// Values of the environment and of files that the daemon's settings expose to definitions.
#[derive(Clone, Default)]
pub(crate) struct Exposed {
    /// Environment variables.
    pub(crate) env: BTreeMap<String, String>,
    /// Files' contents.
    pub(crate) files: BTreeMap<String, String>,
}

/// What a placeholder may name.
pub(crate) struct Names<'a> {
    /// The secrets.
    pub(crate) secrets: &'a BTreeMap<Arc<str>, Secret>,
    /// What the settings expose.
    pub(crate) exposed: &'a Exposed,
}

/// Fills in every placeholder of a connection's configuration. What is wrong is added to `problems`.
pub(crate) fn fill(
    path: &str,
    config: &Map<String, Value>,
    names: &Names<'_>,
    problems: &mut Vec<Problem>,
) -> Map<String, Value> {
    let entries = config.iter().map(|(key, value)| (key.clone(), fill_value(&join(path, key), value, names, problems)));
    entries.collect()
}

/// Fills in one text.
pub(crate) fn fill_text(path: &str, text: &str, names: &Names<'_>, problems: &mut Vec<Problem>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Broken => problems.push(Problem::at(path, "a placeholder has no end: `}}` is missing")),
            Piece::Name(name) => match look_up(name, names) {
                Ok(value) => filled.push_str(value),
                Err(message) => problems.push(Problem::at(path, message)),
            },
        }
    }
    filled
}

/// Whether a text has a placeholder in it, and so no credential of its own need be in it.
pub(crate) fn has_placeholder(text: &str) -> bool {
    pieces(text).any(|piece| matches!(piece, Piece::Name(_)))
}

/// The secrets, variables and files that placeholders in a value name.
pub(crate) fn names_in(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => {
            let name = |piece| match piece {
                Piece::Name(name) => Some(name.split_once('.').map_or(name, |(_, name)| name)),
                Piece::Text(_) | Piece::Broken => None,
            };
            pieces(text).filter_map(name).collect()
        }
        Value::Object(map) => map.values().flat_map(names_in).collect(),
        Value::Array(items) => items.iter().flat_map(names_in).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
    Broken,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(inner) = rest.strip_prefix("{{") else {
            let (text, tail) = rest.split_at(rest.find("{{").unwrap_or(rest.len()));
            rest = tail;
            return Some(Piece::Text(text));
        };
        let Some((name, tail)) = inner.split_once("}}") else {
            rest = "";
            return Some(Piece::Broken);
        };
        rest = tail;
        Some(Piece::Name(name.trim()))
    })
}

fn look_up<'a>(name: &str, names: &'a Names<'_>) -> Result<&'a str, String> {
    let shown: String = name.chars().take(80).collect();
    match name.split_once('.') {
        Some(("secret", name)) => {
            names.secrets.get(name).map(Secret::reveal).ok_or(format!("there is no secret `{shown}`"))
        }
        Some(("env", name)) => names
            .exposed
            .env
            .get(name)
            .map(String::as_str)
            .ok_or(format!("`{shown}` is not among the variables that the daemon's settings expose")),
        Some(("file", name)) => names
            .exposed
            .files
            .get(name)
            .map(String::as_str)
            .ok_or(format!("`{shown}` is not among the files that the daemon's settings expose")),
        _ => Err(format!("`{shown}` is not of the form secret.NAME, env.NAME or file.NAME")),
    }
}

fn fill_value(path: &str, value: &Value, names: &Names<'_>, problems: &mut Vec<Problem>) -> Value {
    match value {
        Value::String(text) => Value::String(fill_text(path, text, names, problems)),
        Value::Object(map) => Value::Object(fill(path, map, names, problems)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| fill_value(&format!("{path}[{n}]"), item, names, problems))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, expected: Result<&str, &str>) {
        let secrets = [("A", "a"), ("B", "{{ secret.A }}")];
        let secrets = secrets.into_iter().map(|(name, value)| (name.into(), Secret::new(value))).collect();
        let exposed = Exposed { env: [("E".into(), "e".into())].into(), files: [("F".into(), "f".into())].into() };
        let names = Names { secrets: &secrets, exposed: &exposed };
        let mut problems = Vec::new();
        let filled = fill_text("p", text, &names, &mut problems);
        match expected {
            Ok(expected) => assert_eq!((filled.as_str(), problems.len()), (expected, 0)),
            Err(expected) => assert!(problems[0].to_string().contains(expected), "{problems:?}"),
        }
    }

    #[test]
    fn texts_are_filled_in() {
        check("plain", Ok("plain"));
        check("{{ secret.A }}", Ok("a"));
        check("x{{secret.A}}y{{ env.E }}z{{ file.F }}", Ok("xayezf"));
        check("} {x} }}", Ok("} {x} }}"));
    }

    #[test]
    fn values_are_not_filled_in_again() {
        check("{{ secret.B }}", Ok("{{ secret.A }}"));
    }

    #[test]
    fn mistakes_are_named() {
        check("{{ secret.C }}", Err("p: there is no secret `secret.C`"));
        check("{{ env.PATH }}", Err("settings expose"));
        check("{{ file./etc/passwd }}", Err("settings expose"));
        check("{{ event.data }}", Err("not of the form"));
        check("{{ secret.A", Err("has no end"));
    }

    #[test]
    fn every_problem_has_its_path() {
        let config = json!({"a": {"b": ["{{ secret.X }}", "{{ y }}"]}, "c": 1});
        let names = Names { secrets: &BTreeMap::new(), exposed: &Exposed::default() };
        let mut problems = Vec::new();
        fill("connections.x", config.as_object().unwrap(), &names, &mut problems);
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["connections.x.a.b[0]", "connections.x.a.b[1]"]);
    }
}
