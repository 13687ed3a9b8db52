//! What happens in the sample: events of every form, and the work that each leaves behind, at rest in the end.

use anyhow::Context;
use serde_json::{Value, json};
use trapjaw_tests::{Bench, Reply};

use crate::define::rechecked;

/// Later than any test of this sample.
const FAR: &str = "2200-01-01T00:00:00Z";
/// To FAR from any test's now, in milliseconds, by the hostile action's reckoning.
const FAR_MS: u64 = 170 * 365 * 86_400_000;
/// Data that a parser would spoil.
const PAID: &str = r#"{"customer": "Zoë ☃", "vip": true, "total": 9007199254740993, "text": "\"<b>\" it's {{ secret.KEY }} \u0041", "none": null, "deep": [[{}]], "f": 1.10}"#;

/// Makes it all happen; gives texts that have to be found in events as they were sent.
pub(crate) async fn happen(bench: &Bench) -> anyhow::Result<Value> {
    let paid = forms(bench).await?;
    verdicts(bench).await?;
    ends(bench).await?;
    waits(bench).await?;
    definitions(bench).await?;
    Ok(json!({ paid: PAID }))
}

/// An event of source `sample`, with a subject.
async fn publish(bench: &Bench, kind: &str, id: &str, data: &Value) -> anyhow::Result<String> {
    let event = json!({"specversion": "1.0", "id": id, "source": "sample", "type": kind, "subject": "ann", "time": "2026-01-02T03:04:05.678901Z", "data": data});
    id_of(bench.api.publish(event.to_string()).await?.ok()?)
}

fn id_of(answer: Value) -> anyhow::Result<String> {
    answer["ids"][0].as_str().map(str::to_owned).context("read the id of an event")
}

