//! Dispatching: which task is next, from memory. Pure: it holds open runs, and is told the time and what happened.
//!
//! Every trigger is a lane, and lanes take turns, so that none starves another. A lane holds a bounded window of runs;
//! the rest stays in the store and is paged in when there is room. Of the runs that share an ordering key only the
//! first is at work.

mod lane;
mod wakes;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::definition::Switch;
use crate::deliver::Doors;
use crate::id::{RunId, TaskId};
use crate::plan::{Act, Plan, TriggerPlan};
use crate::record::{TASK_JUDGE, TaskState};
use crate::run::{OpenRun, OpenTask, waits_for_time};
use crate::time::Time;

use lane::Lane;
use wakes::{Wake, Wakes};

/// What is due later than this stays in the store until its time is near.
pub const HORIZON: Duration = Duration::from_secs(600);

/// The runs that a lane may have in memory even where memory is full.
pub const LANE_RUNS_MIN: u32 = 64;

/// The open work in memory.
pub struct Dispatch {
    runs: HashMap<RunId, OpenRun>,
    lanes: HashMap<Arc<str>, Lane>,
    /// The lanes that have something ready, in the order of their turns.
    ring: VecDeque<Arc<str>>,
    /// The runs of each ordering key, in commit order; the first is at work.
    lines: HashMap<(Arc<str>, Arc<str>), VecDeque<RunId>>,
    wakes: Wakes,
    /// Tasks that a door or a switch held back, to be looked at again when either changes.
    parked: HashMap<(RunId, usize), TaskState>,
    /// All that is due by then was taken in.
    covered: Time,
    bytes_held: usize,
    bounds: Bounds,
    /// Attempts under way that call a plugin.
    n_calls: usize,
    /// The newest run that was ever taken in: a newer one in the store is on its way here from its append.
    told: Option<RunId>,
    /// When this began; there are no appends of older runs.
    began: Time,
}

/// The bounds of a dispatch.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The most runs of a lane in memory.
    pub lane_runs_max: usize,
    /// About the most bytes of all of them.
    pub bytes_max: usize,
    /// The most attempts at one time.
    pub attempts_max: usize,
    /// The most of them that call a plugin.
    pub calls_max: usize,
}

/// A task to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// The task's place in it.
    pub task_at: usize,
}

/// A lane, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// The trigger.
    pub trigger: Arc<str>,
    /// Runs in memory.
    pub n_runs: usize,
    /// Tasks that could start now.
    pub n_ready: usize,
    /// Attempts under way.
    pub n_busy: u32,
    /// Whether there is more in the store.
    pub has_more: bool,
}

impl Dispatch {
    /// Nothing is open.
    pub fn new(bounds: Bounds, began: Time) -> Self {
        Self {
            runs: HashMap::new(),
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            lines: HashMap::new(),
            wakes: Wakes::default(),
            covered: began,
            parked: HashMap::new(),
            bytes_held: 0,
            bounds,
            n_calls: 0,
            told: None,
            began,
        }
    }

    /// Takes in a run that the store has. What is due far ahead, and what the lane has no room for, stays there only.
    pub fn add(&mut self, run: OpenRun, now: Time) {
        self.told = self.told.max(Some(run.id));
        if self.runs.contains_key(&run.id) || run.state().is_over() {
            return;
        }
        if run.order_key.is_none() && run.due_first().is_some_and(|due| self.is_far(due, now)) {
            return;
        }
        let first_task = run.tasks.first().map_or(i64::MAX, |task| task.id.seq());
        let runs_max = if self.is_full() { LANE_RUNS_MIN as usize } else { self.bounds.lane_runs_max };
        let lane = self.lanes.entry(Arc::clone(&run.trigger)).or_default();
        if lane.n_runs >= runs_max || lane.spilled_after.is_some() {
            lane.spill(first_task);
            return;
        }
        self.keep(run, now);
    }

    /// Whether memory holds as much as it may. Then a lane gets a few runs and no more: whatever fills the memory, a
    /// connection that is down as a rule, is not to stop the others.
    pub fn is_full(&self) -> bool {
        self.bytes_held > self.bounds.bytes_max
    }

    /// Whether something is due so late that it is left to the store until its time is near. What was covered stays
    /// so, even where the clock went back meanwhile.
    pub fn is_far(&self, due: Time, now: Time) -> bool {
        due > self.covered.max(now + HORIZON)
    }

    /// All that is due by then is being taken in.
    pub fn cover(&mut self, until: Time) {
        self.covered = self.covered.max(until);
    }

