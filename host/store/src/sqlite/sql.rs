//! Statements with many rows: a few fixed sizes of each, so that the statement cache holds them.

use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Error, Sqlite};

/// The sizes are powers of two up to this: any number of rows then takes few statements, and the largest one stays
/// under SQLite's 32,766 variables for every table that we have.
const ROWS_MAX: usize = 256;

/// The arguments of one statement, in order.
#[derive(Default)]
pub(super) struct Args(SqliteArguments);

impl Args {
    pub(super) fn add<'q, T: sqlx::Encode<'q, Sqlite> + sqlx::Type<Sqlite>>(
        &mut self,
        value: T,
    ) -> Result<(), BoxDynError> {
        sqlx::Arguments::add(&mut self.0, value)
    }

    /// A blob, or NULL where it is empty.
    pub(super) fn add_blob(&mut self, value: &[u8]) -> Result<(), BoxDynError> {
        if value.is_empty() { self.add(None::<&[u8]>) } else { self.add(value) }
    }
}

/// One statement in every size.
pub(super) struct Rows {
    columns: usize,
    by_size: Vec<(usize, Arc<str>)>,
}

impl Rows {
    /// The statement `head (?,…),(?,…) tail`.
    pub(super) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let mut by_size = Vec::new();
        let mut size = ROWS_MAX;
        while size > 0 {
            by_size.push((size, format!("{head} {} {tail}", vec![row.as_str(); size].join(",")).into()));
            size /= 2;
        }
        Self { columns, by_size }
    }

    /// Runs the statement for all rows, and says how many were changed.
    pub(super) async fn execute<T: Sync>(
        &self,
        conn: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut Args, &T) -> Result<(), BoxDynError> + Send + Sync,
    ) -> Result<u64, Error> {
        let (mut rest, mut n_changed) = (rows, 0);
        while let Some((chunk, after, sql)) = self.chunk(rest) {
            let args = self.args(chunk, &bind)?;
            n_changed += sqlx::query_with(AssertSqlSafe(sql), args).execute(&mut *conn).await?.rows_affected();
            rest = after;
        }
        Ok(n_changed)
    }

    /// Runs the query for all keys.
    pub(super) async fn fetch<T: Sync>(
        &self,
        conn: &mut SqliteConnection,
        keys: &[T],
        bind: impl Fn(&mut Args, &T) -> Result<(), BoxDynError> + Send + Sync,
    ) -> Result<Vec<SqliteRow>, Error> {
        let (mut rest, mut found) = (keys, Vec::new());
        while let Some((chunk, after, sql)) = self.chunk(rest) {
            let args = self.args(chunk, &bind)?;
            found.extend(sqlx::query_with(AssertSqlSafe(sql), args).fetch_all(&mut *conn).await?);
            rest = after;
        }
        Ok(found)
    }

    fn chunk<'r, T>(&self, rows: &'r [T]) -> Option<(&'r [T], &'r [T], Arc<str>)> {
        let (size, sql) = self.by_size.iter().find(|(size, _)| *size <= rows.len())?;
        let (chunk, rest) = rows.split_at(*size);
        Some((chunk, rest, Arc::clone(sql)))
    }

    fn args<T>(
        &self,
        rows: &[T],
        bind: impl Fn(&mut Args, &T) -> Result<(), BoxDynError>,
    ) -> Result<SqliteArguments, Error> {
        let mut args = Args::default();
        sqlx::Arguments::reserve(&mut args.0, rows.len() * self.columns, 0);
        for row in rows {
            bind(&mut args, row).map_err(Error::Encode)?;
        }
        Ok(args.0)
    }
}

/// How one row of a statement becomes arguments, by its place in the list.
pub(super) type Bind<'b> = &'b (dyn Fn(&mut Args, usize) -> Result<(), BoxDynError> + Sync);

/// Several statements with the same number of rows, sent as one: every statement that is sent costs a hop to SQLite's
/// thread and back, which is as much as writing a dozen rows.
pub(super) struct Group {
    by_size: Vec<(usize, Arc<str>)>,
}

impl Group {
    fn new(statements: &[&Rows]) -> Self {
        let sizes = statements[0].by_size.iter().enumerate();
        let by_size = sizes.map(|(place, (size, _))| {
            let parts: Vec<&str> = statements.iter().map(|rows| &*rows.by_size[place].1).collect();
            (*size, parts.join(";").into())
        });
        Self { by_size: by_size.collect() }
    }

    /// Runs the statements for `n` rows each; `binds` has one function for each statement, in their order.
    pub(super) async fn execute(&self, conn: &mut SqliteConnection, n: usize, binds: &[Bind<'_>]) -> Result<(), Error> {
        let mut first = 0;
        while let Some((size, sql)) = self.by_size.iter().find(|(size, _)| *size <= n - first) {
            let mut args = Args::default();
            for bind in binds {
                for place in first..first + size {
                    bind(&mut args, place).map_err(Error::Encode)?;
                }
            }
            sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), args.0).execute(&mut *conn).await?;
            first += size;
        }
        Ok(())
    }
}

