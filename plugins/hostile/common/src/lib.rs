//! The misdeeds that the hostile condition and the hostile action share.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use trapjaw_sdk::{Failure, Value, json, log};

/// Which misdeed, and how much of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The misdeed.
    pub r#do: Misdeed,
    /// Lines, bytes, sends, or milliseconds, as the misdeed counts; each has its default.
    pub amount: Option<u64>,
}

/// What to do wrong, or what to report.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Misdeed {
    Nothing,
    Spin,
    Trap,
    Panic,
    Recurse,
    Grow,
    LogFlood,
    Sleep,
    BigOutput,
    InvalidJson,
    ManySends,
    UngrantedLabel,
    StateFlood,
    ResumeAt,
    Skip,
    FailTransient,
    FailPermanent,
    FailRejected,
    BigFailure,
    Env,
    File,
    Clock,
    Remember,
}

/// What is left to the caller.
pub enum Done {
    /// What there is to report, for the reason or the output.
    Report(Value),
    /// Only the condition or the action can do it.
    Yours(u64),
}

const PIECE_BYTES: usize = 1 << 20;
const DEFAULT_LINES: u64 = 100_000;
const DEFAULT_BYTES: u64 = 64 << 20;
const DEFAULT_TIMES: u64 = 10_000;
const DEFAULT_SLEEP_MS: u64 = 3_600_000;

/// Does what both kinds of plugin can do; most of it does not come back.
pub fn commit(config: &Config) -> Result<Done, Failure> {
    let amount = |default: u64| config.amount.unwrap_or(default);
    let report = match config.r#do {
        Misdeed::Nothing => json!("nothing"),
        Misdeed::Spin => spin(),
        Misdeed::Trap => trap(),
        Misdeed::Panic => panic(),
        Misdeed::Recurse => json!(recurse(0)),
        Misdeed::Grow => grow(),
        Misdeed::LogFlood => flood_log(amount(DEFAULT_LINES)),
        Misdeed::Sleep => sleep(amount(DEFAULT_SLEEP_MS)),
        Misdeed::BigOutput => Value::String("x".repeat(size(amount(DEFAULT_BYTES)))),
        Misdeed::FailTransient => {
            return Err(Failure::transient("told to fail").after(Duration::from_millis(amount(50))));
        }
        Misdeed::FailPermanent => return Err(Failure::permanent("told to fail")),
        Misdeed::FailRejected => return Err(Failure::rejected("told to fail")),
        Misdeed::BigFailure => {
            return Err(Failure::permanent("x".repeat(size(amount(DEFAULT_BYTES)))));
        }
        Misdeed::Env => environment(),
        Misdeed::File => files(),
        Misdeed::Clock => clocks(),
        Misdeed::Remember => remember(),
        Misdeed::InvalidJson
        | Misdeed::ManySends
        | Misdeed::UngrantedLabel
        | Misdeed::StateFlood
        | Misdeed::ResumeAt
        | Misdeed::Skip => return Ok(Done::Yours(amount(DEFAULT_TIMES))),
    };
    Ok(Done::Report(report))
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[cfg(target_family = "wasm")]
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_family = "wasm"))]
fn trap() -> ! {
    std::process::abort()
}

#[expect(clippy::panic, reason = "the misdeed")]
fn panic() -> ! {
    panic!("told to panic")
}

#[expect(unconditional_recursion, reason = "the misdeed")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(frame[7] + 1) + frame[9]
}

fn grow() -> ! {
    let mut pieces = Vec::new();
    loop {
        pieces.push(black_box(vec![1_u8; PIECE_BYTES]));
    }
}

fn flood_log(n_lines: u64) -> Value {
    for n in 0..n_lines {
        log::warn(format_args!("line {n} with a bell \u{7} and a line break\nof its own"));
        eprintln!("line {n} on stderr");
        println!("line {n} on stdout");
    }
    json!({"lines": n_lines})
}

fn sleep(wait_ms: u64) -> Value {
    let begin = Instant::now();
    std::thread::sleep(Duration::from_millis(wait_ms));
    json!({"slept_ms": begin.elapsed().as_millis().to_string()})
}

fn environment() -> Value {
    let variables: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    let arguments: Vec<String> = std::env::args().collect();
    json!({"variables": variables, "arguments": arguments})
}

fn files() -> Value {
    let passwd = match fs::read("/etc/passwd") {
        Ok(bytes) => format!("read {} bytes", bytes.len()),
        Err(err) => format!("refused: {err}"),
    };
    let root = match fs::read_dir("/") {
        Ok(entries) => format!("listed {} entries", entries.count()),
        Err(err) => format!("refused: {err}"),
    };
    let written = match fs::write("/tmp/trapjaw-hostile", "x") {
        Ok(()) => "written".to_owned(),
        Err(err) => format!("refused: {err}"),
    };
    json!({"passwd": passwd, "root": root, "written": written})
}

#[allow(clippy::disallowed_methods, reason = "what the guest's own clock shows is the question")]
fn clocks() -> Value {
    let wall_us = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_micros().to_string());
    let monotonic = Instant::now();
    let passed_ns = monotonic.elapsed().as_nanos().to_string();
    json!({
        "wall_us": wall_us.unwrap_or_else(|_| "before 1970".to_owned()),
        "passed_ns": passed_ns,
        // std seeds its hash maps from the host's randomness.
        "random": RandomState::new().hash_one(1_u8).to_string(),
    })
}

/// Which call of this instance it is.
fn remember() -> Value {
    static N_CALLS: AtomicU64 = AtomicU64::new(0);
    json!({"calls": N_CALLS.fetch_add(1, Ordering::Relaxed) + 1})
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
