//! `trapjaw diff`, `apply`, `validate` and `export`: the whole configuration as one document.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::client::{Answer, Call, Client};
use super::document::{Component, Document};
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
    /// Upload components that the daemon lacks, so that what uses them can be checked; none becomes active.
    #[arg(long)]
    upload: bool,
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
    /// With --dry-run: upload components that the daemon lacks, so that what uses them can be checked; none becomes active.
    #[arg(long, requires = "dry_run")]
    upload: bool,
}

/// What is checked.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The document; `-` for standard input.
    file: PathBuf,
    /// Upload components that the daemon lacks, so that what uses them can be checked; none becomes active.
    #[arg(long)]
    upload: bool,
}

/// Shows what applying the document would change.
pub(super) async fn diff(client: &Client, args: DiffArgs, output: &mut Output) -> anyhow::Result<()> {
    let document = Document::read(&args.file)?;
    compare(client, document, args.prune, args.upload, output).await
}

/// Applies the document.
pub(super) async fn apply(client: &Client, args: ApplyArgs, output: &mut Output) -> anyhow::Result<()> {
    let mut document = Document::read(&args.file)?;
    if args.dry_run {
        return compare(client, document, args.prune, args.upload, output).await;
    }
    let lacking = name_versions(client, &mut document).await?;
    upload(client, &mut document, lacking, output).await?;
    let call = Call::post(&["v1", "config", "apply"]).query("prune", Some(args.prune)).json(&document.body);
    output.answer(&client.call(call).await?, |output, value| show(output, value, false))
}

async fn compare(
    client: &Client,
    mut document: Document,
    prune: bool,
    may_upload: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let swapped = prepare(client, &mut document, may_upload, output).await?;
    let call = Call::post(&["v1", "config", "diff"]).query("prune", Some(prune)).json(&document.body);
    let answer = note_swapped(client.call(call).await?, &swapped)?;
    output.answer(&answer, |output, value| show(output, value, true))
}

/// Has the daemon check the document.
pub(super) async fn validate(client: &Client, args: ValidateArgs, output: &mut Output) -> anyhow::Result<Health> {
    let mut document = Document::read(&args.file)?;
    prepare(client, &mut document, args.upload, output).await?;
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

/// Makes a document ready to be checked: uploads the components that the daemon lacks, or leaves them out and says so.
/// Gives the plugins that were left out; applying the document would give them another version.
async fn prepare(
    client: &Client,
    document: &mut Document,
    may_upload: bool,
    output: &mut Output,
) -> anyhow::Result<Vec<String>> {
    let lacking = name_versions(client, document).await?;
    if may_upload {
        upload(client, document, lacking, output).await?;
        return Ok(Vec::new());
    }
    for component in &lacking {
        let version = component.version.as_deref().unwrap_or("(named by its digest)");
        let (name, size) = (words::one_line(&component.plugin), words::size(component.bytes.len() as u64));
        output.note(&format!("would upload plugin {name} {version} ({size})"));
        document.clear_version(&component.plugin);
    }
    if !lacking.is_empty() {
        output
            .note("what uses it is checked against the version that is active now; --upload uploads it for the check");
    }
    Ok(lacking.into_iter().map(|component| component.plugin).collect())
}

/// Names the versions in the document under which the daemon has its components, and gives those that it lacks.
async fn name_versions(client: &Client, document: &mut Document) -> anyhow::Result<Vec<Component>> {
    let mut lacking = Vec::new();
    for component in std::mem::take(&mut document.components) {
        match plugin::find_version(client, &component).await? {
            Some(version) => document.set_version(&component.plugin, version),
            None => lacking.push(component),
        }
    }
    Ok(lacking)
}

/// Uploads components, and names their versions in the document. None becomes active by that.
async fn upload(
    client: &Client,
    document: &mut Document,
    components: Vec<Component>,
    output: &mut Output,
) -> anyhow::Result<()> {
    for component in components {
        let name = component.plugin.clone();
        let version = plugin::upload(client, component, false).await?.version;
        output.note(&format!("uploaded plugin {} {}", words::one_line(&name), words::one_line(&version)));
        document.set_version(&name, version);
    }
    Ok(())
}

/// The daemon's comparison, with plugins as updated whose new version it does not know of.
fn note_swapped(answer: Answer, swapped: &[String]) -> anyhow::Result<Answer> {
    if swapped.is_empty() {
        return Ok(answer);
    }
    let mut value = answer.value()?;
    for change in value.get_mut("changes").and_then(Value::as_array_mut).into_iter().flatten() {
        let is_swapped = swapped.iter().any(|name| change["name"] == **name);
        if change["kind"] == "plugin" && change["change"] == "unchanged" && is_swapped {
            change["change"] = "updated".into();
        }
    }
    Ok(Answer { text: value.to_string() })
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

    #[test]
    fn a_version_that_the_daemon_lacks_is_a_change() {
        let text = r#"{"changes":[{"kind":"plugin","name":"p","change":"unchanged","version":1},{"kind":"trigger","name":"p","change":"unchanged","version":1}],"n":1e400}"#;
        let same = note_swapped(Answer { text: text.into() }, &[]).unwrap();
        assert_eq!(same.text, text, "as it came");
        let text = text.replace(",\"n\":1e400", "");
        let changed = note_swapped(Answer { text }, &["p".into()]).unwrap().value().unwrap();
        assert_eq!(changed.pointer("/changes/0/change"), Some(&json!("updated")));
        assert_eq!(changed.pointer("/changes/1/change"), Some(&json!("unchanged")));
    }
}
