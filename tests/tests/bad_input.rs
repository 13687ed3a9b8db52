//! Bad input: refused with a status and the path of what is wrong, nothing stored, and the daemon goes on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use serde_json::{Value, json};
use trapjaw_tests::Bench;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn event(change: Value) -> String {
    let mut event = json!({"specversion": "1.0", "id": "1", "source": "tests", "type": "x", "data": {"a": 1}});
    for (name, value) in change.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Events(Bench);

impl Events {
    /// Posts a body, and expects a status and the path of the first error.
    async fn check(&self, name: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>, expected: (u16, &str)) {
        let mut request = self.0.api.request(Method::POST, path).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.0.api.send(request).await.unwrap();
        let (status, paths) = Bench::refusal(&answer);
        let path = paths.first().map_or("-", String::as_str);
        assert_eq!((status, path), expected, "{name}: {}", answer.json());
    }

    async fn structured(&self, name: &str, body: impl Into<Vec<u8>>, expected: (u16, &str)) {
        self.check(name, "/v1/events", &[("content-type", STRUCTURED)], body.into(), expected).await;
    }

    async fn batch(&self, name: &str, body: impl Into<Vec<u8>>, expected: (u16, &str)) {
        self.check(name, "/v1/events", &[("content-type", BATCH)], body.into(), expected).await;
    }

    async fn end(self) {
        assert_eq!(self.0.get("/v1/events").await["items"], json!([]), "something was stored");
        self.0.publish("x", "1", &json!({})).await;
    }
}

#[tokio::test]
async fn events() {
    let events = Events(Bench::start().await);
    let without = |name: &str| {
        let mut event: Value = serde_json::from_str(&event(json!({}))).unwrap();
        event.as_object_mut().unwrap().remove(name);
        event.to_string()
    };
    for name in ["id", "source", "type", "specversion"] {
        events.structured("a missing attribute", without(name), (400, name)).await;
    }
    for name in ["id", "source", "type"] {
        events.structured("an empty attribute", event(json!({name: ""})), (400, name)).await;
        events.structured("no text", event(json!({name: 1})), (400, name)).await;
        events.structured("a long attribute", event(json!({name: "x".repeat(1_025)})), (400, name)).await;
        events.structured("control characters", event(json!({name: "a\nb"})), (400, name)).await;
    }
    events.structured("another version", event(json!({"specversion": "0.3"})), (400, "specversion")).await;
    events.structured("no time", event(json!({"time": "tomorrow"})), (400, "time")).await;
    events.structured("a time far ahead", event(json!({"time": "2999-01-01T00:00:00Z"})), (400, "time")).await;
    events.structured("the daemon's own source", event(json!({"source": "trapjaw"})), (400, "source")).await;
    events.structured("a bad extension's name", event(json!({"Bad_Name": "x"})), (400, "Bad_Name")).await;
    events.structured("bad base 64", event(json!({"data": null, "data_base64": "?"})), (400, "data_base64")).await;
    events.structured("not JSON", "{", (400, "")).await;
    events.structured("nothing", "", (400, "")).await;
    events.structured("not UTF-8", b"\xff\xfe".to_vec(), (400, "")).await;
    let deep = event(json!({"data": "DATA"})).replace("\"DATA\"", &nested(65));
    events.structured("too deep", deep, (400, "data")).await;
    let deeper = event(json!({"data": "DATA"})).replace("\"DATA\"", &nested(100_000));
    events.structured("far too deep", deeper, (400, "data")).await;
    events.structured("deep, and no event", nested(100_000), (400, "")).await;
    events.batch("a deep list", nested(100_000), (400, "[0]")).await;
    let large = event(json!({"data": "x".repeat((1 << 20) + 1)}));
    events.structured("too large", large, (400, "data")).await;
    events.structured("far too large", vec![b' '; 4 << 20], (413, "-")).await;
    events.structured("a lone surrogate", event(json!({"data": "@"})).replace('@', "\\ud800"), (400, "data")).await;
    events
        .structured("a number that no float holds", event(json!({"data": 7})).replace(":7", ":1e999"), (400, "data"))
        .await;

    events.batch("no list", event(json!({})), (400, "")).await;
    let good = event(json!({}));
    events.batch("one bad event of two", format!("[{good},{}]", event(json!({"type": ""}))), (400, "[1].type")).await;
    events.batch("broken in the middle", format!("[{good},{good}"), (400, "[2]")).await;
    events.batch("too many", format!("[{}]", vec![good; 1_001].join(",")), (400, "[1000]")).await;
    events.end().await;
}

#[tokio::test]
async fn headers_and_encodings() {
    let events = Events(Bench::start().await);
    let good = event(json!({})).into_bytes();
    let check = async |name: &str, path: &str, headers: &[(&str, &str)], body: &[u8], expected| {
        events.check(name, path, headers, body.to_vec(), expected).await;
    };
    let typed = [("content-type", STRUCTURED)];
    check("no content type", "/v1/events", &[], &good, (415, "-")).await;
    check("another content type", "/v1/events", &[("content-type", "text/plain")], &good, (415, "-")).await;
    check("avro", "/v1/events", &[("content-type", "application/cloudevents+avro")], &good, (415, "-")).await;
    check("an unknown parameter", "/v1/events?tpye=x", &typed, &good, (400, "tpye")).await;
    check("a parameter beside a CloudEvent", "/v1/events?type=y", &typed, &good, (400, "type")).await;
    check("plain without a type", "/v1/events", &[("content-type", "application/json")], b"{}", (400, "type")).await;
    check("plain that is no JSON", "/v1/events?type=x", &[("content-type", "application/json")], b"{", (400, "data"))
        .await;
    check("plain and empty", "/v1/events?type=x", &[("content-type", "application/json")], b"", (400, "data")).await;
    let binary =
        [("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "tests")];
    check("binary without a type", "/v1/events", &binary, b"{}", (400, "ce-type")).await;
    let zipped = gzip(&good);
    let gzipped = [("content-type", STRUCTURED), ("content-encoding", "gzip")];
    check("broken gzip", "/v1/events", &gzipped, &zipped[..zipped.len() / 2], (400, "")).await;
    check("no gzip at all", "/v1/events", &gzipped, &good, (400, "")).await;
    check("a bomb", "/v1/events", &gzipped, &gzip(&vec![b' '; 64 << 20]), (413, "-")).await;
    check(
        "another encoding",
        "/v1/events",
        &[("content-type", STRUCTURED), ("content-encoding", "br")],
        &good,
        (415, "-"),
    )
    .await;
    events.end().await;
}

#[tokio::test]
async fn paths_methods_and_ids() {
    let bench = Bench::start().await;
    let status = async |method: Method, path: &str| {
        let answer = bench.api.send(bench.api.request(method, path).json(&json!({}))).await.unwrap();
        Bench::refusal(&answer).0
    };
    assert_eq!(status(Method::GET, "/v1/nothing").await, 404);
    assert_eq!(status(Method::PATCH, "/v1/triggers/t").await, 405);
    assert_eq!(status(Method::GET, "/v1/events/nonsense").await, 400);
    assert_eq!(status(Method::GET, "/v1/events/evt_000000000000001").await, 404);
    assert_eq!(status(Method::GET, "/v1/runs/run_000000000000001").await, 404);
    assert_eq!(status(Method::GET, "/v1/runs?state=sleeping").await, 400);
    assert_eq!(status(Method::GET, "/v1/runs?since=yesterday").await, 400);
    assert_eq!(status(Method::GET, "/v1/events?limit=0").await, 400);
    assert_eq!(status(Method::GET, "/v1/events?limit=1001").await, 400);
    assert_eq!(status(Method::GET, "/v1/events?cursor=x").await, 400);
    assert_eq!(status(Method::POST, "/v1/dead-letters/redrive").await, 400);
    assert_eq!(status(Method::POST, "/v1/triggers/none/fire").await, 404);
    assert_eq!(status(Method::DELETE, "/v1/triggers/none").await, 404);
    assert_eq!(status(Method::PUT, "/v1/plugins/none/active").await, 422);
}
