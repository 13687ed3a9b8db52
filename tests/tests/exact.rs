//! What is sent arrives as it was sent, byte for byte and type for type.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use trapjaw_tests::Bench;

/// Everything that a well-meaning program in between likes to change.
const DATA: &str = r#"{ "quotes": "a \"b\" 'c' `d`", "html": "<b>&amp;</b>", "yes": true, "no": false, "nothing": null,
 "large": 9007199254740993, "float": 1.10, "negative": -0.0, "small": 1e-7, "unicode": "žluťoučký 🐜 \u0061\ud83d\ude00", "control": "\u0000\u001f\u007f\u2028",
 "secret": "{{ secret.KEY }}", "statement": "{% for x in y %}", "comment": "{# gone? #}", "python": "True None",
 "empty": {}, "list": [1, "2", [], null], "" : "no name", "twice": 1, "slash": "\/" }"#;
const SECRET: &str = "never-to-be-seen";

async fn bench(action: Value) -> Bench {
    let bench = Bench::start().await;
    bench.api.put("/v1/secrets/KEY", &json!({"value": SECRET})).await.unwrap().ok().unwrap();
    let mut definition = bench.webhook("/out");
    definition["secrets"] = json!(["KEY"]);
    bench.api.put("/v1/connections/out", &definition).await.unwrap().ok().unwrap();
    bench.trigger("t", json!({"on": {"type": ["x"]}, "do": [action]})).await;
    bench
}

async fn publish(bench: &Bench) {
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"tests","type":"x","subject":"{{{{ secret.KEY }}}}","data":{DATA}}}"#
    );
    let answer = bench.api.publish(event).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// The text of one value inside what arrived, as it stands there.
async fn arrived(bench: &Bench) -> String {
    let delivery = bench.deliveries("/out", 1).await.remove(0);
    let text = String::from_utf8(delivery.body.to_vec()).unwrap();
    assert!(!text.contains(SECRET), "{text}");
    text
}

#[tokio::test]
async fn an_event_arrives_byte_for_byte() {
    let bench = bench(json!({"send": "out"})).await;
    publish(&bench).await;
    let text = arrived(&bench).await;
    assert!(text.contains(&format!(r#""data":{DATA}"#)), "{text}");
    assert!(text.contains(r#""subject":"{{ secret.KEY }}""#), "{text}");
}

#[tokio::test]
async fn a_template_keeps_types_and_renders_once() {
    let body = json!({
        "whole": "{{ event.data }}",
        "large": "{{ event.data.large }}",
        "yes": "{{ event.data.yes }}",
        "nothing": "{{ event.data.nothing }}",
        "secret": "{{ event.data.secret }}",
        "text": "<{{ event.data.html }}> {{ event.data.secret }} {{ event.data.yes }} {{ event.data.nothing }} {{ event.data.large }}",
        "{{ not.a.template }}": "names stay",
    });
    let bench = bench(json!({"send": "out", "body": body})).await;
    publish(&bench).await;
    let text = arrived(&bench).await;
    let got: Value = serde_json::from_str(&text).unwrap();
    let data: Value = serde_json::from_str(DATA).unwrap();
    assert_eq!(got["whole"], data);
    assert_eq!(got["large"].to_string(), "9007199254740993");
    assert_eq!((&got["yes"], &got["nothing"]), (&json!(true), &Value::Null));
    assert_eq!(got["secret"], "{{ secret.KEY }}");
    assert_eq!(got["text"], "<<b>&amp;</b>> {{ secret.KEY }} true null 9007199254740993");
    assert_eq!(got["{{ not.a.template }}"], "names stay");
}

#[tokio::test]
async fn a_whole_body_may_be_one_value() {
    let bench = bench(json!({"send": "out", "body": "{{ event.data.list }}"})).await;
    publish(&bench).await;
    assert_eq!(serde_json::from_str::<Value>(&arrived(&bench).await).unwrap(), json!([1, "2", [], null]));
}

#[tokio::test]
async fn a_secret_reaches_a_header_and_nothing_else() {
    let action =
        json!({"send": "out", "body": "{{ event.data.secret }}", "with": {"headers": {"x-key": "{{ secret.KEY }}"}}});
    let bench = bench(action).await;
    publish(&bench).await;
    let delivery = bench.deliveries("/out", 1).await.remove(0);
    assert_eq!(delivery.headers["x-key"], SECRET);
    assert!(!String::from_utf8_lossy(&delivery.body).contains(SECRET));
    for path in ["/v1/runs", "/v1/events", "/v1/config/export", "/v1/secrets", "/v1/triggers"] {
        assert!(!bench.get(path).await.to_string().contains(SECRET), "{path}");
    }
    assert!(!bench.daemon.log().tail(10_000).contains(SECRET), "the log shows a secret");
}

#[tokio::test]
async fn binary_data_and_texts_arrive() {
    let bench = bench(json!({"send": "out"})).await;
    let event = json!({"specversion": "1.0", "id": "1", "source": "tests", "type": "x",
        "datacontenttype": "application/octet-stream", "data_base64": "AAH/"});
    bench.api.publish(event.to_string()).await.unwrap().ok().unwrap();
    let got = bench.deliveries("/out", 1).await.remove(0).json();
    assert_eq!((&got["data_base64"], got.get("data")), (&json!("AAH/"), None));
}

#[tokio::test]
async fn plain_json_and_binary_mode_are_taken() {
    let bench = bench(json!({"send": "out", "body": {"id": "{{ event.id }}", "data": "{{ event.data }}"}})).await;
    let plain = bench.api.post_bytes("/v1/events?type=x&source=tests&id=p", "application/json", DATA).await.unwrap();
    assert_eq!(plain.status, 202, "{plain:?}");
    let binary = bench.api.request(reqwest::Method::POST, "/v1/events").header("content-type", "application/json");
    let binary = binary.header("ce-specversion", "1.0").header("ce-id", "b").header("ce-source", "tests");
    let binary = bench.api.send(binary.header("ce-type", "x").body(DATA)).await.unwrap();
    assert_eq!(binary.status, 202, "{binary:?}");
    let data: Value = serde_json::from_str(DATA).unwrap();
    for delivery in bench.deliveries("/out", 2).await {
        assert_eq!(delivery.json()["data"], data);
    }
}
