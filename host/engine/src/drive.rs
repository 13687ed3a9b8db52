//! The driver: the one task that owns the open work. It starts what dispatch says is next, settles what has ended, and
//! commits the outcomes in batches: whatever ended while the last commit was on its way.

mod attempt;
mod load;
mod outcome;

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::dispatch::{Dispatch, LaneView, Start};
use crate::engine::Shared;
use crate::id::{RunId, TaskId};
use crate::ports::StoreError;
use crate::record::{Reply, TaskState};
use crate::run::OpenRun;
use crate::time::Time;

use attempt::Ended;
use load::{Load, Loaded};
use outcome::{After, Outcomes};

/// Outcomes that may wait for their commit; beyond that nothing new is started.
const PENDING_MAX: usize = 8_192;
/// The most outcomes of one commit.
const BATCH_MAX: usize = 1_024;

/// The most notes that are heard between two looks at everything else.
const NOTES_PER_TURN: usize = 64;

/// What the driver is told.
pub(crate) enum Note {
    /// Runs that an append just wrote.
    Appended(Vec<OpenRun>),
    /// Something changed that may have held work back: the plan, or a door.
    Changed,
    /// Runs whose tasks were moved in the store.
    Reload(Vec<RunId>),
    /// A person cancels a run; answered when that is durable, with whether there was anything to cancel.
    Cancel { run: RunId, actor: Arc<str>, done: oneshot::Sender<bool> },
    /// A person asks what there is.
    View(oneshot::Sender<Vec<LaneView>>),
    /// A person asks what holds tasks of these runs back.
    Holds { runs: Vec<RunId>, answer: oneshot::Sender<Vec<(TaskId, TaskState)>> },
    /// End: what is under way has this long.
    Stop { grace: Duration, done: oneshot::Sender<()> },
}

type Commit = Boxed<Result<Vec<Reply>, StoreError>>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) struct Driver {
    shared: Arc<Shared>,
    notes: mpsc::Receiver<Note>,
    dispatch: Dispatch,
    attempts: JoinSet<Ended>,
    starts: HashMap<tokio::task::Id, Start>,
    pending: VecDeque<Ended>,
    commit: Option<(Commit, Vec<After>)>,
    loads: VecDeque<Load>,
    load: Option<Boxed<Loaded>>,
    /// No load begins before this: the last one failed.
    load_from: Time,
    /// Runs that left memory since the load under way began.
    left: HashSet<RunId>,
    stop: Option<oneshot::Sender<()>>,
}

impl Driver {
    /// A driver with the work that the store had.
    pub(crate) async fn recover(shared: Arc<Shared>, notes: mpsc::Receiver<Note>) -> Result<Self, StoreError> {
        let now = shared.tools.clock.now();
        let mut dispatch = Dispatch::new(shared.settings.bounds(), now);
        load::recover(&shared, &mut dispatch, now).await?;
        let mut driver = Self {
            shared,
            notes,
            dispatch,
            attempts: JoinSet::new(),
            starts: HashMap::new(),
            pending: VecDeque::new(),
            commit: None,
            loads: VecDeque::new(),
            load: None,
            load_from: now,
            left: HashSet::new(),
            stop: None,
        };
        let runs = driver.dispatch.waiting_in_vain();
        runs.into_iter().for_each(|run| driver.follow_dropped(run));
        Ok(driver)
    }

    /// Works until it is stopped, or until the store can no longer be written.
    pub(crate) async fn run(mut self) {
        loop {
            // Settling frees places, so it comes first.
            self.begin_commit();
            self.start_all();
            self.begin_load();
            if self.is_done() {
                if let Some(done) = self.stop.take() {
                    // Whoever waited may be gone; the work is done all the same.
                    let _told = done.send(());
                }
                return;
            }
            if let Err(err) = self.wait().await {
                tracing::error!(error = &err as &dyn std::error::Error, "carry open work on: stopping");
                self.shared.fail(err);
                return;
            }
        }
    }

    /// Waits for the next thing to happen, and takes it in.
    async fn wait(&mut self) -> Result<(), StoreError> {
        let now = self.shared.tools.clock.now();
        let load_from = (self.load.is_none() && self.load_from > now).then_some(self.load_from);
        let due = [self.dispatch.due_next(), Some(self.dispatch.covered() - load::AHEAD), load_from]
            .into_iter()
            .flatten()
            .min();
        let sleep = due.map_or(Duration::MAX, |due| due.since(now)).min(Duration::from_secs(60));
        tokio::select! {
            biased;
            replies = async { match &mut self.commit { Some((commit, _)) => commit.await, None => std::future::pending().await } } => {
                let afters = self.commit.take().map(|(_, afters)| afters).unwrap_or_default();
                self.committed(replies?, afters);
            }
            Some(ended) = self.attempts.join_next_with_id() => {
                self.ended(ended);
                while let Some(ended) = self.attempts.try_join_next_with_id() {
                    self.ended(ended);
                }
            }
            loaded = async { match &mut self.load { Some(load) => load.await, None => std::future::pending().await } } => {
                self.load = None;
                self.take_in(loaded)?;
            }
            note = self.notes.recv(), if self.stop.is_none() => match note {
                Some(note) => self.note(note),
                None => return Err(StoreError::Closed("the engine was dropped")),
            },
            () = tokio::time::sleep(sleep) => {}
        }
        // Where attempts end all the time, what people and appends say would never be heard.
        for _ in 0..NOTES_PER_TURN {
            match self.notes.try_recv() {
                Ok(note) if self.stop.is_none() => self.note(note),
                Ok(_) | Err(_) => break,
            }
        }
        let (n_runs, bytes) = self.dispatch.size();
        self.shared.counters.open_in_memory(n_runs, bytes);
        let now = self.shared.tools.clock.now();
        self.dispatch.tick(now);
        let after = self.dispatch.covered();
        if now + load::AHEAD >= after {
            let until = now + crate::dispatch::HORIZON;
            self.dispatch.cover(until);
            self.loads.push_back(Load::Due { after, until });
        }
        Ok(())
    }

