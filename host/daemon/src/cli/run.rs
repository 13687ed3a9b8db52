//! `trapjaw run`: look at runs with all they did, and cancel them.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Call, Client};
use super::input::Moment;
use super::output::{Color, Output};
use super::page::PageArgs;
use super::table::{self, Column, Kind};
use super::words;

/// What is done with runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first.
    Ls(ListArgs),
    /// Show a run: its tasks, their attempts, and what they sent.
    Get {
        /// The run's id, such as `run_000000000000001`.
        id: String,
    },
    /// End a run's open tasks.
    Cancel {
        /// The run's id.
        id: String,
    },
}

/// Which runs.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Of this trigger.
    #[arg(long)]
    trigger: Option<String>,
    /// In this state, such as `waiting` or `dead`.
    #[arg(long)]
    state: Option<String>,
    /// Of this event.
    #[arg(long)]
    event: Option<String>,
    /// About this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Begun at this time or later; `1h` is an hour ago.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Begun before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    #[command(flatten)]
    page: PageArgs,
}

/// The columns of a listing of runs.
pub(super) const COLUMNS: &[Column] = &[
    Column::new("ID", "/id"),
    Column::of("AGE", "/created", Kind::Age),
    Column::of("STATE", "/state", Kind::State),
    Column::new("TRIGGER", "/trigger"),
    Column::new("SUBJECT", "/subject"),
    Column::of("TASKS", "/tasks", Kind::Count),
    Column::new("EVENT", "/event_id"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: RunCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        RunCommand::Ls(args) => {
            let now = output.now();
            let call = Call::get(&["v1", "runs"])
                .query("trigger", args.trigger)
                .query("state", args.state)
                .query("event", args.event)
                .query("subject", args.subject)
                .query("since", args.since.map(|since| since.before(now)))
                .query("until", args.until.map(|until| until.before(now)));
            output.listing(&client.call(args.page.of(call)).await?, COLUMNS, "no runs")
        }
        RunCommand::Get { id } => {
            let answer = client.call(Call::get(&["v1", "runs", &id])).await?;
            output.answer(&answer, |output, run| {
                let lines = tree(output, run);
                Ok(output.lines(lines)?)
            })
        }
        RunCommand::Cancel { id } => {
            let answer = client.call(Call::post(&["v1", "runs", &id, "cancel"])).await?;
            output.answer(&answer, |output, _| Ok(output.line(&format!("{} is cancelled", words::one_line(&id)))?))
        }
    }
}

/// The run as a tree: run → tasks → attempts and sends, with what the attempts said.
fn tree(output: &Output, run: &Value) -> Vec<String> {
    let state = painted_state(output, run);
    let mut lines = vec![format!("{}  {}  {state}", text(run, "id"), text(run, "trigger"))];
    let begun = run.get("created").and_then(Value::as_str).unwrap_or_default();
    let took = run.get("ended").and_then(Value::as_str).and_then(|ended| words::millis_between(begun, ended));
    let took = took.map_or_else(String::new, |millis| format!(", took {}", milliseconds(millis)));
    let begun = words::moment(begun);
    lines.push(format!("event {}  subject {}  begun {begun}{took}", text(run, "event_id"), text(run, "subject")));
    for evaluation in list(run, "evaluations") {
        lines.push(format!("judged {}{}", text(evaluation, "verdict"), super::verdict::why(evaluation)));
    }
    let tasks = list(run, "tasks");
    for (place, task) in tasks.iter().enumerate() {
        let is_last = place + 1 == tasks.len();
        let (branch, rail) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push(format!("{branch}{}", task_line(output, task)));
        lines.extend(task_lines(output, task).into_iter().map(|line| format!("{rail}{line}").trim_end().to_owned()));
    }
    lines
}

fn task_line(output: &Output, task: &Value) -> String {
    let action = task.get("action").and_then(Value::as_str).filter(|action| !action.is_empty()).unwrap_or("(judging)");
    let due = task.get("due").and_then(Value::as_str);
    let due = due.map_or_else(String::new, |due| format!("  next {}", words::age(output.now(), due)));
    format!("{}  {}  {}{due}", words::one_line(action), text(task, "id"), painted_state(output, task))
}

fn task_lines(output: &Output, task: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for attempt in list(task, "attempts") {
        lines.extend(attempt_lines(output, attempt));
    }
    for send in list(task, "sends") {
        let status = send.get("status").and_then(Value::as_u64);
        let status = status.map_or_else(String::new, |status| format!("  answered {status}"));
        let at = send.get("at").and_then(Value::as_str).map_or_else(|| words::ABSENT.into(), words::moment);
        lines.push(format!("→ {}  {at}{status}  key {}", text(send, "connection"), text(send, "key")));
    }
    lines
}

/// What an attempt's detail has under a name, unless there is nothing to it.
fn of_attempt<'a>(attempt: &'a Value, name: &str) -> Option<&'a Value> {
    attempt.get("detail")?.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

