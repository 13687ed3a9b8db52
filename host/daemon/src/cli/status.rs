//! `trapjaw status`: one screen for whoever is on call: what is open, what waits and why, what is dead.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use super::client::{Call, Client};
use super::output::{Color, Output, items_of};
use super::page::ROWS_MAX;
use super::problem::Refusal;
use super::table::{Column, Kind};
use super::{Health, dead, table, words};

/// How many rows of a list are shown; the first ones are where to begin.
const ROWS_SHOWN_MAX: usize = 12;
/// For how long the intake is watched to tell its rate: long enough for a figure, short enough to wait for.
const WATCH_TIME: Duration = Duration::from_secs(1);

/// Shows it; says `Bad` when a person must act.
pub(super) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<Health> {
    let (readiness, body) = client.ask(Call::get(&["readyz"])).await?;
    let (before, begun) = (read_status(client).await?, Instant::now());
    let groups = client.call(Call::get(&["v1", "dead-letters", "groups"])).await?.value()?;
    let (open, is_partial) = open_work(client).await?;
    tokio::time::sleep(WATCH_TIME.saturating_sub(begun.elapsed())).await;
    let status = read_status(client).await?;
    let rate = rate(&before, &status, begun.elapsed());
    let unready = (!readiness.is_success()).then(|| Refusal::read(readiness, &body));
    let complaints = complaints(unready.as_ref(), &status, &open, &groups);
    let whole = json!({
        "healthy": complaints.is_empty(), "complaints": complaints,
        "ready": readiness == StatusCode::OK, "events_per_s": rate, "status": status,
        "open": open, "open_is_partial": is_partial, "dead": items_of(&groups),
    });
    let found = Found { complaints: &complaints, status: &status, rate, open: &open, is_partial, groups: &groups };
    output.value(&whole, |output| {
        let lines = screen(output, client.base().as_str(), &found);
        output.lines(lines)
    })?;
    Ok(if complaints.is_empty() { Health::Good } else { Health::Bad })
}

/// What was found, for the screen.
struct Found<'a> {
    complaints: &'a [String],
    status: &'a Value,
    rate: Option<f64>,
    open: &'a [Value],
    is_partial: bool,
    groups: &'a Value,
}

async fn read_status(client: &Client) -> anyhow::Result<Value> {
    client.call(Call::get(&["v1", "status"])).await?.value()
}

/// Events that came in a second between two looks; none when the daemon began anew in between.
fn rate(before: &Value, after: &Value, passed: Duration) -> Option<f64> {
    let count = |status: &Value| status.get("events_accepted").and_then(Value::as_u64);
    let n_new = count(after)?.checked_sub(count(before)?)?;
    Some((n_new as f64 / passed.as_secs_f64() * 10.0).round() / 10.0)
}

const OPEN: &[Column] = &[
    Column::new("TASKS", "/tasks"),
    Column::of("STATE", "/state", Kind::State),
    Column::new("TRIGGER", "/trigger"),
    Column::of("OLDEST", "/oldest", Kind::Age),
    Column::of("NEXT", "/next", Kind::Age),
];

const CONNECTIONS: &[Column] = &[
    Column::new("NAME", "/name"),
    Column::new("KIND", "/kind"),
    Column::of("STATE", "/state", Kind::State),
    Column::new("SENDING", "/sending"),
];
const LANES: &[Column] = &[
    Column::new("TRIGGER", "/trigger"),
    Column::new("RUNS", "/runs"),
    Column::new("READY", "/ready"),
    Column::new("BUSY", "/busy"),
    Column::new("MORE", "/more"),
];

/// The open tasks by state, reason and trigger, of the newest page of runs in each state; and whether there are more.
async fn open_work(client: &Client) -> anyhow::Result<(Vec<Value>, bool)> {
    let (mut runs, mut seen, mut is_partial) = (Vec::new(), HashSet::new(), false);
    for state in OPEN_STATES {
        let call = Call::get(&["v1", "runs"]).query("state", Some(state)).query("limit", Some(ROWS_MAX));
        let answer = client.call(call).await?.value()?;
        is_partial |= answer.get("next").is_some_and(|next| !next.is_null());
        // A run that changes its state between two of these calls is counted once.
        runs.extend(items_of(&answer).iter().filter(|run| seen.insert(run["id"].to_string())).cloned());
    }
    Ok((tally(&runs), is_partial))
}

/// How many open tasks there are by state, reason and trigger, the most first.
fn tally(runs: &[Value]) -> Vec<Value> {
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut groups: BTreeMap<_, (u64, Option<String>, Option<String>)> = BTreeMap::new();
    for run in runs {
        for task in run.get("tasks").and_then(Value::as_array).into_iter().flatten() {
            let Some(state) = text(task, "state").filter(|state| OPEN_STATES.contains(&state.as_str())) else {
                continue;
            };
            let group = groups.entry((state, text(task, "waiting_for"), text(run, "trigger"))).or_default();
            // Times in RFC 3339 and UTC stand in the order of their text, to the second.
            let earliest = |one: Option<String>, other: Option<String>| one.into_iter().chain(other).min();
            group.0 += 1;
            group.1 = earliest(group.1.take(), text(run, "created"));
            group.2 = earliest(group.2.take(), text(task, "due"));
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (tasks, _, _))| std::cmp::Reverse(*tasks));
    let row = |((state, waiting_for, trigger), (tasks, oldest, next))| json!({"tasks": tasks, "state": state, "waiting_for": waiting_for, "trigger": trigger, "oldest": oldest, "next": next});
    groups.into_iter().map(row).collect()
}

