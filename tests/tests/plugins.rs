//! Plugins: taken in, activated, rolled back, refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use trapjaw_tests::{Bench, component};

fn push(n_commits: usize) -> Value {
    let commits: Vec<Value> =
        (0..n_commits).map(|n| json!({"committer": {"email": format!("{n}@example.com")}})).collect();
    json!({"ref": "refs/heads/main", "commits": commits})
}

fn big_push(plugin: &str) -> Value {
    json!({"on": {"type": ["push"]}, "when": [{"plugin": plugin, "config": {"min_commits": 2}}], "do": [{"send": "out"}]})
}

async fn evaluation(bench: &Bench, event: &str) -> Value {
    let decided = async || {
        let items = bench.get(&format!("/v1/events/{event}/evaluations")).await["items"].take();
        items.as_array()?.iter().find(|item| item["verdict"] != "judging").cloned()
    };
    bench.wait("evaluation", decided).await
}

#[tokio::test]
async fn versions_are_uploaded_activated_and_rolled_back() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let first = bench.push("big-push", "1.0.0", "big-push").await;
    bench.trigger("t", big_push("big-push")).await;
    let asked = async |id: &str| {
        let event = bench.publish("push", id, &push(3)).await;
        let evaluation = evaluation(&bench, &event).await;
        assert_eq!(evaluation["verdict"], "matched", "{evaluation}");
        (evaluation["plugins"][0]["version"].clone(), evaluation["plugins"][0]["digest"].clone())
    };
    assert_eq!(asked("1").await, (json!("1.0.0"), json!(first)));

    // Uploaded is not active.
    let v2 = component("big-push-v2").unwrap();
    let answer = bench.api.upload("big-push", "?version=2.0.0", v2.clone()).await.unwrap();
    assert_eq!((answer.status, &answer.json()["active"]), (201, &json!(false)));
    assert_eq!(answer.json()["world"], "condition-plugin");
    assert_eq!(asked("2").await.0, "1.0.0");
    let put = bench.api.put("/v1/plugins/big-push/active", &json!({"version": "2.0.0"})).await.unwrap();
    assert_eq!((put.status, &put.json()["active"]), (200, &json!("2.0.0")));
    assert_eq!(asked("3").await, (json!("2.0.0"), answer.json()["digest"].clone()));
    assert_eq!(bench.post("/v1/plugins/big-push/rollback").await["active"], "1.0.0");
    assert_eq!(asked("4").await.0, "1.0.0");

    // A pinned trigger stays where it is.
    bench.trigger("t", big_push("big-push@2.0.0")).await;
    assert_eq!(asked("5").await.0, "2.0.0");
    // The same bytes once more are no error; others under the same name are.
    assert_eq!(bench.api.upload("big-push", "?version=2.0.0", v2).await.unwrap().status, 201);
    let other = component("big-push-c").unwrap();
    assert_eq!(Bench::refusal(&bench.api.upload("big-push", "?version=2.0.0", other).await.unwrap()).0, 409);
    assert_eq!(bench.api.put("/v1/plugins/big-push/active", &json!({"version": "9"})).await.unwrap().status, 404);
}

#[tokio::test]
async fn one_contract_in_every_language() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    for name in ["big-push", "big-push-c", "big-push-py"] {
        bench.push(name, "1", name).await;
        bench.trigger(name, big_push(name)).await;
    }
    for (id, n_commits, verdict) in [("few", 1, "not-matched"), ("many", 2, "matched")] {
        let event = bench.publish("push", id, &push(n_commits)).await;
        let decided = async || {
            let items = bench.get(&format!("/v1/events/{event}/evaluations")).await["items"].take();
            let items: Vec<Value> =
                items.as_array()?.iter().filter(|item| item["verdict"] != "judging").cloned().collect();
            (items.len() == 3).then_some(items)
        };
        let items = bench.wait("three evaluations", decided).await;
        assert!(
            items.iter().all(|item| item["verdict"] == verdict && item["reason"] == items[0]["reason"]),
            "{items:#?}"
        );
    }
    assert_eq!(bench.deliveries("/out", 3).await.len(), 3);
}

