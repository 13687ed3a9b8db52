//! What the store counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the store has done and has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// Calls that wait for the writer.
    pub queued: u64,
    /// Transactions that are on stable storage.
    pub commits: u64,
    /// Calls that they carried.
    pub calls: u64,
    /// Commands that they carried.
    pub commands: u64,
    /// Commands of the last one.
    pub batch_last: u64,
    /// Bytes in the write-ahead log that are not yet in the database, as of the last look.
    pub wal_bytes: u64,
    /// Checkpoints that were made.
    pub checkpoints: u64,
    /// Dedup keys that were dropped before their time, because there were too many.
    pub dedup_keys_dropped: u64,
    /// How many COMMITs took at most this long; the last bound is open.
    pub commit_times: Vec<(Duration, u64)>,
    /// The time of all COMMITs together.
    pub commit_time: Duration,
}

/// The bounds of the histogram, in microseconds: from a disk with a cache of its own to one that is in trouble.
const COMMIT_BOUNDS_MICROS: [u64; 10] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, u64::MAX];

/// A number that many tasks change.
#[derive(Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    pub(super) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live numbers behind [`Gauges`].
#[derive(Default)]
pub(super) struct Cells {
    pub(super) queued: Cell,
    pub(super) commits: Cell,
    pub(super) calls: Cell,
    pub(super) commands: Cell,
    pub(super) batch_last: Cell,
    pub(super) wal_bytes: Cell,
    pub(super) checkpoints: Cell,
    pub(super) dedup_keys_dropped: Cell,
    commit_times: [Cell; COMMIT_BOUNDS_MICROS.len()],
    commit_micros: Cell,
}

impl Cells {
    /// Counts a transaction that is on stable storage.
    pub(super) fn committed(&self, n_calls: usize, n_commands: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.add(1);
        self.calls.add(n_calls as u64);
        self.commands.add(n_commands as u64);
        self.batch_last.set(n_commands as u64);
        self.commit_micros.add(micros);
        if let Some(slot) = COMMIT_BOUNDS_MICROS.iter().position(|bound| micros <= *bound) {
            self.commit_times[slot].add(1);
        }
    }

    pub(super) fn read(&self) -> Gauges {
        let bounds = COMMIT_BOUNDS_MICROS.iter().map(|micros| Duration::from_micros(*micros));
        Gauges {
            queued: self.queued.get(),
            commits: self.commits.get(),
            calls: self.calls.get(),
            commands: self.commands.get(),
            batch_last: self.batch_last.get(),
            wal_bytes: self.wal_bytes.get(),
            checkpoints: self.checkpoints.get(),
            dedup_keys_dropped: self.dedup_keys_dropped.get(),
            commit_times: bounds.zip(self.commit_times.iter().map(Cell::get)).collect(),
            commit_time: Duration::from_micros(self.commit_micros.get()),
        }
    }
}
