//! Policies: order, caps, cooldown, fan-out, deadlines, and what becomes of what cannot be judged or rendered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use trapjaw_tests::{Bench, Reply};

fn trigger(policy: Value) -> Value {
    json!({"on": {"type": ["x"]}, "do": [{"name": "tell", "send": "out"}], "policy": policy})
}

async fn bench(definition: Value) -> Bench {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.trigger("t", definition).await;
    bench
}

/// Publishes an event about a subject.
async fn publish(bench: &Bench, id: &str, subject: &str, data: Value) -> String {
    let event =
        json!({"specversion": "1.0", "id": id, "source": "tests", "type": "x", "subject": subject, "data": data});
    let answer = bench.api.publish(event.to_string()).await.unwrap().ok().unwrap();
    answer["ids"][0].as_str().unwrap().to_owned()
}

/// The verdict on an event, and the reason.
async fn verdict(bench: &Bench, event: &str) -> (String, String) {
    let items = bench.get(&format!("/v1/events/{event}/evaluations")).await;
    let text = |name: &str| items["items"][0][name].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("reason"))
}

async fn n_runs(bench: &Bench, event: &str) -> usize {
    bench.get(&format!("/v1/events/{event}/runs")).await["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn order_is_kept_within_a_key_and_not_across_keys() {
    let policy = json!({"order_by": "subject", "retry": {"first": "300ms", "factor": 1}});
    let bench = bench(trigger(policy)).await;
    // The first send of the one subject fails: what follows it has to wait, the other subject does not.
    bench.receiver.script("/out", [Reply::Status(503)]);
    publish(&bench, "a1", "a", json!(1)).await;
    bench.deliveries("/out", 1).await;
    for (id, subject) in [("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        publish(&bench, id, subject, json!(1)).await;
    }
    let ids: Vec<String> =
        bench.deliveries("/out", 6).await.iter().map(|it| it.json()["id"].as_str().unwrap().to_owned()).collect();
    let of = |key: char| -> Vec<&String> { ids.iter().filter(|id| id.starts_with(key)).collect() };
    assert_eq!(of('a'), ["a1", "a1", "a2", "a3"]);
    assert_eq!(of('b'), ["b1", "b2"]);
    assert_eq!(ids[1], "b1", "the other key goes on: {ids:?}");
}

#[tokio::test]
async fn a_cap_counts_by_subject() {
    let bench = bench(trigger(json!({"limit": {"runs": 2, "in": "1h", "per": "subject"}}))).await;
    let mut runs = Vec::new();
    for (id, subject) in [("1", "a"), ("2", "a"), ("3", "a"), ("4", "b")] {
        let event = publish(&bench, id, subject, json!(1)).await;
        runs.push(n_runs(&bench, &event).await);
        if id == "3" {
            let (verdict, reason) = verdict(&bench, &event).await;
            assert_eq!(verdict, "not-matched", "{reason}");
            assert!(reason.contains("cap") || reason.contains("limit"), "{reason}");
        }
    }
    assert_eq!(runs, [1, 1, 0, 1]);
}

#[tokio::test]
async fn a_batch_cannot_outrun_a_cap_and_a_kill_does_not_reset_it() {
    let mut bench = bench(trigger(json!({"limit": {"runs": 3, "per": "trigger"}}))).await;
    let event = |n: u32| json!({"specversion": "1.0", "id": n.to_string(), "source": "tests", "type": "x"});
    let publish = async |bench: &Bench, ids: std::ops::Range<u32>| {
        let batch: Vec<Value> = ids.map(event).collect();
        let body = Value::from(batch).to_string();
        bench.api.post_bytes("/v1/events", "application/cloudevents-batch+json", body).await.unwrap().ok().unwrap();
    };
    publish(&bench, 0..10).await;
    let deliveries = bench.deliveries("/out", 3).await;
    bench.daemon.kill().await.unwrap();
    bench.daemon.restart().await.unwrap();
    publish(&bench, 10..20).await;
    assert_eq!(bench.get("/v1/runs").await["items"].as_array().unwrap().len(), 3);
    assert_eq!(deliveries.len(), 3);
}

#[tokio::test]
async fn a_cooldown_is_a_gap() {
    let bench = bench(trigger(json!({"cooldown": "1h"}))).await;
    let first = publish(&bench, "1", "a", json!(1)).await;
    let second = publish(&bench, "2", "a", json!(1)).await;
    let other = publish(&bench, "3", "b", json!(1)).await;
    assert_eq!([n_runs(&bench, &first).await, n_runs(&bench, &second).await, n_runs(&bench, &other).await], [1, 0, 1]);
}

#[tokio::test]
async fn a_list_of_subjects_fans_out() {
    let mut definition = trigger(json!({}));
    definition["subject"] = json!(["{{ event.data.buyer }}", "{{ event.data.seller }}"]);
    definition["do"][0]["body"] = json!({"to": "{{ subject }}"});
    let bench = bench(definition).await;
    let event = publish(&bench, "1", "x", json!({"buyer": "ann", "seller": "bob"})).await;
    assert_eq!(n_runs(&bench, &event).await, 2);
    let deliveries = bench.deliveries("/out", 2).await;
    let mut told: Vec<String> = deliveries.iter().map(|it| it.json()["to"].to_string()).collect();
    told.sort();
    assert_eq!(told, ["\"ann\"", "\"bob\""]);
    assert_ne!(deliveries[0].id, deliveries[1].id);
}

#[tokio::test]
async fn what_cannot_be_rendered_or_judged_is_dead_with_the_reason() {
    let mut definition = trigger(json!({}));
    definition["do"][0]["body"] = json!({"name": "{{ event.data.customer.name }}"});
    let bench = bench(definition).await;
    let event = publish(&bench, "1", "a", json!({"customer": {}})).await;
    let run = bench.run(&event, &["dead"]).await;
    let reason = run["tasks"][0]["attempts"][0]["detail"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("name"), "{reason}");

    let mut definition = trigger(json!({}));
    definition["when"] = json!([{"expr": "event.data.n / 0 > 1"}]);
    bench.trigger("t", definition.clone()).await;
    let event = publish(&bench, "2", "a", json!({"n": 1})).await;
    bench.run(&event, &["dead"]).await;
    assert_eq!(verdict(&bench, &event).await.0, "error");
    definition["policy"] = json!({"on_error": "no"});
    bench.trigger("t", definition).await;
    let event = publish(&bench, "3", "a", json!({"n": 1})).await;
    assert_eq!(n_runs(&bench, &event).await, 0);
    assert!(bench.receiver.at("/out").is_empty());
}

#[tokio::test]
async fn any_all_and_not_name_the_deciding_leaf() {
    let mut definition = trigger(json!({}));
    definition["when"] = json!([
        {"any": [{"expr": "event.data.a"}, {"not": {"expr": "event.data.b"}}]},
        {"all": [{"expr": "event.data.c"}, {"expr": "event.data.d"}]},
    ]);
    let bench = bench(definition).await;
    let cases = [
        (json!({"a": true, "b": true, "c": true, "d": true}), "matched", ""),
        (json!({"a": false, "b": false, "c": true, "d": true}), "matched", ""),
        (json!({"a": false, "b": true, "c": true, "d": true}), "not-matched", "when[0]"),
        (json!({"a": true, "b": true, "c": true, "d": false}), "not-matched", "when[1].all[1]"),
    ];
    for (n, (data, expected, leaf)) in cases.into_iter().enumerate() {
        let event = publish(&bench, &n.to_string(), "a", data.clone()).await;
        assert_eq!(verdict(&bench, &event).await.0, expected, "{data}");
        let items = bench.get(&format!("/v1/events/{event}/evaluations")).await;
        let found = items["items"][0]["leaf"].as_str().unwrap_or_default();
        assert!(found.starts_with(leaf), "{data}: {leaf} is wanted, not {found}");
    }
}

#[tokio::test]
async fn refused_credentials_pause_the_connection_until_a_test_passes() {
    let bench = bench(trigger(json!({}))).await;
    bench.daemon.log().expect("the remote refuses our credentials");
    bench.receiver.script("/out", [Reply::Status(401)]);
    let first = publish(&bench, "1", "a", json!(1)).await;
    let run = bench.run(&first, &["waiting", "dead"]).await;
    assert_eq!((&run["state"], &run["tasks"][0]["waiting_for"]), (&json!("waiting"), &json!("paused")), "{run:#}");
    publish(&bench, "2", "a", json!(1)).await;
    assert_eq!(bench.receiver.at("/out").len(), 1, "nothing more is sent with bad credentials");
    assert_eq!(bench.post("/v1/connections/out/test").await["ok"], true);
    bench.run(&first, &["succeeded"]).await;
    bench.deliveries("/out", 3).await;
}

#[tokio::test]
async fn a_failing_remote_opens_the_breaker_and_uses_up_no_tries() {
    let bench = bench(trigger(json!({"retry": {"first": "20ms", "factor": 1, "attempts": 3}}))).await;
    bench.receiver.script("/out", vec![Reply::Status(503); 40]);
    for n in 0..60 {
        publish(&bench, &n.to_string(), "a", json!(1)).await;
    }
    bench.wait("the breaker", async || bench.daemon.log().has("breaker opened").then_some(())).await;
    let n_before = bench.receiver.at("/out").len();
    assert!(n_before < 60 * 3, "the breaker spares the remote: {n_before}");
    assert_eq!(bench.post("/v1/connections/out/test").await["ok"], true);
    let ended = async || {
        let waiting = bench.get("/v1/runs?limit=100").await;
        let is_over = |run: &Value| run["state"] == "succeeded" || run["state"] == "dead";
        waiting["items"].as_array()?.iter().all(is_over).then_some(())
    };
    bench.wait("all runs", ended).await;
}
