//! What commands weigh, for the bounds of the queue and of a batch.

use trapjaw_engine::record::{Command, NewEvent};

/// Whether the commands bring events from outside; those are refused first when the disk fills up.
pub(super) fn is_intake(commands: &[Command]) -> bool {
    commands.iter().any(|command| matches!(command, Command::Append(_)))
}

/// About how many bytes the commands are.
pub(super) fn bytes_of(commands: &[Command]) -> usize {
    commands.iter().map(|command| size_of::<Command>() + command_bytes(command)).sum()
}

fn command_bytes(command: &Command) -> usize {
    match command {
        Command::Append(new) => event_bytes(new),
        Command::Judged(judged) => judged.evaluation.len() + 256,
        Command::Settle(settle) => {
            let detail = settle.attempt.as_ref().map_or(0, |attempt| attempt.detail.len());
            // A value of a plugin's state is bounded, so that its number is estimate enough.
            256 + detail + settle.state.len() * 1_024 + settle.events.iter().map(event_bytes).sum::<usize>()
        }
        Command::Record(send) => 256 + send.receipt.body.len(),
        Command::Dead(moved) => moved.tasks.len() * 256,
        Command::Configure(configure) => {
            configure.changes.iter().map(|change| 256 + change.body.as_ref().map_or(0, bytes::Bytes::len)).sum()
        }
        Command::Publish(version) => version.bytes.len() + version.view.about.len(),
    }
}

fn event_bytes(new: &NewEvent) -> usize {
    new.event.bytes_held() + new.evaluations.len() + new.runs.len() * 256
}
