//! `GET /openapi.json`: the description of the API, made from the handlers.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    config, connections, dead, error, events, health, inbox, ingest, metrics, plugins, probe, runs, secrets, stream,
    tasks, tokens, triggers, upload,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Trapjaw", description = "When this happens, if that holds, do those things: in your code, without a redeploy.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(
        ingest::publish, events::list, events::show, events::evaluations, events::runs, stream::follow,
        plugins::list, plugins::show, plugins::remove, plugins::versions, upload::upload, plugins::activate, plugins::rollback, plugins::grant,
        triggers::list, triggers::show, triggers::save, triggers::remove, triggers::versions, triggers::enable, triggers::disable, triggers::pause, triggers::resume,
        probe::fire, probe::explain, probe::rehearse,
        connections::list, connections::show, connections::save, connections::remove, connections::test, connections::pause, connections::resume,
        secrets::list, secrets::save, secrets::remove,
        runs::list, runs::show, runs::cancel, tasks::retry, tasks::cancel,
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
    use std::path::Path;

    /// Run with `TRAPJAW_GOLDEN=write` to write the file anew, and read what changed before it is committed.
    #[test]
    fn the_description_is_as_it_was_reviewed() {
        let path = Path::new("../../docs/openapi.json");
        let now = document();
        if option_env!("TRAPJAW_GOLDEN") == Some("write") {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &now).unwrap();
        }
        let reviewed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(reviewed == now, "docs/openapi.json is not what the code says: `make golden` writes it anew");
    }
}