/// Events in all their forms, delivered.
async fn forms(bench: &Bench) -> anyhow::Result<String> {
    let paid = format!(
        r#"{{"specversion":"1.0","id":"paid-1","source":"sample","type":"order.paid","time":"2026-01-02T03:04:05Z","dataschema":"https://example.com/schema","region":"eu","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{PAID}}}"#
    );
    let id = id_of(bench.api.publish(paid.clone()).await?.ok()?)?;
    bench.run(&id, &["succeeded"]).await;
    // Sent once more: known, and not taken.
    bench.api.publish(paid).await?.ok()?;

    let binary = |kind: &'static str, content_type: &'static str| {
        let headers = [("ce-specversion", "1.0"), ("ce-id", kind), ("ce-source", "sample"), ("ce-type", kind)];
        let request = bench.api.request(reqwest::Method::POST, "/v1/events").header("content-type", content_type);
        headers.into_iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    let image = vec![0x89, 0x50, 0x4e, 0x47, 0x00, 0xff, 0xfe];
    let mut archived = vec![
        id_of(bench.api.send(binary("archive.image", "image/png").body(image)).await?.ok()?)?,
        id_of(
            bench
                .api
                .send(binary("archive.text", "text/plain; charset=utf-8").body("schön & {not json"))
                .await?
                .ok()?,
        )?,
    ];
    let plain = "/v1/events?type=archive.plain&source=sample&subject=caf%C3%A9&id=plain";
    archived.push(id_of(bench.api.post_bytes(plain, "application/json", "[1,2]").await?.ok()?)?);
    let empty = json!({"specversion": "1.0", "id": "empty", "source": "sample", "type": "archive.empty"});
    archived.push(id_of(bench.api.publish(empty.to_string()).await?.ok()?)?);
    for id in archived {
        bench.run(&id, &["succeeded"]).await;
    }
    publish(bench, "nobody.listens", "unmatched", &json!({"a": 1})).await?;
    publish(bench, "order.paid", "pattern-missed", &json!({"total": 5})).await?;
    Ok(id)
}

/// Every verdict that there is.
async fn verdicts(bench: &Bench) -> anyhow::Result<()> {
    let poor = json!({"customer": "Bob", "vip": false, "total": 50, "text": ""});
    publish(bench, "order.paid", "not-matched", &poor).await?;
    for (id, n_commits) in [("push-1", 3), ("push-2", 1)] {
        let push = json!({"ref": "refs/heads/main", "commits": vec![json!({}); n_commits]});
        let event = publish(bench, "push", id, &push).await?;
        if n_commits > 1 {
            bench.run(&event, &["succeeded"]).await;
        }
    }
    for kind in ["capped", "cooled"] {
        let event = publish(bench, kind, &format!("{kind}-1"), &json!({})).await?;
        bench.run(&event, &["succeeded"]).await;
        publish(bench, kind, &format!("{kind}-2"), &json!({})).await?;
    }
    // An error of the evaluation, and a plugin that is too slow for the answer to the publisher.
    for kind in ["broken", "spins"] {
        let event = publish(bench, kind, kind, &json!({"n": 1})).await?;
        bench.run(&event, &["dead"]).await;
    }
    let event = publish(bench, "rechecked", "rechecked", &json!({})).await?;
    bench.trigger("kept.rechecked", rechecked("false")).await;
    bench.run(&event, &["not-matched"]).await;
    Ok(())
}

/// Every end, and what is short of one.
async fn ends(bench: &Bench) -> anyhow::Result<()> {
    let event = publish(bench, "fanned", "fanned", &json!({"buyer": "ann", "seller": "bob"})).await?;
    bench.run(&event, &["succeeded"]).await;
    bench.receiver.script("/retried", [Reply::Status(503), Reply::Full(500, Vec::new(), "not <now>".into())]);
    let event = publish(bench, "retried", "retried", &json!({})).await?;
    bench.run(&event, &["succeeded"]).await;

    let said = || Reply::Full(200, vec![("content-type", "application/json".into())], r#"{"id": "ü-7"}"#.into());
    let gone = || Reply::Full(410, Vec::new(), "gone for good".into());
    bench.receiver.script("/first", [said(), said(), said()]);
    let event = publish(bench, "chain", "chain-1", &json!({"of": 1})).await?;
    bench.run(&event, &["succeeded"]).await;
    bench.receiver.script("/second", [gone()]);
    let event = publish(bench, "chain", "chain-2", &json!({"of": 2})).await?;
    let dropped = bench.run(&event, &["dead"]).await;
    // What needs a dropped task is cancelled without an attempt.
    let task = dropped["tasks"][1]["id"].as_str().context("read the id of a task")?;
    bench.post(&format!("/v1/tasks/{task}/cancel")).await;
    bench.receiver.script("/second", [gone()]);
    let event = publish(bench, "chain", "chain-3", &json!({"of": 3})).await?;
    bench.run(&event, &["dead"]).await;
    // The chat is told, and the audit refuses: one recorded send, and a dead letter.
    bench.receiver.script("/audit", [gone()]);
    let push = json!({"ref": "refs/heads/größe", "commits": [{}, {}]});
    let event = publish(bench, "push", "push-3", &push).await?;
    bench.run(&event, &["dead"]).await;

    for (misdeed, state) in
        [("panic", "dead"), ("skip", "skipped"), ("many-sends", "succeeded"), ("fail-permanent", "dead")]
    {
        let event = publish(bench, "misdeed", misdeed, &json!({"do": misdeed, "amount": 3})).await?;
        bench.run(&event, &[state]).await;
    }
    bench.receiver.script("/redriven", [gone(), gone()]);
    let event = publish(bench, "redriven", "redriven", &json!({})).await?;
    bench.run(&event, &["dead"]).await;
    bench.api.post("/v1/dead-letters/redrive", &json!({"trigger": "kept.redriven"})).await?.ok()?;
    let is_tried = async || (bench.receiver.at("/redriven").len() == 2).then_some(());
    bench.wait("the redriven send", is_tried).await;
    bench.run(&event, &["dead"]).await;
    bench.receiver.script("/dropped", [Reply::Status(400)]);
    let event = publish(bench, "dropped", "dropped", &json!({})).await?;
    bench.run(&event, &["dead"]).await;
    bench.api.post("/v1/dead-letters/drop", &json!({"trigger": "kept.dropped"})).await?.ok()?;
    bench.run(&event, &["cancelled"]).await;
    Ok(())
}

/// Open work that rests: it waits for a time that is far, or for a person.
async fn waits(bench: &Bench) -> anyhow::Result<()> {
    for id in ["later-1", "later-2"] {
        publish(bench, "later", id, &json!({"at": FAR})).await?;
    }
    let cancelled = publish(bench, "later", "later-3", &json!({"at": FAR})).await?;
    let run = bench.run(&cancelled, &["scheduled"]).await;
    bench.post(&format!("/v1/runs/{}/cancel", run["id"].as_str().context("read the id of a run")?)).await;
    publish(bench, "asked-later", "asked-later", &json!({"at": FAR})).await?;
    let event = publish(bench, "misdeed", "resume-at", &json!({"do": "resume-at", "amount": FAR_MS})).await?;
    bench.run(&event, &["scheduled"]).await;

    // One waits for its next try, the other one for its turn; neither moves while their trigger is paused.
    bench.receiver.script("/ordered", [Reply::Status(503)]);
    let first = publish(bench, "ordered", "ordered-1", &json!({"n": 1})).await?;
    let waits = async || (bench.run(&first, &["waiting"]).await["tasks"][0]["waiting_for"] == "retry").then_some(());
    bench.wait("the failed try", waits).await;
    bench.post("/v1/triggers/kept.ordered/pause").await;
    publish(bench, "ordered", "ordered-2", &json!({"n": 2})).await?;
    for kind in ["paused", "held"] {
        let event = publish(bench, kind, kind, &json!({"text": "wartet"})).await?;
        bench.run(&event, &["waiting"]).await;
    }
    Ok(())
}

/// A trigger that was fired by hand, and one that is gone while its run is not.
async fn definitions(bench: &Bench) -> anyhow::Result<()> {
    let fired =
        bench.api.post("/v1/triggers/kept.manual/fire", &json!({"data": {"by": "hand"}, "subject": "ann"})).await?;
    bench.run(fired.ok()?["event_id"].as_str().context("read the id of an event")?, &["succeeded"]).await;
    let event = publish(bench, "gone", "gone", &json!({})).await?;
    bench.run(&event, &["succeeded"]).await;
    bench.api.delete("/v1/triggers/gone").await?.ok()?;
    Ok(())
}
