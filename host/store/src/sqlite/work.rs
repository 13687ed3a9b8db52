//! What dispatch reads: open work, recorded sends, plugins' state, activities.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Error, QueryBuilder, Row};
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{Activity, Receipt, StoreError, Work, WorkPage};
use trapjaw_engine::time::Time;

use super::Sqlite;
use super::readers::unread;
use super::rows::{number_list, read_receipt};
use super::runs::{Want, load_runs};

/// The most runs of one page of work.
const RUNS_MAX: u32 = 4_096;
/// About the most bytes of events of one page of work, but for one that is larger: an event may be a mebibyte.
const BYTES_MAX: i64 = 32 << 20;

impl Sqlite {
    pub(super) async fn read_work(&self, page: WorkPage) -> Result<Work, StoreError> {
        let mut lease = self.shared.readers.lease().await?;
        let work = async {
            let mut tx = lease.conn().begin().await?;
            let (mut runs, mut is_all) = match page {
                WorkPage::After { task, trigger, due_max, runs_max } => {
                    let trigger = match trigger {
                        None => None,
                        Some(trigger) => match self.shared.names.find(&trigger) {
                            Some(trigger) => Some(trigger),
                            None => return Ok(Work { runs: Vec::new(), is_all: true }),
                        },
                    };
                    let mut query = QueryBuilder::new("SELECT run, seq FROM task WHERE seq > ");
                    query.push_bind(task).push(" AND (due IS NULL OR due <= ").push_bind(due_max.0).push(")");
                    if let Some(trigger) = trigger {
                        query.push(" AND trigger = ").push_bind(trigger);
                    }
                    query.push(" ORDER BY seq");
                    distinct_runs(&mut tx, query, runs_max).await?
                }
                WorkPage::Due { after, until, runs_max } => {
                    let mut query = QueryBuilder::new("SELECT run, seq FROM task WHERE due > ");
                    query.push_bind(after.0).push(" AND due <= ").push_bind(until.0).push(" ORDER BY due, seq");
                    distinct_runs(&mut tx, query, runs_max).await?
                }
                WorkPage::Runs(runs) => {
                    let runs: Vec<i64> = runs.iter().map(|run| run.seq()).collect();
                    let runs = load_runs(&mut tx, &self.shared.names, &runs, Want::WORK).await?;
                    return Ok(Work { runs, is_all: true });
                }
            };
            let n_fit = n_within(&mut tx, &runs).await?;
            is_all &= n_fit == runs.len();
            runs.truncate(n_fit);
            let runs = load_runs(&mut tx, &self.shared.names, &runs, Want::WORK).await?;
            Ok(Work { runs, is_all })
        };
        work.await.map_err(unread)
    }

    pub(super) async fn read_n_open_runs(&self) -> Result<u64, StoreError> {
        let mut lease = self.shared.readers.lease().await?;
        // Runs come nearly in order, so that the set of them grows at its end: 3 million tasks take under a second, where
        // a window over the tasks takes ten times as long.
        let count = "SELECT count(DISTINCT run) FROM task";
        let n: i64 = sqlx::query_scalar(count).fetch_one(lease.conn()).await.map_err(unread)?;
        Ok(n.unsigned_abs())
    }

    pub(super) async fn read_sends(&self, task: TaskId) -> Result<Vec<(Box<str>, Receipt)>, StoreError> {
        let mut lease = self.shared.readers.lease().await?;
        let find = "SELECT key, receipt, status, content_type, body FROM send WHERE task = ? ORDER BY at, key";
        let rows = sqlx::query(find).bind(task.seq()).fetch_all(lease.conn()).await.map_err(unread)?;
        rows.iter()
            .map(|row| Ok((row.try_get::<&str, _>(0)?.into(), read_receipt(row, 1)?)))
            .collect::<Result<_, _>>()
            .map_err(unread)
    }

    pub(super) async fn read_state(
        &self,
        plugin: &str,
        trigger: &str,
        key: &str,
        now: Time,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let names = &self.shared.names;
        let (Some(plugin), Some(trigger)) = (names.find(plugin), names.find(trigger)) else { return Ok(None) };
        let mut lease = self.shared.readers.lease().await?;
        let find = "SELECT value FROM plugin_state WHERE plugin = ? AND trigger = ? AND key = ? \
                    AND (expires IS NULL OR expires > ?)";
        let query = sqlx::query(find).bind(plugin).bind(trigger).bind(key).bind(now.0);
        let row = query.fetch_optional(lease.conn()).await.map_err(unread)?;
        row.map(|row| row.try_get(0)).transpose().map_err(unread)
    }

    pub(super) async fn read_activity(&self, trigger: &str, subject: &str) -> Result<Activity, StoreError> {
        let Some(trigger) = self.shared.names.find(trigger) else { return Ok(Activity::default()) };
        let mut lease = self.shared.readers.lease().await?;
        let find = "SELECT count, last FROM activity WHERE subject = ? AND trigger = ?";
        let row = sqlx::query(find).bind(subject).bind(trigger).fetch_optional(lease.conn()).await.map_err(unread)?;
        row.map_or(Ok(Activity::default()), |row| {
            let count = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX);
            Ok(Activity { count, last: row.try_get::<Option<i64>, _>(1)?.map(Time) })
        })
        .map_err(unread)
    }
}

/// The first so many runs among the tasks that the query finds, in its order, and whether these are all.
async fn distinct_runs(
    conn: &mut SqliteConnection,
    mut query: QueryBuilder<sqlx::Sqlite>,
    runs_max: u32,
) -> Result<(Vec<i64>, bool), Error> {
    use futures_util::TryStreamExt;
    let runs_max = runs_max.min(RUNS_MAX) as usize;
    let (mut runs, mut seen) = (Vec::new(), std::collections::HashSet::new());
    let mut rows = query.build().fetch(conn);
    while runs.len() < runs_max {
        let Some(row) = rows.try_next().await? else { return Ok((runs, true)) };
        let run = row.try_get(0)?;
        if seen.insert(run) {
            runs.push(run);
        }
    }
    Ok((runs, false))
}

/// How many of the runs, from the first, have events that fit into a page; one at least, if there is one.
async fn n_within(conn: &mut SqliteConnection, runs: &[i64]) -> Result<usize, Error> {
    // The length of a blob stands before it, so the data themselves are not read.
    let find = "SELECT coalesce(length(event.data), 0) FROM json_each(?) AS wanted LEFT JOIN run \
                ON run.seq = wanted.value LEFT JOIN event ON event.seq = run.event ORDER BY wanted.key";
    let sizes: Vec<i64> = sqlx::query_scalar(find).bind(number_list(runs)).fetch_all(conn).await?;
    let mut sum = 0;
    let fit = sizes.iter().take_while(|size| {
        sum += **size;
        sum <= BYTES_MAX
    });
    Ok(fit.count().max(1).min(runs.len()))
}
