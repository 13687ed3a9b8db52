//! Reading: a few connections that cannot write, each read within its time and on one snapshot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Error};
use tokio::sync::{Semaphore, SemaphorePermit};
use trapjaw_engine::ports::StoreError;

/// How many steps of SQLite's machine lie between two looks at the clock: well under a millisecond.
const STEPS_PER_LOOK: i32 = 10_000;

pub(super) struct Readers {
    free: Semaphore,
    idle: Mutex<Vec<Reader>>,
    time_max: Duration,
    began: Instant,
}

/// A connection, and when what it does has to end, in microseconds since [`Readers::began`].
struct Reader {
    conn: SqliteConnection,
    deadline: Arc<AtomicU64>,
}

/// A reader for one read. It goes back when this is dropped.
pub(super) struct Lease<'r> {
    readers: &'r Readers,
    reader: Option<Reader>,
    _free: SemaphorePermit<'r>,
}

impl Readers {
    /// So many connections with these options.
    pub(super) async fn open(options: &SqliteConnectOptions, n: u32, time_max: Duration) -> Result<Self, Error> {
        let began = Instant::now();
        let mut idle = Vec::new();
        for _ in 0..n.max(1) {
            let mut conn = options.connect().await?;
            let deadline = Arc::new(AtomicU64::new(u64::MAX));
            let seen = Arc::clone(&deadline);
            conn.lock_handle().await?.set_progress_handler(STEPS_PER_LOOK, move || {
                began.elapsed().as_micros() < u128::from(seen.load(Ordering::Relaxed))
            });
            idle.push(Reader { conn, deadline });
        }
        Ok(Self { free: Semaphore::new(idle.len()), idle: Mutex::new(idle), time_max, began })
    }

    /// Waits for a reader. Its time begins when it is given out.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let free = self.free.acquire().await.map_err(|_| StoreError::Closed("the store is closed"))?;
        let reader = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let reader = reader.ok_or(StoreError::Closed("the store is closed"))?;
        let mut lease = Lease { readers: self, reader: Some(reader), _free: free };
        // The read before may have been dropped while its statement runs. It ends at its next look at the clock, and
        // has to, before there is a new deadline for it to go on under. Whatever was asked before is over when this is
        // answered.
        lease.conn().ping().await.map_err(unread)?;
        if let Some(reader) = &lease.reader {
            let deadline = u64::try_from((self.began.elapsed() + self.time_max).as_micros()).unwrap_or(u64::MAX);
            reader.deadline.store(deadline, Ordering::Relaxed);
        }
        Ok(lease)
    }

    /// Refuses further reads and closes the connections that are idle.
    pub(super) async fn close(&self) {
        self.free.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in idle {
            if let Err(error) = reader.conn.close().await {
                tracing::warn!(%error, "close a reading connection");
            }
        }
    }
}

impl Lease<'_> {
    pub(super) fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.reader.as_mut().expect("the reader leaves at the drop only").conn
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            // A statement whose read was dropped ends at its next look at the clock.
            reader.deadline.store(0, Ordering::Relaxed);
            if !self.readers.free.is_closed() {
                self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
        }
    }
}

/// What a failed read is to the engine.
pub(super) fn unread(err: Error) -> StoreError {
    StoreError::Read(err.into())
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    /// Finds one row at once, and then never another.
    const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n WHERE x = 1";
    /// Looks at the clock several times, and takes a few milliseconds.
    const SHORT: &str =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 10000) SELECT count(*) FROM n";

    #[tokio::test]
    async fn a_dropped_read_ends_before_the_next_begins() {
        let readers = Readers::open(&SqliteConnectOptions::new(), 1, Duration::from_secs(2)).await.unwrap();
        for _ in 0..20 {
            let mut lease = readers.lease().await.unwrap();
            let mut rows = sqlx::query(ENDLESS).fetch(lease.conn());
            assert!(rows.try_next().await.unwrap().is_some(), "the scan runs");
            drop(rows);
            drop(lease);
            let began = Instant::now();
            let mut lease = readers.lease().await.unwrap();
            let n: i64 = sqlx::query_scalar(SHORT).fetch_one(lease.conn()).await.unwrap();
            assert_eq!(n, 10_000);
            assert!(began.elapsed() < Duration::from_secs(1), "the dropped scan ran on");
        }
        readers.close().await;
    }
}
