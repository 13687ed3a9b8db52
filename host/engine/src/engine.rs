//! The engine: what the daemon starts, asks and stops.

mod ask;
mod counters;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::deliver::Doors;
use crate::dispatch::Bounds;
use crate::drive::{Driver, Note};
use crate::evaluation::AttemptDetail;
use crate::event::Event;
use crate::id::{EventId, RunId, TaskId};
use crate::intake::{Accepted, Batch, Refused, check, commands, drafts};
use crate::perform::Tools;
use crate::plan::Plan;
use crate::ports::{Activity, Clock, Dice, Failure, Past, SendError, Store, StoreError};
use crate::record::{Command, DeadMove, DeadTo, NewEvent, Reply};
use crate::run::OpenRun;
use crate::tasks;
use crate::time::Time;

pub use ask::{Explained, LeafView, Preview};
pub use counters::{Counters, Status};

/// Notes that may wait for the driver; whoever appends waits beyond that.
const NOTES_MAX: usize = 1_024;
/// Events that a reader of the feed may be behind before it loses some.
const FEED_MAX: usize = 1_024;

/// What the engine is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance, for jitter.
    pub dice: Arc<dyn Dice>,
    /// What is defined.
    pub plan: Arc<Plan>,
    /// The bounds.
    pub settings: Settings,
}

/// The bounds of an engine.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The most attempts at one time. One trigger alone gets half of them.
    pub attempts_max: usize,
    /// The most of them that call a plugin: what the sandbox has places for. One trigger alone gets half of them.
    pub calls_max: usize,
    /// About the most bytes of open work in memory; the rest stays in the store.
    pub memory_bytes_max: usize,
    /// The most runs of one trigger in memory.
    pub lane_runs_max: usize,
    /// The most runs with open work in the store; beyond that intake refuses.
    pub open_runs_max: u64,
    /// What the hashes that events are known by are keyed with. It must never change for a store.
    pub ids_key: [u8; 16],
}

impl Settings {
    /// The defaults, with the store's own key.
    pub const fn new(ids_key: [u8; 16]) -> Self {
        Self {
            attempts_max: 512,
            calls_max: 192,
            memory_bytes_max: 256 << 20,
            lane_runs_max: 10_000,
            open_runs_max: 10_000_000,
            ids_key,
        }
    }

    pub(crate) const fn bounds(&self) -> Bounds {
        Bounds {
            lane_runs_max: self.lane_runs_max,
            bytes_max: self.memory_bytes_max,
            attempts_max: self.attempts_max,
            calls_max: self.calls_max,
        }
    }
}

/// A running engine. [`Engine::stop`] ends it in order; dropped without that, it ends as in a crash.
pub struct Engine {
    shared: Arc<Shared>,
    notes: mpsc::Sender<Note>,
    is_stopping: AtomicBool,
}

/// What the engine and its driver share.
pub(crate) struct Shared {
    pub(crate) tools: Tools,
    pub(crate) dice: Arc<dyn Dice>,
    pub(crate) plan: ArcSwap<Plan>,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    feed: broadcast::Sender<Arc<Seen>>,
    failed: watch::Sender<bool>,
}

impl Shared {
    /// The store can no longer be written: whoever waits for it is told.
    pub(crate) fn fail(&self, err: StoreError) {
        drop(err);
        self.failed.send_replace(true);
    }
}

/// An event that was just taken, for those who watch.
#[derive(Debug)]
pub struct Seen {
    /// Its id.
    pub id: EventId,
    /// When it was taken.
    pub received: Time,
    /// The event.
    pub event: Arc<Event>,
    /// The evaluations, as they are kept.
    pub evaluations: Bytes,
    /// The runs it caused.
    pub runs: Vec<RunId>,
    /// The runs that a cap or a cooldown refused: trigger and subject.
    pub refused: Vec<(Arc<str>, Arc<str>)>,
}

