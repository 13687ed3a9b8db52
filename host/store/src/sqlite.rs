//! The store on SQLite: the handle that the daemon holds, and what it promises.

mod activity;
mod append;
mod batch;
mod catalog;
mod config;
mod dead;
mod dedup;
mod gauges;
mod judged;
mod ledger;
mod log;
mod names;
mod open;
mod pending;
mod readers;
mod rows;
mod runs;
mod settle;
mod sizes;
mod sql;
mod state;
mod work;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{Activity, Receipt, Store, StoreError, Work, WorkPage};
use trapjaw_engine::record::{Command, Reply};
use trapjaw_engine::time::Time;

pub use gauges::Gauges;
pub use open::{OpenError, Settings, open};

use gauges::Cells;
use names::Names;
use readers::Readers;
use state::Counts;
use writer::{Call, Job};

/// A store in one SQLite file. Clones share it; the file is let go when it was closed or the last clone is gone.
#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Job>,
    /// Bytes that may still enter the queue.
    room: Arc<Semaphore>,
    room_max: u32,
    /// For the engine.
    readers: Readers,
    /// For people.
    ledger_readers: Readers,
    names: Arc<Names>,
    counts: Arc<Counts>,
    cells: Arc<Cells>,
    failed: watch::Receiver<Option<Arc<str>>>,
}

impl Sqlite {
    /// Finishes what is queued, checkpoints, and lets go of the file. Commits after it are refused.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (tx, rx) = oneshot::channel();
        if self.shared.queue.send(Job::Close(tx)).await.is_ok() {
            self.shared.readers.close().await;
            self.shared.ledger_readers.close().await;
            // A writer that is gone without an answer has failed, or was closed by another call.
            let _ = rx.await;
        }
        self.check()
    }

    /// What the store has done and has to do.
    pub fn gauges(&self) -> Gauges {
        self.shared.cells.read()
    }

    /// Resolves with the reason when a write has failed, and never otherwise. The host has to exit then: every commit
    /// is answered with [`StoreError::Fatal`] from then on.
    pub async fn failed(&self) -> Arc<str> {
        let mut failed = self.shared.failed.clone();
        loop {
            if let Some(reason) = &*failed.borrow_and_update() {
                return Arc::clone(reason);
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        match &*self.shared.failed.borrow() {
            Some(reason) => Err(writer::fatal(reason)),
            None => Ok(()),
        }
    }

    /// What a commit without an answer means: the writer has failed, or it was closed before.
    fn gone(&self) -> StoreError {
        self.check().err().unwrap_or(StoreError::Closed("the store is closed"))
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, commands: Vec<Command>) -> Result<Vec<Reply>, StoreError> {
        self.check()?;
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let n_bytes = sizes::bytes_of(&commands);
        // A call larger than the whole room takes all of it, so that it waits for its turn but not for ever.
        let n_permits = u32::try_from(n_bytes).unwrap_or(u32::MAX).min(self.shared.room_max);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(n_permits).await.map_err(|_| self.gone())?;
        let (tx, rx) = oneshot::channel();
        let call = Call { commands, n_bytes, room, tx };
        self.shared.cells.queued.add(1);
        if self.shared.queue.send(Job::Commit(call)).await.is_err() {
            self.shared.cells.queued.sub(1);
            return Err(self.gone());
        }
        rx.await.unwrap_or_else(|_| Err(self.gone()))
    }

    async fn work(&self, page: WorkPage) -> Result<Work, StoreError> {
        self.read_work(page).await
    }

    async fn n_open_runs(&self) -> Result<u64, StoreError> {
        self.read_n_open_runs().await
    }

    async fn sends(&self, task: TaskId) -> Result<Vec<(Box<str>, Receipt)>, StoreError> {
        self.read_sends(task).await
    }

    async fn is_state_full(&self, plugin: &str, trigger: &str, now: Time) -> Result<bool, StoreError> {
        self.read_is_state_full(plugin, trigger, now).await
    }

    async fn state(&self, plugin: &str, trigger: &str, key: &str, now: Time) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_state(plugin, trigger, key, now).await
    }

    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, StoreError> {
        self.read_activity(trigger, subject).await
    }
}
