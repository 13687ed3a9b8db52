//! What the reference says of each field beside its comment: its form, its default, its bound; and values on both
//! sides of the bound, which are tried.

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_engine::definition::PATTERNS_MAX;
use trapjaw_engine::limits::{BODY_BYTES_MAX, CAP_RUNS_MAX, KEY_BYTES_MAX, SUBJECTS_MAX};
use trapjaw_engine::plan::{Plan, RETRY_WAIT_MIN, TIMEOUT_MIN};
use trapjaw_engine::time::format_span;

use super::probe::compile;
use crate::reference::page::{bytes, code, number};

/// A field of a definition.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: &'static str,
    pub(super) default: String,
    pub(super) bound: String,
    /// What the comment beside the field leaves out.
    pub(super) note: &'static str,
    /// Values that are taken, and values that are not.
    pub(super) good: Vec<Value>,
    pub(super) bad: Vec<Value>,
    /// What stands beside it while it is tried.
    pub(super) beside: Value,
}

const SPAN: &str = "duration";
const TEMPLATE: &str = "template";
const RATE: &str = "rate";

fn field(name: &'static str, form: &'static str) -> Field {
    let (good, bad) = match form {
        SPAN => (
            vec![json!("0s"), json!("1h30m"), json!("3660d")],
            vec![json!("5"), json!("soon"), json!("3661d"), json!(5)],
        ),
        RATE => (vec![json!("100/s"), json!("1/5m")], vec![json!("0/s"), json!("5"), json!("5/0s"), json!("-1/s")]),
        TEMPLATE => (
            vec![json!("x"), json!("{{ event.data.x }}")],
            vec![json!("{{ nope }}"), json!("{{ event. }}"), json!("{{ secret.X }}")],
        ),
        _ => (Vec::new(), Vec::new()),
    };
    Field { name, form, default: String::new(), bound: String::new(), note: "", good, bad, beside: json!({}) }
}

impl Field {
    /// A span that is at least this long.
    fn at_least(mut self, min: Duration) -> Self {
        let shown = |span: Duration| json!(format_span(span));
        self.good.retain(|span| *span != json!("0s"));
        self.bad.push(shown(min - Duration::from_millis(1)));
        self.good(shown(min)).bound(format!("at least {}", code(&format_span(min))))
    }

    fn default(self, default: impl Into<String>) -> Self {
        Self { default: default.into(), ..self }
    }

    fn span(self, default: Duration) -> Self {
        self.default(code(&format_span(default)))
    }

    fn bound(self, bound: impl Into<String>) -> Self {
        Self { bound: bound.into(), ..self }
    }

    fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    fn good(mut self, good: Value) -> Self {
        self.good.push(good);
        self
    }

    fn bad(mut self, bad: Value) -> Self {
        self.bad.push(bad);
        self
    }

    fn beside(self, beside: Value) -> Self {
        Self { beside, ..self }
    }
}

/// What a trigger is that says nothing but what it must.
fn plain(action: Value) -> Plan {
    compile(&json!({"on": {"type": ["t"]}, "do": [action]}), &json!({})).unwrap()
}

fn pattern() -> Value {
    json!({"type": ["t"]})
}

fn holds() -> Value {
    json!({"expr": "true"})
}

fn send(number: usize) -> Value {
    json!({"name": format!("a{number}"), "send": "c"})
}

pub(super) fn trigger() -> Vec<Field> {
    vec![
        field("description", "text").good(json!("x")),
        field("state", "").default("`enabled`"),
        field("on", "pattern, or a list")
            .default("needed")
            .bound(format!("1 to {PATTERNS_MAX}"))
            .note("In YAML the key has to be quoted, `\"on\"`: without quotes some readers take it for `true`.")
            .good(pattern())
            .good(vec![pattern(); PATTERNS_MAX].into())
            .bad(json!([]))
            .bad(vec![pattern(); PATTERNS_MAX + 1].into()),
        field("subject", "template, or a list")
            .default("the event's `subject`")
            .bound(format!("at most {} subjects, each of {} bytes", number(SUBJECTS_MAX), number(KEY_BYTES_MAX)))
            .good(json!("{{ event.data.x }}"))
            .good(vec!["x"; SUBJECTS_MAX].into())
            .bad(vec!["x"; SUBJECTS_MAX + 1].into())
            .bad(json!("{{ nope }}")),
        field("facts", "").default("none").bound("refused").bad(json!({})),
        field("when", "list of conditions")
            .default("none: every event that matches")
            .bound("at most 64, nested ones included")
            .good(vec![holds(); 64].into())
            .bad(vec![holds(); 65].into()),
        field("do", "list of actions")
            .default("needed")
            .bound("1 to 64")
            .good((0..64).map(send).collect())
            .bad((0..65).map(send).collect())
            .bad(json!([])),
        field("policy", "policy").good(json!({})),
    ]
}

