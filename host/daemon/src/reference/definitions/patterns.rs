//! Patterns: the fields that they may name and the operators, each tried on an event.

use serde_json::{Map, Value, json};
use trapjaw_engine::event::Event;
use trapjaw_engine::pattern::parse;

use super::sample;
use crate::reference::names::UNKNOWN;
use crate::reference::page::{Page, code};

/// An operator with a pattern that the event matches, and one that it does not.
struct Operator {
    name: &'static str,
    hit: &'static str,
    miss: &'static str,
    meaning: &'static str,
}

const OPERATORS: &[Operator] = &[
    Operator {
        name: "",
        hit: "data: {status: [paid, refunded]}",
        miss: "data: {status: [open]}",
        meaning: "The value is one of these: texts, numbers, `true`, `false` or `null`. `300.0` is `300`.",
    },
    Operator {
        name: "prefix",
        hit: "type: [{prefix: order.}]",
        miss: "type: [{prefix: invoice.}]",
        meaning: "The text begins so. `{prefix: {equals-ignore-case: …}}` minds no case.",
    },
    Operator {
        name: "suffix",
        hit: "data: {email: [{suffix: {equals-ignore-case: '@EXAMPLE.COM'}}]}",
        miss: "data: {email: [{suffix: '@EXAMPLE.COM'}]}",
        meaning: "The text ends so. `{suffix: {equals-ignore-case: …}}` minds no case.",
    },
    Operator {
        name: "equals-ignore-case",
        hit: "data: {email: [{equals-ignore-case: ann@example.com}]}",
        miss: "data: {email: [{equals-ignore-case: bob@example.com}]}",
        meaning: "The text is this one, whatever its case.",
    },
    Operator {
        name: "wildcard",
        hit: "data: {email: [{wildcard: '*@*.com'}]}",
        miss: "data: {email: [{wildcard: '*@*.org'}]}",
        meaning: "The text is like this; each `*`, of which there are at most 16, stands for any text.",
    },
    Operator {
        name: "anything-but",
        hit: "data: {status: [{anything-but: [open, held]}]}",
        miss: "data: {status: [{anything-but: {prefix: pa}}]}",
        meaning: "There is a value, and it is none of these. In the place of values it takes `prefix`, `suffix`, \
             `equals-ignore-case` and `wildcard`, each with one text or a list.",
    },
    Operator {
        name: "numeric",
        hit: "data: {total: [{numeric: ['>=', 100, '<', 1000]}]}",
        miss: "data: {total: [{numeric: ['=', 100]}]}",
        meaning: "The number lies within these bounds: `<`, `<=`, `>`, `>=`, or `=` alone. A text that is a number \
             counts as one.",
    },
    Operator {
        name: "cidr",
        hit: "data: {ip: [{cidr: 10.0.0.0/8}]}",
        miss: "data: {ip: [{cidr: 192.168.0.0/16}]}",
        meaning: "The text is an IP address of this network.",
    },
    Operator {
        name: "exists",
        hit: "data: {coupon: [{exists: false}]}",
        miss: "data: {total: [{exists: false}]}",
        meaning: "Whether the field is there, whatever its value.",
    },
    Operator {
        name: "$or",
        hit: "$or: [{source: [bank]}, {data: {total: [250]}}]",
        miss: "$or: [{source: [bank]}, {source: [till]}]",
        meaning: "One of at least two patterns matches. It may stand at the top and at any depth of `data`.",
    },
];

/// More that the text says of patterns.
const CLAIMS: &[(&str, bool)] = &[
    ("data: {tags: [vip]}", true),
    ("data: {lines: {sku: [a-1]}}", true),
    ("tenant: [acme]", true),
    ("subject: [c-1]\ndata: {total: [250]}", true),
    ("subject: [c-1]\ndata: {total: [251]}", false),
    ("data: {note: [null]}", true),
    ("data: {coupon: [null]}", false),
];

/// Writes the section.
pub(super) fn write(page: &mut Page) {
    page.section("Patterns");
    page.text(
        "A pattern names fields, and for each a list of what its value may be; all fields have to match, and for each \
         of them one of the list. \
         The fields are the event's attributes `id`, `source`, `type`, `subject` and `time`, its extension attributes \
         by their names, and `data`, in which objects nest as they do in the event. \
         Of a list in the event one element has to match, and a list of objects is searched in all of them. \
         A pattern has 1 to 256 fields, and each 1 to 1,000 values. \
         The language is that of Amazon EventBridge.",
    );
    page.text("The examples are about this event:");
    page.code("json", &serde_json::to_string_pretty(&sample::json()).unwrap());
    let rows: Vec<[String; 4]> = OPERATORS
        .iter()
        .map(|one| {
            let name = if one.name.is_empty() { "a value".to_owned() } else { code(one.name) };
            [name, code(one.hit), code(one.miss), one.meaning.to_owned()]
        })
        .collect();
    page.table(["Operator", "Matches", "Does not match", "Meaning"], &rows);
}

fn read(text: &str) -> Map<String, Value> {
    yaml_serde::from_str(text).unwrap()
}

#[test]
fn every_operator_does_what_is_said_of_it() {
    let event: Event = sample::event();
    let matches = |text: &str| parse(&read(text)).unwrap().matches(&event);
    for operator in OPERATORS {
        assert!(matches(operator.hit) && !matches(operator.miss), "{}", operator.name);
        assert!(operator.hit.contains(operator.name), "{}", operator.name);
    }
    for (pattern, expected) in CLAIMS {
        assert_eq!(matches(pattern), *expected, "{pattern}");
    }
}

#[test]
fn every_operator_that_is_known_is_described() {
    let problems = parse(&read(&format!("type: [{{{UNKNOWN}: 1}}]"))).err().unwrap();
    let (_, known) = problems[0].message.split_once(": ").unwrap();
    let known = known.strip_suffix(" are known").unwrap().replace(" and ", ", ");
    let described = OPERATORS.iter().map(|one| one.name).filter(|name| !name.is_empty() && *name != "$or");
    assert_eq!(known.split(", ").collect::<Vec<_>>(), described.collect::<Vec<_>>());
}

#[test]
fn the_bounds_of_patterns_hold() {
    let fields = |n: usize| (0..n).map(|n| (format!("f{n}"), json!(["x"]))).collect::<Map<_, _>>();
    let values = |n: usize| Map::from_iter([("type".to_owned(), vec!["x"; n].into())]);
    let stars = |n: usize| Map::from_iter([("type".to_owned(), json!([{"wildcard": "*x".repeat(n)}]))]);
    for (good, bad) in [
        (fields(256), fields(257)),
        (fields(1), fields(0)),
        (values(1_000), values(1_001)),
        (values(1), values(0)),
        (stars(16), stars(17)),
    ] {
        assert!(parse(&good).is_ok());
        assert!(parse(&bad).is_err());
    }
}
