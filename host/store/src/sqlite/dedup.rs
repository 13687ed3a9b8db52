//! Taking an event once: the numbers of a batch's events, and which of them are there already.
//!
//! Keys are hashes, so that each would change a page of its own in a tree of all keys, 8 KiB written for 30 bytes. New
//! keys are therefore kept in memory and appended to `dedup_log`, and are merged into the tree, `dedup`, in the order
//! of the tree and many at a time, a few with each commit.
//!
//! A key is forgotten when it is old, or when too many are newer. As keys are spread evenly, the tree is swept range by
//! range: slowly for what is old, and in step with the merge for what is too many.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use trapjaw_engine::record::NewEvent;

use super::batch::Batch;
use super::gauges::Cells;

/// What a commit merges, or removes from the log, beside twice the keys that it brings: the merge gets done.
const MERGE_BESIDE: usize = 64;
/// How many days a key is kept at least, beside the day on which it came.
const DAYS_KEPT: i64 = 3;
const DAY_MICROS: i64 = 86_400_000_000;
/// The sweep's ranges of keys. Of 50 million keys each has under 800.
const RANGES: u64 = 1 << 16;
/// While too many keys are kept, the sweep goes once round the tree as often as this part of the most was merged.
const ROUNDS_PER_MOST: u64 = 10;

/// An event's number, and the one that it has already, if it has.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    pub(super) seq: i64,
    pub(super) first: Option<i64>,
}

/// A key's event and its day of receipt.
#[derive(Clone, Copy)]
pub(super) struct Known {
    event: i64,
    day: i64,
}

/// How far the sweep of the tree is.
#[derive(Default)]
struct Sweep {
    /// The range of keys that is visited next.
    next: u16,
    /// Keys of events below this are gone from the ranges before `next`, and were from all when this round began.
    below: i64,
    /// Keys of events below this are gone from every range.
    gone_below: i64,
    /// What the merge owes the sweep: a range for each `keys_max`.
    owed: u64,
}

/// The keys that are not in the tree yet, and how far their merge and the tree's sweep are.
pub(super) struct Dedup {
    /// From so many keys in memory on they are merged.
    merge_from: usize,
    recent: BTreeMap<u128, Known>,
    is_tree_empty: bool,
    /// Keys below this were merged in this round; none while no round is on.
    merged: Option<u128>,
    /// The first event of which this round need not merge the key.
    round_end: i64,
    /// Log rows of events below this are merged and can go.
    log_done: i64,
    /// Log rows of events below this are gone.
    log_first: i64,
    /// The most keys, of the newest events.
    keys_max: u32,
    sweep: Sweep,
    /// The newest day on which an event was taken, 0 while that is not known.
    day_last: i64,
}

impl Dedup {
    pub(super) async fn load(conn: &mut SqliteConnection, merge_from: usize, keys_max: u32) -> Result<Self, Error> {
        let mut recent = BTreeMap::new();
        let rows = sqlx::query("SELECT key, event, day FROM dedup_log").fetch_all(&mut *conn).await?;
        for row in rows {
            recent.insert(read_key(row.try_get(0)?)?, Known { event: row.try_get(1)?, day: row.try_get(2)? });
        }
        let log_first = recent.values().map(|known| known.event).min().unwrap_or(0);
        let row = sqlx::query("SELECT EXISTS (SELECT 1 FROM dedup)").fetch_one(conn).await?;
        let is_tree_empty = !row.try_get::<bool, _>(0)?;
        Ok(Self {
            merge_from,
            recent,
            is_tree_empty,
            merged: None,
            round_end: 0,
            log_done: log_first,
            log_first,
            keys_max: keys_max.max(1),
            sweep: Sweep::default(),
            day_last: 0,
        })
    }

    /// Sweeps one range. Says whether something was removed.
    pub(super) async fn tidy(
        &mut self,
        conn: &mut SqliteConnection,
        event_next: i64,
        cells: &Cells,
    ) -> Result<bool, Error> {
        self.sweep(conn, 1, event_next, cells).await
    }

