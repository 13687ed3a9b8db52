//! What every release stored can be read by this one, and its open work goes on. `compat/README.md` says more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use trapjaw_tests::{Bench, Receiver, Sample, differences, wait_until};

/// How long answers may take to become what was frozen: a paused connection holds a task back only when its turn has
/// come, a moment after the start.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// A daemon on a copy of the sample, and a receiver that knows its signing secret.
async fn open(sample: &Sample) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    sample.unpack(&folder.path().join("data")).unwrap();
    let receiver = Receiver::start(text(&sample.about["signing"])).await.unwrap();
    Bench::start_on(folder, receiver).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text is wanted, not {value}"))
}

#[tokio::test]
async fn what_was_frozen_reads_back() {
    let samples = Sample::all().unwrap();
    assert!(!samples.is_empty(), "there is no sample");
    for sample in samples {
        let bench = open(&sample).await;
        assert!(!sample.answers.is_empty());
        for kept in &sample.answers {
            let path = text(&kept["get"]);
            let mut different = Vec::new();
            let same = wait_until("the frozen answer", SETTLE_MAX, async || {
                different = differences(&kept["answer"], &bench.get(path).await);
                different.is_empty().then_some(())
            });
            let same = same.await.is_ok();
            assert!(same, "{}: {path}:\n{}", sample.folder.display(), different.join("\n"));
        }
        for (event, data) in sample.about["texts"].as_object().unwrap() {
            let shown = bench.api.get(&format!("/v1/events/{event}")).await.unwrap().body;
            let shown = String::from_utf8(shown.to_vec()).unwrap();
            assert!(shown.contains(text(data)), "{data} is not in {shown}");
        }
    }
}

