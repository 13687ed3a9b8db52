//! The one task that writes: it takes what has arrived, makes one transaction of it, and answers after the COMMIT.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use trapjaw_engine::ports::StoreError;
use trapjaw_engine::record::{Command, Reply};

use super::batch::{Batch, Ids};
use super::dedup::Dedup;
use super::gauges::Cells;
use super::names::Names;
use super::open::Settings;
use super::sizes::is_intake;
use super::sql::Statements;
use super::state::States;

/// What the writer is asked.
pub(super) enum Job {
    Commit(Call),
    Close(oneshot::Sender<()>),
}

/// Commands that are to become durable together.
pub(super) struct Call {
    pub(super) commands: Vec<Command>,
    pub(super) n_bytes: usize,
    /// Gives the bytes back to the queue's room when the call is done.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) room: OwnedSemaphorePermit,
    pub(super) tx: oneshot::Sender<Result<Vec<Reply>, StoreError>>,
}

/// What a transaction writes beside its commands: parts of pages, on every tree.
const TRANSACTION_BYTES: u64 = 64 << 10;
/// Without a call for this long the writer tidies up.
const IDLE_AFTER: Duration = Duration::from_millis(200);
/// How often the writer tidies up while it is idle or busy.
pub(super) const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often a transaction is begun while another process writes; each try waits for the busy time of the connection.
const BEGIN_TRIES_MAX: u32 = 30;
/// How long the answer about the disk's room is believed.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// What the writer keeps in memory of what is in the database.
pub(super) struct Memory {
    pub(super) ids: Ids,
    pub(super) dedup: Dedup,
    pub(super) states: States,
    pub(super) names: Arc<Names>,
}

/// The writer and all that only it touches.
pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    memory: Memory,
    statements: Statements,
    pub(super) cells: Arc<Cells>,
    failed: watch::Sender<Option<Arc<str>>>,
    settings: Settings,
    /// Bytes since the log was last looked at, by estimate.
    pub(super) n_bytes_unseen: u64,
    /// Whether something was written since the last checkpoint.
    dirty: bool,
    pub(super) tidied: Instant,
    room_seen: Option<(Instant, bool)>,
    /// Held until the connection is closed.
    _lock: File,
}

impl Writer {
    pub(super) fn new(
        conn: SqliteConnection,
        memory: Memory,
        cells: Arc<Cells>,
        failed: watch::Sender<Option<Arc<str>>>,
        settings: Settings,
        lock: File,
    ) -> Self {
        Self {
            conn,
            memory,
            statements: Statements::new(),
            cells,
            failed,
            settings,
            n_bytes_unseen: 0,
            dirty: true,
            tidied: Instant::now(),
            room_seen: None,
            _lock: lock,
        }
    }

