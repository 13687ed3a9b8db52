//! Why a call gave no answer, read from the runtime's error.

use std::time::Duration;

use trapjaw_engine::limits::DETAIL_BYTES_MAX;
use trapjaw_engine::ports::{CallError, Failure};
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::engine;
use crate::settings::{HANDED_BYTES_MAX, LOOKUPS_MAX, Limits, TABLE_ELEMENTS_MAX};
use crate::text;

/// Why the host stopped a guest. It travels through the guest's frames as the error of whatever the guest was doing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("over its thread time")]
    Cpu,
    #[error("over its memory")]
    Memory,
    #[error("over its table elements")]
    Tables,
    #[error("over its look-ups")]
    Lookups,
    /// A host function without an error of its own failed.
    #[error("{0}")]
    Door(Failure),
}

/// How far a call had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The instance was being made; a start function may have run.
    Instantiate,
    /// The guest's function was called.
    Call,
}

/// Reads the runtime's error.
pub(crate) fn read(err: &wasmtime::Error, stage: Stage, limits: &Limits) -> CallError {
    let frames = err.downcast_ref::<WasmBacktrace>();
    let backtrace = frames.map(backtrace_text).unwrap_or_default();
    if let Some(stop) = err.downcast_ref::<Stop>() {
        return match stop_text(stop, limits) {
            Ok(message) => CallError::Limit { message, backtrace },
            Err(failure) => CallError::Failed(failure),
        };
    }
    if let Some(I32Exit(status)) = err.downcast_ref() {
        return CallError::Trap { message: format!("exit with status {status}"), backtrace };
    }
    match err.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            let message = format!("stack, {}", text::bytes(engine::STACK_BYTES));
            return CallError::Limit { message, backtrace };
        }
        Some(trap) => {
            let message = trap.to_string();
            return CallError::Trap { message: message.trim_start_matches("wasm trap: ").into(), backtrace };
        }
        None => {}
    }
    let cause = text::cut(err.root_cause().to_string(), DETAIL_BYTES_MAX);
    // The runtime keeps this error's type to itself; a test notices when its words change.
    if cause.contains("fuel allocated for hostcalls") {
        let message = format!("bytes handed to the host at a time, {}", text::bytes(HANDED_BYTES_MAX));
        return CallError::Limit { message, backtrace };
    }
    match (stage, frames) {
        (Stage::Instantiate, None) => CallError::Host(cause),
        (Stage::Instantiate | Stage::Call, _) => CallError::Trap { message: cause, backtrace },
    }
}

/// The error of a call that took too long on the wall. Where the guest was is not known: it is gone.
pub(crate) fn over_wall(limits: &Limits) -> CallError {
    let message = format!("time on the wall, {}", span(limits.wall));
    CallError::Limit { message, backtrace: String::new() }
}

fn stop_text(stop: &Stop, limits: &Limits) -> Result<String, Failure> {
    Ok(match stop {
        Stop::Cpu => format!("thread time, {}", span(limits.cpu)),
        Stop::Memory => format!("memory, {}", text::bytes(limits.memory_bytes_max)),
        Stop::Tables => format!("table elements, {TABLE_ELEMENTS_MAX}"),
        Stop::Lookups => format!("look-ups in the ledger, {LOOKUPS_MAX}"),
        Stop::Door(failure) => return Err(failure.clone()),
    })
}

fn span(span: Duration) -> String {
    trapjaw_engine::time::format_span(span)
}

/// One line a function, innermost first. Files and addresses are left out: they are of the machine that built the
/// component.
fn backtrace_text(backtrace: &WasmBacktrace) -> String {
    let names = backtrace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => readable(name),
        None => {
            let module = frame.module().name().unwrap_or("module");
            format!("{module}, function {}", frame.func_index())
        }
    });
    lines(names)
}

/// The names, numbered; a function that calls itself stands there once.
fn lines(names: impl Iterator<Item = String>) -> String {
    let mut runs: Vec<(usize, String, usize)> = Vec::new();
    for (n, name) in names.enumerate() {
        match runs.last_mut() {
            Some((_, last, n_times)) if *last == name => *n_times += 1,
            Some(_) | None => runs.push((n, name, 1)),
        }
    }
    let mut out = String::new();
    for (n, name, n_times) in runs {
        let times = if n_times == 1 { String::new() } else { format!(" ({n_times} times)") };
        if !text::escape_into(&mut out, &format!("{n}: {name}{times}\n"), &['\n'], DETAIL_BYTES_MAX) {
            break;
        }
    }
    out
}

/// A function's name as its author wrote it, without the hash that Rust appends.
fn readable(name: &str) -> String {
    if let Ok(name) = rustc_demangle::try_demangle(name) {
        return format!("{name:#}");
    }
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => path.into(),
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_authors_wrote_them() {
        let check = |name: &str, expected: &str| assert_eq!(readable(name), expected);
        check("_RNvCs6bnvM123QHT_14hostile_common4spin", "hostile_common::spin");
        check("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic");
        check("core::panicking::panic::h0123456789abcdef", "core::panicking::panic");
        check("core::panicking::help", "core::panicking::help");
        check("cabi_realloc", "cabi_realloc");
    }

    #[test]
    fn repeated_frames_stand_once() {
        let names = ["a", "b", "b", "b", "c\n"].map(String::from).into_iter();
        assert_eq!(lines(names), "0: a\n1: b (3 times)\n4: c\n\n");
    }
}
