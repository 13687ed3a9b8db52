//! `trapjaw task`: try a single task again, or end it.

use clap::Subcommand;

use super::client::{Call, Client};
use super::output::Output;
use super::words;

/// What is done with tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Try a dead task again, under the same id and idempotency key.
    Retry {
        /// The task's id, such as `tsk_000000000000001`; `trapjaw run get` shows it.
        id: String,
    },
    /// End a task, with the tasks that need it.
    Cancel {
        /// The task's id.
        id: String,
    },
}

/// Does it.
pub(super) async fn run(client: &Client, command: TaskCommand, output: &mut Output) -> anyhow::Result<()> {
    let (id, verb, done) = match command {
        TaskCommand::Retry { id } => (id, "retry", "is tried again"),
        TaskCommand::Cancel { id } => (id, "cancel", "is cancelled"),
    };
    let answer = client.call(Call::post(&["v1", "tasks", &id, verb])).await?;
    output.answer(&answer, |output, _| Ok(output.line(&format!("{} {done}", words::one_line(&id)))?))
}
