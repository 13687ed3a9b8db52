//! OAuth 2.0 client credentials against a scripted token endpoint.

use std::sync::Arc;

use serde_json::{Value, json};
use trapjaw_connectors::clients::EgressPolicy;
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::ports::{Refusal, Sink};

use crate::receiver::{Receiver, Reply, answer, ok};
use crate::support::{Hand, Names, local_in, message};

struct Scene {
    tokens: Receiver,
    target: Receiver,
    clock: Arc<Hand>,
    sink: Arc<dyn Sink>,
}

async fn scene(tokens: Vec<Reply>, target: Vec<Reply>, more: Value) -> Scene {
    let tokens = Receiver::start(tokens).await;
    let target = Receiver::start(target).await;
    let clock = Hand::new();
    let ctx = SinkContext::new(clock.clone(), Names::new(&[]), EgressPolicy::OPEN);
    let mut oauth2 = json!({"token_url": tokens.url("/token"), "client_id": "me:1", "client_secret": "p w"});
    oauth2.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sink = local_in(&target.url("/"), json!({"auth": {"oauth2": oauth2}}), &ctx);
    Scene { tokens, target, clock, sink }
}

fn token(name: &str, seconds: u32) -> Reply {
    answer(200, "", &json!({"access_token": name, "expires_in": seconds, "token_type": "Bearer"}).to_string())
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    let tokens = vec![token("one", 3600), token("two", 3600)];
    let mut scene = scene(tokens, vec![ok(), ok(), ok()], json!({})).await;
    for (seconds, expected) in [(0, "Bearer one"), (3539, "Bearer one"), (1, "Bearer two")] {
        scene.clock.forward(seconds);
        scene.sink.send(&message("{}")).await.unwrap();
        assert_eq!(scene.target.request().await.header("authorization"), expected);
    }
}

#[tokio::test]
async fn credentials_go_where_the_config_says() {
    let mut there = scene(vec![token("one", 60)], vec![ok()], json!({"scope": "a b", "audience": "c"})).await;
    there.sink.send(&message("{}")).await.unwrap();
    let request = there.tokens.request().await;
    assert_eq!(request.line, "POST /token HTTP/1.1");
    assert_eq!(request.body, b"grant_type=client_credentials&scope=a+b&audience=c");
    assert_eq!(request.header("authorization"), "Basic bWUlM0ExOnArdw==");
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let mut there = scene(vec![token("one", 60)], vec![ok()], json!({"credentials_in": "body"})).await;
    there.sink.send(&message("{}")).await.unwrap();
    let request = there.tokens.request().await;
    assert_eq!(request.body, b"grant_type=client_credentials&client_id=me%3A1&client_secret=p+w");
    assert!(!request.has("authorization"));
}

#[tokio::test]
async fn many_sends_at_once_get_one_token() {
    let mut scene = scene(vec![token("one", 60)], (0..8).map(|_| ok()).collect(), json!({})).await;
    let message = message("{}");
    let send = || scene.sink.send(&message);
    let (a, b, c, d) = tokio::join!(send(), send(), send(), send());
    for result in [a, b, c, d] {
        result.unwrap();
    }
    scene.tokens.request().await;
    assert!(scene.tokens.is_quiet());
}

#[tokio::test]
async fn a_dropped_send_leaves_the_turn_to_the_next() {
    let mut scene = scene(vec![Reply::Hang, token("one", 60)], vec![ok()], json!({})).await;
    let hanging = message("{}");
    tokio::select! {
        _ = scene.sink.send(&hanging) => panic!("no token was given"),
        _ = scene.tokens.request() => {}
    }
    scene.sink.send(&message("{}")).await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_refused_early_is_replaced() {
    let tokens = vec![token("one", 3600), token("two", 3600), token("three", 3600)];
    let target = vec![ok(), answer(401, "", ""), answer(401, "", ""), ok()];
    let mut scene = scene(tokens, target, json!({})).await;
    scene.sink.send(&message("{}")).await.unwrap();
    // The kept token may only be too old; a new one that is refused proves that our credentials are.
    for refusal in [Refusal::Retry(None), Refusal::Unauthorized] {
        assert_eq!(scene.sink.send(&message("{}")).await.unwrap_err().refusal, refusal);
    }
    scene.sink.probe().await.unwrap();
    scene.sink.send(&message("{}")).await.unwrap();
    for expected in ["one", "one", "two", "three"] {
        assert_eq!(scene.target.request().await.header("authorization"), format!("Bearer {expected}"));
    }
}

#[tokio::test]
async fn a_token_endpoints_refusals_have_their_meaning() {
    async fn check(reply: Reply, refusal: Refusal, status: Option<u16>) {
        let mut scene = scene(vec![reply], vec![], json!({})).await;
        let err = scene.sink.send(&message("{}")).await.unwrap_err();
        assert_eq!((err.refusal, err.status), (refusal, status), "{err}");
        assert!(!err.message.contains("t0p") && !err.answer.windows(3).any(|part| part == b"t0p"));
        assert!(scene.target.is_quiet());
    }
    check(answer(400, "", r#"{"error":"invalid_client"}"#), Refusal::Unauthorized, Some(400)).await;
    check(answer(401, "", ""), Refusal::Unauthorized, Some(401)).await;
    check(answer(302, "location: /\r\n", ""), Refusal::Unauthorized, Some(302)).await;
    check(answer(503, "", ""), Refusal::Retry(None), Some(503)).await;
    check(answer(200, "", "t0p"), Refusal::Retry(None), Some(200)).await;
    check(answer(200, "", r#"{"access_token":"t0p\n"}"#), Refusal::Retry(None), Some(200)).await;
    check(answer(200, "", r#"{"access_token":"t0p","expires_in":-1}"#), Refusal::Retry(None), Some(200)).await;
    check(Reply::Break(vec![]), Refusal::Retry(None), None).await;
}

#[tokio::test]
async fn the_life_of_a_token_may_be_text_or_missing() {
    async fn check(answered: &str, seconds: i64) {
        let reply = || answer(200, "", &format!(r#"{{"access_token":"a"{answered}}}"#));
        let mut scene = scene(vec![reply(), reply()], vec![ok(), ok(), ok()], json!({})).await;
        for (forward, is_asked) in [(0, true), (seconds - 1, false), (1, true)] {
            scene.clock.forward(forward);
            scene.sink.send(&message("{}")).await.unwrap();
            assert_eq!(!scene.tokens.is_quiet(), is_asked, "{answered} {forward}");
        }
    }
    check(r#","expires_in":"3600""#, 3540).await;
    check(r#","expires_in":100"#, 90).await;
    check("", 270).await;
}
