//! Conditions written as expressions, in CEL (the Common Expression Language; cel.dev).
//!
//! An expression sees `event` (its attributes, its extensions, and `event.data`), `subject`, `now` and `facts`. It is
//! bounded when it is saved: 4 KiB, comprehensions not nested, patterns of `matches` literal.

mod value;

use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr, LiteralValue};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, Program, Value};

use crate::event::Event;
use crate::pattern::cut;
use crate::time::Time;

/// The longest expression, in bytes.
pub const EXPR_BYTES_MAX: usize = 4 << 10;
/// The longest list that an expression may walk; a longer one is an error of the evaluation.
pub const LIST_ITEMS_MAX: usize = 10_000;
/// The largest compiled pattern of `matches`.
const REGEX_BYTES_MAX: usize = 256 << 10;
/// The most operands that are shown to people.
const OPERANDS_MAX: usize = 16;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled expression.
#[derive(Debug)]
pub struct Expr {
    source: Arc<str>,
    program: Program,
    /// Whether data has to be copied into CEL's own maps first: a map literal can only be compared with those.
    is_eager: bool,
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
        if source.len() > EXPR_BYTES_MAX {
            return Err(format!("longer than {EXPR_BYTES_MAX} bytes"));
        }
        let program = ENV.compile(source).map_err(|err| err.to_string())?;
        let mut check = Check::default();
        check.visit(program.expression(), 0)?;
        for name in program.references().variables() {
            let local = check.locals.iter().any(|local| local == name);
            if !local && !matches!(name, "event" | "subject" | "now" | "facts") {
                return Err(format!("unknown name `{name}`: event, subject, now and facts are known"));
            }
        }
        Ok(Self { source: source.into(), program, is_eager: check.has_map })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression holds. `Err` says why that cannot be said.
    pub fn holds(&self, scope: Scope<'_>) -> Result<bool, String> {
        match self.run(self.program.expression(), scope)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(format!("gave {}, not true or false", other.type_of())),
        }
    }

    /// What the expression looked at: each path into the event or the facts, with its value, cut.
    pub fn operands(&self, scope: Scope<'_>) -> Vec<(String, String)> {
        let mut paths = Vec::new();
        collect(self.program.expression(), &mut paths);
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
        let resolver = Resolver { scope, is_eager: self.is_eager };
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.set_variable_resolver(&resolver);
        // Two steps, because the second may hand out borrows of the context.
        let outcome = Value::resolve(expr, &context);
        outcome.map_err(|err| cut(&err.to_string()))
    }
}

struct Resolver<'a> {
    scope: Scope<'a>,
    is_eager: bool,
}

impl VariableResolver for Resolver<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "event" => Some(value::event(self.scope.event, self.is_eager)),
            "subject" => Some(value::text(self.scope.subject)),
            "now" => Some(value::time(self.scope.now)),
            "facts" => Some(value::json(self.scope.facts, self.is_eager)),
            _ => None,
        }
    }
}

/// What the bounds of an expression need to know of it.
#[derive(Default)]
struct Check {
    has_map: bool,
    locals: Vec<String>,
}

impl Check {
    fn visit(&mut self, expr: &IdedExpr, n_comprehensions: usize) -> Result<(), String> {
        match &expr.expr {
            Ast::Unspecified | Ast::Ident(_) | Ast::Literal(_) => Ok(()),
            Ast::Select(select) => self.visit(&select.operand, n_comprehensions),
            Ast::List(list) => list.elements.iter().try_for_each(|item| self.visit(item, n_comprehensions)),
            Ast::Map(map) => {
                self.has_map = true;
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.visit(&entry.key, n_comprehensions)?;
                        self.visit(&entry.value, n_comprehensions)
                    }
                    EntryExpr::StructField(field) => self.visit(&field.value, n_comprehensions),
                })
            }
            Ast::Struct(_) => Err("structs are not known here".into()),
            Ast::Comprehension(inner) => {
                if n_comprehensions > 0 {
                    return Err("a comprehension within a comprehension would cost too much".into());
                }
                self.locals.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
                self.locals.extend(inner.iter_var2.clone());
                self.visit(&inner.iter_range, n_comprehensions)?;
                [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result]
                    .into_iter()
                    .try_for_each(|part| self.visit(part, n_comprehensions + 1))
            }
            Ast::Call(call) => {
                if call.func_name == "matches" {
                    literal_regex(call.args.last())?;
                }
                if let Some(target) = &call.target {
                    self.visit(target, n_comprehensions)?;
                }
                call.args.iter().try_for_each(|item| self.visit(item, n_comprehensions))
            }
        }
    }
}

fn literal_regex(pattern: Option<&IdedExpr>) -> Result<(), String> {
    let Some(Ast::Literal(LiteralValue::String(text))) = pattern.map(|pattern| &pattern.expr) else {
        return Err("the pattern of `matches` has to be a literal".into());
    };
    regex::RegexBuilder::new(text.inner())
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map(|_| ())
        .map_err(|err| format!("the pattern of `matches`: {err}"))
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
        Ast::Ident(name) if matches!(name.as_str(), "event" | "subject" | "now" | "facts") => Some(name.clone()),
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
        ] {
            let message = Expr::compile(source).unwrap_err();
            assert!(message.contains(words), "{source}: {message}");
        }
        assert!(Expr::compile(&"a".repeat(EXPR_BYTES_MAX + 1)).is_err());
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
