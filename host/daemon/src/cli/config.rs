//! `trapjaw diff`, `apply`, `validate` and `export`: the whole configuration as one document.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::{Call, Client};
use super::document::Document;
use super::output::{Color, Output, yaml};
use super::{Health, plugin, words};
use crate::cli::args::Format;

/// What is compared.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The document; `-` for standard input.
    file: PathBuf,
    /// Show too what a pruning apply would remove.
    #[arg(long)]
    prune: bool,
    /// Upload no component; the daemon has to know the versions that the document names.
    #[arg(long)]
    no_upload: bool,
}

/// What is applied.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The document; `-` for standard input.
    file: PathBuf,
    /// Remove triggers, connections and plugins that the document does not name.
    #[arg(long)]
    prune: bool,
    /// Change nothing; show what would change.
    #[arg(long)]
    dry_run: bool,
}

/// What is checked.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The document; `-` for standard input.
    file: PathBuf,
    /// Upload no component; the daemon has to know the versions that the document names.
    #[arg(long)]
    no_upload: bool,
}

/// Shows what applying the document would change.
pub(super) async fn diff(client: &Client, args: DiffArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut document = Document::read(&args.file)?;
    if !args.no_upload {
        upload(client, &mut document, output).await?;
    }
    send(client, &document, args.prune, true, output).await
}

/// Applies the document.
pub(super) async fn apply(client: &Client, args: ApplyArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut document = Document::read(&args.file)?;
    upload(client, &mut document, output).await?;
    send(client, &document, args.prune, args.dry_run, output).await
}

/// Has the daemon check the document.
pub(super) async fn validate(client: &Client, args: ValidateArgs, output: &mut Output) -> anyhow::Result<Health> {
    let mut document = Document::read(&args.file)?;
    if !args.no_upload {
        upload(client, &mut document, output).await?;
    }
    let answer = client.call(Call::post(&["v1", "config", "validate"]).json(&document.body)).await?;
    let value = answer.value()?;
    let problems = value.get("errors").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let health = if problems.is_empty() { Health::Good } else { Health::Bad };
    output.answer(&answer, |output, _| {
        for problem in problems {
            let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
            output.line(&words::one_line(&format!("{}: {}", text("path"), text("message"))))?;
        }
        if problems.is_empty() {
            output.line("the document is valid")?;
        }
        Ok(())
    })?;
    Ok(health)
}

/// Prints the configuration.
pub(super) async fn export(client: &Client, output: &mut Output) -> anyhow::Result<()> {
    let answer = client.call(Call::get(&["v1", "config", "export"])).await?;
    match output.format() {
        Format::Json => Ok(output.line(answer.text.trim_end())?),
        // The document is for a file: there is no other way to show it to people.
        Format::Yaml | Format::Table => Ok(output.line(yaml(&answer.value()?)?.trim_end())?),
    }
}

/// Uploads the components that the daemon lacks, and names the versions of all in the document.
///
/// An uploaded version is not active, and so changes nothing: that is why a comparison may upload. Without it, no
/// document with a new plugin could be checked before it is applied.
async fn upload(client: &Client, document: &mut Document, output: &mut Output) -> anyhow::Result<()> {
    for component in document.components.clone() {
        let name = component.plugin.clone();
        let version = match plugin::find_version(client, &component).await? {
            Some(version) => version,
            None => {
                let version = plugin::upload(client, component, false).await?.version;
                output.note(&format!("uploaded {name} {version}"));
                version
            }
        };
        document.set_version(&name, version);
    }
    Ok(())
}

async fn send(
    client: &Client,
    document: &Document,
    prune: bool,
    dry_run: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let verb = if dry_run { "diff" } else { "apply" };
    let call = Call::post(&["v1", "config", verb]).query("prune", Some(prune)).json(&document.body);
    let answer = client.call(call).await?;
    output.answer(&answer, |output, value| show(output, value, dry_run))
}

fn show(output: &mut Output, value: &Value, dry_run: bool) -> anyhow::Result<()> {
    let changes = value.get("changes").and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
    let text = |item: &Value, name: &str| words::brief(item.get(name).unwrap_or(&Value::Null));
    let mut counts = Vec::new();
    for (word, mark, color) in [
        ("created", "+", Some(Color::Green)),
        ("updated", "~", Some(Color::Grey)),
        ("removed", "-", Some(Color::Red)),
        ("unchanged", "", None),
    ] {
        let items: Vec<&Value> = changes.iter().filter(|item| item["change"] == *word).collect();
        for item in items.iter().filter(|_| color.is_some()) {
            let line = format!("{mark} {} {}", text(item, "kind"), text(item, "name"));
            let line = color.map_or(line.clone(), |color| output.paint(color, &line));
            output.line(&line)?;
        }
        counts.push(format!("{} {word}", items.len()));
    }
    let would = if dry_run { "would be: " } else { "" };
    let revision = value.get("revision").and_then(Value::as_i64).filter(|_| !dry_run);
    let revision = revision.map_or_else(String::new, |revision| format!(" (revision {revision})"));
    Ok(output.line(&format!("{would}{}{revision}", counts.join(", ")))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_read_well() {
        let value = json!({"revision": 7, "applied": true, "changes": [
            {"kind": "secret", "name": "S", "change": "created", "version": null},
            {"kind": "trigger", "name": "b", "change": "updated", "version": 1},
            {"kind": "trigger", "name": "a", "change": "created", "version": null},
            {"kind": "plugin", "name": "p", "change": "removed", "version": 3},
            {"kind": "connection", "name": "c", "change": "unchanged", "version": 1},
        ]});
        let changes = "+ secret S\n+ trigger a\n~ trigger b\n- plugin p\n";
        for (dry_run, end) in [
            (false, "2 created, 1 updated, 1 removed, 1 unchanged (revision 7)\n"),
            (true, "would be: 2 created, 1 updated, 1 removed, 1 unchanged\n"),
        ] {
            let (mut output, captured) = Output::captured(Format::Table);
            show(&mut output, &value, dry_run).unwrap();
            assert_eq!(captured.text(), format!("{changes}{end}"));
        }
    }
}
