//! `trapjaw plugin`: upload plugins, look at them, choose their versions and what they may do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Answer, Call, Client};
use super::document::Component;
use super::output::Output;
use super::table::{self, Column, DIGEST_CHARS, Kind};
use super::{Usage, words};

/// What is done with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Upload a component as a plugin's new version, and activate it.
    Push(PushArgs),
    /// List plugins.
    Ls,
    /// Show a plugin: its versions, what it may do, what it imports.
    Inspect {
        /// The plugin.
        name: String,
    },
    /// Let a plugin use connections, secrets and state, beside what it may use already.
    Grant(GrantArgs),
    /// Make a version the active one; calls in flight end on theirs.
    Activate {
        /// The plugin.
        name: String,
        /// The version.
        version: String,
    },
    /// Make the version active again that was active before.
    Rollback {
        /// The plugin.
        name: String,
    },
}

/// What is uploaded, and as what.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct PushArgs {
    /// The plugin; the file's name without its ending when absent.
    name: Option<String>,
    /// The component.
    file: PathBuf,
    /// The version's name; the start of the component's digest when absent.
    #[arg(long, value_name = "V")]
    version: Option<String>,
    /// Upload it only.
    #[arg(long)]
    no_activate: bool,
}

/// What a plugin may do.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The plugin.
    name: String,
    /// A connection that triggers may bind its labels to; may stand several times.
    #[arg(long, value_name = "NAME")]
    connection: Vec<String>,
    /// A secret that it may have put into headers; may stand several times.
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    /// That it may keep state.
    #[arg(long)]
    state: bool,
    /// It may do what is named here and nothing else: this is how grants are taken back.
    #[arg(long)]
    exactly: bool,
}

const COLUMNS: &[Column] = &[
    Column::new("NAME", "/name"),
    Column::new("ACTIVE", "/active"),
    Column::new("CONNECTIONS", "/grants/connections"),
    Column::new("SECRETS", "/grants/secrets"),
    Column::new("STATE", "/grants/state"),
    Column::of("VERSIONS", "/versions", Kind::Count),
];
const VERSIONS: &[Column] = &[
    Column::new("VERSION", "/version"),
    Column::of("DIGEST", "/digest", Kind::Digest),
    Column::new("WORLD", "/world"),
    Column::of("SIZE", "/size", Kind::Size),
    Column::of("UPLOADED", "/at", Kind::Age),
    Column::new("BY", "/actor"),
];

/// Does it.
pub(super) async fn run(client: &Client, command: PluginCommand, output: &mut Output) -> anyhow::Result<()> {
    match command {
        PluginCommand::Push(args) => push(client, args, output).await,
        PluginCommand::Ls => {
            let call = Call::get(&["v1", "plugins"]).query("limit", Some(super::page::ROWS_MAX));
            output.listing(&client.call(call).await?, COLUMNS, "no plugins")
        }
        PluginCommand::Inspect { name } => {
            let answer = client.call(Call::get(&["v1", "plugins", &name])).await?;
            output.answer(&answer, show)
        }
        PluginCommand::Grant(args) => grant(client, args, output).await,
        PluginCommand::Activate { name, version } => activate(client, &name, &version, output).await,
        PluginCommand::Rollback { name } => {
            let answer = client.call(Call::post(&["v1", "plugins", &name, "rollback"])).await?;
            output.answer(&answer, |output, value| {
                let version = value.get("active").map_or_else(|| "the former version".into(), words::brief);
                Ok(output.line(&format!("{} {version} is active", words::one_line(&name)))?)
            })
        }
    }
}

/// What the daemon made of an upload.
pub(super) struct Uploaded {
    /// The version's name.
    pub(super) version: String,
    answer: Answer,
}

/// Uploads a component.
pub(super) async fn upload(client: &Client, component: Component, activate: bool) -> anyhow::Result<Uploaded> {
    // The daemon names a version after its digest where we give no name.
    let call = Call::post(&["v1", "plugins", &component.plugin, "versions"])
        .query("version", component.version)
        .query("activate", Some(activate))
        .body("application/wasm", component.bytes)
        .uploading();
    let answer = client.call(call).await.with_context(|| format!("upload plugin {}", component.plugin))?;
    let version = answer.value()?.get("version").and_then(Value::as_str).map(str::to_owned);
    Ok(Uploaded { version: version.context("read the daemon's answer: it names no version")?, answer })
}

