//! Expressions: the names that they may use and what can be done with them, each tried on an event.

use serde_json::Value;
use trapjaw_engine::event::Event;
use trapjaw_engine::expr::{EXPR_BYTES_MAX, Expr, LIST_ITEMS_MAX, STEPS_MAX, Scope};

use super::sample;
use crate::reference::page::{Page, bytes, code, number};

const NAMES: &[(&str, &str)] = &[
    (
        "event",
        "the event: `event.id`, `event.source`, `event.type`, `event.subject`, `event.time`, extension \
             attributes by their names, and `event.data`",
    ),
    ("subject", "whom or what the run would be about, a text; empty for no one"),
    ("now", "the time of the decision"),
    ("facts", "`null`"),
];

/// What can be written, and what it means; each holds for the event.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "event.data.total >= 100 && event.data.status == 'paid'",
        "comparisons `==`, `!=`, `<`, `<=`, `>`, `>=`, and `&&`, `||`, `!`",
    ),
    ("(event.data.total - 50) * 2 / 4 % 3 == 1", "numbers; a whole number and a decimal one compare as numbers"),
    ("event.data.total > 249.5", "the same"),
    ("event.data.test ? false : true", "a choice"),
    (
        "has(event.data.coupon) || !has(event.data.coupon)",
        "`has`: whether a field is there; to name one that is not is an error",
    ),
    ("'vip' in event.data.tags", "`in`: whether a list has the value, or a map the key"),
    ("event.data.tags[0] == 'new' && event.data['status'] == 'paid'", "elements and fields"),
    ("size(event.data.lines) == 2", "`size` of a list, a map or a text"),
    ("event.data.lines.exists(line, line.n > 1)", "`exists`, `exists_one`, `all`: of elements, or keys of a map"),
    ("event.data.lines.map(line, line.sku) == ['a-1', 'b-2']", "`map`: another list"),
    ("event.data.lines.filter(line, line.n > 1).size() == 1", "`filter`: a part of a list"),
    (
        "event.type.startsWith('order.') && event.type.endsWith('paid') && event.type.contains('er')",
        "`startsWith`, `endsWith`, `contains`",
    ),
    ("event.data.email.matches('^[A-Za-z]+@')", "`matches`: a regular expression, written out"),
    (
        "string(event.data.total) == '250' && int('250') == 250 && double('2.5') == 2.5",
        "`string`, `int`, `uint`, `double`, `bytes`",
    ),
    ("now - event.time < duration('24h')", "`duration`, and times that are subtracted and compared"),
    ("event.time > timestamp('2026-01-01T00:00:00Z')", "`timestamp`"),
    (
        "event.time.getHours() == 12 && event.time.getDayOfWeek() == 6",
        "`getFullYear`, `getMonth`, `getDate`, `getDayOfYear`, `getDayOfMonth`, `getDayOfWeek`, \
             `getHours`, `getMinutes`, `getSeconds`, `getMilliseconds`, in UTC; months and days of the week \
             count from 0, and Sunday is 0",
    ),
    ("type(event.data.total) == type(1)", "`type`"),
];

/// Functions that the examples only name.
const NAMED: &[&str] = &[
    "event.data.tags.exists_one(tag, tag == 'vip')",
    "event.data.tags.all(tag, tag != '')",
    "event.data.exists(key, key == 'total')",
    "'total' in event.data",
    "size(event.data) == 8 && size('abc') == 3",
    "uint(3) == 3u",
    "bytes('a') == b'a'",
    "event.time.getFullYear() == 2026 && event.time.getMonth() == 0 && event.time.getDate() == 31",
    "event.time.getDayOfYear() == 30 && event.time.getDayOfMonth() == 30",
    "event.time.getMinutes() == 0 && event.time.getSeconds() == 0 && event.time.getMilliseconds() == 0",
    "event.tenant == 'acme' && subject == 'c-1' && event.id == '7' && event.source == 'shop'",
    "event.subject == 'c-1' && facts == null",
];

/// Writes the section.
pub(super) fn write(page: &mut Page) {
    page.section("Expressions");
    page.text(&format!(
        "An expression is written in [CEL](https://cel.dev) and gives `true` or `false`; what it cannot say is an error, \
         and `policy.on_error` says what becomes of that. \
         It has at most {}, takes at most {} steps, walks lists of at most {} items, and has no comprehension within another. \
         The pattern of `matches` is a literal.",
        bytes(EXPR_BYTES_MAX),
        number(STEPS_MAX),
        number(LIST_ITEMS_MAX)
    ));
    let row = |(name, meaning): &(&str, &str)| [code(name), (*meaning).to_owned()];
    page.table(["Name", "Value"], &NAMES.iter().map(row).collect::<Vec<_>>());
    page.text("Each of these holds for the event above:");
    page.table(["Expression", "What it shows"], &EXAMPLES.iter().map(row).collect::<Vec<_>>());
}

fn holds(source: &str, event: &Event) -> Result<bool, String> {
    Expr::compile(source)?.holds(Scope {
        event,
        subject: "c-1",
        now: event.time + std::time::Duration::from_secs(60),
        facts: &Value::Null,
    })
}

#[test]
fn every_example_holds() {
    let event = sample::event();
    for source in EXAMPLES.iter().map(|(source, _)| source).chain(NAMED) {
        assert_eq!(holds(source, &event), Ok(true), "{source}");
    }
}

#[test]
fn every_name_that_is_known_is_described() {
    let error = Expr::compile("nope").err().unwrap();
    let (_, known) = error.split_once(": ").unwrap();
    let known = known.strip_suffix(" are known").unwrap().replace(" and ", ", ");
    assert_eq!(known.split(", ").collect::<Vec<_>>(), NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

#[test]
fn the_bounds_of_expressions_hold() {
    let event = sample::event();
    assert!(Expr::compile(&format!("'{}' == ''", "a".repeat(EXPR_BYTES_MAX - 8))).is_ok());
    assert!(Expr::compile(&format!("'{}' == ''", "a".repeat(EXPR_BYTES_MAX - 7))).is_err());
    assert!(Expr::compile("event.data.lines.exists(a, event.data.lines.exists(b, a == b))").is_err());
    assert!(Expr::compile("event.data.email.matches(event.id)").is_err());
    assert!(holds("event.data.coupon == 1", &event).is_err());
}
