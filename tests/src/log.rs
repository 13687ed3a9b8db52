//! What the daemon logs, watched: an error that no test expects fails it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// The log of one daemon, over all its lives. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    errors: Vec<String>,
    expected: Vec<String>,
}

/// The most lines that are kept, errors aside.
const LINES_MAX: usize = 10_000;

impl Log {
    /// Takes a line.
    pub(crate) fn take(&self, line: String) {
        let mut lines = self.lock();
        if is_error(&line) {
            lines.errors.push(line.clone());
        }
        if lines.lines.len() < LINES_MAX {
            lines.lines.push(line);
        }
    }

    /// Expects errors with this text in them.
    pub fn expect(&self, text: &str) {
        self.lock().expected.push(text.to_owned());
    }

    /// Whether some line has this text in it.
    pub fn has(&self, text: &str) -> bool {
        self.lock().lines.iter().any(|line| line.contains(text))
    }

    /// The errors that nobody expects.
    pub fn unexpected(&self) -> Vec<String> {
        let lines = self.lock();
        let is_expected = |line: &String| lines.expected.iter().any(|text| line.contains(text));
        lines.errors.iter().filter(|line| !is_expected(line)).cloned().collect()
    }

    /// The last lines, for people.
    pub fn tail(&self, n_lines: usize) -> String {
        let lines = self.lock();
        let from = lines.lines.len().saturating_sub(n_lines);
        lines.lines[from..].join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a line is of level ERROR, or tells of a panic, which does not come through the logger.
fn is_error(line: &str) -> bool {
    let level = serde_json::from_str::<Value>(line).ok().and_then(|line| Some(line.get("level")? == "ERROR"));
    level.unwrap_or_else(|| line.contains(" ERROR ") || line.contains("panicked at"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_unless_expected() {
        let check = |line: &str, expected: bool| {
            let log = Log::default();
            log.expect("told");
            log.take(line.to_owned());
            assert_eq!(log.unexpected().is_empty(), !expected, "{line}");
        };
        check(r#"{"level":"ERROR","message":"x"}"#, true);
        check(r#"{"level":"ERROR","message":"as told"}"#, false);
        check(r#"{"level":"WARN","message":"an ERROR "}"#, false);
        check("thread 'main' panicked at src/main.rs:1:1:", true);
        check("2026-01-01T00:00:00Z ERROR x", true);
        check("note: run with RUST_BACKTRACE=1", false);
    }
}