/// The ledger interface of conditions, on the store.
pub(crate) struct StorePast(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Past for StorePast {
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, Failure> {
        self.0.activity(trigger, subject).await.map_err(|err| Failure::transient(err.to_string()))
    }
}

impl Engine {
    /// Takes up the open work that the store has, and starts.
    pub async fn start(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let doors = Arc::new(Doors::new(Arc::clone(&parts.clock)));
        let shared = Arc::new(Shared {
            tools: Tools { store: parts.store, doors, clock: parts.clock },
            dice: parts.dice,
            plan: ArcSwap::new(parts.plan),
            settings: parts.settings,
            counters: Counters::default(),
            feed: broadcast::channel(FEED_MAX).0,
            failed: watch::channel(false).0,
        });
        let (notes, receiver) = mpsc::channel(NOTES_MAX);
        let driver = Driver::recover(Arc::clone(&shared), receiver).await?;
        tasks::spawn("driver", driver.run());
        Ok(Arc::new(Self { shared, notes, is_stopping: AtomicBool::new(false) }))
    }

    /// Takes events in. When it returns `Ok`, they are on stable storage with every run that they cause.
    ///
    /// Dropped before it returned, either all of the batch is taken or nothing.
    pub async fn accept(&self, batch: Batch) -> Result<Accepted, Refused> {
        if self.is_stopping.load(Ordering::Acquire) {
            return Err(Refused::Stopping);
        }
        if self.shared.counters.n_open() >= self.shared.settings.open_runs_max {
            return Err(Refused::Busy);
        }
        let now = self.shared.tools.clock.now();
        check(&batch, now).map_err(Refused::Bad)?;
        let plan = self.shared.plan.load_full();
        let drafts = drafts(&plan, batch, &self.shared.settings.ids_key, now, &self.past()).await;
        Ok(self.append(drafts).await?.0)
    }

    /// Writes drafts, and hands what they open to the driver; says which run was the first to open. From the commit on
    /// it is not cancelled by its caller.
    async fn append(&self, drafts: Vec<Arc<NewEvent>>) -> Result<(Accepted, Option<RunId>), Refused> {
        let shared = Arc::clone(&self.shared);
        let notes = self.notes.clone();
        // A task of its own: if the caller goes away after the commit, the runs are still handed over.
        let appended = tasks::spawn("append", async move {
            let replies = shared.tools.store.commit(commands(&drafts)).await?;
            let (accepted, open) = shared.take_appended(&drafts, replies);
            let first = open.first().map(|run| run.id);
            if !open.is_empty() && notes.send(Note::Appended(open)).await.is_err() {
                // The driver is gone, so the host is stopping; the store has the runs.
                tracing::debug!("runs stay in the store: the driver has stopped");
            }
            Ok::<_, StoreError>((accepted, first))
        });
        match appended.await {
            Ok(appended) => Ok(appended?),
            Err(_) => Err(Refused::Stopping),
        }
    }

    /// What is defined now.
    pub fn plan(&self) -> Arc<Plan> {
        self.shared.plan.load_full()
    }

    /// Puts another plan in place. Attempts under way end on theirs.
    pub async fn swap(&self, plan: Arc<Plan>) {
        self.shared.plan.store(plan);
        self.tell(Note::Changed).await;
    }

    /// Puts dead letters back to work, under the same ids. Says how many there were.
    pub async fn redrive(&self, tasks: Vec<TaskId>, actor: &str) -> Result<u32, StoreError> {
        self.move_dead(tasks, DeadTo::Redriven, actor).await
    }

    /// Drops dead letters. Says how many there were.
    pub async fn discard(&self, tasks: Vec<TaskId>, actor: &str) -> Result<u32, StoreError> {
        self.move_dead(tasks, DeadTo::Dropped, actor).await
    }

    async fn move_dead(&self, tasks: Vec<TaskId>, to: DeadTo, actor: &str) -> Result<u32, StoreError> {
        let now = self.shared.tools.clock.now();
        let kind = match to {
            DeadTo::Redriven => "redriven",
            DeadTo::Dropped => "dropped",
        };
        let (kind, actor) = (Some(kind.into()), Some(actor.to_owned()));
        let detail = AttemptDetail { kind, actor, ..AttemptDetail::default() }.write();
        let moved = DeadMove { tasks, now, to, detail };
        let (shared, notes) = (Arc::clone(&self.shared), self.notes.clone());
        // A task of its own: if the caller goes away after the commit, the driver still hears of it.
        let moving = tasks::spawn("dead", async move {
            let replies = shared.tools.store.commit(vec![Command::Dead(moved)]).await?;
            let Some(Reply::Moved(moved)) = replies.into_iter().next() else { return Ok(0) };
            let count = u32::try_from(moved.len()).unwrap_or(u32::MAX);
            let n_back = moved.iter().filter(|moved| moved.begins_again).count();
            shared.counters.reopened(n_back);
            let runs: BTreeSet<RunId> = moved.into_iter().map(|moved| moved.run).collect();
            if !runs.is_empty() {
                tell(&notes, Note::Reload(runs.into_iter().collect())).await;
            }
            Ok::<u32, StoreError>(count)
        });
        moving.await.unwrap_or(Err(StoreError::Full("the host is stopping")))
    }

    /// Cancels a run: nothing of it is tried any more. Says whether there was anything to cancel; durable then.
    pub async fn cancel(&self, run: RunId, actor: &str) -> bool {
        let (done, answer) = oneshot::channel();
        self.tell(Note::Cancel { run, actor: actor.into(), done }).await;
        answer.await.unwrap_or(false)
    }

    /// Tests a connection; none where there is none of this name. A test that passes lifts what held it back.
    pub async fn probe(&self, connection: &str) -> Option<Result<(), SendError>> {
        let plan = self.plan();
        let connection = plan.connection(connection)?;
        let outcome = match tokio::time::timeout(connection.timeout, connection.sink.probe()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError {
                refusal: crate::ports::Refusal::Retry(None),
                message: "no answer in time".into(),
                status: None,
                answer: Bytes::new(),
            }),
        };
        if outcome.is_ok() {
            self.shared.tools.doors.admit(&connection.name);
            self.tell(Note::Changed).await;
        }
        Some(outcome)
    }

    /// Stops: nothing new is taken or started, what is under way has `grace` to end, and what does not goes back to
    /// the store. Everything that ended is durable when it returns.
    pub async fn stop(&self, grace: Duration) {
        self.is_stopping.store(true, Ordering::Release);
        let (done, stopped) = oneshot::channel();
        self.tell(Note::Stop { grace, done }).await;
        // An error means that the driver had stopped already.
        let _stopped = stopped.await;
    }

    /// The events that are taken from now on. A reader that falls behind loses some, and is told how many.
    pub fn feed(&self) -> broadcast::Receiver<Arc<Seen>> {
        self.shared.feed.subscribe()
    }

    /// Waits until the store can no longer be written. The host has to end then.
    pub async fn failed(&self) {
        let mut failed = self.shared.failed.subscribe();
        // The sender lives in `shared`, which `self` holds.
        let _seen = failed.wait_for(|failed| *failed).await;
    }

    fn past(&self) -> Arc<dyn Past> {
        Arc::new(StorePast(Arc::clone(&self.shared.tools.store)))
    }

    async fn tell(&self, note: Note) {
        tell(&self.notes, note).await;
    }
}

