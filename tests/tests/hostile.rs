//! Hostile plugins hurt nobody but themselves: their task fails with the reason, and everything else goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_tests::{Bench, Delivery};

/// A bench with the hostile action, whose triggers take the misdeed from the event.
async fn hostile() -> Bench {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.push("hostile-action", "1", "hostile-action").await;
    bench.grant("hostile-action", json!({"connections": ["out"], "state": true})).await;
    let action =
        json!({"name": "a", "plugin": "hostile-action", "config": "{{ event.data }}", "connections": {"out": "out"}});
    let policy = json!({"retry": {"first": "20ms", "attempts": 2}});
    bench.trigger("bad", json!({"on": {"type": ["bad"]}, "do": [action], "policy": policy})).await;
    bench.trigger("good", json!({"on": {"type": ["good"]}, "do": [{"send": "out"}]})).await;
    bench
}

/// What came of a misdeed: the run's state, and its last attempt.
async fn misdeed(bench: &Bench, id: &str, config: Value) -> (String, Value) {
    let event = bench.publish("bad", id, &config).await;
    let run = bench.run(&event, &["dead", "succeeded", "skipped"]).await;
    let attempts = run["tasks"][0]["attempts"].as_array().unwrap();
    (run["state"].as_str().unwrap().to_owned(), attempts.last().unwrap()["detail"].clone())
}

#[tokio::test]
async fn hostile_actions_fail_with_the_reason() {
    let bench = hostile().await;
    let cases = [
        (json!({"do": "spin"}), "time", true),
        (json!({"do": "trap"}), "unreachable", true),
        (json!({"do": "panic"}), "unreachable", true),
        (json!({"do": "recurse"}), "", true),
        (json!({"do": "grow"}), "memory", false),
        (json!({"do": "big-output"}), "", false),
        (json!({"do": "invalid-json"}), "not JSON", false),
        (json!({"do": "many-sends", "amount": 101}), "100 sends", false),
        (json!({"do": "ungranted-label"}), "nobody-granted-this", false),
        (json!({"do": "state-flood"}), "state", false),
        (json!({"do": "fail-permanent"}), "told to fail", false),
        (json!({"do": "fail-transient"}), "told to fail", false),
        (json!({"do": "nonsense"}), "nonsense", false),
    ];
    for (n, (config, reason, has_frames)) in cases.into_iter().enumerate() {
        let (state, detail) = misdeed(&bench, &n.to_string(), config.clone()).await;
        assert_eq!(state, "dead", "{config}: {detail:#}");
        let said = detail["reason"].as_str().unwrap_or_default();
        assert!(!said.is_empty() && said.contains(reason), "{config}: {detail:#}");
        let frames = detail["backtrace"].as_str().unwrap_or_default();
        assert!(!has_frames || frames.contains("hostile_common"), "{config} has no backtrace: {detail:#}");
        // The neighbour works all the while.
        let good = bench.publish("good", &format!("good-{n}"), &json!({})).await;
        bench.run(&good, &["succeeded"]).await;
    }
    let (_, detail) = misdeed(&bench, "panic", json!({"do": "panic"})).await;
    assert!(detail["stderr"].as_str().unwrap().contains("told to panic"), "{detail:#}");
    assert!(detail["plugin"]["version"] == "1", "{detail:#}");
}

#[tokio::test]
async fn what_is_only_loud_is_cut() {
    let bench = hostile().await;
    let (state, detail) = misdeed(&bench, "1", json!({"do": "log-flood", "amount": 5_000})).await;
    assert_eq!(state, "succeeded", "{detail:#}");
    assert!(detail["log_dropped"].as_u64().unwrap() > 4_000 && detail["log"].as_array().unwrap().len() <= 256);
    let (state, detail) = misdeed(&bench, "2", json!({"do": "skip"})).await;
    assert_eq!((state.as_str(), &detail["reason"]), ("skipped", &json!("told to skip")));
    for report in ["env", "file"] {
        let (state, detail) = misdeed(&bench, report, json!({"do": report})).await;
        let output = detail["output"].as_str().unwrap();
        assert_eq!(state, "succeeded");
        assert!(!output.contains("TRAPJAW") && !output.contains("\"read ") && !output.contains("listed"), "{output}");
    }
}

