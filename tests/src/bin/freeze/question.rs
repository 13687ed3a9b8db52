//! What the daemon is asked of the sample: everything that is stored, and nothing that is only worked out of it or
//! chosen from it, because how that is done may change.

use serde_json::Value;
use trapjaw_tests::Bench;

/// Whole listings.
const LISTINGS: [&str; 7] = [
    "/v1/events?limit=1000",
    "/v1/runs?limit=1000",
    "/v1/dead-letters?limit=1000",
    "/v1/triggers?limit=1000",
    "/v1/connections?limit=1000",
    "/v1/secrets?limit=1000",
    "/v1/tokens?limit=1000",
];
/// Triggers that were changed, switched or removed.
const CHANGED: [&str; 4] = ["kept.paid", "kept.rechecked", "kept.ordered", "gone"];
/// Events that were judged after the append: what came of it stands with their runs.
const JUDGED_LATER: [&str; 3] = ["broken", "spins", "rechecked"];

/// The path of every answer.
pub(crate) async fn questions(bench: &Bench) -> anyhow::Result<Vec<String>> {
    let mut paths: Vec<String> = LISTINGS.map(str::to_owned).into();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    paths.extend(CHANGED.map(|trigger| format!("/v1/triggers/{trigger}/versions")));
    for plugin in bench.api.all("/v1/plugins").await? {
        paths.push(format!("/v1/plugins/{}", text(&plugin, "name")));
    }
    for run in bench.api.all("/v1/runs").await? {
        paths.push(format!("/v1/runs/{}", text(&run, "id")));
    }
    let events = bench.api.all("/v1/events").await?;
    for event in events.iter().filter(|event| JUDGED_LATER.contains(&&*text(&event["event"], "id"))) {
        paths.push(format!("/v1/events/{}/evaluations", text(event, "id")));
    }
    Ok(paths)
}
