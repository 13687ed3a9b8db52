//! Outcomes: from an attempt that has ended to the command that keeps it, and what follows once that is durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Driver;
use super::attempt::{ActionEnded, Ended, JudgeEnded, Needs};
use crate::dispatch::Start;
use crate::evaluation::{AttemptDetail, write_evaluations};
use crate::id::{RunId, TaskId};
use crate::judge::Judgement;
use crate::limits::{BODY_BYTES_MAX, DETAIL_BYTES_MAX, JUDGE_TRIES_MAX};
use crate::ports::StateOp;
use crate::record::{
    AttemptRecord, AttemptResult, Command, Judged, JudgedTo, NewTask, Progress, Reply, RunState, Settle, TaskState,
    TaskTo,
};
use crate::run::{OpenRun, OpenTask, tasks_from};
use crate::settle::{End, Standing, settle};
use crate::time::Time;

/// The wait before the second try of a judgement; it doubles.
const JUDGE_WAIT: Duration = Duration::from_secs(2);
/// How soon an attempt is made again whose state had changed meanwhile.
const CONFLICT_WAIT: Duration = Duration::from_millis(20);

/// The commands of the next commit, each with what follows when it is durable.
#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) commands: Vec<Command>,
    pub(super) afters: Vec<After>,
}

/// What follows when a command is durable.
pub(super) struct After {
    pub(super) run: RunId,
    pub(super) may_conflict: bool,
    follow: Follow,
}

enum Follow {
    /// The run's tasks moved. Where the store refused, they go back to where they were.
    Settled { before: Vec<(usize, Progress)>, done: Option<oneshot::Sender<bool>> },
    /// A run that was judged goes on with these tasks.
    Acting(Vec<NewTask>),
}

/// How one task is settled.
struct Move {
    start: Start,
    began: Time,
    to: TaskTo,
    result: AttemptResult,
    detail: AttemptDetail,
    needs: Needs,
    state_of: Option<(Arc<str>, Arc<str>)>,
    state: Vec<StateOp>,
    done: Option<oneshot::Sender<bool>>,
}

impl Driver {
    /// Settles what has ended: memory moves at once, the command waits for the next commit.
    pub(super) fn settle(&mut self, ended: Ended, outcomes: &mut Outcomes) {
        match ended {
            Ended::Performed(ended) => self.settle_action(*ended, outcomes),
            Ended::Judged(ended) => self.settle_judge(*ended, outcomes),
            Ended::Cancelled { start, actor, done } => {
                let (kind, actor) = (Some("cancelled".into()), Some(actor.to_string()));
                let detail = AttemptDetail { kind, actor, ..AttemptDetail::default() };
                self.move_task(
                    Move {
                        start,
                        began: self.shared.tools.clock.now(),
                        to: TaskTo::Closed(TaskState::Cancelled),
                        result: AttemptResult::Cancelled,
                        detail,
                        needs: Needs::Kept,
                        state_of: None,
                        state: Vec::new(),
                        done,
                    },
                    outcomes,
                );
            }
            Ended::Dropped { run, needs } => self.settle_dropped(run, &needs, outcomes),
            Ended::Many(many) => many.into_iter().for_each(|ended| self.settle(ended, outcomes)),
        }
    }

    fn settle_action(&mut self, ended: ActionEnded, outcomes: &mut Outcomes) {
        let ActionEnded { start, began, performed, retry, needs, deadline } = ended;
        let now = self.shared.tools.clock.now();
        let is_cancelled = self.dispatch.run(start.run).is_some_and(|run| run.is_cancelled);
        if let (End::Blocked { state, until }, false) = (&performed.end, is_cancelled) {
            self.dispatch.block(start, *state, *until);
            return;
        }
        self.dispatch.free(start);
        let dice = self.shared.dice.roll();
        let Some(run) = self.dispatch.run(start.run) else { return };
        let task = &mut run.tasks[start.task_at];
        task.rendered = performed.rendered.or(task.rendered.take());
        let standing = Standing {
            tries: task.progress.tries,
            resumes: task.progress.resumes,
            first_try: *task.first_try.get_or_insert(began),
            deadline,
        };
        let end = match performed.end {
            End::Retry { .. } | End::ResumeAt(_) | End::Blocked { .. } if is_cancelled => End::Cancelled,
            end => end,
        };
        let mut detail = performed.detail;
        task.is_request_kept |= task.number == 0 && detail.request.is_some();
        if end == End::Done && !performed.output.is_null() {
            detail.output = Some(performed.output.to_string());
            if run.tasks.len() > 1 {
                let action = Arc::clone(&run.tasks[start.task_at].action);
                run.note_output(&action, performed.output);
            }
        }
        let (to, result) = settle(end, standing, &retry, now, dice);
        if let TaskTo::Open(Progress { due: Some(due), .. }) = &to {
            detail.next_us = Some(due.0);
            if result.begins_anew() {
                run.tasks[start.task_at].first_try = None;
            } else {
                detail.since_us = Some(standing.first_try.0);
            }
        }
        let (state_of, state) = (performed.state_of, performed.state);
        self.move_task(Move { start, began, to, result, detail, needs, state_of, state, done: None }, outcomes);
    }

