//! `trapjaw connection`: look at connections, make and test them.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{ArgGroup, Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::client::{Call, Client};
use super::output::{Color, Output};
use super::table::{Column, Kind};
use super::{Health, Usage, input, words};

/// What is done with connections.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// List connections.
    Ls,
    /// Make a connection, or change it as a whole.
    Create(CreateArgs),
    /// See whether a connection's remote can be reached and takes our credentials.
    Test {
        /// The connection.
        name: String,
    },
}

/// What a connection is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["kind", "file"]).required(true))]
pub(crate) struct CreateArgs {
    /// The connection.
    name: String,
    /// Its kind, such as `webhook`.
    #[arg(long)]
    kind: Option<String>,
    /// A YAML file with the connection, or with it under `connections:`; `-` for standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with = "settings")]
    file: Option<PathBuf>,
    /// Settings of the kind, such as `url=https://crm.example.com/hooks` or `headers={x-team: growth}`; values are YAML.
    /// Credentials belong into secrets: `signing={{ secret.CRM }}`.
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name"),
    Column::new("KIND", "/kind"),
    Column::of("STATE", "/state", Kind::State),
    Column::new("VERSION", "/version"),
    Column::of("CHANGED", "/at", Kind::Age),
    Column::new("URL", "/definition/url"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: ConnectionCommand, output: &mut Output) -> anyhow::Result<Health> {
    match command {
        ConnectionCommand::Ls => {
            let call = Call::get(&["v1", "connections"]).query("limit", Some(super::page::ROWS_MAX));
            output.listing(&client.call(call).await?, COLUMNS, "no connections")?;
        }
        ConnectionCommand::Create(args) => {
            let name = args.name.clone();
            let call = Call::new(Method::PUT, &["v1", "connections", &name]).json(&definition(args)?);
            let answer = client.call(call).await?;
            output.answer(&answer, |output, _| Ok(output.line(&format!("{} is saved", words::one_line(&name)))?))?;
        }
        ConnectionCommand::Test { name } => return test(client, &name, output).await,
    }
    Ok(Health::Good)
}

async fn test(client: &Client, name: &str, output: &mut Output) -> anyhow::Result<Health> {
    let answer = client.call(Call::post(&["v1", "connections", name, "test"])).await?;
    let value = answer.value()?;
    let health = if value.get("ok").and_then(Value::as_bool) == Some(false) { Health::Bad } else { Health::Good };
    output.answer(&answer, |output, value| {
        let name = words::one_line(name);
        let reason = value.get("message").and_then(Value::as_str);
        let line = match (health, reason) {
            (Health::Good, _) => output.paint(Color::Green, &format!("{name} works")),
            (Health::Bad, reason) => {
                let reason = words::one_line(reason.unwrap_or("the remote said no"));
                output.paint(Color::Red, &format!("{name} does not work: {reason}"))
            }
        };
        Ok(output.line(&line)?)
    })?;
    Ok(health)
}

fn definition(args: CreateArgs) -> anyhow::Result<Value> {
    if let Some(file) = args.file {
        let read = input::yaml(&input::read(&file, input::TEXT_BYTES_MAX)?)
            .with_context(|| format!("read {}", file.display()))?;
        let Some(connections) = read.get("connections") else { return Ok(read) };
        return match connections.get(&args.name) {
            Some(connection) => Ok(connection.clone()),
            None => bail!(Usage(format!("{} has no connection {}", file.display(), args.name))),
        };
    }
    let mut definition = Map::new();
    definition.extend(args.kind.map(|kind| ("kind".to_owned(), kind.into())));
    for setting in &args.settings {
        let Some((key, value)) = setting.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!(Usage(format!("`{setting}` is not of the form key=value")));
        };
        // A placeholder is text, though YAML would read its braces as a mapping.
        let value = if value.starts_with("{{") {
            value.into()
        } else {
            input::yaml(value.as_bytes()).unwrap_or_else(|_| value.into())
        };
        if definition.insert(key.to_owned(), value).is_some() {
            bail!(Usage(format!("`{key}` stands twice")));
        }
    }
    Ok(definition.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn define(settings: &[&str]) -> Result<Value, String> {
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let args = CreateArgs { name: "c".into(), kind: Some("webhook".into()), file: None, settings };
        definition(args).map_err(|err| err.to_string())
    }

    #[test]
    fn settings_keep_their_types() {
        let settings = [
            "url=http://127.0.0.1:9/?a=b",
            "allow_private=true",
            "headers={x-team: growth}",
            "signing={{ secret.CRM }}",
            "concurrency=4",
        ];
        let expected = json!({
            "kind": "webhook", "url": "http://127.0.0.1:9/?a=b", "allow_private": true, "headers": {"x-team": "growth"},
            "signing": "{{ secret.CRM }}", "concurrency": 4,
        });
        assert_eq!(define(&settings), Ok(expected));
        assert!(define(&["url"]).unwrap_err().contains("key=value"));
        assert!(define(&["a=1", "a=2"]).unwrap_err().contains("twice"));
        assert!(define(&["kind=kafka"]).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_file_is_a_connection_or_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &str, expected: Option<Value>| {
            let file = dir.path().join("c.yaml");
            std::fs::write(&file, text).unwrap();
            let args = CreateArgs { name: "c".into(), kind: None, file: Some(file), settings: Vec::new() };
            assert_eq!(definition(args).ok(), expected, "{text}");
        };
        check("kind: webhook\nurl: http://x", Some(json!({"kind": "webhook", "url": "http://x"})));
        check("connections: {c: {kind: webhook}}", Some(json!({"kind": "webhook"})));
        check("connections: {d: {kind: webhook}}", None);
    }
}
