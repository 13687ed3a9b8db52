//! The life of an event: taken, judged, acted on, tried again, dead, redriven.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trapjaw_tests::{Bench, Reply};

/// A trigger for events of a type, with one send.
fn sends(kind: &str, connection: &str, policy: Value) -> Value {
    json!({"on": {"type": [kind]}, "do": [{"name": "tell", "send": connection}], "policy": policy})
}

fn quick(attempts: u32) -> Value {
    json!({"retry": {"first": "20ms", "factor": 1, "attempts": attempts}})
}

#[tokio::test]
async fn a_document_is_applied_and_an_event_is_delivered() {
    let bench = Bench::start().await;
    let document = json!({
        "connections": {"out": bench.webhook("/out")},
        "triggers": {"t": sends("order.paid", "out", json!({}))},
    });
    let changes = |answer: Value| -> Vec<String> {
        let changes = answer["changes"].as_array().unwrap().clone();
        changes.iter().map(|change| format!("{} {}", change["kind"], change["name"]).replace('"', "")).collect()
    };
    let diff = bench.api.post("/v1/config/diff", &document).await.unwrap().ok().unwrap();
    assert_eq!(
        (diff["applied"].clone(), changes(diff)),
        (json!(false), vec!["connection out".into(), "trigger t".into()])
    );
    assert_eq!(bench.get("/v1/triggers").await["items"], json!([]), "a diff changes nothing");
    let applied = bench.api.post("/v1/config/apply", &document).await.unwrap().ok().unwrap();
    assert_eq!(applied["applied"], true);

    let event = bench.publish("order.paid", "1", &json!({"total": 12})).await;
    let delivery = bench.deliveries("/out", 1).await.remove(0);
    let sent = delivery.json();
    assert_eq!((&sent["id"], &sent["source"], &sent["data"]), (&json!("1"), &json!("tests"), &json!({"total": 12})));
    assert_eq!(delivery.attempt, 1);

    let run = bench.run(&event, &["succeeded"]).await;
    let task = &run["tasks"][0];
    assert_eq!((&task["action"], &task["attempts"][0]["result"]), (&json!("tell"), &json!("succeeded")));
    let detail = &task["attempts"][0]["detail"];
    assert_eq!((&detail["connection"], &detail["status"]), (&json!("out"), &json!(200)), "{task:#}");
    assert_eq!(detail["idempotency_key"], delivery.id, "the receiver's webhook-id is the recorded key");
    let evaluations = bench.get(&format!("/v1/events/{event}/evaluations")).await;
    assert_eq!(evaluations["items"][0]["verdict"], "matched");
}

