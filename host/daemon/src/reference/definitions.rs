//! `docs/reference/definitions.md`: everything that a document of definitions may say.

mod fields;
mod probe;

mod expressions;
mod patterns;
mod sample;
mod templates;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use trapjaw_engine::definition::{
    Action, Condition, DefinitionTime, Grants, Limit, OnError, OnUnknown, Per, Policy, Retry, Switch, Trigger,
};
use trapjaw_engine::limits::DEFINITION_BYTES_MAX;
use trapjaw_engine::time::{SPAN_MAX, format_span};

use self::fields::Field;
use self::probe::{apply, compile, merged};
use super::comments::Source;
use super::names::{UNKNOWN, known};
use super::page::{Page, bytes, code};
use crate::config::document::{File, PluginEntry};

const ABOUT: &str = "What triggers, connections, plugins and secrets may say, in YAML or JSON alike. \
    `trapjaw apply` takes a document with all of them; the API takes each by itself, in the same form. \
    A field that is not known is an error, and every problem is reported with its path.";

const EXAMPLE: &str = r#"
secrets:
  CRM: "{{ file.crm-key }}"
connections:
  crm: {kind: webhook, url: "https://crm.example.com/hooks", signing: "{{ secret.CRM }}", rate: 50/s}
plugins:
  big-push: {file: ./big-push.wasm, version: 1.0.0}
triggers:
  shop.big-order:
    "on": {type: [order.paid], data: {total: [{numeric: [">=", 100]}]}}
    subject: "{{ event.data.customer }}"
    when:
      - expr: "!event.data.test"
    do:
      - {name: tell, send: crm, body: {order: "{{ event.data.id }}", total: "{{ event.data.total }}"}}
    policy:
      limit: {runs: 3, in: 1d}
      retry: {for: 6h}
"#;

/// A type whose fields are listed.
struct Type {
    /// What the page calls it.
    title: &'static str,
    about: &'static str,
    /// Its name in the source.
    name: &'static str,
    /// The names of its fields, as its reader knows them.
    names: Vec<String>,
    fields: Vec<Field>,
}

#[test]
fn the_definitions_are_as_they_were_reviewed() {
    super::review("reference/definitions.md", &page());
}

#[test]
fn the_bounds_of_definitions_hold() {
    for one in types() {
        for field in &one.fields {
            let check = |value: &Value, expected: bool| {
                let got = tried(&one, field, value);
                assert_eq!(got.is_ok(), expected, "{}.{}: {value}: {got:?}", one.name, field.name);
            };
            field.good.iter().for_each(|good| check(good, true));
            field.bad.iter().for_each(|bad| check(bad, false));
        }
    }
}

#[test]
fn what_may_not_stand_together_is_refused() {
    let check = |trigger: Value, words: &str| {
        let plain = json!({"on": {"type": ["t"]}, "do": [{"send": "c"}]});
        let error = compile(&merged(&plain, &trigger), &json!({})).err().unwrap();
        assert!(error.contains(words), "{error}");
    };
    check(json!({"policy": {"recheck": true}}), "policy.recheck");
    check(json!({"policy": {"cooldown": "1s", "limit": {"runs": 1, "per": "trigger"}}}), "policy.cooldown");
    check(json!({"when": [{"expr": "true", "plugin": "holds"}]}), "exactly one of");
    check(json!({"when": [{"expr": "true", "config": {}}]}), "config");
    check(json!({"do": [{"send": "c", "plugin": "acts"}]}), "exactly one of");
    check(json!({"do": [{"send": "c", "config": {}}]}), "for plugins");
    check(json!({"do": [{"plugin": "acts", "body": {}}]}), "for sends");
    check(json!({"do": [{"send": "c"}, {"send": "c"}]}), "a second action");
    assert!(apply(&json!({"sources": {"s": {"kind": "http"}}})).is_err());
}

