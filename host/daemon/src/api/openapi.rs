//! `GET /openapi.json`: the description of the API, made from the handlers.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    config, connections, dead, error, events, health, inbox, ingest, metrics, plugins, probe, runs, secrets, stream,
    subjects, tasks, tokens, triggers, upload,
};

/// What is true of every call.
const DESCRIPTION: &str = "\
When this happens, if that holds, do those things: in your code, without a redeploy.

A token has scopes, which say what it may do, and may be limited to names: a prefix stands for itself, and for what \
goes on after a dot. A limited token may change those objects only, and its changes may name only connections, \
plugins, secrets, variables and files that it covers, with a dot in their names or without; prefixes may be whole \
names. What it may read are its own triggers, connections, plugins, secrets and runs. Events are shared: every token \
that may read sees all of them, how many runs they caused, and the ids of those; but not what triggers of others made \
of them. Counts in the status are of the whole host.

A change takes `If-Match` with the ETag of the object (of the configuration's revision, where a document is applied), \
and is refused with 412 if that is not in force any more.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Trapjaw", description = DESCRIPTION, license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(
        ingest::publish, events::list, events::show, events::evaluations, events::runs, stream::follow,
        plugins::list, plugins::show, plugins::remove, plugins::versions, upload::upload, plugins::activate, plugins::rollback, plugins::grant,
        triggers::list, triggers::show, triggers::save, triggers::remove, triggers::versions, triggers::enable, triggers::disable, triggers::pause, triggers::resume,
        probe::fire, probe::explain, probe::rehearse,
        connections::list, connections::show, connections::save, connections::remove, connections::test, connections::pause, connections::resume,
        secrets::list, secrets::save, secrets::remove,
        subjects::show, runs::list, runs::show, runs::cancel, tasks::retry, tasks::cancel,
        dead::list, dead::groups, dead::redrive, dead::discard,
        config::apply, config::diff, config::validate, config::export,
        tokens::list, tokens::make, tokens::remove,
        health::alive, health::ready, health::status, metrics::show, inbox::list,
    ),
    components(schemas(error::ProblemBody)),
    security(("token" = [])),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The description, as JSON for people.
pub(crate) fn document() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Show the description of the API.
pub(crate) async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_as_it_was_reviewed() {
        crate::reference::review("openapi.json", &document());
    }
}
