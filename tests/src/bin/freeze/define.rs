//! What is defined in the sample: secrets, connections, tokens, plugins and triggers, some of them changed or removed.

use anyhow::Context;
use serde_json::{Value, json};
use trapjaw_tests::Bench;

/// One for each path of the receiver.
const CONNECTIONS: [&str; 13] = [
    "out", "archive", "chat", "audit", "first", "second", "third", "ordered", "retried", "redriven", "dropped", "held",
    "misused",
];
/// A component that no compiler made, which spins before it can be asked.
const SPINS: &str = "plugins/hostile/wat/start-spins.wat";

/// Defines everything; gives the tokens.
pub(crate) async fn define(bench: &Bench) -> anyhow::Result<Value> {
    let receiver = bench.receiver.url("");
    for (name, value) in [("RECEIVER", &*receiver), ("SIGNING", Bench::SIGNING), ("KEY", "first"), ("GONE", "x")] {
        bench.api.put(&format!("/v1/secrets/{name}"), &json!({"value": value})).await?.ok()?;
    }
    bench.api.put("/v1/secrets/KEY", &json!({"value": "the key of the sample"})).await?.ok()?;
    bench.api.delete("/v1/secrets/GONE").await?.ok()?;
    connections(bench).await?;
    plugins(bench).await?;
    triggers(bench).await?;
    tokens(bench).await
}

async fn connections(bench: &Bench) -> anyhow::Result<()> {
    for name in CONNECTIONS {
        let mut definition = json!({
            "kind": "webhook",
            "url": format!("{{{{ secret.RECEIVER }}}}/{name}"),
            "signing": "{{ secret.SIGNING }}",
            "allow_private": true,
        });
        match name {
            "out" => definition["headers"] = json!({"x-key": "{{ secret.KEY }}", "x-team": "growth"}),
            // Credentials that stand in a connection itself, which is sealed.
            "chat" => definition["auth"] = json!({"bearer": "a-literal-credential"}),
            "audit" => definition["auth"] = json!({"basic": {"user": "ann", "password": "another-credential"}}),
            _ => {}
        }
        bench.api.put(&format!("/v1/connections/{name}"), &definition).await?.ok()?;
    }
    bench.connect("gone").await;
    bench.api.delete("/v1/connections/gone").await?.ok()?;
    bench.post("/v1/connections/held/pause").await;
    Ok(())
}

async fn plugins(bench: &Bench) -> anyhow::Result<()> {
    bench.push("big-push", "1.0.0", "big-push").await;
    bench.push("big-push", "1.1.0", "big-push").await;
    bench.post("/v1/plugins/big-push/rollback").await;
    bench.push("announce", "1.0.0", "announce").await;
    bench.grant("announce", json!({"connections": ["chat", "audit"], "state": true})).await;
    bench.push("hostile-action", "1.0.0", "hostile-action").await;
    bench.grant("hostile-action", json!({"connections": ["misused"], "secrets": ["KEY"]})).await;
    bench.push_bytes("spins", "1.0.0", wat::parse_file(SPINS).context("read component")?).await;
    Ok(())
}

