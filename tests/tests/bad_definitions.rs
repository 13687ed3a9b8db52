//! Bad definitions: refused with the path of what is wrong, nothing stored, and what was there works on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use reqwest::Method;
use serde_json::{Value, json};
use trapjaw_tests::Bench;

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// Saves a trigger that is right but for one thing, and expects 422 with the path of it.
async fn trigger(bench: &Bench, name: &str, change: Value, expected: &str) {
    let mut definition = json!({"on": {"type": ["x"]}, "do": [{"name": "a", "send": "out"}]});
    for (name, value) in change.as_object().unwrap() {
        definition[name] = value.clone();
    }
    let answer = bench.api.put("/v1/triggers/t", &definition).await.unwrap();
    let (status, paths) = Bench::refusal(&answer);
    assert_eq!(status, 422, "{name}: {}", answer.json());
    let expected = format!("triggers.t{expected}");
    assert!(paths.contains(&expected), "{name}: {expected} is not in {}", answer.json());
}

#[tokio::test]
async fn triggers() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    bench.connect("other").await;
    bench.push("big-push", "1", "big-push").await;
    bench.push("announce", "1", "announce").await;
    bench.grant("announce", json!({"connections": ["out"]})).await;
    let check = async |name: &str, change: Value, expected: &str| trigger(&bench, name, change, expected).await;
    let act = |action: Value| json!({"do": [action]});
    let when = |condition: Value| json!({"when": [condition]});

    check("an unknown field", json!({"polcy": {}}), ".polcy").await;
    check("an unknown field of an action", act(json!({"sned": "out"})), ".do[0].sned").await;
    check("an unknown field of the policy", json!({"policy": {"retires": 1}}), ".policy.retires").await;
    check("no pattern", json!({"on": []}), ".on").await;
    check("an empty pattern", json!({"on": {}}), ".on[0]").await;
    check("a value that is no list", json!({"on": {"type": "x"}}), ".on[0].type").await;
    check("an unknown operator", json!({"on": {"data": {"a": [{"larger": 1}]}}}), ".on[0].data.a[0]").await;
    check("a bad range", json!({"on": {"data": {"a": [{"numeric": [">", "x"]}]}}}), ".on[0].data.a[0]").await;
    check("too many stars", json!({"on": {"type": [{"wildcard": "*a".repeat(20)}]}}), ".on[0].type[0]").await;
    check("CEL that does not parse", when(json!({"expr": "event.data.("})), ".when[0].expr").await;
    check("CEL with an unknown name", when(json!({"expr": "evnt.data.a"})), ".when[0].expr").await;
    check("CEL that is too long", when(json!({"expr": format!("'{}' == ''", "x".repeat(4_096))})), ".when[0].expr")
        .await;
    check("CEL that costs too much", when(json!({"expr": "[1].all(a, [1].all(b, true))"})), ".when[0].expr").await;
    check("CEL in a nested place", when(json!({"any": [{"not": {"expr": "("}}]})), ".when[0].any[0].not.expr").await;
    check("two forms of a condition", when(json!({"expr": "true", "plugin": "big-push"})), ".when[0]").await;
    check("an unknown plugin", when(json!({"plugin": "none"})), ".when[0].plugin").await;
    check("an unknown version", when(json!({"plugin": "big-push@9"})), ".when[0].plugin").await;
    check("an action as a condition", when(json!({"plugin": "announce"})), ".when[0].plugin").await;
    check("a condition as an action", act(json!({"plugin": "big-push"})), ".do[0].plugin").await;
    check("no action", json!({"do": []}), ".do").await;
    check("an unknown connection", act(json!({"send": "none"})), ".do[0].send").await;
    check("neither send nor plugin", act(json!({"name": "x"})), ".do[0]").await;
    check(
        "an ungranted label",
        act(json!({"plugin": "announce", "connections": {"chat": "other"}})),
        ".do[0].connections.chat",
    )
    .await;
    check(
        "a label to nowhere",
        act(json!({"plugin": "announce", "connections": {"chat": "none"}})),
        ".do[0].connections.chat",
    )
    .await;
    check(
        "a template that does not parse",
        act(json!({"send": "out", "body": {"a": ["{{ event.data. }}"]}})),
        ".do[0].body.a[0]",
    )
    .await;
    check("an unknown name in a template", act(json!({"send": "out", "body": "{{ evnt.id }}"})), ".do[0].body").await;
    check("a secret in a body", act(json!({"send": "out", "body": "{{ secret.KEY }}"})), ".do[0].body").await;
    check(
        "an option that the operator fixed",
        act(json!({"send": "out", "with": {"headers": {"host": "x"}}})),
        ".do[0].with.headers.host",
    )
    .await;
    check("an unknown option", act(json!({"send": "out", "with": {"url": "http://evil"}})), ".do[0].with.url").await;
    check("needs of nothing", act(json!({"send": "out", "needs": ["x"]})), ".do[0].needs[0]").await;
    check("two of a name", json!({"do": [{"send": "out"}, {"send": "out"}]}), ".do[1].name").await;
    check("no span", json!({"policy": {"delay": "soon"}}), ".policy.delay").await;
    check("facts", json!({"facts": {"x": {"query": "y"}}}), ".facts").await;

    let deep = format!(r#"{{"on": {{"type": ["x"]}}, "do": [{{"send": "out", "body": {}}}]}}"#, nested(70));
    let request = bench.api.request(Method::PUT, "/v1/triggers/t").header("content-type", "application/json");
    assert_eq!(Bench::refusal(&bench.api.send(request.body(deep)).await.unwrap()).0, 400);
    let named = bench
        .api
        .put("/v1/triggers/No%20Name", &json!({"on": {"type": ["x"]}, "do": [{"send": "out"}]}))
        .await
        .unwrap();
    assert_eq!(Bench::refusal(&named).0, 422);
    let large = json!({"on": {"type": ["x"]}, "do": [{"send": "out", "body": "x".repeat(300 << 10)}]});
    assert_eq!(Bench::refusal(&bench.api.put("/v1/triggers/t", &large).await.unwrap()).0, 413);
    assert_eq!(bench.get("/v1/triggers").await["items"], json!([]), "something was stored");
}

