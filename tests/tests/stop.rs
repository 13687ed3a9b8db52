//! The end of a daemon, gentle or not, and what the next one on the same data finds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_tests::{Bench, Daemon, Reply};

/// A trigger for events of a type, with one send.
fn sends(kind: &str, connection: &str, policy: Value) -> Value {
    json!({"on": {"type": [kind]}, "do": [{"name": "tell", "send": connection}], "policy": policy})
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_is_under_way() {
    let mut bench = Bench::start().await;
    bench.connect("slow").await;
    bench.connect("out").await;
    bench.receiver.script("/slow", [Reply::Hold]);
    bench.trigger("slow", sends("slow", "slow", json!({}))).await;
    bench.trigger("late", sends("slow", "out", json!({"delay": "2s"}))).await;
    let event = bench.publish("slow", "1", &json!(1)).await;
    bench.receiver.wait("/slow", 1, Duration::from_secs(20)).await.unwrap();
    bench.daemon.tell_to_stop().unwrap();
    // It says so before anything else of the stop, so the send ends while the daemon stops.
    bench.wait("stop", async || bench.daemon.log().has("stopping").then_some(())).await;
    bench.receiver.release();
    assert!(bench.daemon.ended().await.unwrap().success(), "exit code 0");
    bench.daemon.restart().await.unwrap();
    let states = async || {
        let runs = bench.get(&format!("/v1/events/{event}/runs")).await;
        let runs = runs["items"].as_array().unwrap().clone();
        runs.iter().all(|run| run["state"] == "succeeded").then_some(runs.len())
    };
    assert_eq!(bench.wait("both runs", states).await, 2);
    assert_eq!((bench.receiver.at("/slow").len(), bench.receiver.at("/out").len()), (1, 1));
}

#[tokio::test]
async fn told_to_stop_it_keeps_what_does_not_end() {
    let mut bench = Bench::start_with("grace: 500ms").await;
    bench.connect("slow").await;
    bench.receiver.script("/slow", [Reply::Hold]);
    bench.trigger("t", sends("x", "slow", json!({}))).await;
    let event = bench.publish("x", "1", &json!(1)).await;
    bench.receiver.wait("/slow", 1, Duration::from_secs(20)).await.unwrap();
    assert!(bench.daemon.stop().await.unwrap().success(), "exit code 0");
    bench.receiver.release();
    bench.daemon.restart().await.unwrap();
    bench.run(&event, &["succeeded"]).await;
    let deliveries = bench.deliveries("/slow", 2).await;
    assert_eq!(deliveries[0].id, deliveries[1].id);
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let bench = Bench::start().await;
    let said = Daemon::refused(&bench.folder.path().join("data")).await.unwrap();
    assert!(said.contains("lock") || said.contains("another"), "{said}");
    assert_eq!(bench.api.get("/healthz").await.unwrap().status, 200, "the first one goes on");
}

#[tokio::test]
async fn definitions_and_secrets_outlive_a_kill() {
    let mut bench = Bench::start().await;
    let secret = json!({"value": "whsec_dGhlLXRlc3RzLW93bi1zaWduaW5nLXNlY3JldA=="});
    assert_eq!(bench.api.put("/v1/secrets/KEY", &secret).await.unwrap().status, 201);
    let mut definition = bench.webhook("/out");
    definition["signing"] = json!("{{ secret.KEY }}");
    bench.api.put("/v1/connections/out", &definition).await.unwrap().ok().unwrap();
    bench.trigger("t", sends("x", "out", json!({}))).await;
    let export = bench.get("/v1/config/export").await;
    bench.daemon.kill().await.unwrap();
    bench.daemon.restart().await.unwrap();
    assert_eq!(bench.get("/v1/config/export").await, export);
    bench.publish("x", "1", &json!(1)).await;
    bench.deliveries("/out", 1).await;
}
