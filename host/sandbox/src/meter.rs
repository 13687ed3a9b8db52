//! How much thread time a call has taken, counted only while it is polled.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Thread time of one call.
///
/// A call moves between threads at its awaits, so each poll is measured on the thread that makes it. Only that thread
/// writes, and the next one sees it because the runtime hands the task over.
#[derive(Default)]
pub(crate) struct Meter {
    earlier_ns: AtomicU64,
    began_ns: AtomicU64,
}

impl Meter {
    /// The time taken so far. During a poll this is to be asked on the thread that polls.
    pub(crate) fn so_far(&self) -> Duration {
        let earlier_ns = self.earlier_ns.load(Ordering::Relaxed);
        let running_ns = match self.began_ns.load(Ordering::Relaxed) {
            0 => 0,
            began_ns => thread_time_ns().saturating_sub(began_ns),
        };
        Duration::from_nanos(earlier_ns + running_ns)
    }

    /// Begins at zero, for another call. Not during a poll.
    pub(crate) fn reset(&self) {
        self.earlier_ns.store(0, Ordering::Relaxed);
        self.began_ns.store(0, Ordering::Relaxed);
    }

    /// Runs the future to its end and counts its polls.
    pub(crate) async fn count<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|ctx| {
            // A thread that polls has run for a while: 0 is free to mean that no poll is going on.
            self.began_ns.store(thread_time_ns().max(1), Ordering::Relaxed);
            let polled = future.as_mut().poll(ctx);
            self.earlier_ns.store(nanos(self.so_far()), Ordering::Relaxed);
            self.began_ns.store(0, Ordering::Relaxed);
            polled
        })
        .await
    }
}

fn thread_time_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_polls_are_counted() {
        let meter = Meter::default();
        let busy = async {
            let before = meter.so_far();
            while meter.so_far() < before + Duration::from_millis(2) {
                std::hint::spin_loop();
            }
        };
        meter
            .count(async {
                busy.await;
                tokio::task::yield_now().await;
            })
            .await;
        let counted = meter.so_far();
        assert!(counted >= Duration::from_millis(2), "{counted:?}");
        let meter_elsewhere = Meter::default();
        meter_elsewhere.count(async { std::hint::black_box((0..1_000_000).sum::<u64>()) }).await;
        assert_eq!(meter.so_far(), counted);
    }
}
