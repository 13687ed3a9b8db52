//! How much a rendering may give. The engine of templates counts steps and not bytes, so that a loop makes a hundred
//! megabytes of an event of thirty kilobytes; here the bytes are counted before they are kept.

use std::io;

use minijinja::value::{Value as Jinja, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use serde_json::Value;

use crate::event::EVENT_BYTES_MAX;

/// The most bytes that one rendering may give, the texts of a whole body together: all of an event, and as much again
/// around it.
pub const RENDERED_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX;
/// What is shorter is not counted where text is captured (`{% set x %}`): the engine's steps bound how many there are.
const COUNTED_BYTES_MIN: usize = 256;

/// What a rendering may still give. As a writer it keeps nothing and fails where there is nothing left.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
    is_exceeded: bool,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { left: RENDERED_BYTES_MAX, is_exceeded: false }
    }

    pub(super) fn spend(&mut self, n_bytes: usize) -> Result<(), String> {
        match self.left.checked_sub(n_bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.is_exceeded = true;
                Err(too_long())
            }
        }
    }

    /// What is said of a rendering that failed: that it was too long, if it was, and else `message`.
    pub(super) fn explain(&self, message: impl FnOnce() -> String) -> String {
        if self.is_exceeded { too_long() } else { message() }
    }
}

impl io::Write for Allowance {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.spend(bytes.len()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Text that is kept as far as it is allowed.
pub(super) struct Kept<'a> {
    pub(super) bytes: Vec<u8>,
    pub(super) allowance: &'a mut Allowance,
}

impl io::Write for Kept<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowance.spend(bytes.len()).map_err(io::Error::other)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn too_long() -> String {
    format!("gives more than {RENDERED_BYTES_MAX} bytes")
}

/// About how long a value is as JSON. Without the signs that escapes add, which need no memory here.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(name, value)| name.len() + 3 + size(value)).sum::<usize>(),
    }
}

/// The value of an expression. A list may be a recipe that has not been carried out yet, so it is counted before.
pub(super) fn json(value: &Jinja, allowance: &mut Allowance) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => allowance.spend(text.len() + 2).map_err(bad)?,
        None if is_small(value) => allowance.spend(8).map_err(bad)?,
        None => serde_json::to_writer(&mut *allowance, value).map_err(bad)?,
    }
    serde_json::to_value(value).map_err(bad)
}

/// The value as the text of JSON: the filter `tojson`.
pub(super) fn json_text(value: &Jinja) -> Result<String, Error> {
    let mut allowance = Allowance::new();
    let mut kept = Kept { bytes: Vec::new(), allowance: &mut allowance };
    serde_json::to_writer(&mut kept, value).map_err(bad)?;
    String::from_utf8(kept.bytes).map_err(bad)
}

/// How much a text has emitted. What is captured does not pass by its writer, and so is counted on its own.
struct Emitted(Allowance);

/// Writes a value into a text: texts as they are, anything else as JSON.
pub(super) fn emit(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        if text.len() >= COUNTED_BYTES_MIN {
            emitted(state).spend(text.len()).map_err(bad)?;
        }
        return out.write_str(text).map_err(Error::from);
    }
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if is_small(value) {
        let json = serde_json::to_value(value).map_err(bad)?;
        return write!(out, "{json}").map_err(Error::from);
    }
    serde_json::to_writer(Emitter { out, allowance: emitted(state) }, value).map_err(bad)
}

fn emitted<'a>(state: &'a mut State<'_, '_>) -> &'a mut Allowance {
    &mut state.get_or_insert_extension_with(|| Emitted(Allowance::new())).0
}

struct Emitter<'a, 'out> {
    out: &'a mut Output<'out>,
    allowance: &'a mut Allowance,
}

impl io::Write for Emitter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowance.spend(bytes.len()).map_err(io::Error::other)?;
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.out.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_small(value: &Jinja) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number)
}

fn bad(err: impl ToString) -> Error {
    Error::new(ErrorKind::BadSerialization, err.to_string())
}