/// The states of tasks that something is yet to happen to.
const OPEN_STATES: [&str; 4] = ["running", "waiting", "scheduled", "held"];

/// What a person must look at, the most urgent first.
fn complaints(unready: Option<&Refusal>, status: &Value, open: &[Value], groups: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    complaints.extend(unready.map(|refusal| format!("not ready: {}", refusal.message)));
    for connection in status.get("connections").and_then(Value::as_array).into_iter().flatten() {
        let name = connection.get("name").map_or_else(|| words::ABSENT.into(), words::brief);
        match connection.get("state").and_then(Value::as_str) {
            Some("enabled") | None => {}
            Some(state) => complaints.push(format!("connection {name} is {}", words::one_line(state))),
        }
    }
    let count = |row: &Value| row.get("tasks").and_then(Value::as_u64);
    let n_held: u64 = open.iter().filter(|row| row["state"] == "held").filter_map(count).sum();
    if n_held > 0 {
        complaints.push(format!("{} held for a person to decide", words::count(n_held, "task")));
    }
    let n_dead: u64 = items_of(groups).iter().filter_map(|group| group.get("count")?.as_u64()).sum();
    if n_dead > 0 {
        complaints.push(format!("{} to be redriven or dropped", words::count(n_dead, "dead letter")));
    }
    complaints
}

fn screen(output: &Output, base: &str, found: &Found<'_>) -> Vec<String> {
    let Found { complaints, status, rate, open, is_partial, groups } = found;
    let mut lines = Vec::new();
    if complaints.is_empty() {
        lines.push(output.paint(Color::Green, &format!("{base} is healthy")));
    } else {
        lines.push(output.paint(Color::Red, &format!("{base} needs a person")));
        lines.extend(
            complaints.iter().map(|complaint| output.paint(Color::Red, &format!("  ! {}", words::one_line(complaint)))),
        );
    }
    lines.extend(rate.map(|rate| format!("  {rate:.1} events/s come in")));
    if let Value::Object(fields) = status {
        lines.extend(gauges(fields));
        for (name, value) in fields {
            lines.extend(section(output, name, value));
        }
    }
    if !open.is_empty() {
        let of_which =
            if *is_partial { format!(" (of the newest {ROWS_MAX} runs in each state)") } else { String::new() };
        lines.extend(["".into(), format!("open tasks, and what they wait for{of_which}")]);
        lines.extend(indent(table::of_items(OPEN, &open[..open.len().min(ROWS_SHOWN_MAX)], output.now())));
        lines.push("  look: trapjaw run ls --state waiting --trigger TRIGGER".into());
    }
    let dead = items_of(groups);
    if !dead.is_empty() {
        lines.extend(["".into(), "dead letters by cause".into()]);
        let shown = &dead[..dead.len().min(ROWS_SHOWN_MAX)];
        lines.extend(indent(table::of_items(dead::GROUPS, shown, output.now())));
        lines.push("  look: trapjaw dead ls --cause CAUSE    try again: trapjaw dead redrive --cause CAUSE".into());
    }
    lines
}

/// The plain numbers and words of a part, in two columns.
fn gauges(fields: &Map<String, Value>) -> Vec<String> {
    let plain = |value: &Value| !matches!(value, Value::Object(_) | Value::Array(_) | Value::Null);
    let rows = fields.iter().filter(|(_, value)| plain(value));
    let row = |(name, value): (&String, &Value)| {
        let shown = match value.as_u64() {
            Some(bytes) if name.ends_with("bytes") || name.contains("_bytes_") => words::size(bytes),
            Some(_) | None => words::brief(value),
        };
        vec![words::one_line(&name.replace('_', " ")), shown]
    };
    indent(table::align(rows.map(row).collect()))
}

/// A part of the status: gauges under their name, or the rows of a list.
fn section(output: &Output, name: &str, value: &Value) -> Vec<String> {
    let title = || ["".to_owned(), words::one_line(&name.replace('_', " "))];
    match value {
        Value::Object(fields) if !fields.is_empty() => title().into_iter().chain(gauges(fields)).collect(),
        Value::Array(rows) if !rows.is_empty() => {
            let shown = &rows[..rows.len().min(ROWS_SHOWN_MAX)];
            let (mut lines, columns) = match name {
                "connections" => (title().into(), Some(CONNECTIONS)),
                "lanes" => (vec!["".to_owned(), "triggers with open work in memory".to_owned()], Some(LANES)),
                _ => (Vec::from(title()), None),
            };
            let table = |columns| table::of_items(columns, shown, output.now());
            lines.extend(indent(columns.map_or_else(|| rows_of(output, shown), table)));
            if rows.len() > ROWS_SHOWN_MAX {
                lines.push(format!("  and {} more", rows.len() - ROWS_SHOWN_MAX));
            }
            lines
        }
        _ => Vec::new(),
    }
}

