//! Settling: what an attempt made of a task, of its run, and of its plugin's state.

use std::collections::HashMap;

use sqlx::{Error, Row};
use trapjaw_engine::ports::StateOp;
use trapjaw_engine::record::{NewEvent, Reply, Settle, TaskState, TaskTo};
use trapjaw_engine::time::Time;

use super::batch::Batch;
use super::pending::AttemptRow;

/// A value of a plugin's state and when it ends.
type Value = Option<(Vec<u8>, Option<i64>)>;

/// A value was not as the attempt had read it.
struct Mismatch;

impl<'a> Batch<'a> {
    pub(super) async fn settle(&mut self, settle: &'a Settle) -> Result<Reply, Error> {
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

    /// Applies the changes of a plugin's state in their order, or none of them.
    async fn change_state(&mut self, settle: &Settle) -> Result<Result<(), Mismatch>, Error> {
        let Some((plugin, trigger)) = &settle.state_of else { return Ok(Ok(())) };
        let (plugin, trigger) = (self.names.intern(plugin), self.names.intern(trigger));
        let mut values: HashMap<&str, Value> = HashMap::new();
        for op in &settle.state {
            if !values.contains_key(op.key()) {
                let find = "SELECT value, expires FROM plugin_state WHERE plugin = ? AND trigger = ? AND key = ? \
                            AND (expires IS NULL OR expires > ?)";
                let query = sqlx::query(find).bind(plugin).bind(trigger).bind(op.key()).bind(settle.now.0);
                let row = query.fetch_optional(&mut *self.conn).await?;
                let value = row.map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
                values.insert(op.key(), value);
            }
            let value = values.get_mut(op.key()).expect("it was put there just now");
            if let Err(mismatch) = change(value, op, settle.now) {
                return Ok(Err(mismatch));
            }
        }
        for (key, value) in values {
            let query = match value {
                Some((value, expires)) => {
                    let set = "INSERT OR REPLACE INTO plugin_state (plugin, trigger, key, value, expires) \
                               VALUES (?, ?, ?, ?, ?)";
                    sqlx::query(set).bind(plugin).bind(trigger).bind(key).bind(value).bind(expires)
                }
                None => {
                    let remove = "DELETE FROM plugin_state WHERE plugin = ? AND trigger = ? AND key = ?";
                    sqlx::query(remove).bind(plugin).bind(trigger).bind(key)
                }
            };
            query.execute(&mut *self.conn).await?;
        }
        Ok(Ok(()))
    }
}

fn state_of(to: &TaskTo) -> TaskState {
    match to {
        TaskTo::Open(progress) => progress.state,
        TaskTo::Closed(state) => *state,
        TaskTo::Dead { .. } => TaskState::Dead,
    }
}

fn change(value: &mut Value, op: &StateOp, now: Time) -> Result<(), Mismatch> {
    match op {
        StateOp::Set { value: new, ttl, .. } => *value = Some((new.clone(), ttl.map(|ttl| (now + ttl).0))),
        StateOp::CompareAndSet { expected, value: new, .. } => {
            if value.as_ref().map(|(old, _)| old) != expected.as_ref() {
                return Err(Mismatch);
            }
            *value = Some((new.clone(), None));
        }
        StateOp::Increment { by, .. } => {
            // The attempt saw a number here, or it would have failed; whatever else it is by now counts as none.
            let old = value.as_ref().and_then(|(old, _)| std::str::from_utf8(old).ok()?.parse::<i64>().ok());
            let sum = old.unwrap_or(0).saturating_add(*by);
            let expires = value.as_ref().and_then(|(_, expires)| *expires);
            *value = Some((sum.to_string().into_bytes(), expires));
        }
        StateOp::Remove { .. } => *value = None,
    }
    Ok(())
}
