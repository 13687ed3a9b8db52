//! Judgements that came after the append: the run goes on with its tasks, ends, is judged again, or is dead.

use std::sync::Arc;

use sqlx::{Error, Row};
use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::record::{Appended, AppendedRun, Guard, Judged, JudgedTo, NewTask, Reply, RunState};

use super::activity::Reserved;
use super::batch::Batch;

/// The run that was judged, as far as this needs it.
struct Run {
    event: i64,
    trigger: i64,
    subject: Arc<str>,
    is_reserved: bool,
    n_tries: u32,
}

impl Batch<'_> {
    pub(super) async fn judged(&mut self, judged: &Judged) -> Result<Reply, Error> {
        self.flush().await?;
        let find = "SELECT run.event, run.trigger, run.subject, run.reserved IS NOT NULL, task.tries \
                    FROM task JOIN run ON run.seq = task.run WHERE task.seq = ? AND run.seq = ?";
        let query = sqlx::query(find).bind(judged.task.seq()).bind(judged.run.seq());
        // A judgement of a task that is no longer open was overtaken, by a person or by itself.
        let Some(row) = query.fetch_optional(&mut *self.conn).await? else { return Ok(Reply::Done) };
        let run = Run {
            event: row.try_get(0)?,
            trigger: row.try_get(1)?,
            subject: row.try_get::<&str, _>(2)?.into(),
            is_reserved: row.try_get(3)?,
            n_tries: row.try_get(4)?,
        };
        if !judged.evaluation.is_empty() {
            let update = "UPDATE run SET evaluation = ? WHERE seq = ?";
            let query = sqlx::query(update).bind(&judged.evaluation[..]).bind(judged.run.seq());
            query.execute(&mut *self.conn).await?;
        }
        match &judged.to {
            JudgedTo::Act { state, guard, tasks } => self.act(judged, &run, *state, guard.as_ref(), tasks).await,
            JudgedTo::End(state) => {
                self.release(judged.run.seq()).await?;
                self.end_judged(judged, *state).await?;
                Ok(Reply::Done)
            }
            JudgedTo::Again(progress) => {
                self.pending.moves.push((judged.task.seq(), *progress));
                let state = RunState::of_tasks(std::iter::once(progress.state));
                self.pending.run_states.push((judged.run.seq(), state, judged.now));
                Ok(Reply::Done)
            }
            JudgedTo::Dead { cause } => {
                self.bury(judged.task.seq(), judged.now, cause, Some(run.n_tries + 1)).await?;
                self.pending.run_states.push((judged.run.seq(), RunState::Dead, judged.now));
                Ok(Reply::Done)
            }
        }
    }

    async fn act(
        &mut self,
        judged: &Judged,
        run: &Run,
        state: RunState,
        guard: Option<&Guard>,
        tasks: &[NewTask],
    ) -> Result<Reply, Error> {
        let answer = |id, task_first| {
            let runs = vec![AppendedRun { run: id, task_first: TaskId::of(task_first) }];
            Ok(Reply::Appended(Appended { event: EventId::of(run.event), runs }))
        };
        if !run.is_reserved {
            if let Some(guard) = guard {
                self.load_activities(vec![(run.trigger, Arc::clone(&guard.subject))]).await?;
            }
            match self.activities.reserve(run.trigger, &run.subject, guard, judged.now) {
                Ok(reserved) => self.note_reserved(judged.run.seq(), reserved).await?,
                Err(_refused) => {
                    self.end_judged(judged, RunState::NotMatched).await?;
                    return answer(None, self.ids.task);
                }
            }
        }
        let (actions, task_first) = self.append_tasks(judged.run.seq(), run.trigger, tasks);
        self.pending.closed.push(judged.task.seq());
        let n_tasks = i64::try_from(tasks.len()).expect("tasks fit in memory");
        self.set_actions(judged.run, actions, task_first, n_tasks).await?;
        self.pending.run_states.push((judged.run.seq(), state, judged.now));
        answer(Some(judged.run), task_first)
    }

    /// Ends the run without tasks: the judging is no action that people would look for.
    async fn end_judged(&mut self, judged: &Judged, state: RunState) -> Result<(), Error> {
        self.pending.closed.push(judged.task.seq());
        let none = self.names.intern("");
        self.set_actions(judged.run, none, judged.task.seq(), 0).await?;
        self.pending.run_states.push((judged.run.seq(), state, judged.now));
        Ok(())
    }

    async fn set_actions(&mut self, run: RunId, actions: i64, task_first: i64, task_count: i64) -> Result<(), Error> {
        let update = "UPDATE run SET actions = ?, task_first = ?, task_count = ? WHERE seq = ?";
        let query = sqlx::query(update).bind(actions).bind(task_first).bind(task_count).bind(run.seq());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }

    async fn note_reserved(&mut self, run: i64, reserved: Option<Reserved>) -> Result<(), Error> {
        let Some(reserved) = reserved else { return Ok(()) };
        let update = "UPDATE run SET reserved = ?, guard = ? WHERE seq = ?";
        let query = sqlx::query(update).bind(reserved.at.0).bind(reserved.guard.as_deref()).bind(run);
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}
