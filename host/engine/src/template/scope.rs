//! What a template may look at, without copying the event's data into the template engine.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Jinja};
use serde_json::Value;

use crate::event::Event;
use crate::time::Time;

/// What a template may look at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The event.
    pub event: Arc<Event>,
    /// Whom or what the run is about; empty for no one.
    pub subject: Arc<str>,
    /// The trigger's name.
    pub trigger: Arc<str>,
    /// The run's public id; empty before there is one.
    pub run: Arc<str>,
    /// The time of the rendering.
    pub now: Time,
    /// Facts that the trigger gathered, an object.
    pub facts: Arc<Value>,
    /// The tasks of the run that have succeeded, by name: an object with `output`.
    pub tasks: Arc<Value>,
    /// The secrets that may be named, by name. Empty but for headers.
    pub secrets: Arc<Value>,
}

impl Scope {
    /// A scope that shows the event and nothing else.
    pub fn new(event: Arc<Event>) -> Self {
        let empty = Arc::new(Value::Object(serde_json::Map::new()));
        Self {
            now: event.time,
            event,
            subject: "".into(),
            trigger: "".into(),
            run: "".into(),
            facts: Arc::clone(&empty),
            tasks: Arc::clone(&empty),
            secrets: empty,
        }
    }

    /// The value at a plain path; none where there is nothing.
    pub(super) fn lookup(&self, path: &[Box<str>]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        let below =
            |value: &Value, rest: &[Box<str>]| rest.iter().try_fold(value, |value, name| value.get(&**name)).cloned();
        match (&**first, rest) {
            ("event", [name, rest @ ..]) if **name == *"data" => below(self.event.json(), rest),
            ("event", [name]) => attribute(&self.event, name).map(Value::String),
            ("event", []) => serde_json::to_value(self.value().get_attr("event").ok()?).ok(),
            ("facts", rest) => below(&self.facts, rest),
            ("tasks", rest) => below(&self.tasks, rest),
            ("secret", rest) => below(&self.secrets, rest),
            ("subject", []) => Some(Value::String(self.subject.as_ref().into())),
            ("trigger", []) => Some(Value::String(self.trigger.as_ref().into())),
            ("run", []) => Some(Value::String(self.run.as_ref().into())),
            ("now", []) => Some(Value::String(self.now.to_string())),
            _ => None,
        }
    }

    /// The scope as the template engine sees it.
    pub(super) fn value(&self) -> Jinja {
        Jinja::from_object(self.clone())
    }
}

fn attribute(event: &Event, name: &str) -> Option<String> {
    match name {
        "id" => Some(event.id.as_ref().into()),
        "source" => Some(event.source.as_ref().into()),
        "type" => Some(event.kind.as_ref().into()),
        "subject" => event.subject.as_deref().map(Into::into),
        "time" => Some(event.time.to_string()),
        "datacontenttype" => event.content_type.as_deref().map(Into::into),
        other => event.extension(other).map(Into::into),
    }
}

/// A small value, copied: facts, outputs, and the scalars of an event's data.
fn jinja(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(bool) => Jinja::from(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Jinja::from(int),
            (None, Some(uint)) => Jinja::from(uint),
            (None, None) => Jinja::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(jinja).collect(),
        Value::Object(map) => Jinja::from_pairs(map.iter().map(|(name, value)| (name.as_str(), jinja(value)))),
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let owned = |text: &str| Some(Jinja::from(text));
        match key.as_str()? {
            "event" => Some(Jinja::from_object(EventObject(Arc::clone(&self.event)))),
            "facts" => Some(jinja(&self.facts)),
            "tasks" => Some(jinja(&self.tasks)),
            "secret" => Some(jinja(&self.secrets)),
            "subject" => owned(&self.subject),
            "trigger" => owned(&self.trigger),
            "run" => owned(&self.run),
            "now" => owned(&self.now.to_string()),
            _ => None,
        }
    }
}

/// An event's attributes and data.
#[derive(Debug)]
struct EventObject(Arc<Event>);

impl Object for EventObject {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        match key.as_str()? {
            "data" => Some(part(&self.0, Vec::new(), self.0.json())),
            name => attribute(&self.0, name).map(Jinja::from),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let event = &self.0;
        let mut names: Vec<&str> = vec!["id", "source", "type", "time"];
        names.extend(event.subject.as_ref().map(|_| "subject"));
        names.extend(event.content_type.as_ref().map(|_| "datacontenttype"));
        names.extend(event.extensions.iter().map(|(name, _)| &**name));
        names.push("data");
        Enumerator::Values(names.into_iter().map(Jinja::from).collect())
    }
}

/// A list or an object within the data, found by walking there from the top: no copy, and no borrow to keep.
#[derive(Debug)]
struct Part {
    event: Arc<Event>,
    path: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Name(Box<str>),
    At(usize),
}

impl Part {
    fn value(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.path
            .iter()
            .try_fold(self.event.json(), |value, step| match step {
                Step::Name(name) => value.get(&**name),
                Step::At(at) => value.get(at),
            })
            .unwrap_or(&NULL)
    }

    fn below(&self, step: Step, value: &Value) -> Jinja {
        if value.is_array() || value.is_object() {
            let path = self.path.iter().cloned().chain([step]).collect();
            part(&self.event, path, value)
        } else {
            jinja(value)
        }
    }
}

fn part(event: &Arc<Event>, path: Vec<Step>, value: &Value) -> Jinja {
    if value.is_array() || value.is_object() {
        Jinja::from_object(Part { event: Arc::clone(event), path })
    } else {
        jinja(value)
    }
}

impl Object for Part {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.value().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        match self.value() {
            Value::Array(items) => {
                let at = usize::try_from(key.as_i64()?).ok()?;
                Some(self.below(Step::At(at), items.get(at)?))
            }
            Value::Object(map) => {
                let name = key.as_str()?;
                Some(self.below(Step::Name(name.into()), map.get(name)?))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.value() {
            Value::Array(items) => Enumerator::Seq(items.len()),
            Value::Object(map) => Enumerator::Values(map.keys().map(|key| Jinja::from(key.as_str())).collect()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Enumerator::Empty,
        }
    }
}