fn page() -> String {
    let mut page = Page::new("Definitions", ABOUT);
    let source = Source::read("../engine/src/definition.rs");
    page.section("A document");
    sections(&mut page);
    page.code("yaml", EXAMPLE.trim_start());
    let document: Value = yaml_serde::from_str(EXAMPLE).unwrap();
    let error = compile(&document["triggers"]["shop.big-order"], &json!({})).err().unwrap();
    assert_eq!(error, "triggers.t.do[0].send: there is no connection `crm`", "nothing else is wrong with the example");
    page.text(&format!(
        "A definition has at most {}. \
         The name of a trigger, a connection or a plugin has at most 63 characters: lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or digit; the name of a secret may have capitals.",
        bytes(DEFINITION_BYTES_MAX)
    ));
    for one in types() {
        let own = Source::read("src/config/document.rs");
        let source = if one.name == "PluginEntry" { &own } else { &source };
        page.section(one.title);
        page.text(one.about);
        list(&one, source, &mut page);
    }
    placeholders(&mut page);
    page.section("Durations and rates");
    page.text(&format!(
        "A duration is a sum of `ms`, `s`, `m`, `h` and `d`, such as `500ms`, `30s` or `1h30m`, and at most {}.",
        format_span(SPAN_MAX)
    ));
    page.text(
        "A rate is a number for each time, such as `100/s`, `5000/h` or `1/5m`; up to a tenth of a second's \
         worth may come at once.",
    );
    patterns::write(&mut page);
    expressions::write(&mut page);
    templates::write(&mut page);
    page.finish()
}

fn sections(page: &mut Page) {
    let comments = Source::read("src/config/document.rs").of("File");
    let rows: Vec<[String; 2]> =
        names_of::<File>().into_iter().map(|name| [code(&name), comments.get(&name).to_owned()]).collect();
    page.table(["Section", "Meaning"], &rows);
    page.text(
        "Every section may be left out. What a document does not name stays as it is, unless it is applied \
         with `--prune`.",
    );
}

fn list(one: &Type, source: &Source, page: &mut Page) {
    let described: Vec<&str> = one.fields.iter().map(|field| field.name).collect();
    assert_eq!(described, one.names, "every field of {} is described, in its order", one.name);
    let comments = source.of(one.name);
    let row = |field: &Field| {
        let (form, default, meanings) = words(one.name, field.name, source);
        let form = if form.is_empty() { field.form.to_owned() } else { form };
        let default = if default.is_empty() { field.default.clone() } else { default };
        let meaning = [comments.get(field.name), &meanings, field.note].map(str::trim).join(" ");
        [code(field.name), form, default, field.bound.clone(), meaning.replace("  ", " ").trim().to_owned()]
    };
    let rows: Vec<[String; 5]> = one.fields.iter().map(row).collect();
    page.table(["Field", "Form", "Default", "Bound", "Meaning"], &rows);
}

/// The words that a field may have, its default, and what each means; nothing for fields of another form.
fn words(of: &str, field: &str, source: &Source) -> (String, String, String) {
    let (name, words, default) = match (of, field) {
        ("Trigger", "state") => ("Switch", variants_of::<Switch>(), String::new()),
        ("Limit", "per") => ("Per", variants_of::<Per>(), default_of::<Per>()),
        ("Policy", "on_error") => ("OnError", variants_of::<OnError>(), default_of::<OnError>()),
        ("Policy", "on_unknown") => ("OnUnknown", variants_of::<OnUnknown>(), default_of::<OnUnknown>()),
        ("Policy", "definition") => ("DefinitionTime", variants_of::<DefinitionTime>(), default_of::<DefinitionTime>()),
        _ => return Default::default(),
    };
    let comments = source.of(name);
    let meanings: Vec<String> = words.iter().map(|word| format!("{}: {}", code(word), comments.get(word))).collect();
    (words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", "), default, meanings.join(" "))
}

fn names_of<T: DeserializeOwned>() -> Vec<String> {
    known(&serde_json::from_value::<T>(json!({UNKNOWN: 1})).err().unwrap().to_string())
}

/// The words of an enum; a word that is read as another one is not shown.
fn variants_of<T: DeserializeOwned + Serialize>() -> Vec<String> {
    let words = known(&serde_json::from_value::<T>(json!(UNKNOWN)).err().unwrap().to_string());
    let is_own = |word: &String| {
        let read: T = serde_json::from_value(json!(word)).unwrap();
        serde_json::to_value(read).unwrap() == *word
    };
    words.into_iter().filter(is_own).collect()
}