    /// Ends what waits for a task that a person dropped. The store has that move already.
    fn settle_dropped(&mut self, id: RunId, needs: &Needs, outcomes: &mut Outcomes) {
        let now = self.shared.tools.clock.now();
        let Some(run) = self.dispatch.run(id) else { return };
        let mut before = Vec::new();
        let mut others = follow(run, &TaskTo::Closed(TaskState::Cancelled), needs, &mut before);
        let Some((task, to)) = others.pop() else { return };
        let run_state = run.state();
        let follow = Follow::Settled { before, done: None };
        outcomes.afters.push(After { run: id, may_conflict: false, follow });
        outcomes.commands.push(Command::Settle(Box::new(Settle {
            task,
            run: id,
            now,
            attempt: None,
            to,
            run_state,
            others,
            release: matches!(run_state, RunState::Skipped | RunState::Cancelled),
            state: Vec::new(),
            state_of: None,
            events: Vec::new(),
        })));
    }

    fn move_task(&mut self, moved: Move, outcomes: &mut Outcomes) {
        let now = self.shared.tools.clock.now();
        let Some(run) = self.dispatch.run(moved.start.run) else { return };
        let at = moved.start.task_at;
        let task = &mut run.tasks[at];
        let mut before = vec![(at, task.progress)];
        task.number += 1;
        let attempt = AttemptRecord {
            number: task.number,
            started: moved.began,
            result: moved.result,
            detail: bounded(moved.detail).write(),
        };
        apply(task, &moved.to);
        let id = task.id;
        let others = follow(run, &moved.to, &moved.needs, &mut before);
        let run_state = run.state();
        outcomes.afters.push(After {
            run: run.id,
            may_conflict: moved.state_of.is_some(),
            follow: Follow::Settled { before, done: moved.done },
        });
        outcomes.commands.push(Command::Settle(Box::new(Settle {
            task: id,
            run: run.id,
            now,
            attempt: Some(attempt),
            to: moved.to,
            run_state,
            others,
            release: matches!(run_state, RunState::Skipped | RunState::Cancelled),
            state: moved.state,
            state_of: moved.state_of,
            events: Vec::new(),
        })));
        self.shared.counters.settled(moved.result);
    }

    fn settle_judge(&mut self, ended: JudgeEnded, outcomes: &mut Outcomes) {
        let JudgeEnded { start, judgement, evaluation, acting, recheck, is_cancelled } = ended;
        let now = self.shared.tools.clock.now();
        self.dispatch.free(start);
        let Some(run) = self.dispatch.run(start.run) else { return };
        let is_called_off = run.is_cancelled;
        let task = &mut run.tasks[start.task_at];
        let mut follow = Follow::Settled { before: Vec::new(), done: None };
        let to = match (judgement, acting) {
            _ if is_cancelled || is_called_off => close(task, RunState::Cancelled),
            (Judgement::Go, Some(_)) if recheck.is_some() => {
                task.progress = Progress { state: TaskState::Scheduled, due: recheck, tries: 0, resumes: 0 };
                JudgedTo::Again(task.progress)
            }
            (Judgement::Go, Some(acting)) => {
                follow = Follow::Acting(acting.tasks.clone());
                // Nothing may take the judging up while its outcome is on its way.
                task.is_busy = true;
                JudgedTo::Act { state: acting.state, guard: acting.guard, tasks: acting.tasks }
            }
            (Judgement::Go, None) | (Judgement::No, _) => close(task, RunState::NotMatched),
            (Judgement::Again(reason), _) if task.progress.tries + 1 >= JUDGE_TRIES_MAX => dead(task, &reason),
            (Judgement::Again(_), _) => {
                let tries = task.progress.tries + 1;
                let due = Some(now + JUDGE_WAIT * 2u32.saturating_pow(tries - 1));
                task.progress = Progress { state: TaskState::WaitingRetry, due, tries, resumes: 0 };
                JudgedTo::Again(task.progress)
            }
            (Judgement::Dead(reason), _) => dead(task, &reason),
        };
        let judged =
            Judged { run: start.run, task: task.id, now, evaluation: write_evaluations(&[evaluation.into_kept()]), to };
        outcomes.commands.push(Command::Judged(Box::new(judged)));
        outcomes.afters.push(After { run: start.run, may_conflict: false, follow });
        self.shared.counters.judged();
    }

