//! What commands weigh, for the bounds of the queue and of a batch.

use trapjaw_engine::ports::{ObjectChange, PluginVersion, StateOp};
use trapjaw_engine::record::{Command, Guard, JudgedTo, NewEvent, NewRun, NewTask, SendRecord, Settle, TaskTo};

/// About what a row takes beside its texts and blobs: its numbers, and its places in the tree and in the log.
const ROW_BYTES: usize = 64;

/// Whether the commands bring events from outside; those are refused first when the disk fills up.
pub(super) fn is_intake(commands: &[Command]) -> bool {
    commands.iter().any(|command| matches!(command, Command::Append(_)))
}

/// About how many bytes the commands are, in memory and as they are written.
pub(super) fn bytes_of(commands: &[Command]) -> usize {
    commands.iter().map(|command| size_of::<Command>() + command_bytes(command)).sum()
}

fn command_bytes(command: &Command) -> usize {
    match command {
        Command::Append(new) => event_bytes(new),
        Command::Judged(judged) => {
            let to = match &judged.to {
                JudgedTo::Act { guard, tasks, .. } => guard_bytes(guard.as_ref()) + tasks_bytes(tasks),
                JudgedTo::Dead { cause } => cause.len(),
                JudgedTo::End(_) | JudgedTo::Again(_) => 0,
            };
            size_of_val(&**judged) + ROW_BYTES + judged.evaluation.len() + to
        }
        Command::Settle(settle) => settle_bytes(settle),
        Command::Record(send) => send_bytes(send),
        Command::Dead(moved) => moved.tasks.len() * (3 * ROW_BYTES + moved.detail.len()),
        Command::Configure(configure) => configure.changes.iter().map(change_bytes).sum(),
        Command::Publish(version) => version_bytes(version),
    }
}

fn event_bytes(new: &NewEvent) -> usize {
    let runs: usize = new.runs.iter().map(run_bytes).sum();
    size_of::<NewEvent>() + 2 * ROW_BYTES + new.event.bytes_held() + new.evaluations.len() + runs
}

fn run_bytes(run: &NewRun) -> usize {
    let texts = run.subject.len() + run.order_key.as_ref().map_or(0, |key| key.len());
    size_of::<NewRun>() + ROW_BYTES + texts + guard_bytes(run.guard.as_ref()) + tasks_bytes(&run.tasks)
}

/// The names of actions are shared, in memory and on the disk.
fn tasks_bytes(tasks: &[NewTask]) -> usize {
    tasks.len() * (size_of::<NewTask>() + ROW_BYTES)
}

fn guard_bytes(guard: Option<&Guard>) -> usize {
    guard.map_or(0, |guard| guard.subject.len() + ROW_BYTES)
}

fn settle_bytes(settle: &Settle) -> usize {
    let detail = settle.attempt.as_ref().map_or(0, |attempt| attempt.detail.len());
    let others: usize = settle.others.iter().map(|other| size_of_val(other) + ROW_BYTES + to_bytes(&other.1)).sum();
    let state: usize = settle.state.iter().map(|op| size_of_val(op) + ROW_BYTES + op_bytes(op)).sum();
    let events: usize = settle.events.iter().map(event_bytes).sum();
    size_of_val(settle) + 2 * ROW_BYTES + detail + to_bytes(&settle.to) + others + state + events
}

fn to_bytes(to: &TaskTo) -> usize {
    match to {
        TaskTo::Open(_) | TaskTo::Closed(_) => 0,
        TaskTo::Dead { cause } => cause.len() + ROW_BYTES,
    }
}

fn op_bytes(op: &StateOp) -> usize {
    let values = match op {
        StateOp::Set { value, .. } => value.len(),
        StateOp::CompareAndSet { expected, value, .. } => expected.as_ref().map_or(0, Vec::len) + value.len(),
        StateOp::Increment { .. } | StateOp::Remove { .. } => 0,
    };
    op.key().len() + values
}

fn send_bytes(send: &SendRecord) -> usize {
    let receipt = &send.receipt;
    let texts = [receipt.id.as_deref(), receipt.content_type.as_deref()].into_iter().flatten().map(str::len);
    size_of_val(send) + ROW_BYTES + send.key.len() + texts.sum::<usize>() + receipt.body.len()
}

fn change_bytes(change: &ObjectChange) -> usize {
    let body = change.body.as_ref().map_or(0, bytes::Bytes::len);
    size_of_val(change) + ROW_BYTES + change.kind.len() + change.name.len() + body
}

fn version_bytes(version: &PluginVersion) -> usize {
    size_of_val(version) + 2 * ROW_BYTES + version.bytes.len() + version.view.about.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trapjaw_engine::event::Event;
    use trapjaw_engine::id::TaskId;
    use trapjaw_engine::ports::Receipt;
    use trapjaw_engine::record::{Progress, RunState};
    use trapjaw_engine::time::Time;

    use super::*;

    fn append(n_runs: usize, n_tasks: usize) -> Command {
        let task = NewTask { action: "a".into(), ordinal: 0, progress: Progress::READY };
        let run = NewRun {
            trigger: "t".into(),
            trigger_version: 1,
            subject: "s".repeat(1_000).into(),
            subject_no: 0,
            order_key: Some("k".repeat(1_000).into()),
            state: RunState::Running,
            guard: None,
            tasks: vec![task; n_tasks],
        };
        Command::Append(Arc::new(NewEvent {
            event: Arc::new(Event::new("s", "t", "1", Time(0))),
            received: Time(0),
            dedup: None,
            evaluations: bytes::Bytes::new(),
            runs: vec![run; n_runs],
        }))
    }

    #[test]
    fn runs_and_tasks_weigh_what_they_hold() {
        let bytes = |n_runs, n_tasks| bytes_of(&[append(n_runs, n_tasks)]);
        assert!(bytes(1_000, 1) > 1_000 * 2_000, "subjects and keys count");
        let task = (bytes(1, 1_001) - bytes(1, 1)) / 1_000;
        assert!(task >= size_of::<NewTask>(), "{task} bytes a task");
    }

    #[test]
    fn receipts_weigh_what_they_hold() {
        let receipt = Receipt {
            id: Some("i".repeat(10_000)),
            content_type: Some("c".repeat(10_000)),
            body: vec![b'x'; 10_000].into(),
            ..Receipt::default()
        };
        let (task, key, connection) = (TaskId::of(1), "k".repeat(10_000).into(), "crm".into());
        let send = SendRecord { task, key, connection, at: Time(0), receipt };
        assert!(bytes_of(&[Command::Record(Box::new(send))]) > 40_000);
    }
}
