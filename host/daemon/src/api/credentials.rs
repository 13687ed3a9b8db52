//! Credentials in a connection are write-only: they are never shown, and what was shown in their place may come back.

use serde_json::{Map, Value};
use trapjaw_engine::problem::Problem;

use crate::config::placeholder::has_placeholder;
use crate::sinks::credential_places;

/// What stands where a credential is. A definition that comes back with it keeps the credential it has.
pub(crate) const HIDDEN: &str = "(write-only)";

/// The connection with its credentials hidden. References to secrets are no credentials and stay.
pub(crate) fn hide(connection: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = connection.clone();
    for place in credential_places(kind_of(connection), connection) {
        if let Some(value) = look_up_mut(&mut shown, &place).filter(|value| !is_reference(value)) {
            *value = HIDDEN.into();
        }
    }
    shown
}

/// The connection with the credentials that it has now put back where they were hidden.
pub(crate) fn put_back(
    path: &str,
    mut given: Map<String, Value>,
    old: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, Vec<Problem>> {
    let mut problems = Vec::new();
    for place in credential_places(kind_of(&given), &given) {
        let Some(value) = look_up_mut(&mut given, &place).filter(|value| value.as_str() == Some(HIDDEN)) else {
            continue;
        };
        match old.and_then(|old| look_up(old, &place)) {
            Some(kept) => *value = kept.clone(),
            None => problems.push(Problem::at(
                format!("{path}.{}", place.join(".")),
                "there is no credential to keep here; write it",
            )),
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(problems) }
}

/// Whether a value says where a credential is found, and is none itself.
fn is_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty() || has_placeholder(text),
        Value::Array(items) => items.iter().all(is_reference),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

fn kind_of(connection: &Map<String, Value>) -> &str {
    connection.get("kind").and_then(Value::as_str).unwrap_or_default()
}

fn look_up<'a>(map: &'a Map<String, Value>, place: &[String]) -> Option<&'a Value> {
    let (first, rest) = place.split_first()?;
    rest.iter().try_fold(map.get(first)?, |value, key| value.get(key))
}

fn look_up_mut<'a>(map: &'a mut Map<String, Value>, place: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = place.split_first()?;
    rest.iter().try_fold(map.get_mut(first)?, |value, key| value.get_mut(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn credentials_are_hidden_and_references_are_not() {
        let shown =
            hide(&map(json!({"kind": "webhook", "url": "http://x", "signing": "whsec_abc", "headers": {"a": "b"}})));
        assert_eq!((&shown["signing"], &shown["headers"]["a"]), (&json!(HIDDEN), &json!(HIDDEN)));
        assert_eq!((&shown["url"], &shown["kind"]), (&json!("http://x"), &json!("webhook")));
        let shown = hide(&map(json!({"kind": "webhook", "signing": "{{ secret.CRM }}"})));
        assert_eq!(shown["signing"], "{{ secret.CRM }}");
    }

    #[test]
    fn what_was_hidden_comes_back() {
        let old = map(json!({"kind": "webhook", "url": "http://x", "signing": "whsec_abc"}));
        assert_eq!(put_back("c", hide(&old), Some(&old)).unwrap(), old);
        let problems = put_back("c", hide(&old), None).unwrap_err();
        assert_eq!(problems[0].path, "c.signing");
    }
}
