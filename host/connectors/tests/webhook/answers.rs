//! What becomes of a send, by the answer.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use trapjaw_connectors::clients::{EgressPolicy, Resolve};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::limits::{DETAIL_BYTES_MAX, RECEIPT_BYTES_MAX};
use trapjaw_engine::ports::{Receipt, Refusal, SendError};

use crate::receiver::{Receiver, Reply, Seen, answer, ok};
use crate::support::{Hand, Names, local, local_in, message};

async fn send(reply: Reply) -> Result<Receipt, SendError> {
    let receiver = Receiver::start(vec![reply]).await;
    local(&receiver.url("/hook?key=s3cret"), json!({})).send(&message("{}")).await
}

/// Sends, and checks the refusal, the status, and a part of the message.
async fn check(reply: Reply, refusal: Refusal, status: u16, part: &str) {
    let err = send(reply).await.unwrap_err();
    assert_eq!((err.refusal, err.status), (refusal, Some(status)), "{err}");
    assert!(err.message.contains(part), "{err}");
    assert!(!err.message.contains("s3cret") && !err.message.contains("hook"), "{err}");
}

#[tokio::test]
async fn each_class_of_answers_has_its_refusal() {
    let seconds = |seconds| Refusal::Retry(Some(Duration::from_secs(seconds)));
    check(answer(408, "", ""), Refusal::Retry(None), 408, "answered 408").await;
    check(answer(425, "", ""), Refusal::Retry(None), 425, "").await;
    check(answer(429, "retry-after: 7\r\n", ""), seconds(7), 429, "").await;
    check(answer(503, "retry-after: Tue, 14 Nov 2023 22:13:50 GMT\r\n", ""), seconds(30), 503, "").await;
    check(answer(500, "", "oops"), Refusal::Retry(None), 500, "").await;
    check(answer(401, "", ""), Refusal::Unauthorized, 401, "").await;
    check(answer(403, "", ""), Refusal::Unauthorized, 403, "").await;
    check(answer(400, "", ""), Refusal::Permanent, 400, "").await;
    check(answer(404, "", ""), Refusal::Permanent, 404, "").await;
    check(answer(410, "", ""), Refusal::Permanent, 410, "").await;
    for status in [301, 302, 303, 307, 308] {
        let reply = answer(status, "location: http://127.0.0.1:1/\r\n", "");
        check(reply, Refusal::Permanent, status, "redirects are not followed").await;
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_start_of_its_text() {
    let err = send(answer(422, "", "no such field")).await.unwrap_err();
    assert_eq!(err.answer, "no such field");
    let err = send(answer(422, "", &"x".repeat(DETAIL_BYTES_MAX + 1))).await.unwrap_err();
    assert_eq!(err.answer.len(), DETAIL_BYTES_MAX);
    // The text breaks off, but the status stands.
    let broken = Reply::Break(b"HTTP/1.1 422 x\r\ncontent-length: 9\r\n\r\nab".to_vec());
    let err = send(broken).await.unwrap_err();
    assert_eq!((err.refusal, err.status, err.answer), (Refusal::Permanent, Some(422), "ab".into()));
}

#[tokio::test]
async fn a_success_is_confirmed_whatever_becomes_of_its_body() {
    let broken = Reply::Break(b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\nab".to_vec());
    let receipt = send(broken).await.unwrap();
    assert_eq!((receipt.status, receipt.body), (Some(200), "ab".into()));
}

#[tokio::test]
async fn a_body_that_hangs_holds_nothing_up() {
    let hanging = |status| Reply::Raw(format!("HTTP/1.1 {status} x\r\ncontent-length: 9\r\n\r\nab").into_bytes());
    let both = async { tokio::join!(send(hanging(200)), send(hanging(422))) };
    let (success, refusal) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    let (receipt, err) = (success.unwrap(), refusal.unwrap_err());
    assert_eq!((receipt.status, receipt.body), (Some(200), "ab".into()));
    assert_eq!((err.refusal, err.status, err.answer), (Refusal::Permanent, Some(422), "ab".into()));
}

#[tokio::test]
async fn the_answer_is_captured() {
    let receipt = send(answer(201, "content-type: text/plain\r\n", "it's <b>\"ok\"</b>")).await.unwrap();
    let expected = Receipt {
        id: None,
        status: Some(201),
        content_type: Some("text/plain".into()),
        body: "it's <b>\"ok\"</b>".into(),
        replayed: false,
    };
    assert_eq!(receipt, expected);
    assert_eq!(send(Reply::Raw(b"HTTP/1.1 204 x\r\n\r\n".to_vec())).await.unwrap().status, Some(204));
    let chunked = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n";
    assert_eq!(send(Reply::Raw(chunked.to_vec())).await.unwrap().body, "abcde");
}

#[tokio::test]
async fn a_long_content_type_is_cut() {
    let given = format!("text/plain; a={}", "x".repeat(4_000));
    let receipt = send(answer(200, &format!("content-type: {given}\r\n"), "")).await.unwrap();
    assert_eq!(receipt.content_type.as_deref(), Some(&given[..256]));
}

#[tokio::test]
async fn a_kept_answer_does_not_hold_the_buffer_that_it_was_read_into() {
    let receipt = send(answer(200, "", "short")).await.unwrap();
    // A body with a buffer of its own can be had without a copy, and has no more bytes than it shows.
    let own = receipt.body.try_into_mut().unwrap();
    assert_eq!((&own[..], own.capacity()), (&b"short"[..], 5));
}

#[tokio::test]
async fn a_long_answer_is_cut_and_the_rest_not_read() {
    for length in [RECEIPT_BYTES_MAX, RECEIPT_BYTES_MAX + 1, 3 * RECEIPT_BYTES_MAX] {
        let receipt = send(answer(200, "", &"x".repeat(length))).await.unwrap();
        assert_eq!(receipt.body.len(), RECEIPT_BYTES_MAX);
    }
    // This body never ends; what was sent of it is enough.
    let mut endless = b"HTTP/1.1 200 x\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    endless.resize(endless.len() + RECEIPT_BYTES_MAX, b'x');
    let mut receiver = Receiver::start(vec![Reply::Raw(endless)]).await;
    let receipt = local(&receiver.url("/"), json!({})).send(&message("{}")).await.unwrap();
    assert_eq!(receipt.body.len(), RECEIPT_BYTES_MAX);
    receiver.request().await;
    assert!(matches!(receiver.seen().await, Seen::Closed));
}

#[tokio::test]
async fn a_broken_connection_may_be_tried_again() {
    for bytes in ["", "HTTP/1.1 200", "garbage\r\n\r\n"] {
        let err = send(Reply::Break(bytes.into())).await.unwrap_err();
        assert_eq!(err.refusal, Refusal::Retry(None), "{bytes}: {err}");
    }
}

#[tokio::test]
async fn nobody_listening_may_be_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sink = local(&format!("http://127.0.0.1:{port}/s3cret"), json!({}));
    for err in [sink.send(&message("{}")).await.unwrap_err(), sink.probe().await.unwrap_err()] {
        assert_eq!(err.refusal, Refusal::Retry(None));
        let address = format!("127.0.0.1:{port}");
        assert_eq!(err.message, format!("http://{address}: connect to {address}: Connection refused (os error 111)"));
    }
}

#[tokio::test]
async fn a_name_without_address_may_be_tried_again() {
    let ctx = SinkContext::new(Hand::new(), Names::new(&[]), EgressPolicy::OPEN);
    let err = local_in("http://gone.test/", json!({}), &ctx).send(&message("{}")).await.unwrap_err();
    assert_eq!(err.refusal, Refusal::Retry(None));
    assert_eq!(err.message, "http://gone.test: look up gone.test: no such name");
}

#[tokio::test]
async fn a_silent_remote_may_be_tried_again() {
    /// A resolver that never answers.
    struct Silent;

    #[async_trait]
    impl Resolve for Silent {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }

    let ctx = SinkContext::new(Hand::new(), Arc::new(Silent), EgressPolicy::OPEN);
    // Nor does this receiver answer a handshake of TLS.
    let receiver = Receiver::start(vec![]).await;
    for url in ["http://silent.test/".to_owned(), format!("https://127.0.0.1:{}/", receiver.port)] {
        let sink = local_in(&url, json!({"connect_timeout": "20ms"}), &ctx);
        for err in [sink.send(&message("{}")).await.unwrap_err(), sink.probe().await.unwrap_err()] {
            assert_eq!(err.refusal, Refusal::Retry(None));
            assert!(err.message.ends_with(": no connection within 20ms"), "{err}");
        }
    }
}

#[tokio::test]
async fn connections_are_kept_and_shared_by_equal_connections() {
    let mut receiver = Receiver::start((0..6).map(|_| answer(200, "", "x")).collect()).await;
    let names = Names::new(&[&["127.0.0.1"]]);
    let ctx = SinkContext::new(Hand::new(), names.clone(), EgressPolicy::OPEN);
    let url = format!("http://kept.test:{}/", receiver.port);
    let first = local_in(&url, json!({}), &ctx);
    for _ in 0..3 {
        first.send(&message("{}")).await.unwrap();
        assert_eq!(receiver.request().await.connection, 0);
    }
    // The same connection, built anew with another secret: its pool is still warm.
    let second = local_in(&url, json!({"signing": "other"}), &ctx);
    drop(first);
    second.send(&message("{}")).await.unwrap();
    assert_eq!(receiver.request().await.connection, 0);
    // Another way to connect is another pool.
    let third = local_in(&url, json!({"connect_timeout": "3s"}), &ctx);
    third.send(&message("{}")).await.unwrap();
    assert_eq!(receiver.request().await.connection, 1);
    assert_eq!(names.n_asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_dropped_send_leaves_nothing_behind() {
    let mut receiver = Receiver::start(vec![Reply::Hang, ok()]).await;
    let sink = local(&receiver.url("/"), json!({}));
    let hanging = message("{}");
    tokio::select! {
        _ = sink.send(&hanging) => panic!("nothing was answered"),
        request = receiver.request() => assert_eq!(request.connection, 0),
    }
    assert!(matches!(receiver.seen().await, Seen::Closed));
    sink.send(&message("{}")).await.unwrap();
    assert_eq!(receiver.request().await.connection, 1);
    drop(sink);
    assert!(matches!(receiver.seen().await, Seen::Closed));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let closing = Reply::Break(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n".to_vec());
    let mut receiver = Receiver::start(vec![closing, ok()]).await;
    let sink = local(&receiver.url("/"), json!({}));
    sink.send(&message("{}")).await.unwrap();
    // The close may be noticed before or while the next request is written, so that one may fail with a retry.
    if let Err(err) = sink.send(&message("{}")).await {
        assert_eq!(err.refusal, Refusal::Retry(None));
        sink.send(&message("{}")).await.unwrap();
    }
    receiver.request().await;
    assert_eq!(receiver.request().await.connection, 1);
}

#[tokio::test]
async fn a_probe_connects_and_asks_nothing() {
    let mut receiver = Receiver::start(vec![]).await;
    local(&receiver.url("/"), json!({})).probe().await.unwrap();
    assert!(matches!(receiver.seen().await, Seen::Closed));
}