    /// Removes keys from the tree, in so many of its ranges: those that are old, and those of events that so many came
    /// after that their keys are too many. Says whether something was removed.
    ///
    /// While it is not known what day it is, no key is old: a clock that stepped must not make us forget.
    async fn sweep(
        &mut self,
        conn: &mut SqliteConnection,
        n_ranges: u64,
        event_next: i64,
        cells: &Cells,
    ) -> Result<bool, Error> {
        if self.day_last == 0 || self.is_tree_empty {
            return Ok(false);
        }
        let (from, below) = (self.sweep.next, event_next - i64::from(self.keys_max));
        let to = u64::from(from) + n_ranges;
        if from == 0 {
            self.sweep.below = below;
        }
        self.sweep.next = u16::try_from(to).unwrap_or(0);
        let (first, end) = (from.to_be_bytes(), end_of(to));
        let old = "DELETE FROM dedup WHERE key >= ? AND key < ? AND day < ?";
        let query = sqlx::query(old).bind(&first[..]).bind(&end).bind(self.day_last - DAYS_KEPT);
        let n_old = query.execute(&mut *conn).await?.rows_affected();
        let mut n_dropped = 0;
        if below > self.sweep.gone_below {
            let too_many = "DELETE FROM dedup WHERE key >= ? AND key < ? AND event < ?";
            let query = sqlx::query(too_many).bind(&first[..]).bind(&end).bind(below);
            n_dropped = query.execute(&mut *conn).await?.rows_affected();
            cells.dedup_keys_dropped.add(n_dropped);
        }
        if self.sweep.next == 0 {
            self.sweep.gone_below = self.sweep.below;
        }
        Ok(n_old + n_dropped > 0)
    }

    /// How many ranges are to be swept, now that so many keys were merged.
    fn ranges_owed(&mut self, n_merged: usize, event_next: i64) -> u64 {
        let keys_max = u64::from(self.keys_max);
        if event_next - i64::from(self.keys_max) <= self.sweep.gone_below {
            return 0;
        }
        self.sweep.owed += n_merged as u64 * RANGES * ROUNDS_PER_MOST;
        let n_ranges = self.sweep.owed / keys_max;
        self.sweep.owed %= keys_max;
        n_ranges.min(RANGES)
    }

    /// The next keys to merge, in order; they leave memory. A round begins when there are enough.
    fn next_to_merge(&mut self, n: usize, event_next: i64) -> Vec<(u128, Known)> {
        if self.merged.is_none() && self.recent.len() >= self.merge_from && self.log_first >= self.log_done {
            (self.merged, self.round_end) = (Some(0), event_next);
        }
        let Some(merged) = self.merged else { return Vec::new() };
        let keys: Vec<_> = self.recent.range(merged..).take(n).map(|(key, known)| (*key, *known)).collect();
        for (key, _) in &keys {
            self.recent.remove(key);
        }
        let after = keys.last().filter(|_| keys.len() == n).and_then(|(key, _)| key.checked_add(1));
        if after.is_none() {
            // Whatever was there when the round began has been passed.
            self.log_done = self.round_end;
        }
        self.merged = after;
        keys
    }
}

