//! Dead letters: what used up its tries and waits for a person.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use trapjaw_engine::id::TaskId;
use trapjaw_engine::limits::PAGE_ROWS_MAX;
use trapjaw_engine::ports::{DeadFilter, DeadView, Page};
use trapjaw_engine::time::Time;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::page::{Items, read_id, read_page, read_query};
use crate::pass::Act;

/// Which dead letters.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeadQuery {
    /// Of this trigger.
    trigger: Option<String>,
    /// Of this cause.
    cause: Option<String>,
    /// The most rows.
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    cursor: Option<String>,
}

/// A dead letter.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadBody {
    /// The task, `tsk_…`.
    task: String,
    /// Its run, `run_…`.
    run: String,
    /// The event, `evt_…`.
    event_id: String,
    /// The trigger.
    trigger: String,
    /// The action's name; null for a judgement.
    action: Option<String>,
    /// When it died.
    at: String,
    /// What it is grouped by.
    cause: String,
    /// How many attempts were made.
    attempts: u32,
}

/// Dead letters of one trigger with one cause.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeadGroup {
    /// The trigger.
    trigger: String,
    /// The cause.
    cause: String,
    /// How many.
    count: u64,
    /// When the first of them died.
    first: String,
    /// When the last of them died.
    last: String,
}

/// Which dead letters are to be moved: tasks by id, or all of a trigger, of a cause, of both, or all. To a token that is
/// limited to some names there are no others.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeadChoice {
    /// These tasks.
    tasks: Vec<String>,
    /// Those of this trigger.
    trigger: Option<String>,
    /// Those of this cause.
    cause: Option<String>,
    /// All of them.
    all: bool,
}

/// How many dead letters were moved.
#[derive(Serialize, ToSchema)]
pub(crate) struct Moved {
    /// How many.
    pub(crate) count: u32,
}

/// The most bytes of a choice: a page of ids fits.
const CHOICE_BYTES_MAX: usize = 256 << 10;
/// The most dead letters that are counted in groups: beyond it the counts are of the newest ones.
const GROUPED_MAX: usize = 100_000;
/// The most pages of dead letters that one call moves; a caller with more calls again.
const PAGES_MAX: usize = 1_000;

/// List dead letters, newest first.
#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead-letters", params(DeadQuery), responses((status = 200, body = Items<DeadBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<DeadBody>>, ApiError> {
    caller.may(Act::Read)?;
    let query: DeadQuery = read_query(query.as_deref())?;
    let page = read_page::<TaskId>(query.limit, query.cursor.as_deref(), TaskId::seq)?;
    let filter = DeadFilter { trigger: query.trigger, cause: query.cause, tasks: Vec::new() };
    let rows = app.ledger.dead(filter, page).await?;
    let show = |row: DeadView| caller.token.covers(&row.trigger).then(|| body(&row));
    Ok(Json(Items::page(rows, page.rows_max, |row| row.task.to_string(), show)))
}

/// Count dead letters by trigger and cause, the largest group first.
#[utoipa::path(get, path = "/v1/dead-letters/groups", tag = "dead-letters", responses((status = 200, body = Items<DeadGroup>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn groups(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Items<DeadGroup>>, ApiError> {
    caller.may(Act::Read)?;
    let mut groups = BTreeMap::new();
    let mut before = None;
    for _ in 0..GROUPED_MAX / PAGE_ROWS_MAX as usize {
        let rows = app.ledger.dead(DeadFilter::default(), Page { before, rows_max: PAGE_ROWS_MAX }).await?;
        before = rows.last().map(|row| row.task.seq());
        for row in rows.iter().filter(|row| caller.token.covers(&row.trigger)) {
            count(&mut groups, row);
        }
        if rows.len() < PAGE_ROWS_MAX as usize {
            break;
        }
    }
    let show = |((trigger, cause), tally): ((Arc<str>, Box<str>), Tally)| DeadGroup {
        trigger: trigger.to_string(),
        cause: cause.into(),
        count: tally.count,
        first: tally.first.to_string(),
        last: tally.last.to_string(),
    };
    let mut groups: Vec<DeadGroup> = groups.into_iter().map(show).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    Ok(Json(Items::all(groups)))
}

