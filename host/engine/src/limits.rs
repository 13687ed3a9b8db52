//! The limits that have no setting, each with its reason.

use std::time::Duration;

/// The most bytes of a remote's answer that are kept with a send.
pub const RECEIPT_BYTES_MAX: usize = 64 << 10;
/// The most events of one call to intake.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// The most bytes of one call to intake.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// How far ahead of us an event's time may be: clocks differ, but not by more than a day.
pub const EVENT_AHEAD_MAX: Duration = Duration::from_secs(86_400);
/// How many events may cause one another before it counts as a loop.
pub const HOPS_MAX: u32 = 16;
/// The most subjects that one event may fan out to in one trigger.
pub const SUBJECTS_MAX: usize = 1_000;
/// The longest subject or ordering key, in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;
/// The most bytes of a rendered body, and of an action's output.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a definition in the store.
pub const DEFINITION_BYTES_MAX: usize = 256 << 10;
/// How often an action may ask to be called again later: neither tries nor errors, so they need an end of their own.
pub const RESUMES_MAX: u32 = 10_000;
/// The longest wait that a remote may ask for with `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// The longest text of an error, a reason or a backtrace that is kept with an attempt.
pub const DETAIL_BYTES_MAX: usize = 8 << 10;
/// How long judging before the append may take an event; what is undecided then is judged after it.
pub const JUDGE_BUDGET: Duration = Duration::from_millis(5);
/// How long judging after the append may take: a guest has limits of its own, and this one holds whatever they are.
pub const JUDGE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most tries of a judgement, for causes that may pass.
pub const JUDGE_TRIES_MAX: u32 = 5;
/// The most distinct values in a cap's window; a cap keeps the time of each run it counts.
pub const CAP_RUNS_MAX: u32 = 1_000;
/// The most rows of one page of any listing.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// The most bytes of one value of a plugin's state.
pub const STATE_VALUE_BYTES_MAX: usize = 64 << 10;
/// The most bytes of the name of a value of a plugin's state.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// The most values a plugin may keep for one trigger.
pub const STATE_KEYS_MAX: u32 = 10_000;
