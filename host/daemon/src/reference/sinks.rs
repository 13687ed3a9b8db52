//! `docs/reference/sinks.md`: each kind of sink, from the table of the connectors and its schemas.

use std::sync::Arc;

use serde_json::{Value, json};
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::{ALL, SinkContext, SinkType, find};
use trapjaw_engine::ports::Refusal;

use super::page::{Page, code};
use crate::clock::SystemClock;

const ABOUT: &str = "The kinds of connections that can be sent to. \
    What every connection has, whatever its kind, is in [definitions.md](definitions.md#connections). \
    Values marked as write-only are sealed in the store and never shown; write them as `{{ secret.NAME }}`.";

#[test]
fn the_sinks_are_as_they_were_reviewed() {
    super::review("reference/sinks.md", &page());
}

#[test]
fn the_bounds_of_the_sinks_hold() {
    let ctx = SinkContext::new(Arc::new(SystemClock), Arc::new(SystemResolver), EgressPolicy::OPEN);
    let check = |field: &str, value: Value, expected: bool| {
        let config = json!({"url": "https://example.com/", field: value});
        let built = (find("webhook").unwrap().new)(&config, &ctx);
        assert_eq!(built.is_ok(), expected, "{config}");
    };
    for (timeout, expected) in [("30s", true), ("30001ms", false), ("1ms", true), ("0s", false)] {
        check("connect_timeout", json!(timeout), expected);
    }
    check("signing", vec!["a"; 8].into(), true);
    check("signing", vec!["a"; 9].into(), false);
}

fn page() -> String {
    let mut page = Page::new("Sinks", ABOUT);
    for sink in ALL {
        page.section(&code(sink.name));
        page.text(sink.description);
        describe(sink, &mut page);
    }
    page.finish()
}

fn describe(sink: &SinkType, page: &mut Page) {
    const HEADS: [&str; 5] = ["Field", "Type", "Default", "Bound", "Meaning"];
    page.part(&format!("Configuration of `{}`", sink.name));
    let root = (sink.config_schema)();
    page.table(HEADS, &Schema { root: root.as_value() }.fields());
    page.part(&format!("What a trigger may add to `{}`", sink.name));
    page.text("In `with:`, where the connection does not fix the same; strings are templates.");
    let root = (sink.options_schema)();
    page.table(HEADS, &Schema { root: root.as_value() }.fields());
    page.part(&format!("What becomes of a send on `{}`", sink.name));
    let rows: Vec<[String; 2]> =
        sink.endings.iter().map(|(what, then)| [(*what).to_owned(), meaning(*then).to_owned()]).collect();
    page.table(["What happened", "What follows"], &rows);
    page.part(&format!("Idempotency of `{}`", sink.name));
    page.text(sink.identity);
}

fn meaning(refusal: Option<Refusal>) -> &'static str {
    match refusal {
        None => "confirmed: the task goes on",
        Some(Refusal::Retry(_)) => "tried again, as the trigger's `retry` says; it counts against the breaker",
        Some(Refusal::Permanent) => "dead letter at once",
        Some(Refusal::Unauthorized) => "the connection is paused until it changes or a test passes; no try is used up",
    }
}

/// A JSON Schema whose fields are to be listed.
struct Schema<'a> {
    root: &'a Value,
}

impl<'a> Schema<'a> {
    fn fields(&self) -> Vec<[String; 5]> {
        let mut rows = Vec::new();
        self.list(self.root, "", &mut rows);
        rows
    }

    fn list(&self, object: &'a Value, outer: &str, rows: &mut Vec<[String; 5]>) {
        let required = object["required"].as_array().into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        for (name, property) in object["properties"].as_object().into_iter().flatten() {
            let inner = self.resolve(property);
            let path = if outer.is_empty() { name.clone() } else { format!("{outer}.{name}") };
            let is_needed = required.contains(&name.as_str()) && object.get("oneOf").is_none();
            rows.push(self.row(&path, property, inner, is_needed, self.comment(property, inner)));
            self.list(inner, &path, rows);
            for choice in inner["oneOf"].as_array().into_iter().flatten() {
                self.list_choice(choice, &path, rows);
            }
        }
    }

    /// One of several forms of a field, each an object with one field of its own.
    fn list_choice(&self, choice: &'a Value, outer: &str, rows: &mut Vec<[String; 5]>) {
        for (name, property) in choice["properties"].as_object().into_iter().flatten() {
            let inner = self.resolve(property);
            let path = format!("{outer}.{name}");
            rows.push(self.row(&path, property, inner, false, self.comment(choice, inner)));
            self.list(inner, &path, rows);
        }
    }

    fn row(&self, path: &str, property: &Value, inner: &Value, is_needed: bool, comment: String) -> [String; 5] {
        let default = match &property["default"] {
            _ if is_needed => "needed".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => code(text),
            other => code(&other.to_string()),
        };
        let bound = property["x-bound"].as_str().unwrap_or_default().to_owned();
        [code(path), type_of(inner), default, bound, comment]
    }

    fn comment(&self, property: &Value, inner: &Value) -> String {
        let own = property["description"].as_str().or_else(|| inner["description"].as_str()).unwrap_or_default();
        let mut text = own.replace('\n', " ");
        for (word, choice) in choices(inner) {
            let meaning = choice.and_then(|choice| choice["description"].as_str()).unwrap_or_default();
            if !meaning.is_empty() {
                text.push_str(&format!(" {}: {meaning}", code(word)));
            }
        }
        let item = inner.get("additionalProperties").map(|item| self.resolve(item));
        if [Some(inner), item].into_iter().flatten().any(|schema| schema["writeOnly"] == true) {
            text.push_str(" Write-only.");
        }
        assert!(!text.trim().is_empty(), "a field has no comment: {property}");
        text
    }

    /// The schema that is meant: behind a reference, or beside `null`.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        if let Some(path) = schema["$ref"].as_str() {
            return self.resolve(self.root.pointer(path.trim_start_matches('#')).unwrap());
        }
        let choices = schema["anyOf"].as_array().into_iter().flatten();
        match choices.into_iter().find(|choice| choice["type"] != "null") {
            Some(choice) => self.resolve(choice),
            None => schema,
        }
    }
}

/// The words that a field may have.
fn choices(schema: &Value) -> Vec<(&str, Option<&Value>)> {
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(|word| Some((word.as_str()?, None)));
    let described = schema["oneOf"].as_array().into_iter().flatten();
    listed.chain(described.filter_map(|choice| Some((choice["const"].as_str()?, Some(choice))))).collect()
}

fn type_of(schema: &Value) -> String {
    let words: Vec<String> = choices(schema).into_iter().map(|(word, _)| code(word)).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    if schema.get("oneOf").is_some() {
        return "one of the following".into();
    }
    if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("ms|s|m|h|d")) {
        return "duration".into();
    }
    let mut types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).filter(|word| *word != "null").collect(),
        one => one.as_str().into_iter().collect(),
    };
    for word in &mut types {
        *word = match *word {
            "array" => "list",
            "object" if schema.get("additionalProperties").is_some_and(Value::is_object) => "names and values",
            other => other,
        };
    }
    assert!(!types.is_empty(), "no type is known for {schema}");
    types.join(" or ")
}
