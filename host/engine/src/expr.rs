//! Conditions written as expressions, in CEL (the Common Expression Language; cel.dev).
//!
//! An expression sees `event` (its attributes, its extensions, and `event.data`), `subject`, `now` and `facts`. It is
//! bounded when it is saved: 4 KiB, comprehensions not nested, patterns of `matches` literal.

mod meter;
mod pattern;
mod prepare;
mod value;

use std::sync::Arc;

use cel::common::ast::{Expr as Ast, IdedExpr};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Value};

pub use meter::STEPS_MAX;

use self::meter::{Meter, PatternVal, TollVal};
use self::prepare::{ENV, Prepared, Prop};
use self::value::Lender;
use crate::event::Event;
use crate::pattern::cut;
use crate::time::Time;

/// The longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 4 << 10;
/// The longest list that an expression may walk; a longer one is an error of the evaluation.
pub const LIST_ITEMS_MAX: usize = 10_000;
/// The most operands that are shown to people.
const OPERANDS_MAX: usize = 16;
/// The names that an expression may use.
const NAMES: [&str; 4] = ["event", "subject", "now", "facts"];

/// A compiled expression.
#[derive(Debug)]
pub struct Expr {
    source: Arc<str>,
    prepared: Prepared,
}

/// What an expression may look at.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// The event.
    pub event: &'a Event,
    /// Whom or what the run would be about; empty for no one.
    pub subject: &'a str,
    /// The time of the decision.
    pub now: Time,
    /// Facts that the trigger gathered.
    pub facts: &'a serde_json::Value,
}

impl Expr {
    /// Compiles an expression, or says what is wrong with it.
    pub fn compile(source: &str) -> Result<Self, String> {
        Ok(Self { source: source.into(), prepared: prepare::prepare(source)? })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression holds. `Err` says why that cannot be said.
    pub fn holds(&self, scope: Scope<'_>) -> Result<bool, String> {
        match self.run(&self.prepared.ast, scope)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(format!("gave {}, not true or false", other.type_of())),
        }
    }

    /// What the expression looked at: each path into the event or the facts, with its value, cut.
    pub fn operands(&self, scope: Scope<'_>) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        collect(&self.prepared.ast, &mut paths);
        paths.truncate(OPERANDS_MAX);
        paths
            .into_iter()
            .map(|(path, expr)| {
                let shown = match self.run(expr, scope) {
                    Ok(value) => value.json().map_or_else(|_| format!("{value:?}"), |json| json.to_string()),
                    Err(message) => message,
                };
                (path, cut(&shown))
            })
            .collect()
    }

    fn run(&self, expr: &IdedExpr, scope: Scope<'_>) -> Result<Value, String> {
        let meter = Meter::new();
        let resolver = Resolver { scope, prepared: &self.prepared, meter: &meter };
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&resolver);
        // Two steps, because the second may hand out borrows of the context.
        let outcome = Value::resolve(expr, &context);
        if meter.is_spent() {
            return Err(format!("would take more than {STEPS_MAX} steps with this event"));
        }
        outcome.map_err(|err| cut(&err.to_string()))
    }
}

struct Resolver<'a> {
    scope: Scope<'a>,
    prepared: &'a Prepared,
    meter: &'a Meter,
}

impl VariableResolver for Resolver<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let lender = Lender { is_eager: self.prepared.has_map, meter: self.meter };
        match variable {
            "event" => Some(lender.event(self.scope.event)),
            "subject" => Some(value::text(self.scope.subject)),
            "now" => Some(value::time(self.scope.now)),
            "facts" => Some(lender.json(self.scope.facts)),
            other => match Prop::named(other)? {
                Prop::Pattern(at) => {
                    let pattern = self.prepared.patterns.get(at)?;
                    Some(CowVal::owned(PatternVal { pattern, meter: self.meter }))
                }
                Prop::Toll(at) => {
                    let n_nodes = *self.prepared.tolls.get(at)?;
                    Some(CowVal::owned(TollVal { n_nodes, meter: self.meter }))
                }
            },
        }
    }
}

