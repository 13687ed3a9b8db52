//! Settling: what an attempt made of a task and of its run.

use sqlx::Error;
use trapjaw_engine::record::{NewEvent, Reply, Settle, TaskState, TaskTo};

use super::batch::Batch;
use super::pending::AttemptRow;

impl<'a> Batch<'a> {
    pub(super) async fn settle(&mut self, settle: &'a Settle) -> Result<Reply, Error> {
        self.states.now = settle.now.0;
        if !settle.state.is_empty() {
            if self.change_state(settle).await?.is_err() {
                return Ok(Reply::StateConflict);
            }
            // Only now is it certain that these events are written, so they are numbered only now.
            let events: Vec<&NewEvent> = settle.events.iter().collect();
            self.load_guards(&events).await?;
            for numbered in self.number(&events).await?.into_iter().rev() {
                self.numbered.push_front(numbered);
            }
        }
        if settle.release {
            self.release(settle.run.seq()).await?;
        }
        let task = settle.task.seq();
        if let Some(attempt) = &settle.attempt {
            let state = state_of(&settle.to);
            self.pending.attempts.push(AttemptRow { task, attempt, ended: settle.now, state });
        }
        self.pending.run_states.push((settle.run.seq(), settle.run_state, settle.now));
        let number = settle.attempt.as_ref().map(|attempt| attempt.number);
        self.move_task(task, &settle.to, number, settle).await?;
        for (other, to) in &settle.others {
            self.move_task(other.seq(), to, None, settle).await?;
        }
        if settle.events.is_empty() {
            return Ok(Reply::Done);
        }
        Ok(Reply::Settled(self.append_all(&settle.events)))
    }

    /// Moves one task; `number` is that of the attempt which moved it.
    async fn move_task(&mut self, task: i64, to: &TaskTo, number: Option<u32>, settle: &Settle) -> Result<(), Error> {
        match to {
            TaskTo::Open(progress) => self.pending.moves.push((task, *progress)),
            TaskTo::Closed(state) => {
                self.pending.closed.push(task);
                if number.is_none() {
                    self.pending.ends.push((task, *state));
                }
            }
            TaskTo::Dead { cause } => {
                self.flush().await?;
                self.bury(task, settle.now, cause, number).await?;
            }
        }
        Ok(())
    }
}

fn state_of(to: &TaskTo) -> TaskState {
    match to {
        TaskTo::Open(progress) => progress.state,
        TaskTo::Closed(state) => *state,
        TaskTo::Dead { .. } => TaskState::Dead,
    }
}
