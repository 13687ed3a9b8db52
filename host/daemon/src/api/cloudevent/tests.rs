//! What is taken and what is refused, one line each.

use super::*;
use axum::http::HeaderValue;
use serde_json::{Value, json};

const NOW: Time = Time(1_700_000_000_000_000);
const CTX: Context = Context { now: NOW, events_max: 3 };

fn paths(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.path.as_str()).collect()
}

fn base() -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "shop", "type": "t"})
}

/// A structured event with changes; a null takes the attribute away.
fn with(changes: Value) -> Bytes {
    let mut event = base();
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event.to_string().into()
}

fn refused(body: &[u8], expected: &[&str]) {
    let problems = read_structured(&Bytes::copy_from_slice(body), CTX).expect_err("it is bad");
    assert_eq!(paths(&problems), expected, "{problems:?}");
}

#[test]
fn a_structured_event_is_taken_as_it_is() {
    let body = br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"u","time":"2023-01-01T00:00:00Z",
        "datacontenttype":"application/json","dataschema":"urn:x","hops":3,"flag":true,
        "data": {"q":"\"'<b>", "n": 9007199254740993, "s": "{{ secret.X }}", "u": "\u00fc", "e": [null, false]}}"#;
    let event = read_structured(&Bytes::from_static(body), CTX).unwrap();
    assert_eq!((&*event.id, &*event.source, &*event.kind, event.subject.as_deref()), ("1", "/s", "t", Some("u")));
    assert_eq!(event.extension("dataschema"), Some("urn:x"));
    assert_eq!((event.extension("hops"), event.extension("flag")), (Some("3"), Some("true")));
    let sent = r#"{"q":"\"'<b>", "n": 9007199254740993, "s": "{{ secret.X }}", "u": "\u00fc", "e": [null, false]}"#;
    assert_eq!(event.data, sent.as_bytes());
}

