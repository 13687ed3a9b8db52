//! Dead letters: putting a task there, and a person's taking it back.

use sqlx::{Error, Row};
use trapjaw_engine::id::{RunId, TaskId};
use trapjaw_engine::record::{AttemptResult, DeadMove, DeadTo, Moved, Progress, Reply, RunState, TaskState};
use trapjaw_engine::time::Time;

use super::batch::Batch;
use super::names::read_actions;
use super::runs::{Want, load_runs};

/// A dead task as far as a move needs it.
struct Dead {
    task: i64,
    run: i64,
    trigger: i64,
}

impl Batch<'_> {
    /// Makes a dead letter of an open task. `number` is that of the attempt it died of; without one, the last counts.
    pub(super) async fn bury(&mut self, task: i64, at: Time, cause: &str, number: Option<u32>) -> Result<(), Error> {
        let find = "SELECT task.run, run.event, run.trigger, run.actions, run.task_first, \
                    coalesce((SELECT max(number) FROM attempt WHERE task = task.seq), task.tries) \
                    FROM task JOIN run ON run.seq = task.run WHERE task.seq = ?";
        let Some(row) = sqlx::query(find).bind(task).fetch_optional(&mut *self.conn).await? else { return Ok(()) };
        let actions = self.names.text(row.try_get(3)?);
        let place = usize::try_from(task - row.try_get::<i64, _>(4)?).ok();
        let actions = read_actions(&actions);
        let action = place.and_then(|place| actions.get(place)).map_or("", |(_, name)| name);
        let insert = "INSERT OR REPLACE INTO dead (task, run, event, trigger, action, at, attempts, cause) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let query = sqlx::query(insert).bind(task).bind(row.try_get::<i64, _>(0)?).bind(row.try_get::<i64, _>(1)?);
        let query = query.bind(row.try_get::<i64, _>(2)?).bind(self.names.intern(action)).bind(at.0);
        let n_attempts = number.map_or(row.try_get::<i64, _>(5)?, i64::from);
        query.bind(n_attempts).bind(cause).execute(&mut *self.conn).await?;
        self.pending.closed.push(task);
        Ok(())
    }

    pub(super) async fn move_dead(&mut self, moved: &DeadMove) -> Result<Reply, Error> {
        self.flush().await?;
        let mut done = Vec::new();
        for task in &moved.tasks {
            let find = "DELETE FROM dead WHERE task = ? RETURNING task, run, trigger";
            let Some(row) = sqlx::query(find).bind(task.seq()).fetch_optional(&mut *self.conn).await? else { continue };
            let dead = Dead { task: row.try_get(0)?, run: row.try_get(1)?, trigger: row.try_get(2)? };
            let begins_again = match moved.to {
                DeadTo::Redriven => self.redrive(&dead, moved).await?,
                DeadTo::Dropped => self.drop_dead(&dead, moved).await?,
            };
            done.push(Moved { task: TaskId::of(dead.task), run: RunId::of(dead.run), begins_again });
        }
        Ok(Reply::Moved(done))
    }

    async fn was_over(&mut self, run: i64) -> Result<bool, Error> {
        let find = "SELECT ended IS NOT NULL FROM run WHERE seq = ?";
        let was_over = sqlx::query_scalar(find).bind(run).fetch_optional(&mut *self.conn).await?;
        Ok(was_over.unwrap_or(false))
    }

    /// Opens the task again. Says whether its run was over.
    async fn redrive(&mut self, dead: &Dead, moved: &DeadMove) -> Result<bool, Error> {
        let was_over = self.was_over(dead.run).await?;
        let open = "INSERT OR REPLACE INTO task (seq, run, trigger) VALUES (?, ?, ?)";
        sqlx::query(open).bind(dead.task).bind(dead.run).bind(dead.trigger).execute(&mut *self.conn).await?;
        let again = "DELETE FROM task_end WHERE task = ?";
        sqlx::query(again).bind(dead.task).execute(&mut *self.conn).await?;
        self.note_move(dead.task, AttemptResult::Redriven, Progress::READY.state, moved).await?;
        self.set_run(dead.run, RunState::Running, moved.now).await?;
        Ok(was_over)
    }

    /// Cancels the task. Says whether its run was over and is not, as another task waits for this one.
    async fn drop_dead(&mut self, dead: &Dead, moved: &DeadMove) -> Result<bool, Error> {
        let was_over = self.was_over(dead.run).await?;
        self.note_move(dead.task, AttemptResult::Cancelled, TaskState::Cancelled, moved).await?;
        let end = "DELETE FROM task_end WHERE task = ?";
        sqlx::query(end).bind(dead.task).execute(&mut *self.conn).await?;
        let run = load_runs(self.conn, self.names, &[dead.run], Want::TASKS).await?.pop();
        let state = run.map_or(RunState::Cancelled, |run| {
            RunState::of_tasks(run.tasks.iter().map(|task| task.progress.state).collect::<Vec<_>>().into_iter())
        });
        if state == RunState::Cancelled {
            self.release(dead.run).await?;
        }
        self.set_run(dead.run, state, moved.now).await?;
        Ok(was_over && !state.is_over())
    }

    /// A move by a person stands among the attempts.
    async fn note_move(
        &mut self,
        task: i64,
        result: AttemptResult,
        state: TaskState,
        moved: &DeadMove,
    ) -> Result<(), Error> {
        let insert = "INSERT INTO attempt (task, number, started, ended, result, state, detail) \
                      SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?2, ?3, ?4, ?5 FROM attempt WHERE task = ?1";
        let query = sqlx::query(insert).bind(task).bind(moved.now.0).bind(result as u8).bind(state as u8);
        query.bind(&*moved.detail).execute(&mut *self.conn).await?;
        Ok(())
    }

    pub(super) async fn set_run(&mut self, run: i64, state: RunState, now: Time) -> Result<(), Error> {
        let update = "UPDATE run SET state = ?, ended = ? WHERE seq = ?";
        let query = sqlx::query(update).bind(state as u8).bind(state.is_over().then_some(now.0)).bind(run);
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}
