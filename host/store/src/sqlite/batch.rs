//! One transaction: the commands in their order, with their rows gathered so that each table is written at once.

use std::collections::VecDeque;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use trapjaw_engine::record::{Command, NewEvent, Reply};

use super::activity::Activities;
use super::dedup::{Dedup, Numbered};
use super::gauges::Cells;
use super::names::Names;
use super::pending::Pending;
use super::sql::Statements;
use super::state::States;
use super::writer::Memory;

/// How far ahead of what was given the marks are written, so that they are seldom written. A crash skips as many
/// numbers.
const MARK_AHEAD: i64 = 1 << 16;

/// The numbers that are given next. The order of numbers is the order of commits.
pub(super) struct Ids {
    pub(super) event: i64,
    pub(super) run: i64,
    pub(super) task: i64,
    /// What the marks in the database are, in the same order: nothing at or above them was ever given.
    marks: [i64; 3],
}

impl Ids {
    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, Error> {
        let mut marks = [1; 3];
        for (mark, key) in marks.iter_mut().zip(MARK_KEYS) {
            let row = sqlx::query("SELECT value FROM meta WHERE key = ?").bind(key).fetch_optional(&mut *conn).await?;
            if let Some(row) = row {
                *mark = row.try_get(0)?;
            }
        }
        let [event, run, task] = marks;
        Ok(Self { event, run, task, marks })
    }

    pub(super) fn take_event(&mut self) -> i64 {
        take(&mut self.event, 1)
    }

    pub(super) fn take_run(&mut self) -> i64 {
        take(&mut self.run, 1)
    }

    /// Numbers for so many tasks, without a gap; the first of them.
    pub(super) fn take_tasks(&mut self, n: usize) -> i64 {
        take(&mut self.task, i64::try_from(n).expect("tasks fit in memory"))
    }

    /// Writes marks above all numbers that this transaction gives.
    async fn save(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let next = [self.event, self.run, self.task];
        if next.iter().zip(self.marks).all(|(next, mark)| *next <= mark) {
            return Ok(());
        }
        self.write(conn, next.map(|next| next + MARK_AHEAD)).await
    }

    /// Writes the marks as they are, so that an orderly stop skips no numbers.
    pub(super) async fn save_exact(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        self.write(conn, [self.event, self.run, self.task]).await
    }

    async fn write(&mut self, conn: &mut SqliteConnection, marks: [i64; 3]) -> Result<(), Error> {
        let [event, run, task] = marks;
        let insert = "INSERT OR REPLACE INTO meta (key, value) VALUES ('event', ?), ('run', ?), ('task', ?)";
        sqlx::query(insert).bind(event).bind(run).bind(task).execute(conn).await?;
        self.marks = marks;
        Ok(())
    }
}

/// The keys of the marks in `meta`, in the order of [`Ids::marks`].
const MARK_KEYS: [&str; 3] = ["event", "run", "task"];

fn take(next: &mut i64, n: i64) -> i64 {
    let first = *next;
    *next += n;
    first
}

/// The transaction that is being made.
pub(super) struct Batch<'a> {
    pub(super) conn: &'a mut SqliteConnection,
    pub(super) ids: &'a mut Ids,
    pub(super) dedup: &'a mut Dedup,
    pub(super) states: &'a mut States,
    pub(super) names: &'a Names,
    pub(super) statements: &'a Statements,
    pub(super) cells: &'a Cells,
    pub(super) pending: Pending<'a>,
    pub(super) activities: Activities,
    /// The events of the commands that are yet to come, numbered and looked up.
    pub(super) numbered: VecDeque<Numbered>,
    /// Where lists of actions are put together.
    pub(super) actions: String,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        conn: &'a mut SqliteConnection,
        memory: &'a mut Memory,
        statements: &'a Statements,
        cells: &'a Cells,
    ) -> Self {
        let Memory { ids, dedup, states, names } = memory;
        Self {
            conn,
            ids,
            dedup,
            states,
            names,
            statements,
            cells,
            pending: Pending::default(),
            activities: Activities::default(),
            numbered: VecDeque::new(),
            actions: String::new(),
        }
    }

    /// Executes the commands of all calls, and answers in the same shape.
    pub(super) async fn apply(mut self, calls: &[&'a [Command]]) -> Result<Vec<Vec<Reply>>, Error> {
        let events: Vec<&NewEvent> = calls.iter().flat_map(|call| call.iter()).flat_map(events_of).collect();
        self.numbered = self.number(&events).await?.into();
        self.load_guards(&events).await?;
        let mut replies = Vec::with_capacity(calls.len());
        for call in calls {
            let mut answers = Vec::with_capacity(call.len());
            for command in *call {
                answers.push(self.execute(command).await?);
            }
            replies.push(answers);
        }
        self.flush().await?;
        self.flush_activities().await?;
        self.merge_keys(events.len()).await?;
        self.names.write(self.conn).await?;
        self.ids.save(self.conn).await?;
        Ok(replies)
    }

    async fn execute(&mut self, command: &'a Command) -> Result<Reply, Error> {
        match command {
            Command::Append(new) => Ok(self.append_next(new)),
            Command::Settle(settle) => self.settle(settle).await,
            Command::Judged(judged) => Box::pin(self.judged(judged)).await,
            Command::Record(send) => {
                self.pending.sends.push(send);
                Ok(Reply::Done)
            }
            Command::Dead(moved) => Box::pin(self.move_dead(moved)).await,
            Command::Configure(configure) => Box::pin(self.configure(configure)).await,
            Command::Publish(version) => Box::pin(self.publish(version)).await,
        }
    }

    fn append_next(&mut self, new: &'a NewEvent) -> Reply {
        let numbered = self.numbered.pop_front().expect("every event of the batch was numbered");
        self.append(new, numbered)
    }

    /// Appends the events of a settle that were numbered with the batch.
    pub(super) fn append_all(&mut self, events: &'a [NewEvent]) -> Vec<Reply> {
        events.iter().map(|new| self.append_next(new)).collect()
    }
}

/// The events that a command brings for certain. Those of a settle that may yet conflict are numbered when it did not.
fn events_of(command: &Command) -> &[NewEvent] {
    match command {
        Command::Append(new) => std::slice::from_ref(&**new),
        Command::Settle(settle) if settle.state.is_empty() => &settle.events,
        Command::Settle(_)
        | Command::Judged(_)
        | Command::Record(_)
        | Command::Dead(_)
        | Command::Configure(_)
        | Command::Publish(_) => &[],
    }
}
