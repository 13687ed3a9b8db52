//! Plugins' state: changed by the settle that brings the changes, bounded in number, swept out when its time is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use trapjaw_engine::limits::STATE_KEYS_MAX;
use trapjaw_engine::ports::{StateOp, StoreError};
use trapjaw_engine::record::Settle;
use trapjaw_engine::time::Time;

use super::Sqlite;
use super::batch::Batch;
use super::readers::unread;

/// How long a value stays in the file after its end, in microseconds. Nobody can read it then; but a clock that stepped
/// ahead for a moment must not make us forget.
const EXPIRED_KEPT_MICROS: i64 = 3_600_000_000;
/// The most values that one piece of the sweep removes.
const SWEEP_ROWS: i64 = 512;

const SWEEP: &str = "DELETE FROM plugin_state WHERE (plugin, trigger, key) IN (SELECT plugin, trigger, key \
                     FROM plugin_state WHERE expires <= ? ORDER BY expires LIMIT ?) RETURNING plugin, trigger";

/// A plugin and a trigger, by number.
type Of = (i64, i64);

/// How many values each plugin keeps for each trigger, the ended ones that are not swept yet included. The writer
/// counts, once it has looked; others may ask.
#[derive(Default)]
pub(super) struct Counts(Mutex<HashMap<Of, u32>>);

impl Counts {
    /// Known once a plugin has brought a new value for the trigger since the start.
    pub(super) fn get(&self, of: Of) -> Option<u32> {
        self.lock().get(&of).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Of, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, of: Of, count: u32) {
        self.lock().insert(of, count);
    }

    fn sub(&self, of: Of, n: u32) {
        if let Some(count) = self.lock().get_mut(&of) {
            *count = count.saturating_sub(n);
        }
    }
}

/// What the writer knows of plugins' state.
#[derive(Default)]
pub(super) struct States {
    pub(super) counts: Arc<Counts>,
    /// The time of the last command that had one; 0 while there was none. The store reads no clock.
    pub(super) now: i64,
}

impl States {
    /// Removes some of the values whose time is over, and says whether there were any.
    pub(super) async fn sweep(&self, conn: &mut SqliteConnection) -> Result<bool, Error> {
        if self.now == 0 {
            return Ok(false);
        }
        let query = sqlx::query(SWEEP).bind(self.now - EXPIRED_KEPT_MICROS).bind(SWEEP_ROWS);
        let rows = query.fetch_all(conn).await?;
        for row in &rows {
            self.counts.sub((row.try_get(0)?, row.try_get(1)?), 1);
        }
        Ok(!rows.is_empty())
    }
}

impl Sqlite {
    pub(super) async fn read_is_state_full(&self, plugin: &str, trigger: &str, now: Time) -> Result<bool, StoreError> {
        let names = &self.shared.names;
        let (Some(plugin), Some(trigger)) = (names.find(plugin), names.find(trigger)) else { return Ok(false) };
        let count = self.shared.counts.get((plugin, trigger)).unwrap_or(0);
        if count < STATE_KEYS_MAX {
            return Ok(false);
        }
        // Those that have ended make room for others.
        let mut lease = self.shared.readers.lease().await?;
        let ended = "SELECT count(*) FROM plugin_state WHERE expires <= ? AND plugin = ? AND trigger = ?";
        let query = sqlx::query_scalar(ended).bind(now.0).bind(plugin).bind(trigger);
        let n_ended: u32 = query.fetch_one(lease.conn()).await.map_err(unread)?;
        Ok(count.saturating_sub(n_ended) >= STATE_KEYS_MAX)
    }
}

/// A value and when it ends.
type Value = Option<(Vec<u8>, Option<i64>)>;

/// A value as an attempt sees it, and what stands under its key.
struct Standing {
    value: Value,
    row: Found,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Live,
    /// A value whose time is over.
    Ended,
}

/// A value was not as the attempt had read it, or there is no room for it.
pub(super) struct Mismatch;

