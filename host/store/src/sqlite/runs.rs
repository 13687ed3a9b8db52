//! Runs with their tasks, put together from their tables.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Error, Row};
use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::ports::{AttemptView, RunView, TaskView};
use trapjaw_engine::record::{Progress, TaskState};
use trapjaw_engine::time::Time;

use super::names::{Names, read_actions};
use super::rows::{
    EVENT_COLUMNS, number_list, read_bytes, read_event, read_receipt, read_result, read_run_state, read_task_state,
};

/// What of a run is loaded beside its tasks.
#[derive(Clone, Copy)]
pub(super) struct Want {
    event: bool,
    attempts: Attempts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempts {
    /// None.
    No,
    /// The first one, which says what was rendered, and the last one, which says how it stands: since when it is
    /// tried, or what its output was.
    Work,
    /// All, and the sends.
    All,
}

impl Want {
    /// For lists.
    pub(super) const TASKS: Self = Self { event: false, attempts: Attempts::No };
    /// For dispatch.
    pub(super) const WORK: Self = Self { event: true, attempts: Attempts::Work };
    /// For people who look at one run.
    pub(super) const ALL: Self = Self { event: false, attempts: Attempts::All };
}

/// How many of a task's attempts are loaded, of the first, which hold what was rendered, and of the last: a task may
/// have asked ten thousand times to be called again.
const ATTEMPTS_FIRST: u32 = 100;
const ATTEMPTS_LAST: u32 = 400;
/// About the most bytes of the attempts of a run: what one said may be a mebibyte.
const ATTEMPTS_BYTES_MAX: i64 = 16 << 20;
/// The most sends of a run that are shown, and about the most bytes of their answers.
const SENDS_MAX: u32 = 1_000;
const SENDS_BYTES_MAX: usize = 16 << 20;

/// What an attempt is read from.
const ATTEMPT_COLUMNS: &str = "t.task, t.number, t.started, t.ended, t.result, t.state, t.detail";

/// The tasks of the wanted runs, joined to their rows.
const OF_RUNS: &str = "FROM run JOIN {table} AS t ON t.{task} >= run.task_first AND t.{task} < run.task_first + \
                       run.task_count WHERE run.seq IN (SELECT value FROM json_each(?))";

fn of_runs(table: &str, task: &str) -> String {
    OF_RUNS.replace("{table}", table).replace("{task}", task)
}

/// Loads runs in the order of `ids`; those that do not exist are left out. The judging of a run is no task of it once
/// it is over.
pub(super) async fn load_runs(
    conn: &mut SqliteConnection,
    names: &Names,
    ids: &[i64],
    want: Want,
) -> Result<Vec<RunView>, Error> {
    let list = number_list(ids);
    let find = "SELECT seq, event, trigger, version, state, created, ended, actions, task_first, subject_no, subject, \
                order_key, evaluation FROM run WHERE seq IN (SELECT value FROM json_each(?))";
    let rows = sqlx::query(find).bind(&list).fetch_all(&mut *conn).await?;
    let mut by_id: HashMap<i64, RunView> = HashMap::with_capacity(rows.len());
    for row in &rows {
        by_id.insert(row.try_get(0)?, read_run(row, names)?);
    }
    if want.event {
        load_events(conn, &mut by_id).await?;
    }
    let mut tasks: HashMap<i64, &mut TaskView> =
        by_id.values_mut().flat_map(|run| &mut run.tasks).map(|task| (task.id.seq(), task)).collect();
    load_progress(conn, &list, &mut tasks).await?;
    load_attempts(conn, &list, &mut tasks, want.attempts).await?;
    if want.attempts == Attempts::All {
        load_sends(conn, names, &list, &mut tasks).await?;
    }
    drop(tasks);
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
}

fn read_run(row: &SqliteRow, names: &Names) -> Result<RunView, Error> {
    let task_first: i64 = row.try_get(8)?;
    let tasks = (task_first..).zip(read_actions(&names.text(row.try_get(7)?)));
    let tasks = tasks.map(|(seq, (ordinal, action))| TaskView {
        id: TaskId::of(seq),
        action,
        ordinal,
        progress: Progress { state: TaskState::Cancelled, ..Progress::READY },
        attempt_last: 0,
        attempts: Vec::new(),
        sends: Vec::new(),
    });
    Ok(RunView {
        id: RunId::of(row.try_get(0)?),
        event_id: EventId::of(row.try_get(1)?),
        event: None,
        trigger: names.text(row.try_get(2)?),
        trigger_version: row.try_get(3)?,
        subject: row.try_get::<&str, _>(10)?.into(),
        subject_no: row.try_get(9)?,
        order_key: row.try_get::<Option<&str>, _>(11)?.map(Into::into),
        state: read_run_state(row.try_get(4)?)?,
        created: Time(row.try_get(5)?),
        ended: row.try_get::<Option<i64>, _>(6)?.map(Time),
        evaluation: read_bytes(row, 12)?,
        tasks: tasks.collect(),
    })
}

/// The events of the runs; runs of one event share it.
async fn load_events(conn: &mut SqliteConnection, by_id: &mut HashMap<i64, RunView>) -> Result<(), Error> {
    let mut ids: Vec<i64> = by_id.values().map(|run| run.event_id.seq()).collect();
    ids.sort_unstable();
    ids.dedup();
    let find = format!("SELECT {EVENT_COLUMNS}, seq FROM event WHERE seq IN (SELECT value FROM json_each(?))");
    let rows = sqlx::query(AssertSqlSafe(find)).bind(number_list(&ids)).fetch_all(conn).await?;
    let mut events = HashMap::with_capacity(rows.len());
    for row in &rows {
        events.insert(row.try_get::<i64, _>("seq")?, Arc::new(read_event(row, 0)?));
    }
    for run in by_id.values_mut() {
        run.event = events.get(&run.event_id.seq()).cloned();
    }
    Ok(())
}

/// Where the tasks stand: the last attempt says it, unless the task is open, dead, or was closed without an attempt.
async fn load_progress(
    conn: &mut SqliteConnection,
    list: &str,
    tasks: &mut HashMap<i64, &mut TaskView>,
) -> Result<(), Error> {
    let last = format!("SELECT t.task, max(t.number), t.state {} GROUP BY t.task", of_runs("attempt", "task"));
    for row in sqlx::query(AssertSqlSafe(last)).bind(list).fetch_all(&mut *conn).await? {
        if let Some(task) = tasks.get_mut(&row.try_get(0)?) {
            task.attempt_last = row.try_get(1)?;
            task.progress.state = read_task_state(row.try_get(2)?)?;
        }
    }
    let ends = format!(
        "SELECT t.task, t.state {} UNION ALL SELECT t.task, {} {}",
        of_runs("task_end", "task"),
        TaskState::Dead as u8,
        of_runs("dead", "task")
    );
    for row in sqlx::query(AssertSqlSafe(ends)).bind(list).bind(list).fetch_all(&mut *conn).await? {
        if let Some(task) = tasks.get_mut(&row.try_get(0)?) {
            task.progress.state = read_task_state(row.try_get(1)?)?;
        }
    }
    let open = format!("SELECT t.seq, t.state, t.tries, t.resumes, t.due {}", of_runs("task", "seq"));
    for row in sqlx::query(AssertSqlSafe(open)).bind(list).fetch_all(&mut *conn).await? {
        if let Some(task) = tasks.get_mut(&row.try_get(0)?) {
            task.progress = Progress {
                state: read_task_state(row.try_get(1)?)?,
                tries: row.try_get(2)?,
                resumes: row.try_get(3)?,
                due: row.try_get::<Option<i64>, _>(4)?.map(Time),
            };
        }
    }
    Ok(())
}

async fn load_attempts(
    conn: &mut SqliteConnection,
    list: &str,
    tasks: &mut HashMap<i64, &mut TaskView>,
    attempts: Attempts,
) -> Result<(), Error> {
    let last = "(SELECT max(number) FROM attempt WHERE task = t.task)";
    let rows = match attempts {
        Attempts::No => return Ok(()),
        Attempts::Work => {
            let which = format!("AND (t.number = 1 OR t.number = {last})");
            let sql =
                format!("SELECT {ATTEMPT_COLUMNS} {} {which} ORDER BY t.task, t.number", of_runs("attempt", "task"));
            sqlx::query(AssertSqlSafe(sql)).bind(list).fetch_all(conn).await?
        }
        Attempts::All => {
            let which = format!("AND (t.number <= {ATTEMPTS_FIRST} OR t.number > {last} - {ATTEMPTS_LAST})");
            // The length of a blob stands before it, so the details themselves are not read.
            let find = format!(
                "SELECT t.task, t.number, coalesce(length(t.detail), 0) {} {which} ORDER BY t.task, t.number",
                of_runs("attempt", "task")
            );
            let found = sqlx::query_as(AssertSqlSafe(find)).bind(list).fetch_all(&mut *conn).await?;
            let wanted = serde_json::to_string(&within(found, ATTEMPTS_BYTES_MAX)).expect("numbers are JSON");
            let sql = format!(
                "SELECT {ATTEMPT_COLUMNS} FROM json_each(?) AS wanted CROSS JOIN attempt AS t \
                 ON t.task = wanted.value ->> 0 AND t.number = wanted.value ->> 1 ORDER BY wanted.key"
            );
            sqlx::query(AssertSqlSafe(sql)).bind(wanted).fetch_all(conn).await?
        }
    };
    for row in &rows {
        if let Some(task) = tasks.get_mut(&row.try_get(0)?) {
            task.attempts.push(AttemptView {
                number: row.try_get(1)?,
                started: Time(row.try_get(2)?),
                ended: Time(row.try_get(3)?),
                result: read_result(row.try_get(4)?)?,
                state: read_task_state(row.try_get(5)?)?,
                detail: read_bytes(row, 6)?,
            });
        }
    }
    Ok(())
}

/// Which attempts (task, number, bytes), in order of task and number, fit into so many bytes: the first and the last of
/// each task in any case, then the newest.
fn within(found: Vec<(i64, u32, i64)>, bytes_max: i64) -> Vec<(i64, u32)> {
    let is_end = |at: usize| {
        let task = |at: usize| found.get(at).map(|(task, ..)| *task);
        at == 0 || task(at - 1) != task(at) || task(at + 1) != task(at)
    };
    let ends = (0..found.len()).filter(|at| is_end(*at));
    let mut n_bytes: i64 = ends.map(|at| found[at].2).sum();
    let mut newest: Vec<usize> = (0..found.len()).filter(|at| !is_end(*at)).collect();
    newest.sort_by_key(|at| std::cmp::Reverse(found[*at].1));
    let fit = newest.into_iter().take_while(|at| {
        n_bytes += found[*at].2;
        n_bytes <= bytes_max
    });
    let fit: std::collections::HashSet<usize> = fit.collect();
    let wanted = found.iter().enumerate().filter(|(at, _)| is_end(*at) || fit.contains(at));
    wanted.map(|(_, (task, number, _))| (*task, *number)).collect()
}

async fn load_sends(
    conn: &mut SqliteConnection,
    names: &Names,
    list: &str,
    tasks: &mut HashMap<i64, &mut TaskView>,
) -> Result<(), Error> {
    let sql = format!(
        "SELECT t.task, t.key, t.connection, t.at, t.receipt, t.status, t.content_type, t.body {} \
         ORDER BY t.task, t.at, t.key LIMIT {SENDS_MAX}",
        of_runs("send", "task")
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(list).fetch(conn);
    let mut n_bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let receipt = read_receipt(&row, 4)?;
        n_bytes += receipt.body.len();
        if n_bytes > SENDS_BYTES_MAX {
            break;
        }
        if let Some(task) = tasks.get_mut(&row.try_get(0)?) {
            let key = row.try_get::<&str, _>(1)?.into();
            task.sends.push((key, names.text(row.try_get(2)?), Time(row.try_get(3)?), receipt));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_newest_attempts_are_within() {
        let check = |found: &[(i64, u32, i64)], bytes_max, expected: &[(i64, u32)]| {
            assert_eq!(within(found.to_vec(), bytes_max), expected, "{found:?} in {bytes_max}");
        };
        check(&[], 9, &[]);
        check(&[(1, 1, 99)], 9, &[(1, 1)]);
        let two = [(1, 1, 2), (1, 2, 2), (1, 3, 2), (2, 1, 2), (2, 2, 2), (2, 3, 2), (2, 4, 2)];
        check(&two, 14, &[(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (2, 4)]);
        check(&two, 10, &[(1, 1), (1, 3), (2, 1), (2, 3), (2, 4)]);
        check(&two, 0, &[(1, 1), (1, 3), (2, 1), (2, 4)]);
    }
}
