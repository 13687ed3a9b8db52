//! `trapjaw trigger`: look at triggers, switch them, try them on recorded events and fire them by hand.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Answer, Call, Client};
use super::output::{Output, items_of, yaml};
use super::table::{Column, Kind};
use super::{Usage, input, verdict, words};

/// What is done with triggers.
#[derive(Debug, Subcommand)]
pub(crate) enum TriggerCommand {
    /// List triggers.
    Ls,
    /// Show a trigger as YAML.
    Get {
        /// The trigger.
        name: String,
    },
    /// Let a trigger make runs.
    Enable {
        /// The trigger.
        name: String,
    },
    /// Keep a trigger from making runs; those that began end.
    Disable {
        /// The trigger.
        name: String,
    },
    /// Let a trigger's runs wait; nothing is lost.
    Pause {
        /// The trigger.
        name: String,
    },
    /// Let a paused trigger's runs go on.
    Resume {
        /// The trigger.
        name: String,
    },
    /// Run a trigger's actions now, whatever its patterns, conditions and limits say.
    Fire(FireArgs),
    /// Say why a trigger did or did not act on an event, leaf by leaf.
    Explain {
        /// The trigger.
        name: String,
        /// The event's id, such as `evt_000000000000001`.
        event: String,
    },
    /// Judge recorded events by a trigger in a file, without acting: what would have matched, and why.
    Try(TryArgs),
}

/// What a trigger is fired with.
#[derive(Debug, Args)]
pub(crate) struct FireArgs {
    /// The trigger.
    name: String,
    /// The recorded event to fire with.
    #[arg(long, conflicts_with = "data", value_name = "ID")]
    event: Option<String>,
    /// The data of a new event to fire with.
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// The new event's type; `manual` when absent.
    #[arg(long = "type", conflicts_with = "event", value_name = "TYPE")]
    kind: Option<String>,
    /// Whom or what the new event is about.
    #[arg(long, conflicts_with = "event")]
    subject: Option<String>,
    /// Show what would be sent, and send nothing.
    #[arg(long)]
    dry: bool,
}

/// Which trigger is tried, on which events.
#[derive(Debug, Args)]
pub(crate) struct TryArgs {
    /// A YAML file with the trigger, or with `triggers:` as for `apply`; `-` for standard input.
    file: PathBuf,
    /// How many of the last events, 1 to 1000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000), value_name = "N")]
    last: u32,
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name"),
    Column::of("STATE", "/state", Kind::State),
    Column::new("VERSION", "/version"),
    Column::of("CHANGED", "/at", Kind::Age),
    Column::new("DESCRIPTION", "/description"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: TriggerCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        TriggerCommand::Ls => {
            let call = Call::get(&["v1", "triggers"]).query("limit", Some(super::page::ROWS_MAX));
            output.listing(&client.call(call).await?, COLUMNS, "no triggers")
        }
        TriggerCommand::Get { name } => {
            let answer = client.call(Call::get(&["v1", "triggers", &name])).await?;
            output.answer(&answer, |output, value| Ok(output.line(yaml(value)?.trim_end())?))
        }
        TriggerCommand::Enable { name } => switch(client, &name, "enable", "enabled", output).await,
        TriggerCommand::Disable { name } => switch(client, &name, "disable", "disabled", output).await,
        TriggerCommand::Pause { name } => switch(client, &name, "pause", "paused", output).await,
        TriggerCommand::Resume { name } => switch(client, &name, "resume", "enabled", output).await,
        TriggerCommand::Fire(args) => fire(client, args, output).await,
        TriggerCommand::Explain { name, event } => {
            let call = Call::post(&["v1", "triggers", &name, "explain"]).json(&json!({"event": event}));
            output.answer(&client.call(call).await?, |output, value| show_explained(output, &name, value))
        }
        TriggerCommand::Try(args) => try_file(client, args, output).await,
    }
}

async fn switch(client: &Client, name: &str, verb: &str, word: &str, output: &mut Output) -> anyhow::Result<()> {
    let answer = client.call(Call::post(&["v1", "triggers", name, verb])).await?;
    output.answer(&answer, |output, _| Ok(output.line(&format!("{} is {word}", words::one_line(name)))?))
}