pub(super) fn condition() -> Vec<Field> {
    let nested = |depth: usize| (0..depth).fold(holds(), |inner, _| json!({"not": inner}));
    vec![
        field("expr", "expression").good(json!("event.type == 't'")).bad(json!("nope")).bad(json!("event.")),
        field("plugin", "name")
            .good(json!("holds"))
            .good(json!("holds@1"))
            .bad(json!("acts"))
            .bad(json!("holds@2"))
            .bad(json!("nope")),
        field("config", "any value")
            .default("`{}`")
            .note("Templates are not filled in.")
            .beside(json!({"plugin": "holds"}))
            .good(json!({"x": "{{ nope }}"})),
        field("any", "list of conditions").bound("at least 1").good(vec![holds()].into()).bad(json!([])),
        field("all", "list of conditions").good(json!([])),
        field("not", "condition").bound("`any`, `all` and `not` nest 8 deep").good(nested(7)).bad(nested(8)),
    ]
}

pub(super) fn action() -> Vec<Field> {
    let (send, plugin) = (plain(json!({"send": "c"})), plain(json!({"plugin": "acts"})));
    let timeout = |plan: &Plan| format_span(plan.triggers()[0].actions[0].timeout);
    let (sends, calls) = (timeout(&send), timeout(&plugin));
    let acts = || json!({"plugin": "acts", "send": null});
    vec![
        field("name", "name")
            .default("the connection's or plugin's name")
            .bound("1 to 63 letters, digits, `_`, `-` and `.`")
            .note("Two actions of a trigger never have the same.")
            .good(json!("a-b_c.D1"))
            .good("a".repeat(63).into())
            .bad(json!("a b"))
            .bad("a".repeat(64).into())
            .bad(json!("")),
        field("send", "name").note("Either `send` or `plugin` is needed.").good(json!("c")).bad(json!("nope")),
        field("plugin", "name")
            .beside(json!({"send": null}))
            .good(json!("acts"))
            .good(json!("acts@1"))
            .bad(json!("holds")),
        field("config", "any value")
            .default("`{}`")
            .note("For plugins.")
            .beside(acts())
            .good(json!({"x": "{{ event.id }}"}))
            .bad(json!("{{ nope }}")),
        field("connections", "labels and names")
            .note("For plugins.")
            .beside(acts())
            .good(json!({"out": "c"}))
            .bad(json!({"out": "nope"})),
        field("needs", "list of names")
            .note("They stand before this one in the list.")
            .good(json!([]))
            .bad(json!(["c"]))
            .bad(json!(["nope"])),
        field("key", TEMPLATE).note("For sends; what it is for is said with each kind of sink."),
        field("with", "options of the kind")
            .note(
                "For sends; see [sinks.md](sinks.md). Strings in `headers` may name `{{ secret.NAME }}`, where \
             the connection lists that secret.",
            )
            .good(json!({"headers": {"x-a": "{{ secret.X }}"}}))
            .bad(json!({"query": {"a": "{{ secret.X }}"}}))
            .bad(json!({"nope": 1})),
        field("body", "any value")
            .note("For sends.")
            .bound(format!("at most {} when it is filled in", bytes(BODY_BYTES_MAX)))
            .good(json!({"a": ["{{ event.id }}"]}))
            .bad(json!("{{ nope }}")),
        Field { good: vec![json!("1ms"), json!(sends)], ..field("timeout", SPAN) }
            .bad(json!("0s"))
            .bad(json!("1h"))
            .bound(format!("{} to the default", code(&format_span(TIMEOUT_MIN))))
            .default(format!("the connection's `timeout` (`{sends}`), or `{calls}` for a plugin")),
        field("retry", "retry").default("the policy's").good(json!({})),
    ]
}

