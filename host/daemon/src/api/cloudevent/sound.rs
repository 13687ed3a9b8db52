//! Makes sure that JSON text can be read, without building anything of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads the text from end to end as a parser into trees would: what it cannot take (a lone surrogate, a number that
/// no float holds) would be found only after we had said that the event is safe.
pub(crate) fn check(text: &str) -> serde_json::Result<()> {
    serde_json::from_str::<Sound>(text).map(|Sound| ())
}

struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_the_parser_into_trees() {
        for text in [
            "1",
            "\"x\"",
            "null",
            "[1, {\"a\": [true, 1.5e300]}]",
            "{\"\\u0061\": \"\\ud83d\\ude00\"}",
            "9007199254740993",
            "1e999",
            "\"\\ud800\"",
            "{\"\\ud800\": 1}",
            "[1,]",
            "",
            "{",
            "tru",
            "[1] 2",
            "\"\n\"",
            "01",
            "-",
            "123456789012345678901234567890",
        ] {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(check(text).is_ok(), expected, "{text}");
        }
    }
}
