//! Durable accept: batches over the real API, acknowledged when they are on stable storage, with no trigger defined.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::WARM_UP;
use super::daemon::Daemon;
use super::events::Arrivals;
use super::gauge::{Stage, Window};

/// Measures; the times are those of requests.
pub(super) async fn measure(folder: &Path, span: Duration) -> anyhow::Result<Stage> {
    let daemon = Daemon::open(folder).await?;
    // An event that no trigger is about is over when it is accepted.
    let (_all, n_over) = watch::channel(u64::MAX);
    let load = daemon.load(Arc::new(Arrivals::new()), n_over, 0);
    load.run(WARM_UP).await?;
    load.requests.clear();
    let window = Window::open();
    let n_events = load.run(span).await?;
    let stage = window.close(n_events, &load.requests);
    daemon.close(folder).await?;
    Ok(stage)
}