fn attempt_lines(output: &Output, attempt: &Value) -> Vec<String> {
    let started = attempt.get("started").and_then(Value::as_str).unwrap_or_default();
    let took = attempt.get("ended").and_then(Value::as_str).and_then(|ended| words::millis_between(started, ended));
    let took = took.map_or_else(String::new, |millis| format!("  {}", milliseconds(millis)));
    let result = text(attempt, "result");
    let result = match result.as_str() {
        "failed" | "dead" => output.paint(Color::Red, &result),
        "succeeded" => output.paint(Color::Green, &result),
        _ => result,
    };
    let mut lines = vec![format!("attempt {}  {}{took}  {result}", text(attempt, "number"), words::moment(started))];
    let word = |name: &str| of_attempt(attempt, name).map(|value| format!("{}: ", words::brief(value)));
    if let Some(reason) = of_attempt(attempt, "reason") {
        lines.extend(block(&word("kind").unwrap_or_default(), reason));
    }
    for name in ["connection", "status", "answer", "plugin", "actor", "diverged"] {
        if let Some(value) = of_attempt(attempt, name) {
            let shown = value.get("version").map_or_else(
                || words::brief(value),
                |version| format!("{} {}", text(value, "name"), words::brief(version)),
            );
            lines.push(format!("  {name} {}", words::cut(shown, OUTPUT_CHARS_MAX)));
        }
    }
    for line in of_attempt(attempt, "log").and_then(Value::as_array).into_iter().flatten() {
        // A line is a pair: its level and its text.
        let part = |place: usize| line.get(place).map_or_else(|| words::ABSENT.into(), words::brief);
        lines.push(format!("  {:<5} {}", part(0), part(1)));
    }
    if let Some(n_dropped) = of_attempt(attempt, "log_dropped").and_then(Value::as_u64) {
        lines.push(format!("  {} of the log dropped", words::count(n_dropped, "line")));
    }
    for name in ["stderr", "backtrace"] {
        if let Some(Value::String(written)) = of_attempt(attempt, name) {
            lines.push(format!("  {name}:"));
            lines.extend(words::lines(written).map(|line| format!("    {line}")));
        }
    }
    if let Some(value) = of_attempt(attempt, "output") {
        lines.push(format!("  output: {}", words::cut(words::brief(value), OUTPUT_CHARS_MAX)));
    }
    lines
}

/// How much of an action's output is shown; `-o json` shows all.
const OUTPUT_CHARS_MAX: usize = 200;

fn block(title: &str, value: &Value) -> Vec<String> {
    let written = value.as_str().map_or_else(|| words::brief(value), str::to_owned);
    let mut title = Some(title);
    words::lines(&written).map(|line| format!("  {}{line}", title.take().unwrap_or("  "))).collect()
}

fn painted_state(output: &Output, item: &Value) -> String {
    let word = item.get("state").and_then(Value::as_str).unwrap_or(words::ABSENT);
    let shown = table::state(word, item);
    match word {
        "dead" => output.paint(Color::Red, &shown),
        "succeeded" => output.paint(Color::Green, &shown),
        "skipped" | "cancelled" => output.paint(Color::Grey, &shown),
        _ => shown,
    }
}

fn milliseconds(millis: i64) -> String {
    if millis < 10_000 { format!("{millis} ms") } else { words::short_span(millis.unsigned_abs() / 1_000) }
}

fn text(item: &Value, name: &str) -> String {
    words::brief(item.get(name).unwrap_or(&Value::Null))
}

fn list<'a>(item: &'a Value, name: &str) -> &'a [Value] {
    item.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_reads_as_a_tree() {
        let (output, _) = Output::captured(Format::Table);
        let run = json!({
            "id": "run_1", "trigger": "shop.vip", "state": "waiting", "waiting_for": "retry", "event_id": "evt_1", "subject": "7",
            "created": "2026-01-01T11:59:00Z", "ended": null,
            "tasks": [
                {"id": "tsk_1", "action": "crm", "state": "succeeded",
                 "attempts": [{"number": 1, "started": "2026-01-01T11:59:00Z", "ended": "2026-01-01T11:59:00.012Z", "result": "succeeded"}],
                 "sends": [{"connection": "crm-webhook", "at": "2026-01-01T11:59:00.011Z", "key": "k1", "status": 200}]},
                {"id": "tsk_2", "action": "reserve", "state": "waiting", "waiting_for": "retry", "due": "2026-01-01T12:00:30Z",
                 "attempts": [{"number": 1, "started": "2026-01-01T11:59:00Z", "ended": "2026-01-01T11:59:20Z", "result": "failed",
                     "detail": {"reason": "unreachable\nin perform", "kind": "trap", "log": [["warn", "low stock"]], "log_dropped": 1,
                                "plugin": {"name": "reserve", "version": "1.2.0", "digest": "aa"}, "stderr": "panicked", "backtrace": "0: reserve::perform\n1: main"}}]}
            ]
        });
        let expected = [
            "run_1  shop.vip  waiting (retry)",
            "event evt_1  subject 7  begun 2026-01-01 11:59:00.000Z",
            "├─ crm  tsk_1  succeeded",
            "│  attempt 1  2026-01-01 11:59:00.000Z  12 ms  succeeded",
            "│  → crm-webhook  2026-01-01 11:59:00.011Z  answered 200  key k1",
            "└─ reserve  tsk_2  waiting (retry)  next in 30s",
            "   attempt 1  2026-01-01 11:59:00.000Z  20s  failed",
            "     trap: unreachable",
            "       in perform",
            "     plugin reserve 1.2.0",
            "     warn  low stock",
            "     1 line of the log dropped",
            "     stderr:",
            "       panicked",
            "     backtrace:",
            "       0: reserve::perform",
            "       1: main",
        ];
        assert_eq!(tree(&output, &run), expected);
    }

    #[test]
    fn a_run_with_little_is_shown_too() {
        let (output, _) = Output::captured(Format::Table);
        assert_eq!(tree(&output, &json!({"id": "run_1"}))[0], "run_1  -  -");
    }
}
