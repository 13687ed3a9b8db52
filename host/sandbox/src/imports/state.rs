//! `state`: small durable values of the plugin and trigger.

use std::sync::Arc;
use std::time::Duration;

use trapjaw_engine::limits::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use trapjaw_engine::ports::{Failure, Hands, StateOp};

use super::to_guest;
use crate::bindings::state::Host;
use crate::bindings::types;
use crate::guest::{Doors, Guest};
use crate::settings::{STATE_BYTES_MAX, STATE_CALLS_MAX};
use crate::text;

impl Host for Guest {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, types::Failure> {
        let hands = admit(&mut self.doors, &key, &[]).map_err(to_guest)?;
        hands.state_get(&key).await.map_err(to_guest)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_s: Option<u32>) -> Result<(), types::Failure> {
        let hands = admit(&mut self.doors, &key, &value).map_err(to_guest)?;
        let ttl = ttl_s.map(|s| Duration::from_secs(s.into()));
        hands.state_change(StateOp::Set { key, value, ttl }).await.map(|_| ()).map_err(to_guest)
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, types::Failure> {
        let hands = admit(&mut self.doors, &key, &value).map_err(to_guest)?;
        let op = StateOp::CompareAndSet { key, expected, value };
        hands.state_change(op).await.map(|answer| answer != 0).map_err(to_guest)
    }

    async fn increment(&mut self, key: String, by: i64) -> Result<i64, types::Failure> {
        let hands = admit(&mut self.doors, &key, &[]).map_err(to_guest)?;
        hands.state_change(StateOp::Increment { key, by }).await.map_err(to_guest)
    }

    async fn remove(&mut self, key: String) -> Result<(), types::Failure> {
        let hands = admit(&mut self.doors, &key, &[]).map_err(to_guest)?;
        hands.state_change(StateOp::Remove { key }).await.map(|_| ()).map_err(to_guest)
    }
}

/// Counts the use and checks the sizes, before anything of it is kept.
fn admit(doors: &mut Doors, key: &str, value: &[u8]) -> Result<Arc<dyn Hands>, Failure> {
    let Some(hands) = &doors.hands else {
        return Err(Failure::rejected("a condition has no state"));
    };
    if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
        return Err(Failure::permanent(format!("a key has 1 to {}", text::bytes(STATE_KEY_BYTES_MAX))));
    }
    if value.len() > STATE_VALUE_BYTES_MAX {
        return Err(Failure::permanent(format!("value over the limit of {}", text::bytes(STATE_VALUE_BYTES_MAX))));
    }
    if doors.n_state_calls == STATE_CALLS_MAX {
        return Err(Failure::permanent(format!("over the limit of {STATE_CALLS_MAX} uses of the state a call")));
    }
    if doors.state_bytes + key.len() + value.len() > STATE_BYTES_MAX {
        let most = text::bytes(STATE_BYTES_MAX);
        return Err(Failure::permanent(format!("over the limit of {most} written to the state a call")));
    }
    doors.n_state_calls += 1;
    doors.state_bytes += key.len() + value.len();
    Ok(Arc::clone(hands))
}
