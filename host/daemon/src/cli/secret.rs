//! `trapjaw secret`: set, list and remove secrets. Their values are read from standard input and never shown.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::client::{Call, Client};
use super::output::Output;
use super::table::{Column, Kind};
use super::{Usage, input, words};

/// What is done with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret to what standard input says: `trapjaw secret set CRM < key.txt`. One line end at its end is cut off.
    // Never from the arguments: those stay in the shell's history, and everyone on the machine sees them.
    Set {
        /// The secret.
        name: String,
    },
    /// List the names of secrets.
    Ls,
    /// Remove a secret.
    Rm {
        /// The secret.
        name: String,
    },
}

const COLUMNS: &[Column] =
    &[Column::new("NAME", "/name"), Column::new("VERSION", "/version"), Column::of("CHANGED", "/at", Kind::Age)];
/// The longest secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Does it.
pub(super) async fn run(client: &Client, command: SecretCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        SecretCommand::Set { name } => {
            if io::stdin().is_terminal() {
                output.note("type the value (it is shown as you type), then Ctrl-D on a line of its own;");
                output.note(&format!(
                    "to keep it off the screen: read -rs V; printf %s \"$V\" | trapjaw secret set {name}"
                ));
            }
            let value = value(input::read(Path::new("-"), SECRET_BYTES_MAX)?)?;
            let call = Call::new(Method::PUT, &["v1", "secrets", &name]).json(&json!({"value": value}));
            let answer = client.call(call).await?;
            output.answer(&answer, |output, _| Ok(output.line(&format!("{} is set", words::one_line(&name)))?))
        }
        SecretCommand::Ls => {
            let call = Call::get(&["v1", "secrets"]).query("limit", Some(super::page::ROWS_MAX));
            output.listing(&client.call(call).await?, COLUMNS, "no secrets")
        }
        SecretCommand::Rm { name } => {
            let answer = client.call(Call::new(Method::DELETE, &["v1", "secrets", &name])).await?;
            output.answer(&answer, |output, _| Ok(output.line(&format!("{} is removed", words::one_line(&name)))?))
        }
    }
}

fn value(bytes: Vec<u8>) -> anyhow::Result<String> {
    let Ok(text) = String::from_utf8(bytes) else { bail!(Usage("the secret is not UTF-8 text".into())) };
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if value.is_empty() {
        bail!(Usage("standard input is empty: the secret's value is read from there".into()));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_cut_off() {
        let check = |bytes: &[u8], expected: Option<&str>| assert_eq!(value(bytes.to_vec()).ok().as_deref(), expected);
        check(b"key", Some("key"));
        check(b"key\n", Some("key"));
        check(b"key\r\n", Some("key"));
        check(b" a\nb\n\n", Some(" a\nb\n"));
        check(b"\n", None);
        check(b"", None);
        check(b"\xff", None);
    }
}