#[tokio::test]
async fn an_action_sends_by_its_labels_and_keeps_state() {
    let bench = Bench::start().await;
    bench.connect("chat").await;
    bench.connect("audit").await;
    bench.push("announce", "1.0.0", "announce").await;
    let action = json!({"plugin": "announce", "config": {"title": "Seen {{ event.id }}"}, "connections": {"chat": "chat", "audit": "audit"}});
    let definition = json!({"on": {"type": ["x"]}, "do": [action]});
    let answer = bench.api.put("/v1/triggers/t", &definition).await.unwrap();
    assert_eq!(Bench::refusal(&answer).0, 422, "nothing is granted yet");
    bench.grant("announce", json!({"connections": ["chat", "audit"], "state": true})).await;
    bench.trigger("t", definition).await;
    for (n, (version, file, by)) in
        [("1.0.0", "announce", "rust"), ("2.0.0", "announce-js", "javascript")].into_iter().enumerate()
    {
        bench.push("announce", version, file).await;
        let event = bench.publish("x", &n.to_string(), &json!({})).await;
        let run = bench.run(&event, &["succeeded", "dead"]).await;
        assert_eq!(run["state"], "succeeded", "{run:#}");
        let output: Value =
            serde_json::from_str(run["tasks"][0]["attempts"][0]["detail"]["output"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&output["announced"], &output["by"]),
            (&json!(n + 1), &json!(by)),
            "the state goes from language to language"
        );
        let chat = bench.deliveries("/chat", n + 1).await.remove(n).json();
        assert_eq!(chat, json!({"text": format!("Seen {n}: x {n}"), "event": n.to_string(), "by": by}));
        assert_eq!(bench.deliveries("/audit", n + 1).await[n].json()["trigger"], "t");
    }
}

#[tokio::test]
async fn bad_components_are_refused_and_the_old_version_works_on() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let digest = bench.push("big-push", "1.0.0", "big-push").await;
    bench.trigger("t", big_push("big-push")).await;
    let good = component("big-push").unwrap();
    let folder = "../plugins/hostile/wat";
    let text = |name: &str| wat::parse_file(format!("{folder}/{name}.wat")).unwrap();
    let mut long = good.clone();
    long.resize((64 << 20) + 1, 0);
    let cases = [
        ("no WebAssembly", b"hello".to_vec(), 422, "not WebAssembly"),
        ("nothing", Vec::new(), 422, "empty"),
        ("a core module", text("core-module"), 422, "module"),
        ("truncated", good[..good.len() / 2].to_vec(), 422, ""),
        ("truncated in the header", good[..6].to_vec(), 422, ""),
        ("no export", text("no-export"), 422, "export"),
        ("an unknown import", text("unknown-import"), 422, "example:elsewhere/doors"),
        ("rubbish after the header", [&good[..8], &[0xff; 100]].concat(), 422, ""),
        ("over-size", long, 413, "larger"),
    ];
    for (name, bytes, status, reason) in cases {
        let answer = bench.api.upload("big-push", "?version=2&activate=true", bytes).await.unwrap();
        assert_eq!(Bench::refusal(&answer).0, status, "{name}: {}", answer.json());
        assert!(answer.json().to_string().contains(reason), "{name}: {}", answer.json());
        assert_eq!(status == 422, !answer.paths().is_empty(), "{name} has a reason: {}", answer.json());
    }
    let typed = bench.api.post_bytes("/v1/plugins/big-push/versions", "text/html", good).await.unwrap();
    assert_eq!(Bench::refusal(&typed).0, 415);
    let plugin = bench.get("/v1/plugins/big-push").await;
    assert_eq!((&plugin["active"], plugin["versions"].as_array().unwrap().len()), (&json!("1.0.0"), 1));
    let event = bench.publish("push", "1", &push(2)).await;
    assert_eq!(evaluation(&bench, &event).await["plugins"][0]["digest"], digest);
    bench.deliveries("/out", 1).await;
}
