//! The write-ahead log: how long it is, and when it is copied into the database.

use sqlx::{Error, Row};

use super::writer::{TIDY_EVERY, Writer};

/// The log is copied into the database from this size on, because then the copy is long and in order.
const CHECKPOINT_BYTES: u64 = 48 << 20;
/// Above this readers have kept the log from starting over; the writer waits for them.
const RESTART_BYTES: u64 = 256 << 20;
/// The log's size is looked at after about this many bytes of commands.
const LOOK_BYTES: u64 = 4 << 20;
/// The page size that the database is made with.
const PAGE_BYTES: u64 = 8_192;

impl Writer {
    /// Looks at the log when it may have grown long.
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        if self.n_bytes_unseen >= LOOK_BYTES {
            self.n_bytes_unseen = 0;
            let n_bytes = self.checkpoint("PRAGMA wal_checkpoint(NOOP)").await?;
            if n_bytes > RESTART_BYTES {
                self.checkpoint("PRAGMA wal_checkpoint(RESTART)").await?;
            } else if n_bytes > CHECKPOINT_BYTES {
                self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
            }
        }
        if self.tidied.elapsed() >= TIDY_EVERY { self.tidy().await } else { Ok(()) }
    }

    /// Runs one kind of checkpoint, and says how many bytes of the log were not in the database before it.
    pub(super) async fn checkpoint(&mut self, sql: &'static str) -> Result<u64, Error> {
        let row = sqlx::query(sql).fetch_one(&mut self.conn).await?;
        let (n_pages, n_copied): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        let n_bytes = u64::try_from(n_pages - n_copied).unwrap_or(0) * PAGE_BYTES;
        self.cells.wal_bytes.set(n_bytes);
        if !sql.contains("NOOP") {
            self.cells.checkpoints.add(1);
        }
        Ok(n_bytes)
    }
}