/// The one run of a trigger in a state, whole.
async fn run(bench: &Bench, trigger: &str, state: &str) -> Value {
    let runs = bench.get(&format!("/v1/runs?trigger={trigger}&state={state}")).await;
    let runs = runs["items"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{trigger} {state}: {runs:?}");
    bench.get(&format!("/v1/runs/{}", text(&runs[0]["id"]))).await
}

/// The idempotency key of a task's first attempt.
fn key(run: &Value, task: usize) -> String {
    text(&run["tasks"][task]["attempts"][0]["detail"]["idempotency_key"]).to_owned()
}

#[tokio::test]
async fn open_work_goes_on() {
    for sample in Sample::all().unwrap() {
        let bench = open(&sample).await;
        // Every connection of a sample names its receiver by a secret, because a port cannot be frozen.
        let receiver = json!({"value": bench.receiver.url("")});
        bench.api.put("/v1/secrets/RECEIVER", &receiver).await.unwrap().ok().unwrap();
        what_is_explained(&bench).await;
        what_waits(&bench).await;
        what_is_dead(&bench).await;
        what_is_far(&bench).await;
        what_is_new(&bench).await;
        tokens(&bench, &sample.about["tokens"]).await;
        assert_eq!(bench.receiver.n_bad(), 0);
    }
}

/// What is not kept is worked out of what is: why an event of long ago met a trigger or did not.
async fn what_is_explained(bench: &Bench) {
    for (id, field) in [("pattern-missed", "patterns"), ("not-matched", "leaves")] {
        let event = bench.get(&format!("/v1/events?source=sample&id={id}")).await;
        let asked = json!({"event": event["items"][0]["id"]});
        let explained = bench.api.post("/v1/triggers/kept.paid/explain", &asked).await.unwrap().ok().unwrap();
        assert_eq!(explained["verdict"], "not-matched", "{explained:#}");
        assert!(!explained[field].as_array().unwrap().is_empty(), "{explained:#}");
    }
}

/// What a pause held back goes on where it stood: the second try of the one, and then the first of the other.
async fn what_waits(bench: &Bench) {
    let waiting = bench.get("/v1/runs?trigger=kept.ordered").await;
    let first =
        bench.get(&format!("/v1/runs/{}", text(&waiting["items"].as_array().unwrap().last().unwrap()["id"]))).await;
    bench.post("/v1/triggers/kept.ordered/resume").await;
    let deliveries = bench.deliveries("/ordered", 2).await;
    let told: Vec<(Value, u32)> = deliveries.iter().map(|it| (it.json()["id"].clone(), it.attempt)).collect();
    assert_eq!(told, [(json!("ordered-1"), 2), (json!("ordered-2"), 1)]);
    assert_eq!(deliveries[0].id, key(&first, 0), "the second try is under the first one's key");
    bench.run(text(&first["event_id"]), &["succeeded"]).await;

    bench.post("/v1/triggers/kept.paused/resume").await;
    let delivery = bench.deliveries("/out", 1).await.remove(0);
    assert_eq!((delivery.json()["id"].clone(), &delivery.json()["data"]["text"]), (json!("paused"), &json!("wartet")));
    assert_eq!(delivery.headers["x-key"], "the key of the sample", "a sealed secret opens");
    bench.post("/v1/connections/held/resume").await;
    assert_eq!(bench.deliveries("/held", 1).await[0].json()["id"], "held");
}

/// Dead letters are tried again: the same bytes under the same keys, and no recorded send once more.
async fn what_is_dead(bench: &Bench) {
    let (chain, push) = (run(bench, "kept.chain", "dead").await, run(bench, "kept.pushes", "dead").await);
    let redriven = run(bench, "kept.redriven", "dead").await;
    let dead = bench.api.all("/v1/dead-letters").await.unwrap();
    let moved = bench.api.post("/v1/dead-letters/redrive", &json!({"all": true})).await.unwrap().ok().unwrap();
    assert_eq!(moved, json!({"count": dead.len()}));

    let second = bench.deliveries("/second", 1).await.remove(0);
    assert_eq!((second.json(), second.id), (json!({"second": {"of": 3}}), key(&chain, 1)));
    let third = bench.deliveries("/third", 1).await.remove(0);
    assert_eq!(third.json()["got"]["body"]["id"], "ü-7", "the stored output of the first action");
    bench.run(text(&chain["event_id"]), &["succeeded"]).await;

    let audit = bench.deliveries("/audit", 1).await.remove(0);
    assert_eq!(audit.json()["event"], "push-3");
    assert!(bench.receiver.at("/chat").is_empty(), "a recorded send is not repeated");
    let push = bench.run(text(&push["event_id"]), &["succeeded"]).await;
    assert_eq!(announced(&push), 2, "the plugin's state goes on");

    let again = bench.deliveries("/redriven", 1).await.remove(0);
    assert_eq!(again.id, key(&redriven, 0));
    bench.run(text(&redriven["event_id"]), &["succeeded"]).await;
    for trigger in ["kept.broken", "kept.spins", "kept.misdeeds"] {
        let died = async || {
            let letters = bench.get(&format!("/v1/dead-letters?trigger={trigger}")).await;
            (!letters["items"].as_array()?.is_empty()).then_some(())
        };
        bench.wait("what cannot succeed to die again", died).await;
    }
}

/// How many times the plugin has announced, as its last attempt gave.
fn announced(run: &Value) -> u64 {
    let output = run["tasks"][0]["attempts"].as_array().unwrap().last().unwrap()["detail"]["output"].clone();
    serde_json::from_str::<Value>(text(&output)).unwrap()["announced"].as_u64().unwrap()
}

/// What waits for a time that will not come soon can be cancelled.
async fn what_is_far(bench: &Bench) {
    let scheduled = bench.api.all("/v1/runs?state=scheduled").await.unwrap();
    assert_eq!(scheduled.len(), 4);
    for run in scheduled {
        bench.post(&format!("/v1/runs/{}/cancel", text(&run["id"]))).await;
        let now = bench.get(&format!("/v1/runs/{}", text(&run["id"]))).await;
        assert_eq!(now["state"], "cancelled", "{now:#}");
    }
}

/// New events meet the stored definitions, components, states and counts.
async fn what_is_new(bench: &Bench) {
    let n_chats = bench.receiver.at("/chat").len();
    let push = json!({"ref": "refs/heads/main", "commits": [{}, {}]});
    let event = bench.publish("push", "new-push", &push).await;
    assert_eq!(announced(&bench.run(&event, &["succeeded"]).await), 3);
    let chat = bench.deliveries("/chat", n_chats + 1).await.pop().unwrap();
    assert_eq!(chat.headers["authorization"], "Bearer a-literal-credential", "a sealed connection opens");
    let evaluations = bench.get(&format!("/v1/events/{event}/evaluations")).await;
    assert_eq!(evaluations["items"][0]["plugins"][0]["version"], "1.0.0", "the version that was active is");

    let event = bench.publish("capped", "new-capped", &json!({})).await;
    bench.run(&event, &["succeeded"]).await;
    let counted = json!({"specversion": "1.0", "id": "x", "source": "tests", "type": "capped", "subject": "ann"});
    let counted = bench.api.publish(counted.to_string()).await.unwrap().ok().unwrap();
    let event = bench.get(&format!("/v1/events/{}", text(&counted["ids"][0]))).await;
    assert_eq!((&event["n_runs"], &event["evaluations"][0]["verdict"]), (&json!(0), &json!("not-matched")));
}

async fn tokens(bench: &Bench, tokens: &Value) {
    let with = |name: &str| bench.api.with_token(Some(text(&tokens[name])));
    let event = |source: &str| json!({"specversion": "1.0", "id": "t", "source": source, "type": "x"}).to_string();
    let feeder = with("feeder");
    assert_eq!(feeder.publish(event("sample")).await.unwrap().status, 202);
    assert_eq!(feeder.publish(event("tests")).await.unwrap().status, 403);
    let reader = with("kept.reader");
    assert_eq!(reader.get("/v1/triggers/kept.paid").await.unwrap().status, 200);
    assert_eq!(reader.get("/v1/connections/out").await.unwrap().status, 403);
    assert_eq!(with("removed").get("/v1/triggers").await.unwrap().status, 401);
}
