//! Configs with problems, and options that conflict.

use serde_json::{Value, json};
use trapjaw_connectors::clients::{EgressPolicy, HostPattern, Network};
use trapjaw_connectors::sinks::{ALL, SinkContext};
use trapjaw_engine::ports::{Message, Refusal};

use crate::receiver::{Receiver, ok};
use crate::support::{Hand, Names, build, context, local, message};

#[track_caller]
fn check_in(ctx: &SinkContext, config: Value, expected: &[&str]) {
    let problems = build(&config, ctx).err().unwrap_or_default();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, expected);
}

#[track_caller]
fn check(config: Value, expected: &[&str]) {
    check_in(&context(), config, expected);
}

#[test]
fn all_problems_are_reported_at_once() {
    check(json!({}), &["url: is missing"]);
    check(json!({"url": 5}), &["url: must be a string, but is a number"]);
    check(
        json!({
            "url": "https://user:pw@10.0.0.1/", "methd": "GET", "method": "TRACE", "signing": ["", "whsec_?"],
            "headers": {"Host": "a", "webhook-id": "b", "a b": "c", "X-A": "d", "x-a": "e", "f": "g\r\nh: i",
                "Authorization": "j", "k": ["l"]},
            "auth": {"basic": {"password": "p", "pass": "p"}}, "tls": {"ca": "x", "cert": "y"},
            "connect_timeout": "31s", "proxy": "socks5://a",
        }),
        &[
            "auth.basic.pass: unknown field `pass`, expected `user` or `password`",
            "headers.k: must be a string, a number or a boolean, but is a list",
            "methd: unknown field `methd`, expected one of `url`, `method`, `headers`, `query`, `body`, `signing`, \
             `auth`, `tls`, `allow_private`, `proxy`, `connect_timeout`",
            "method: must be one of `GET`, `POST`, `PUT`, `PATCH`, `DELETE`",
            "proxy: must be like `http://proxy:3128`, or with credentials `http://user:password@proxy:3128`",
            "url: holds credentials: they belong into `auth`",
            "headers.Authorization: is set by `auth`",
            "headers.Host: belongs to the HTTP connection and cannot be set",
            "headers.a b: is not the name of a header",
            "headers.f: holds a control character",
            "headers.webhook-id: is set by the sink itself",
            "headers.x-a: sets header `x-a` a second time",
            "auth.basic.user: is missing",
            "signing[0]: is empty",
            "signing[1]: must be base64 after `whsec_`",
            "connect_timeout: must be more than 0s and at most 30s",
            "tls.ca: holds no certificate in PEM form",
            "tls.key: is needed beside `cert`",
        ],
    );
    check(
        json!({"url": "http://a/", "auth": {"oauth2": {"client_id": "a"}}}),
        &["auth.oauth2.token_url: is missing", "auth.oauth2.client_secret: is missing"],
    );
    check(
        json!({"url": "http://a/", "auth": {"bearer": "a\nb"}}),
        &["auth.bearer: must be visible ASCII characters without spaces"],
    );
    check(json!({"url": "http://a/", "auth": {"digest": "a"}}), &["auth: must be one of `basic`, `bearer`, `oauth2`"]);
    check(json!({"url": "http://a/", "signing": vec!["s"; 9]}), &["signing: holds more than 8 secrets"]);
}

#[test]
fn urls_are_checked() {
    let only_web = "url: must begin with `http://` or `https://`";
    for url in ["ftp://a/", "file:///etc/passwd", "gopher://a/", "data:,a", "unix:/a"] {
        check(json!({"url": url}), &[only_web]);
    }
    for (url, problem) in
        [("a", "relative URL without a base"), ("http://", "empty host"), ("http://a:b", "invalid port number")]
    {
        check(json!({"url": url}), &[&format!("url: is not a URL: {problem}")]);
    }
    let refused = |what: &str| {
        format!("url: refused to connect to {what}; only a connection with `allow_private: true` may reach it")
    };
    for url in ["http://2130706433/", "http://0177.1/", "https://0x7f.0.0.1:8443/"] {
        check(json!({"url": url}), &[&refused("127.0.0.1: a loopback address (127.0.0.0/8)")]);
    }
    check(json!({"url": "http://[::1]/"}), &[&refused("::1: the loopback address (::1/128)")]);
    check(
        json!({"url": "http://[::ffff:7f00:1]/"}),
        &[&refused("::ffff:127.0.0.1: an IPv4-mapped address (::ffff:0.0.0.0/96)")],
    );
    let token_url = json!({"token_url": "http://127.0.0.1/", "client_id": "a", "client_secret": "b"});
    let problem = refused("127.0.0.1: a loopback address (127.0.0.0/8)").replace("url: ", "auth.oauth2.token_url: ");
    check(json!({"url": "http://a/", "auth": {"oauth2": token_url}}), &[&problem]);
}