pub(super) fn policy() -> Vec<Field> {
    vec![
        field("delay", SPAN).default("none").note("It counts from when the event was taken."),
        field("not_before", TEMPLATE).default("none").note(
            "With `delay` too, the later of both counts. A value that is not a time of RFC 3339 is an error \
             of the evaluation.",
        ),
        field("deadline", SPAN)
            .default("none")
            .note("It counts from when the run began. What would be tried later is a dead letter."),
        field("recheck", "`true`, `false`")
            .default("`false`")
            .bound("with `delay` or `not_before` only")
            .beside(json!({"delay": "1s"}))
            .good(json!(true)),
        field("order_by", "`subject`, or a template")
            .default("none: no order")
            .bound(format!("a key has at most {} bytes", number(KEY_BYTES_MAX)))
            .note("Runs of one key begin one after the other, in the order of their events.")
            .good(json!("subject"))
            .good(json!("{{ event.data.x }}"))
            .bad(json!("{{ nope }}")),
        field("limit", "limit").default("none").good(json!({"runs": 1})).bad(json!({})),
        field("cooldown", SPAN).default("none").bound("not with a limit `per: trigger`"),
        field("rate", RATE).default("none"),
        field("concurrency", "number").default("none").bound("at least 1").good(json!(1)).bad(json!(0)),
        field("retry", "retry").good(json!({})),
        field("on_error", ""),
        field("on_unknown", ""),
        field("definition", ""),
    ]
}

pub(super) fn limit() -> Vec<Field> {
    let most = number(CAP_RUNS_MAX);
    vec![
        field("runs", "number")
            .default("needed")
            .bound(format!("1 to {most} with `in`; at least 1 without"))
            .beside(json!({"in": "1d"}))
            .good(json!(1))
            .good(CAP_RUNS_MAX.into())
            .bad(json!(0))
            .bad((CAP_RUNS_MAX + 1).into()),
        field("in", SPAN).default("none: ever"),
        field("per", ""),
    ]
}

pub(super) fn retry() -> Vec<Field> {
    let plan = plain(json!({"send": "c"}));
    let retry = plan.triggers()[0].actions[0].retry;
    assert_eq!(retry.attempts, None);
    vec![
        field("first", SPAN).span(retry.first).at_least(RETRY_WAIT_MIN),
        field("factor", "number")
            .default(code(&retry.factor.to_string()))
            .bound("1 to 100")
            .good(json!(1))
            .good(json!(100))
            .good(json!(1.5))
            .bad(json!(0.9))
            .bad(json!(100.1)),
        field("max", SPAN)
            .span(retry.max)
            .at_least(RETRY_WAIT_MIN)
            .note("A remote's `Retry-After` of up to an hour may make a wait longer."),
        field("for", SPAN).span(retry.window),
        field("attempts", "number").default("any number").bound("at least 1").good(json!(1)).bad(json!(0)),
    ]
}

pub(super) fn connection() -> Vec<Field> {
    let plan = plain(json!({"send": "c"}));
    let connection = plan.connection("c").unwrap();
    assert!(!connection.is_paused && connection.rate.is_none() && connection.concurrency.is_none());
    vec![
        field("kind", "name")
            .default("needed")
            .note("One of those in [sinks.md](sinks.md).")
            .good(json!("webhook"))
            .bad(json!("nope")),
        field("paused", "`true`, `false`")
            .default("`false`; an update that leaves it out leaves it as it is")
            .good(json!(true))
            .bad(json!("x")),
        field("rate", RATE).default("none"),
        field("concurrency", "number").default("none").bound("at least 1").good(json!(1)).bad(json!(0)),
        field("timeout", SPAN).span(connection.timeout).at_least(TIMEOUT_MIN),
        field("secrets", "list of names").default("none").good(json!(["X"])).bad(json!("X")),
    ]
}

pub(super) fn plugin() -> Vec<Field> {
    vec![
        field("file", "path")
            .note(
                "Relative to the document. `apply`, `diff` and `validate` upload it where the daemon does \
                     not have it.",
            )
            .good(json!("x.wasm")),
        field("version", "name")
            .default("with `file`, the start of the component's digest; else the one that is active")
            .good(json!("1.0.0")),
        field("grants", "grants").default("nothing").note("What it leaves out is taken back.").good(json!({})),
    ]
}

pub(super) fn grants() -> Vec<Field> {
    vec![
        field("connections", "list of names").default("none").good(json!(["c"])),
        field("secrets", "list of names").default("none").good(json!(["X"])),
        field("state", "`true`, `false`").default("`false`").good(json!(true)),
    ]
}
