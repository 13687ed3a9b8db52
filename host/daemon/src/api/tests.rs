//! The API over a real store, in one process: every call once, and what it refuses.

mod contract;
mod permissions;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use trapjaw_engine::secret::Secret;
use trapjaw_sandbox::Compiler;

use super::{openapi, router};
use crate::cli::args::ServeArgs;
use crate::config::settings::Settings;
use crate::host::Host;

const ADMIN: &str = "an-admin-token";

/// A host on an empty directory.
struct Fixture {
    host: Option<Host>,
    router: Router,
    _dir: tempfile::TempDir,
}

impl Fixture {
    async fn open() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let args = ServeArgs {
            data: Some(dir.path().join("data")),
            listen: None,
            store: None,
            config: None,
            admin_token: Some(Secret::new(ADMIN)),
            log: None,
        };
        let host = Host::open(&Settings::of_serve(args).unwrap(), Compiler::Here).await.unwrap();
        Self { router: router(host.app.clone()), host: Some(host), _dir: dir }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let is_problem =
            response.headers().get("content-type").is_some_and(|value| value == "application/problem+json");
        assert_eq!(is_problem, status.is_client_error() || status.is_server_error(), "{status}");
        let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into())))
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_as(ADMIN, method, path, body).await
    }

    async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header("content-type", "application/json").body(body.to_string().into())
        };
        let (status, body) = self.send(request.unwrap()).await;
        (status.as_u16(), body)
    }

    async fn check(&self, method: &str, path: &str, body: Value, expected: u16) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        answer
    }

    async fn publish(&self, content_type: &str, body: impl Into<Body>, expected: u16) -> Value {
        let request = Request::builder().method("POST").uri("/v1/events").header("content-type", content_type);
        let request = request.header("authorization", format!("Bearer {ADMIN}")).body(body.into()).unwrap();
        let (status, answer) = self.send(request).await;
        assert_eq!(status.as_u16(), expected, "{answer}");
        answer
    }

    async fn n_events(&self) -> usize {
        self.check("GET", "/v1/events?limit=1000", Value::Null, 200).await["items"].as_array().unwrap().len()
    }

    async fn close(mut self) {
        self.host.take().unwrap().close(std::time::Duration::ZERO).await.unwrap();
    }
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "shop", "type": "order.paid", "data": {"total": 7}})
}

fn trigger() -> Value {
    json!({"on": {"type": ["order.paid"]}, "do": [{"send": "crm"}]})
}

