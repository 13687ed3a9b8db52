//! What a store holds for its guest: its WASI, its limits, its log, and its doors.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use trapjaw_engine::ports::{Activity, CallLog, Failure, Hands, LogLevel, LogLine, Past};

use crate::limiter::Limiter;
use crate::settings::{LOG_BYTES_MAX, LOG_LINES_MAX, Limits};
use crate::text;
use crate::wasi::{Wasi, WasiOf};

/// The data of one store. All of it is of one call but for what the guest itself keeps from call to call: its handles
/// in WASI's table, and the sum of its memories.
pub(crate) struct Guest {
    pub(crate) wasi: Wasi,
    pub(crate) limiter: Limiter,
    pub(crate) log: Log,
    pub(crate) doors: Doors,
}

impl Guest {
    pub(crate) fn new(wasi: WasiOf, limits: &Limits, doors: Doors) -> Self {
        Self { wasi: Wasi::new(wasi), limiter: Limiter::new(limits.memory_bytes_max), log: Log::default(), doors }
    }

    /// What is kept of a call.
    pub(crate) fn take_log(&mut self) -> CallLog {
        let Log { lines, n_dropped, bytes: _ } = std::mem::take(&mut self.log);
        CallLog { lines, n_dropped, stderr: self.wasi.stderr() }
    }

    /// Lets go of all that the call was given, so that a guest that waits for another keeps no event and no store alive.
    pub(crate) fn rest(&mut self) {
        self.wasi.rest();
        self.doors = Doors::shut();
    }

    /// Begins another call of the guest.
    pub(crate) fn renew(&mut self, wasi: WasiOf, doors: Doors) {
        self.wasi.renew(wasi);
        self.log = Log::default();
        self.doors = doors;
    }
}

/// What the guest may ask of the host, and how much of it it has asked.
pub(crate) struct Doors {
    pub(crate) trigger: Arc<str>,
    pub(crate) subject: Arc<str>,
    pub(crate) past: Arc<dyn Past>,
    /// None for a condition, which has no effects.
    pub(crate) hands: Option<Arc<dyn Hands>>,
    pub(crate) n_lookups: u32,
    pub(crate) n_sends: u32,
    pub(crate) n_sends_max: u32,
    pub(crate) n_state_calls: u32,
    pub(crate) state_bytes: usize,
}

impl Doors {
    /// Those of a guest that nobody calls.
    fn shut() -> Self {
        static NOWHERE: LazyLock<Arc<Nowhere>> = LazyLock::new(|| Arc::new(Nowhere));
        Self::of_condition(Arc::default(), Arc::default(), Arc::<Nowhere>::clone(&NOWHERE))
    }

    pub(crate) fn of_condition(trigger: Arc<str>, subject: Arc<str>, past: Arc<dyn Past>) -> Self {
        let hands = None;
        Self {
            trigger,
            subject,
            past,
            hands,
            n_lookups: 0,
            n_sends: 0,
            n_sends_max: 0,
            n_state_calls: 0,
            state_bytes: 0,
        }
    }

    pub(crate) fn of_action(trigger: Arc<str>, subject: Arc<str>, hands: Arc<dyn Hands>, limits: &Limits) -> Self {
        let past: Arc<dyn Past> = Arc::<dyn Hands>::clone(&hands);
        let doors = Self::of_condition(trigger, subject, past);
        Self { hands: Some(hands), n_sends_max: limits.n_sends_max, ..doors }
    }
}

/// Where shut doors lead.
struct Nowhere;

#[async_trait]
impl Past for Nowhere {
    async fn activity(&self, _: &str, _: &str) -> Result<Activity, Failure> {
        Err(Failure::permanent("the guest is not being called"))
    }
}

/// The guest's log, bounded.
#[derive(Default)]
pub(crate) struct Log {
    lines: Vec<LogLine>,
    bytes: usize,
    n_dropped: u32,
}

impl Log {
    /// Appends a line. The one that reaches the limit is cut; those beyond are only counted.
    pub(crate) fn push(&mut self, level: LogLevel, message: &str) {
        if self.lines.len() >= LOG_LINES_MAX || self.bytes >= LOG_BYTES_MAX {
            self.n_dropped = self.n_dropped.saturating_add(1);
            return;
        }
        let mut line = String::new();
        if text::escape_into(&mut line, message, &[], LOG_BYTES_MAX - self.bytes) {
            self.bytes += line.len();
        } else {
            self.bytes = LOG_BYTES_MAX;
            line.push('…');
        }
        self.lines.push(LogLine { level, text: line });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_in_lines() {
        let mut log = Log::default();
        for n in 0..LOG_LINES_MAX + 3 {
            log.push(LogLevel::Info, &format!("line {n}\n"));
        }
        assert_eq!((log.lines.len(), log.n_dropped), (LOG_LINES_MAX, 3));
        assert_eq!(log.lines[1].text, "line 1\\n");
    }

    #[test]
    fn the_log_is_bounded_in_bytes() {
        let mut log = Log::default();
        let line = "x".repeat(LOG_BYTES_MAX - 10);
        for _ in 0..3 {
            log.push(LogLevel::Warn, &line);
        }
        assert_eq!((log.lines.len(), log.n_dropped), (2, 1));
        assert_eq!(log.lines[1].text, format!("{}…", "x".repeat(10)));
    }
}
