//! What callers rely on: conditions, keys, statuses, and what is shown of runs.

use async_trait::async_trait;
use bytes::Bytes;
use trapjaw_connectors::clients::{EgressPolicy, SystemResolver};
use trapjaw_connectors::sinks::SinkContext;
use trapjaw_engine::ports::{Catalog, Object, Page, Snapshot, StoreError, VersionView};
use trapjaw_store::Sqlite;

use super::*;
use crate::composer::Composer;
use crate::config::placeholder::Exposed;
use crate::desk::{Desk, Parts};
use crate::installation::{Body as Says, Draft};
use crate::vault::Vault;

impl Fixture {
    /// A call with these headers; the body as it is.
    async fn raw(&self, call: &str, headers: &[(&str, &[u8])], body: &str) -> (u16, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {ADMIN}"));
        let request = request.header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (status, answer) = self.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        (status.as_u16(), answer)
    }

    /// A connection, and a trigger that sends on it; paused, so that its runs stay open.
    async fn open_paused() -> Self {
        let fixture = Self::open().await;
        fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
        fixture.check("PUT", "/v1/triggers/t", trigger(), 201).await;
        fixture.check("POST", "/v1/triggers/t/pause", Value::Null, 200).await;
        fixture
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_can_be_conditional() {
    let fixture = Fixture::open_paused().await;
    let revision = fixture.check("GET", "/v1/status", Value::Null, 200).await["revision"].to_string();
    let (wrong, right) = (b"\"77\"".as_slice(), format!("\"{revision}\""));
    for call in [
        "POST /v1/triggers/t/enable",
        "POST /v1/triggers/t/disable",
        "POST /v1/triggers/t/pause",
        "POST /v1/triggers/t/resume",
        "POST /v1/connections/crm/pause",
        "POST /v1/connections/crm/resume",
        "POST /v1/config/apply",
        "POST /v1/config/apply?dry-run=true",
        "POST /v1/config/diff",
    ] {
        assert_eq!(fixture.raw(call, &[("if-match", wrong)], "{}").await.0, 412, "{call}");
    }
    let (status, answer) = fixture.raw("POST /v1/config/apply", &[("if-match", right.as_bytes())], "{}").await;
    assert_eq!((status, answer["revision"].to_string()), (200, revision));
    assert_eq!(fixture.raw("POST /v1/triggers/t/resume", &[("if-match", b"\"2\"")], "").await.0, 200);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_has_the_versions_of_the_store() {
    let fixture = Fixture::open().await;
    for version in [1, 3, 5] {
        let made = fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
        assert_eq!(made["version"], version);
        fixture.check("DELETE", "/v1/connections/crm", Value::Null, 204).await;
    }
    fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
    fixture.check("POST", "/v1/connections/crm/pause", Value::Null, 200).await;
    let kept = fixture.host.as_ref().unwrap().app.catalog.snapshot().await.unwrap();
    let shown = fixture.check("GET", "/v1/connections/crm", Value::Null, 200).await;
    let kept_version = kept.objects.iter().find(|object| &*object.name == "crm").unwrap().version;
    assert_eq!((&shown["version"], kept_version), (&json!(8), 8));
    assert_eq!(fixture.check("GET", "/v1/status", Value::Null, 200).await["revision"], kept.revision);
    fixture.close().await;
}

/// A catalog that can no longer be read once something was written.
struct ReadOnce(Sqlite);

impl ReadOnce {
    async fn check(&self) -> Result<(), StoreError> {
        match Catalog::snapshot(&self.0).await?.revision {
            0 => Ok(()),
            _ => Err(StoreError::Read("it took too long".into())),
        }
    }
}

#[async_trait]
impl Catalog for ReadOnce {
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.check().await?;
        self.0.snapshot().await
    }

    async fn history(&self, kind: &str, name: &str, page: Page) -> Result<Vec<Object>, StoreError> {
        self.check().await?;
        self.0.history(kind, name, page).await
    }

    async fn object(&self, kind: &str, name: &str, version: i64) -> Result<Option<Object>, StoreError> {
        self.check().await?;
        self.0.object(kind, name, version).await
    }

    async fn versions(&self, plugin: Option<&str>) -> Result<Vec<VersionView>, StoreError> {
        self.check().await?;
        self.0.versions(plugin).await
    }

    async fn component(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        self.check().await?;
        self.0.component(digest).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_in_force_though_nothing_can_be_read() {
    let fixture = Fixture::open().await;
    let app = &fixture.host.as_ref().unwrap().app;
    let sink_ctx = SinkContext::new(app.clock.clone(), Arc::new(SystemResolver), EgressPolicy::OPEN);
    let sandbox = app.desk.composer().sandbox().clone();
    let desk = Desk::new(Parts {
        store: Arc::new(app.store.clone()),
        catalog: Arc::new(ReadOnce(app.store.clone())),
        engine: app.engine.clone(),
        clock: app.clock.clone(),
        composer: Composer::new(sandbox, sink_ctx, Exposed::default(), false),
        vault: Arc::new(Vault::new(&[7; 32])),
        installation: app.desk.current(),
    });
    let secret = |name: &str| vec![Draft { name: name.into(), body: Says::Secret(Secret::new("v")) }];
    let (first, second) = (secret("A"), secret("B"));
    let changed = desk.change("test".into(), move |_| Ok(first)).await.expect("it is committed");
    assert_eq!((changed.after.revision, app.engine.plan().revision()), (1, 1));
    assert!(desk.current().secrets.contains_key("A"));
    assert!(desk.change("test".into(), move |_| Ok(second)).await.is_err(), "what cannot be read fails before");
    assert_eq!((desk.current().revision, app.engine.plan().revision()), (1, 1));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_call_once() {
    let fixture = Fixture::open_paused().await;
    let fire = "POST /v1/triggers/t/fire";
    let (_, first) = fixture.raw(fire, &[("idempotency-key", b"k-1")], "{}").await;
    let (_, again) = fixture.raw(fire, &[("idempotency-key", b"k-1")], "{}").await;
    assert_eq!(first, again, "the first one's event and run");
    assert!(first["run"].is_string(), "{first}");
    let (_, other) = fixture.raw(fire, &[("idempotency-key", b"k-2")], "{}").await;
    assert_ne!(first["event_id"], other["event_id"]);
    let runs = fixture.check("GET", "/v1/runs", Value::Null, 200).await;
    assert_eq!(runs["items"].as_array().unwrap().len(), 2);
    for call in [fire, "POST /v1/events?type=t"] {
        for key in ["ü".as_bytes(), b"", &[b'k'; 2_000]] {
            let (status, answer) = fixture.raw(call, &[("idempotency-key", key)], "{}").await;
            assert_eq!((status, &answer["errors"][0]["path"]), (400, &json!("Idempotency-Key")), "{call}");
        }
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fired_is_checked_as_what_is_sent() {
    let fixture = Fixture::open_paused().await;
    let published = fixture.publish("application/cloudevents+json", event("1").to_string(), 202).await;
    let id = published["ids"][0].as_str().unwrap();
    for (body, path) in [
        (r#"{"data": "\ud800"}"#.to_owned(), "data"),
        (r#"{"data": {"n": 1e999}}"#.to_owned(), "data"),
        (r#"{"type": "a\nb"}"#.to_owned(), "type"),
        (r#"{"type": ""}"#.to_owned(), "type"),
        (r#"{"subject": "\u0000"}"#.to_owned(), "subject"),
        (format!(r#"{{"event": "{id}", "type": "x"}}"#), "type"),
        (format!(r#"{{"event": "{id}", "subject": "x"}}"#), "subject"),
        (format!(r#"{{"event": "{id}", "data": 1}}"#), "data"),
    ] {
        let (status, answer) = fixture.raw("POST /v1/triggers/t/fire", &[], &body).await;
        assert_eq!((status, &answer["errors"][0]["path"]), (400, &json!(path)), "{body}: {answer}");
    }
    assert_eq!(fixture.n_events().await, 1);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn firing_names_its_own_run_while_events_flow() {
    let fixture = Fixture::open_paused().await;
    let publish = async {
        for n in 0..50 {
            fixture.publish("application/cloudevents+json", event(&n.to_string()).to_string(), 202).await;
        }
    };
    let fire = async {
        for _ in 0..50 {
            let fired = fixture.check("POST", "/v1/triggers/t/fire", json!({"type": "by.hand"}), 200).await;
            let path = format!("/v1/runs/{}", fired["run"].as_str().unwrap());
            let run = fixture.check("GET", &path, Value::Null, 200).await;
            assert_eq!(run["event_id"], fired["event_id"]);
        }
    };
    tokio::join!(publish, fire);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_in_the_state_that_they_show() {
    let fixture = Fixture::open_paused().await;
    let fired = fixture.check("POST", "/v1/triggers/t/fire", json!({}), 200).await;
    for (query, expected) in [("", 1), ("?state=waiting", 1), ("?state=running", 0), ("?state=dead", 0)] {
        let runs = fixture.check("GET", &format!("/v1/runs{query}"), Value::Null, 200).await;
        assert_eq!(runs["items"].as_array().unwrap().len(), expected, "{query}: {runs}");
        if expected == 1 {
            assert_eq!(
                (&runs["items"][0]["state"], &runs["items"][0]["waiting_for"]),
                (&json!("waiting"), &json!("paused"))
            );
        }
    }
    let path = format!("/v1/events/{}/runs", fired["event_id"].as_str().unwrap());
    assert_eq!(fixture.check("GET", &path, Value::Null, 200).await["items"][0]["waiting_for"], "paused");
    for _ in 0..4 {
        fixture.check("POST", "/v1/triggers/t/fire", json!({}), 200).await;
    }
    let mut n_seen = 0;
    let mut cursor = String::new();
    loop {
        let page = fixture.check("GET", &format!("/v1/runs?state=waiting&limit=2{cursor}"), Value::Null, 200).await;
        n_seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(n_seen, 5, "pages go on where the one before ended");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_sent_is_ignored() {
    let fixture = Fixture::open().await;
    let twice = r#"{"on": {"type": ["x"]}, "on": {"type": ["y"]}, "do": []}"#;
    for (call, body, status) in [
        ("POST /v1/config/apply", r#"{} {"triggers": {}}"#.to_owned(), 422),
        ("POST /v1/config/apply", format!(r#"{{"triggers": {{"a": {twice}}}}}"#), 422),
        ("POST /v1/config/apply", r#"{"triggers": {"a": {}, "a": {}}}"#.to_owned(), 422),
        ("PUT /v1/triggers/a", twice.to_owned(), 422),
        ("POST /v1/triggers/a/try", format!(r#"{{"trigger": {twice}}}"#), 422),
        ("GET /v1/triggers/%ff", String::new(), 400),
        ("GET /v1/runs/%ff%fe", String::new(), 400),
        ("GET /v1/subjects/%ff", String::new(), 400),
    ] {
        let (got, answer) = fixture.raw(call, &[], &body).await;
        assert_eq!(got, status, "{call} {body}: {answer}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_shows_how_often_triggers_ran_for_it() {
    let fixture = Fixture::open().await;
    fixture.check("PUT", "/v1/connections/crm", webhook(), 201).await;
    let mut capped = trigger();
    capped["policy"] = json!({"limit": {"runs": 1}});
    fixture.check("PUT", "/v1/triggers/t", capped, 201).await;
    for _ in 0..2 {
        fixture.check("POST", "/v1/events?type=order.paid&subject=c%2F7", json!({}), 202).await;
    }
    let shown = fixture.check("GET", "/v1/subjects/c%2F7", Value::Null, 200).await;
    assert_eq!((&shown["items"][0]["trigger"], &shown["items"][0]["runs"]), (&json!("t"), &json!(1)), "{shown}");
    assert_eq!(fixture.check("GET", "/v1/subjects/none", Value::Null, 200).await["items"], json!([]));
    fixture.close().await;
}
