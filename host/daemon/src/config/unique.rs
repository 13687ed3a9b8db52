//! JSON and YAML values in which nothing is said twice: a parser into trees keeps the last of two fields of one name,
//! and the first, which a person wrote too, would be gone without a word.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value in which each object names each of its fields once.
pub(crate) struct Unique(pub(crate) Value);

/// Reads objects by name, none of them twice.
pub(crate) fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Value>, D::Error> {
    deserializer.deserialize_map(ByName)
}

struct ByName;

impl<'de> Visitor<'de> for ByName {
    type Value = BTreeMap<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(read_map(map)?.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unique(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        read_map(map).map(Value::Object)
    }
}

fn read_map<'de, A: MapAccess<'de>>(mut access: A) -> Result<Map<String, Value>, A::Error> {
    let mut map = Map::new();
    while let Some(key) = access.next_key::<String>()? {
        let Unique(value) = access.next_value()?;
        if map.contains_key(&key) {
            return Err(de::Error::custom(format_args!("`{key}` is there twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let check = |text: &str, expected: bool| {
            let read = serde_json::from_str::<Unique>(text);
            assert_eq!(read.is_ok(), expected, "{text}");
            if let Ok(Unique(value)) = read {
                assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
            }
        };
        check(r#"{"a": [1, -1, 1.5, "x", null, true, {"b": 18446744073709551615}], "b": {"a": {}}}"#, true);
        check(r#"{"a": 1, "a": 1}"#, false);
        check(r#"[{"a": {"b": 1, "b": 2}}]"#, false);
        check(r#"{"a": 1, "\u0061": 1}"#, false);
    }

    #[test]
    fn yaml_is_read_as_json_is() {
        let text = "a: [1, -1, 1.5, x, null, true, 'on']\nb: {c: }\n";
        let Unique(value) = yaml_serde::from_str(text).unwrap();
        assert_eq!(value, yaml_serde::from_str::<Value>(text).unwrap());
        assert!(yaml_serde::from_str::<Unique>("a: {b: 1, b: 2}").is_err());
    }
}
