//! Templates: bodies, keys and subjects that are filled in from the event, in the language of Jinja.
//!
//! A string that is one whole expression keeps the JSON type of its value; any other string gives text. Nothing is
//! escaped for HTML, and what is undefined is an error. Rendering is one pass: what an event, a fact or an output
//! says is never rendered again, whatever it looks like.

mod bounded;
mod compile;
mod scope;

use minijinja::{Environment, Expression};
use serde_json::{Map, Value};

pub use bounded::RENDERED_BYTES_MAX;
pub use scope::Scope;

use self::bounded::{Allowance, Kept};
use self::compile::compile;
use crate::pattern::cut;
use crate::problem::Problem;

/// The longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;

/// A JSON value in which strings are templates.
#[derive(Debug)]
pub struct Template(Node);

#[derive(Debug)]
enum Node {
    Const(Value),
    /// A path such as `event.data.new.id`, which is most of what people write.
    Path(Box<[Box<str>]>),
    /// Any other whole expression.
    Whole(Expression<'static, 'static>, Place),
    /// Text with expressions or statements in it, the only template of an environment of its own.
    Text(Box<Environment<'static>>, Place),
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

    /// Compiles the options of a send: secrets may be named in `headers`, and nowhere else.
    pub fn options(map: &Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let nodes = map
            .iter()
            .map(|(name, value)| {
                let place = if name == "headers" { Place::Headers } else { Place::Anywhere };
                (name.clone(), compile(value, place, name, &mut problems))
            })
            .collect();
        if problems.is_empty() { Ok(Self(Node::Object(nodes))) } else { Err(problems) }
    }

    /// Compiles one string.
    pub fn text(text: &str) -> Result<Self, Vec<Problem>> {
        Self::compile(&Value::String(text.to_owned()), Place::Anywhere)
    }

    /// The value with every template filled in.
    pub fn render(&self, scope: &Scope) -> Result<Value, String> {
        render(&self.0, scope, &mut Allowance::new())
    }

    /// The value as text: a string as it is, anything else as JSON.
    pub fn render_text(&self, scope: &Scope) -> Result<String, String> {
        Ok(match self.render(scope)? {
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
            Node::Path(_) | Node::Whole(..) | Node::Text(..) | Node::List(_) | Node::Object(_) => None,
        }
    }
}

fn render(node: &Node, scope: &Scope, allowance: &mut Allowance) -> Result<Value, String> {
    match node {
        Node::Const(value) => Ok(value.clone()),
        Node::Path(path) => {
            let found = scope.lookup(path).ok_or_else(|| format!("`{}` is not there", path.join(".")))?;
            allowance.spend(bounded::size(&found))?;
            Ok(found.into_owned())
        }
        Node::Whole(expression, place) => {
            let value = expression.eval(scope.value(*place)).map_err(|err| message(&err))?;
            if value.is_undefined() {
                return Err("the expression gave nothing".into());
            }
            bounded::json(&value, allowance).map_err(|err| allowance.explain(|| message(&err)))
        }
        Node::Text(env, place) => {
            let template = env.get_template("template").map_err(|err| message(&err))?;
            let mut kept = Kept { bytes: Vec::new(), allowance };
            match template.render_captured_to(scope.value(*place), &mut kept) {
                Ok(_) => String::from_utf8(kept.bytes).map(Value::String).map_err(|err| err.to_string()),
                Err(err) => Err(kept.allowance.explain(|| message(&err))),
            }
        }
        Node::List(nodes) => {
            let items = nodes.iter().map(|node| render(node, scope, allowance));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(nodes) => nodes
            .iter()
            .map(|(name, node)| Ok((name.clone(), render(node, scope, allowance)?)))
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
        let check = |template: Value, words: &str| {
            let data = json!({"text": "x".repeat(30_000), "items": vec![0; 10_000], "o": {"k": "y".repeat(30_000)}});
            let compiled = Template::compile(&template, Place::Anywhere).unwrap();
            let message = compiled.render(&scope(&data)).unwrap_err();
            assert!(message.contains(words), "{template}: {message}");
        };
        let bytes = &format!("more than {RENDERED_BYTES_MAX} bytes");
        check(json!("{% for a in range(1000) %}{% for b in range(1000) %}x{% endfor %}{% endfor %}"), "fuel");
        check(json!("{% for i in event.data.items %}{{ event.data.text }}{% endfor %}"), bytes);
        check(json!("{% for i in event.data.items %}{{ event.data.o }}{% endfor %}"), bytes);
        check(json!("{% for i in event.data.items %}{{ event.data.o | tojson }}{% endfor %}"), bytes);
        check(json!(format!("{{% for i in event.data.items %}}{}{{% endfor %}}", "x".repeat(1_000))), bytes);
        check(
            json!("{% set all %}{% for i in event.data.items %}{{ event.data.text }}{% endfor %}{% endset %}"),
            bytes,
        );
        check(json!("{{ [event.data.text] * 100000 }}"), bytes);
        check(json!("{{ 'x' * 50000000 }}"), bytes);
        check(json!("{{ ([event.data.text] * 100000) | tojson }}"), bytes);
        check(json!(vec!["{{ event.data.text }}"; 100]), bytes);
        check(json!(vec!["{{ event.data }}"; 100]), bytes);
        check(json!(vec!["{{ event.data.text | upper }}"; 100]), bytes);
        check(json!(vec!["a {{ event.data.text }}"; 100]), bytes);
    }

    #[test]
    fn secrets_are_for_headers() {
        let secret = |template: &str| format!("{{{{ {template} }}}}");
        for template in ["secret.KEY", "secret['KEY']", "secret[event.id]", "secret | tojson", "[secret]"] {
            let headers = json!({"headers": {"x": secret(template)}, "query": {"k": "no secret.KEY here"}});
            Template::options(headers.as_object().unwrap()).unwrap();
            let query = json!({"headers": {}, "query": {"k": secret(template)}});
            let problems = Template::options(query.as_object().unwrap()).unwrap_err();
            assert_eq!((&*problems[0].path, problems.len()), ("query.k", 1), "{template}");
            assert!(problems[0].message.contains("headers only"), "{template}");
        }
    }

    #[test]
    fn secrets_are_not_there_outside_headers() {
        let mut scope = scope(&json!({}));
        scope.secrets = Arc::new(json!({"KEY": "s3cr3t"}));
        let render = |value: Value| {
            let compiled = Template::options(value.as_object().unwrap()).ok()?;
            compiled.render(&scope).ok().map(|value| value.to_string())
        };
        for template in [
            "{{ debug() }}",
            "a {{ debug() }}",
            "{% if false %}{% set secret = 1 %}{% endif %}{{ secret.KEY }}",
            "{% for secret in [] %}{% endfor %}{{ secret.KEY }}",
            "{% with secret = 1 %}{% endwith %}{{ secret.KEY }}",
        ] {
            let shown = render(json!({"query": template})).unwrap_or_default();
            assert!(!shown.contains("s3cr3t"), "{template}: {shown}");
        }
        assert!(!format!("{scope:?}").contains("s3cr3t"));
        assert_eq!(render(json!({"headers": {"a": "k {{ secret.KEY }}"}})).unwrap(), r#"{"headers":{"a":"k s3cr3t"}}"#);
    }
}
