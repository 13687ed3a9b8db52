//! The ids of what the store keeps: a shard and a number inside, `evt_…`, `run_…` and `tsk_…` outside.

use std::fmt;
use std::str::FromStr;

/// What one store row is known by: the shard that owns it and its number there.
///
/// Numbers grow in commit order. One store has one shard for now; the place is kept so that ids need not change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The owning shard.
    pub shard: u8,
    /// The number within the shard, from 1.
    pub seq: i64,
}

/// The text is not an id of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read id: `{text}` is not of the form {prefix}_…")]
pub struct BadId {
    text: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Key);

        impl $name {
            /// The id with this number in the first shard.
            pub const fn of(seq: i64) -> Self {
                Self(Key { shard: 0, seq })
            }

            /// The number within the shard.
            pub const fn seq(self) -> i64 {
                self.0.seq
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_key(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(read_key)
                    .map(Self)
                    .ok_or_else(|| BadId { text: text.chars().take(64).collect(), prefix: $prefix })
            }
        }
    };
}

id!(
    /// An event.
    EventId,
    "evt"
);
id!(
    /// A run: one event, trigger and subject.
    RunId,
    "run"
);
id!(
    /// A task: one action of a run.
    TaskId,
    "tsk"
);

/// Crockford's base 32 in lower case: no letter that reads like a digit. Text order is number order.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 2 digits of shard and 13 of number.
const DIGITS_SHARD: usize = 2;
const DIGITS_SEQ: usize = 13;

fn write_key(key: Key, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [b'0'; DIGITS_SHARD + DIGITS_SEQ];
    let (mut shard, mut seq) = (usize::from(key.shard), key.seq.cast_unsigned());
    for digit in text[..DIGITS_SHARD].iter_mut().rev() {
        *digit = DIGITS[shard % 32];
        shard /= 32;
    }
    for digit in text[DIGITS_SHARD..].iter_mut().rev() {
        *digit = DIGITS[(seq % 32) as usize];
        seq /= 32;
    }
    f.write_str(std::str::from_utf8(&text).expect("the digits are ASCII"))
}

fn read_key(text: &str) -> Option<Key> {
    let text = text.as_bytes();
    if text.len() != DIGITS_SHARD + DIGITS_SEQ {
        return None;
    }
    let number = |part: &[u8]| {
        part.iter().try_fold(0u128, |sum, digit| {
            let value = DIGITS.iter().position(|d| d == digit)?;
            Some(sum * 32 + value as u128)
        })
    };
    Some(Key {
        shard: number(&text[..DIGITS_SHARD])?.try_into().ok()?,
        seq: number(&text[DIGITS_SHARD..])?.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        for seq in [1, 31, 32, 1_000_000, i64::MAX] {
            let run = RunId::of(seq);
            assert_eq!(run.to_string().parse(), Ok(run));
        }
        assert_eq!(EventId::of(33).to_string(), "evt_000000000000011");
    }

    #[test]
    fn text_order_is_number_order() {
        assert!(TaskId::of(31).to_string() < TaskId::of(32).to_string());
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in
            ["", "evt_", "run_000000000000011", "evt_00000000000001u", "evt_zzzzzzzzzzzzzzz", "evt_0000000000000111"]
        {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
