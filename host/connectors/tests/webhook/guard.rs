//! The guard on names, over real look-ups and connections.

use std::sync::atomic::Ordering;

use serde_json::json;
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::ports::Refusal;

use crate::receiver::{Receiver, answer};
use crate::support::{Hand, Names, build, local_in, message};

/// Sends to a name with these addresses, without `allow_private`, and checks a part of the refusal.
async fn check(addresses: &[&str], expected: &str) {
    let mut receiver = Receiver::start(vec![]).await;
    let ctx = SinkContext::new(Hand::new(), Names::new(&[addresses]), EgressPolicy::OPEN);
    let sink = build(&json!({"url": format!("http://name.test:{}/", receiver.port)}), &ctx).ok().unwrap();
    for err in [sink.send(&message("{}")).await.unwrap_err(), sink.probe().await.unwrap_err()] {
        // A literal was refused when the connection was saved; a name may lead elsewhere by the next try.
        assert_eq!(err.refusal, Refusal::Retry(None), "{err}");
        assert!(err.message.contains(expected), "{err}");
    }
    assert!(receiver.is_quiet());
}

#[tokio::test]
async fn names_with_a_refused_address_are_refused() {
    check(&["127.0.0.1"], "refused to connect to 127.0.0.1 of name.test: a loopback address (127.0.0.0/8)").await;
    check(&["1.1.1.1", "127.0.0.1"], "127.0.0.1 of name.test").await;
    check(&["127.0.0.1", "1.1.1.1"], "127.0.0.1 of name.test").await;
    check(&["1.1.1.1", "1.0.0.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "::1"], "::1 of name.test").await;
    check(&["169.254.169.254"], "the cloud's metadata service").await;
    check(&["::ffff:127.0.0.1"], "an IPv4-mapped address").await;
    check(&["0.0.0.0"], "an unspecified address").await;
}

#[tokio::test]
async fn no_name_leads_to_the_metadata_service() {
    for address in ["169.254.169.254", "169.254.170.2", "168.63.129.16", "fd00:ec2::254", "::ffff:169.254.169.254"] {
        let ctx = SinkContext::new(Hand::new(), Names::new(&[&[address]]), EgressPolicy::OPEN);
        let sink = local_in("http://rebind.test/", json!({"connect_timeout": "50ms"}), &ctx);
        let err = sink.send(&message("{}")).await.unwrap_err();
        assert!(err.message.contains(&format!("refused to connect to {address} of rebind.test: ")), "{err}");
        assert!(err.message.ends_with("; only a URL that holds this very address leads there"), "{err}");
    }
}

#[tokio::test]
async fn the_systems_names_are_guarded() {
    let ctx = SinkContext::new(Hand::new(), std::sync::Arc::new(SystemResolver), EgressPolicy::OPEN);
    let sink = build(&json!({"url": "http://localhost:1/"}), &ctx).ok().unwrap();
    let err = sink.send(&message("{}")).await.unwrap_err();
    assert_eq!(err.refusal, Refusal::Retry(None), "{err}");
    assert!(err.message.contains("of localhost: "), "{err}");
}

#[tokio::test]
async fn a_name_is_looked_up_once_for_each_connection_and_checked_each_time() {
    let closing = || answer(200, "connection: close\r\n", "");
    let mut receiver = Receiver::start(vec![closing(), closing()]).await;
    // A second look-up for the same connection would lead elsewhere.
    let names = Names::new(&[&["127.0.0.1"], &["224.0.0.1"]]);
    let ctx = SinkContext::new(Hand::new(), names.clone(), EgressPolicy::OPEN);
    let sink = local_in(&format!("http://rebind.test:{}/", receiver.port), json!({}), &ctx);
    sink.send(&message("{}")).await.unwrap();
    assert_eq!(receiver.request().await.header("host"), format!("rebind.test:{}", receiver.port));
    assert_eq!(names.n_asked.load(Ordering::SeqCst), 1);
    let err = sink.send(&message("{}")).await.unwrap_err();
    assert_eq!(err.refusal, Refusal::Retry(None));
    assert!(err.message.contains("224.0.0.1 of rebind.test: a multicast address"), "{err}");
    assert_eq!(names.n_asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_next_address_is_tried() {
    let mut receiver = Receiver::start(vec![answer(200, "", "")]).await;
    // Nobody listens on the first one.
    let ctx = SinkContext::new(Hand::new(), Names::new(&[&["127.0.0.2", "127.0.0.1"]]), EgressPolicy::OPEN);
    let sink = local_in(&format!("http://two.test:{}/", receiver.port), json!({}), &ctx);
    sink.send(&message("{}")).await.unwrap();
    receiver.request().await;
}

#[tokio::test]
async fn a_guarded_connection_never_uses_an_open_ones_pool() {
    let mut receiver = Receiver::start(vec![answer(200, "", "")]).await;
    let ctx = SinkContext::new(Hand::new(), Names::new(&[&["127.0.0.1"]]), EgressPolicy::OPEN);
    let url = format!("http://pool.test:{}/", receiver.port);
    let open = local_in(&url, json!({}), &ctx);
    open.send(&message("{}")).await.unwrap();
    receiver.request().await;
    let guarded = build(&json!({"url": url}), &ctx).ok().unwrap();
    let err = guarded.send(&message("{}")).await.unwrap_err();
    assert!(err.message.contains("127.0.0.1 of pool.test: a loopback address"), "{err}");
}