    fn note(&mut self, note: Note) {
        let now = self.shared.tools.clock.now();
        match note {
            Note::Appended(runs) => runs.into_iter().for_each(|run| self.dispatch.add(run, now)),
            Note::Changed => self.dispatch.wake_all(),
            Note::Reload(runs) => self.loads.extend(Load::of_runs(&runs)),
            Note::Cancel { run, actor, done } => match self.dispatch.run(run) {
                Some(_) => self.cancel(run, &actor, done),
                None => self.loads.push_back(Load::Runs { runs: vec![run], cancel: Some((actor, done)) }),
            },
            Note::View(answer) => {
                let _told = answer.send(self.dispatch.view());
            }
            Note::Holds { runs, answer } => {
                let plan = self.shared.plan.load();
                let _told = answer.send(runs.into_iter().flat_map(|run| self.dispatch.holds(run, &plan)).collect());
            }
            Note::Stop { grace, done } => {
                self.stop = Some(done);
                self.stop_within(grace);
            }
        }
    }

    /// Lets what is under way end within the grace; what does not goes back to the store as it was.
    fn stop_within(&mut self, grace: Duration) {
        let attempts = std::mem::take(&mut self.attempts);
        let starts = &mut self.starts;
        starts.clear();
        let mut rest = attempts;
        self.attempts.spawn(async move {
            let mut ended = Vec::new();
            let drain = async {
                while let Some(one) = rest.join_next().await {
                    ended.extend(one);
                }
            };
            // What is still under way is dropped with the set: its tasks are open in the store.
            let _in_time = tokio::time::timeout(grace, drain).await;
            Ended::Many(ended)
        });
    }

    fn is_done(&self) -> bool {
        self.stop.is_some() && self.attempts.is_empty() && self.pending.is_empty() && self.commit.is_none()
    }

    fn start_all(&mut self) {
        if self.stop.is_some() {
            return;
        }
        let plan = self.shared.plan.load_full();
        while self.attempts.len() < self.shared.settings.attempts_max && self.pending.len() < PENDING_MAX {
            let now = self.shared.tools.clock.now();
            let n_attempts = self.attempts.len();
            let Some(start) = self.dispatch.next(&plan, &self.shared.tools.doors, n_attempts, now) else { return };
            let Some(run) = self.dispatch.run(start.run) else { continue };
            let work = attempt::begin(&self.shared, &plan, run, start, now);
            let id = self.attempts.spawn(work).id();
            self.starts.insert(id, start);
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, Ended), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(err) => err.id(),
        };
        let start = self.starts.remove(&id);
        if let Some(start) = start {
            self.dispatch.ended(start);
        }
        match ended {
            Ok((_, Ended::Many(many))) => self.pending.extend(many),
            Ok((_, ended)) => self.pending.push_back(ended),
            Err(err) => {
                let Some(start) = start else { return };
                // The attempt is lost, the task is not: a person looks at it, and the others go on.
                tracing::error!(error = &err as &dyn std::error::Error, run = %start.run, "an attempt panicked");
                self.pending.push_back(Ended::panicked(start, self.shared.tools.clock.now()));
            }
        }
    }

    /// Settles what has ended, and sends the outcomes off together.
    fn begin_commit(&mut self) {
        if self.commit.is_some() || self.pending.is_empty() {
            return;
        }
        let mut outcomes = Outcomes::default();
        let mut left = VecDeque::new();
        let mut any_conflicts = false;
        while let Some(ended) = self.pending.pop_front() {
            if outcomes.commands.len() >= BATCH_MAX {
                self.pending.push_front(ended);
                break;
            }
            // An outcome that the store may refuse has its run to itself: what follows from the run's state is only
            // known when the store has answered.
            let may_conflict = ended.may_conflict();
            let run = ended.run();
            any_conflicts |= may_conflict;
            let shares = |after: &After| Some(after.run) == run && (may_conflict || after.may_conflict);
            if any_conflicts && outcomes.afters.iter().any(shares) {
                left.push_back(ended);
                continue;
            }
            self.settle(ended, &mut outcomes);
        }
        left.append(&mut self.pending);
        self.pending = left;
        let Outcomes { commands, afters } = outcomes;
        if !commands.is_empty() {
            let store = Arc::clone(&self.shared.tools.store);
            self.commit = Some((Box::pin(async move { store.commit(commands).await }), afters));
        }
    }
}