#[tokio::test]
async fn resume_at_is_no_try() {
    let bench = hostile().await;
    let event = bench.publish("bad", "1", &json!({"do": "resume-at", "amount": 50})).await;
    let resumed = async || {
        let runs = bench.get(&format!("/v1/events/{event}/runs")).await;
        let task = runs["items"][0]["tasks"][0].clone();
        (task["resumes"].as_u64()? >= 3).then_some(task)
    };
    let task = bench.wait("three resumes", resumed).await;
    assert_eq!(task["tries"], 0, "{task}");
    let runs = bench.get(&format!("/v1/events/{event}/runs")).await;
    let run = runs["items"][0]["id"].as_str().unwrap();
    bench.post(&format!("/v1/runs/{run}/cancel")).await;
    bench.run(&event, &["cancelled"]).await;
}

#[tokio::test]
async fn hostile_conditions_die_and_say_why() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.push("hostile-condition", "1", "hostile-condition").await;
    let trigger = |misdeed: &str| json!({"on": {"type": [misdeed]}, "when": [{"plugin": "hostile-condition", "config": {"do": misdeed}}], "do": [{"send": "out"}]});
    bench.trigger("good", json!({"on": {"type": ["good"]}, "do": [{"send": "out"}]})).await;
    for (misdeed, reason) in
        [("trap", "unreachable"), ("panic", "unreachable"), ("grow", "memory"), ("fail-permanent", "told to fail")]
    {
        bench.trigger(misdeed, trigger(misdeed)).await;
        let event = bench.publish(misdeed, misdeed, &json!({})).await;
        let evaluation = evaluation(&bench, &event).await;
        assert_eq!(evaluation["verdict"], "error", "{misdeed}: {evaluation}");
        assert!(evaluation["reason"].as_str().unwrap().contains(reason), "{misdeed}: {evaluation}");
        bench.run(&event, &["dead"]).await;
        let good = bench.publish("good", &format!("good-{misdeed}"), &json!({})).await;
        bench.run(&good, &["succeeded"]).await;
    }
    // A time limit may pass, so it is tried again; meanwhile the neighbours' events are answered at once.
    bench.trigger("spin", trigger("spin")).await;
    for n in 0..4 {
        bench.publish("spin", &format!("spin-{n}"), &json!({})).await;
    }
    let good = bench.publish("good", "last", &json!({})).await;
    bench.run(&good, &["succeeded"]).await;
    assert_eq!(bench.api.get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_start_function_that_never_ends_is_stopped() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let path = "../plugins/hostile/wat/start-spins.wat";
    let answer = bench.api.upload("spins", "?version=1&activate=true", wat::parse_file(path).unwrap()).await.unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    let asks = json!({"on": {"type": ["x"]}, "when": [{"plugin": "spins"}], "do": [{"send": "out"}]});
    bench.trigger("t", asks).await;
    let event = bench.publish("x", "1", &json!({})).await;
    // It is tried again, because the machine may have been busy; the wait for that says that the first try has ended.
    let run = bench.run(&event, &["waiting", "dead"]).await;
    let said = run["tasks"][0]["attempts"].to_string() + &run["evaluations"].to_string();
    assert!(said.contains("time"), "{run:#}");
    assert_eq!(bench.api.get("/healthz").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_spinning_neighbour_delays_nobody() {
    let bench = hostile().await;
    for n in 0..8 {
        bench.publish("bad", &format!("spin-{n}"), &json!({"do": "spin"})).await;
    }
    for n in 0..50 {
        bench.publish("good", &n.to_string(), &json!({})).await;
    }
    let deliveries: Vec<Delivery> = bench.receiver.wait("/out", 50, Duration::from_secs(10)).await.unwrap();
    assert_eq!(deliveries.len(), 50);
}

async fn evaluation(bench: &Bench, event: &str) -> Value {
    let decided = async || {
        let items = bench.get(&format!("/v1/events/{event}/evaluations")).await["items"].take();
        items.as_array()?.iter().find(|item| item["verdict"] != "judging").cloned()
    };
    bench.wait("evaluation", decided).await
}