/// The version under which the daemon has a component already: the one that is named, or any.
pub(super) async fn find_version(client: &Client, component: &Component) -> anyhow::Result<Option<String>> {
    let Some(answer) = client.find(Call::get(&["v1", "plugins", &component.plugin])).await? else { return Ok(None) };
    Ok(version_of(&answer.value()?, component))
}

fn version_of(plugin: &Value, component: &Component) -> Option<String> {
    let text = |version: &Value, name: &str| version.get(name).and_then(Value::as_str).map(str::to_owned);
    let same = versions(plugin).iter().filter(|version| text(version, "digest").as_ref() == Some(&component.digest));
    let mut names = same.filter_map(|version| text(version, "version"));
    names.find(|name| component.version.as_ref().is_none_or(|wanted| wanted == name))
}

fn versions(plugin: &Value) -> &[Value] {
    plugin.get("versions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

async fn push(client: &Client, args: PushArgs, output: &mut Output) -> anyhow::Result<()> {
    let name = match args.name {
        Some(name) => name,
        None => name_of(&args.file)?,
    };
    let component = Component::read(&name, args.version, &args.file)?;
    let uploaded = upload(client, component, !args.no_activate).await?;
    output.answer(&uploaded.answer, |output, value| {
        let text = |name: &str| value.get(name).map_or_else(|| words::ABSENT.into(), words::brief);
        let digest: String = text("digest").chars().take(DIGEST_CHARS).collect();
        let size = value.get("size").and_then(Value::as_u64).map_or_else(|| words::ABSENT.into(), words::size);
        let (name, version) = (words::one_line(&name), words::one_line(&uploaded.version));
        let is_active = value.get("active").and_then(Value::as_bool).unwrap_or(!args.no_activate);
        let end = if is_active { "is active" } else { "is uploaded" };
        output.line(&format!("{name} {version} {end} ({}, {size}, sha256 {digest})", text("world")))?;
        if !is_active {
            output.note(&format!("make it active with: trapjaw plugin activate {name} {version}"));
        }
        Ok(())
    })
}

/// The plugin's name when only its file is named.
fn name_of(file: &Path) -> anyhow::Result<String> {
    match file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-") {
        // Compilers write underscores where people write hyphens; a name that is to have one can be given.
        Some(stem) => Ok(stem.replace('_', "-")),
        None => bail!(Usage("name the plugin: `trapjaw plugin push NAME FILE`".into())),
    }
}

async fn activate(client: &Client, name: &str, version: &str, output: &mut Output) -> anyhow::Result<()> {
    let call = Call::new(Method::PUT, &["v1", "plugins", name, "active"]).json(&json!({"version": version}));
    let answer = client.call(call).await?;
    output.answer(&answer, |output, _| {
        Ok(output.line(&format!("{} {} is active", words::one_line(name), words::one_line(version)))?)
    })
}

fn show(output: &mut Output, plugin: &Value) -> anyhow::Result<()> {
    let text = |pointer: &str| plugin.pointer(pointer).map_or_else(|| words::ABSENT.into(), words::brief);
    output.line(&format!("{}  active {}", text("/name"), text("/active")))?;
    let (connections, secrets) = (text("/grants/connections"), text("/grants/secrets"));
    let state = text("/grants/state");
    output.line(&format!("granted: connections {connections}; secrets {secrets}; state {state}"))?;
    output.line("")?;
    output.lines(table::of_items(VERSIONS, versions(plugin), output.now()))?;
    let active = plugin.get("active");
    for version in versions(plugin).iter().filter(|version| version.get("version") == active) {
        output.line("")?;
        for name in ["imports", "exports"] {
            let items = version.get(name).and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
            output.lines(items.iter().map(|item| format!("{name} {}", words::brief(item))))?;
        }
    }
    Ok(())
}

/// What a plugin may do, as sets that can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Grants {
    connections: BTreeSet<String>,
    secrets: BTreeSet<String>,
    state: bool,
}