    /// Until when all that is due was taken in.
    pub fn covered(&self) -> Time {
        self.covered
    }

    /// Runs in which a task may wait for one that a person dropped.
    pub fn waiting_in_vain(&self) -> Vec<RunId> {
        self.runs.values().filter(|run| run.may_wait_in_vain()).map(|run| run.id).collect()
    }

    /// Takes in a run that was paged in for a lane, whatever its window.
    pub fn keep(&mut self, run: OpenRun, now: Time) {
        let id = run.id;
        // Of a run that is dead some tasks may wait for others: nothing of it moves before a person moves it.
        if self.runs.contains_key(&id) || run.state().is_over() {
            return;
        }
        let lane = self.lanes.entry(Arc::clone(&run.trigger)).or_default();
        lane.n_runs += 1;
        self.bytes_held += run.bytes_held();
        let line = run.order_key.clone().map(|key| (Arc::clone(&run.trigger), key));
        self.runs.insert(id, run);
        if let Some(line) = line {
            let line = self.lines.entry(line).or_default();
            // What was paged in may be older than what an append brought meanwhile.
            // A run that has begun ends before an older one, put back to work, has its turn again.
            let has_begun = |id: &RunId| self.runs.get(id).is_some_and(OpenRun::has_begun);
            let first = usize::from(line.front().is_some_and(has_begun));
            let at = line.partition_point(|other| *other < id).max(first);
            line.insert(at, id);
            if at != 0 {
                return;
            }
        }
        self.activate(id, now);
    }

    /// Whether a run may be taken from a page: one of an append that is not heard of yet is handed over by that, and
    /// might have come and gone by then.
    pub fn is_told(&self, run: &OpenRun) -> bool {
        run.created <= self.began || self.told.is_some_and(|told| run.id <= told)
    }

    /// A run that was judged goes on with these tasks.
    pub fn renew_tasks(&mut self, id: RunId, tasks: Vec<OpenTask>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let before = run.bytes_held();
        run.tasks = tasks;
        self.bytes_held = self.bytes_held.saturating_sub(before) + run.bytes_held();
    }

    /// The run, if it is in memory.
    pub fn run(&mut self, id: RunId) -> Option<&mut OpenRun> {
        self.runs.get_mut(&id)
    }

