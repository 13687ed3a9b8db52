//! What a template may look at, without copying the event's data into the template engine.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value as Jinja};
use serde_json::Value;

use super::Place;
use crate::event::Event;
use crate::time::Time;

/// What a template may look at. Cheap to clone.
#[derive(Clone)]
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
    pub(super) fn lookup(&self, path: &[Box<str>]) -> Option<Cow<'_, Value>> {
        fn below<'a>(value: &'a Value, rest: &[Box<str>]) -> Option<Cow<'a, Value>> {
            rest.iter().try_fold(value, |value, name| value.get(&**name)).map(Cow::Borrowed)
        }
        let owned = |text: String| Some(Cow::Owned(Value::String(text)));
        let (first, rest) = path.split_first()?;
        match (&**first, rest) {
            ("event", [name, rest @ ..]) if **name == *"data" => below(self.event.json(), rest),
            ("event", [name]) => attribute(&self.event, name).and_then(owned),
            ("event", []) => {
                serde_json::to_value(self.value(Place::Anywhere).get_attr("event").ok()?).ok().map(Cow::Owned)
            }
            ("facts", rest) => below(&self.facts, rest),
            ("tasks", rest) => below(&self.tasks, rest),
            ("secret", rest) => below(&self.secrets, rest),
            ("subject", []) => owned(self.subject.as_ref().into()),
            ("trigger", []) => owned(self.trigger.as_ref().into()),
            ("run", []) => owned(self.run.as_ref().into()),
            ("now", []) => owned(self.now.to_string()),
            _ => None,
        }
    }

    /// The scope as the template engine sees it. Secrets are there for headers only, whatever the check of names at
    /// the compilation made of a template.
    pub(super) fn value(&self, place: Place) -> Jinja {
        Jinja::from_object(Root { scope: self.clone(), has_secrets: place == Place::Headers })
    }
}

/// Without the secrets, so that they end in no log and no panic.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("event", &self.event)
            .field("subject", &self.subject)
            .field("trigger", &self.trigger)
            .field("run", &self.run)
            .field("now", &self.now)
            .field("facts", &self.facts)
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// The names of a template.
#[derive(Debug)]
struct Root {
    scope: Scope,
    has_secrets: bool,
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

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        let scope = &self.scope;
        let owned = |text: &str| Some(Jinja::from(text));
        match key.as_str()? {
            "event" => Some(Jinja::from_object(EventObject(Arc::clone(&scope.event)))),
            "facts" => Some(jinja(&scope.facts)),
            "tasks" => Some(jinja(&scope.tasks)),
            "secret" if self.has_secrets => Some(jinja(&scope.secrets)),
            "subject" => owned(&scope.subject),
            "trigger" => owned(&scope.trigger),
            "run" => owned(&scope.run),
            "now" => owned(&scope.now.to_string()),
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
