//! Opening: the directory and its lock, the connections and their settings, the schema.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};
use tokio::sync::{Semaphore, mpsc, watch};
use trapjaw_engine::tasks;

use super::batch::Ids;
use super::dedup::Dedup;
use super::gauges::Cells;
use super::names::Names;
use super::readers::Readers;
use super::state::States;
use super::writer::{Memory, Writer};
use super::{Shared, Sqlite};

/// Where the store lives, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data directory; it is made when it is missing.
    pub dir: PathBuf,
    /// Below this much room on the disk no events are taken.
    pub bytes_free_min: u64,
    /// The most commands of one transaction, but for a single call that has more.
    pub batch_commands_max: usize,
    /// About the most bytes of one transaction, but for a single call that has more.
    pub batch_bytes_max: usize,
    /// The most bytes of commands that wait for the writer; callers wait beyond that.
    pub queue_bytes_max: u32,
    /// From so many dedup keys in memory on they are merged into the tree on the disk. More share its pages better,
    /// but a start has to load them, and each takes about 50 bytes.
    pub dedup_keys_merged: usize,
    /// The most dedup keys, of those that are newest; older ones go, also before their time.
    pub dedup_keys_max: u32,
    /// How many of the engine's reads may go on at once.
    pub readers: u32,
    /// How many of people's reads may go on at once. They have readers of their own, because each may take seconds.
    pub ledger_readers: u32,
    /// The longest that one read may take.
    pub read_time_max: Duration,
}

impl Settings {
    /// The bounds that fit two cores and one disk.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bytes_free_min: 1 << 30,
            batch_commands_max: 2_048,
            batch_bytes_max: 8 << 20,
            queue_bytes_max: 64 << 20,
            dedup_keys_merged: 1 << 17,
            dedup_keys_max: 50_000_000,
            readers: 2,
            ledger_readers: 3,
            read_time_max: Duration::from_secs(5),
        }
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error("open the data directory {}: another trapjaw daemon is using it", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be made, locked or read.
    #[error("open the data directory {}", .dir.display())]
    Dir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The library has a defect that loses data.
    #[error("open database: SQLite {found} is too old, {SQLITE_MIN} is needed", SQLITE_MIN = "3.51.3")]
    Library {
        /// The version that was found.
        found: String,
    },
    /// The database was written by a newer version of this program.
    #[error("open database: its schema {found} is newer than schema {known}, which this version knows")]
    Newer {
        /// The schema of the database.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// The file is another program's database.
    #[error("open database: {} is not a database of trapjaw's", .0.display())]
    Foreign(PathBuf),
    /// SQLite refused.
    #[error("open database")]
    Database(#[from] sqlx::Error),
}

/// Older versions can lose a commit when a write-ahead log is reset.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];
/// Marks the file as ours: `trpj` in ASCII.
const APPLICATION_ID: i64 = 0x7472_706a;
/// What makes schema `n` out of schema `n - 1`. Forward only; a released one never changes.
pub(super) const MIGRATIONS: [&str; 2] =
    [include_str!("../../migrations/0001.sql"), include_str!("../../migrations/0002.sql")];
/// The writer's page cache, in KiB: the right edges of all tables, and the upper pages of `dedup`.
const WRITER_CACHE_KIB: u32 = 64 << 10;
/// A reader's page cache, in KiB.
const READER_CACHE_KIB: u32 = 8 << 10;
/// How many rows a reader for people reads ahead: a page is bounded in bytes, and a row may have a mebibyte.
const LEDGER_ROWS_AHEAD: usize = 8;
/// How long the writer waits for readers when it restarts the log.
const BUSY_TIME_MAX: Duration = Duration::from_secs(1);
/// How many calls may wait for the writer.
const QUEUE_CALLS_MAX: usize = 4_096;
/// Holds every statement of the writer in all its sizes.
const STATEMENTS_MAX: usize = 256;

/// Opens the store, and makes it when the directory is empty.
///
/// `Ok` means that this process owns the directory until the store is closed, and that the schema is current.
pub async fn open(settings: Settings) -> Result<Sqlite, OpenError> {
    let lock = lock(&settings.dir)?;
    let path = settings.dir.join("trapjaw.db");
    let mut conn = writer_options(&path).connect().await?;
    check_library(&mut conn).await?;
    migrate(&mut conn, &path).await?;
    let names = Arc::new(Names::load(&mut conn).await?);
    let ids = Ids::load(&mut conn).await?;
    let dedup = Dedup::load(&mut conn, settings.dedup_keys_merged, settings.dedup_keys_max).await?;
    let states = States::default();
    let counts = Arc::clone(&states.counts);
    let for_engine = reader_options(&path);
    let for_people = reader_options(&path).row_buffer_size(LEDGER_ROWS_AHEAD);
    let readers = Readers::open(&for_engine, settings.readers, settings.read_time_max).await?;
    let ledger_readers = Readers::open(&for_people, settings.ledger_readers, settings.read_time_max).await?;
    let cells = Arc::new(Cells::default());
    let (failed_tx, failed) = watch::channel(None);
    let (queue, jobs) = mpsc::channel(QUEUE_CALLS_MAX);
    let room_max = settings.queue_bytes_max;
    let memory = Memory { ids, dedup, states, names: Arc::clone(&names) };
    let writer = Writer::new(conn, memory, Arc::clone(&cells), failed_tx, settings, lock);
    tasks::spawn("store writer", writer.run(jobs));
    let room = Arc::new(Semaphore::new(room_max as usize));
    let shared = Shared { queue, room, room_max, readers, ledger_readers, names, counts, cells, failed };
    Ok(Sqlite { shared: Arc::new(shared) })
}

/// Takes the directory for this process. The kernel lets go of the lock when the process ends, however it ends.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Dir { dir: dir.to_owned(), source };
    let is_new = !dir.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    if is_new {
        // The umask may have taken more away than others' rights.
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(8_192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIME_MAX)
        .foreign_keys(false)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        // An I/O error under mmap is a signal, not an error value.
        .pragma("mmap_size", "0")
        .disable_statement_logging()
}

fn writer_options(path: &Path) -> SqliteConnectOptions {
    options(path)
        .create_if_missing(true)
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        .thread_name(|_| "store-writer".into())
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    options(path)
        .pragma("query_only", "ON")
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
        .thread_name(|n| format!("store-reader-{n}"))
}

async fn check_library(conn: &mut SqliteConnection) -> Result<(), OpenError> {
    let found: String = sqlx::query("SELECT sqlite_version()").fetch_one(conn).await?.try_get(0)?;
    let numbers: Vec<u32> = found.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < SQLITE_MIN.as_slice() { Err(OpenError::Library { found }) } else { Ok(()) }
}

/// Brings the schema up to date, each step in its own transaction.
async fn migrate(conn: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let found = pragma(conn, "PRAGMA user_version").await?;
    let application = pragma(conn, "PRAGMA application_id").await?;
    let n_tables = pragma(conn, "SELECT count(*) FROM sqlite_schema").await?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || n_tables != 0) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let known = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    for (step, sql) in (1..).zip(MIGRATIONS).filter(|(step, _)| *step > found) {
        let sql = format!(
            "BEGIN IMMEDIATE; {sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {step}; COMMIT"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn pragma(conn: &mut SqliteConnection, sql: &'static str) -> Result<i64, OpenError> {
    Ok(sqlx::query(sql).fetch_one(conn).await?.try_get(0)?)
}
