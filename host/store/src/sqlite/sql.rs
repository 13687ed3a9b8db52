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
        let dedup = Rows::new("INSERT OR IGNORE INTO dedup (key, event, day) VALUES", 3, "");
        let dedup_log = Rows::new("INSERT INTO dedup_log (event, day, key) VALUES", 3, "");
        let dedup_find = Rows::new("SELECT key, event FROM dedup WHERE key IN (VALUES", 1, ")");
        let event = Rows::new(
            "INSERT INTO event (seq, received, time, source, id, type, run_first, run_count, subject, head, data, \
                 evaluations) VALUES",
            12,
            "",
        );
        let run = Rows::new(
            "INSERT INTO run (seq, event, trigger, version, state, created, actions, task_first, task_count) VALUES",
            9,
            "",
        );
        let run_guarded = Rows::new(
            "INSERT INTO run (seq, event, trigger, version, state, created, actions, task_first, task_count, \
                 subject_no, subject, order_key, reserved, guard, ended) VALUES",
            15,
            "",
        );
        let run_state = Rows::new(
            "UPDATE run SET state = new.column2, ended = new.column3 FROM (VALUES",
            3,
            ") AS new WHERE run.seq = new.column1",
        );
        let task_ready = Rows::new("INSERT INTO task (seq, run, trigger) VALUES", 3, "");
        let task = Rows::new("INSERT INTO task (seq, run, trigger, state, tries, resumes, due) VALUES", 7, "");
        let task_move = Rows::new(
            "UPDATE task SET state = new.column2, tries = new.column3, resumes = new.column4, due = new.column5 \
                 FROM (VALUES",
            5,
            ") AS new WHERE task.seq = new.column1",
        );
        let task_close = Rows::new("DELETE FROM task WHERE seq IN (VALUES", 1, ")");
        let task_end = Rows::new("INSERT OR REPLACE INTO task_end (task, state) VALUES", 2, "");
        let attempt = Rows::new(
            "INSERT OR REPLACE INTO attempt (task, number, started, ended, result, state, detail) VALUES",
            7,
            "",
        );
        let send = Rows::new(
            "INSERT OR REPLACE INTO send (task, key, connection, at, receipt, status, content_type, body) VALUES",
            8,
            "",
        );
        let activity_add = Rows::new(
            "INSERT INTO activity (subject, trigger, count, last) VALUES",
            4,
            "ON CONFLICT DO UPDATE SET count = count + excluded.count, last = max(coalesce(last, 0), excluded.last)",
        );
        let activity_set =
            Rows::new("INSERT OR REPLACE INTO activity (subject, trigger, count, last, times) VALUES", 5, "");
        let activity_find = Rows::new(
            "SELECT subject, trigger, count, last, times FROM activity WHERE (subject, trigger) IN (VALUES",
            2,
            ")",
        );
        let appended = Group::new(&[&dedup_log, &event, &run, &task_ready]);
        let appended_guarded = Group::new(&[&dedup_log, &event, &run_guarded, &task_ready]);
        let settled = Group::new(&[&attempt, &task_close, &run_state]);
        Self {
            dedup,
            dedup_log,
            dedup_find,
            event,
            run,
            run_guarded,
            run_state,
            task_ready,
            task,
            task_move,
            task_close,
            task_end,
            attempt,
            send,
            activity_add,
            activity_set,
            activity_find,
            appended,
            appended_guarded,
            settled,
        }
    }
}