#[test]
fn the_daemons_bounds_hold_for_operators() {
    let allow = Some(vec![HostPattern::parse("*.example.com").unwrap()]);
    let ctx = SinkContext::new(Hand::new(), Names::new(&[]), EgressPolicy { allow, private: Some(Vec::new()) });
    check_in(&ctx, json!({"url": "https://a.example.com/"}), &[]);
    check_in(
        &ctx,
        json!({"url": "https://example.com.evil.io/", "allow_private": true}),
        &[
            "allow_private: is not allowed by the daemon's `egress`",
            "url: refused to connect to example.com.evil.io: no host of the daemon's `egress.allow` matches",
        ],
    );
    check_in(
        &ctx,
        json!({"url": "https://evil.io/", "proxy": "http://10.0.0.1:3128"}),
        &[
            "proxy: refused to connect to 10.0.0.1: no host of the daemon's `egress.allow` matches",
            "url: refused to connect to evil.io: no host of the daemon's `egress.allow` matches",
        ],
    );
    let private = Some(vec![Network::parse("10.1.0.0/16").unwrap()]);
    let ctx = SinkContext::new(Hand::new(), Names::new(&[]), EgressPolicy { allow: None, private });
    check_in(&ctx, json!({"url": "http://10.1.2.3/", "allow_private": true}), &[]);
    let rule = "url: refused to connect to 127.0.0.1: a loopback address (127.0.0.0/8); no network of the daemon's \
                `egress.private` holds it";
    check_in(&ctx, json!({"url": "http://127.0.0.1/", "allow_private": true}), &[rule]);
}