impl Batch<'_> {
    /// Applies the changes of a plugin's state in their order, or none of them.
    pub(super) async fn change_state(&mut self, settle: &Settle) -> Result<Result<(), Mismatch>, Error> {
        let Some((plugin, trigger)) = &settle.state_of else { return Ok(Ok(())) };
        let of = (self.names.intern(plugin), self.names.intern(trigger));
        let mut values: HashMap<&str, Standing> = HashMap::new();
        for op in &settle.state {
            if !values.contains_key(op.key()) {
                values.insert(op.key(), self.find_value(of, op.key(), settle.now).await?);
            }
            let standing = values.get_mut(op.key()).expect("it was put there just now");
            if let Err(mismatch) = change(&mut standing.value, op, settle.now) {
                return Ok(Err(mismatch));
            }
        }
        if !self.make_room(of, &mut values, settle.now).await? {
            return Ok(Err(Mismatch));
        }
        for (key, standing) in values {
            self.write_value(of, key, standing.value).await?;
        }
        Ok(Ok(()))
    }

    async fn find_value(&mut self, (plugin, trigger): Of, key: &str, now: Time) -> Result<Standing, Error> {
        let find = "SELECT value, expires FROM plugin_state WHERE plugin = ? AND trigger = ? AND key = ?";
        let query = sqlx::query(find).bind(plugin).bind(trigger).bind(key);
        let Some(row) = query.fetch_optional(&mut *self.conn).await? else {
            return Ok(Standing { value: None, row: Found::Nothing });
        };
        let expires: Option<i64> = row.try_get(1)?;
        if expires.is_some_and(|expires| expires <= now.0) {
            return Ok(Standing { value: None, row: Found::Ended });
        }
        Ok(Standing { value: Some((row.try_get(0)?, expires)), row: Found::Live })
    }

    /// Counts the values that come and go, and says whether there is room for them. Where there is none, values whose
    /// time is over make room.
    async fn make_room(&mut self, of: Of, values: &mut HashMap<&str, Standing>, now: Time) -> Result<bool, Error> {
        let (n_new, n_gone) = coming_and_going(values);
        if n_new == 0 {
            self.states.counts.sub(of, n_gone);
            return Ok(true);
        }
        let mut count = match self.states.counts.get(of) {
            Some(count) => count,
            None => self.count_rows(of).await?,
        };
        let (mut n_new, mut n_gone) = (n_new, n_gone);
        if has_too_many(count, n_new, n_gone) {
            let delete = "DELETE FROM plugin_state WHERE plugin = ?1 AND trigger = ?2 AND key IN (SELECT key \
                          FROM plugin_state WHERE expires <= ?3 AND plugin = ?1 AND trigger = ?2)";
            sqlx::query(delete).bind(of.0).bind(of.1).bind(now.0).execute(&mut *self.conn).await?;
            for standing in values.values_mut().filter(|standing| standing.row == Found::Ended) {
                standing.row = Found::Nothing;
            }
            count = self.count_rows(of).await?;
            (n_new, n_gone) = coming_and_going(values);
        }
        let has_room = !has_too_many(count, n_new, n_gone);
        let after = if has_room { count.saturating_add(n_new).saturating_sub(n_gone) } else { count };
        self.states.counts.set(of, after);
        Ok(has_room)
    }

    async fn count_rows(&mut self, of: Of) -> Result<u32, Error> {
        let count = "SELECT count(*) FROM plugin_state WHERE plugin = ? AND trigger = ?";
        sqlx::query(count).bind(of.0).bind(of.1).fetch_one(&mut *self.conn).await?.try_get(0)
    }

    async fn write_value(&mut self, (plugin, trigger): Of, key: &str, value: Value) -> Result<(), Error> {
        let query = match value {
            Some((value, expires)) => {
                let set = "INSERT OR REPLACE INTO plugin_state (plugin, trigger, key, value, expires) \
                           VALUES (?, ?, ?, ?, ?)";
                sqlx::query(set).bind(plugin).bind(trigger).bind(key).bind(value).bind(expires)
            }
            None => {
                let remove = "DELETE FROM plugin_state WHERE plugin = ? AND trigger = ? AND key = ?";
                sqlx::query(remove).bind(plugin).bind(trigger).bind(key)
            }
        };
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}

