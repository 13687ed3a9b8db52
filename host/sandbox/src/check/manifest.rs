//! What a component's author says of it: JSON, of which the sandbox itself heeds only `warm`.

use serde_json::Value;
use trapjaw_engine::event::{JSON_DEPTH_MAX, is_deeper};
use trapjaw_engine::ports::World;

use crate::text;
use crate::warm::USES_MAX;

/// The most bytes of a manifest.
pub(super) const BYTES_MAX: usize = 256 << 10;

/// Reads a manifest, or says what it is instead.
pub(super) fn read(data: &[u8]) -> Result<Value, String> {
    if data.len() > BYTES_MAX {
        return Err(format!("too large: {} bytes, and {} is the most", data.len(), text::bytes(BYTES_MAX)));
    }
    if is_deeper(data, JSON_DEPTH_MAX) {
        return Err(format!("nested deeper than {JSON_DEPTH_MAX}"));
    }
    serde_json::from_slice(data).map_err(|err| format!("is not JSON: {err}"))
}

/// How many calls an instance is to be called for, where the manifest asks; or what is wrong with how it asks.
pub(super) fn warm_uses(manifest: &Value, world: Option<World>) -> Result<Option<u32>, String> {
    let Some(warm) = manifest.get("warm") else {
        return Ok(None);
    };
    let only = warm.as_object().filter(|warm| warm.len() == 1).and_then(|warm| warm.get("uses"));
    let uses = only.and_then(Value::as_u64).and_then(|uses| u32::try_from(uses).ok());
    match uses {
        Some(1..=USES_MAX) if world == Some(World::Action) => {
            Err("manifest.warm: an action gets a fresh instance for every call; leave it out".into())
        }
        Some(1..=USES_MAX) => Ok(uses),
        Some(_) | None => {
            let form = "`\"warm\": {\"uses\": N}` and nothing else";
            Err(format!("manifest.warm.uses: a whole number from 1 to {USES_MAX} is expected, as {form}"))
        }
    }
}