async fn fire(client: &Client, args: FireArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut body = Map::new();
    if let Some(event) = args.event {
        body.insert("event".into(), event.into());
    }
    if let Some(data) = args.data {
        body.insert("data".into(), input::json("--data", &data)?);
    }
    body.extend(args.kind.map(|kind| ("type".to_owned(), kind.into())));
    body.extend(args.subject.map(|subject| ("subject".to_owned(), subject.into())));
    if args.dry {
        body.insert("dry".into(), true.into());
    }
    let answer = client.call(Call::post(&["v1", "triggers", &args.name, "fire"]).json(&body.into())).await?;
    output.answer(&answer, |output, value| {
        if args.dry {
            output.note("nothing was sent; this is what would be:");
            let previews = value.get("previews").unwrap_or(value);
            return Ok(output.lines(words::lines(&yaml(previews)?))?);
        }
        let run = value.get("run").map_or_else(|| words::ABSENT.into(), words::brief);
        output.line(&run)?;
        output.note(&format!("`trapjaw run get {run}` shows what becomes of it"));
        Ok(())
    })
}

fn show_explained(output: &mut Output, name: &str, value: &Value) -> anyhow::Result<()> {
    let mut lines = vec![verdict::line(output, name, value)];
    let list = |name: &str| value.get(name).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    for (place, miss) in list("patterns").iter().enumerate() {
        lines.push(format!("  on[{place}]  {}", pattern(miss)));
    }
    for leaf in list("leaves") {
        let text = |name: &str| words::brief(leaf.get(name).unwrap_or(&Value::Null));
        let holds = match leaf.get("holds").and_then(Value::as_bool) {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "cannot be said",
        };
        lines.push(format!("  {}  {holds}: {}", text("path"), text("expr")));
        for operand in leaf.get("operands").and_then(Value::as_array).into_iter().flatten() {
            // A pair: what the expression looked at, and what was there.
            let part = |place: usize| words::brief(operand.get(place).unwrap_or(&Value::Null));
            lines.push(format!("    {} = {}", part(0), part(1)));
        }
    }
    let evaluations = list("evaluations");
    // With a single subject the first line has said it all.
    if evaluations.len() > 1 {
        for evaluation in evaluations {
            let subject = words::brief(evaluation.get("subject").unwrap_or(&Value::Null));
            lines.push(format!("  {}", verdict::line(output, &format!("subject {subject}"), evaluation)));
        }
    }
    Ok(output.lines(lines)?)
}

/// Whether a pattern matches, or the field that keeps it from that.
fn pattern(miss: &Value) -> String {
    let Some(field) = miss.get("field") else { return "matches".into() };
    let found = miss.get("found").filter(|found| !found.is_null());
    let found = found.map_or_else(|| "nothing".into(), words::brief);
    format!("does not match: {} is {found}", words::brief(field))
}

async fn try_file(client: &Client, args: TryArgs, output: &mut Output) -> anyhow::Result<()> {
    let document = input::yaml(&input::read(&args.file, input::TEXT_BYTES_MAX)?)
        .with_context(|| format!("read {}", args.file.display()))?;
    for (name, trigger) in triggers_of(document, &args.file)? {
        let body = json!({"trigger": trigger, "last": args.last});
        let answer = client.call(Call::post(&["v1", "triggers", &name, "try"]).json(&body)).await?;
        show_tried(output, &name, &answer)?;
    }
    Ok(())
}

/// The triggers of a file, by name: those of a whole document, or the one that the file is.
fn triggers_of(document: Value, file: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let Value::Object(mut document) = document else { bail!(Usage("the file has no trigger".into())) };
    match document.remove("triggers") {
        Some(Value::Object(triggers)) if !triggers.is_empty() => Ok(triggers.into_iter().collect()),
        Some(_) => bail!(Usage("the file has no trigger under `triggers:`".into())),
        None if !document.contains_key("on") => {
            bail!(Usage("the file has neither `triggers:` nor a trigger's `on:`".into()))
        }
        None => {
            let name = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-").unwrap_or("trial");
            Ok(vec![(name.to_owned(), document.into())])
        }
    }
}

