//! `trapjaw status`: one screen for whoever is on call: what is open, what waits and why, what is dead.

use std::collections::BTreeMap;

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

/// Shows it; says `Bad` when a person must act.
pub(super) async fn run(client: &Client, output: &mut Output) -> anyhow::Result<Health> {
    let (readiness, body) = client.ask(Call::get(&["readyz"])).await?;
    let status = client.call(Call::get(&["v1", "status"])).await?.value()?;
    let groups = client.call(Call::get(&["v1", "dead-letters", "groups"])).await?.value()?;
    let open = open_work(client).await?;
    let unready = (!readiness.is_success()).then(|| Refusal::read(readiness, &body));
    let complaints = complaints(unready.as_ref(), &status, &open, &groups);
    let whole = json!({
        "healthy": complaints.is_empty(), "complaints": complaints,
        "ready": readiness == StatusCode::OK, "status": status, "open": open, "dead": items_of(&groups),
    });
    output.value(&whole, |output| {
        let lines = screen(output, client.base().as_str(), &complaints, &status, &open, &groups);
        output.lines(lines)
    })?;
    Ok(if complaints.is_empty() { Health::Good } else { Health::Bad })
}

const OPEN: &[Column] = &[
    Column::new("TASKS", "/tasks"),
    Column::of("STATE", "/state", Kind::State),
    Column::new("TRIGGER", "/trigger"),
    Column::of("OLDEST", "/oldest", Kind::Age),
    Column::of("NEXT", "/next", Kind::Age),
];

/// The open tasks by state, reason and trigger, of the newest page of runs in each state.
async fn open_work(client: &Client) -> anyhow::Result<Vec<Value>> {
    let mut runs = Vec::new();
    for state in OPEN_STATES {
        let call = Call::get(&["v1", "runs"]).query("state", Some(state)).query("limit", Some(ROWS_MAX));
        let answer = client.call(call).await?.value()?;
        runs.extend(items_of(&answer).iter().cloned());
    }
    Ok(tally(&runs))
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
            Some("enabled" | "closed") | None => {}
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

fn screen(
    output: &Output,
    base: &str,
    complaints: &[String],
    status: &Value,
    open: &[Value],
    groups: &Value,
) -> Vec<String> {
    let mut lines = Vec::new();
    if complaints.is_empty() {
        lines.push(output.paint(Color::Green, &format!("{base} is healthy")));
    } else {
        lines.push(output.paint(Color::Red, &format!("{base} needs a person")));
        lines.extend(
            complaints.iter().map(|complaint| output.paint(Color::Red, &format!("  ! {}", words::one_line(complaint)))),
        );
    }
    if let Value::Object(fields) = status {
        lines.extend(gauges(fields));
        for (name, value) in fields {
            lines.extend(section(output, name, value));
        }
    }
    if !open.is_empty() {
        lines.extend(["".into(), "open tasks, and what they wait for".into()]);
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
            let mut lines: Vec<String> = title().into();
            lines.extend(indent(rows_of(output, &rows[..rows.len().min(ROWS_SHOWN_MAX)])));
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

    #[test]
    fn a_healthy_daemon_has_no_complaints() {
        let (output, _) = Output::captured(Format::Table);
        let status =
            json!({"revision": 3, "connections": [{"name": "crm", "state": "enabled"}], "store": {"disk_bytes": 2048}});
        let groups = json!({"items": []});
        let complaints = complaints(None, &status, &[], &groups);
        assert!(complaints.is_empty());
        let expected = [
            "http://h/ is healthy",
            "  revision  3",
            "",
            "connections",
            "  NAME  STATE",
            "  crm   enabled",
            "",
            "store",
            "  disk bytes  2.0 KiB",
        ];
        assert_eq!(screen(&output, "http://h/", &complaints, &status, &[], &groups), expected);
    }

    #[test]
    fn what_a_person_must_do_stands_first() {
        let (output, _) = Output::captured(Format::Table);
        let status = json!({"connections": [{"name": "crm", "kind": "webhook", "state": "paused"}]});
        let task = |state, reason| json!({"state": state, "waiting_for": reason, "due": "2026-01-01T12:00:30Z"});
        let open = tally(&[
            json!({"trigger": "vip", "created": "2026-01-01T11:00:00Z", "tasks": [task("waiting", Some("breaker")), task("succeeded", None)]}),
            json!({"trigger": "vip", "created": "2026-01-01T11:30:00Z", "tasks": [task("waiting", Some("breaker"))]}),
            json!({"trigger": "b", "created": "2026-01-01T11:30:00Z", "tasks": [task("held", None)]}),
        ]);
        let groups =
            json!({"items": [{"cause": "http 410", "trigger": "vip", "count": 2, "last": "2026-01-01T11:00:00Z"}]});
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
        let lines = screen(&output, "http://h/", &complaints, &status, &open, &groups);
        assert_eq!(lines[0], "http://h/ needs a person");
        for expected in [
            "  KIND     NAME  STATE",
            "  TASKS  STATE              TRIGGER  OLDEST  NEXT",
            "  2      waiting (breaker)  vip      60m     in 30s",
            "  2      vip      60m   http 410",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{expected}: {lines:#?}");
        }
    }
}
