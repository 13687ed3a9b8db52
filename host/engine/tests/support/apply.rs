//! What the commands do to the store in memory, and what of them breaks the engine's promises.

use std::sync::Arc;
use std::time::Duration;

use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::limits::STATE_KEYS_MAX;
use trapjaw_engine::ports::{Activity, AttemptView, EventView, Receipt, RunView, StateOp};
use trapjaw_engine::record::{
    Appended, AppendedRun, AttemptResult, Command, DeadMove, DeadTo, Guard, Judged, JudgedTo, Moved, NewEvent, NewRun,
    NewTask, Progress, Reply, RunState, SendRecord, Settle, TASK_JUDGE, TaskState, TaskTo,
};
use trapjaw_engine::time::Time;

use super::store::{RunRow, State, TaskRow, Value};

impl State {
    pub(crate) fn apply(&mut self, command: &Command) -> Reply {
        match command {
            Command::Append(new) => self.append(new),
            Command::Judged(judged) => self.judged(judged),
            Command::Settle(settle) => self.settle(settle),
            Command::Record(record) => self.record(record),
            Command::Dead(moved) => self.move_dead(moved),
            Command::Configure(_) | Command::Publish(_) => panic!("the engine defines nothing"),
        }
    }

    fn append(&mut self, new: &NewEvent) -> Reply {
        if let Some(first) = new.dedup.and_then(|dedup| self.dedup.get(&dedup)) {
            return Reply::Duplicate(*first);
        }
        let id = EventId::of(i64::try_from(self.events.len()).unwrap() + 1);
        if let Some(dedup) = new.dedup {
            self.dedup.insert(dedup, id);
        }
        let runs: Vec<AppendedRun> = new.runs.iter().map(|run| self.append_run(id, new.received, run)).collect();
        let mut written = runs.iter().filter_map(|run| run.run);
        let n_runs = u32::try_from(written.clone().count()).unwrap();
        self.events.push(EventView {
            id,
            received: new.received,
            event: Arc::clone(&new.event),
            evaluations: new.evaluations.clone(),
            runs: written.next().map(|first| (first, n_runs)),
        });
        Reply::Appended(Appended { event: id, runs })
    }

    fn append_run(&mut self, event: EventId, now: Time, run: &NewRun) -> AppendedRun {
        let is_judging = run.tasks.iter().any(|task| task.ordinal == TASK_JUDGE);
        let reserved = if is_judging {
            Vec::new()
        } else {
            match self.reserve(&run.trigger, &run.subject, run.guard.as_ref(), now) {
                Some(reserved) => reserved,
                None => return AppendedRun { run: None, task_first: TaskId::of(self.task_next) },
            }
        };
        let id = RunId::of(i64::try_from(self.runs.len()).unwrap() + 1);
        let view = RunView {
            id,
            event_id: event,
            event: None,
            trigger: Arc::clone(&run.trigger),
            trigger_version: run.trigger_version,
            subject: Arc::clone(&run.subject),
            subject_no: run.subject_no,
            order_key: run.order_key.clone(),
            state: run.state,
            created: now,
            ended: None,
            evaluation: bytes::Bytes::new(),
            tasks: Vec::new(),
        };
        self.runs.insert(id.seq(), RunRow { view, tasks: Vec::new(), reserved });
        AppendedRun { run: Some(id), task_first: self.append_tasks(id, &run.tasks) }
    }

    fn append_tasks(&mut self, run: RunId, tasks: &[NewTask]) -> TaskId {
        let first = self.task_next;
        for new in tasks {
            let row =
                TaskRow { run: run.seq(), new: new.clone(), progress: new.progress, attempts: Vec::new(), dead: None };
            self.tasks.insert(self.task_next, row);
            self.open.insert(self.task_next, run.seq());
            self.task_next += 1;
        }
        self.run_row(run).tasks = (first..self.task_next).collect();
        TaskId::of(first)
    }

    fn run_row(&mut self, run: RunId) -> &mut RunRow {
        self.runs.get_mut(&run.seq()).expect("the engine names runs that there are")
    }

    fn set_run(&mut self, run: RunId, state: RunState, now: Time) {
        let row = self.run_row(run);
        row.view.state = state;
        row.view.ended = state.is_over().then_some(now);
    }