    /// Serves calls until the store is closed or a write fails.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut closing = None;
        let ended = self.serve(&mut jobs, &mut closing).await;
        let ended = match ended {
            Ok(()) => self.finish().await,
            Err(err) => Err(err),
        };
        if let Err(err) = ended {
            self.fail(&err);
        }
        // Whoever still waits in the queue learns from `failed`, or that the store is closed, when its sender goes.
        drop(jobs);
        let Self { conn, _lock, .. } = self;
        if let Err(error) = conn.close().await {
            tracing::warn!(%error, "close database: the next start recovers it from its log");
        }
        drop(_lock);
        if let Some(closing) = closing {
            let _ = closing.send(());
        }
    }

    async fn serve(
        &mut self,
        jobs: &mut mpsc::Receiver<Job>,
        closing: &mut Option<oneshot::Sender<()>>,
    ) -> Result<(), Error> {
        let mut held = None;
        loop {
            let job = match held.take() {
                Some(job) => Some(job),
                None => self.next(jobs).await?,
            };
            match job {
                Some(Job::Commit(call)) => {
                    let calls = self.gather(call, jobs, &mut held);
                    self.commit(calls).await?;
                }
                Some(Job::Close(tx)) => {
                    jobs.close();
                    *closing = Some(tx);
                }
                None => return Ok(()),
            }
        }
    }

    /// The next job; tidies up while there is none.
    async fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<Option<Job>, Error> {
        let mut wait = IDLE_AFTER;
        loop {
            match timeout(wait, jobs.recv()).await {
                Ok(job) => return Ok(job),
                Err(_) => {
                    if self.dirty {
                        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await?;
                        self.dirty = false;
                    }
                    self.tidy().await?;
                    wait = TIDY_EVERY;
                }
            }
        }
    }

    /// Takes what has arrived, up to the bounds; what does not fit is held for the next batch.
    fn gather(&self, first: Call, jobs: &mut mpsc::Receiver<Job>, held: &mut Option<Job>) -> Vec<Call> {
        let (mut n_commands, mut n_bytes) = (first.commands.len(), first.n_bytes);
        let mut calls = vec![first];
        while let Ok(job) = jobs.try_recv() {
            match job {
                Job::Commit(call)
                    if n_commands + call.commands.len() <= self.settings.batch_commands_max
                        && n_bytes + call.n_bytes <= self.settings.batch_bytes_max =>
                {
                    n_commands += call.commands.len();
                    n_bytes += call.n_bytes;
                    calls.push(call);
                }
                Job::Commit(_) | Job::Close(_) => {
                    *held = Some(job);
                    break;
                }
            }
        }
        self.cells.queued.sub(calls.len() as u64);
        calls
    }

    async fn commit(&mut self, mut calls: Vec<Call>) -> Result<(), Error> {
        if !self.has_room(&calls) {
            let (refused, rest) = calls.into_iter().partition(|call| is_intake(&call.commands));
            for call in Vec::<Call>::into_iter(refused) {
                let _ = call.tx.send(Err(StoreError::Full("the disk has too little room for new events")));
            }
            calls = rest;
        }
        if calls.is_empty() {
            return Ok(());
        }
        // A write that failed may be on stable storage or not: nobody is told anything but that.
        match self.write(&calls).await {
            Ok(replies) => {
                for (call, replies) in calls.into_iter().zip(replies) {
                    let _ = call.tx.send(Ok(replies));
                }
            }
            Err(err) => {
                let reason = self.fail(&err);
                for call in calls {
                    let _ = call.tx.send(Err(fatal(&reason)));
                }
                return Err(err);
            }
        }
        self.look().await
    }

    async fn write(&mut self, calls: &[Call]) -> Result<Vec<Vec<Reply>>, Error> {
        let n_commands: usize = calls.iter().map(|call| call.commands.len()).sum();
        self.begin().await?;
        let lists: Vec<&[Command]> = calls.iter().map(|call| call.commands.as_slice()).collect();
        let batch = Batch::new(&mut self.conn, &mut self.memory, &self.statements, &self.cells);
        let replies = batch.apply(&lists).await?;
        let began = Instant::now();
        sqlx::query("COMMIT").execute(&mut self.conn).await?;
        self.cells.committed(calls.len(), n_commands, began.elapsed());
        self.dirty = true;
        self.n_bytes_unseen += TRANSACTION_BYTES + calls.iter().map(|call| call.n_bytes as u64).sum::<u64>();
        Ok(replies)
    }

    /// Begins a transaction. Someone with a shell may hold the database for a while: nothing is written yet, so that
    /// it is no failure to wait.
    async fn begin(&mut self) -> Result<(), Error> {
        let mut n_tries = 1;
        loop {
            match sqlx::query("BEGIN IMMEDIATE").execute(&mut self.conn).await {
                Err(err) if is_busy(&err) && n_tries < BEGIN_TRIES_MAX => {
                    tracing::warn!(n_tries, "another process writes to the database: waiting for it");
                    n_tries += 1;
                }
                begun => return begun.map(|_| ()),
            }
        }
    }

    /// Sweeps out a bounded part of the old dedup keys, and of the values of plugins' state whose time is over.
    pub(super) async fn tidy(&mut self) -> Result<(), Error> {
        self.tidied = Instant::now();
        let Memory { ids, dedup, states, .. } = &mut self.memory;
        self.dirty |= dedup.tidy(&mut self.conn, ids.event, &self.cells).await?;
        self.dirty |= states.sweep(&mut self.conn).await?;
        Ok(())
    }

    /// Whether the disk has room for the events among these calls.
    fn has_room(&mut self, calls: &[Call]) -> bool {
        if !calls.iter().any(|call| is_intake(&call.commands)) {
            return true;
        }
        match self.room_seen {
            Some((at, has_room)) if at.elapsed() < ROOM_EVERY => has_room,
            Some(_) | None => {
                // A file system that does not say is not a reason to refuse: the write itself will tell.
                let has_room = rustix::fs::statvfs(&self.settings.dir)
                    .map_or(true, |disk| disk.f_bavail * disk.f_frsize >= self.settings.bytes_free_min);
                self.room_seen = Some((Instant::now(), has_room));
                has_room
            }
        }
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.memory.ids.save_exact(&mut self.conn).await?;
        self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }

    fn fail(&self, err: &Error) -> Arc<str> {
        if let Some(reason) = &*self.failed.borrow() {
            return Arc::clone(reason);
        }
        let reason: Arc<str> = err.to_string().into();
        tracing::error!(%reason, "write to the store failed: nothing more is acknowledged");
        self.failed.send_replace(Some(Arc::clone(&reason)));
        reason
    }
}

/// Whether another connection holds the lock; the number is SQLite's.
fn is_busy(err: &Error) -> bool {
    err.as_database_error().and_then(|err| err.code()).is_some_and(|code| code == "5")
}

/// The error that everyone gets after a write failed.
pub(super) fn fatal(reason: &Arc<str>) -> StoreError {
    StoreError::Fatal(reason.to_string().into())
}