    /// Everything in the batch is durable: what depends on it goes on.
    pub(super) fn committed(&mut self, replies: Vec<Reply>, afters: Vec<After>) {
        let now = self.shared.tools.clock.now();
        for (reply, after) in replies.into_iter().zip(afters) {
            match (after.follow, reply) {
                (Follow::Settled { before, .. }, Reply::StateConflict) => self.undo(after.run, &before, now),
                (Follow::Settled { done, .. }, _) => {
                    let mut told: Vec<_> = done.into_iter().collect();
                    if let Some(run) = self.dispatch.run(after.run)
                        && !run.tasks.iter().any(|task| task.is_busy)
                    {
                        told.append(&mut run.cancellers);
                    }
                    self.go_on(after.run, now);
                    for done in told {
                        let _told = done.send(true);
                    }
                }
                (Follow::Acting(tasks), Reply::Appended(appended)) => match appended.runs.first() {
                    Some(ids) if ids.run.is_some() => {
                        self.dispatch.renew_tasks(after.run, tasks_from(ids.task_first, &tasks));
                        self.go_on(after.run, now);
                        self.call_off(after.run);
                    }
                    // The guard refused it.
                    Some(_) | None => self.end(after.run, now),
                },
                (Follow::Acting(_), _) => self.end(after.run, now),
            }
        }
    }

    /// Cancels what of the run is not under way; what is ends, and is not tried again.
    pub(super) fn cancel(&mut self, id: RunId, actor: &Arc<str>, done: oneshot::Sender<bool>) {
        let Some(run) = self.dispatch.run(id) else {
            let _told = done.send(false);
            return;
        };
        run.is_cancelled = true;
        let is_open = |task: &OpenTask| !task.progress.state.is_final() && task.progress.state != TaskState::Dead;
        let mut idle = Vec::new();
        for (task_at, task) in run.tasks.iter_mut().enumerate() {
            if is_open(task) && !task.is_busy {
                // Nothing else may take it up before it is settled.
                task.is_busy = true;
                idle.push(Start { run: id, task_at });
            }
        }
        let Some(last) = idle.pop() else {
            if run.tasks.iter().any(|task| task.is_busy) {
                // Until the end of what is under way is durable, a crash would forget that the run was cancelled.
                run.cancellers.push(done);
            } else {
                let _told = done.send(false);
            }
            return;
        };
        for start in idle {
            self.pending.push_back(Ended::Cancelled { start, actor: Arc::clone(actor), done: None });
        }
        self.pending.push_back(Ended::Cancelled { start: last, actor: Arc::clone(actor), done: Some(done) });
    }

    /// The store refused an outcome because the plugin's state had changed: the attempt is made again.
    fn undo(&mut self, id: RunId, before: &[(usize, Progress)], now: Time) {
        let Some(run) = self.dispatch.run(id) else { return };
        for (at, progress) in before {
            run.tasks[*at].progress = *progress;
        }
        if let Some((at, _)) = before.first() {
            let task = &mut run.tasks[*at];
            task.number = task.number.saturating_sub(1);
            task.progress.due = Some(now + CONFLICT_WAIT);
        }
        self.dispatch.activate(id, now);
        self.call_off(id);
    }