    fn judged(&mut self, judged: &Judged) -> Reply {
        let seq = judged.task.seq();
        if self.open.get(&seq) != Some(&judged.run.seq()) {
            self.violations.push(format!("{} is judged, and is not open", judged.task));
            return Reply::Done;
        }
        let run = self.run_row(judged.run);
        run.view.evaluation = judged.evaluation.clone();
        let (event, trigger, subject) =
            (run.view.event_id, Arc::clone(&run.view.trigger), Arc::clone(&run.view.subject));
        match &judged.to {
            JudgedTo::Act { state, guard, tasks } => {
                self.open.remove(&seq);
                let Some(reserved) = self.reserve(&trigger, &subject, guard.as_ref(), judged.now) else {
                    self.end_judged(judged, RunState::NotMatched);
                    let runs = vec![AppendedRun { run: None, task_first: TaskId::of(self.task_next) }];
                    return Reply::Appended(Appended { event, runs });
                };
                self.run_row(judged.run).reserved = reserved;
                let task_first = self.append_tasks(judged.run, tasks);
                self.set_run(judged.run, *state, judged.now);
                Reply::Appended(Appended { event, runs: vec![AppendedRun { run: Some(judged.run), task_first }] })
            }
            JudgedTo::End(state) => {
                self.end_judged(judged, *state);
                Reply::Done
            }
            JudgedTo::Again(progress) => {
                self.tasks.get_mut(&seq).unwrap().progress = *progress;
                self.set_run(judged.run, RunState::of_tasks([progress.state].into_iter()), judged.now);
                Reply::Done
            }
            JudgedTo::Dead { cause } => {
                self.bury(seq, judged.now, cause);
                self.set_run(judged.run, RunState::Dead, judged.now);
                Reply::Done
            }
        }
    }

    fn end_judged(&mut self, judged: &Judged, state: RunState) {
        self.open.remove(&judged.task.seq());
        self.release(judged.run);
        self.run_row(judged.run).tasks.clear();
        self.set_run(judged.run, state, judged.now);
    }

    fn settle(&mut self, settle: &Settle) -> Reply {
        let seq = settle.task.seq();
        if self.open.get(&seq) != Some(&settle.run.seq()) {
            self.violations.push(format!("{} is settled as {:?}, and is not open", settle.task, settle.to));
        }
        if self.change_state(settle).is_none() {
            return Reply::StateConflict;
        }
        if let Some(attempt) = &settle.attempt {
            let state = match &settle.to {
                TaskTo::Open(progress) => progress.state,
                TaskTo::Closed(state) => *state,
                TaskTo::Dead { .. } => TaskState::Dead,
            };
            let view = AttemptView {
                number: attempt.number,
                started: attempt.started,
                ended: settle.now,
                result: attempt.result,
                state,
                detail: attempt.detail.clone(),
            };
            let row = self.tasks.get_mut(&seq).expect("the engine names tasks that there are");
            let last = row.attempts.last().map_or(0, |attempt| attempt.number);
            if attempt.number != last + 1 {
                self.violations.push(format!("{}: attempt {} follows {last}", settle.task, attempt.number));
            }
            row.attempts.push(view);
        }
        self.move_task(seq, &settle.to, settle.now);
        for (other, to) in &settle.others {
            if !self.open.contains_key(&other.seq()) {
                self.violations.push(format!("{other} moves with {} to {to:?}, and is not open", settle.task));
            }
            self.move_task(other.seq(), to, settle.now);
        }
        if settle.release {
            self.release(settle.run);
        }
        self.set_run(settle.run, settle.run_state, settle.now);
        if settle.events.is_empty() {
            return Reply::Done;
        }
        Reply::Settled(settle.events.iter().map(|event| self.append(event)).collect())
    }

    fn move_task(&mut self, seq: i64, to: &TaskTo, now: Time) {
        let row = self.tasks.get_mut(&seq).expect("the engine names tasks that there are");
        match to {
            TaskTo::Open(progress) => row.progress = *progress,
            TaskTo::Closed(state) => {
                row.progress.state = *state;
                self.open.remove(&seq);
            }
            TaskTo::Dead { cause } => self.bury(seq, now, cause),
        }
    }

    fn bury(&mut self, seq: i64, now: Time, cause: &str) {
        self.open.remove(&seq);
        let row = self.tasks.get_mut(&seq).expect("the engine names tasks that there are");
        row.progress.state = TaskState::Dead;
        row.dead = Some((now, cause.into()));
    }

    fn move_dead(&mut self, moved: &DeadMove) -> Reply {
        let mut done = Vec::new();
        for task in &moved.tasks {
            let Some(row) = self.tasks.get_mut(&task.seq()).filter(|row| row.dead.is_some()) else { continue };
            let (result, to) = match moved.to {
                DeadTo::Redriven => (AttemptResult::Redriven, Progress::READY),
                DeadTo::Dropped => (AttemptResult::Cancelled, Progress { state: TaskState::Cancelled, ..row.progress }),
            };
            row.dead = None;
            row.progress = to;
            row.attempts.push(AttemptView {
                number: row.attempts.last().map_or(0, |attempt| attempt.number) + 1,
                started: moved.now,
                ended: moved.now,
                result,
                state: to.state,
                detail: moved.detail.clone(),
            });
            let run = RunId::of(row.run);
            let was_over = self.runs[&run.seq()].view.ended.is_some();
            let state = match moved.to {
                DeadTo::Redriven => {
                    self.open.insert(task.seq(), run.seq());
                    RunState::Running
                }
                DeadTo::Dropped => {
                    let tasks = &self.runs[&run.seq()].tasks;
                    RunState::of_tasks(tasks.iter().map(|task| self.tasks[task].progress.state))
                }
            };
            if state == RunState::Cancelled {
                self.release(run);
            }
            self.set_run(run, state, moved.now);
            done.push(Moved { task: *task, run, begins_again: was_over && !state.is_over() });
        }
        Reply::Moved(done)
    }