impl Batch<'_> {
    /// Numbers events, and notes the dedup keys of those that are new. A number that a duplicate got is given to
    /// nobody.
    pub(super) async fn number(&mut self, events: &[&NewEvent]) -> Result<Vec<Numbered>, Error> {
        let in_tree = self.find_in_tree(events).await?;
        let mut numbered = Vec::with_capacity(events.len());
        for new in events {
            let (seq, day) = (self.ids.take_event(), new.received.0.div_euclid(DAY_MICROS));
            self.states.now = new.received.0;
            self.dedup.day_last = self.dedup.day_last.max(day);
            let first = new.dedup.and_then(|key| {
                let in_tree = in_tree.get(&key).copied();
                in_tree.or_else(|| match self.dedup.recent.entry(key) {
                    Entry::Occupied(known) => Some(known.get().event),
                    Entry::Vacant(vacant) => {
                        vacant.insert(Known { event: seq, day });
                        self.pending.keys.push((seq, day, key));
                        None
                    }
                })
            });
            numbered.push(Numbered { seq, first });
        }
        Ok(numbered)
    }

    /// The events that the tree has under the keys of these.
    async fn find_in_tree(&mut self, events: &[&NewEvent]) -> Result<BTreeMap<u128, i64>, Error> {
        if self.dedup.is_tree_empty {
            return Ok(BTreeMap::new());
        }
        let mut keys: Vec<u128> = events.iter().filter_map(|new| new.dedup).collect();
        keys.sort_unstable();
        let find = &self.statements.dedup_find;
        let rows = find.fetch(self.conn, &keys, |args, key| args.add(&key.to_be_bytes()[..])).await?;
        rows.iter().map(|row| Ok((read_key(row.try_get(0)?)?, row.try_get(1)?))).collect()
    }

    /// Merges some keys into the tree, or removes some that are merged from the log.
    pub(super) async fn merge_keys(&mut self, n_new: usize) -> Result<(), Error> {
        let n = MERGE_BESIDE + 2 * n_new;
        let keys = self.dedup.next_to_merge(n, self.ids.event);
        if !keys.is_empty() {
            self.dedup.is_tree_empty = false;
            let insert = self.statements.dedup.execute(self.conn, &keys, |args, (key, known)| {
                args.add(&key.to_be_bytes()[..])?;
                args.add(known.event)?;
                args.add(known.day)
            });
            insert.await?;
            let n_ranges = self.dedup.ranges_owed(keys.len(), self.ids.event);
            if n_ranges > 0 {
                self.dedup.sweep(self.conn, n_ranges, self.ids.event, self.cells).await?;
            }
        } else if self.dedup.log_first < self.dedup.log_done {
            let n = i64::try_from(n).expect("a batch fits in memory");
            self.dedup.log_first = (self.dedup.log_first + n).min(self.dedup.log_done);
            let delete = "DELETE FROM dedup_log WHERE event < ?";
            sqlx::query(delete).bind(self.dedup.log_first).execute(&mut *self.conn).await?;
        }
        Ok(())
    }
}

/// What stands above every key of the ranges below this one.
fn end_of(range: u64) -> Vec<u8> {
    // The end of the last range is longer than any key, and above all of them.
    u16::try_from(range).map_or_else(|_| vec![0xff; 17], |range| range.to_be_bytes().to_vec())
}

fn read_key(blob: &[u8]) -> Result<u128, Error> {
    Ok(u128::from_be_bytes(blob.try_into().map_err(|_| Error::Protocol("read a dedup key of 16 bytes".into()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MERGE_FROM: usize = 100_000;

    fn dedup(keys: impl Iterator<Item = u128>) -> Dedup {
        let recent = keys.zip(1..).map(|(key, event)| (key, Known { event, day: 1 })).collect();
        Dedup {
            merge_from: MERGE_FROM,
            recent,
            is_tree_empty: true,
            merged: None,
            round_end: 0,
            log_done: 0,
            log_first: 0,
            keys_max: 50_000_000,
            sweep: Sweep::default(),
            day_last: 0,
        }
    }

    #[test]
    fn few_keys_stay_in_memory() {
        let mut few = dedup(0..MERGE_FROM as u128 - 1);
        assert!(few.next_to_merge(9, 7).is_empty());
        assert_eq!(few.log_done, 0);
    }

    #[test]
    fn a_round_passes_every_key_that_was_there() {
        // The highest key of all is passed too.
        let last = MERGE_FROM as u128 - 1;
        let mut many = dedup((0..last).chain([u128::MAX]));
        let event_next = MERGE_FROM as i64 + 1;
        let mut n_merged = 0;
        while many.log_done == 0 {
            // Keys that come meanwhile may stay, but none that was there.
            many.recent.insert(n_merged, Known { event: event_next, day: 1 });
            let keys = many.next_to_merge(1_000, if n_merged == 0 { event_next } else { event_next + 999 });
            assert!(keys.is_sorted_by_key(|(key, _)| *key));
            n_merged += keys.len() as u128;
        }
        assert_eq!(many.log_done, event_next);
        assert!(many.recent.values().all(|known| known.event >= event_next));
    }
}
