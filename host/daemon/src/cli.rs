//! The command line's client: asks a daemon over its public API, and shows the answers.

pub(crate) mod args;
pub(crate) mod context;

mod client;
mod problem;
mod sse;

mod input;
mod page;

mod output;
mod table;
mod words;

mod config;
mod connection;
mod dead;
mod doctor;
mod document;
mod event;
mod plugin;
mod run;
mod secret;
mod status;
mod tail;
mod task;
mod token;
mod trigger;
mod verdict;

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;

use args::{Cli, ClientCommand, Globals, Shell};
use client::Client;
use output::{Output, Unprinted};

/// What a command that did its work says about the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// All is well.
    Good,
    /// The command found what a person must look at: a check that failed, an installation that is not healthy.
    Bad,
}

/// The command line asks for something that makes no sense; another call is needed, not another try.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// The exit code of what the server, or the way to it, refused.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// The exit code of a command line that makes no sense; the same that the parser uses.
pub(crate) const EXIT_USAGE: u8 = 2;

/// Does what a client command asks for, and says with what code the process is to end.
pub(crate) async fn run(globals: Globals, command: ClientCommand) -> ExitCode {
    let mut output = Output::of_process(globals.output, globals.no_color);
    match dispatch(&globals, command, &mut output).await {
        Ok(Health::Good) => ExitCode::SUCCESS,
        Ok(Health::Bad) => ExitCode::from(EXIT_REFUSED),
        Err(err) if is_closed_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            output.complain(&format!("{err:#}"));
            ExitCode::from(if err.is::<Usage>() { EXIT_USAGE } else { EXIT_REFUSED })
        }
    }
}

async fn dispatch(globals: &Globals, command: ClientCommand, output: &mut Output) -> anyhow::Result<Health> {
    match command {
        ClientCommand::Version => output.line(&format!("trapjaw {}", env!("CARGO_PKG_VERSION")))?,
        ClientCommand::Completions { shell } => output.line(completions(shell).trim_end())?,
        ClientCommand::Doctor(args) => return doctor::run(globals, args, output).await,
        ClientCommand::Status => return status::run(&Client::of(globals)?, output).await,
        ClientCommand::Plugin(command) => plugin::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Event(command) => event::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Trigger(command) => trigger::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Run(command) => run::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Task(command) => task::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Dead(command) => return dead::run(&Client::of(globals)?, command, output).await,
        ClientCommand::Connection(command) => return connection::run(&Client::of(globals)?, command, output).await,
        ClientCommand::Secret(command) => secret::run(&Client::of(globals)?, command, output).await?,
        ClientCommand::Diff(args) => config::diff(&Client::of(globals)?, args, output).await?,
        ClientCommand::Apply(args) => config::apply(&Client::of(globals)?, args, output).await?,
        ClientCommand::Export => config::export(&Client::of(globals)?, output).await?,
        ClientCommand::Validate(args) => return config::validate(&Client::of(globals)?, args, output).await,
        ClientCommand::Token(command) => token::run(&Client::of(globals)?, command, output).await?,
    }
    Ok(Health::Good)
}

/// Whether the reader of our output has gone, as `head` does: nothing is left to be said, and nothing is wrong.
// Only our own output counts: a connection to the daemon that breaks is an error.
fn is_closed_pipe(err: &anyhow::Error) -> bool {
    err.downcast_ref::<Unprinted>().is_some_and(|Unprinted(err)| err.kind() == io::ErrorKind::BrokenPipe)
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut Cli::command(), "trapjaw", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completions(shell);
            assert!(script.contains("redrive") && script.contains("explain"), "{shell:?}");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&anyhow::Error::from(Unprinted(broken())).context("show runs")));
        assert!(!is_closed_pipe(&anyhow::Error::from(broken()).context("upload component")));
    }
}
