//! What a request holds, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use trapjaw_engine::ports::{Message, Refusal};

use crate::receiver::{Receiver, Request, ok};
use crate::support::{START, local, message};

/// Sends a message over a connection with these fields, and gives what arrived.
async fn arrive(path: &str, config: Value, message: &Message) -> Request {
    let mut receiver = Receiver::start(vec![ok()]).await;
    let sink = local(&receiver.url(path), config);
    sink.send(message).await.unwrap();
    receiver.request().await
}

/// HMAC written out, so that the sink's is not checked by itself.
fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(data).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().to_vec()
}

fn signature(key: &[u8], request: &Request) -> String {
    let head = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp"));
    let signed = [head.as_bytes(), &request.body].concat();
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
}

#[tokio::test]
async fn a_request_carries_what_receivers_rely_on() {
    let mut message = message(r#"{"a":1}"#);
    message.attempt = 3;
    message.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let request = arrive("/hook?a=1", json!({"headers": {"x-team": "growth"}, "query": {"b": "2 3"}}), &message).await;
    assert_eq!(request.line, "POST /hook?a=1&b=2+3 HTTP/1.1");
    assert_eq!(request.header("webhook-id"), "msg_1");
    assert_eq!(request.header("webhook-timestamp"), (START / 1_000_000).to_string());
    assert_eq!(request.header("trapjaw-attempt"), "3");
    assert_eq!(request.header("traceparent"), message.traceparent.as_deref().unwrap());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), concat!("trapjaw/", env!("CARGO_PKG_VERSION")));
    assert_eq!(request.header("x-team"), "growth");
    assert!(!request.has("webhook-signature") && !request.has("authorization"));
}

#[tokio::test]
async fn bodies_arrive_as_they_are() {
    let text = r#"{"q":"it's \"x\" <b>&amp;</b>","n":9007199254740993,"f":1.10,"t":true,"z":null, "u":"ü💡\u00e9\/"}"#;
    let placeholders = r#"{"s":"{{ secret.X }}","v":"{{ event.data.id }}"}"#;
    let binary: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 1 << 20];
    for body in [text.as_bytes(), placeholders.as_bytes(), &binary, b"", &large] {
        let request = arrive("/", json!({"signing": "s"}), &message(body.to_vec())).await;
        assert!(request.body == body);
        assert_eq!(request.header("webhook-signature"), signature(b"s", &request));
    }
}

#[tokio::test]
async fn every_live_secret_signs() {
    let old = [7; 24];
    let config = json!({"signing": [format!("whsec_{}", STANDARD.encode(old)), "a new secret"]});
    let request = arrive("/", config, &message("{}")).await;
    let expected = format!("{} {}", signature(&old, &request), signature(b"a new secret", &request));
    assert_eq!(request.header("webhook-signature"), expected);
    let long = "k".repeat(100);
    let request = arrive("/", json!({"signing": long.as_str()}), &message("{}")).await;
    assert_eq!(request.header("webhook-signature"), signature(long.as_bytes(), &request));
}

#[tokio::test]
async fn the_id_is_the_same_for_every_try() {
    let mut receiver = Receiver::start(vec![ok(), ok()]).await;
    let sink = local(&receiver.url("/"), json!({"signing": "s"}));
    for attempt in ["1", "2"] {
        let message = Message { attempt: attempt.parse().unwrap(), ..message("{}") };
        sink.send(&message).await.unwrap();
        let request = receiver.request().await;
        assert_eq!((request.header("webhook-id"), request.header("trapjaw-attempt")), ("msg_1", attempt));
    }
}

#[tokio::test]
async fn every_method_can_be_sent() {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let request = arrive("/", json!({"method": method}), &message("{}")).await;
        assert_eq!((request.line, request.body), (format!("{method} / HTTP/1.1"), b"{}".to_vec()));
    }
    let request = arrive("/", json!({"method": "GET", "signing": "s"}), &message("{}")).await;
    assert_eq!((request.line.as_str(), request.body.as_slice()), ("GET / HTTP/1.1", &b""[..]));
    assert!(!request.has("content-type"));
    assert_eq!(request.header("webhook-signature"), signature(b"s", &request));
}

#[tokio::test]
async fn forms_are_made_of_json() {
    let given = message(r#"{"a b":9007199254740993,"c":"&"}"#);
    let request = arrive("/", json!({"body": "form", "signing": "s"}), &given).await;
    assert_eq!(request.body, b"a+b=9007199254740993&c=%26");
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(request.header("webhook-signature"), signature(b"s", &request));
    let err = local("http://127.0.0.1:1/", json!({"body": "form"})).send(&message("[]")).await.unwrap_err();
    assert_eq!((err.refusal, err.message.as_str()), (Refusal::Permanent, "a form is made of a JSON object"));
}

#[tokio::test]
async fn fixed_credentials_are_sent() {
    let request = arrive("/", json!({"auth": {"bearer": "t0ken"}}), &message("{}")).await;
    assert_eq!(request.header("authorization"), "Bearer t0ken");
    let config = json!({"auth": {"basic": {"user": "Aladdin", "password": "open sesame"}}});
    let request = arrive("/", config, &message("{}")).await;
    assert_eq!(request.header("authorization"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

#[tokio::test]
async fn the_operators_content_type_is_sent() {
    let config = json!({"headers": {"Content-Type": "application/vnd.shop+json", "User-Agent": "shop"}});
    let request = arrive("/", config, &message("{}")).await;
    assert_eq!(request.header("content-type"), "application/vnd.shop+json");
    assert_eq!(request.header("user-agent"), "shop");
}
