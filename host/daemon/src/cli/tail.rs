//! `trapjaw event tail`: events as they come in, for as long as somebody watches.

use std::time::Duration;

use serde_json::Value;

use super::args::Format;
use super::client::{Call, Client};
use super::event::TailArgs;
use super::output::Output;
use super::problem::Refusal;
use super::sse::{Message, Parser};
use super::{verdict, words};

/// The wait before the first try to connect again; it doubles with each try.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest wait between tries to connect.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Shows events until it is interrupted. A stream that is lost is opened again; what happened meanwhile is missing,
/// and it says so.
pub(super) async fn run(client: &Client, args: TailArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut wait = WAIT_FIRST;
    let mut connected_once = false;
    loop {
        match watch(client, &args, output, connected_once).await {
            Ok(()) => {
                (wait, connected_once) = (WAIT_FIRST, true);
                output.note("the stream ended");
            }
            Err(End::Final(err)) => return Err(err),
            // The first connection tells a wrong address from a daemon that restarts.
            Err(End::Lost { connected: false, err }) if !connected_once => return Err(err),
            Err(End::Lost { connected, err }) => {
                if connected {
                    (wait, connected_once) = (WAIT_FIRST, true);
                }
                output.note(&format!("lost the stream: {err:#}"));
            }
        }
        output.note(&format!("connecting again in {:.1} s; events of this time are not shown", wait.as_secs_f64()));
        tokio::time::sleep(wait).await;
        wait = next_wait(wait);
    }
}

/// How a stream ended.
enum End {
    /// Another try cannot help.
    Final(anyhow::Error),
    /// Another try may help.
    Lost { connected: bool, err: anyhow::Error },
}

async fn watch(client: &Client, args: &TailArgs, output: &mut Output, again: bool) -> Result<(), End> {
    let call = Call::get(&["v1", "events", "stream"])
        .query("source", args.source.as_ref())
        .query("type", args.kind.as_ref())
        .query("trigger", args.trigger.as_ref());
    let opened = client.stream(call).await;
    let mut stream = opened.map_err(|err| match err.downcast_ref::<Refusal>() {
        Some(refusal) if !may_pass(refusal.status.as_u16()) => End::Final(err),
        Some(_) | None => End::Lost { connected: false, err },
    })?;
    if again {
        output.note("connected again");
    }
    let mut parser = Parser::default();
    loop {
        let part = stream.chunk().await.map_err(|err| End::Lost { connected: true, err: err.without_url().into() })?;
        let Some(part) = part else { return Ok(()) };
        for message in parser.feed(&part).map_err(|err| End::Final(err.into()))? {
            show(output, &message, args.why).map_err(End::Final)?;
        }
    }
}

/// Whether a refusal with this status may be gone at the next try: a busy daemon, or one behind a proxy that restarts.
const fn may_pass(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

fn next_wait(wait: Duration) -> Duration {
    wait.saturating_mul(2).min(WAIT_MAX)
}

fn show(output: &mut Output, message: &Message, why: bool) -> anyhow::Result<()> {
    if output.format() == Format::Json && message.kind == "event" {
        // One line for each event, as it came, so that a script can read while it runs.
        return Ok(output.line(&message.data.replace('\n', " "))?);
    }
    let Ok(value) = serde_json::from_str::<Value>(&message.data) else {
        output.note(&format!("{}: {}", words::one_line(&message.kind), words::one_line(&message.data)));
        return Ok(());
    };
    if message.kind == "lagged" {
        let n_lost = value.get("lost").and_then(Value::as_u64).unwrap_or(0);
        output.note(&format!("too slow: {} not shown", words::count(n_lost, "event")));
        return Ok(());
    }
    if output.format() == Format::Yaml {
        return Ok(output.line(&format!("---\n{}", super::output::yaml(&value)?.trim_end()))?);
    }
    output.line(&event_line(&value))?;
    if why {
        let evaluations = value.get("evaluations").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        if evaluations.is_empty() {
            output.line("    no trigger's pattern matches it")?;
        }
        for evaluation in evaluations {
            let trigger = evaluation.get("trigger").and_then(Value::as_str).unwrap_or(words::ABSENT);
            let line = verdict::line(output, trigger, evaluation);
            output.line(&format!("    {line}"))?;
        }
    }
    Ok(())
}

fn event_line(value: &Value) -> String {
    let text = |pointer: &str| value.pointer(pointer).map_or_else(|| words::ABSENT.into(), words::brief);
    let received = value.get("received").and_then(Value::as_str).map_or_else(|| words::ABSENT.into(), words::moment);
    let n_runs = value.get("runs").and_then(Value::as_array).map_or(0, Vec::len);
    let subject =
        value.pointer("/event/subject").map_or_else(String::new, |subject| format!(" {}", words::brief(subject)));
    let (id, source, kind) = (text("/id"), text("/event/source"), text("/event/type"));
    format!("{received}  {id}  {source} {kind}{subject}  {}", words::count(n_runs as u64, "run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, kind: &str, data: &str, why: bool, expected: &str) {
        let (mut output, captured) = Output::captured(format);
        show(&mut output, &Message { kind: kind.into(), data: data.into() }, why).unwrap();
        assert_eq!(captured.text(), expected);
    }

    #[test]
    fn live_events_read_well() {
        let data = r#"{"id":"evt_1","received":"2026-01-02T03:04:05.678Z","event":{"source":"shop","type":"order.paid","subject":"7"},
            "evaluations":[{"trigger":"a","verdict":"matched"},{"trigger":"b","verdict":"not-matched","leaf":"when[0]","reason":"no"}],
            "runs":["run_1"]}"#;
        let line = "2026-01-02 03:04:05.678Z  evt_1  shop order.paid 7  1 run\n";
        check(Format::Table, "event", data, false, line);
        check(
            Format::Table,
            "event",
            data,
            true,
            &format!("{line}    ✓ matched      a\n    · not-matched  b  when[0]: no\n"),
        );
        let unmatched = r#"{"id":"evt_2","received":"2026-01-02T03:04:05.678Z","event":{"source":"shop","type":"x"},"evaluations":[],"runs":[]}"#;
        let line = "2026-01-02 03:04:05.678Z  evt_2  shop x  0 runs\n    no trigger's pattern matches it\n";
        check(Format::Table, "event", unmatched, true, line);
        check(Format::Json, "event", "{\"n\":\n1e400}", true, "{\"n\": 1e400}\n");
        check(Format::Table, "lagged", r#"{"lost": 12}"#, false, "too slow: 12 events not shown\n");
        check(Format::Table, "x", "no json", false, "x: no json\n");
    }

    #[test]
    fn waits_grow_to_a_bound() {
        let waits: Vec<_> = std::iter::successors(Some(WAIT_FIRST), |wait| Some(next_wait(*wait))).take(8).collect();
        assert_eq!(waits[1], Duration::from_secs(1));
        assert_eq!(waits[7], WAIT_MAX);
        assert!(may_pass(503) && !may_pass(401));
    }
}
