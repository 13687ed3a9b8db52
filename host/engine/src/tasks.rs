//! The one way to start a background task: a panic there stops the host instead of being lost.

use std::future::{Future, poll_fn};
use std::pin::pin;

use tokio::task::JoinHandle;

/// Starts a task that belongs to the engine or to a driver of it.
///
/// A panic is a defect that may have left shared state half changed, and a task that is silently gone looks like an
/// idle one. So it is reported and the process ends; the store has everything that was acknowledged.
#[expect(clippy::disallowed_methods, reason = "this is the place that the rule points to")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(async move {
        let mut watch = Watch { name, is_polling: false };
        let mut future = pin!(future);
        poll_fn(|ctx| {
            watch.is_polling = true;
            let poll = future.as_mut().poll(ctx);
            watch.is_polling = false;
            poll
        })
        .await
    })
}

/// Ends the process when the task panics. A task that is cancelled drops it quietly, also where the thread that drops
/// it is unwinding for a reason of its own.
struct Watch {
    name: &'static str,
    is_polling: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_polling {
            tracing::error!(task = self.name, "a background task panicked: stopping, so that nothing is guessed");
            if !cfg!(test) {
                std::process::abort();
            }
        }
    }
}
