//! The command line: one table from which help, completions and parsing derive.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use trapjaw_engine::secret::Secret;

use super::config::{ApplyArgs, DiffArgs, ValidateArgs};
use super::connection::ConnectionCommand;
use super::dead::DeadCommand;
use super::doctor::DoctorArgs;
use super::event::EventCommand;
use super::plugin::PluginCommand;
use super::run::RunCommand;
use super::secret::SecretCommand;
use super::task::TaskCommand;
use super::token::TokenCommand;
use super::trigger::TriggerCommand;

/// When this happens, if that holds, do those things: in your code, without a redeploy.
#[derive(Debug, Parser)]
#[command(name = "trapjaw", version, max_term_width = 100, propagate_version = false)]
pub(crate) struct Cli {
    /// What all commands that speak to a daemon share.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What all commands that speak to a daemon share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// The daemon's address; the context's when absent, and `http://127.0.0.1:8723` where there is no context.
    #[arg(long, global = true, env = "TRAPJAW_URL", value_name = "URL")]
    pub(crate) url: Option<reqwest::Url>,
    /// The token that is sent along; the context's when absent.
    #[arg(long, global = true, env = "TRAPJAW_TOKEN", hide_env_values = true, value_parser = read_secret, value_name = "TOKEN")]
    pub(crate) token: Option<Secret>,
    /// How answers are shown.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// The file with the address and token that `trapjaw dev` saved; `~/.config/trapjaw/context.json` when absent.
    #[arg(long, global = true, env = "TRAPJAW_CONTEXT", value_name = "FILE")]
    pub(crate) context: Option<PathBuf>,
    /// Never use colour; without it, colour is used on a terminal.
    #[arg(long, global = true, env = "NO_COLOR", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_color: bool,
}

/// What is secret stays so where a command line is shown for debugging.
fn read_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The body of the API's answer.
    Json,
    /// The same as YAML.
    Yaml,
    /// For people.
    #[default]
    Table,
}

/// What is to be done: what this process does itself, or what it asks of a daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a daemon to try things out: loopback allowed, a token and a context made for you.
    Dev(DevArgs),
    /// Run the daemon in the foreground.
    Serve(ServeArgs),
    /// Measure what this machine can do, in a throw-away data directory.
    Bench(BenchArgs),
    #[command(flatten)]
    Client(ClientCommand),
}

/// What a daemon is asked, and what needs no daemon.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Show on one screen what is open, what waits and why, and what is dead; exits with 1 when a person must act.
    Status,
    /// Check this machine for what a daemon needs, and say how to mend what is missing.
    Doctor(DoctorArgs),
    /// Upload plugins, look at them, choose their versions and what they may do.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Publish events and look at them.
    #[command(subcommand)]
    Event(EventCommand),
    /// Look at triggers, switch them, try them and fire them.
    #[command(subcommand)]
    Trigger(TriggerCommand),
    /// Look at runs and cancel them.
    #[command(subcommand)]
    Run(RunCommand),
    /// Try single tasks again, or end them.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Look at dead letters, try them again or drop them.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Look at connections, make and test them.
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// Set, list and remove secrets.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Show what `apply` would change.
    Diff(DiffArgs),
    /// Make the daemon's configuration what a file says, uploading its plugins.
    Apply(ApplyArgs),
    /// Print the daemon's configuration as YAML, without secrets.
    Export,
    /// Have the daemon check a file without changing anything.
    Validate(ValidateArgs),
    /// Make, list and remove tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print the version.
    Version,
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A shell that completions can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