/// Every multi-row statement of the writer.
pub(super) struct Statements {
    pub(super) dedup: Rows,
    pub(super) dedup_log: Rows,
    pub(super) dedup_find: Rows,
    pub(super) event: Rows,
    pub(super) run: Rows,
    pub(super) run_guarded: Rows,
    pub(super) run_state: Rows,
    pub(super) task_ready: Rows,
    pub(super) task: Rows,
    pub(super) task_move: Rows,
    pub(super) task_close: Rows,
    pub(super) task_end: Rows,
    pub(super) attempt: Rows,
    pub(super) send: Rows,
    pub(super) activity_add: Rows,
    pub(super) activity_set: Rows,
    pub(super) activity_find: Rows,
    /// An event with its dedup key, one run and one task that is ready.
    pub(super) appended: Group,
    /// The same with a run that has more to say.
    pub(super) appended_guarded: Group,
    /// A task that is closed by its attempt, and its run.
    pub(super) settled: Group,
}

impl Statements {
    pub(super) fn new() -> Self {
        let dedup_log = insert("INSERT", "dedup_log", "event, day, key");
        let event = insert("INSERT", "event", EVENT);
        let run = insert("INSERT", "run", RUN);
        let run_guarded = insert("INSERT", "run", &format!("{RUN}, {RUN_GUARDED}"));
        let task_ready = insert("INSERT", "task", "seq, run, trigger");
        let attempt = insert("INSERT OR REPLACE", "attempt", "task, number, started, ended, result, state, detail");
        let task_close = Rows::new("DELETE FROM task WHERE seq IN (VALUES", 1, ")");
        let run_state = update("run", "seq", "state, ended");
        Self {
            appended: Group::new(&[&dedup_log, &event, &run, &task_ready]),
            appended_guarded: Group::new(&[&dedup_log, &event, &run_guarded, &task_ready]),
            settled: Group::new(&[&attempt, &task_close, &run_state]),
            dedup: insert("INSERT OR IGNORE", "dedup", "key, event, day"),
            dedup_log,
            dedup_find: Rows::new("SELECT key, event FROM dedup WHERE key IN (VALUES", 1, ")"),
            event,
            run,
            run_guarded,
            run_state,
            task_ready,
            task: insert("INSERT", "task", "seq, run, trigger, state, tries, resumes, due"),
            task_move: update("task", "seq", "state, tries, resumes, due"),
            task_close,
            task_end: insert("INSERT OR REPLACE", "task_end", "task, state"),
            attempt,
            send: insert("INSERT OR REPLACE", "send", SEND),
            activity_add: Rows::new("INSERT INTO activity (subject, trigger, count, last) VALUES", 4, ACTIVITY_ADD),
            activity_set: insert("INSERT OR REPLACE", "activity", "subject, trigger, count, last, times"),
            activity_find: Rows::new(ACTIVITY_FIND, 2, ")"),
        }
    }
}

const EVENT: &str = "seq, received, time, source, id, type, run_first, run_count, subject, head, data, evaluations";
const RUN: &str = "seq, event, trigger, version, state, created, actions, task_first, task_count";
/// What a run that is guarded, ordered, about a subject or over has besides.
const RUN_GUARDED: &str = "subject_no, subject, order_key, reserved, guard, ended";
const SEND: &str = "task, key, connection, at, receipt, status, content_type, body";
const ACTIVITY_ADD: &str =
    "ON CONFLICT DO UPDATE SET count = count + excluded.count, last = max(coalesce(last, 0), excluded.last)";
const ACTIVITY_FIND: &str =
    "SELECT subject, trigger, count, last, times FROM activity WHERE (subject, trigger) IN (VALUES";

/// Inserts rows with these columns.
fn insert(verb: &str, table: &str, columns: &str) -> Rows {
    Rows::new(&format!("{verb} INTO {table} ({columns}) VALUES"), columns.split(", ").count(), "")
}

/// Sets these columns of rows; the key comes first.
fn update(table: &str, key: &str, columns: &str) -> Rows {
    let names: Vec<&str> = columns.split(", ").collect();
    // The columns of VALUES have names of their own; the first is the key.
    let sets: Vec<String> = (2..).zip(&names).map(|(n, name)| format!("{name} = new.column{n}")).collect();
    let head = format!("UPDATE {table} SET {} FROM (VALUES", sets.join(", "));
    Rows::new(&head, names.len() + 1, &format!(") AS new WHERE {table}.{key} = new.column1"))
}