    /// Puts the tasks of a run that can go on where they belong: ready, or to wait for their time.
    pub fn activate(&mut self, id: RunId, now: Time) {
        let Some(run) = self.runs.get(&id) else { return };
        if !self.is_first(run) {
            return;
        }
        let waiting: Vec<(usize, Option<Time>)> = run
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| !task.is_busy && waits_for_time(task.progress.state))
            .map(|(at, task)| (at, task.progress.due))
            .collect();
        for (at, due) in waiting {
            match due.filter(|due| *due > now) {
                Some(due) => self.wakes.plan(due, Wake::Task(id, at)),
                None => self.make_ready(id, at),
            }
        }
    }

    /// An attempt that could not really be made: looked at again at this time.
    pub fn block(&mut self, start: Start, state: TaskState, until: Time) {
        self.free(start);
        self.parked.insert((start.run, start.task_at), state);
        self.wakes.plan(until, Wake::Task(start.run, start.task_at));
    }

    /// An attempt has ended, and others may have its place. Its outcome is still to be settled.
    pub fn ended(&mut self, start: Start) {
        let Some(run) = self.runs.get_mut(&start.run) else { return };
        let Some(lane) = self.lanes.get_mut(&run.trigger) else { return };
        lane.n_trying = lane.n_trying.saturating_sub(1);
        if let Some(task) = run.tasks.get_mut(start.task_at)
            && std::mem::take(&mut task.is_calling)
        {
            self.n_calls -= 1;
            lane.n_calls = lane.n_calls.saturating_sub(1);
        }
    }

    /// An outcome is settled: the trigger's policy lets another attempt start.
    pub fn free(&mut self, start: Start) {
        let Some(run) = self.runs.get_mut(&start.run) else { return };
        run.tasks[start.task_at].is_busy = false;
        let trigger = Arc::clone(&run.trigger);
        if let Some(lane) = self.lanes.get_mut(&trigger) {
            lane.n_busy = lane.n_busy.saturating_sub(1);
            if !lane.in_ring && !lane.ready.is_empty() {
                lane.in_ring = true;
                self.ring.push_back(trigger);
            }
        }
    }

    /// A run has no open task any more, or goes back to the store: the next one of its ordering key may begin.
    pub fn remove(&mut self, id: RunId, now: Time) {
        let Some(run) = self.runs.remove(&id) else { return };
        self.wakes.forget(id, run.tasks.len());
        self.bytes_held = self.bytes_held.saturating_sub(run.bytes_held());
        if let Some(lane) = self.lanes.get_mut(&run.trigger) {
            lane.n_runs -= 1;
            if lane.is_idle() {
                self.lanes.remove(&run.trigger);
            }
        }
        let Some(key) = run.order_key else { return };
        let key = (run.trigger, key);
        let Some(line) = self.lines.get_mut(&key) else { return };
        let was_first = line.front() == Some(&id);
        line.retain(|other| *other != id);
        match line.front().copied() {
            Some(next) if was_first => self.activate(next, now),
            Some(_) => {}
            None => {
                self.lines.remove(&key);
            }
        }
    }

    /// Wakes what is due.
    pub fn tick(&mut self, now: Time) {
        while let Some(wake) = self.wakes.next(now) {
            match wake {
                Wake::Lane(trigger) => {
                    if let Some(lane) = self.lanes.get_mut(&trigger)
                        && !lane.in_ring
                    {
                        lane.in_ring = true;
                        self.ring.push_back(trigger);
                    }
                }
                Wake::Task(id, at) => {
                    let task = self.runs.get(&id).and_then(|run| run.tasks.get(at));
                    let Some(task) = task.filter(|task| !task.is_busy && waits_for_time(task.progress.state)) else {
                        continue;
                    };
                    match task.progress.due.filter(|due| *due > now) {
                        Some(due) => self.wakes.plan(due, Wake::Task(id, at)),
                        None => self.make_ready(id, at),
                    }
                }
            }
        }
    }

    /// Looks again at everything that a door or a switch held back: one of them has changed.
    pub fn wake_all(&mut self) {
        for (id, at) in std::mem::take(&mut self.parked).into_keys() {
            self.make_ready(id, at);
        }
        for (trigger, lane) in &mut self.lanes {
            if !lane.in_ring && !lane.ready.is_empty() {
                lane.in_ring = true;
                self.ring.push_back(Arc::clone(trigger));
            }
        }
    }

    /// When something is due next.
    pub fn due_next(&self) -> Option<Time> {
        self.wakes.due_next()
    }

    /// The next task to be started, where so many attempts are under way: it is one of them from now on.
    ///
    /// A lane starts no more than are left free for the others. So the one that is slow, or hangs, gets half of all
    /// places and no more, the next one half of the rest, and there is always one for a lane that has none.
    pub fn next(&mut self, plan: &Plan, doors: &Doors, n_attempts: usize, now: Time) -> Option<Start> {
        let n_free = self.bounds.attempts_max.saturating_sub(n_attempts);
        let n_calls_free = self.bounds.calls_max.saturating_sub(self.n_calls);
        // Lanes that have their share stay in the ring, at its end: the search is over when only they are left.
        let mut n_passed = 0;
        while n_passed < self.ring.len() {
            let Some(trigger) = self.ring.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&trigger) else { continue };
            let defined = plan.trigger(&trigger);
            if lane.n_trying as usize >= n_free {
                self.ring.push_back(trigger);
                n_passed += 1;
                continue;
            }
            if !lane.may_start(defined.map(|trigger| &**trigger), now) {
                lane.in_ring = false;
                if let Some(until) = lane.until.take() {
                    self.wakes.plan(until, Wake::Lane(trigger));
                }
                continue;
            }
            let Some((id, at)) = lane.ready.pop_front() else {
                lane.in_ring = false;
                continue;
            };
            if lane.n_calls as usize >= n_calls_free && self.runs.get(&id).is_some_and(|run| calls(run, at, defined)) {
                lane.ready.push_front((id, at));
                self.ring.push_back(trigger);
                n_passed += 1;
                continue;
            }
            n_passed = 0;
            // The lane's next turn comes after the others'.
            self.ring.push_back(Arc::clone(&trigger));
            let start = Start { run: id, task_at: at };
            if self.is_startable(start, defined.map(|trigger| &**trigger), doors, now) {
                return Some(start);
            }
        }
        None
    }

    fn is_startable(&mut self, start: Start, trigger: Option<&TriggerPlan>, doors: &Doors, now: Time) -> bool {
        // An older run may have come before this one since it was made ready.
        if !self.runs.get(&start.run).is_some_and(|run| self.is_first(run)) {
            return false;
        }
        let Some(run) = self.runs.get_mut(&start.run) else { return false };
        let Some(task) = run.tasks.get_mut(start.task_at) else { return false };
        // A task can be named twice, by a timer and by a wake; what is under way or over is not started again.
        if task.is_busy || !waits_for_time(task.progress.state) || task.progress.due.is_some_and(|due| due > now) {
            return false;
        }
        let action = trigger.and_then(|trigger| trigger.action(&task.action));
        if task.ordinal != TASK_JUDGE
            && let Some(Act::Send(send)) = action.map(|action| &action.act)
            && let Some(blocked) = doors.peek(&send.connection)
        {
            self.parked.insert((start.run, start.task_at), blocked.state);
            self.wakes.plan(blocked.until, Wake::Task(start.run, start.task_at));
            return false;
        }
        task.is_busy = true;
        task.is_calling = matches!(action.map(|action| &action.act), Some(Act::Plugin { .. }));
        let n_calls = u32::from(task.is_calling);
        self.n_calls += n_calls as usize;
        self.parked.remove(&(start.run, start.task_at));
        let trigger_name = Arc::clone(&run.trigger);
        if let Some(lane) = self.lanes.get_mut(&trigger_name) {
            lane.started(trigger, now);
            lane.n_trying += 1;
            lane.n_calls += n_calls;
        }
        true
    }

    /// A lane that has room again and more in the store: the trigger, and the last task that it has seen.
    pub fn wants(&mut self) -> Option<(Arc<str>, i64)> {
        let half = if self.is_full() { LANE_RUNS_MIN as usize } else { self.bounds.lane_runs_max } / 2;
        let lane = self.lanes.iter_mut().find(|(_, lane)| lane.wants_more(half));
        lane.map(|(trigger, lane)| (Arc::clone(trigger), lane.begin_load()))
    }

    /// The store had no more for this lane than what was taken in; `last` is the last task that it gave.
    pub fn loaded(&mut self, trigger: &Arc<str>, last: Option<i64>, is_all: bool) {
        if let Some(lane) = self.lanes.get_mut(trigger) {
            lane.end_load(last, is_all);
            if lane.is_idle() {
                self.lanes.remove(trigger);
            }
        }
    }

    /// What holds the tasks of a run in memory back that is not written in their states.
    pub fn holds(&self, id: RunId, plan: &Plan) -> Vec<(TaskId, TaskState)> {
        let Some(run) = self.runs.get(&id) else { return Vec::new() };
        let is_paused = plan.trigger(&run.trigger).is_some_and(|trigger| trigger.switch == Switch::Paused);
        let is_first = self.is_first(run);
        let idle =
            run.tasks.iter().enumerate().filter(|(_, task)| !task.is_busy && waits_for_time(task.progress.state));
        let held = idle.filter_map(|(at, task)| match (is_first, is_paused) {
            (false, _) => Some((task.id, TaskState::WaitingOrder)),
            (true, true) => Some((task.id, TaskState::WaitingPaused)),
            (true, false) => self.parked.get(&(id, at)).map(|state| (task.id, *state)),
        });
        held.collect()
    }

    /// All lanes, for people.
    pub fn view(&self) -> Vec<LaneView> {
        let lanes = self.lanes.iter().filter(|(_, lane)| lane.has_work());
        let mut views: Vec<_> = lanes.map(|(trigger, lane)| lane.view(trigger)).collect();
        views.sort_unstable_by(|a, b| a.trigger.cmp(&b.trigger));
        views
    }

    /// Runs in memory, and about how many bytes they hold.
    pub fn size(&self) -> (usize, usize) {
        (self.runs.len(), self.bytes_held)
    }

    fn is_first(&self, run: &OpenRun) -> bool {
        let Some(key) = &run.order_key else { return true };
        let line = self.lines.get(&(Arc::clone(&run.trigger), Arc::clone(key)));
        line.and_then(|line| line.front()) == Some(&run.id)
    }

    fn make_ready(&mut self, id: RunId, at: usize) {
        let Some(run) = self.runs.get(&id) else { return };
        let trigger = Arc::clone(&run.trigger);
        let lane = self.lanes.entry(Arc::clone(&trigger)).or_default();
        lane.ready.push_back((id, at));
        if !lane.in_ring {
            lane.in_ring = true;
            self.ring.push_back(trigger);
        }
    }
}

/// Whether the task at this place of the run calls a plugin.
fn calls(run: &OpenRun, at: usize, trigger: Option<&Arc<TriggerPlan>>) -> bool {
    let action = run.tasks.get(at).zip(trigger).and_then(|(task, trigger)| trigger.action(&task.action));
    matches!(action.map(|action| &action.act), Some(Act::Plugin { .. }))
}
