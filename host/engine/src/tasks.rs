//! The one way to start a background task: a panic there stops the host instead of being lost.

use std::future::Future;

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
        let watch = Watch(name);
        let output = future.await;
        std::mem::forget(watch);
        output
    })
}

/// Ends the process when it is dropped by a panic; a task that is cancelled drops it quietly.
struct Watch(&'static str);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.0, "a background task panicked: stopping, so that nothing is guessed");
            if !cfg!(test) {
                std::process::abort();
            }
        }
    }
}