/// Try dead letters again, under the same ids and the same idempotency keys.
#[utoipa::path(post, path = "/v1/dead-letters/redrive", tag = "dead-letters", request_body = DeadChoice, responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn redrive(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Moved>, ApiError> {
    let tasks = choose(&app, &caller, &headers, body).await?;
    let mut count = 0;
    for part in tasks.chunks(PAGE_ROWS_MAX as usize) {
        count += app.engine.redrive(part.to_vec(), &caller.name).await?;
    }
    Ok(Json(Moved { count }))
}

/// Drop dead letters, with the tasks that need them.
#[utoipa::path(post, path = "/v1/dead-letters/drop", tag = "dead-letters", request_body = DeadChoice, responses((status = 200, body = Moved), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn discard(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Moved>, ApiError> {
    let tasks = choose(&app, &caller, &headers, body).await?;
    let mut count = 0;
    for part in tasks.chunks(PAGE_ROWS_MAX as usize) {
        count += app.engine.discard(part.to_vec(), &caller.name).await?;
    }
    Ok(Json(Moved { count }))
}

/// The tasks that a call chooses, looked up before any of them is moved: a redriven one may die again meanwhile.
async fn choose(app: &App, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Vec<TaskId>, ApiError> {
    caller.may(Act::Operate)?;
    let choice: DeadChoice = app.bodies.json(headers, body, CHOICE_BYTES_MAX).await?;
    let filter = read_choice(choice)?;
    let mut tasks = Vec::new();
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let rows = app.ledger.dead(filter.clone(), Page { before, rows_max: PAGE_ROWS_MAX }).await?;
        before = rows.last().map(|row| row.task.seq());
        tasks.extend(rows.iter().filter(|row| caller.token.covers(&row.trigger)).map(|row| row.task));
        if rows.len() < PAGE_ROWS_MAX as usize {
            break;
        }
    }
    Ok(tasks)
}

fn read_choice(choice: DeadChoice) -> Result<DeadFilter, ApiError> {
    let has_filter = choice.trigger.is_some() || choice.cause.is_some();
    if [choice.all, has_filter, !choice.tasks.is_empty()].into_iter().filter(|chosen| *chosen).count() != 1 {
        return Err(ApiError::bad_at("", "one of `tasks`, `trigger` and `cause`, or `all` is expected"));
    }
    if choice.tasks.len() > PAGE_ROWS_MAX as usize {
        return Err(ApiError::bad_at("tasks", format!("at most {PAGE_ROWS_MAX} are expected")));
    }
    let read = |(n, id): (usize, &String)| read_id::<TaskId>(&format!("tasks[{n}]"), id);
    let tasks = choice.tasks.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(DeadFilter { trigger: choice.trigger, cause: choice.cause, tasks })
}

/// A group while it is counted.
struct Tally {
    count: u64,
    first: Time,
    last: Time,
}

fn count(groups: &mut BTreeMap<(Arc<str>, Box<str>), Tally>, row: &DeadView) {
    let key = (row.trigger.clone(), row.cause.clone());
    let tally = groups.entry(key).or_insert(Tally { count: 0, first: row.at, last: row.at });
    tally.count += 1;
    // Rows come by the task's number, which is not the order in which tasks die.
    tally.first = tally.first.min(row.at);
    tally.last = tally.last.max(row.at);
}

fn body(row: &DeadView) -> DeadBody {
    DeadBody {
        task: row.task.to_string(),
        run: row.run.to_string(),
        event_id: row.event.to_string(),
        trigger: row.trigger.to_string(),
        action: Some(row.action.to_string()).filter(|action| !action.is_empty()),
        at: row.at.to_string(),
        cause: row.cause.to_string(),
        attempts: row.attempts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: bool) {
        assert_eq!(read_choice(serde_json::from_str(json).unwrap()).is_ok(), expected, "{json}");
    }

    #[test]
    fn a_choice_says_exactly_one_thing() {
        check(r#"{"all": true}"#, true);
        check(r#"{"trigger": "t"}"#, true);
        check(r#"{"trigger": "t", "cause": "c"}"#, true);
        check(r#"{"tasks": ["tsk_000000000000001"]}"#, true);
        check("{}", false);
        check(r#"{"all": true, "trigger": "t"}"#, false);
        check(r#"{"tasks": ["x"]}"#, false);
        check(r#"{"tasks": ["tsk_000000000000001"], "all": true}"#, false);
    }
}