/// How many rows come and how many go.
fn coming_and_going(values: &HashMap<&str, Standing>) -> (u32, u32) {
    let n = |is_wanted: fn(&Standing) -> bool| {
        u32::try_from(values.values().filter(|standing| is_wanted(standing)).count()).unwrap_or(u32::MAX)
    };
    let n_new = n(|standing| standing.row == Found::Nothing && standing.value.is_some());
    let n_gone = n(|standing| standing.row != Found::Nothing && standing.value.is_none());
    (n_new, n_gone)
}

/// Whether so many values are too many; fewer than before never are.
fn has_too_many(count: u32, n_new: u32, n_gone: u32) -> bool {
    n_new > n_gone && count.saturating_add(n_new - n_gone) > STATE_KEYS_MAX
}

fn change(value: &mut Value, op: &StateOp, now: Time) -> Result<(), Mismatch> {
    match op {
        StateOp::Set { value: new, ttl, .. } => *value = Some((new.clone(), ttl.map(|ttl| (now + ttl).0))),
        StateOp::CompareAndSet { expected, value: new, .. } => {
            if value.as_ref().map(|(old, _)| old) != expected.as_ref() {
                return Err(Mismatch);
            }
            *value = Some((new.clone(), None));
        }
        StateOp::Increment { by, .. } => {
            // The attempt saw a number here, or it would have failed; whatever else it is by now counts as none.
            let old = value.as_ref().and_then(|(old, _)| std::str::from_utf8(old).ok()?.parse::<i64>().ok());
            let sum = old.unwrap_or(0).saturating_add(*by);
            let expires = value.as_ref().and_then(|(_, expires)| *expires);
            *value = Some((sum.to_string().into_bytes(), expires));
        }
        StateOp::Remove { .. } => *value = None,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    #[tokio::test]
    async fn values_whose_time_is_over_are_swept() {
        let mut conn = SqliteConnectOptions::new().connect().await.unwrap();
        for sql in super::super::open::MIGRATIONS {
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
        let fill = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000) \
                    INSERT INTO plugin_state SELECT 1, x % 2, 'key' || x, x'76', iif(x % 10 = 0, NULL, x) FROM n";
        sqlx::query(fill).execute(&mut conn).await.unwrap();
        let mut states = States::default();
        states.counts.set((1, 0), 500);
        states.counts.set((1, 1), 500);
        assert!(!states.sweep(&mut conn).await.unwrap(), "nobody knows what time it is");
        let check = async |conn: &mut SqliteConnection, expected: i64| {
            let n: i64 = sqlx::query_scalar("SELECT count(*) FROM plugin_state").fetch_one(conn).await.unwrap();
            assert_eq!(n, expected);
        };
        states.now = EXPIRED_KEPT_MICROS + 100;
        assert!(states.sweep(&mut conn).await.unwrap());
        check(&mut conn, 910).await;
        assert_eq!((states.counts.get((1, 0)), states.counts.get((1, 1))), (Some(460), Some(450)));
        states.now = i64::MAX;
        assert!(states.sweep(&mut conn).await.unwrap());
        check(&mut conn, 910 - SWEEP_ROWS).await;
        while states.sweep(&mut conn).await.unwrap() {}
        check(&mut conn, 100).await;
    }

    #[tokio::test]
    async fn the_sweep_finds_its_rows_by_their_end() {
        let mut conn = SqliteConnectOptions::new().connect().await.unwrap();
        for sql in super::super::open::MIGRATIONS {
            sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
        }
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {SWEEP}"));
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(explain).bind(0).bind(0).fetch_all(&mut conn).await.unwrap();
        assert!(steps.iter().all(|(.., step)| !step.starts_with("SCAN")), "{steps:?}");
    }
}
