//! Rows that wait to be written, a list for each statement, and how each becomes arguments.

use trapjaw_engine::record::{AttemptRecord, NewEvent, NewRun, Progress, RunState, SendRecord, TaskState};
use trapjaw_engine::time::Time;

use sqlx::Error;
use sqlx::error::BoxDynError;

use super::activity::Reserved;
use super::batch::Batch;
use super::rows::write_head;
use super::sql::{Args, Bind};

/// Rows by table. They are written in the order of the fields, which is the order that a task's life allows.
#[derive(Default)]
pub(super) struct Pending<'a> {
    /// Event, day and key of what was taken for the first time.
    pub(super) keys: Vec<(i64, i64, u128)>,
    pub(super) events: Vec<EventRow<'a>>,
    pub(super) runs: Vec<RunRow<'a>>,
    tasks_ready: Vec<TaskRow>,
    tasks: Vec<TaskRow>,
    pub(super) sends: Vec<&'a SendRecord>,
    pub(super) attempts: Vec<AttemptRow<'a>>,
    /// Where open tasks go on; the last one of a task counts.
    pub(super) moves: Vec<(i64, Progress)>,
    pub(super) closed: Vec<i64>,
    /// What tasks came to that were closed without an attempt.
    pub(super) ends: Vec<(i64, TaskState)>,
    /// What runs are from now on; the last one of a run counts.
    pub(super) run_states: Vec<(i64, RunState, Time)>,
}

pub(super) struct EventRow<'a> {
    pub(super) seq: i64,
    pub(super) new: &'a NewEvent,
    pub(super) run_first: i64,
    pub(super) run_count: i64,
}

pub(super) struct RunRow<'a> {
    pub(super) seq: i64,
    pub(super) event: i64,
    pub(super) run: &'a NewRun,
    pub(super) trigger: i64,
    pub(super) created: Time,
    pub(super) actions: i64,
    pub(super) task_first: i64,
    pub(super) reserved: Option<Reserved>,
}

pub(super) struct TaskRow {
    pub(super) seq: i64,
    pub(super) run: i64,
    pub(super) trigger: i64,
    pub(super) progress: Progress,
}

pub(super) struct AttemptRow<'a> {
    pub(super) task: i64,
    pub(super) attempt: &'a AttemptRecord,
    pub(super) ended: Time,
    pub(super) state: TaskState,
}

impl Pending<'_> {
    pub(super) fn add_task(&mut self, task: TaskRow) {
        if task.progress == Progress::READY { self.tasks_ready.push(task) } else { self.tasks.push(task) }
    }
}

impl Batch<'_> {
    /// Writes all rows that wait, so that a query sees them.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        let mut pending = std::mem::take(&mut self.pending);
        self.flush_appended(&mut pending).await?;
        self.flush_settled(&mut pending).await
    }

    async fn flush_appended(&mut self, pending: &mut Pending<'_>) -> Result<(), Error> {
        let (conn, sql) = (&mut *self.conn, self.statements);
        let (plain, rest): (Vec<_>, Vec<_>) = pending.runs.drain(..).partition(is_plain);
        let Pending { keys, events, tasks_ready, tasks, .. } = pending;
        let n = events.len();
        let is_even = keys.len() == n && tasks_ready.len() == n;
        if is_even && (plain.len() == n && rest.is_empty() || rest.len() == n && plain.is_empty()) {
            let key: Bind<'_> = &|args, place| bind_key(args, &keys[place]);
            let event: Bind<'_> = &|args, place| bind_event(args, &events[place]);
            let task: Bind<'_> = &|args, place| bind_task(args, &tasks_ready[place]);
            if rest.is_empty() {
                let run: Bind<'_> = &|args, place| bind_run(args, &plain[place]);
                sql.appended.execute(conn, n, &[key, event, run, task]).await?;
            } else {
                let run: Bind<'_> = &|args, place| bind_run_guarded(args, &rest[place]);
                sql.appended_guarded.execute(conn, n, &[key, event, run, task]).await?;
            }
        } else {
            sql.dedup_log.execute(conn, keys, bind_key).await?;
            sql.event.execute(conn, events, bind_event).await?;
            sql.run.execute(conn, &plain, bind_run).await?;
            sql.run_guarded.execute(conn, &rest, bind_run_guarded).await?;
            sql.task_ready.execute(conn, tasks_ready, bind_task).await?;
        }
        let bind_open = |args: &mut Args, task: &TaskRow| {
            bind_task(args, task)?;
            bind_progress(args, task.progress)
        };
        sql.task.execute(conn, tasks, bind_open).await?;
        Ok(())
    }

    async fn flush_settled(&mut self, pending: &mut Pending<'_>) -> Result<(), Error> {
        let (conn, sql, names) = (&mut *self.conn, self.statements, self.names);
        let sends: Vec<_> = pending.sends.iter().map(|send| (*send, names.intern(&send.connection))).collect();
        sql.send.execute(conn, &sends, |args, (send, connection)| bind_send(args, send, *connection)).await?;
        pending.attempts.sort_by_key(|row| row.task);
        keep_last(&mut pending.moves, |(task, _)| *task);
        pending.closed.sort_unstable();
        keep_last(&mut pending.run_states, |(run, ..)| *run);
        let bind_move = |args: &mut Args, (task, progress): &(i64, Progress)| {
            args.add(*task)?;
            bind_progress(args, *progress)
        };
        sql.task_move.execute(conn, &pending.moves, bind_move).await?;
        let Pending { attempts, closed, run_states, .. } = pending;
        let n = attempts.len();
        if closed.len() == n && run_states.len() == n {
            let attempt: Bind<'_> = &|args, place| bind_attempt(args, &attempts[place]);
            let close: Bind<'_> = &|args, place| args.add(closed[place]);
            let state: Bind<'_> = &|args, place| bind_run_state(args, &run_states[place]);
            sql.settled.execute(conn, n, &[attempt, close, state]).await?;
        } else {
            sql.attempt.execute(conn, attempts, bind_attempt).await?;
            sql.task_close.execute(conn, closed, |args, task| args.add(*task)).await?;
            sql.run_state.execute(conn, run_states, bind_run_state).await?;
        }
        let bind_end = |args: &mut Args, (task, state): &(i64, TaskState)| {
            args.add(*task)?;
            args.add(*state as u8)
        };
        sql.task_end.execute(conn, &pending.ends, bind_end).await?;
        Ok(())
    }
}

