//! Templates: bodies, keys and subjects that are filled in from the event, in the language of Jinja.
//!
//! A string that is one whole expression keeps the JSON type of its value; any other string gives text. Nothing is
//! escaped for HTML, and what is undefined is an error. Rendering is one pass: what an event, a fact or an output
//! says is never rendered again, whatever it looks like.

mod scope;

use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, Expression, UndefinedBehavior};
use serde_json::{Map, Value};

pub use scope::Scope;

use crate::pattern::cut;
use crate::problem::Problem;

/// The longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// How many steps of the template engine one rendering may take.
const FUEL: u64 = 200_000;
/// The names that every template may use.
const NAMES: [&str; 7] = ["event", "subject", "now", "facts", "tasks", "trigger", "run"];

/// A JSON value in which strings are templates.
#[derive(Debug)]
pub struct Template(Node);

#[derive(Debug)]
enum Node {
    Const(Value),
    /// A path such as `event.data.new.id`, which is most of what people write.
    Path(Box<[Box<str>]>),
    /// Any other whole expression.
    Whole(Expression<'static, 'static>),
    /// Text with expressions or statements in it, the only template of an environment of its own.
    Text(Box<Environment<'static>>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Where a template stands, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bodies, keys, subjects, configurations.
    Anywhere,
    /// Headers, which may also name secrets that their connection lists.
    Headers,
}

impl Template {
    /// Compiles the templates in a value, or says what is wrong and where within it.
    pub fn compile(value: &Value, place: Place) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let node = compile(value, place, "", &mut problems);
        if problems.is_empty() { Ok(Self(node)) } else { Err(problems) }
    }

    /// Compiles one string.
    pub fn text(text: &str) -> Result<Self, Vec<Problem>> {
        Self::compile(&Value::String(text.to_owned()), Place::Anywhere)
    }

    /// The value with every template filled in.
    pub fn render(&self, scope: &Scope) -> Result<Value, String> {
        render(&self.0, scope)
    }

    /// The value as text: a string as it is, anything else as JSON.
    pub fn render_text(&self, scope: &Scope) -> Result<String, String> {
        Ok(match render(&self.0, scope)? {
            Value::String(text) => text,
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        })
    }

    /// The value, where nothing in it has to be filled in.
    pub fn constant(&self) -> Option<&Value> {
        match &self.0 {
            Node::Const(value) => Some(value),
            Node::Path(_) | Node::Whole(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => None,
        }
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(64);
    env.set_formatter(|out, _, value| {
        let written = match value.as_str() {
            Some(text) => out.write_str(text),
            None if value.is_undefined() => {
                return Err(minijinja::Error::from(minijinja::ErrorKind::UndefinedError));
            }
            None => out.write_str(&to_json(value)?.to_string()),
        };
        written.map_err(minijinja::Error::from)
    });
    // The built-in one escapes for HTML.
    env.add_filter("tojson", |value: minijinja::Value| to_json(&value).map(|json| json.to_string()));
    env
});

fn to_json(value: &minijinja::Value) -> Result<Value, minijinja::Error> {
    serde_json::to_value(value)
        .map_err(|err| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, err.to_string()))
}

fn compile(value: &Value, place: Place, path: &str, problems: &mut Vec<Problem>) -> Node {
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
            None => Node::Whole(compiled),
        });
    }
    let mut env = ENVIRONMENT.clone();
    env.add_template_owned("template", text.to_owned()).map_err(|err| message(&err))?;
    let names = env.get_template("template").map_err(|err| message(&err))?.undeclared_variables(false);
    check_names(names, place)?;
    Ok(Node::Text(Box::new(env)))
}

