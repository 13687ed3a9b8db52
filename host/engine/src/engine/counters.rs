//! What is counted, for metrics and for the operator's one screen.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Engine;
use crate::deliver::DoorView;
use crate::dispatch::LaneView;
use crate::drive::Note;
use crate::id::{RunId, TaskId};
use crate::intake::Accepted;
use crate::record::{AttemptResult, TaskState};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    runs: AtomicU64,
    runs_ended: AtomicU64,
    judged_later: AtomicU64,
    succeeded: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    cancelled: AtomicU64,
    resumed: AtomicU64,
    in_memory_runs: AtomicU64,
    in_memory_bytes: AtomicU64,
}

/// How the engine stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Events that were taken.
    pub n_accepted: u64,
    /// Events that were there already.
    pub n_duplicates: u64,
    /// Runs that began.
    pub n_runs: u64,
    /// Judgements after the append.
    pub n_judged_later: u64,
    /// Attempts that succeeded.
    pub n_succeeded: u64,
    /// Attempts whose action had nothing to do.
    pub n_skipped: u64,
    /// Attempts that failed and are made again.
    pub n_failed: u64,
    /// Tasks that became dead letters.
    pub n_dead: u64,
    /// Tasks that were cancelled.
    pub n_cancelled: u64,
    /// Attempts whose action asked to be called again later.
    pub n_resumed: u64,
    /// Runs with open work in memory.
    pub n_open_in_memory: u64,
    /// About how many bytes they hold.
    pub open_bytes_in_memory: u64,
    /// The connections that were used.
    pub connections: Vec<DoorView>,
    /// The triggers with open work.
    pub lanes: Vec<LaneView>,
}

impl Counters {
    pub(crate) fn accepted(&self, accepted: &Accepted, n_runs: usize) {
        self.accepted.fetch_add(u64::from(accepted.accepted), Ordering::Relaxed);
        self.duplicates.fetch_add(u64::from(accepted.duplicates), Ordering::Relaxed);
        self.runs.fetch_add(n_runs as u64, Ordering::Relaxed);
    }

    /// Runs that were open before this start, or that a person put back to work.
    pub(crate) fn reopened(&self, n_runs: usize) {
        self.runs_ended.fetch_sub(n_runs as u64, Ordering::Relaxed);
    }

    /// A run has ended.
    pub(crate) fn ended(&self) {
        self.runs_ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn judged(&self) {
        self.judged_later.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn settled(&self, result: AttemptResult) {
        let counter = match result {
            AttemptResult::Succeeded => &self.succeeded,
            AttemptResult::Skipped => &self.skipped,
            AttemptResult::Resumed | AttemptResult::Redriven => &self.resumed,
            AttemptResult::Failed => &self.failed,
            AttemptResult::Dead => &self.dead,
            AttemptResult::Cancelled => &self.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn open_in_memory(&self, n_runs: usize, bytes: usize) {
        self.in_memory_runs.store(n_runs as u64, Ordering::Relaxed);
        self.in_memory_bytes.store(bytes as u64, Ordering::Relaxed);
    }

    /// About how many runs are open: those that began or were found open, less those that ended.
    pub(crate) fn n_open(&self) -> u64 {
        // Those that were reopened make the second count wrap below zero.
        let n_open = self.runs.load(Ordering::Relaxed).wrapping_sub(self.runs_ended.load(Ordering::Relaxed));
        // Between an end and its append's own count the difference is negative for a moment.
        if n_open > u64::MAX / 2 { 0 } else { n_open }
    }
}

impl Engine {
    /// How the engine stands.
    pub async fn status(&self) -> Status {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (answer, lanes) = tokio::sync::oneshot::channel();
        self.tell(Note::View(answer)).await;
        Status {
            n_accepted: read(&counters.accepted),
            n_duplicates: read(&counters.duplicates),
            n_runs: read(&counters.runs),
            n_judged_later: read(&counters.judged_later),
            n_succeeded: read(&counters.succeeded),
            n_skipped: read(&counters.skipped),
            n_failed: read(&counters.failed),
            n_dead: read(&counters.dead),
            n_cancelled: read(&counters.cancelled),
            n_resumed: read(&counters.resumed),
            n_open_in_memory: read(&counters.in_memory_runs),
            open_bytes_in_memory: read(&counters.in_memory_bytes),
            connections: self.shared.tools.doors.view(),
            // A driver that has stopped holds nothing.
            lanes: lanes.await.unwrap_or_default(),
        }
    }

    /// What holds the tasks of these runs back that their stored states do not say: a pause, an earlier run of their
    /// ordering key, or a door.
    pub async fn holds(&self, runs: Vec<RunId>) -> Vec<(TaskId, TaskState)> {
        let (answer, holds) = tokio::sync::oneshot::channel();
        self.tell(Note::Holds { runs, answer }).await;
        holds.await.unwrap_or_default()
    }
}