fn default_of<T: Default + Serialize>() -> String {
    code(serde_json::to_value(T::default()).unwrap().as_str().unwrap())
}

fn types() -> Vec<Type> {
    let one = |title, about, name, names, fields| Type { title, about, name, names, fields };
    // A connection is read in two parts, and so its reader names no fields.
    let connection = ["kind", "paused", "rate", "concurrency", "timeout", "secrets"].map(str::to_owned).into();
    vec![
        one("Triggers", "Under `triggers`, by name.", "Trigger", names_of::<Trigger>(), fields::trigger()),
        one(
            "Conditions",
            "In `when`; each has exactly one of the fields, and `config` beside `plugin`.",
            "Condition",
            names_of::<Condition>(),
            fields::condition(),
        ),
        one(
            "Actions",
            "In `do`; they run at once, but for those that need others.",
            "Action",
            names_of::<Action>(),
            fields::action(),
        ),
        one("Policy", "How a trigger is carried out.", "Policy", names_of::<Policy>(), fields::policy()),
        one(
            "Limits of runs",
            "In `policy.limit`. A run that was refused is not written, and shows as `not-matched` by `policy`.",
            "Limit",
            names_of::<Limit>(),
            fields::limit(),
        ),
        one(
            "Retries",
            "In `policy.retry`, or in `retry` of an action, which goes before it field by field. The \
                 waits are `first`, `first · factor`, `first · factor²` and so on, each give or take a fifth.",
            "Retry",
            names_of::<Retry>(),
            fields::retry(),
        ),
        one(
            "Connections",
            "Under `connections`, by name; beside these, the fields of their kind in [sinks.md](sinks.md).",
            "Connection",
            connection,
            fields::connection(),
        ),
        one("Plugins", "Under `plugins`, by name.", "PluginEntry", names_of::<PluginEntry>(), fields::plugin()),
        one("Grants", "In `grants` of a plugin.", "Grants", names_of::<Grants>(), fields::grants()),
    ]
}

/// Whether a field with this value is taken.
fn tried(one: &Type, field: &Field, value: &Value) -> Result<(), String> {
    let value = merged(&field.beside, &json!({field.name: value}));
    let trigger = json!({"on": {"type": ["t"]}, "do": [{"send": "c"}]});
    let (change, connection) = match one.name {
        "Trigger" => (value, json!({})),
        "Condition" => (json!({"when": [value]}), json!({})),
        "Action" => (json!({"do": [merged(&json!({"send": "c"}), &value)]}), json!({})),
        "Policy" => (json!({"policy": value}), json!({})),
        "Limit" => (json!({"policy": {"limit": merged(&json!({"runs": 1}), &value)}}), json!({})),
        "Retry" => (json!({"policy": {"retry": value}}), json!({})),
        "Connection" => (json!({}), value),
        "PluginEntry" => return apply(&json!({"plugins": {"p": value}})),
        "Grants" => return apply(&json!({"plugins": {"p": {"grants": value}}})),
        other => panic!("nothing tries {other}"),
    };
    compile(&merged(&trigger, &change), &connection).map(|_| ())
}

fn placeholders(page: &mut Page) {
    page.section("Secrets");
    page.text(
        "Under `secrets`, by name; each is a text of at most 64 KiB, which is sealed in the store and never \
         shown again. It may take its value from what [the settings](settings.md) expose.",
    );
    page.section("Placeholders");
    page.text(
        "Strings of a connection may have them, and they are filled in when the configuration comes into \
         force; in a secret, all but the first may stand. A name that is not there is an error.",
    );
    let row = |name: &str, meaning: &str| [code(name), meaning.to_owned()];
    page.table(
        ["Placeholder", "Value"],
        &[
            row("{{ secret.NAME }}", "the secret of this name"),
            row("{{ env.NAME }}", "an environment variable of the daemon that `expose.env` lists"),
            row(
                "{{ file.NAME }}",
                "a file of the daemon's machine that `expose.files` lists, without its last line ends",
            ),
        ],
    );
}