fn show_tried(output: &mut Output, name: &str, answer: &Answer) -> anyhow::Result<()> {
    output.answer(answer, |output, value| {
        let items = items_of(value);
        for item in items {
            let text = |name: &str| item.get(name).map_or_else(|| words::ABSENT.into(), words::brief);
            let line = verdict::line(output, &format!("{} {} {}", text("event"), text("source"), text("type")), item);
            output.line(&line)?;
        }
        let is_match = |item: &&Value| item.get("verdict").and_then(Value::as_str) == Some("matched");
        let n_matched = items.iter().filter(is_match).count();
        let name = words::one_line(name);
        Ok(output.line(&format!("{name}: {n_matched} of {} match", words::count(items.len() as u64, "event")))?)
    })
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::*;

    fn names(yaml: &str, file: &str) -> Result<Vec<String>, String> {
        let found = triggers_of(input::yaml(yaml.as_bytes()).unwrap(), Path::new(file));
        found.map(|found| found.into_iter().map(|(name, _)| name).collect()).map_err(|err| err.to_string())
    }

    #[test]
    fn a_file_is_a_trigger_or_has_some() {
        assert_eq!(names("triggers: {a: {}, b: {}}", "x.yaml").unwrap(), ["a", "b"]);
        assert_eq!(names("{on: {type: [a]}, do: []}", "dir/shop.vip.yaml").unwrap(), ["shop.vip"]);
        assert_eq!(names("{on: [], do: []}", "-").unwrap(), ["trial"]);
        assert!(names("triggers: {}", "x").unwrap_err().contains("no trigger"));
        assert!(names("connections: {}", "x").unwrap_err().contains("neither"));
        assert!(names("- 1", "x").is_err());
    }

    #[test]
    fn trials_read_well() {
        let (mut output, captured) = Output::captured(Format::Table);
        let text = r#"{"items": [
            {"event": "evt_2", "source": "s", "type": "t", "verdict": "matched"},
            {"event": "evt_1", "source": "s", "type": "u", "verdict": "not-matched", "leaf": "on", "reason": "type is u"}]}"#;
        show_tried(&mut output, "vip", &Answer { text: text.into() }).unwrap();
        let expected = "✓ matched      evt_2 s t\n· not-matched  evt_1 s u  on: type is u\nvip: 1 of 2 events match\n";
        assert_eq!(captured.text(), expected);
    }

    #[test]
    fn explanations_show_all_there_is() {
        let (mut output, captured) = Output::captured(Format::Table);
        // As the daemon answers.
        let missed = json!({
            "verdict": "not-matched", "leaf": "on.data.total", "reason": "the event has 50 there, which the pattern does not want",
            "patterns": [{"field": "data.total", "found": "50"}, {"field": "data.id", "found": null}], "evaluations": [], "leaves": [],
        });
        show_explained(&mut output, "vip", &missed).unwrap();
        let judged = json!({
            "verdict": "not-matched", "leaf": "when[0]", "reason": null, "patterns": [null],
            "evaluations": [{"leaf": "when[0]", "subject": "c-1", "trigger": "vip", "verdict": "not-matched", "version": 1}],
            "leaves": [{"path": "when[0]", "expr": "!event.data.test", "holds": false, "operands": [["event.data.test", "true"]]}],
        });
        show_explained(&mut output, "vip", &judged).unwrap();
        let expected = [
            "· not-matched  vip  on.data.total: the event has 50 there, which the pattern does not want",
            "  on[0]  does not match: data.total is 50",
            "  on[1]  does not match: data.id is nothing",
            "· not-matched  vip  when[0]",
            "  on[0]  matches",
            "  when[0]  does not hold: !event.data.test",
            "    event.data.test = true",
        ];
        assert_eq!(captured.text().lines().collect::<Vec<_>>(), expected);
    }
}
