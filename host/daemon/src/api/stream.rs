//! `GET /v1/events/stream`: events as they are taken, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures_util::stream::{Stream, unfold};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, watch};
use trapjaw_engine::engine::Seen;
use trapjaw_engine::evaluation::{Evaluation, note_refused, read_evaluations};
use trapjaw_engine::event::Event;
use utoipa::IntoParams;

use super::App;
use super::auth::Caller;
use super::error::ApiError;
use super::page::read_query;
use super::view::CloudEvent;
use crate::pass::{Act, Token};

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StreamQuery {
    /// Of this CloudEvents source.
    source: Option<String>,
    /// Of this type.
    r#type: Option<String>,
    /// That this trigger's pattern matched.
    trigger: Option<String>,
}

/// An event on the stream.
#[derive(Serialize)]
struct SeenBody {
    id: String,
    received: String,
    event: CloudEvent<Arc<Event>>,
    evaluations: Vec<Evaluation>,
    runs: Vec<String>,
}

/// How often a quiet stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follow events as they are taken: messages named `event`; `lagged` says how many a slow reader lost. Evaluations are
/// of the triggers that the token covers.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", params(StreamQuery), responses((status = 200, content_type = "text/event-stream", body = String)))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, ApiError> {
    caller.may(Act::Read)?;
    let query: StreamQuery = read_query(query.as_deref())?;
    if let Some(trigger) = &query.trigger {
        caller.covers(trigger)?;
    }
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::later(
            StatusCode::TOO_MANY_REQUESTS,
            "there are as many streams as the host allows",
            Duration::from_secs(10),
        )
    })?;
    let (feed, stopping) = (app.engine.feed(), app.stopping.clone());
    let follower = Follower { feed, stopping, query, token: caller.token, _permit: permit };
    let messages = unfold(follower, |mut follower| async move { Some((Ok(follower.next().await?), follower)) });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Follower {
    feed: Receiver<Arc<Seen>>,
    stopping: watch::Receiver<bool>,
    query: StreamQuery,
    token: Arc<Token>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next message; none when the host stops.
    async fn next(&mut self) -> Option<Message> {
        loop {
            let received = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                received = self.feed.recv() => received,
            };
            match received {
                Ok(seen) => {
                    if let Some(message) = self.show(&seen) {
                        return Some(message);
                    }
                }
                Err(RecvError::Lagged(lost)) => {
                    return Some(Message::default().event("lagged").data(format!("{{\"lost\":{lost}}}")));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn show(&self, seen: &Seen) -> Option<Message> {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        if !is(&self.query.source, &seen.event.source) || !is(&self.query.r#type, &seen.event.kind) {
            return None;
        }
        let mut evaluations = read_evaluations(&seen.evaluations);
        let is_refused =
            |trigger: &str, subject: &str| seen.refused.iter().any(|(t, s)| **t == *trigger && **s == *subject);
        note_refused(&mut evaluations, |trigger, subject| !is_refused(trigger, subject));
        evaluations.retain(|evaluation| self.token.covers(&evaluation.trigger));
        if !evaluations.iter().any(|evaluation| is(&self.query.trigger, &evaluation.trigger))
            && self.query.trigger.is_some()
        {
            return None;
        }
        let body = SeenBody {
            id: seen.id.to_string(),
            received: seen.received.to_string(),
            event: CloudEvent(seen.event.clone()),
            evaluations,
            runs: seen.runs.iter().map(ToString::to_string).collect(),
        };
        // The JSON of sent data may hold line breaks; as one line per `data:` field they arrive as they are.
        let text = serde_json::to_string(&body).ok()?;
        Some(Message::default().event("event").id(body.id).data(text.replace('\r', " ")))
    }
}
