//! JSON as CEL sees it: lent, not copied, so that an expression pays for the few fields that it reads.

use std::sync::{Arc, OnceLock};

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as ValIterator, Sizer, Zeroer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp, CelUInt, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, Val};
use serde_json::{Map, Value};

use super::LIST_ITEMS_MAX;
use super::meter::Meter;
use crate::event::Event;
use crate::time::Time;

/// A text, lent.
pub(super) fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

/// A moment.
pub(super) fn time<'a>(time: Time) -> CowVal<'a, 'a> {
    let moment = chrono(time);
    CowVal::owned(CelTimestamp::from(moment))
}

/// Lends an event's data to one evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lender<'a> {
    /// Whether objects are copied into CEL's own maps: a map literal can only be compared with those.
    pub(super) is_eager: bool,
    /// What each value is paid from. When it is spent, values are withheld.
    pub(super) meter: &'a Meter,
}

impl<'a> Lender<'a> {
    /// A JSON value.
    pub(super) fn json(self, value: &'a Value) -> CowVal<'a, 'a> {
        CowVal::Owned(self.lend(value))
    }

    /// An event: its attributes and its data.
    pub(super) fn event(self, event: &'a Event) -> CowVal<'a, 'a> {
        CowVal::owned(EventVal { event, lender: self })
    }

    fn lend(self, value: &'a Value) -> Box<dyn Val + 'a> {
        let is_paid = match value {
            Value::String(text) => self.meter.spend_text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => self.meter.spend(1),
        };
        if !is_paid {
            return Box::new(Withheld(&TOO_COSTLY));
        }
        match value {
            Value::Null => Box::new(CelNull),
            Value::Bool(bool) => Box::new(CelBool::from(*bool)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Box::new(CelInt::from(int)),
                (None, Some(uint)) => Box::new(CelUInt::from(uint)),
                (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
            },
            Value::String(text) => Box::new(CelString::from(text.as_str())),
            Value::Array(items) if items.len() > LIST_ITEMS_MAX => Box::new(Withheld(&TOO_LONG)),
            Value::Array(items) => {
                let items: Vec<Box<dyn Val + 'a>> = items.iter().map(|item| self.lend(item)).collect();
                Box::new(CelList::from(items))
            }
            Value::Object(map) if self.is_eager => {
                let map: std::collections::HashMap<_, _> = map
                    .iter()
                    .map(|(key, value)| (CelMapKey::String(CelString::from(key.as_str())), self.lend(value)))
                    .collect();
                Box::new(CelMap::from(map))
            }
            Value::Object(map) => Box::new(MapVal { map, lender: self, keys: OnceLock::new() }),
        }
    }
}

/// An object, lent. Its values become CEL's own when they are asked for.
#[derive(Debug)]
struct MapVal<'a> {
    map: &'a Map<String, Value>,
    lender: Lender<'a>,
    keys: OnceLock<Vec<CelString<'a>>>,
}

/// An event, lent.
#[derive(Clone, Copy, Debug)]
struct EventVal<'a> {
    event: &'a Event,
    lender: Lender<'a>,
}

/// A value beyond a bound: whatever an expression does with it is an error that says so in the name of its type.
#[derive(Clone, Copy, Debug)]
struct Withheld(&'static Type);

fn key_of(key: &dyn Val) -> Result<&str, ExecutionError> {
    key.downcast_ref::<CelString<'_>>().map(CelString::inner).ok_or_else(|| ExecutionError::UnexpectedType {
        got: key.get_type().name().to_owned(),
        want: "string".to_owned(),
    })
}

fn no_such_key(key: &str) -> ExecutionError {
    ExecutionError::NoSuchKey(Arc::new(key.to_owned()))
}

impl<'a> MapVal<'a> {
    fn field(&self, key: &dyn Val) -> Result<Box<dyn Val + 'a>, ExecutionError> {
        let key = key_of(key)?;
        self.map.get(key).map(|value| self.lender.lend(value)).ok_or_else(|| no_such_key(key))
    }
}

impl Val for MapVal<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn into_indexer<'w>(self: Box<Self>) -> Option<Box<dyn Indexer + 'w>>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }

    /// Equal to any map with the same keys and equal values, ours or CEL's own.
    fn equals(&self, other: &dyn Val) -> bool {
        let (Some(other_size), Some(other)) = (other.as_sizer(), other.as_indexer()) else {
            return false;
        };
        *other_size.size().inner() == *self.size().inner()
            && self.map.iter().all(|(key, value)| {
                other.get(&CelString::from(key.as_str())).is_ok_and(|there| self.lender.lend(value).equals(&*there))
            })
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(Self { map: self.map, lender: self.lender, keys: OnceLock::new() })
    }
}

impl Container for MapVal<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        key_of(key).map(|key| self.map.contains_key(key))
    }
}

impl Indexer for MapVal<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.field(key).map(|value| CowVal::Owned(value as Box<dyn Val + 'w>))
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.field(key).map(|value| value as Box<dyn Val + 'w>)
    }
}

impl<'a> Iterable for MapVal<'a> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn ValIterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let keys = self.keys.get_or_init(|| self.map.keys().map(|key| CelString::from(key.as_str())).collect());
        Box::new(Keys(keys.iter()))
    }
}

struct Keys<'b, 'a>(std::slice::Iter<'b, CelString<'a>>);

impl<'b, 'a: 'w, 'w> ValIterator<'b, 'w> for Keys<'b, 'a> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|key| key as &(dyn Val + 'w))
    }
}

impl Sizer for MapVal<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.map.len()).unwrap_or(i64::MAX))
    }
}

impl Zeroer for MapVal<'_> {
    fn is_zero_value(&self) -> bool {
        self.map.is_empty()
    }
}

impl<'a> EventVal<'a> {
    fn field(&self, key: &dyn Val) -> Result<Box<dyn Val + 'a>, ExecutionError> {
        let event = self.event;
        let key = key_of(key)?;
        let text = match key {
            "data" => return Ok(self.lender.lend(event.json())),
            "time" => return Ok(Box::new(CelTimestamp::from(chrono(event.time)))),
            "id" => Some(&*event.id),
            "source" => Some(&*event.source),
            "type" => Some(&*event.kind),
            "subject" => event.subject.as_deref(),
            "datacontenttype" => event.content_type.as_deref(),
            other => event.extension(other),
        };
        text.map(|text| Box::new(CelString::from(text)) as Box<dyn Val + 'a>).ok_or_else(|| no_such_key(key))
    }
}

impl Val for EventVal<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn into_indexer<'w>(self: Box<Self>) -> Option<Box<dyn Indexer + 'w>>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(*self)
    }
}

impl Container for EventVal<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.field(key).is_ok())
    }
}

impl Indexer for EventVal<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.field(key).map(|value| CowVal::Owned(value as Box<dyn Val + 'w>))
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.field(key).map(|value| value as Box<dyn Val + 'w>)
    }
}

static TOO_LONG: Type = Type::new_unspecified_type("list of more than 10000 items");
static TOO_COSTLY: Type = Type::new_unspecified_type("value beyond the steps of an evaluation");

impl Val for Withheld {
    fn get_type(&self) -> &Type {
        self.0
    }

    fn cel_type() -> &'static Type {
        &TOO_LONG
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(*self)
    }
}

fn chrono(time: Time) -> chrono::DateTime<chrono::FixedOffset> {
    chrono::DateTime::from_timestamp_micros(time.0).unwrap_or_default().fixed_offset()
}
