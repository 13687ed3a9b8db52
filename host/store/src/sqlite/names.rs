//! Names that repeat, by number: triggers, lists of actions, connections, plugins.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Error, Row};
use trapjaw_engine::record::NewTask;

/// Between an action's ordinal and its name, and after each action: the separators that ASCII has for this.
const UNIT: char = '\u{1f}';
const RECORD: char = '\u{1e}';

/// All names, shared by the writer, which adds to them, and the readers.
///
/// A name gets here before the transaction that writes it is durable. That harms nobody: no row that a reader can see
/// refers to it yet, and the process ends when a transaction fails.
pub(super) struct Names(RwLock<Table>);

#[derive(Default)]
struct Table {
    by_text: HashMap<Arc<str>, i64>,
    /// The name with number `n` stands at `n - 1`.
    by_id: Vec<Arc<str>>,
    /// How many of them are in the transaction or durable.
    n_written: usize,
}

impl Names {
    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, Error> {
        let mut table = Table::default();
        for row in sqlx::query("SELECT text FROM name ORDER BY id").fetch_all(conn).await? {
            table.add(row.try_get(0)?);
        }
        table.n_written = table.by_id.len();
        Ok(Self(RwLock::new(table)))
    }

    /// The number of a name, if it has one.
    pub(super) fn find(&self, text: &str) -> Option<i64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_text.get(text).copied()
    }

    /// The number of a name, which it gets now if it has none. Only the writer calls this.
    pub(super) fn intern(&self, text: &str) -> i64 {
        if let Some(id) = self.find(text) {
            return id;
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).add(text)
    }

    /// The name with this number; empty for a number that was never given.
    pub(super) fn text(&self, id: i64) -> Arc<str> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let name = usize::try_from(id - 1).ok().and_then(|at| table.by_id.get(at));
        name.cloned().unwrap_or_default()
    }

    /// Writes the names that are new, into the transaction that refers to them.
    pub(super) async fn write(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let fresh: Vec<(i64, Arc<str>)> = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            (1..).zip(&table.by_id).skip(table.n_written).map(|(id, text)| (id, Arc::clone(text))).collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        for (id, text) in &fresh {
            let insert = sqlx::query("INSERT INTO name (id, text) VALUES (?, ?)");
            insert.bind(*id).bind(Arc::clone(text)).execute(&mut *conn).await?;
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).n_written += fresh.len();
        Ok(())
    }
}

impl Table {
    fn add(&mut self, text: &str) -> i64 {
        let text: Arc<str> = text.into();
        self.by_id.push(Arc::clone(&text));
        let id = i64::try_from(self.by_id.len()).expect("names fit in memory");
        self.by_text.insert(text, id);
        id
    }
}

/// Writes the list of a run's actions as one name.
pub(super) fn write_actions(tasks: &[NewTask], text: &mut String) {
    text.clear();
    for task in tasks {
        write!(text, "{}{UNIT}{}{RECORD}", task.ordinal, task.action).expect("strings take all that fits in memory");
    }
}

/// Reads the list of a run's actions: ordinal and name.
pub(super) fn read_actions(text: &str) -> Vec<(i32, Arc<str>)> {
    let actions = text.split_terminator(RECORD).filter_map(|action| action.split_once(UNIT));
    actions.filter_map(|(ordinal, name)| Some((ordinal.parse().ok()?, name.into()))).collect()
}
