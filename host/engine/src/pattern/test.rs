//! What a pattern says of one value, and whether it holds.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde_json::Value;

use super::{Leaf, Scalar, Test};

impl Test {
    /// Whether the test holds for a value that is there.
    pub(super) fn holds(&self, leaf: Leaf<'_>) -> bool {
        match self {
            Self::Exact(wanted) => wanted.is(leaf),
            Self::Prefix(prefix) => leaf.text().is_some_and(|text| text.starts_with(&**prefix)),
            Self::Suffix(suffix) => leaf.text().is_some_and(|text| text.ends_with(&**suffix)),
            Self::PrefixIgnoreCase(prefix) => {
                leaf.text().is_some_and(|text| text.to_lowercase().starts_with(&**prefix))
            }
            Self::SuffixIgnoreCase(suffix) => leaf.text().is_some_and(|text| text.to_lowercase().ends_with(&**suffix)),
            Self::EqualsIgnoreCase(wanted) => leaf.text().is_some_and(|text| text.to_lowercase() == **wanted),
            Self::Wildcard(parts) => leaf.text().is_some_and(|text| wildcard(parts, text)),
            Self::AnythingBut(tests) => !tests.iter().any(|test| test.holds(leaf)),
            Self::Numeric { low, high } => leaf.number().is_some_and(|number| {
                low.is_none_or(|(low, inclusive)| within(number.compare(low), Ordering::Greater, inclusive))
                    && high.is_none_or(|(high, inclusive)| within(number.compare(high), Ordering::Less, inclusive))
            }),
            Self::Cidr(net) => {
                leaf.text().and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|ip| net.contains(&ip))
            }
            // Whether a value is there at all is the clause's to say.
            Self::Exists(_) => false,
        }
    }
}

fn within(ordering: Option<Ordering>, wanted: Ordering, inclusive: bool) -> bool {
    ordering == Some(wanted) || (inclusive && ordering == Some(Ordering::Equal))
}

/// The parts of the pattern stand between its `*`: the first begins the text, the last ends it, the others follow one
/// another. Taking each at its first place is enough, so the time grows with the text and not with the ways to match.
fn wildcard(parts: &[Box<str>], text: &str) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| **only == *text);
    };
    let Some(mut rest) = text.strip_prefix(&**first) else {
        return false;
    };
    for part in middle {
        match rest.find(&**part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(&**last)
}

impl Leaf<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(Value::String(text)) => Some(text),
            Self::Json(_) => None,
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Json(Value::Number(number)) => Number::of(number),
            Self::Json(Value::String(text)) => Number::parse(text),
            Self::Text(text) => Number::parse(text),
            Self::Json(_) => None,
        }
    }
}

/// A number without loss: what fits an integer stays one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    pub(super) fn of(number: &serde_json::Number) -> Option<Self> {
        number.as_i64().map(Self::Int).or_else(|| number.as_f64().map(Self::float))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(int) = text.parse() {
            return Some(Self::Int(int));
        }
        text.parse::<f64>().ok().filter(|float| float.is_finite()).map(Self::float)
    }

    /// `300.0` is 300: a float that is a whole number below 2⁵³ is taken for the integer.
    fn float(float: f64) -> Self {
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if float.fract() == 0.0 && float.abs() <= EXACT_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2⁵³")]
            return Self::Int(float as i64);
        }
        Self::Float(float)
    }

    fn compare(self, other: Self) -> Option<Ordering> {
        #[expect(clippy::cast_precision_loss, reason = "only beside a float, which is no more precise")]
        let float = |number| match number {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        };
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Int(_) | Self::Float(_), Self::Int(_) | Self::Float(_)) => float(self).partial_cmp(&float(other)),
        }
    }
}

impl Scalar {
    /// The scalar of a JSON value; none for lists and objects.
    pub(super) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => match Number::of(number)? {
                Number::Int(int) => Self::Int(int),
                Number::Float(float) => Self::Float(float.to_bits()),
            },
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => return None,
        })
    }

    /// Whether the value is this one, without building a scalar of it.
    fn is(&self, leaf: Leaf<'_>) -> bool {
        match (self, leaf) {
            (Self::Text(wanted), _) => leaf.text() == Some(wanted),
            (Self::Null, Leaf::Json(Value::Null)) => true,
            (Self::Bool(wanted), Leaf::Json(Value::Bool(bool))) => wanted == bool,
            (Self::Int(_) | Self::Float(_), Leaf::Json(value @ Value::Number(_))) => {
                Self::of(value).as_ref() == Some(self)
            }
            (Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_), Leaf::Json(_) | Leaf::Text(_)) => false,
        }
    }
}