#[tokio::test]
async fn connections_secrets_and_documents() {
    let bench = Bench::start().await;
    let url = "http://127.0.0.1:9/";
    let check = async |name: &str, definition: Value, expected: &str| {
        let answer = bench.api.put("/v1/connections/c", &definition).await.unwrap();
        let (status, paths) = Bench::refusal(&answer);
        assert_eq!(status, 422, "{name}: {}", answer.json());
        assert!(paths.contains(&format!("connections.c{expected}")), "{name}: {}", answer.json());
    };
    check("no kind", json!({"url": url}), ".kind").await;
    check("an unknown kind", json!({"kind": "pigeon", "url": url}), ".kind").await;
    check("no URL", json!({"kind": "webhook"}), ".url").await;
    check("a bad URL", json!({"kind": "webhook", "url": "ftp://x/"}), ".url").await;
    check("an unknown field", json!({"kind": "webhook", "url": url, "signign": "x"}), ".signign").await;
    check("an unknown secret", json!({"kind": "webhook", "url": url, "signing": "{{ secret.NONE }}"}), ".signing")
        .await;
    check("the environment", json!({"kind": "webhook", "url": "http://{{ env.PATH }}/"}), ".url").await;
    check(
        "a file",
        json!({"kind": "webhook", "url": url, "headers": {"x-a": "{{ file./etc/passwd }}"}}),
        ".headers.x-a",
    )
    .await;
    check("a bad rate", json!({"kind": "webhook", "url": url, "allow_private": true, "rate": "fast"}), ".rate").await;
    let private = json!({"kind": "webhook", "url": "http://169.254.169.254/latest/"});
    check("an address of the machine's own network", private, ".url").await;
    assert_eq!(bench.get("/v1/connections").await["items"], json!([]), "something was stored");

    assert_eq!(Bench::refusal(&bench.api.put("/v1/secrets/S", &json!({"value": ""})).await.unwrap()).0, 400);
    assert_eq!(Bench::refusal(&bench.api.put("/v1/secrets/S", &json!({"vlaue": "x"})).await.unwrap()).0, 422);
    assert_eq!(Bench::refusal(&bench.api.put("/v1/secrets/..", &json!({"value": "x"})).await.unwrap()).0, 404);
    assert_eq!(bench.get("/v1/secrets").await["items"], json!([]), "something was stored");

    // One mistake, and nothing of the document is applied; all mistakes are reported at once.
    let document = json!({
        "connections": {"out": {"kind": "webhook", "url": url, "allow_private": true}, "bad": {"kind": "pigeon"}},
        "triggers": {"t": {"on": {"type": "x"}, "do": [{"send": "out"}]}},
    });
    let answer = bench.api.post("/v1/config/apply", &document).await.unwrap();
    assert_eq!(Bench::refusal(&answer).0, 422);
    let valid = bench.api.post("/v1/config/validate", &document).await.unwrap().ok().unwrap();
    assert_eq!(valid["valid"], false);
    for path in ["/v1/connections", "/v1/triggers"] {
        assert_eq!(bench.get(path).await["items"], json!([]), "{path}");
    }
    let unknown = bench.api.post("/v1/config/apply", &json!({"trigers": {}})).await.unwrap();
    assert_eq!(Bench::refusal(&unknown).0, 422);
    let typed = bench.api.post_bytes("/v1/config/apply", "text/plain", "{}").await.unwrap();
    assert_eq!(Bench::refusal(&typed).0, 415);
}