/// Sorts by key and keeps the last row of each.
fn keep_last<T>(rows: &mut Vec<T>, key: impl Fn(&T) -> i64) {
    rows.reverse();
    rows.sort_by_key(|row| key(row));
    rows.dedup_by_key(|row| key(row));
}

fn bind_key(args: &mut Args, (event, day, key): &(i64, i64, u128)) -> Result<(), BoxDynError> {
    args.add(*event)?;
    args.add(*day)?;
    args.add(&key.to_be_bytes()[..])
}

fn bind_event(args: &mut Args, row: &EventRow<'_>) -> Result<(), BoxDynError> {
    let event = &row.new.event;
    args.add(row.seq)?;
    args.add(row.new.received.0)?;
    args.add(event.time.0)?;
    args.add(&*event.source)?;
    args.add(&*event.id)?;
    args.add(&*event.kind)?;
    args.add(row.run_first)?;
    args.add(row.run_count)?;
    args.add(event.subject.as_deref())?;
    args.add(write_head(event))?;
    args.add(&event.data[..])?;
    args.add_blob(&row.new.evaluations)
}

/// Whether the run has nothing that the short statement leaves out.
fn is_plain(row: &RunRow<'_>) -> bool {
    let run = row.run;
    run.subject.is_empty()
        && run.subject_no == 0
        && run.order_key.is_none()
        && row.reserved.is_none()
        && !run.state.is_over()
}

fn bind_run(args: &mut Args, row: &RunRow<'_>) -> Result<(), BoxDynError> {
    args.add(row.seq)?;
    args.add(row.event)?;
    args.add(row.trigger)?;
    args.add(row.run.trigger_version)?;
    args.add(row.run.state as u8)?;
    args.add(row.created.0)?;
    args.add(row.actions)?;
    args.add(row.task_first)?;
    args.add(row.run.tasks.len() as i64)
}

fn bind_run_guarded(args: &mut Args, row: &RunRow<'_>) -> Result<(), BoxDynError> {
    bind_run(args, row)?;
    args.add(row.run.subject_no)?;
    args.add(&*row.run.subject)?;
    args.add(row.run.order_key.as_deref())?;
    args.add(row.reserved.as_ref().map(|reserved| reserved.at.0))?;
    args.add(row.reserved.as_ref().and_then(|reserved| reserved.guard.as_deref()))?;
    args.add(row.run.state.is_over().then_some(row.created.0))
}

fn bind_task(args: &mut Args, row: &TaskRow) -> Result<(), BoxDynError> {
    args.add(row.seq)?;
    args.add(row.run)?;
    args.add(row.trigger)
}

fn bind_progress(args: &mut Args, progress: Progress) -> Result<(), BoxDynError> {
    args.add(progress.state as u8)?;
    args.add(progress.tries)?;
    args.add(progress.resumes)?;
    args.add(progress.due.map(|due| due.0))
}

fn bind_attempt(args: &mut Args, row: &AttemptRow<'_>) -> Result<(), BoxDynError> {
    args.add(row.task)?;
    args.add(row.attempt.number)?;
    args.add(row.attempt.started.0)?;
    args.add(row.ended.0)?;
    args.add(row.attempt.result as u8)?;
    args.add(row.state as u8)?;
    args.add_blob(&row.attempt.detail)
}

fn bind_run_state(args: &mut Args, (run, state, now): &(i64, RunState, Time)) -> Result<(), BoxDynError> {
    args.add(*run)?;
    args.add(*state as u8)?;
    args.add(state.is_over().then_some(now.0))
}

fn bind_send(args: &mut Args, send: &SendRecord, connection: i64) -> Result<(), BoxDynError> {
    args.add(send.task.seq())?;
    args.add(&*send.key)?;
    args.add(connection)?;
    args.add(send.at.0)?;
    args.add(send.receipt.id.as_deref())?;
    args.add(send.receipt.status)?;
    args.add(send.receipt.content_type.as_deref())?;
    args.add_blob(&send.receipt.body)
}
