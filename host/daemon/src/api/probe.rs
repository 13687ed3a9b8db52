//! Looking before leaping: why a trigger does or does not match, what it would send, and firing it by hand.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trapjaw_engine::evaluation::VerdictWord;
use trapjaw_engine::event::{EVENT_BYTES_MAX, Event};
use trapjaw_engine::limits::{DEFINITION_BYTES_MAX, PAGE_ROWS_MAX};
use trapjaw_engine::plan::TriggerPlan;
use trapjaw_engine::ports::{EventFilter, EventView, Page};
use trapjaw_engine::problem::Problem;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::cloudevent::{self, Context};
use super::error::{ApiError, ProblemBody};
use super::events;
use super::explained::{ExplainedBody, PreviewBody};
use super::ingest::read_key;
use super::page::Items;
use super::path::Path;
use super::permit::{Intent, permit};
use crate::config::document::read_trigger;
use crate::config::unique::Unique;
use crate::installation::Draft;
use crate::pass::Act;

/// What a trigger is fired with: a recorded event, or data of a new one.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FireBody {
    /// A recorded event, `evt_…`. It takes a token that may read events.
    event: Option<String>,
    /// The data of a new event.
    #[schema(value_type = Object)]
    data: Option<Box<RawValue>>,
    /// The new event's type; `manual` when absent.
    r#type: Option<String>,
    /// The new event's subject.
    subject: Option<String>,
    /// Whether to show what would be sent instead of sending it. It takes a token that may read events.
    dry: bool,
}

/// What firing came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct FiredBody {
    /// The event that was made, or that the same key had made before, `evt_…`; null when it was dry.
    event_id: Option<String>,
    /// The run, `run_…`; null when it was dry.
    run: Option<String>,
    /// What would be sent; empty when it was not dry.
    previews: Vec<PreviewBody>,
}

/// Which event is to be explained.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainBody {
    /// A recorded event, `evt_…`.
    event: String,
}

/// A trigger that is to be tried on recorded events.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TryBody {
    /// The definition to try; the saved one when absent.
    #[schema(value_type = Object)]
    trigger: Option<Unique>,
    /// On so many of the last events.
    #[serde(default = "last_default")]
    last: u32,
}

/// One event against the tried trigger.
#[derive(Serialize, ToSchema)]
pub(crate) struct TriedBody {
    /// The event, `evt_…`.
    event: String,
    /// Its source.
    source: String,
    /// Its type.
    r#type: String,
    /// When it was taken.
    received: String,
    /// The verdict in a word.
    #[schema(value_type = String)]
    verdict: VerdictWord,
    /// What decided.
    leaf: Option<String>,
    /// Why.
    reason: Option<String>,
}

/// The type of an event that a person makes by firing, unless it says another.
const MANUAL_TYPE: &str = "manual";
/// Room for a full event's data and what is beside it.
const FIRE_BYTES_MAX: usize = EVENT_BYTES_MAX + (64 << 10);

fn last_default() -> u32 {
    20
}

/// Fire a trigger by hand, whatever its patterns, conditions, caps and delay say; or see what it would send. Calls with
/// the same `Idempotency-Key` fire it once.
#[utoipa::path(post, path = "/v1/triggers/{name}/fire", tag = "triggers", params(("name" = String, Path)), request_body = FireBody, responses((status = 200, body = FiredBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn fire(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<FiredBody>, ApiError> {
    caller.may_on(Act::Fire, &name)?;
    let once = read_key(&headers).map_err(ApiError::bad)?;
    let body: FireBody = app.bodies.json(&headers, body, FIRE_BYTES_MAX).await?;
    if body.event.is_some() || body.dry {
        caller.may(Act::Read)?;
    }
    let plan = app.engine.plan();
    let trigger = plan.trigger(&name).ok_or_else(|| ApiError::missing(format_args!("trigger {name}")))?;
    let event = match &body.event {
        Some(id) => {
            refuse_beside(&body)?;
            copy(&events::find(&app, id).await?.event)
        }
        None => {
            let kind = body.r#type.as_deref().unwrap_or(MANUAL_TYPE);
            let ctx = Context { now: app.clock.now(), events_max: 1 };
            cloudevent::make(kind, body.subject, body.data.as_deref(), ctx).map_err(ApiError::bad)?
        }
    };
    if body.dry {
        let previews = app.engine.preview(trigger, &Arc::new(event)).into_iter().map(PreviewBody::from).collect();
        return Ok(Json(FiredBody { event_id: None, run: None, previews }));
    }
    let (event, run) = app.engine.fire(&name, event, &caller.name, once).await?;
    let run = match run {
        Some(run) => Some(run),
        None => events::find_view(&app, event).await?.runs.map(|(first, _)| first),
    };
    Ok(Json(FiredBody { event_id: Some(event.to_string()), run: run.map(|run| run.to_string()), previews: Vec::new() }))
}