#[test]
fn attributes_with_escapes_are_read() {
    let event = read_structured(
        &Bytes::from_static(br#"{"specversion":"1.0","id":"a\"\u00fc","source":"s","\u0074ype":"t"}"#),
        CTX,
    )
    .unwrap();
    assert_eq!((&*event.id, &*event.kind), ("a\"ü", "t"));
}

#[test]
fn bad_structured_events_are_refused_with_the_field() {
    refused(b"", &[""]);
    refused(b"{", &[""]);
    refused(b"[]", &[""]);
    refused(b"\xff", &[""]);
    refused(b"{}", &["specversion", "id", "source", "type"]);
    refused(&with(json!({"specversion": "0.3"})), &["specversion"]);
    refused(&with(json!({"id": null})), &["id"]);
    refused(&with(json!({"id": ""})), &["id"]);
    refused(&with(json!({"id": 7})), &["id"]);
    refused(&with(json!({"id": "a\u{0}b"})), &["id"]);
    refused(&with(json!({"source": "x".repeat(1_025)})), &["source"]);
    refused(&with(json!({"type": ["t"]})), &["type"]);
    refused(&with(json!({"time": "yesterday"})), &["time"]);
    refused(&with(json!({"time": "2024-11-14T22:13:20Z"})), &["time"]);
    refused(&with(json!({"subject": 1})), &["subject"]);
    refused(&with(json!({"Upper": "x"})), &["Upper"]);
    refused(&with(json!({"anextensionattributethatistoolong": "x"})), &["anextensionattributethatistoolong"]);
    refused(&with(json!({"ext": {"a": 1}})), &["ext"]);
    refused(&with(json!({"data": 1, "data_base64": "AA=="})), &["data_base64"]);
    refused(&with(json!({"data_base64": "?"})), &["data_base64"]);
    refused(&with(json!({"datacontenttype": "text/plain", "data": {"a": 1}})), &["data"]);
    refused(br#"{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}"#, &[""]);
    refused(br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"\ud800"}"#, &["data"]);
    refused(br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1e999}"#, &["data"]);
    refused(br#"{"specversion":"1.0","id":"1","source":"s","type":"t"} x"#, &[""]);
}

#[test]
fn depth_is_bounded_exactly() {
    let nested = |depth: usize| {
        let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        Bytes::from(format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","data":{data}}}"#))
    };
    assert!(read_structured(&nested(64), CTX).is_ok());
    for depth in [65, 66, 67, 100_000] {
        assert_eq!(paths(&read_structured(&nested(depth), CTX).unwrap_err()), ["data"], "{depth}");
    }
}

#[test]
fn data_are_read_by_their_type() {
    let read = |changes: Value| read_structured(&with(changes), CTX).unwrap().data;
    assert_eq!(read(json!({})), "");
    assert_eq!(read(json!({"data": null})), "null");
    assert_eq!(read(json!({"data": "x"})), "\"x\"");
    assert_eq!(read(json!({"datacontenttype": "text/plain", "data": "a\nb"})), "a\nb");
    assert_eq!(read(json!({"datacontenttype": "image/png", "data_base64": "AAEC"})), &[0, 1, 2][..]);
}

#[test]
fn a_batch_is_taken_whole_or_refused_with_places() {
    let batch = |events: Vec<Value>| read_batch(&Value::from(events).to_string().into(), CTX);
    assert_eq!(batch(vec![base(), base()]).unwrap().len(), 2);
    assert_eq!(batch(Vec::new()).unwrap().len(), 0);
    let problems = batch(vec![base(), json!({"specversion": "1.0", "id": "1", "source": "s"}), json!({})]).unwrap_err();
    assert_eq!(paths(&problems), ["[1].type", "[2].specversion", "[2].id", "[2].source", "[2].type"]);
    assert_eq!(paths(&batch(vec![base(), json!(1)]).unwrap_err()), ["[1]"]);
    assert_eq!(paths(&batch(vec![base(), base(), base(), base()]).unwrap_err()), ["[3]"]);
    assert_eq!(paths(&read_batch(&Bytes::from_static(b"{}"), CTX).unwrap_err()), [""]);
    assert_eq!(paths(&read_batch(&Bytes::from_static(b"[] x"), CTX).unwrap_err()), ["[0]"]);
}

fn headers(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())).collect()
}

const BINARY: [(&str, &[u8]); 4] =
    [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"s%20%C3%BC"), ("ce-type", b"t")];

#[test]
fn binary_events_are_read() {
    let read = |more: &[(&'static str, &'static [u8])], content_type: Option<&str>, body: &'static [u8]| {
        read_binary(&headers(&[&BINARY[..], more].concat()), content_type, &Bytes::from_static(body), CTX)
    };
    let event = read(&[("ce-traceid", b"a%2Fb")], Some("application/json"), b" {\"a\":1}").unwrap();
    assert_eq!((&*event.source, event.extension("traceid"), &event.data[..]), ("s ü", Some("a/b"), &b" {\"a\":1}"[..]));
    let event = read(&[], Some("image/png"), b"\xff\x00").unwrap();
    assert_eq!((event.data.len(), event.is_json()), (2, false));
    assert_eq!(read(&[], None, b"").unwrap().data, "");
    let check = |more: &[(&'static str, &'static [u8])], body: &'static [u8], expected: &[&str]| {
        assert_eq!(paths(&read(more, Some("application/json"), body).unwrap_err()), expected);
    };
    check(&[], b"{", &["data"]);
    check(&[("ce-time", b"x")], b"1", &["ce-time"]);
    check(&[("ce-time", b"%zz")], b"1", &["ce-time"]);
    check(&[("ce-bad_name", b"x")], b"1", &["ce-bad_name"]);
    let missing = read_binary(&headers(&[("ce-specversion", b"0.3")]), None, &Bytes::new(), CTX).unwrap_err();
    assert_eq!(paths(&missing), ["ce-specversion", "ce-id", "ce-source", "ce-type"]);
}

#[test]
fn plain_json_takes_its_attributes_from_the_query() {
    let query = |kind: Option<&str>, id: Option<&str>| PlainQuery {
        r#type: kind.map(Into::into),
        id: id.map(Into::into),
        ..PlainQuery::default()
    };
    let read = |query: PlainQuery, key: Option<&str>, body: &'static str| {
        read_plain(query, key, "application/json", &Bytes::from_static(body.as_bytes()), CTX)
    };
    let event = read(query(Some("order.paid"), None), None, "{\"a\": 1}").unwrap();
    assert_eq!((&*event.source, &*event.kind, event.id.len(), event.time), ("http", "order.paid", 36, NOW));
    assert_eq!(&*read(query(Some("t"), None), Some("key"), "1").unwrap().id, "key");
    assert_eq!(&*read(query(Some("t"), Some("id")), Some("key"), "1").unwrap().id, "id");
    let check = |query: PlainQuery, body: &'static str, expected: &[&str]| {
        assert_eq!(paths(&read(query, None, body).unwrap_err()), expected);
    };
    check(query(None, None), "1", &["type"]);
    check(query(Some(""), None), "1", &["type"]);
    check(query(Some("t"), Some("")), "1", &["id"]);
    check(query(Some("t"), None), "", &["data"]);
    check(query(Some("t"), None), "{\"a\"}", &["data"]);
    check(PlainQuery { time: Some("x".into()), ..query(Some("t"), None) }, "1", &["time"]);
}

#[test]
fn trace_contexts_are_checked() {
    let check = |text: &str, expected: bool| assert_eq!(is_traceparent(text), expected, "{text}");
    check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true);
    check("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false);
    check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false);
    check("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false);
    check("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false);
    check("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false);
    check("", false);
    check("ü", false);
}