#[tokio::test]
async fn options_add_to_a_send() {
    let mut receiver = Receiver::start(vec![ok(), ok()]).await;
    let sink = local(&receiver.url("/a?b=1"), json!({"headers": {"x-team": "growth"}}));
    let options = json!({"headers": {"X-Order": 17}, "query": {"c d": "&"}, "method": "PUT", "body": "form"});
    let headers =
        vec![("x-many".into(), "1".into()), ("X-Many".into(), "2".into()), ("user-agent".into(), "me".into())];
    let message = Message { options: options.as_object().unwrap().clone(), headers, ..message(r#"{"e":1}"#) };
    sink.send(&message).await.unwrap();
    let request = receiver.request().await;
    assert_eq!(request.line, "PUT /a?b=1&c+d=%26 HTTP/1.1");
    assert_eq!(request.body, b"e=1");
    assert_eq!((request.header("x-order"), request.header("x-team")), ("17", "growth"));
    assert_eq!(request.header("user-agent"), "me");
    assert_eq!(request.headers.iter().filter(|(name, _)| name == "x-many").count(), 2);
    // Without a query of its own, the URL gets one.
    let sink = local(&receiver.url(""), json!({}));
    sink.send(&message).await.unwrap();
    assert_eq!(receiver.request().await.line, "PUT /?c+d=%26 HTTP/1.1");
}

#[tokio::test]
async fn conflicts_are_refused_when_sending() {
    async fn check(options: Value, headers: &[(&str, &str)], expected: &str) {
        let config = json!({"headers": {"X-Team": "growth"}, "auth": {"bearer": "t"}});
        let sink = local("http://127.0.0.1:1/?a=1", config);
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let message = Message { options: options.as_object().unwrap().clone(), headers, ..message("{}") };
        let err = sink.send(&message).await.unwrap_err();
        assert_eq!((err.refusal, err.message.as_str()), (Refusal::Permanent, expected));
    }
    check(
        json!({"headers": {"x-team": "a"}, "query": {"a": 2}, "url": "http://b/"}),
        &[],
        "with: url: unknown field `url`, expected one of `headers`, `query`, `method`, `body`; headers.x-team: `with` \
         sets header `x-team`, but the connection sets `x-team`; query.a: `with` sets query parameter `a`, but so \
         does the connection",
    )
    .await;
    check(json!({}), &[("X-TEAM", "a")], "the message sets header `X-TEAM`, but the connection sets `x-team`").await;
    check(
        json!({}),
        &[("authorization", "a")],
        "the message sets header `authorization`, but the connection sets `authorization`",
    )
    .await;
    check(json!({"headers": {"x-a": "1"}}), &[("X-A", "2")], "the message sets header `X-A`, but so does `with`").await;
    check(
        json!({}),
        &[("transfer-encoding", "chunked")],
        "header `transfer-encoding` belongs to the HTTP connection and cannot be set",
    )
    .await;
    check(json!({}), &[("webhook-signature", "v1,a")], "header `webhook-signature` is set by the sink itself").await;
    check(json!({}), &[("x-a", "b\r\nc: d")], "header `x-a` holds a control character").await;
    check(json!({"headers": {"x-a": "b\nc"}}), &[], "header `x-a` holds a control character").await;
    check(json!({}), &[("x\r\na", "b")], "header `x\\r\\na` is not the name of a header").await;
}

#[tokio::test]
async fn headers_are_bounded() {
    async fn check(n_headers: usize, value: &str, expected: &str) {
        let sink = local("http://127.0.0.1:1/", json!({"headers": {"x-team": "growth"}, "auth": {"bearer": "t"}}));
        let headers = (0..n_headers).map(|number| (format!("x-{number:05}"), value.to_owned()));
        let message = Message { content_type: String::new(), headers: headers.clone().collect(), ..message("{}") };
        let given = Value::Object(headers.map(|(name, value)| (name, value.into())).collect());
        let options = json!({"headers": given}).as_object().unwrap().clone();
        let with = Message { options, content_type: String::new(), ..self::message("{}") };
        for message in [message, with] {
            let err = sink.send(&message).await.unwrap_err();
            assert!(err.message.contains(expected), "{err}");
            let is_bounded = expected.contains("at most");
            assert_eq!(err.refusal, if is_bounded { Refusal::Permanent } else { Refusal::Retry(None) }, "{err}");
        }
    }
    // Two headers are the connection's, with 33 bytes.
    let sent = "connect to 127.0.0.1:1: Connection refused";
    check(98, "1", sent).await;
    check(99, "1", "a request has at most 100 headers beside the sink's own, not 101").await;
    check(24_600, "1", "at most 100").await;
    check(1, &"x".repeat((32 << 10) - 33 - 7), sent).await;
    check(1, &"x".repeat((32 << 10) - 33 - 6), "headers of a request have at most 32768 bytes, not 32769").await;
    let message = Message { content_type: "x".repeat((32 << 10) + 1), ..message("{}") };
    let err = local("http://127.0.0.1:1/", json!({})).send(&message).await.unwrap_err();
    assert_eq!(err.message, "the headers of a request have at most 32768 bytes, not 32769");
}

#[test]
fn the_connections_own_headers_are_bounded() {
    let headers = |n_headers: usize| (0..n_headers).map(|number| (format!("x-{number}"), json!("1")));
    let config = |n_headers| json!({"url": "http://a/", "headers": Value::Object(headers(n_headers).collect())});
    check(config(100), &[]);
    check(config(101), &["headers: a request has at most 100 headers beside the sink's own, not 101"]);
    let long = json!({"url": "http://a/", "headers": {"x-a": "x".repeat(32 << 10)}});
    check(long, &["headers: the headers of a request have at most 32768 bytes, not 32771"]);
}

#[test]
fn every_sink_has_schemas() {
    for sink in ALL {
        for schema in [(sink.config_schema)(), (sink.options_schema)()] {
            let schema = schema.to_value();
            assert_eq!(schema["type"], "object", "{}", sink.name);
            assert_eq!(schema["additionalProperties"], false, "{}", sink.name);
        }
    }
    let schema = (ALL[0].config_schema)().to_value();
    assert_eq!(schema["required"], json!(["url"]));
    assert_eq!(schema["properties"]["signing"]["writeOnly"], true);
    assert_eq!(schema["properties"]["url"]["type"], "string");
}