    fn record(&mut self, record: &SendRecord) -> Reply {
        let sends = self.sends.entry(record.task).or_default();
        if sends.iter().all(|(key, _)| *key != record.key) {
            let receipt = Receipt { replayed: true, ..record.receipt.clone() };
            sends.push((record.key.clone(), receipt));
        }
        Reply::Done
    }

    /// Checks the guard, and counts the run.
    fn reserve(
        &mut self,
        trigger: &str,
        subject: &str,
        guard: Option<&Guard>,
        now: Time,
    ) -> Option<Vec<((String, String), Time)>> {
        let mut subjects = vec![subject.to_owned()];
        subjects.retain(|subject| !subject.is_empty());
        if let Some(guard) = guard {
            let times = self.counted.get(&(trigger.to_owned(), guard.subject.to_string()));
            let times = times.map(Vec::as_slice).unwrap_or_default();
            let in_window = |window: Option<Duration>| {
                times.iter().filter(|time| window.is_none_or(|window| **time > now - window)).count()
            };
            let is_hot = |gap: Duration| times.iter().max().is_some_and(|last| now.since(*last) < gap);
            if guard.limit.is_some_and(|(n_max, window)| in_window(window) >= n_max as usize)
                || guard.cooldown.is_some_and(is_hot)
            {
                return None;
            }
            if *guard.subject != *subject || subject.is_empty() {
                subjects.push(guard.subject.to_string());
            }
        }
        let of: Vec<_> = subjects.into_iter().map(|subject| ((trigger.to_owned(), subject), now)).collect();
        for (of, at) in &of {
            self.counted.entry(of.clone()).or_default().push(*at);
        }
        Some(of)
    }

    fn release(&mut self, run: RunId) {
        for (of, at) in std::mem::take(&mut self.run_row(run).reserved) {
            let times = self.counted.get_mut(&of).unwrap();
            let place = times.iter().position(|time| *time == at).unwrap();
            times.remove(place);
        }
    }

    pub(crate) fn activity(&self, trigger: &str, subject: &str) -> Activity {
        let times = self.counted.get(&(trigger.to_owned(), subject.to_owned()));
        let times = times.map(Vec::as_slice).unwrap_or_default();
        Activity { count: u32::try_from(times.len()).unwrap(), last: times.iter().max().copied() }
    }

    pub(crate) fn value(&self, plugin: &str, trigger: &str, key: &str, now: Time) -> Option<Vec<u8>> {
        let (value, expires) = self.values.get(&(plugin.to_owned(), trigger.to_owned(), key.to_owned()))?;
        expires.is_none_or(|expires| expires > now).then(|| value.clone())
    }

    /// How many values the plugin keeps for the trigger.
    pub(crate) fn n_values(&self, plugin: &str, trigger: &str, now: Time) -> usize {
        let is_live = |end: &Option<Time>| end.is_none_or(|end| end > now);
        let of = self.values.iter().filter(|((p, t, _), (_, end))| p == plugin && t == trigger && is_live(end));
        of.count()
    }

    /// Applies the changes of a plugin's state, or none of them.
    fn change_state(&mut self, settle: &Settle) -> Option<()> {
        let Some((plugin, trigger)) = &settle.state_of else { return Some(()) };
        let name = |key: &str| (plugin.to_string(), trigger.to_string(), key.to_owned());
        let before = self.n_values(plugin, trigger, settle.now);
        let mut values = self.values.clone();
        for op in &settle.state {
            let live = values.remove(&name(op.key())).filter(|(_, end)| end.is_none_or(|end| end > settle.now));
            if let Some(value) = change(live, op, settle.now)? {
                values.insert(name(op.key()), value);
            }
        }
        let old = std::mem::replace(&mut self.values, values);
        let after = self.n_values(plugin, trigger, settle.now);
        if after > before && after > STATE_KEYS_MAX as usize {
            self.values = old;
            return None;
        }
        Some(())
    }
}

/// The value after the change; none where it was not as the attempt had read it.
fn change(old: Option<Value>, op: &StateOp, now: Time) -> Option<Option<Value>> {
    match op {
        StateOp::Set { value, ttl, .. } => Some(Some((value.clone(), ttl.map(|ttl| now + ttl)))),
        StateOp::CompareAndSet { expected, value, .. } => {
            let is_expected = old.as_ref().map(|(value, _)| value) == expected.as_ref();
            is_expected.then(|| Some((value.clone(), None)))
        }
        StateOp::Increment { by, .. } => {
            let number = old.as_ref().and_then(|(value, _)| std::str::from_utf8(value).ok()?.parse::<i64>().ok());
            let expires = old.and_then(|(_, expires)| expires);
            Some(Some(((number.unwrap_or(0) + by).to_string().into_bytes(), expires)))
        }
        StateOp::Remove { .. } => Some(None),
    }
}
