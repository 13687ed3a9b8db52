//! What people read: events, runs, dead letters, subjects. Newest first.
//!
//! The tables of the hot path carry no indexes for filters, so a filter scans from the newest row on, within the time
//! that a read may take.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, Error, QueryBuilder, Row, Sqlite as Db};
use trapjaw_engine::id::{EventId, RunId, TaskId};
use trapjaw_engine::limits::PAGE_ROWS_MAX;
use trapjaw_engine::ports::{
    Activity, DeadFilter, DeadView, EventFilter, EventView, Ledger, Page, Rows, RunFilter, RunView, StoreError,
    SubjectView,
};
use trapjaw_engine::record::RunState;
use trapjaw_engine::time::Time;

use super::Sqlite;
use super::readers::unread;
use super::rows::{EVENT_COLUMNS, number_list, read_bytes, read_event};
use super::runs::{Want, load_runs};

/// About the most bytes of a page of events or runs, but for a row that is larger: an event may be a mebibyte.
const PAGE_BYTES_MAX: i64 = 16 << 20;
/// About how many bytes a task of a listed run takes.
const TASK_BYTES: i64 = 256;

#[async_trait]
impl Ledger for Sqlite {
    async fn event(&self, id: EventId) -> Result<Option<EventView>, StoreError> {
        let mut query = select_events();
        query.push(" AND seq = ").push_bind(id.seq());
        Ok(self.list(query, |_, row| read_event_view(row)).await?.pop())
    }

    async fn events(&self, filter: EventFilter, page: Page) -> Result<Rows<EventView>, StoreError> {
        let mut query = select_events();
        for (column, text) in [("source", filter.source), ("id", filter.id), ("type", filter.kind)] {
            if let Some(text) = text {
                query.push(format!(" AND {column} = ")).push_bind(text);
            }
        }
        push_span(&mut query, "received", filter.since, filter.until);
        push_page(&mut query, "seq", page);
        let mut lease = self.shared.ledger_readers.lease().await?;
        read_events(lease.conn(), query, page).await.map_err(unread)
    }

    async fn run(&self, id: RunId) -> Result<Option<RunView>, StoreError> {
        Ok(self.load(vec![id.seq()], Want::ALL).await?.pop())
    }

    async fn runs(&self, filter: RunFilter, page: Page) -> Result<Rows<RunView>, StoreError> {
        let mut query = QueryBuilder::new("SELECT seq, coalesce(length(evaluation), 0) + task_count * ");
        query.push_bind(TASK_BYTES).push(" FROM run WHERE TRUE");
        if let Some(trigger) = filter.trigger {
            let Some(trigger) = self.shared.names.find(&trigger) else {
                return Ok(Rows { rows: Vec::new(), is_all: true });
            };
            query.push(" AND trigger = ").push_bind(trigger);
        }
        if let Some(state) = filter.state {
            push_state(&mut query, state);
        }
        if let Some(event) = filter.event {
            // The event knows its runs, so that runs need no index by event.
            query.push(" AND seq >= (SELECT run_first FROM event WHERE seq = ").push_bind(event.seq());
            query.push(") AND seq < (SELECT run_first + run_count FROM event WHERE seq = ").push_bind(event.seq());
            query.push(")");
        }
        if let Some(subject) = filter.subject {
            query.push(" AND subject = ").push_bind(subject);
        }
        push_span(&mut query, "created", filter.since, filter.until);
        push_page(&mut query, "seq", page);
        let found = self.list(query, |_, row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?))).await?;
        let mut n_bytes = 0;
        let fit = found.iter().take_while(|(_, weight)| {
            n_bytes += weight;
            n_bytes <= PAGE_BYTES_MAX
        });
        let n_fit = fit.count().max(1).min(found.len());
        let is_all = n_fit == found.len() && found.len() < page.rows_max as usize;
        let ids = found[..n_fit].iter().map(|(id, _)| *id).collect();
        Ok(Rows { rows: self.load(ids, Want::TASKS).await?, is_all })
    }

    async fn dead(&self, filter: DeadFilter, page: Page) -> Result<Vec<DeadView>, StoreError> {
        let mut query =
            QueryBuilder::new("SELECT task, run, event, trigger, action, at, cause, attempts FROM dead WHERE TRUE");
        if let Some(trigger) = filter.trigger {
            let Some(trigger) = self.shared.names.find(&trigger) else { return Ok(Vec::new()) };
            query.push(" AND trigger = ").push_bind(trigger);
        }
        if let Some(cause) = filter.cause {
            query.push(" AND cause = ").push_bind(cause);
        }
        if !filter.tasks.is_empty() {
            let tasks: Vec<i64> = filter.tasks.iter().map(|task| task.seq()).collect();
            query.push(" AND task IN (SELECT value FROM json_each(").push_bind(number_list(&tasks)).push("))");
        }
        push_page(&mut query, "task", page);
        self.list(query, read_dead).await
    }

    async fn subject(&self, subject: &str) -> Result<Vec<SubjectView>, StoreError> {
        let mut query = QueryBuilder::new("SELECT trigger, count, last FROM activity WHERE subject = ");
        query.push_bind(subject.to_owned()).push(" ORDER BY last DESC, trigger LIMIT ").push_bind(PAGE_ROWS_MAX);
        self.list(query, |store, row| {
            let count = u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX);
            let last = row.try_get::<Option<i64>, _>(2)?.map(Time);
            Ok(SubjectView { trigger: store.shared.names.text(row.try_get(0)?), activity: Activity { count, last } })
        })
        .await
    }
}