#[tokio::test]
async fn an_event_is_taken_once() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.trigger("t", sends("x", "out", json!({}))).await;
    let batch = |ids: &[&str]| -> String {
        let event = |id: &&str| json!({"specversion": "1.0", "id": id, "source": "tests", "type": "x"});
        Value::from(ids.iter().map(event).collect::<Vec<_>>()).to_string()
    };
    let publish = async |ids: &[&str]| {
        let answer =
            bench.api.post_bytes("/v1/events", "application/cloudevents-batch+json", batch(ids)).await.unwrap();
        (answer.status, answer.json()["accepted"].as_u64(), answer.json()["duplicates"].as_u64())
    };
    assert_eq!(publish(&["1", "2"]).await, (202, Some(2), Some(0)));
    assert_eq!(publish(&["2", "3", "3"]).await, (202, Some(1), Some(2)));
    assert_eq!(bench.deliveries("/out", 3).await.len(), 3);
    assert_eq!(bench.get("/v1/events").await["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_send_is_tried_again_under_the_same_key() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.receiver.script("/out", [Reply::Status(503), Reply::Status(500), Reply::Status(200)]);
    bench.trigger("t", sends("x", "out", quick(5))).await;
    let event = bench.publish("x", "1", &json!(1)).await;
    let deliveries = bench.deliveries("/out", 3).await;
    let ids: Vec<_> = deliveries.iter().map(|delivery| &delivery.id).collect();
    assert_eq!(ids, [ids[0]; 3]);
    assert!(deliveries.iter().all(|delivery| delivery.body == deliveries[0].body), "every try sends the same bytes");
    assert_eq!(deliveries.iter().map(|delivery| delivery.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    let run = bench.run(&event, &["succeeded"]).await;
    let results: Vec<_> = run["tasks"][0]["attempts"].as_array().unwrap().iter().map(|it| &it["result"]).collect();
    assert_eq!(results, ["failed", "failed", "succeeded"]);
    assert_eq!(run["tasks"][0]["attempts"][0]["detail"]["status"], 503);
}

#[tokio::test]
async fn a_remote_may_ask_for_time() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let later = Reply::Full(429, vec![("retry-after", "1".into())], String::new());
    bench.receiver.script("/out", [later]);
    bench.trigger("t", sends("x", "out", quick(3))).await;
    bench.publish("x", "1", &json!(1)).await;
    let deliveries = bench.deliveries("/out", 2).await;
    assert!(deliveries[1].at - deliveries[0].at >= Duration::from_secs(1), "{deliveries:?}");
}

#[tokio::test]
async fn a_dead_letter_is_redriven() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.receiver.script("/out", [Reply::Full(410, Vec::new(), "gone for good".into())]);
    bench.trigger("t", sends("x", "out", quick(5))).await;
    let event = bench.publish("x", "1", &json!(1)).await;
    let run = bench.run(&event, &["dead"]).await;
    let attempt = &run["tasks"][0]["attempts"][0];
    assert_eq!((&attempt["result"], &attempt["detail"]["answer"]), (&json!("dead"), &json!("gone for good")));

    let dead = bench.get("/v1/dead-letters").await;
    assert_eq!(dead["items"][0]["task"], run["tasks"][0]["id"]);
    let groups = bench.get("/v1/dead-letters/groups").await;
    assert_eq!((&groups["items"][0]["trigger"], &groups["items"][0]["count"]), (&json!("t"), &json!(1)));
    let moved = bench.api.post("/v1/dead-letters/redrive", &json!({"trigger": "t"})).await.unwrap().ok().unwrap();
    assert_eq!(moved, json!({"count": 1}));
    bench.run(&event, &["succeeded"]).await;
    let deliveries = bench.deliveries("/out", 2).await;
    assert_eq!(deliveries[0].id, deliveries[1].id, "a redrive keeps the key");
    assert_eq!(bench.get("/v1/dead-letters").await["items"], json!([]));
}

#[tokio::test]
async fn a_dead_letter_is_dropped() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.receiver.script("/out", [Reply::Status(400)]);
    bench.trigger("t", sends("x", "out", json!({}))).await;
    let event = bench.publish("x", "1", &json!(1)).await;
    let run = bench.run(&event, &["dead"]).await;
    let task = run["tasks"][0]["id"].as_str().unwrap();
    assert_eq!(bench.post(&format!("/v1/tasks/{task}/cancel")).await, json!({"count": 1}));
    bench.run(&event, &["cancelled"]).await;
    assert_eq!(bench.api.post(&format!("/v1/tasks/{task}/retry"), &json!({})).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_delay_is_kept() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.trigger("t", sends("x", "out", json!({"delay": "1500ms"}))).await;
    let begin = Instant::now();
    let event = bench.publish("x", "1", &json!(1)).await;
    assert_eq!(bench.run(&event, &["scheduled", "succeeded"]).await["state"], "scheduled");
    let delivery = bench.deliveries("/out", 1).await.remove(0);
    // The daemon counts from the event's time, which is when it took it.
    assert!(delivery.at - begin >= Duration::from_millis(1_490), "{:?}", delivery.at - begin);
}

#[tokio::test]
async fn needs_order_actions_and_hand_on_outputs() {
    let bench = Bench::start().await;
    for name in ["first", "second", "third"] {
        bench.connect(name).await;
    }
    bench
        .receiver
        .script("/first", [Reply::Full(200, vec![("content-type", "application/json".into())], r#"{"id": 7}"#.into())]);
    let actions = json!([
        {"name": "a", "send": "first"},
        {"name": "b", "send": "second", "needs": ["a"], "body": {"got": "{{ tasks.a.output }}"}},
        {"name": "c", "send": "third", "needs": ["b"], "body": {}},
    ]);
    bench.trigger("t", json!({"on": {"type": ["x"]}, "do": actions, "policy": quick(1)})).await;
    let event = bench.publish("x", "1", &json!(1)).await;
    bench.run(&event, &["succeeded"]).await;
    let at = async |path: &str| bench.deliveries(path, 1).await.remove(0);
    let (first, second, third) = (at("/first").await, at("/second").await, at("/third").await);
    assert!(first.at <= second.at && second.at <= third.at);
    let got = &second.json()["got"];
    assert!(got.to_string().contains('7'), "the answer of the first is the output for the second: {got}");

    // What needs a dead action waits; dropping that cancels it.
    bench.receiver.script("/first", [Reply::Status(404)]);
    let event = bench.publish("x", "2", &json!(1)).await;
    let run = bench.run(&event, &["dead"]).await;
    assert_eq!((&run["tasks"][1]["state"], &run["tasks"][1]["waiting_for"]), (&json!("waiting"), &json!("needs")));
    bench.api.post("/v1/dead-letters/drop", &json!({"all": true})).await.unwrap().ok().unwrap();
    bench.run(&event, &["cancelled"]).await;
    assert_eq!(bench.receiver.at("/second").len(), 1);
}

#[tokio::test]
async fn a_paused_trigger_waits_and_a_disabled_one_ends() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.trigger("t", sends("x", "out", json!({}))).await;
    bench.post("/v1/triggers/t/pause").await;
    let event = bench.publish("x", "1", &json!(1)).await;
    let run = bench.run(&event, &["waiting", "succeeded"]).await;
    assert_eq!((&run["state"], &run["tasks"][0]["waiting_for"]), (&json!("waiting"), &json!("paused")));
    bench.post("/v1/triggers/t/resume").await;
    bench.run(&event, &["succeeded"]).await;
    bench.post("/v1/triggers/t/disable").await;
    let event = bench.publish("x", "2", &json!(1)).await;
    assert_eq!(bench.get(&format!("/v1/events/{event}/runs")).await["items"], json!([]));
}

#[tokio::test]
async fn connections_are_tested_and_keep_their_credentials() {
    let bench = Bench::start().await;
    bench.connect("good").await;
    assert_eq!(bench.post("/v1/connections/good/test").await["ok"], true);
    let dead =
        json!({"kind": "webhook", "url": "http://127.0.0.1:1/", "allow_private": true, "signing": "s3cr3t-s3cr3t"});
    bench.api.put("/v1/connections/dead", &dead).await.unwrap().ok().unwrap();
    let tested = bench.post("/v1/connections/dead/test").await;
    assert_eq!((&tested["ok"], &tested["retry"]), (&json!(false), &json!(true)), "{tested}");
    for path in ["/v1/connections/dead", "/v1/connections", "/v1/config/export"] {
        assert!(!bench.get(path).await.to_string().contains("s3cr3t"), "{path} shows a credential");
    }
    assert_eq!(bench.api.post("/v1/connections/none/test", &json!({})).await.unwrap().status, 404);
}

#[tokio::test]
async fn loopback_is_refused_unless_the_operator_allows_it() {
    let bench = Bench::start().await;
    let mut guarded = bench.webhook("/out");
    guarded["allow_private"] = json!(false);
    let refused = bench.api.put("/v1/connections/out", &guarded).await.unwrap();
    assert_eq!(Bench::refusal(&refused), (422, vec!["connections.out.url".to_owned()]), "{refused:?}");
    assert_eq!(bench.api.get("/v1/connections/out").await.unwrap().status, 404);
    bench.connect("out").await;
    let tested = bench.api.post("/v1/connections/out/test", &json!({})).await.unwrap();
    assert_eq!(tested.json()["ok"], true, "{tested:?}");
}

#[tokio::test]
async fn the_stream_shows_events_with_their_verdicts() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let mut definition = sends("x", "out", json!({}));
    definition["when"] = json!([{"expr": "event.data.n > 1"}]);
    bench.trigger("t", definition).await;
    let request = bench.api.request(reqwest::Method::GET, "/v1/events/stream?trigger=t");
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    for (id, n) in [("1", 1), ("2", 2)] {
        bench.publish("x", id, &json!({"n": n})).await;
    }
    let mut text = String::new();
    while text.matches("event: event").count() < 2 || !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await.expect("the stream is silent");
        text.push_str(std::str::from_utf8(&chunk.unwrap().expect("the stream ended")).unwrap());
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let seen: Vec<Value> = data.map(|line| serde_json::from_str(line.trim()).unwrap()).collect();
    let verdicts: Vec<_> =
        seen.iter().map(|seen| (&seen["evaluations"][0]["verdict"], &seen["evaluations"][0]["leaf"])).collect();
    assert_eq!(verdicts, [(&json!("not-matched"), &json!("when[0]")), (&json!("matched"), &Value::Null)]);
    assert_eq!((seen[0]["runs"].as_array().unwrap().len(), seen[1]["runs"].as_array().unwrap().len()), (0, 1));
}
