//! Lines for the run's log: `log::info(format_args!("{n} rows"))`.
//!
//! The host bounds their number and length. Outside Trapjaw they go to stderr.

use std::fmt::Display;

use crate::bindings::log::Level;

/// Appends a line that matters only while looking for a fault.
pub fn debug(message: impl Display) {
    write(Level::Debug, &message);
}

/// Appends a line about the normal course of things.
pub fn info(message: impl Display) {
    write(Level::Info, &message);
}

/// Appends a line about something odd that the plugin could handle.
pub fn warn(message: impl Display) {
    write(Level::Warn, &message);
}

/// Appends a line about something that went wrong.
pub fn error(message: impl Display) {
    write(Level::Error, &message);
}

#[cfg(target_family = "wasm")]
fn write(level: Level, message: &dyn Display) {
    crate::bindings::log::write(level, &message.to_string());
}

#[cfg(not(target_family = "wasm"))]
fn write(level: Level, message: &dyn Display) {
    eprintln!("{level:?}: {message}");
}