impl Grants {
    fn of(plugin: &Value) -> Self {
        let names = |pointer: &str| {
            let names = plugin.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let state = plugin.pointer("/grants/state").and_then(Value::as_bool).unwrap_or(false);
        Self { connections: names("/grants/connections"), secrets: names("/grants/secrets"), state }
    }

    fn changed(&self, args: &GrantArgs) -> Self {
        let mut next = if args.exactly { Self::default() } else { self.clone() };
        next.connections.extend(args.connection.iter().cloned());
        next.secrets.extend(args.secret.iter().cloned());
        next.state |= args.state;
        next
    }

    /// A line for everything that is granted now and was not before, and the other way round.
    fn differences(&self, next: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (noun, before, after) in
            [("connection", &self.connections, &next.connections), ("secret", &self.secrets, &next.secrets)]
        {
            lines.extend(after.difference(before).map(|name| format!("+ {noun} {name}")));
            lines.extend(before.difference(after).map(|name| format!("- {noun} {name}")));
        }
        match (self.state, next.state) {
            (false, true) => lines.push("+ state".into()),
            (true, false) => lines.push("- state".into()),
            (true, true) | (false, false) => {}
        }
        lines
    }
}

async fn grant(client: &Client, args: GrantArgs, output: &mut Output) -> anyhow::Result<()> {
    if !args.exactly && !args.state && args.connection.is_empty() && args.secret.is_empty() {
        bail!(Usage(
            "name what is granted: --connection, --secret or --state; --exactly alone takes everything back".into()
        ));
    }
    let plugin = client.call(Call::get(&["v1", "plugins", &args.name])).await?.value()?;
    let now = Grants::of(&plugin);
    let next = now.changed(&args);
    let body = json!({"connections": next.connections, "secrets": next.secrets, "state": next.state});
    let answer = client.call(Call::new(Method::PUT, &["v1", "plugins", &args.name, "grants"]).json(&body)).await?;
    output.answer(&answer, |output, _| {
        let differences = now.differences(&next);
        if differences.is_empty() {
            output.line("nothing changed")?;
        }
        Ok(output.lines(differences.iter().map(|line| words::one_line(line)))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> Value {
        json!({
            "name": "vip", "active": "2", "grants": {"connections": ["a"], "state": true},
            "versions": [{"version": "3", "digest": "cc"}, {"version": "2", "digest": "bb"}, {"version": "1", "digest": "aa"}, {"version": "0", "digest": "aa"}]
        })
    }

    #[test]
    fn a_component_that_is_there_is_found() {
        let check = |digest: &str, version: Option<&str>, expected: Option<&str>| {
            let component = Component {
                plugin: "vip".into(),
                version: version.map(Into::into),
                bytes: "".into(),
                digest: digest.into(),
            };
            assert_eq!(version_of(&plugin(), &component).as_deref(), expected);
        };
        check("aa", None, Some("1"));
        check("aa", Some("0"), Some("0"));
        check("aa", Some("9"), None);
        check("dd", None, None);
    }

    #[test]
    fn grants_are_added_and_taken_back() {
        let check = |connection: &[&str], state: bool, exactly: bool, expected: &[&str]| {
            let connection = connection.iter().map(|&name| name.to_owned()).collect();
            let args = GrantArgs { name: "vip".into(), connection, secret: Vec::new(), state, exactly };
            let now = Grants::of(&plugin());
            assert_eq!(now.differences(&now.changed(&args)), expected);
        };
        check(&["b"], false, false, &["+ connection b"]);
        check(&["a"], true, false, &[]);
        check(&["b"], false, true, &["+ connection b", "- connection a", "- state"]);
    }

    #[test]
    fn names_come_from_files() {
        assert_eq!(name_of(Path::new("target/vip_check.wasm")).unwrap(), "vip-check");
        assert!(name_of(Path::new("-")).is_err());
    }
}
