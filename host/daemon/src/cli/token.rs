//! `trapjaw token`: make, list and remove tokens.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Map, Value};

use super::client::{Call, Client};
use super::input::Moment;
use super::output::Output;
use super::table::{Column, Kind};
use super::words;

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it. It is shown this once.
    Create(CreateArgs),
    /// List tokens, without what they are known by.
    Ls,
    /// Remove a token; who uses it is refused from then on.
    Rm {
        /// The token's name.
        name: String,
    },
}

/// What a token is for.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The token's name.
    name: String,
    /// What it may do; may stand several times.
    #[arg(long, value_enum, required = true, value_name = "SCOPE")]
    scope: Vec<Scope>,
    /// The names, or dotted prefixes of names, that it is limited to; may stand several times.
    #[arg(long, value_name = "PREFIX")]
    prefix: Vec<String>,
    /// The CloudEvents sources that it may write; may stand several times.
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Until when it is good: a time, or a span such as `30d` from now; for good when absent.
    #[arg(long, value_name = "TIME")]
    expires: Option<Moment>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Everything.
    Admin,
    /// Run the installation.
    Operator,
    /// Write triggers and plugins.
    Editor,
    /// Look at everything but credentials.
    Viewer,
    /// Publish events.
    Ingest,
    /// Fire triggers by hand.
    Call,
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name"),
    Column::new("SCOPES", "/scopes"),
    Column::new("PREFIXES", "/prefixes"),
    Column::new("SOURCES", "/sources"),
    Column::of("EXPIRES", "/expires", Kind::Age),
    Column::of("MADE", "/at", Kind::Age),
];

/// Does it.
pub(super) async fn run(client: &Client, command: TokenCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(args) => {
            let body = body(&args, output.now());
            let answer = client.call(Call::post(&["v1", "tokens"]).json(&body)).await?;
            output.answer(&answer, |output, value| {
                let token = value.get("token").map_or_else(|| words::ABSENT.into(), words::brief);
                output.line(&token)?;
                output.note("keep it: it is not shown again");
                Ok(())
            })
        }
        TokenCommand::Ls => {
            let call = Call::get(&["v1", "tokens"]).query("limit", Some(super::page::ROWS_MAX));
            output.listing(&client.call(call).await?, COLUMNS, "no tokens")
        }
        TokenCommand::Rm { name } => {
            let answer = client.call(Call::new(Method::DELETE, &["v1", "tokens", &name])).await?;
            output.answer(&answer, |output, _| Ok(output.line(&format!("{} is removed", words::one_line(&name)))?))
        }
    }
}

fn body(args: &CreateArgs, now: jiff::Timestamp) -> Value {
    let words = args.scope.iter().filter_map(ValueEnum::to_possible_value);
    let scopes: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
    let mut body = Map::new();
    body.insert("name".into(), args.name.clone().into());
    body.insert("scopes".into(), scopes.into());
    if !args.prefix.is_empty() {
        body.insert("prefixes".into(), args.prefix.clone().into());
    }
    if !args.source.is_empty() {
        body.insert("sources".into(), args.source.clone().into());
    }
    if let Some(expires) = args.expires {
        body.insert("expires".into(), expires.after(now).to_string().into());
    }
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_says_what_it_is_for() {
        let args = CreateArgs {
            name: "ci".into(),
            scope: vec![Scope::Ingest, Scope::Call],
            prefix: Vec::new(),
            source: vec!["shop".into()],
            expires: Some("1h".parse().unwrap()),
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let expected =
            json!({"name": "ci", "scopes": ["ingest", "call"], "sources": ["shop"], "expires": "2026-01-01T01:00:00Z"});
        assert_eq!(body(&args, now), expected);
    }
}
