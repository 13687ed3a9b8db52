//! `trapjaw dead`: look at dead letters, try them again or drop them.

use std::collections::BTreeSet;

use anyhow::bail;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value};

use super::client::{Call, Client};
use super::output::Output;
use super::page::PageArgs;
use super::table::{Column, Kind};
use super::{Health, Usage, words};

/// What is done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters, newest first.
    Ls(ListArgs),
    /// Try dead letters again, under the same ids and idempotency keys.
    Redrive(WhichArgs),
    /// Give dead letters up, with the tasks that need them.
    Drop(WhichArgs),
}

/// Which dead letters are listed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Of this trigger.
    #[arg(long)]
    trigger: Option<String>,
    /// Of this cause.
    #[arg(long)]
    cause: Option<String>,
    /// How many there are by trigger and cause, in the place of each one.
    #[arg(long, conflicts_with_all = ["trigger", "cause"])]
    groups: bool,
    #[command(flatten)]
    page: PageArgs,
}

/// Which dead letters are meant. None is meant by default: what is dropped is gone.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("filter").args(["trigger", "cause"]).multiple(true))]
#[command(group = ArgGroup::new("which").args(["tasks", "trigger", "cause", "all"]).required(true).multiple(true))]
pub(crate) struct WhichArgs {
    /// These tasks, such as `tsk_000000000000001`.
    #[arg(value_name = "TASK", conflicts_with_all = ["filter", "all"])]
    tasks: Vec<String>,
    /// Those of this trigger.
    #[arg(long)]
    trigger: Option<String>,
    /// Those of this cause.
    #[arg(long)]
    cause: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with = "filter")]
    all: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("TASK", "/task"),
    Column::of("DIED", "/at", Kind::Age),
    Column::new("TRIGGER", "/trigger"),
    Column::new("ACTION", "/action"),
    Column::new("TRIES", "/attempts"),
    Column::new("RUN", "/run"),
    Column::new("CAUSE", "/cause"),
];

/// The columns of dead letters by cause.
pub(super) const GROUPS: &[Column] = &[
    Column::new("COUNT", "/count"),
    Column::new("TRIGGER", "/trigger"),
    Column::of("LAST", "/last", Kind::Age),
    Column::new("CAUSE", "/cause"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: DeadCommand, output: &mut Output) -> anyhow::Result<Health> {
    match command {
        DeadCommand::Ls(args) if args.groups => {
            let answer = client.call(Call::get(&["v1", "dead-letters", "groups"])).await?;
            output.listing(&answer, GROUPS, "no dead letters")?;
        }
        DeadCommand::Ls(args) => {
            let call = Call::get(&["v1", "dead-letters"]).query("trigger", args.trigger).query("cause", args.cause);
            output.listing(&client.call(args.page.of(call)).await?, COLUMNS, "no dead letters")?;
        }
        DeadCommand::Redrive(args) => return settle(client, args, "redrive", "redriven", output).await,
        DeadCommand::Drop(args) => return settle(client, args, "drop", "dropped", output).await,
    }
    Ok(Health::Good)
}

/// Moves dead letters; says `Bad` when a task that was named is none.
async fn settle(
    client: &Client,
    args: WhichArgs,
    verb: &str,
    done: &str,
    output: &mut Output,
) -> anyhow::Result<Health> {
    let n_named = args.tasks.iter().collect::<BTreeSet<_>>().len() as u64;
    let answer = client.call(Call::post(&["v1", "dead-letters", verb]).json(&body(args)?)).await?;
    let number = answer.value()?.get("count").and_then(Value::as_u64).unwrap_or(0);
    output.answer(&answer, |output, _| Ok(output.line(&format!("{} {done}", words::count(number, "dead letter")))?))?;
    if number >= n_named {
        return Ok(Health::Good);
    }
    output.note(&match n_named - number {
        1 => "1 of the tasks named is no dead letter".to_owned(),
        n_others => format!("{n_others} of the tasks named are no dead letters"),
    });
    Ok(Health::Bad)
}

fn body(args: WhichArgs) -> anyhow::Result<Value> {
    let mut body = Map::new();
    if !args.tasks.is_empty() {
        body.insert("tasks".into(), args.tasks.into());
    }
    body.extend(args.trigger.map(|trigger| ("trigger".to_owned(), trigger.into())));
    body.extend(args.cause.map(|cause| ("cause".to_owned(), cause.into())));
    if args.all {
        body.insert("all".into(), true.into());
    }
    if body.is_empty() {
        bail!(Usage("name tasks, --trigger, --cause or --all".into()));
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_choice_is_never_empty() {
        let args = |tasks: &[&str], cause: Option<&str>, all| WhichArgs {
            tasks: tasks.iter().map(|&task| task.to_owned()).collect(),
            trigger: None,
            cause: cause.map(str::to_owned),
            all,
        };
        assert_eq!(body(args(&["tsk_1"], None, false)).unwrap(), json!({"tasks": ["tsk_1"]}));
        assert_eq!(body(args(&[], Some("http 410"), false)).unwrap(), json!({"cause": "http 410"}));
        assert_eq!(body(args(&[], None, true)).unwrap(), json!({"all": true}));
        assert!(body(args(&[], None, false)).unwrap_err().is::<Usage>());
    }
}
