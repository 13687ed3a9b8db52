//! Patterns: which events a trigger is about, in the language of Amazon EventBridge.
//!
//! A pattern names fields and for each a list of what its value may be; all fields have to match, and for each field
//! one of the list. The operators and their meaning follow the public reference of EventBridge ("Amazon EventBridge
//! event patterns"), with two additions: `numeric` also reads strings that are numbers, and fields reach any depth.

mod index;
mod parse;
mod test;

use ipnet::IpNet;
use serde_json::Value;

pub use index::Index;
pub use parse::parse;

use crate::event::Event;
use test::Number;

/// A compiled pattern: every clause has to hold, and of every `$or` one alternative.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    clauses: Vec<Clause>,
    alternatives: Vec<Vec<Pattern>>,
}

/// One field, and what its value may be.
#[derive(Clone, Debug)]
struct Clause {
    field: Field,
    tests: Vec<Test>,
}

/// Where a value stands in an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Field {
    Id,
    Source,
    Kind,
    Subject,
    Time,
    Extension(Box<str>),
    Data(Vec<Box<str>>),
}

/// What a value may be.
#[derive(Clone, Debug)]
enum Test {
    Exact(Scalar),
    Prefix(Box<str>),
    Suffix(Box<str>),
    PrefixIgnoreCase(Box<str>),
    SuffixIgnoreCase(Box<str>),
    EqualsIgnoreCase(Box<str>),
    Wildcard(Vec<Box<str>>),
    AnythingBut(Vec<Test>),
    Numeric { low: Option<(Number, bool)>, high: Option<(Number, bool)> },
    Cidr(IpNet),
    Exists(bool),
}

/// A value that is compared as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// The bits of a number that is not an integer of 64 bits.
    Float(u64),
    Text(Box<str>),
}

/// Why a pattern does not match: the field that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Where, such as `data.new.status`.
    pub field: String,
    /// What the event has there, cut; none when there is nothing.
    pub found: Option<String>,
}

impl Pattern {
    /// Whether the event matches.
    pub fn matches(&self, event: &Event) -> bool {
        self.clauses.iter().all(|clause| clause.holds(event))
            && self.alternatives.iter().all(|any| any.iter().any(|pattern| pattern.matches(event)))
    }

    /// The first field that keeps the event from matching; none when it matches.
    pub fn miss(&self, event: &Event) -> Option<Miss> {
        if let Some(clause) = self.clauses.iter().find(|clause| !clause.holds(event)) {
            let mut found = None;
            clause.field.values(event, &mut |value| {
                found.get_or_insert_with(|| cut(&value.to_string()));
                false
            });
            return Some(Miss { field: clause.field.to_string(), found });
        }
        let any = self.alternatives.iter().find(|any| !any.iter().any(|pattern| pattern.matches(event)))?;
        any.first()?.miss(event).map(|miss| Miss { field: format!("$or: {}", miss.field), ..miss })
    }
}

/// The longest value that is shown to people, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// The start of a text that is shown to people.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=SHOWN_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// A value of an event: a part of its data, or an attribute.
#[derive(Clone, Copy)]
enum Leaf<'a> {
    Json(&'a Value),
    Text(&'a str),
}

impl std::fmt::Display for Leaf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json(value) => value.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Clause {
    fn holds(&self, event: &Event) -> bool {
        let mut present = false;
        let hit = self.field.values(event, &mut |leaf| {
            present = true;
            self.tests.iter().any(|test| test.holds(leaf))
        });
        // A field that is there but holds an empty list has no value to test, and yet exists.
        let present = present || self.field.is_present(event);
        hit || self.tests.iter().any(|test| matches!(test, Test::Exists(wanted) if *wanted == present))
    }
}

impl Field {
    /// Calls `visit` with each value until it says true, and says whether it did. The elements of a list are values,
    /// and a path goes through the elements of a list of objects.
    fn values(&self, event: &Event, visit: &mut dyn FnMut(Leaf<'_>) -> bool) -> bool {
        match self {
            Self::Data(path) => walk(event.json(), path, visit),
            Self::Time => visit(Leaf::Text(&event.time.to_string())),
            Self::Id | Self::Source | Self::Kind | Self::Subject | Self::Extension(_) => {
                self.attribute(event).is_some_and(|text| visit(Leaf::Text(text)))
            }
        }
    }

    fn attribute<'a>(&self, event: &'a Event) -> Option<&'a str> {
        match self {
            Self::Id => Some(&event.id),
            Self::Source => Some(&event.source),
            Self::Kind => Some(&event.kind),
            Self::Subject => event.subject.as_deref(),
            Self::Extension(name) => event.extension(name),
            Self::Time | Self::Data(_) => None,
        }
    }

    fn is_present(&self, event: &Event) -> bool {
        match self {
            Self::Data(path) => exists(event.json(), path),
            Self::Time => true,
            Self::Id | Self::Source | Self::Kind | Self::Subject | Self::Extension(_) => {
                self.attribute(event).is_some()
            }
        }
    }
}

fn walk(value: &Value, path: &[Box<str>], visit: &mut dyn FnMut(Leaf<'_>) -> bool) -> bool {
    match (value, path) {
        (Value::Array(items), _) => items.iter().any(|item| walk(item, path, visit)),
        (_, []) => visit(Leaf::Json(value)),
        (Value::Object(map), [name, rest @ ..]) => map.get(&**name).is_some_and(|inner| walk(inner, rest, visit)),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), [_, ..]) => false,
    }
}

fn exists(value: &Value, path: &[Box<str>]) -> bool {
    match (value, path) {
        (_, []) => true,
        (Value::Array(items), _) => items.iter().any(|item| exists(item, path)),
        (Value::Object(map), [name, rest @ ..]) => map.get(&**name).is_some_and(|inner| exists(inner, rest)),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), [_, ..]) => false,
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Source => f.write_str("source"),
            Self::Kind => f.write_str("type"),
            Self::Subject => f.write_str("subject"),
            Self::Time => f.write_str("time"),
            Self::Extension(name) => f.write_str(name),
            Self::Data(path) => {
                f.write_str("data")?;
                path.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}
