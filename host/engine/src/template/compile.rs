//! Templates, from text to what is rendered: parsed, and their names checked.

use std::collections::HashSet;
use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::{Node, Place, TEMPLATE_BYTES_MAX, bounded, message};
use crate::pattern::cut;
use crate::problem::Problem;

/// How many steps of the template engine one rendering may take.
const FUEL: u64 = 200_000;
/// The names that every template may use.
const NAMES: [&str; 7] = ["event", "subject", "now", "facts", "tasks", "trigger", "run"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(64);
    env.set_formatter(bounded::emit);
    // The built-in one escapes for HTML.
    env.add_filter("tojson", |value: minijinja::Value| bounded::json_text(&value));
    env
});

/// Compiles the templates in a value; what is wrong joins the problems, with its path.
pub(super) fn compile(value: &Value, place: Place, path: &str, problems: &mut Vec<Problem>) -> Node {
    match value {
        Value::String(text) => text_node(text, place).unwrap_or_else(|message| {
            problems.push(Problem::at(path, message));
            Node::Const(Value::Null)
        }),
        Value::Array(items) => {
            let nodes: Vec<Node> = items
                .iter()
                .enumerate()
                .map(|(at, item)| compile(item, place, &format!("{path}[{at}]"), problems))
                .collect();
            if nodes.iter().all(|node| matches!(node, Node::Const(_))) {
                Node::Const(value.clone())
            } else {
                Node::List(nodes)
            }
        }
        Value::Object(map) => {
            let nodes: Vec<(String, Node)> = map
                .iter()
                .map(|(name, inner)| {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    (name.clone(), compile(inner, place, &path, problems))
                })
                .collect();
            if nodes.iter().all(|(_, node)| matches!(node, Node::Const(_))) {
                Node::Const(value.clone())
            } else {
                Node::Object(nodes)
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Const(value.clone()),
    }
}

fn text_node(text: &str, place: Place) -> Result<Node, String> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("a template may have {TEMPLATE_BYTES_MAX} bytes"));
    }
    if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
        return Ok(Node::Const(Value::String(text.to_owned())));
    }
    let whole = text
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .filter(|inner| !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%"));
    if let Some(inner) = whole {
        let expression = inner.trim();
        let compiled = ENVIRONMENT.compile_expression_owned(expression.to_owned()).map_err(|err| message(&err))?;
        check_names(compiled.undeclared_variables(false), place)?;
        return Ok(match path(expression) {
            Some(path) => Node::Path(path),
            None => Node::Whole(compiled, place),
        });
    }
    let mut env = ENVIRONMENT.clone();
    env.add_template_owned("template", text.to_owned()).map_err(|err| message(&err))?;
    let names = env.get_template("template").map_err(|err| message(&err))?.undeclared_variables(false);
    check_names(names, place)?;
    Ok(Node::Text(Box::new(env), place))
}

fn check_names(names: HashSet<String>, place: Place) -> Result<(), String> {
    let is_known = |name: &str| {
        NAMES.contains(&name)
            || (place == Place::Headers && name == "secret")
            || ENVIRONMENT.globals().any(|(global, _)| global == name)
    };
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) if name == "secret" => Err("secrets can stand in headers only".into()),
        Some(name) => Err(format!("unknown name `{}`: {} are known", cut(name), NAMES.join(", "))),
    }
}

/// The steps of a plain path.
fn path(expression: &str) -> Option<Box<[Box<str>]>> {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    expression.split('.').map(|name| is_name(name).then(|| name.into())).collect()
}
