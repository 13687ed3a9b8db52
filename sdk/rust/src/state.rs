//! Small durable values of this plugin and trigger; written when the attempt succeeds, dropped otherwise.
//!
//! Failures: `permanent` is too large, or full; `rejected` is not granted; `transient` is a store that did not answer.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::call::read_json;

/// The bytes of this key.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Failure> {
    door::get(key)
}

/// The value of this key, read as JSON.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    let value = get(key)?;
    value.map(|bytes| read_json("read state", &bytes)).transpose()
}

/// Sets a value that stays.
pub fn set(key: &str, value: &[u8]) -> Result<(), Failure> {
    door::set(key, value, None)
}

/// Sets a value that is gone after this time, in whole seconds and at least one.
pub fn set_for(key: &str, value: &[u8], ttl: Duration) -> Result<(), Failure> {
    door::set(key, value, Some(ttl_seconds(ttl)))
}

/// Sets a value that stays, as JSON.
pub fn set_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Failure> {
    set(key, &serde_json::to_vec(value)?)
}

/// Sets the value when it is as expected (`None`: absent), and says whether it was.
pub fn compare_and_set(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Failure> {
    door::compare_and_set(key, expected, value)
}

/// Adds to a decimal number, from 0 when absent, and returns the sum.
pub fn increment(key: &str, by: i64) -> Result<i64, Failure> {
    door::increment(key, by)
}

/// Removes the key; nothing happens when it is absent.
pub fn remove(key: &str) -> Result<(), Failure> {
    door::remove(key)
}

fn ttl_seconds(ttl: Duration) -> u32 {
    u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX).max(1)
}

#[cfg(target_family = "wasm")]
use crate::bindings::state as door;

#[cfg(not(target_family = "wasm"))]
mod door {
    //! A unit test on the host has no store behind it.

    use crate::Failure;

    pub(super) fn get(_key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Err(closed())
    }

    pub(super) fn set(_key: &str, _value: &[u8], _ttl_s: Option<u32>) -> Result<(), Failure> {
        Err(closed())
    }

    pub(super) fn compare_and_set(_key: &str, _expected: Option<&[u8]>, _value: &[u8]) -> Result<bool, Failure> {
        Err(closed())
    }

    pub(super) fn increment(_key: &str, _by: i64) -> Result<i64, Failure> {
        Err(closed())
    }

    pub(super) fn remove(_key: &str) -> Result<(), Failure> {
        Err(closed())
    }

    fn closed() -> Failure {
        Failure::rejected("use state: no store outside Trapjaw")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ttl: Duration, expected_s: u32) {
        assert_eq!(ttl_seconds(ttl), expected_s);
    }

    #[test]
    fn a_time_to_live_is_whole_seconds_and_never_none() {
        check(Duration::ZERO, 1);
        check(Duration::from_millis(2_900), 2);
        check(Duration::MAX, u32::MAX);
    }
}
