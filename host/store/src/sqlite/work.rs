//! What dispatch reads: open work, recorded sends, plugins' state, activities.

use sqlx::{Connection, Error, QueryBuilder, Row};
use trapjaw_engine::id::TaskId;
use trapjaw_engine::ports::{Activity, Receipt, RunView, StoreError, WorkPage};
use trapjaw_engine::time::Time;

use super::Sqlite;
use super::readers::unread;
use super::rows::read_receipt;
use super::runs::{Want, load_runs};

/// The most runs of one page of work: an event may be a mebibyte.
const RUNS_MAX: u32 = 4_096;

impl Sqlite {
    pub(super) async fn read_work(&self, page: WorkPage) -> Result<Vec<RunView>, StoreError> {
        let mut lease = self.shared.readers.lease().await?;
        let work = async {
            let mut tx = lease.conn().begin().await?;
            let runs = match page {
                WorkPage::After { task, trigger, due_max, runs_max } => {
                    let trigger = match trigger {
                        None => None,
                        Some(trigger) => match self.shared.names.find(&trigger) {
                            Some(trigger) => Some(trigger),
                            None => return Ok(Vec::new()),
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
                WorkPage::Runs(runs) => runs.iter().map(|run| run.seq()).collect(),
            };
            load_runs(&mut tx, &self.shared.names, &runs, Want::WORK).await
        };
        work.await.map_err(unread)
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

/// The first so many runs among the tasks that the query finds, in its order.
async fn distinct_runs(
    conn: &mut sqlx::SqliteConnection,
    mut query: QueryBuilder<sqlx::Sqlite>,
    runs_max: u32,
) -> Result<Vec<i64>, Error> {
    use futures_util::TryStreamExt;
    let runs_max = runs_max.min(RUNS_MAX) as usize;
    let (mut runs, mut seen) = (Vec::new(), std::collections::HashSet::new());
    let mut rows = query.build().fetch(conn);
    while runs.len() < runs_max {
        let Some(row) = rows.try_next().await? else { break };
        let run = row.try_get(0)?;
        if seen.insert(run) {
            runs.push(run);
        }
    }
    Ok(runs)
}
