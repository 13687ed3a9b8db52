//! The sinks that connections are built of, as the table of the connectors lists them.

use std::sync::Arc;

use serde_json::{Map, Value};
use trapjaw_connectors::sinks::{ALL, SinkContext, find};
use trapjaw_engine::plan::OptionsCheck;
use trapjaw_engine::ports::Sink;
use trapjaw_engine::problem::Problem;

/// Builds the sink of a connection whose placeholders are filled in, and the check of what triggers add to it.
pub(crate) fn build(
    kind: &str,
    config: Map<String, Value>,
    ctx: &SinkContext,
) -> Result<(Arc<dyn Sink>, OptionsCheck), Vec<Problem>> {
    let Some(sink) = find(kind) else {
        let known: Vec<&str> = ALL.iter().map(|sink| sink.name).collect();
        return Err(vec![Problem::at("kind", format!("there is no kind `{kind}`; there is {}", known.join(", ")))]);
    };
    let config = Value::Object(config);
    let built = (sink.new)(&config, ctx)?;
    Ok((built, Arc::new(move |options| (sink.check_options)(&config, options))))
}

/// Lets the connection reach private networks, where its kind knows of such a guard.
pub(crate) fn allow_private(kind: &str, config: &mut Map<String, Value>) {
    const GUARD: &str = "allow_private";
    let has_guard = find(kind).is_some_and(|sink| (sink.config_schema)().as_value()["properties"].get(GUARD).is_some());
    if has_guard && !config.contains_key(GUARD) {
        config.insert(GUARD.into(), true.into());
    }
}

/// The places in a connection that are never to be shown: what the schema of its kind marks as `writeOnly`.
pub(crate) fn credential_places(kind: &str, connection: &Map<String, Value>) -> Vec<Vec<String>> {
    let Some(sink) = find(kind) else { return Vec::new() };
    let schema = (sink.config_schema)();
    let mut places = Vec::new();
    for (key, value) in connection {
        walk(schema.as_value(), schema.as_value(), key, value, &mut vec![key.clone()], &mut places);
    }
    places
}

/// Looks at the value under `key` with every schema that may describe it.
fn walk(root: &Value, schema: &Value, key: &str, value: &Value, at: &mut Vec<String>, places: &mut Vec<Vec<String>>) {
    // A schema that refers to itself cannot lead astray: each step that is taken goes deeper into the value.
    for object in alternatives(root, schema) {
        let property = object.get("properties").and_then(|properties| properties.get(key));
        let Some(found) = property.or_else(|| object.get("additionalProperties")) else { continue };
        for described in alternatives(root, found) {
            if described.get("writeOnly") == Some(&Value::Bool(true)) && !places.contains(at) {
                places.push(at.clone());
            }
        }
        if let Value::Object(inner) = value {
            for (key, value) in inner {
                at.push(key.clone());
                walk(root, found, key, value, at, places);
                at.pop();
            }
        }
    }
}

/// The schema itself and those that it refers to or chooses among.
fn alternatives<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![schema];
    let mut n_seen = 0;
    while let Some(schema) = found.get(n_seen).copied().filter(|_| n_seen < ALTERNATIVES_MAX) {
        n_seen += 1;
        let referred =
            schema.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.trim_start_matches('#')));
        found.extend(referred);
        for choice in ["anyOf", "oneOf", "allOf"] {
            found.extend(schema.get(choice).and_then(Value::as_array).into_iter().flatten());
        }
    }
    found
}

/// The most schemas that one value is looked at with; schemas are ours, so this only guards against a circle.
const ALTERNATIVES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_found_through_references_and_choices() {
        let schema = json!({
            "properties": {
                "plain": {"type": "string"},
                "token": {"type": "string", "writeOnly": true},
                "headers": {"type": "object", "additionalProperties": {"writeOnly": true}},
                "auth": {"anyOf": [{"$ref": "#/$defs/Auth"}, {"type": "null"}]},
            },
            "$defs": {"Auth": {"oneOf": [{"properties": {"basic": {"properties": {"user": {}, "password": {"writeOnly": true}}}}}]}},
        });
        let value = json!({"plain": 1, "token": 2, "headers": {"a": 3}, "auth": {"basic": {"user": 4, "password": 5}}});
        let mut places = Vec::new();
        for (key, inner) in value.as_object().unwrap() {
            walk(&schema, &schema, key, inner, &mut vec![key.clone()], &mut places);
        }
        let mut shown: Vec<String> = places.iter().map(|place| place.join(".")).collect();
        shown.sort();
        assert_eq!(shown, ["auth.basic.password", "headers.a", "token"]);
    }
}