/// Explain why a trigger does or does not match a recorded event.
#[utoipa::path(post, path = "/v1/triggers/{name}/explain", tag = "triggers", params(("name" = String, Path)), request_body = ExplainBody, responses((status = 200, body = ExplainedBody), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ExplainedBody>, ApiError> {
    caller.may_on(Act::Read, &name)?;
    let body: ExplainBody = app.bodies.json(&headers, body, DEFINITION_BYTES_MAX).await?;
    let plan = app.engine.plan();
    let trigger = plan.trigger(&name).ok_or_else(|| ApiError::missing(format_args!("trigger {name}")))?;
    let event = events::find(&app, &body.event).await?;
    Ok(Json(app.engine.explain(trigger, &event.event).await.into()))
}

/// Try a trigger, saved or not, on the last recorded events; nothing is sent or kept.
#[utoipa::path(post, path = "/v1/triggers/{name}/try", tag = "triggers", params(("name" = String, Path)), request_body = TryBody, responses((status = 200, body = Items<TriedBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn rehearse(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Items<TriedBody>>, ApiError> {
    caller.may_on(Act::Read, &name)?;
    let body: TryBody = app.bodies.json(&headers, body, DEFINITION_BYTES_MAX).await?;
    if !(1..=PAGE_ROWS_MAX).contains(&body.last) {
        return Err(ApiError::bad_at("last", format!("1 to {PAGE_ROWS_MAX} is expected")));
    }
    let trigger = match body.trigger {
        None => app.engine.plan().trigger(&name).cloned(),
        Some(Unique(definition)) => {
            let says = read_trigger(&name, definition, &app.desk.current()).map_err(ApiError::invalid)?;
            let drafts = vec![Draft { name: name.as_str().into(), body: says }];
            permit(&caller, &drafts, &app.desk.current(), Intent::Rehearse)?;
            let (_, plan) = app.desk.rehearse(drafts).await?;
            plan.trigger(&name).cloned()
        }
    };
    let trigger = trigger.ok_or_else(|| ApiError::missing(format_args!("trigger {name}")))?;
    let recorded = app.ledger.events(EventFilter::default(), Page { before: None, rows_max: body.last }).await?.rows;
    let mut items = Vec::with_capacity(recorded.len());
    for view in recorded {
        items.push(try_one(&app, &trigger, view).await);
    }
    Ok(Json(Items::all(items)))
}

async fn try_one(app: &App, trigger: &TriggerPlan, view: EventView) -> TriedBody {
    let explained = ExplainedBody::from(app.engine.explain(trigger, &view.event).await);
    TriedBody {
        event: view.id.to_string(),
        source: view.event.source.to_string(),
        r#type: view.event.kind.to_string(),
        received: view.received.to_string(),
        verdict: explained.verdict,
        leaf: explained.leaf,
        reason: explained.reason,
    }
}

/// A recorded event is what it is; attributes beside it would be ignored silently.
fn refuse_beside(body: &FireBody) -> Result<(), ApiError> {
    let given = [("data", body.data.is_some()), ("type", body.r#type.is_some()), ("subject", body.subject.is_some())];
    let beside = |(path, _)| Problem::at(path, "there is `event` beside it");
    let problems: Vec<Problem> = given.into_iter().filter(|(_, is_given)| *is_given).map(beside).collect();
    if problems.is_empty() { Ok(()) } else { Err(ApiError::bad(problems)) }
}

fn copy(event: &Event) -> Event {
    let mut copy = Event::new(event.source.clone(), event.kind.clone(), event.id.clone(), event.time);
    copy.subject = event.subject.clone();
    copy.content_type = event.content_type.clone();
    copy.data = event.data.clone();
    copy.extensions = event.extensions.clone();
    copy
}