fn check_names(names: std::collections::HashSet<String>, place: Place) -> Result<(), String> {
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

fn render(node: &Node, scope: &Scope) -> Result<Value, String> {
    match node {
        Node::Const(value) => Ok(value.clone()),
        Node::Path(path) => scope.lookup(path).ok_or_else(|| format!("`{}` is not there", path.join("."))),
        Node::Whole(expression) => {
            let value = expression.eval(scope.value()).map_err(|err| message(&err))?;
            if value.is_undefined() {
                return Err("the expression gave nothing".into());
            }
            to_json(&value).map_err(|err| message(&err))
        }
        Node::Text(env) => {
            let template = env.get_template("template").map_err(|err| message(&err))?;
            template.render(scope.value()).map(Value::String).map_err(|err| message(&err))
        }
        Node::List(nodes) => nodes.iter().map(|node| render(node, scope)).collect::<Result<_, _>>().map(Value::Array),
        Node::Object(nodes) => nodes
            .iter()
            .map(|(name, node)| Ok((name.clone(), render(node, scope)?)))
            .collect::<Result<Map<_, _>, String>>()
            .map(Value::Object),
    }
}

fn message(err: &minijinja::Error) -> String {
    use std::error::Error;
    let mut text = match err.detail() {
        Some(detail) => format!("{}: {detail}", err.kind()),
        None => err.kind().to_string(),
    };
    if let Some(source) = err.source() {
        text.push_str(&format!(": {source}"));
    }
    cut(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::time::Time;
    use serde_json::json;
    use std::sync::Arc;

    fn scope(data: &Value) -> Scope {
        let mut event = Event::new("shop", "order.paid", "1", Time(1_700_000_000_000_000));
        event.data = data.to_string().into();
        let mut scope = Scope::new(Arc::new(event));
        scope.subject = "c-1".into();
        scope.tasks = Arc::new(json!({"crm": {"output": {"id": 7}}}));
        scope
    }

    fn check(template: Value, data: Value, expected: Value) {
        let compiled = Template::compile(&template, Place::Anywhere).unwrap();
        assert_eq!(compiled.render(&scope(&data)), Ok(expected), "{template}");
    }

    #[test]
    fn a_whole_expression_keeps_its_type() {
        check(json!("{{ event.data.n }}"), json!({"n": 9_007_199_254_740_993_i64}), json!(9_007_199_254_740_993_i64));
        check(json!("{{ event.data.b }}"), json!({"b": true}), json!(true));
        check(json!("{{ event.data.z }}"), json!({"z": null}), json!(null));
        check(json!("{{ event.data.l }}"), json!({"l": [1, {"a": "b"}]}), json!([1, {"a": "b"}]));
        check(json!("{{ event.data.l[1].a }}"), json!({"l": [1, {"a": "b"}]}), json!("b"));
        check(json!("{{ event.data.l | length }}"), json!({"l": [1, 2]}), json!(2));
        check(json!("{{ event.data }}"), json!({"f": 1.5}), json!({"f": 1.5}));
        check(json!("{{ tasks.crm.output.id + 1 }}"), json!({}), json!(8));
        check(json!({"a": ["{{ subject }}", 1]}), json!({}), json!({"a": ["c-1", 1]}));
    }

    #[test]
    fn text_is_text() {
        check(json!("n={{ event.data.n }}"), json!({"n": 1}), json!("n=1"));
        check(json!("{{ event.data.a }}{{ event.data.b }}"), json!({"a": true, "b": null}), json!("truenull"));
        check(json!("<{{ event.data.a }}>"), json!({"a": "\"'<b>&"}), json!("<\"'<b>&>"));
        check(
            json!("{% for x in event.data.l %}{{ x.a }},{% endfor %}"),
            json!({"l": [{"a": 1}, {"a": 2}]}),
            json!("1,2,"),
        );
        check(json!("v {{ event.data.o }}"), json!({"o": {"k": ["<'>"]}}), json!("v {\"k\":[\"<'>\"]}"));
        check(json!("{{ event.type }} {{ event.time }}"), json!({}), json!("order.paid 2023-11-14T22:13:20Z"));
        check(json!("{{ event.data.o | tojson }}!"), json!({"o": {"k": "<'>"}}), json!("{\"k\":\"<'>\"}!"));
        check(json!("{% for k in event.data %}{{ k }}{% endfor %}"), json!({"a": 1, "b": 2}), json!("ab"));
    }

    #[test]
    fn rendering_is_one_pass() {
        check(json!("{{ event.data.x }}"), json!({"x": "{{ secret.X }}"}), json!("{{ secret.X }}"));
        check(json!("a {{ event.data.x }}"), json!({"x": "{{ event.id }}"}), json!("a {{ event.id }}"));
        check(json!(["{{ event.data.x }}"]), json!({"x": {"{{ a }}": "{% b %}"}}), json!([{"{{ a }}": "{% b %}"}]));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for template in
            ["{{ event.data.nope }}", "x {{ event.data.nope }}", "{{ event.data.a.b.c }}", "{{ event.data.l[9] }}"]
        {
            let compiled = Template::text(template).unwrap();
            assert!(compiled.render(&scope(&json!({"a": {}, "l": []}))).is_err(), "{template}");
        }
    }

    #[test]
    fn bad_templates_are_refused_with_their_place() {
        for (template, path, words) in [
            (json!("{{ evnt.id }}"), "", "unknown name `evnt`"),
            (json!({"a": [1, "{{ event. }}"]}), "a[1]", "syntax error"),
            (json!({"a": {"b": "{% for x %}"}}), "a.b", "syntax error"),
            (json!("{{ secret.KEY }}"), "", "headers only"),
            (json!("{{ event.id | nope }} x"), "", ""),
        ] {
            match Template::compile(&template, Place::Anywhere) {
                Err(problems) => {
                    assert_eq!(problems[0].path, path);
                    assert!(problems[0].message.contains(words), "{}", problems[0]);
                }
                // Unknown filters are only found when they are used.
                Ok(compiled) => assert!(compiled.render(&scope(&json!({}))).is_err(), "{template}"),
            }
        }
    }

    #[test]
    fn rendering_is_bounded() {
        let compiled =
            Template::text("{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}").unwrap();
        assert!(compiled.render(&scope(&json!({}))).unwrap_err().contains("fuel"));
    }
}