async fn tell(notes: &mpsc::Sender<Note>, note: Note) {
    if notes.send(note).await.is_err() {
        tracing::debug!("the driver has stopped");
    }
}

impl Shared {
    /// What the replies to appends mean: for the caller, for the driver, and for those who watch.
    fn take_appended(&self, drafts: &[Arc<NewEvent>], replies: Vec<Reply>) -> (Accepted, Vec<OpenRun>) {
        let mut accepted = Accepted { accepted: 0, duplicates: 0, ids: Vec::with_capacity(drafts.len()) };
        let mut open = Vec::new();
        for (draft, reply) in drafts.iter().zip(replies) {
            let appended = match reply {
                Reply::Appended(appended) => appended,
                Reply::Duplicate(id) => {
                    accepted.duplicates += 1;
                    accepted.ids.push(id);
                    continue;
                }
                // The store replies to an append in these two ways only.
                _ => continue,
            };
            accepted.accepted += 1;
            accepted.ids.push(appended.event);
            let mut runs = Vec::with_capacity(appended.runs.len());
            let mut refused = Vec::new();
            for (new, ids) in draft.runs.iter().zip(&appended.runs) {
                let Some(run) = ids.run else {
                    refused.push((Arc::clone(&new.trigger), Arc::clone(&new.subject)));
                    continue;
                };
                runs.push(run);
                open.push(OpenRun::appended(new, *ids, run, (appended.event, &draft.event), draft.received));
            }
            if self.feed.receiver_count() > 0 {
                let seen = Seen {
                    id: appended.event,
                    received: draft.received,
                    event: Arc::clone(&draft.event),
                    evaluations: draft.evaluations.clone(),
                    runs,
                    refused,
                };
                // An error means that nobody watches any more.
                let _sent = self.feed.send(Arc::new(seen));
            }
        }
        self.counters.accepted(&accepted, open.len());
        (accepted, open)
    }
}
