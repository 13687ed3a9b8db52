//! Who may do what: a row for each token, call and answer.

use std::collections::HashMap;

use super::*;

/// What two teams share a host for, and a token of every sort.
struct Teams {
    fixture: Fixture,
    tokens: HashMap<&'static str, String>,
    event: String,
}

impl Teams {
    async fn open() -> Self {
        let fixture = Fixture::open().await;
        let sends = |to: &str| json!({"on": {"type": ["order.paid"]}, "do": [{"send": to}], "state": "paused"});
        let document = json!({
            "secrets": {"PAY_KEY": "hush", "shop.KEY": "k", "BROKEN_URL": "hush hush"},
            "connections": {"pay.bank": webhook(), "shop.out": webhook(), "plain": webhook()},
            "plugins": {"shop.p": {}},
            "triggers": {"pay.t": sends("pay.bank"), "shop.t": sends("shop.out")},
        });
        fixture.check("POST", "/v1/config/apply", document, 200).await;
        let published = fixture.publish("application/cloudevents+json", event("1").to_string(), 202).await;
        let event = published["ids"][0].as_str().unwrap().to_owned();
        let mut tokens = HashMap::new();
        for (name, scope, prefixes) in [
            ("viewer", "viewer", json!([])),
            ("editor", "editor", json!([])),
            ("operator", "operator", json!([])),
            ("call", "call", json!([])),
            ("ingest", "ingest", json!([])),
            ("shop viewer", "viewer", json!(["shop"])),
            ("shop editor", "editor", json!(["shop"])),
            ("shop operator", "operator", json!(["shop"])),
        ] {
            let new = json!({"name": name.replace(' ', "-"), "scopes": [scope], "prefixes": prefixes});
            let made = fixture.check("POST", "/v1/tokens", new, 201).await;
            tokens.insert(name, made["token"].as_str().unwrap().to_owned());
        }
        Self { fixture, tokens, event }
    }

    async fn call(&self, token: &str, call: &str, body: Value) -> (u16, Value) {
        let (method, path) = call.split_once(' ').unwrap();
        self.fixture.call_as(&self.tokens[token], method, path, body).await
    }

    async fn check(&self, rows: Vec<(&str, String, Value, u16)>) {
        for (token, call, body, expected) in rows {
            let (status, answer) = self.call(token, &call, body.clone()).await;
            assert_eq!(status, expected, "{token}: {call} {body}: {answer}");
            assert!(!answer.to_string().contains("hush"), "{token}: {call} shows a secret: {answer}");
        }
    }

    async fn run_of(&self, trigger: &str) -> Value {
        let runs = self.fixture.check("GET", &format!("/v1/runs?trigger={trigger}"), Value::Null, 200).await;
        runs["items"][0].clone()
    }
}

fn with_header(value: &str) -> Value {
    json!({"kind": "webhook", "url": "http://127.0.0.1:9/", "allow_private": true, "headers": {"a": value}})
}