/// Rows with a column for each field of the first.
fn rows_of(output: &Output, rows: &[Value]) -> Vec<String> {
    let Some(Value::Object(first)) = rows.first() else { return rows.iter().map(words::brief).collect() };
    let head = first.keys().map(|name| words::one_line(&name.replace('_', " ")).to_uppercase()).collect();
    let cell = |row: &Value, name: &String| match row.get(name) {
        Some(Value::String(text)) if text.parse::<jiff::Timestamp>().is_ok() => words::age(output.now(), text),
        found => words::brief(found.unwrap_or(&Value::Null)),
    };
    let cells = rows.iter().map(|row| first.keys().map(|name| cell(row, name)).collect());
    table::align(std::iter::once(head).chain(cells).collect())
}

fn indent(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::*;

    fn found<'a>(complaints: &'a [String], status: &'a Value, open: &'a [Value], groups: &'a Value) -> Found<'a> {
        Found { complaints, status, rate: Some(12.5), open, is_partial: false, groups }
    }

    #[test]
    fn a_healthy_daemon_has_no_complaints() {
        let (output, _) = Output::captured(Format::Table);
        let status = json!({
            "connections": [{"kind": "webhook", "name": "crm", "sending": 2, "state": "enabled"}],
            "events_accepted": 3, "lanes": [{"busy": 2, "more": false, "ready": 0, "runs": 2, "trigger": "vip"}],
            "program": "0.1.0", "wal_bytes": 2048,
        });
        let groups = json!({"items": [], "next": null});
        let complaints = complaints(None, &status, &[], &groups);
        assert!(complaints.is_empty());
        let expected = [
            "http://h/ is healthy",
            "  12.5 events/s come in",
            "  events accepted  3",
            "  program          0.1.0",
            "  wal bytes        2.0 KiB",
            "",
            "connections",
            "  NAME  KIND     STATE    SENDING",
            "  crm   webhook  enabled  2",
            "",
            "triggers with open work in memory",
            "  TRIGGER  RUNS  READY  BUSY  MORE",
            "  vip      2     0      2     false",
        ];
        assert_eq!(screen(&output, "http://h/", &found(&complaints, &status, &[], &groups)), expected);
    }

    #[test]
    fn the_rate_is_of_one_life() {
        let check = |before: Value, after: Value, expected| {
            let status = |count: Value| json!({"events_accepted": count});
            assert_eq!(rate(&status(before), &status(after), Duration::from_millis(1_250)), expected);
        };
        check(json!(100), json!(100), Some(0.0));
        check(json!(100), json!(131), Some(24.8));
        check(json!(100), json!(31), None);
        check(json!(null), json!(31), None);
    }

    #[test]
    fn what_a_person_must_do_stands_first() {
        let (output, _) = Output::captured(Format::Table);
        let status = json!({"connections": [{"kind": "webhook", "name": "crm", "sending": 0, "state": "paused"}]});
        let task = |state, reason| json!({"state": state, "waiting_for": reason, "due": "2026-01-01T12:00:30Z"});
        let open = tally(&[
            json!({"trigger": "vip", "created": "2026-01-01T11:00:00Z", "tasks": [task("waiting", Some("breaker")), task("succeeded", None)]}),
            json!({"trigger": "vip", "created": "2026-01-01T11:30:00Z", "tasks": [task("waiting", Some("breaker"))]}),
            json!({"trigger": "b", "created": "2026-01-01T11:30:00Z", "tasks": [task("held", None)]}),
        ]);
        let groups = json!({"items": [{"cause": "http 410", "trigger": "vip", "count": 2, "first": "2026-01-01T10:00:00Z", "last": "2026-01-01T11:00:00Z"}]});
        let refusal = Refusal::read(StatusCode::SERVICE_UNAVAILABLE, br#"{"detail": "the disk is full"}"#);
        let complaints = complaints(Some(&refusal), &status, &open, &groups);
        assert_eq!(
            complaints,
            [
                "not ready: the disk is full",
                "connection crm is paused",
                "1 task held for a person to decide",
                "2 dead letters to be redriven or dropped"
            ]
        );
        let found = Found { is_partial: true, ..found(&complaints, &status, &open, &groups) };
        let lines = screen(&output, "http://h/", &found);
        assert_eq!(lines[0], "http://h/ needs a person");
        for expected in [
            "  NAME  KIND     STATE   SENDING",
            "open tasks, and what they wait for (of the newest 1000 runs in each state)",
            "  TASKS  STATE              TRIGGER  OLDEST  NEXT",
            "  2      waiting (breaker)  vip      60m     in 30s",
            "  2      vip      60m   http 410",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
    }
}
