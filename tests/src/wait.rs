//! Waiting for something to become true, within a bound.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::task::JoinHandle;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is a value; an error that names what was waited for when the time is over.
pub async fn wait_until<T>(what: &str, most: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> anyhow::Result<T> {
    let end = Instant::now() + most;
    loop {
        if let Some(value) = look().await {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("wait for {what}: not within {most:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Starts a background task of a test. A panic in it shows where its result is missed.
#[expect(clippy::disallowed_methods, reason = "the engine's own spawn would end the whole test program on a panic")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future)
}