impl Sqlite {
    pub(super) async fn list<T>(
        &self,
        mut query: QueryBuilder<Db>,
        read: impl Fn(&Self, &SqliteRow) -> Result<T, Error> + Send,
    ) -> Result<Vec<T>, StoreError> {
        let mut lease = self.shared.ledger_readers.lease().await?;
        let rows = query.build().fetch_all(lease.conn()).await.map_err(unread)?;
        rows.iter().map(|row| read(self, row)).collect::<Result<_, _>>().map_err(unread)
    }

    async fn load(&self, ids: Vec<i64>, want: Want) -> Result<Vec<RunView>, StoreError> {
        let mut lease = self.shared.ledger_readers.lease().await?;
        let load = async {
            let mut tx = lease.conn().begin().await?;
            load_runs(&mut tx, &self.shared.names, &ids, want).await
        };
        load.await.map_err(unread)
    }
}

fn select_events() -> QueryBuilder<Db> {
    QueryBuilder::new(format!(
        "SELECT seq, received, evaluations, run_first, run_count, {EVENT_COLUMNS} FROM event WHERE TRUE"
    ))
}

async fn read_events(
    conn: &mut SqliteConnection,
    mut query: QueryBuilder<Db>,
    page: Page,
) -> Result<Rows<EventView>, Error> {
    let (mut rows, mut n_bytes) = (Vec::new(), 0);
    let mut found = query.build().fetch(conn);
    while let Some(row) = found.try_next().await? {
        let view = read_event_view(&row)?;
        n_bytes += (view.event.bytes_held() + view.evaluations.len()) as i64;
        if n_bytes > PAGE_BYTES_MAX && !rows.is_empty() {
            return Ok(Rows { rows, is_all: false });
        }
        rows.push(view);
    }
    let is_all = rows.len() < page.rows_max as usize;
    Ok(Rows { rows, is_all })
}

fn read_event_view(row: &SqliteRow) -> Result<EventView, Error> {
    let n_runs: u32 = row.try_get(4)?;
    let run_first = RunId::of(row.try_get(3)?);
    Ok(EventView {
        id: EventId::of(row.try_get(0)?),
        received: Time(row.try_get(1)?),
        event: Arc::new(read_event(row, 5)?),
        evaluations: read_bytes(row, 2)?,
        runs: (n_runs > 0).then_some((run_first, n_runs)),
    })
}

fn read_dead(store: &Sqlite, row: &SqliteRow) -> Result<DeadView, Error> {
    Ok(DeadView {
        task: TaskId::of(row.try_get(0)?),
        run: RunId::of(row.try_get(1)?),
        event: EventId::of(row.try_get(2)?),
        trigger: store.shared.names.text(row.try_get(3)?),
        action: store.shared.names.text(row.try_get(4)?),
        at: Time(row.try_get(5)?),
        cause: row.try_get::<&str, _>(6)?.into(),
        attempts: row.try_get(7)?,
    })
}

/// Ended badly: the partial index has them. Open: their tasks lead to them. The rest is nearly all rows.
fn push_state(query: &mut QueryBuilder<Db>, state: RunState) {
    let number = state as u8;
    match state {
        // The number stands in the text, because the planner takes a partial index for literals only.
        RunState::Skipped | RunState::Dead | RunState::Cancelled => query.push(format!(" AND state = {number}")),
        RunState::Scheduled | RunState::Running | RunState::Waiting | RunState::Held => {
            query.push(format!(" AND +state = {number} AND seq IN (SELECT run FROM task)"))
        }
        RunState::Succeeded | RunState::NotMatched => query.push(format!(" AND +state = {number}")),
    };
}

fn push_span(query: &mut QueryBuilder<Db>, column: &str, since: Option<Time>, until: Option<Time>) {
    for (operator, time) in [(">=", since), ("<", until)] {
        if let Some(time) = time {
            query.push(format!(" AND {column} {operator} ")).push_bind(time.0);
        }
    }
}

fn push_page(query: &mut QueryBuilder<Db>, column: &str, page: Page) {
    if let Some(before) = page.before {
        query.push(format!(" AND {column} < ")).push_bind(before);
    }
    query.push(format!(" ORDER BY {column} DESC LIMIT ")).push_bind(page.rows_max.min(PAGE_ROWS_MAX));
}
