//! The HTTP API: a file for each resource, with its handlers and the types that cross the border.
//!
//! Only these files know the JSON of the API. A handler reads its input once, asks the desk, the engine or the ledger,
//! and shows the answer; it takes no decision of its own.

#![expect(unused_qualifications, reason = "the macro that describes the API qualifies what it is given")]

pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod metrics;

mod auth;
mod body;
mod page;
mod path;
mod permit;

mod cloudevent;
mod config;
mod connections;
mod dead;
mod events;
mod explained;
mod health;
mod inbox;
mod ingest;
mod objects;
mod openapi;
mod plugins;
mod precondition;
mod probe;
mod runs;
mod secrets;
mod stream;
mod subjects;
mod tasks;
mod tokens;
mod triggers;
mod upload;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post, put};
use tokio::sync::{Semaphore, watch};
use trapjaw_engine::engine::Engine;
use trapjaw_engine::ports::{Catalog, Clock, Ledger};
use trapjaw_store::Sqlite;

pub(crate) use auth::Peer;
pub(crate) use body::BodyBudget;
pub(crate) use inbox::Inbox;

use crate::desk::Desk;
use crate::pass::{Failures, Token};

/// All that handlers work with.
pub(crate) struct App {
    /// What takes events and does the work.
    pub(crate) engine: Arc<Engine>,
    /// Where the configuration changes.
    pub(crate) desk: Arc<Desk>,
    /// What was kept of events and runs.
    pub(crate) ledger: Arc<dyn Ledger>,
    /// What was kept of definitions and plugins.
    pub(crate) catalog: Arc<dyn Catalog>,
    /// The store itself, for its gauges.
    pub(crate) store: Sqlite,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// The token that the operator gave in the environment.
    pub(crate) operator_token: Option<Arc<Token>>,
    /// Failed calls by address.
    pub(crate) failures: Failures,
    /// How many bytes of bodies may be held.
    pub(crate) bodies: BodyBudget,
    /// How many live streams there may be.
    pub(crate) streams: Arc<Semaphore>,
    /// Whether the daemon stops; streams end then.
    pub(crate) stopping: watch::Receiver<bool>,
    /// Whether the daemon takes work.
    pub(crate) ready: AtomicBool,
    /// The receiving connection of the daemon for trying things out.
    pub(crate) inbox: Option<Inbox>,
}

/// The routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let guarded = Router::new()
        .merge(event_routes())
        .merge(definition_routes())
        .merge(work_routes())
        .merge(installation_routes())
        .route_layer(from_fn_with_state(app.clone(), auth::authenticate));
    let mut open = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi::show));
    if app.inbox.is_some() {
        open = open.route("/dev/inbox", post(inbox::receive));
    }
    guarded.merge(open).fallback(error::no_route).method_not_allowed_fallback(error::no_method).with_state(app)
}

type Routes = Router<Arc<App>>;

fn event_routes() -> Routes {
    Router::new()
        .route("/v1/events", post(ingest::publish).get(events::list))
        .route("/v1/events/stream", get(stream::follow))
        .route("/v1/events/{id}", get(events::show))
        .route("/v1/events/{id}/evaluations", get(events::evaluations))
        .route("/v1/events/{id}/runs", get(events::runs))
}

fn definition_routes() -> Routes {
    Router::new()
        .route("/v1/triggers", get(triggers::list))
        .route("/v1/triggers/{name}", put(triggers::save).get(triggers::show).delete(triggers::remove))
        .route("/v1/triggers/{name}/versions", get(triggers::versions))
        .route("/v1/triggers/{name}/enable", post(triggers::enable))
        .route("/v1/triggers/{name}/disable", post(triggers::disable))
        .route("/v1/triggers/{name}/pause", post(triggers::pause))
        .route("/v1/triggers/{name}/resume", post(triggers::resume))
        .route("/v1/triggers/{name}/fire", post(probe::fire))
        .route("/v1/triggers/{name}/explain", post(probe::explain))
        .route("/v1/triggers/{name}/try", post(probe::rehearse))
        .route("/v1/connections", get(connections::list))
        .route("/v1/connections/{name}", put(connections::save).get(connections::show).delete(connections::remove))
        .route("/v1/connections/{name}/test", post(connections::test))
        .route("/v1/connections/{name}/pause", post(connections::pause))
        .route("/v1/connections/{name}/resume", post(connections::resume))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/{name}", put(secrets::save).delete(secrets::remove))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins/{name}", get(plugins::show).delete(plugins::remove))
        .route("/v1/plugins/{name}/versions", post(upload::upload).get(plugins::versions))
        .route("/v1/plugins/{name}/active", put(plugins::activate))
        .route("/v1/plugins/{name}/rollback", post(plugins::rollback))
        .route("/v1/plugins/{name}/grants", put(plugins::grant))
}

fn work_routes() -> Routes {
    Router::new()
        .route("/v1/subjects/{subject}", get(subjects::show))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/tasks/{id}/retry", post(tasks::retry))
        .route("/v1/tasks/{id}/cancel", post(tasks::cancel))
        .route("/v1/dead-letters", get(dead::list))
        .route("/v1/dead-letters/groups", get(dead::groups))
        .route("/v1/dead-letters/redrive", post(dead::redrive))
        .route("/v1/dead-letters/drop", post(dead::discard))
}

fn installation_routes() -> Routes {
    Router::new()
        .route("/v1/config/apply", post(config::apply))
        .route("/v1/config/diff", post(config::diff))
        .route("/v1/config/validate", post(config::validate))
        .route("/v1/config/export", get(config::export))
        .route("/v1/tokens", get(tokens::list).post(tokens::make))
        .route("/v1/tokens/{name}", delete(tokens::remove))
        .route("/v1/status", get(health::status))
        .route("/metrics", get(metrics::show))
        .route("/dev/inbox", get(inbox::list))
}