/// The longest paths, such as `event.data.new.status`, that do not begin at a variable of a comprehension.
fn collect<'a>(expr: &'a IdedExpr, paths: &mut Vec<(String, &'a IdedExpr)>) {
    if let Some(path) = path_of(expr) {
        if !paths.iter().any(|(known, _)| *known == path) {
            paths.push((path, expr));
        }
        return;
    }
    match &expr.expr {
        Ast::Select(select) => collect(&select.operand, paths),
        Ast::List(list) => list.elements.iter().for_each(|item| collect(item, paths)),
        Ast::Comprehension(inner) => {
            collect(&inner.iter_range, paths);
            collect(&inner.loop_step, paths);
        }
        Ast::Call(call) => {
            if let Some(target) = &call.target {
                collect(target, paths);
            }
            call.args.iter().for_each(|item| collect(item, paths));
        }
        Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) | Ast::Map(_) | Ast::Struct(_) => {}
    }
}

fn path_of(expr: &IdedExpr) -> Option<String> {
    match &expr.expr {
        Ast::Ident(name) if NAMES.contains(&name.as_str()) => Some(name.clone()),
        Ast::Select(select) if !select.test => Some(format!("{}.{}", path_of(&select.operand)?, select.field)),
        Ast::Unspecified
        | Ast::Ident(_)
        | Ast::Literal(_)
        | Ast::Select(_)
        | Ast::List(_)
        | Ast::Map(_)
        | Ast::Struct(_)
        | Ast::Comprehension(_)
        | Ast::Call(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(data: &serde_json::Value) -> Event {
        let mut event = Event::new("shop", "order.paid", "1", Time(1_700_000_000_000_000));
        event.data = data.to_string().into();
        event.extensions.push(("tenant".into(), "acme".into()));
        event
    }

    fn holds(source: &str, data: serde_json::Value) -> Result<bool, String> {
        let event = event(&data);
        let facts = json!({"customer": {"opted_out": false}});
        let scope = Scope { event: &event, subject: "c-1", now: Time(1_700_000_060_000_000), facts: &facts };
        Expr::compile(source)?.holds(scope)
    }

    fn check(source: &str, data: serde_json::Value, expected: bool) {
        assert_eq!(holds(source, data), Ok(expected), "{source}");
    }

    #[test]
    fn expressions_see_the_event() {
        check("event.type == 'order.paid' && event.source == 'shop'", json!(null), true);
        check("event.data.total >= 100", json!({"total": 100}), true);
        check("event.data.total > 99.5", json!({"total": 100}), true);
        check("event.data.id == 9007199254740993", json!({"id": 9_007_199_254_740_993_i64}), true);
        check("event.data.id == 9007199254740993", json!({"id": 9_007_199_254_740_992_i64}), false);
        check("has(event.data.vip) && event.data.vip", json!({"vip": true}), true);
        check("has(event.data.vip) && event.data.vip", json!({}), false);
        check("event.data.lines.exists(l, l.sku == 'a' && l.n > 1)", json!({"lines": [{"sku": "a", "n": 2}]}), true);
        check("event.data.lines.all(l, l > 1)", json!({"lines": [2, 1]}), false);
        check("'b' in event.data.tags", json!({"tags": ["a", "b"]}), true);
        check("'k' in event.data", json!({"k": null}), true);
        check("event.data.k == null", json!({"k": null}), true);
        check("size(event.data.lines) == 2 && size(event.data) == 1", json!({"lines": [2, 1]}), true);
        check("event.data.lines[1] == 1", json!({"lines": [2, 1]}), true);
        check("event.data['a b'].c == 'é'", json!({"a b": {"c": "é"}}), true);
        check("event.data.exists(k, k == 'x')", json!({"x": 1}), true);
        check("event.tenant == 'acme' && subject == 'c-1'", json!({}), true);
        check("!facts.customer.opted_out", json!({}), true);
        check("now - event.time == duration('60s')", json!({}), true);
        check("event.data.name.matches('^a+$')", json!({"name": "aaa"}), true);
        check("matches(event.data.name, 'b') || matches(event.data.name, 'a')", json!({"name": "aaa"}), true);
        check("event.data.name.matches('^\\\\w+$')", json!({"name": "é"}), true);
        check("event.data.name.matches('\\\\bé\\\\b')", json!({"name": "a é"}), true);
        check("event.data.l.filter(x, x.matches('^a')).map(x, size(x)) == [2]", json!({"l": ["ab", "b"]}), true);
    }

    #[test]
    fn objects_compare_by_content() {
        check("event.data.a == event.data.b", json!({"a": {"x": [1, {"y": 2}]}, "b": {"x": [1, {"y": 2}]}}), true);
        check("event.data.a == event.data.b", json!({"a": {"x": 1}, "b": {"x": 2}}), false);
        check("{'x': 1} == event.data.a", json!({"a": {"x": 1}}), true);
        check("event.data.a == {'x': [1]}", json!({"a": {"x": [1]}}), true);
        check("[{'x': 1}] == event.data.a", json!({"a": [{"x": 1}]}), true);
        check("event.data.a in event.data.l", json!({"a": {"x": 1}, "l": [{"x": 2}, {"x": 1}]}), true);
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        for (source, data, words) in [
            ("event.data.vip", json!({}), "No such key"),
            ("event.data.total > 1", json!({"total": "2"}), "overload"),
            ("event.data.total", json!({"total": 2}), "not true or false"),
            ("event.data.a.b", json!({"a": 1}), ""),
            ("event.data.l.all(x, true)", json!({"l": vec![1; LIST_ITEMS_MAX + 1]}), "10000"),
            ("event.data.n.matches('1')", json!({"n": 1}), "matches"),
        ] {
            let message = holds(source, data).unwrap_err();
            assert!(message.contains(words), "{source}: {message}");
        }
    }

    #[test]
    fn bounds_are_checked_when_it_is_saved() {
        for (source, words) in [
            ("event.data.", "ERROR"),
            ("evnt.type == 'x'", "unknown name `evnt`"),
            ("event.data.a.exists(x, x.exists(y, y))", "within a comprehension"),
            ("event.data.a.matches(event.data.b)", "literal"),
            ("event.data.a.matches('(')", "matches"),
            ("event.data.a.matches('(a{1000}){1000}')", "matches"),
            (".matches(event.data.a, event.data.b)", "literal"),
            ("event.data.a.matches('a', 'b')", "a text and a pattern"),
        ] {
            let message = Expr::compile(source).unwrap_err();
            assert!(message.contains(words), "{source}: {message}");
        }
        assert!(Expr::compile(&"a".repeat(EXPR_BYTES_MAX + 1)).is_err());
    }

    /// Each of these took from seconds to minutes where patterns were compiled at every call and nothing was counted.
    #[test]
    fn an_evaluation_is_bounded() {
        let n_items = u32::try_from(LIST_ITEMS_MAX).unwrap();
        let texts: Vec<String> = (0..n_items).map(|n| format!("{n:090}")).collect();
        let numbers: Vec<u32> = (0..n_items).collect();
        check("event.data.l.exists(x, x.matches('^\\\\w{5}@'))", json!({"l": texts}), false);
        check("event.data.l.exists(x, x > 9998)", json!({"l": numbers}), true);
        let long = "ab".repeat(450_000);
        let keys: serde_json::Map<_, _> = (0..100_000).map(|n| (n.to_string(), json!(0))).collect();
        let mut random = 1_u32;
        let coins: String = (0..900_000)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if random >> 31 == 0 { 'a' } else { 'b' }
            })
            .collect();
        for (source, data) in [
            ("event.data.l.exists(x, !(x in event.data.l))", json!({"l": numbers})),
            ("event.data.l.exists(x, event.data.long.contains('c'))", json!({"l": numbers, "long": long})),
            ("event.data.l.map(x, event.data.long + 'c').size() == 0", json!({"l": numbers, "long": long})),
            ("event.data.exists(k, k == 'x' || k == 'y' || k == 'z')", json!(keys)),
            ("event.data.coins.matches('a(a|b){500}c')", json!({"coins": coins})),
        ] {
            let message = holds(source, data).unwrap_err();
            assert!(message.contains("steps"), "{source}: {message}");
        }
        let concatenated = format!("size(event.data.long{}) < 0", " + event.data.long".repeat(200));
        assert!(holds(&concatenated, json!({"long": long})).unwrap_err().contains("steps"));
    }

    #[test]
    fn operands_are_shown() {
        let event = event(&json!({"total": 5, "lines": [1]}));
        let scope = Scope { event: &event, subject: "", now: Time(0), facts: &serde_json::Value::Null };
        let expr = Expr::compile("event.data.total > 10 || event.data.lines.exists(l, l > event.data.min)").unwrap();
        let operands = expr.operands(scope);
        assert_eq!(operands[0], ("event.data.total".into(), "5".into()));
        assert_eq!(operands[1], ("event.data.lines".into(), "[1]".into()));
        assert_eq!(operands[2].0, "event.data.min");
    }
}
