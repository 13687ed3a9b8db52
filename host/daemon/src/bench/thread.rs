//! Threads beside the daemon's: each has a runtime of its own and does one thing.

use std::future::Future;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Runs a future to its end on a thread of its own.
pub(super) async fn run<T, F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let ended = start(name, make)?;
    ended.await.context("run thread")?
}

/// Starts a future on a thread of its own; what it comes to is told when it has ended.
pub(super) fn start<T, F>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<T>>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (end, ended) = oneshot::channel();
    let work = move || {
        let outcome = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start runtime")
            .and_then(|runtime| LocalSet::new().block_on(&runtime, make()));
        // Whoever waited may be gone: the bench was interrupted.
        let _told = end.send(outcome);
    };
    std::thread::Builder::new().name(name.into()).spawn(work).context("start thread")?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_thread_comes_to_is_told() {
        assert_eq!(run("good", || async { Ok(7) }).await.unwrap(), 7);
        let failed: anyhow::Result<()> = run("bad", || async { anyhow::bail!("no") }).await;
        assert_eq!(failed.unwrap_err().to_string(), "no");
    }
}