    /// A run that was cancelled while an outcome of it was on its way has tasks again: they end here.
    fn call_off(&mut self, id: RunId) {
        if self.dispatch.run(id).is_some_and(|run| run.is_cancelled) {
            let (done, _nobody_waits) = oneshot::channel();
            self.cancel(id, &"the one who cancelled the run".into(), done);
        }
    }

    fn go_on(&mut self, id: RunId, now: Time) {
        let Some(run) = self.dispatch.run(id) else { return };
        let is_busy = run.tasks.iter().any(|task| task.is_busy);
        let is_over = run.state().is_over();
        let (order, due) = (run.order_key.is_some(), run.due_first());
        let is_far = !order && due.is_some_and(|due| self.dispatch.is_far(due, now));
        match (is_busy, is_over, is_far) {
            (false, true, _) => self.end(id, now),
            (false, false, true) => self.leave(id, now),
            (true, _, _) | (false, false, false) => self.dispatch.activate(id, now),
        }
    }

    /// The run has ended.
    pub(super) fn end(&mut self, id: RunId, now: Time) {
        self.shared.counters.ended();
        self.leave(id, now);
    }

    /// The run leaves memory. A page that is on its way may show it as it was.
    fn leave(&mut self, id: RunId, now: Time) {
        if self.load.is_some() {
            self.left.insert(id);
        }
        self.dispatch.remove(id, now);
    }
}

fn close(task: &mut OpenTask, state: RunState) -> JudgedTo {
    task.progress.state = TaskState::Cancelled;
    JudgedTo::End(state)
}

fn dead(task: &mut OpenTask, reason: &str) -> JudgedTo {
    task.progress.state = TaskState::Dead;
    let first_line = reason.lines().next().unwrap_or_default();
    JudgedTo::Dead { cause: format!("judge: {}", crate::pattern::cut(first_line)).into() }
}

fn apply(task: &mut OpenTask, to: &TaskTo) {
    task.is_busy = false;
    match to {
        TaskTo::Open(progress) => task.progress = *progress,
        TaskTo::Closed(state) => task.progress.state = *state,
        TaskTo::Dead { .. } => task.progress.state = TaskState::Dead,
    }
}

/// The tasks that this one let go on, or took with it.
fn follow(run: &mut OpenRun, to: &TaskTo, needs: &Needs, before: &mut Vec<(usize, Progress)>) -> Vec<(TaskId, TaskTo)> {
    if !matches!(to, TaskTo::Closed(_)) {
        return Vec::new();
    }
    let mut others = Vec::new();
    // What follows may itself let others follow; each round moves one at least.
    loop {
        let n_before = others.len();
        for other in 0..run.tasks.len() {
            let task = &run.tasks[other];
            if task.progress.state != TaskState::WaitingNeeds || task.is_busy {
                continue;
            }
            let Some(to) = follows(run, task, needs) else { continue };
            before.push((other, task.progress));
            apply(&mut run.tasks[other], &to);
            others.push((run.tasks[other].id, to));
        }
        if others.len() == n_before {
            return others;
        }
    }
}

/// Where a task goes that waits for others, as they stand now and as the trigger is defined; none where it still waits.
fn follows(run: &OpenRun, task: &OpenTask, needs: &Needs) -> Option<TaskTo> {
    let gone = TaskTo::Closed(TaskState::Cancelled);
    let needed = match needs {
        Needs::Kept => return None,
        Needs::Gone => return Some(gone),
        Needs::Of(actions) => actions.iter().find(|(name, _)| *name == task.action),
    };
    let Some((_, needed)) = needed else { return Some(gone) };
    // An action that the run has no task for is nothing to wait for.
    let states = needed.iter().filter_map(|name| run.tasks.iter().find(|task| task.action == *name));
    let mut states = states.map(|task| task.progress.state);
    if states.clone().any(|state| state == TaskState::Cancelled) {
        return Some(gone);
    }
    let is_ready = states.all(|state| matches!(state, TaskState::Succeeded | TaskState::Skipped));
    is_ready.then_some(TaskTo::Open(Progress { due: task.progress.due, ..Progress::READY }))
}

fn bounded(mut detail: AttemptDetail) -> AttemptDetail {
    let cut = |text: &mut String| text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    if let Some(reason) = &mut detail.reason {
        cut(reason);
    }
    cut(&mut detail.backtrace);
    detail.output = detail.output.filter(|output| output.len() <= BODY_BYTES_MAX);
    detail
}
