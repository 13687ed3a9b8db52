//! Secrets that are set anew: the next send carries them, without a restart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::json;
use trapjaw_tests::{Bench, Reply};

async fn set(bench: &Bench, value: &str) {
    bench.api.put("/v1/secrets/KEY", &json!({"value": value})).await.unwrap().ok().unwrap();
}

#[tokio::test]
async fn a_new_secret_is_used_at_once_and_lifts_what_the_old_one_caused() {
    let bench = Bench::start().await;
    set(&bench, "old").await;
    let mut webhook = bench.webhook("/out");
    webhook["headers"] = json!({"authorization": "Bearer {{ secret.KEY }}"});
    bench.api.put("/v1/connections/out", &webhook).await.unwrap().ok().unwrap();
    bench
        .trigger("t", json!({"on": {"type": ["x"]}, "do": [{"send": "out"}], "policy": {"retry": {"first": "100ms"}}}))
        .await;

    bench.publish("x", "1", &json!(1)).await;
    set(&bench, "new").await;
    bench.deliveries("/out", 1).await;
    bench.publish("x", "2", &json!(2)).await;
    bench.deliveries("/out", 2).await;

    // The remote refuses it: the connection waits for another, and the task is not a try poorer.
    bench.daemon.log().expect("refuses our credentials");
    bench.receiver.script("/out", [Reply::Status(401)]);
    let event = bench.publish("x", "3", &json!(3)).await;
    bench.deliveries("/out", 3).await;
    set(&bench, "newer").await;
    bench.run(&event, &["succeeded"]).await;

    let shown: Vec<String> = bench
        .deliveries("/out", 4)
        .await
        .iter()
        .map(|delivery| delivery.headers["authorization"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!(shown[1..], ["Bearer new", "Bearer new", "Bearer newer"]);
}