/// How the daemon runs. What is absent comes from `--config`, and then from the defaults.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory with all durable state; it is made when it is missing.
    #[arg(long, env = "TRAPJAW_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where the API listens; port 0 takes a free one, which `listening on` names.
    #[arg(long, env = "TRAPJAW_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// The store: `sqlite`, which lives in the data directory.
    #[arg(long, env = "TRAPJAW_STORE", hide_env_values = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// A YAML file with the daemon's settings.
    #[arg(long, env = "TRAPJAW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A token that may do everything, for as long as it is set; without it, the first start makes one and prints it once.
    // Only from the environment in earnest: arguments are seen by everyone on the machine.
    #[arg(long, env = "TRAPJAW_ADMIN_TOKEN", hide_env_values = true, hide = true, value_parser = read_secret, value_name = "TOKEN")]
    pub(crate) admin_token: Option<Secret>,
    /// What is logged: a level, or levels by module such as `info,trapjaw_engine=debug`.
    #[arg(long, env = "TRAPJAW_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// How the daemon for trying things out runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevArgs {
    /// The directory with all durable state; it is made when it is missing.
    #[arg(long, env = "TRAPJAW_DATA", default_value = "trapjaw-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where the API listens; port 0 takes a free one, which `listening on` names.
    #[arg(long, env = "TRAPJAW_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// What is logged: a level, or levels by module such as `info,trapjaw_engine=debug`.
    #[arg(long, env = "TRAPJAW_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What is measured, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// The directory that the throw-away data go to, so that its disk is measured; the system's when absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A condition's component to measure; the stages that need one are left out when absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) plugin: Option<PathBuf>,
    /// For how many seconds each stage is measured, 1 to 3600.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3_600), value_name = "N")]
    pub(crate) seconds: u32,
    /// How the figures are shown.
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_is_read() {
        for line in [
            "dev",
            "serve --data d --listen 127.0.0.1:0 --store sqlite --config c.yaml",
            "serve --data d --listen [::1]:80 --store postgres://localhost/x",
            "doctor",
            "doctor --data d --listen 127.0.0.1:1",
            "status",
            "bench --data d --plugin p.wasm --seconds 3 -o json",
            "plugin push p.wasm",
            "plugin push vip p.wasm --version 1.2.0 --no-activate",
            "plugin ls",
            "plugin inspect vip",
            "plugin grant vip --connection a --connection b --secret S --state",
            "plugin grant vip --exactly",
            "plugin activate vip 1.2.0",
            "plugin rollback vip",
            "event publish",
            "event publish - --type t --source s --subject u --id 1",
            "event publish --type t --data {}",
            "event ls --source s --id 1 --limit 5",
            "event get evt_000000000000001",
            "event tail",
            "event tail --why --source s --type t --trigger x",
            "trigger ls",
            "trigger get t",
            "trigger enable t",
            "trigger disable t",
            "trigger pause t",
            "trigger resume t",
            "trigger fire t --event evt_000000000000001",
            "trigger fire t --data {} --dry",
            "trigger fire t --data {} --type order.paid --subject 7",
            "trigger explain t evt_000000000000001",
            "trigger try t.yaml --last 50",
            "run ls --trigger t --state dead --event evt_000000000000001 --subject s --since 1h --until 5m",
            "run get run_000000000000001",
            "run cancel run_000000000000001",
            "task retry tsk_000000000000001",
            "task cancel tsk_000000000000001",
            "dead ls --trigger t --cause c",
            "dead ls --groups",
            "dead redrive tsk_000000000000001 tsk_000000000000002",
            "dead redrive --cause c",
            "dead drop --all",
            "connection ls",
            "connection create c --kind webhook url=http://127.0.0.1:9/ allow_private=true",
            "connection create c -f c.yaml",
            "connection test c",
            "secret set S",
            "secret ls",
            "secret rm S",
            "diff trapjaw.yaml --prune --upload",
            "apply trapjaw.yaml --prune --dry-run",
            "apply trapjaw.yaml --dry-run --upload",
            "apply -",
            "export",
            "validate trapjaw.yaml",
            "token create ci --scope ingest --source shop --expires 30d",
            "token ls",
            "token rm ci",
            "version",
            "completions bash",
            "completions zsh",
            "completions fish",
        ] {
            let words = ["trapjaw"].into_iter().chain(line.split(' '));
            if let Err(err) = Cli::try_parse_from(words) {
                panic!("{line}: {err}");
            }
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for line in ["status --token hush-hush", "serve --admin-token hush-hush"] {
            let cli = Cli::try_parse_from(["trapjaw"].into_iter().chain(line.split(' '))).unwrap();
            assert!(!format!("{cli:?}").contains("hush"), "{line}");
        }
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "",
            "plugin push",
            "plugin push a b c",
            "secret set S value",
            "trigger fire t --event e --data {}",
            "trigger fire t --event e --type x",
            "trigger fire t --event e --subject x",
            "apply trapjaw.yaml --upload",
            "dead redrive",
            "dead redrive tsk_1 --all",
            "bench --seconds 0",
            "completions powershell",
            "serve --listen nowhere",
            "status --url nowhere",
            "connection create c",
        ] {
            let words = ["trapjaw"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[test]
    fn the_format_is_read_before_and_after_the_command() {
        for line in ["-o json bench", "bench -o json"] {
            let cli = Cli::try_parse_from(["trapjaw"].into_iter().chain(line.split(' '))).unwrap();
            let Command::Bench(bench) = cli.command else { panic!("{line}") };
            assert_eq!((bench.output, cli.globals.output), (Format::Json, Format::Json), "{line}");
        }
        for line in ["-o yaml run ls", "run -o yaml ls", "run ls -o yaml"] {
            let cli = Cli::try_parse_from(["trapjaw"].into_iter().chain(line.split(' '))).unwrap();
            assert_eq!(cli.globals.output, Format::Yaml, "{line}");
        }
    }
}
