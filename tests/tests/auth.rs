//! Who may do what: tokens, scopes, name prefixes, sources.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use reqwest::Method;
use serde_json::{Value, json};
use trapjaw_tests::{Api, Bench};

async fn token(bench: &Bench, definition: Value) -> Api {
    let made = bench.api.post("/v1/tokens", &definition).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    bench.api.with_token(made.json()["token"].as_str())
}

async fn status(api: &Api, method: &Method, path: &str, body: &Value) -> u16 {
    let request = api.request(method.clone(), path);
    let request = if *method == Method::GET { request } else { request.json(body) };
    api.send(request).await.unwrap().status
}

fn event(source: &str) -> String {
    json!({"specversion": "1.0", "id": "1", "source": source, "type": "x"}).to_string()
}

#[tokio::test]
async fn no_call_passes_without_a_token() {
    let bench = Bench::start().await;
    let calls = [
        (Method::POST, "/v1/events"),
        (Method::GET, "/v1/events"),
        (Method::GET, "/v1/events/stream"),
        (Method::GET, "/v1/triggers"),
        (Method::PUT, "/v1/triggers/t"),
        (Method::DELETE, "/v1/triggers/t"),
        (Method::POST, "/v1/triggers/t/fire"),
        (Method::GET, "/v1/connections"),
        (Method::PUT, "/v1/connections/c"),
        (Method::GET, "/v1/secrets"),
        (Method::PUT, "/v1/secrets/s"),
        (Method::POST, "/v1/plugins/p/versions"),
        (Method::PUT, "/v1/plugins/p/active"),
        (Method::GET, "/v1/runs"),
        (Method::POST, "/v1/dead-letters/redrive"),
        (Method::POST, "/v1/config/apply"),
        (Method::GET, "/v1/config/export"),
        (Method::GET, "/v1/tokens"),
        (Method::POST, "/v1/tokens"),
        (Method::GET, "/v1/status"),
        (Method::GET, "/metrics"),
    ];
    for token in [None, Some(""), Some("wrong"), Some("tj_0011223344556677889900112233445566778899")] {
        let api = bench.api.with_token(token);
        for (method, path) in &calls {
            let answer = api.send(api.request(method.clone(), path).json(&json!({}))).await.unwrap();
            assert_eq!(answer.status, 401, "{method} {path} {token:?}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        for path in ["/healthz", "/readyz", "/openapi.json"] {
            assert_eq!(api.get(path).await.unwrap().status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn scopes_bound_what_a_token_may() {
    let bench = Bench::start().await;
    bench.connect("out").await;
    let trigger = json!({"on": {"type": ["x"]}, "do": [{"send": "out"}]});
    bench.trigger("t", trigger.clone()).await;
    // Each act, and the scopes that take it in. A refused call is 403; a permitted one is anything else.
    let acts: [(&str, Method, &str, Value, &[&str]); 6] = [
        ("read", Method::GET, "/v1/triggers", json!({}), &["admin", "operator", "editor", "viewer"]),
        ("fire", Method::POST, "/v1/triggers/t/fire", json!({"data": 1}), &["admin", "operator", "editor", "call"]),
        ("define", Method::PUT, "/v1/triggers/t", trigger, &["admin", "operator", "editor"]),
        ("operate", Method::PUT, "/v1/secrets/S", json!({"value": "v"}), &["admin", "operator"]),
        ("redrive", Method::POST, "/v1/dead-letters/redrive", json!({"all": true}), &["admin", "operator"]),
        ("administer", Method::GET, "/v1/tokens", json!({}), &["admin"]),
    ];
    for scope in ["admin", "operator", "editor", "viewer", "ingest", "call"] {
        let api = token(&bench, json!({"name": scope, "scopes": [scope]})).await;
        for (act, method, path, body, allowed) in &acts {
            let got = status(&api, method, path, body).await;
            assert_eq!(got != 403, allowed.contains(&scope), "{scope} {act}: {got}");
        }
        let published = api.publish(event(scope)).await.unwrap().status;
        let may = ["admin", "operator", "editor", "ingest"].contains(&scope);
        assert_eq!(published, if may { 202 } else { 403 }, "{scope} ingest");
    }
}

#[tokio::test]
async fn prefixes_bound_the_names() {
    let bench = Bench::start().await;
    bench.connect("shop.out").await;
    bench.connect("pay.out").await;
    let trigger = |connection: &str| json!({"on": {"type": ["x"]}, "do": [{"send": connection}]});
    bench.trigger("pay.t", trigger("pay.out")).await;
    let api = token(&bench, json!({"name": "shop-team", "scopes": ["operator"], "prefixes": ["shop"]})).await;
    assert_eq!(api.put("/v1/triggers/shop.t", &trigger("shop.out")).await.unwrap().status, 201);
    for (method, path) in [
        (Method::PUT, "/v1/triggers/pay.t2"),
        (Method::GET, "/v1/triggers/pay.t"),
        (Method::DELETE, "/v1/triggers/pay.t"),
        (Method::POST, "/v1/triggers/pay.t/fire"),
        (Method::PUT, "/v1/triggers/shopping"),
        (Method::POST, "/v1/triggers/pay.t/pause"),
        (Method::GET, "/v1/connections/pay.out"),
        (Method::PUT, "/v1/secrets/PAY"),
        (Method::PUT, "/v1/plugins/pay.p/active"),
    ] {
        assert_eq!(status(&api, &method, path, &trigger("shop.out")).await, 403, "{method} {path}");
    }
    let names = |listing: Value| -> Vec<String> {
        listing["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(api.get("/v1/triggers").await.unwrap().json()), ["shop.t"]);
    assert_eq!(names(api.get("/v1/connections").await.unwrap().json()), ["shop.out"]);
    let document = json!({"triggers": {"shop.t": trigger("shop.out"), "pay.t": trigger("shop.out")}});
    assert_eq!(api.post("/v1/config/apply", &document).await.unwrap().status, 403);
    assert_eq!(bench.get("/v1/triggers/pay.t").await["version"], 1, "nothing of a refused document is applied");
}

#[tokio::test]
async fn sources_bound_what_is_written() {
    let bench = Bench::start().await;
    let api = token(&bench, json!({"name": "shop", "scopes": ["ingest"], "sources": ["shop"]})).await;
    assert_eq!(api.publish(event("shop")).await.unwrap().status, 202);
    assert_eq!(api.publish(event("pay")).await.unwrap().status, 403);
    let batch = format!("[{},{}]", event("shop").replace("\"1\"", "\"2\""), event("pay"));
    let answer = api.post_bytes("/v1/events", "application/cloudevents-batch+json", batch).await.unwrap();
    assert_eq!(answer.status, 403);
    assert_eq!(
        api.post_bytes("/v1/events?type=x", "application/json", "{}").await.unwrap().status,
        403,
        "the default source"
    );
    assert_eq!(
        bench.get("/v1/events").await["items"].as_array().unwrap().len(),
        1,
        "nothing of a refused batch is stored"
    );
    // Nobody may speak for the daemon.
    let claimed = bench.api.publish(event("trapjaw")).await.unwrap();
    assert_eq!(Bench::refusal(&claimed), (400, vec!["source".to_owned()]));
}

#[tokio::test]
async fn tokens_expire_and_are_removed() {
    let bench = Bench::start().await;
    let over = json!({"name": "old", "scopes": ["viewer"], "expires": "2020-01-01T00:00:00Z"});
    assert_eq!(Bench::refusal(&bench.api.post("/v1/tokens", &over).await.unwrap()), (422, vec!["expires".to_owned()]));
    let api = token(&bench, json!({"name": "short", "scopes": ["viewer"], "expires": in_seconds(2)})).await;
    assert_eq!(api.get("/v1/status").await.unwrap().status, 200);
    bench.wait("the token's end", async || (api.get("/v1/status").await.unwrap().status == 401).then_some(())).await;

    let api = token(&bench, json!({"name": "gone", "scopes": ["admin"]})).await;
    assert_eq!(api.get("/v1/tokens").await.unwrap().status, 200);
    assert_eq!(bench.api.delete("/v1/tokens/gone").await.unwrap().status, 204);
    assert_eq!(api.get("/v1/tokens").await.unwrap().status, 401);
}

#[tokio::test]
async fn tokens_are_shown_once_and_reach_no_further_than_their_maker() {
    let bench = Bench::start().await;
    let made =
        bench.api.post("/v1/tokens", &json!({"name": "a", "scopes": ["admin"], "prefixes": ["shop"]})).await.unwrap();
    let shown = made.json()["token"].as_str().unwrap().to_owned();
    assert!(!bench.get("/v1/tokens").await.to_string().contains(&shown));
    let again = bench.api.post("/v1/tokens", &json!({"name": "a", "scopes": ["viewer"]})).await.unwrap();
    assert_eq!(again.status, 409);
    let api = bench.api.with_token(Some(&shown));
    let wide = json!({"name": "shop.b", "scopes": ["admin"]});
    assert_eq!(Bench::refusal(&api.post("/v1/tokens", &wide).await.unwrap()), (422, vec!["prefixes".to_owned()]));
    let other = json!({"name": "shop.b", "scopes": ["admin"], "prefixes": ["pay"]});
    assert_eq!(Bench::refusal(&api.post("/v1/tokens", &other).await.unwrap()), (422, vec!["prefixes".to_owned()]));
    let within = json!({"name": "shop.b", "scopes": ["admin"], "prefixes": ["shop.eu"]});
    assert_eq!(api.post("/v1/tokens", &within).await.unwrap().status, 201);
}

/// A time so many seconds from now.
fn in_seconds(seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now + seconds).unwrap().to_string()
}
