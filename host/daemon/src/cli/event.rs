//! `trapjaw event`: publish events, and look at those that were taken.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::bail;
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Call, Client};
use super::input::{self, Moment};
use super::output::Output;
use super::page::PageArgs;
use super::table::{Column, Kind};
use super::{Usage, tail, verdict, words};

/// What is done with events.
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Publish one event or a batch: CloudEvents in JSON, or with --type any JSON. From standard input when no file is named.
    Publish(PublishArgs),
    /// List events, newest first.
    Ls(ListArgs),
    /// Show an event, what every trigger said to it, and its runs.
    Get {
        /// The event's id, such as `evt_000000000000001`.
        id: String,
    },
    /// Show events as they come in, until it is interrupted.
    Tail(TailArgs),
}

/// What is published, and with which attributes.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The event's type. With it, the file holds the event's data; without it, whole CloudEvents.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Where the event happened; with --type only.
    #[arg(long, requires = "kind")]
    source: Option<String>,
    /// Whom or what it is about; with --type only.
    #[arg(long, requires = "kind")]
    subject: Option<String>,
    /// The event's own id: the same one again is a duplicate; with --type only.
    #[arg(long, requires = "kind")]
    id: Option<String>,
    /// The event's data, in the place of a file; with --type only.
    #[arg(long, requires = "kind", conflicts_with = "file", value_name = "JSON")]
    data: Option<String>,
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Of this CloudEvents source.
    #[arg(long)]
    source: Option<String>,
    /// With this CloudEvents id.
    #[arg(long)]
    id: Option<String>,
    /// Of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Taken at this time or later; `1h` is an hour ago.
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Taken before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    #[command(flatten)]
    page: PageArgs,
}

/// Which live events are shown, and how.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// With the verdict, and its reason, of each trigger whose pattern matched; why a pattern did not match an event is
    /// told by `trapjaw trigger explain`.
    #[arg(long)]
    pub(super) why: bool,
    /// Of this CloudEvents source.
    #[arg(long)]
    pub(super) source: Option<String>,
    /// Of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub(super) kind: Option<String>,
    /// That this trigger's pattern matched.
    #[arg(long)]
    pub(super) trigger: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("ID", "/id"),
    Column::of("AGE", "/received", Kind::Age),
    Column::new("SOURCE", "/event/source"),
    Column::new("TYPE", "/event/type"),
    Column::new("SUBJECT", "/event/subject"),
    Column::new("EVENT ID", "/event/id"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: EventCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        EventCommand::Publish(args) => publish(client, args, output).await,
        EventCommand::Ls(args) => {
            let now = output.now();
            let call = Call::get(&["v1", "events"])
                .query("source", args.source)
                .query("id", args.id)
                .query("type", args.kind)
                .query("since", args.since.map(|since| since.before(now)))
                .query("until", args.until.map(|until| until.before(now)));
            output.listing(&client.call(args.page.of(call)).await?, COLUMNS, "no events")
        }
        EventCommand::Get { id } => get(client, &id, output).await,
        EventCommand::Tail(args) => tail::run(client, args, output).await,
    }
}

async fn publish(client: &Client, args: PublishArgs, output: &mut Output) -> anyhow::Result<()> {
    let text: Bytes = match &args.data {
        Some(data) => data.clone().into(),
        None => {
            let file = args.file.as_deref().unwrap_or("-".as_ref());
            if file == Path::new("-") && io::stdin().is_terminal() {
                output.note("type the event, then Ctrl-D on a line of its own");
            }
            input::read(file, input::TEXT_BYTES_MAX)?.into()
        }
    };
    let content_type = if args.kind.is_some() { "application/json" } else { cloudevents_type(&text)? };
    let call = Call::post(&["v1", "events"])
        .query("type", args.kind)
        .query("source", args.source)
        .query("subject", args.subject)
        .query("id", args.id)
        .body(content_type, text);
    let answer = client.call(call).await?;
    output.answer(&answer, |output, value| {
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (accepted, duplicates) = (number("accepted"), number("duplicates"));
        let repeated =
            if duplicates > 0 { format!(", {}", words::count(duplicates, "duplicate")) } else { String::new() };
        output.line(&format!("{} accepted{repeated}", words::count(accepted, "event")))?;
        let ids = value.get("ids").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
        Ok(output.lines(ids.iter().map(words::brief))?)
    })
}

/// The media type of CloudEvents in JSON: one, or a batch.
// What decides is what the daemon decides by too; the body itself goes out as it was given.
fn cloudevents_type(text: &[u8]) -> anyhow::Result<&'static str> {
    match serde_json::from_slice(text) {
        Ok(Value::Array(_)) => Ok("application/cloudevents-batch+json"),
        Ok(Value::Object(event)) if event.contains_key("specversion") => Ok("application/cloudevents+json"),
        Ok(_) => bail!(Usage(
            "this is no CloudEvent (it has no `specversion`): name --type to publish it as an event's data".into()
        )),
        Err(err) => bail!(Usage(format!("the event is not JSON: {err}"))),
    }
}

async fn get(client: &Client, id: &str, output: &mut Output) -> anyhow::Result<()> {
    let answer = client.call(Call::get(&["v1", "events", id])).await?;
    let evaluations = client.find(Call::get(&["v1", "events", id, "evaluations"])).await?;
    let runs = client.find(Call::get(&["v1", "events", id, "runs"])).await?;
    output.answer(&answer, |output, value| {
        let received = value.get("received").and_then(Value::as_str).map_or_else(String::new, words::moment);
        output.line(&format!("{}  received {received}", words::one_line(id)))?;
        output.lines(words::lines(&format!("{:#}", value.get("event").unwrap_or(value))))?;
        if let Some(evaluations) = evaluations {
            output.line("")?;
            show_evaluations(output, &evaluations.value()?)?;
        }
        if let Some(runs) = runs {
            output.line("")?;
            output.listing(&runs, super::run::COLUMNS, "no runs")?;
        }
        Ok(())
    })
}

fn show_evaluations(output: &mut Output, evaluations: &Value) -> anyhow::Result<()> {
    let items = super::output::items_of(evaluations);
    if items.is_empty() {
        output.line("no trigger's pattern matches it; `trapjaw trigger explain` says why")?;
    }
    for evaluation in items {
        let trigger = evaluation.get("trigger").and_then(Value::as_str).unwrap_or(words::ABSENT);
        let line = verdict::line(output, trigger, evaluation);
        output.line(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloudevents_are_told_from_other_json() {
        let check = |text: &str, expected: Option<&str>| {
            let found = cloudevents_type(text.as_bytes());
            assert_eq!(found.as_ref().ok().copied(), expected, "{text}");
            assert!(found.err().is_none_or(|err| err.is::<Usage>()));
        };
        check(r#"{"specversion": "1.0"}"#, Some("application/cloudevents+json"));
        check("[]", Some("application/cloudevents-batch+json"));
        check(r#"{"order": 1}"#, None);
        check("{", None);
        check("", None);
    }
}