fn does(action: Value) -> Value {
    json!({"on": {"type": ["x"]}, "do": [action]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_token_uses_only_what_it_covers() {
    let teams = Teams::open().await;
    let put = |path: &str| format!("PUT /v1/{path}");
    let apply = || "POST /v1/config/apply".to_owned();
    let mut lists = with_header("x");
    lists["secrets"] = json!(["PAY_KEY"]);
    let label = json!({"plugin": "shop.p", "connections": {"l": "pay.bank"}});
    let asks = json!({"on": {"type": ["x"]}, "when": [{"any": [{"not": {"plugin": "pay.p@1"}}]}], "do": []});
    teams
        .check(vec![
            ("shop operator", put("connections/shop.x"), with_header("{{ secret.PAY_KEY }}"), 403),
            ("shop operator", put("connections/shop.x"), with_header("{{ env.HOME }}"), 403),
            ("shop operator", put("connections/shop.x"), lists.clone(), 403),
            ("shop operator", put("connections/shop.x"), with_header("{{ secret.shop.KEY }}"), 201),
            ("shop operator", apply(), json!({"connections": {"shop.x": with_header("{{ secret.PAY_KEY }}")}}), 403),
            ("shop operator", apply(), json!({"connections": {"shop.x": lists}}), 403),
            ("shop operator", apply(), json!({"secrets": {"shop.S": "{{ env.HOME }}"}}), 403),
            ("shop operator", apply(), json!({"secrets": {"shop.S": "v"}}), 200),
            ("shop operator", apply(), json!({"secrets": {"PAY_KEY": "v"}}), 403),
            ("shop operator", put("plugins/shop.p/grants"), json!({"connections": ["pay.bank"]}), 403),
            ("shop operator", put("plugins/shop.p/grants"), json!({"secrets": ["PAY_KEY"]}), 403),
            ("shop operator", apply(), json!({"plugins": {"shop.p": {"grants": {"connections": ["pay.bank"]}}}}), 403),
            ("shop operator", apply(), json!({"plugins": {"shop.p": {"grants": {"secrets": ["PAY_KEY"]}}}}), 403),
            ("shop operator", apply(), json!({"plugins": {"shop.p": {"grants": {"connections": ["shop.out"]}}}}), 200),
            ("shop editor", put("triggers/shop.a"), does(json!({"send": "pay.bank"})), 403),
            ("shop editor", put("triggers/shop.a"), does(json!({"send": "plain"})), 403),
            ("shop editor", put("triggers/shop.a"), does(label.clone()), 403),
            ("shop editor", put("triggers/shop.a"), asks, 403),
            ("shop editor", put("triggers/shop.a"), does(json!({"send": "shop.out"})), 201),
            ("shop editor", apply(), json!({"triggers": {"shop.a": does(json!({"send": "pay.bank"}))}}), 403),
            ("shop editor", apply(), json!({"triggers": {"shop.a": does(label)}}), 403),
            ("shop editor", apply(), json!({"triggers": {"pay.a": does(json!({"send": "shop.out"}))}}), 403),
            (
                "shop editor",
                "POST /v1/triggers/shop.a/try".to_owned(),
                json!({"trigger": does(json!({"send": "pay.bank"}))}),
                403,
            ),
            // What an unlimited token set up may be switched, though not written again.
            ("shop editor", "POST /v1/triggers/shop.a/pause".to_owned(), Value::Null, 200),
            ("shop editor", "POST /v1/triggers/pay.t/pause".to_owned(), Value::Null, 403),
        ])
        .await;
    teams.fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_takes_the_scopes_that_its_changes_take() {
    let teams = Teams::open().await;
    let call = |verb: &str| format!("POST /v1/config/{verb}");
    let triggers = json!({"triggers": {"shop.a": does(json!({"send": "shop.out"}))}});
    let connections = json!({"connections": {"shop.out": webhook()}});
    let secrets = json!({"secrets": {"shop.KEY": "a guess"}});
    let broken = json!({"connections": {"x": {"kind": "webhook", "url": "{{ secret.BROKEN_URL }}"}}});
    teams
        .check(vec![
            ("shop editor", call("apply"), triggers.clone(), 200),
            ("shop editor", call("apply?prune=true"), triggers.clone(), 403),
            ("editor", call("apply?prune=true"), triggers.clone(), 403),
            ("shop editor", call("apply"), connections.clone(), 403),
            ("shop editor", call("apply"), secrets.clone(), 403),
            ("editor", call("apply"), json!({"plugins": {"shop.p": {"grants": {"state": true}}}}), 403),
            ("editor", call("apply"), json!({"plugins": {"shop.p": {"grants": {}}}}), 200),
            ("viewer", call("apply"), triggers.clone(), 403),
            ("viewer", call("apply?dry-run=true"), triggers.clone(), 200),
            ("viewer", call("diff"), triggers.clone(), 200),
            ("viewer", call("validate"), triggers.clone(), 200),
            ("viewer", call("diff?prune=true"), json!({}), 200),
            ("viewer", call("diff"), connections.clone(), 403),
            ("viewer", call("diff"), secrets.clone(), 403),
            ("viewer", call("validate"), connections.clone(), 403),
            ("viewer", call("validate"), secrets.clone(), 403),
            ("viewer", call("apply?dry-run=true"), secrets.clone(), 403),
            ("editor", call("validate"), secrets.clone(), 403),
            ("ingest", call("validate"), triggers.clone(), 403),
            ("shop viewer", call("validate"), json!({"triggers": {"pay.a": does(json!({"send": "x"}))}}), 403),
            ("shop viewer", call("validate"), json!({"triggers": {"shop.a": does(json!({"send": "pay.bank"}))}}), 403),
            ("shop operator", call("diff"), connections, 200),
            ("shop operator", call("validate"), json!({"secrets": {"PAY_KEY": "a guess"}}), 403),
            // Why it is refused would show what the placeholder stands for.
            ("operator", call("validate"), broken.clone(), 200),
            ("operator", call("apply"), broken, 422),
        ])
        .await;
    teams.fixture.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_is_shown_nothing() {
    let teams = Teams::open().await;
    let (pay, shop) = (teams.run_of("pay.t").await, teams.run_of("shop.t").await);
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    let task = |run: &Value| id(&run["tasks"][0]);
    let run = |run: &Value, verb: &str| format!("{verb} /v1/runs/{}", id(run));
    let fire = || "POST /v1/triggers/shop.t/fire".to_owned();
    let nothing = || Value::Null;
    teams
        .check(vec![
            ("call", fire(), json!({"event": teams.event, "dry": true}), 403),
            ("call", fire(), json!({"event": teams.event}), 403),
            ("call", fire(), json!({"dry": true}), 403),
            ("call", fire(), json!({"data": 1}), 200),
            ("shop editor", fire(), json!({"event": teams.event, "dry": true}), 200),
            ("shop viewer", fire(), json!({}), 403),
            ("call", run(&pay, "GET"), nothing(), 403),
            ("call", "GET /v1/runs/run_000000000000009".to_owned(), nothing(), 403),
            ("call", "GET /v1/runs/nope".to_owned(), nothing(), 403),
            ("shop viewer", run(&shop, "GET"), nothing(), 200),
            ("shop viewer", run(&pay, "GET"), nothing(), 404),
            ("viewer", run(&pay, "GET"), nothing(), 200),
            ("viewer", run(&pay, "POST") + "/cancel", nothing(), 403),
            ("shop operator", run(&pay, "POST") + "/cancel", nothing(), 404),
            ("editor", format!("POST /v1/tasks/{}/cancel", task(&pay)), nothing(), 403),
            ("shop operator", format!("POST /v1/tasks/{}/cancel", task(&pay)), nothing(), 404),
            ("shop operator", format!("POST /v1/tasks/{}/retry", task(&pay)), nothing(), 404),
            ("shop operator", format!("POST /v1/tasks/{}/cancel", task(&shop)), nothing(), 409),
            ("shop operator", run(&shop, "POST") + "/cancel", nothing(), 200),
            ("shop viewer", "GET /v1/events/stream?trigger=pay.t".to_owned(), nothing(), 403),
            ("ingest", "GET /v1/events/stream".to_owned(), nothing(), 403),
        ])
        .await;
    for path in ["", "/evaluations", "/runs"].map(|path| format!("GET /v1/events/{}{path}", teams.event)) {
        let (status, shown) = teams.call("shop viewer", &path, Value::Null).await;
        let shown = shown.to_string();
        assert!(status == 200 && shown.contains("shop.t") && !shown.contains("pay.t"), "{path}: {shown}");
        assert!(teams.call("viewer", &path, Value::Null).await.1.to_string().contains("pay.t"), "{path}");
    }
    for path in ["events", "runs", "triggers", "connections", "secrets", "plugins", "status", "config/export"] {
        let (status, shown) = teams.call("shop viewer", &format!("GET /v1/{path}"), Value::Null).await;
        let shown = shown.to_string();
        assert!(status == 200 && !shown.contains("pay.") && !shown.contains("PAY_"), "{path}: {shown}");
    }
    teams.fixture.close().await;
}