fn webhook() -> Value {
    json!({"kind": "webhook", "url": "http://127.0.0.1:9/", "allow_private": true, "headers": {"x-key": "hush"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_in_and_come_out_as_they_were() {
    let fixture = Fixture::open().await;
    let data = r#"{"q":"\"'<b>", "t": true, "z": null, "n": 9007199254740993, "u": "ü\u00fc", "s": "{{ secret.X }}"}"#;
    let body = format!(r#"{{"specversion":"1.0","id":"1","source":"shop","type":"t","data":{data}}}"#);
    let answer = fixture.publish("application/cloudevents+json", body, 202).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(0)));
    let id = answer["ids"][0].as_str().unwrap().to_owned();
    let request = Request::builder().uri(format!("/v1/events/{id}")).header("authorization", format!("Bearer {ADMIN}"));
    let response = fixture.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert!(String::from_utf8_lossy(&text).contains(data), "the data are byte for byte what was sent");

    let answer = fixture.publish("application/cloudevents+json", event("1").to_string(), 202).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"], &answer["ids"][0]), (&json!(0), &json!(1), &json!(id)));
    let batch = Value::from(vec![event("2"), event("3"), event("2")]).to_string();
    let answer = fixture.publish("application/cloudevents-batch+json", batch, 202).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(2), &json!(1)));
    let answer = fixture.check("POST", "/v1/events?type=order.paid&source=web&subject=7", json!({"a": 1}), 202).await;
    let found = fixture.check("GET", "/v1/events?source=web", Value::Null, 200).await;
    assert_eq!((&found["items"][0]["id"], &found["items"][0]["event"]["subject"]), (&answer["ids"][0], &json!("7")));

    let first = fixture.check("GET", "/v1/events?limit=3", Value::Null, 200).await;
    let cursor = first["next"].as_str().unwrap();
    let rest = fixture.check("GET", &format!("/v1/events?limit=3&cursor={cursor}"), Value::Null, 200).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    fixture.check("GET", &format!("/v1/events/{id}/evaluations"), Value::Null, 200).await;
    fixture.check("GET", &format!("/v1/events/{id}/runs"), Value::Null, 200).await;
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_shut_out_guesses_and_nobody_else() {
    let fixture = Fixture::open().await;
    let made = fixture.check("POST", "/v1/tokens", json!({"name": "look", "scopes": ["viewer"]}), 201).await;
    let good = made["token"].as_str().unwrap();
    for _ in 0..crate::pass::FAILURES_MAX {
        assert_eq!(fixture.call_as("wrong", "GET", "/v1/triggers", Value::Null).await.0, 401);
    }
    assert_eq!(fixture.call_as("wrong", "GET", "/v1/triggers", Value::Null).await.0, 429);
    assert_eq!(
        fixture.call_as(ADMIN, "GET", "/v1/triggers", Value::Null).await.0,
        429,
        "it is short, and may be a guess"
    );
    assert_eq!(fixture.call_as(good, "GET", "/v1/triggers", Value::Null).await.0, 200);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_refused_and_nothing_is_stored() {
    let fixture = Fixture::open().await;
    let structured = "application/cloudevents+json";
    for (content_type, body, status, path) in [
        (structured, "{".to_owned(), 400, ""),
        (structured, json!({"specversion": "1.0", "id": "1", "source": "s"}).to_string(), 400, "type"),
        (
            structured,
            json!({"specversion": "1.0", "id": "1", "source": "trapjaw", "type": "t"}).to_string(),
            400,
            "source",
        ),
        (
            structured,
            json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "2999-01-01T00:00:00Z"})
                .to_string(),
            400,
            "time",
        ),
        (
            "application/cloudevents-batch+json",
            Value::from(vec![event("1"), json!({})]).to_string(),
            400,
            "[1].specversion",
        ),
        ("application/cloudevents-batch+json", Value::from(vec![event("1"); 1_001]).to_string(), 400, "[1000]"),
        ("application/json", "{}".to_owned(), 400, "type"),
        ("text/plain", "x".to_owned(), 415, ""),
        (structured, "x".repeat(2 << 20), 413, ""),
    ] {
        let answer = fixture.publish(content_type, body, status).await;
        if !path.is_empty() {
            assert_eq!(answer["errors"][0]["path"], path, "{answer}");
        }
    }
    fixture.check("POST", "/v1/events?nope=1", json!({}), 400).await;
    assert_eq!(fixture.n_events().await, 0);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_saved_switched_and_removed() {
    let fixture = Fixture::open().await;
    let answer = fixture.check("PUT", "/v1/triggers/shop.paid", trigger(), 422).await;
    assert!(answer["errors"][0]["path"].as_str().unwrap().starts_with("triggers.shop.paid.do[0]"), "{answer}");
    fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
    let shown = fixture.check("GET", "/v1/connections/crm", Value::Null, 200).await;
    assert_eq!(shown["definition"]["headers"]["x-key"], "(write-only)");
    assert!(!shown.to_string().contains("hush"));
    // What was shown may come back, and keeps the credential: nothing has changed.
    let again = fixture.check("PUT", "/v1/connections/crm", shown["definition"].clone(), 200).await;
    assert_eq!(again["version"], shown["version"]);

    let made = fixture.check("PUT", "/v1/triggers/shop.paid", trigger(), 201).await;
    assert_eq!((&made["version"], &made["state"]), (&json!(1), &json!("enabled")));
    for (verb, state) in [("pause", "paused"), ("resume", "enabled"), ("disable", "disabled")] {
        let answer = fixture.check("POST", &format!("/v1/triggers/shop.paid/{verb}"), Value::Null, 200).await;
        assert_eq!(answer["state"], state);
    }
    let kept = fixture.check("PUT", "/v1/triggers/shop.paid", trigger(), 200).await;
    assert_eq!(kept["state"], "disabled", "a definition that does not say leaves the state as it is");
    let versions = fixture.check("GET", "/v1/triggers/shop.paid/versions", Value::Null, 200).await;
    assert_eq!(versions["items"][0]["version"], 4);
    let in_use = fixture.check("DELETE", "/v1/connections/crm", Value::Null, 422).await;
    assert!(in_use["errors"][0]["path"].as_str().unwrap().contains("shop.paid"), "{in_use}");
    fixture.check("POST", "/v1/connections/crm/pause", Value::Null, 200).await;
    fixture.check("POST", "/v1/connections/crm/resume", Value::Null, 200).await;
    let tested = fixture.check("POST", "/v1/connections/crm/test", Value::Null, 200).await;
    assert_eq!(tested["ok"], false, "nothing listens there: {tested}");
    fixture.check("DELETE", "/v1/triggers/shop.paid", Value::Null, 204).await;
    fixture.check("DELETE", "/v1/triggers/shop.paid", Value::Null, 404).await;
    fixture.check("DELETE", "/v1/connections/crm", Value::Null, 204).await;
    let anew = fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
    assert!(anew["version"].as_i64().unwrap() > 1, "an object that comes again goes on counting: {anew}");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_are_honoured() {
    let fixture = Fixture::open().await;
    let put = |name: &str, value: &str| {
        let request = Request::builder().method("PUT").uri("/v1/connections/crm").header(name, value);
        let request =
            request.header("authorization", format!("Bearer {ADMIN}")).header("content-type", "application/json");
        let mut body = webhook();
        body["url"] = format!("http://127.0.0.1:{}/", value.len()).into();
        request.body(Body::from(body.to_string())).unwrap()
    };
    assert_eq!(fixture.send(put("if-match", "*")).await.0, 412);
    assert_eq!(fixture.send(put("if-none-match", "*")).await.0, 201);
    assert_eq!(fixture.send(put("if-none-match", "*")).await.0, 412);
    assert_eq!(fixture.send(put("if-match", "\"9\"")).await.0, 412);
    assert_eq!(fixture.send(put("if-match", "\"1\"")).await.0, 200);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_go_in_and_never_come_out() {
    let fixture = Fixture::open().await;
    let mut connection = webhook();
    connection["headers"] = json!({"x-key": "{{ secret.CRM }}"});
    let answer = fixture.check("PUT", "/v1/connections/crm", connection.clone(), 422).await;
    assert_eq!(answer["errors"][0]["path"], "connections.crm.headers.x-key", "{answer}");
    fixture.check("PUT", "/v1/secrets/CRM", json!({"value": "hush"}), 201).await;
    fixture.check("PUT", "/v1/secrets/CRM", json!({"value": "hush!"}), 200).await;
    fixture.check("PUT", "/v1/secrets/CRM", json!({"valeu": "x"}), 422).await;
    fixture.check("PUT", "/v1/connections/crm", connection, 201).await;
    for path in ["/v1/secrets", "/v1/connections", "/v1/config/export"] {
        let text = fixture.check("GET", path, Value::Null, 200).await.to_string();
        assert!(text.contains("CRM") && !text.contains("hush"), "{path}: {text}");
    }
    fixture.check("DELETE", "/v1/secrets/CRM", Value::Null, 422).await;
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_applied_whole() {
    let fixture = Fixture::open().await;
    let document =
        json!({"triggers": {"a": trigger(), "b": trigger()}, "connections": {"crm": webhook()}, "secrets": {"S": "v"}});
    let valid = fixture.check("POST", "/v1/config/validate", document.clone(), 200).await;
    assert_eq!(valid, json!({"valid": true, "errors": []}));
    let diff = fixture.check("POST", "/v1/config/diff", document.clone(), 200).await;
    assert_eq!((diff["changes"].as_array().unwrap().len(), &diff["applied"]), (4, &json!(false)));
    let applied = fixture.check("POST", "/v1/config/apply", document.clone(), 200).await;
    assert_eq!((applied["changes"].as_array().unwrap().len(), &applied["applied"]), (4, &json!(true)));
    let again = fixture.check("POST", "/v1/config/apply", document, 200).await;
    assert!(again["changes"].as_array().unwrap().iter().all(|change| change["change"] == "unchanged"), "{again}");
    let exported = fixture.check("GET", "/v1/config/export", Value::Null, 200).await;
    let round = fixture.check("POST", "/v1/config/apply?prune=true", exported.clone(), 200).await;
    assert_eq!(round["revision"], applied["revision"], "what was exported changes nothing: {round}");

    let pruned = fixture
        .check("POST", "/v1/config/apply?prune=true&dry-run=true", json!({"connections": exported["connections"]}), 200)
        .await;
    let removed: Vec<_> =
        pruned["changes"].as_array().unwrap().iter().filter(|change| change["change"] == "removed").collect();
    assert_eq!(removed.len(), 2, "{pruned}");
    let bad = json!({"triggers": {"a": {"on": {"type": ["x"]}, "do": [{"send": "nowhere"}]}, "c": {"on": 1}}, "sources": {"s": {"kind": "kafka"}}});
    let refused = fixture.check("POST", "/v1/config/apply", bad.clone(), 422).await;
    assert!(refused["errors"].as_array().unwrap().len() >= 2, "{refused}");
    let checked = fixture.check("POST", "/v1/config/validate", bad, 200).await;
    assert_eq!(checked["valid"], false);
    let now = fixture.check("GET", "/v1/triggers", Value::Null, 200).await;
    assert_eq!(now["items"].as_array().unwrap().len(), 2, "nothing of a refused document is in force");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_needs_a_token_with_its_scope() {
    let fixture = Fixture::open().await;
    let made = fixture
        .check("POST", "/v1/tokens", json!({"name": "in", "scopes": ["ingest"], "sources": ["shop"]}), 201)
        .await;
    let ingest = made["token"].as_str().unwrap().to_owned();
    let made = fixture
        .check("POST", "/v1/tokens", json!({"name": "ed", "scopes": ["editor"], "prefixes": ["shop"]}), 201)
        .await;
    let editor = made["token"].as_str().unwrap().to_owned();
    let described: Value = serde_json::from_str(&openapi::document()).unwrap();
    let mut n_checked = 0;
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            if call["security"] == json!([{}]) || call["security"] == json!([]) {
                continue;
            }
            let (path, method) =
                (path.replace("{name}", "x").replace("{id}", "x").replace("{subject}", "x"), method.to_uppercase());
            assert_eq!(fixture.call_as("tj_wrong", &method, &path, Value::Null).await.0, 401, "{method} {path}");
            if path != "/v1/events" || method != "POST" {
                let (status, answer) = fixture.call_as(&ingest, &method, &path, Value::Null).await;
                assert_eq!(status, 403, "{method} {path}: {answer}");
            }
            n_checked += 1;
        }
    }
    assert!(n_checked > 40, "{n_checked}");
    let publish = |source: &str| format!("/v1/events?type=t&source={source}");
    assert_eq!(fixture.call_as(&ingest, "POST", &publish("shop"), json!({})).await.0, 202);
    assert_eq!(fixture.call_as(&ingest, "POST", &publish("other"), json!({})).await.0, 403);
    let trigger = json!({"on": {"type": ["x"]}, "do": []});
    assert_eq!(fixture.call_as(&editor, "PUT", "/v1/triggers/other", trigger.clone()).await.0, 403);
    assert_ne!(fixture.call_as(&editor, "PUT", "/v1/triggers/shop.a", trigger).await.0, 403);
    assert_eq!(fixture.call_as(&editor, "PUT", "/v1/connections/shop.c", webhook()).await.0, 403);
    fixture.check("DELETE", "/v1/tokens/in", Value::Null, 204).await;
    assert_eq!(fixture.call_as(&ingest, "POST", &publish("shop"), json!({})).await.0, 401);
    let listed = fixture.check("GET", "/v1/tokens", Value::Null, 200).await;
    assert!(!listed.to_string().contains(&editor));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_has_an_answer() {
    let fixture = Fixture::open().await;
    for (method, path, body, expected) in [
        ("GET", "/healthz", Value::Null, 200),
        ("GET", "/readyz", Value::Null, 200),
        ("GET", "/openapi.json", Value::Null, 200),
        ("GET", "/metrics", Value::Null, 200),
        ("GET", "/v1/status", Value::Null, 200),
        ("GET", "/v1/runs", Value::Null, 200),
        ("GET", "/v1/runs?state=nope", Value::Null, 400),
        ("GET", "/v1/runs/run_000000000000009", Value::Null, 404),
        ("GET", "/v1/runs/nope", Value::Null, 400),
        ("GET", "/v1/events/evt_000000000000009", Value::Null, 404),
        ("POST", "/v1/tasks/tsk_000000000000009/retry", Value::Null, 404),
        ("GET", "/v1/dead-letters", Value::Null, 200),
        ("GET", "/v1/dead-letters/groups", Value::Null, 200),
        ("POST", "/v1/dead-letters/redrive", json!({"all": true}), 200),
        ("POST", "/v1/dead-letters/drop", json!({}), 400),
        ("GET", "/v1/plugins", Value::Null, 200),
        ("GET", "/v1/plugins/nope", Value::Null, 404),
        ("PUT", "/v1/plugins/nope/active", json!({"version": "1"}), 404),
        ("PUT", "/v1/plugins/nope/grants", json!({}), 404),
        ("POST", "/v1/plugins/nope/rollback", Value::Null, 409),
        ("POST", "/v1/triggers/nope/fire", json!({}), 404),
        ("POST", "/v1/triggers/t/try", json!({"trigger": {"on": {"type": ["x"]}, "do": [{"send": "nope"}]}}), 422),
        ("PUT", "/v1/triggers/Bad", json!({"on": [], "do": []}), 422),
        ("PUT", "/v1/triggers/t", json!({"on": [], "do": [], "facts": {}}), 422),
        ("GET", "/v1/nowhere", Value::Null, 404),
        ("PATCH", "/v1/events", Value::Null, 405),
        ("GET", "/dev/inbox", Value::Null, 404),
        ("GET", "/v1/events?limit=0", Value::Null, 400),
    ] {
        fixture.check(method, path, body, expected).await;
    }
    for (bytes, reason) in [
        (&b"hello, world"[..], "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "core module"),
        (b"\0asm", "truncated"),
        (b"", "empty"),
    ] {
        let request = Request::builder().method("POST").uri("/v1/plugins/p/versions?activate=true");
        let request =
            request.header("authorization", format!("Bearer {ADMIN}")).header("content-type", "application/wasm");
        let (status, answer) = fixture.send(request.body(Body::from(bytes.to_vec())).unwrap()).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains(reason), "{answer}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_there_after_a_restart() {
    let fixture = Fixture::open().await;
    fixture.check("PUT", "/v1/secrets/CRM", json!({"value": "hush"}), 201).await;
    fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
    fixture.check("PUT", "/v1/triggers/t", trigger(), 201).await;
    let Fixture { host, _dir, router } = fixture;
    drop(router);
    host.unwrap().close(std::time::Duration::ZERO).await.unwrap();
    let args = ServeArgs {
        data: Some(_dir.path().join("data")),
        listen: None,
        store: None,
        config: None,
        admin_token: None,
        log: None,
    };
    let host = Host::open(&Settings::of_serve(args).unwrap(), Compiler::Here).await.unwrap();
    let first = host.first_token().expect("there was no token, so one is made");
    let token = first.shown.clone();
    host.keep(first).await.unwrap();
    assert!(host.first_token().is_none());
    let fixture = Fixture { router: router_of(&host), host: Some(host), _dir };
    let (status, shown) = fixture.call_as(&token, "GET", "/v1/triggers/t", Value::Null).await;
    assert_eq!((status, &shown["version"]), (200, &json!(1)));
    fixture.close().await;
}

fn router_of(host: &Host) -> Router {
    router(Arc::clone(&host.app))
}