async fn triggers(bench: &Bench) -> anyhow::Result<()> {
    let sends = |kind: &str, connection: &str, policy: Value| json!({"on": {"type": [kind]}, "do": [{"send": connection}], "policy": policy});
    let mut paid = paid();
    paid["description"] = json!("As it was at first.");
    bench.trigger("kept.paid", paid.clone()).await;
    paid["state"] = json!("disabled");
    bench.trigger("kept.paid", paid).await;
    bench.trigger("kept.paid", self::paid()).await;

    bench.trigger("kept.archive", sends_prefix("archive.", "archive")).await;
    bench.trigger("kept.capped", sends("capped", "out", json!({"limit": {"runs": 1}}))).await;
    let cooled = json!({"limit": {"runs": 5, "in": "3000d", "per": "subject"}, "cooldown": "3000d"});
    bench.trigger("kept.cooled", sends("cooled", "out", cooled)).await;
    let mut fanned = sends("fanned", "out", json!({}));
    fanned["subject"] = json!(["{{ event.data.buyer }}", "{{ event.data.seller }}"]);
    bench.trigger("kept.fanned", fanned).await;

    let mut broken = sends("broken", "out", json!({}));
    broken["when"] = json!([{"expr": "event.data.n / 0 > 1"}]);
    bench.trigger("kept.broken", broken).await;
    let mut spins = sends("spins", "out", json!({}));
    spins["when"] = json!([{"plugin": "spins"}]);
    bench.trigger("kept.spins", spins).await;
    let announce =
        json!({"plugin": "announce", "config": {"title": "Größe"}, "connections": {"chat": "chat", "audit": "audit"}});
    let pushes = json!({"on": {"type": ["push"]}, "when": [{"plugin": "big-push", "config": {"min_commits": 2}}], "do": [announce]});
    bench.trigger("kept.pushes", pushes).await;
    let misdeeds = json!({"plugin": "hostile-action", "config": "{{ event.data }}", "connections": {"out": "misused"}});
    let misdeeds = json!({"on": {"type": ["misdeed"]}, "do": [misdeeds], "policy": {"retry": {"attempts": 1}}});
    bench.trigger("kept.misdeeds", misdeeds).await;
    let chain = json!([
        {"name": "a", "send": "first"},
        {"name": "b", "send": "second", "needs": ["a"], "body": {"second": "{{ event.data }}"}},
        {"name": "c", "send": "third", "needs": ["b"], "body": {"got": "{{ tasks.a.output }}"}},
    ]);
    bench.trigger("kept.chain", json!({"on": {"type": ["chain"]}, "do": chain})).await;

    let later = json!({"not_before": "{{ event.data.at }}"});
    bench.trigger("kept.later", sends("later", "out", later)).await;
    let asked = json!({"not_before": "{{ event.data.at }}", "recheck": true});
    bench.trigger("kept.asked-later", sends("asked-later", "out", asked)).await;
    bench.trigger("kept.rechecked", rechecked("true")).await;
    let ordered = json!({"order_by": "subject", "retry": {"first": "3s", "factor": 1}});
    bench.trigger("kept.ordered", sends("ordered", "ordered", ordered)).await;
    let retried = json!({"retry": {"first": "50ms", "factor": 1, "attempts": 5}});
    bench.trigger("kept.retried", sends("retried", "retried", retried)).await;
    for name in ["redriven", "dropped", "held"] {
        bench.trigger(&format!("kept.{name}"), sends(name, name, json!({}))).await;
    }
    bench.trigger("kept.paused", sends("paused", "out", json!({}))).await;
    bench.post("/v1/triggers/kept.paused/pause").await;
    bench.trigger("kept.manual", sends("manual.only", "out", json!({}))).await;
    bench.trigger("gone", sends("gone", "out", json!({}))).await;
    Ok(())
}

fn sends_prefix(prefix: &str, connection: &str) -> Value {
    json!({"on": [{"type": [{"prefix": prefix}]}], "do": [{"send": connection}]})
}

/// A trigger with a word of most kinds.
fn paid() -> Value {
    json!({
        "description": "Größe zählt – 数える",
        "state": "enabled",
        "on": [{"type": ["order.paid"], "data": {"total": [{"numeric": [">=", 10]}]}}, {"type": [{"prefix": "invoice."}]}],
        "subject": "{{ event.data.customer }}",
        "when": [{"any": [{"expr": "event.data.vip"}, {"not": {"expr": "event.data.total < 100"}}]}],
        "do": [{
            "name": "tell",
            "send": "out",
            "key": "{{ event.data.customer }}",
            "with": {"headers": {"x-order": "{{ event.id }}"}},
            "body": {"who": "{{ event.data.customer }}", "total": "{{ event.data.total }}", "text": "{{ event.data.text }}"},
            "timeout": "10s",
        }],
        "policy": {"rate": "100/s", "concurrency": 5, "on_error": "no"},
    })
}

/// A trigger that asks once more after a moment.
pub(crate) fn rechecked(expr: &str) -> Value {
    let policy = json!({"delay": "2s", "recheck": true});
    json!({"on": {"type": ["rechecked"]}, "when": [{"expr": expr}], "do": [{"send": "out"}], "policy": policy})
}

async fn tokens(bench: &Bench) -> anyhow::Result<Value> {
    let mut tokens = json!({});
    for definition in [
        json!({"name": "feeder", "scopes": ["ingest"], "sources": ["sample"]}),
        json!({"name": "kept.reader", "scopes": ["viewer", "call"], "prefixes": ["kept"], "expires": "2200-01-01T00:00:00Z"}),
        json!({"name": "removed", "scopes": ["admin"]}),
    ] {
        let made = bench.api.post("/v1/tokens", &definition).await?.ok()?;
        let name = definition["name"].as_str().context("read the name of a token")?;
        tokens[name] = made["token"].clone();
    }
    bench.api.delete("/v1/tokens/removed").await?.ok()?;
    Ok(tokens)
}
