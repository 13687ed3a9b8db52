//! Templates: the names that they may use and what can be done with them, each filled in.

use std::sync::Arc;

use serde_json::{Value, json};
use trapjaw_engine::template::{Place, RENDERED_BYTES_MAX, Scope, TEMPLATE_BYTES_MAX, Template};

use super::sample;
use crate::reference::page::{Page, bytes, code};

const NAMES: &[(&str, &str)] = &[
    (
        "event",
        "the event: `event.id`, `event.source`, `event.type`, `event.subject`, `event.time`, \
             `event.datacontenttype`, extension attributes by their names, and `event.data`",
    ),
    ("subject", "whom or what the run is about, a text; empty for no one"),
    ("now", "the time of the rendering, as text in RFC 3339"),
    ("facts", "an empty map"),
    (
        "tasks",
        "the actions of the run that have succeeded, by name: of a send `tasks.NAME.output.status`, `.id` \
             and `.body`, of a plugin its own output",
    ),
    ("trigger", "the trigger's name"),
    ("run", "the run's id"),
];

/// A template, what it gives, and what it shows.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("{{ event.data.total }}", "250", "one whole expression keeps the type of its value"),
    ("{{ event.data.lines[0] }}", r#"{"n":2,"sku":"a-1"}"#, "the same, of a list or an object"),
    ("order {{ event.id }}: {{ event.data.total }}", r#""order 7: 250""#, "anything else gives text"),
    ("{{ event.data.total * 2 + 1 }}", "501", "`+`, `-`, `*`, `/`, `//`, `%`, `**`"),
    ("{{ event.source ~ '/' ~ event.id }}", r#""shop/7""#, "`~` joins texts"),
    (
        "{{ 'big' if event.data.total > 100 else 'small' }}",
        r#""big""#,
        "a choice; `==`, `!=`, `<`, `<=`, `>`, `>=`, `and`, `or`, `not`, `in`",
    ),
    ("{% if event.data.test %}test{% else %}real{% endif %}", r#""real""#, "statements: `if`, `for`, `set`"),
    ("{% for line in event.data.lines %}{{ line.sku }};{% endfor %}", r#""a-1;b-2;""#, "the same"),
    ("{{ event.data.coupon | default('none') }}", r#""none""#, "what is not there is an error, but for `default`"),
    (
        "{{ event.data.coupon is defined }}",
        "false",
        "tests: `is defined`, `is none`, `is number`, `is string` and more",
    ),
    ("{{ event.data.email | lower }}", r#""ann@example.com""#, "filters; see below"),
    ("{{ event.data.lines | map(attribute='n') | sum }}", "3", "filters one after the other"),
    (
        "{{ event.data.lines[0] | tojson }}!",
        r#""{\"n\":2,\"sku\":\"a-1\"}!""#,
        "JSON within a text; nothing is escaped for HTML",
    ),
];

const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];
const FUNCTIONS: &[&str] = &["debug", "dict", "namespace", "range"];

/// Writes the section.
pub(super) fn write(page: &mut Page) {
    page.section("Templates");
    page.text(&format!(
        "A template is written in the language of Jinja and has at most {}; what is filled in at one time, such as a body, has at most {}. \
         Every string of a body, a plugin action's `config`, `with`, `key`, `subject`, `not_before` and `order_by` is one. \
         It is filled in once: what an event or an answer says is never filled in again, whatever it looks like. \
         What is not there is an error. \
         A filter that does not exist is found only when the template is filled in; `trapjaw trigger fire --dry` does that.",
        bytes(TEMPLATE_BYTES_MAX),
        bytes(RENDERED_BYTES_MAX)
    ));
    let row = |(name, meaning): &(&str, &str)| [code(name), (*meaning).to_owned()];
    let mut rows: Vec<[String; 2]> = NAMES.iter().map(row).collect();
    rows.push(row(&("secret", "in `with.headers` only: the secrets that the connection lists")));
    page.table(["Name", "Value"], &rows);
    page.text("With the event above:");
    let row = |(template, value, meaning): &(&str, &str, &str)| [code(template), code(value), (*meaning).to_owned()];
    page.table(["Template", "Gives", "What it shows"], &EXAMPLES.iter().map(row).collect::<Vec<_>>());
    let list = |names: &[&str]| names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ");
    page.text(&format!("Filters: {}.", list(FILTERS)));
    page.text(&format!("Functions: {}.", list(FUNCTIONS)));
}

fn render(template: &str) -> Result<Value, String> {
    let compiled = Template::compile(&json!(template), Place::Anywhere).map_err(|problems| problems[0].to_string())?;
    let mut scope = Scope::new(Arc::new(sample::event()));
    scope.subject = "c-1".into();
    compiled.render(&scope)
}

#[test]
fn every_example_gives_what_is_said() {
    for (template, value, _) in EXAMPLES {
        assert_eq!(render(template).map(|value| value.to_string()).as_deref(), Ok(*value), "{template}");
    }
}

#[test]
fn every_filter_and_function_is_there() {
    for filter in FILTERS {
        let error = render(&format!("{{{{ event.data.tags | {filter} }}}}")).err().unwrap_or_default();
        assert!(!error.contains("unknown filter"), "{filter}: {error}");
    }
    assert!(render("{{ event.data.tags | nope }}").err().unwrap().contains("unknown filter"));
    for function in FUNCTIONS {
        assert_eq!(render(&format!("{{{{ {function} is defined }}}}")), Ok(json!(true)), "{function}");
    }
}

#[test]
fn every_name_that_is_known_is_described() {
    let error = render("{{ nope }}").err().unwrap();
    let (_, known) = error.split_once(": ").unwrap();
    let known: Vec<&str> = known.strip_suffix(" are known").unwrap().split(", ").collect();
    assert_eq!(known, NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(render(&"a".repeat(TEMPLATE_BYTES_MAX)).is_ok() && render(&"a".repeat(TEMPLATE_BYTES_MAX + 1)).is_err());
}
