//! Instances that wait for another call: for whom, how many, and how long.
//!
//! An instance is called again only for the version of a plugin, the trigger and the configuration that it was first
//! called for. Those that wait the longest go first; a version that is no longer linked has none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trapjaw_engine::ports::JudgeCall;

use crate::gauges::WarmGauges;

/// How many instances wait at a time, of all plugins together. Each holds at most [`BYTES_MAX`], and a stack.
pub(crate) const IDLE_MAX: usize = 16;
/// The most memory of an instance that is kept, its memories together. Python holds 13 MB.
pub(crate) const BYTES_MAX: usize = 32 << 20;
/// How long an instance waits, from the beginning of the call before. The next call frees it then, whichever plugin that
/// is of.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The most calls that an instance may be made for.
pub(crate) const USES_MAX: u32 = 10_000;
/// Of how many verdicts of warm instances one is repeated. The first is, and the second, fourth, eighth and so on: what
/// remembers mostly shows it at once.
const REPEAT_EVERY: u64 = 256;

/// The instances that wait, and what was counted of all.
pub(crate) struct WarmPool<R> {
    idle: Mutex<VecDeque<Idle<R>>>,
    n_versions: AtomicU64,
    pub(crate) n_warm: AtomicU64,
    pub(crate) n_fresh: AtomicU64,
    pub(crate) n_repeats: AtomicU64,
    pub(crate) n_switched_off: AtomicU64,
}

/// An instance that waits.
struct Idle<R> {
    instance: R,
    version: u64,
    trigger: Arc<str>,
    config: Arc<str>,
    /// When the call before began.
    since: Instant,
}

/// A version of a plugin whose instances may be called again.
pub(crate) struct Version {
    id: u64,
    uses: u32,
    n_verdicts: AtomicU64,
    is_off: AtomicBool,
}

impl Version {
    /// How many calls an instance may be made for.
    pub(crate) fn uses(&self) -> u32 {
        self.uses
    }

    /// Whether instances are called again. Once switched off, it stays so.
    pub(crate) fn is_on(&self) -> bool {
        !self.is_off.load(Ordering::Acquire)
    }

    /// Counts a verdict of a warm instance, and says whether to repeat it on a fresh one.
    pub(crate) fn count_verdict(&self) -> bool {
        let n = self.n_verdicts.fetch_add(1, Ordering::Relaxed) + 1;
        n.is_power_of_two() || n.is_multiple_of(REPEAT_EVERY)
    }
}

impl<R> WarmPool<R> {
    pub(crate) fn new() -> Self {
        Self {
            idle: Mutex::default(),
            n_versions: AtomicU64::new(0),
            n_warm: AtomicU64::new(0),
            n_fresh: AtomicU64::new(0),
            n_repeats: AtomicU64::new(0),
            n_switched_off: AtomicU64::new(0),
        }
    }

    /// Enters a version. Whoever does [forgets](Self::forget) it at the end.
    pub(crate) fn enter(&self, uses: u32) -> Version {
        let id = self.n_versions.fetch_add(1, Ordering::Relaxed);
        Version { id, uses, n_verdicts: AtomicU64::new(0), is_off: AtomicBool::new(false) }
    }

    pub(crate) fn gauges(&self) -> WarmGauges {
        WarmGauges {
            n_idle: self.lock().len(),
            n_warm_calls: self.n_warm.load(Ordering::Relaxed),
            n_fresh_calls: self.n_fresh.load(Ordering::Relaxed),
            n_repeats: self.n_repeats.load(Ordering::Relaxed),
            n_switched_off: self.n_switched_off.load(Ordering::Relaxed),
        }
    }

    /// An instance that may be called for this. The caller holds a place, and no instance yet.
    pub(crate) fn take(&self, version: &Version, call: &JudgeCall, now: Instant) -> Option<R> {
        self.drop_stale(now);
        let mut idle = self.lock();
        // The newest, so that those beyond what is needed at a time grow stale.
        let at = idle.iter().rposition(|idle| idle.is_for(version, call))?;
        idle.remove(at).map(|idle| idle.instance)
    }

    /// Lets an instance wait that was called for this. The caller holds a place.
    pub(crate) fn put(&self, version: &Version, call: &JudgeCall, instance: R, now: Instant) {
        let (trigger, config) = (Arc::clone(&call.trigger), Arc::clone(&call.config));
        let new = Idle { instance, version: version.id, trigger, config, since: now };
        let over = {
            let mut idle = self.lock();
            // Asked under the lock: what is put before the switch is found by whoever switched.
            if version.is_on() {
                idle.push_back(new);
                if idle.len() > IDLE_MAX { idle.pop_front() } else { None }
            } else {
                Some(new)
            }
        };
        // After the lock, because it takes a while to free an instance. In the pool it counts for the caller's place.
        drop(over);
    }

    /// Calls no instance of this version again; says whether any was before.
    pub(crate) fn switch_off(&self, version: &Version) -> bool {
        let was_on = !version.is_off.swap(true, Ordering::AcqRel);
        if was_on {
            self.n_switched_off.fetch_add(1, Ordering::Relaxed);
            self.forget(version);
        }
        was_on
    }

    /// Frees all instances of this version that wait.
    pub(crate) fn forget(&self, version: &Version) {
        // Under the lock, because the caller may hold no place: until they are freed, these count among those that wait.
        self.lock().retain(|idle| idle.version != version.id);
    }

    fn drop_stale(&self, now: Instant) {
        loop {
            let stale = self.lock().pop_front_if(|idle| now.saturating_duration_since(idle.since) > WAIT_MAX);
            // One at a time, because the caller's place has room for one.
            if stale.is_none() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle<R>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Idle<R> {
    fn is_for(&self, version: &Version, call: &JudgeCall) -> bool {
        // A plan hands out the same text at every call; where it is another copy, the text decides.
        let same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b) || a == b;
        self.version == version.id && same(&self.trigger, &call.trigger) && same(&self.config, &call.config)
    }
}

#[cfg(test)]
mod tests {
    use trapjaw_engine::event::Event;
    use trapjaw_engine::time::Time;

    use super::*;

    fn call(trigger: &str, config: &str) -> JudgeCall {
        JudgeCall {
            event: Arc::new(Event::new("shop", "order.paid", "1", Time(0))),
            config: config.into(),
            trigger: trigger.into(),
            subject: "".into(),
            now: Time(1),
            facts: "{}".into(),
        }
    }

    #[test]
    fn an_instance_is_for_what_it_was_called_for() {
        let (pool, now) = (WarmPool::new(), Instant::now());
        let (version, other) = (pool.enter(9), pool.enter(9));
        pool.put(&version, &call("t", "{}"), 1, now);
        assert_eq!(pool.take(&other, &call("t", "{}"), now), None);
        assert_eq!(pool.take(&version, &call("u", "{}"), now), None);
        assert_eq!(pool.take(&version, &call("t", "{ }"), now), None);
        assert_eq!(pool.take(&version, &call("t", "{}"), now), Some(1));
        assert_eq!(pool.take(&version, &call("t", "{}"), now), None, "one instance was taken twice");
    }

    #[test]
    fn the_newest_is_taken_and_the_oldest_goes() {
        let (pool, now) = (WarmPool::new(), Instant::now());
        let version = pool.enter(9);
        for n in 0..=IDLE_MAX {
            pool.put(&version, &call("t", "{}"), n, now);
        }
        assert_eq!(pool.gauges().n_idle, IDLE_MAX);
        let taken: Vec<usize> = std::iter::from_fn(|| pool.take(&version, &call("t", "{}"), now)).collect();
        assert_eq!(taken, (1..=IDLE_MAX).rev().collect::<Vec<_>>());
    }

    #[test]
    fn nothing_waits_for_ever() {
        let (pool, began) = (WarmPool::new(), Instant::now());
        let version = pool.enter(9);
        pool.put(&version, &call("t", "{}"), 1, began);
        pool.put(&version, &call("t", "{}"), 2, began + Duration::from_secs(1));
        // Whoever asks, and for whatever: what is stale goes.
        assert_eq!(pool.take(&version, &call("other", "{}"), began + WAIT_MAX), None);
        assert_eq!(pool.gauges().n_idle, 2);
        assert_eq!(pool.take(&version, &call("other", "{}"), began + WAIT_MAX + Duration::from_secs(1)), None);
        assert_eq!(pool.gauges().n_idle, 1);
        assert_eq!(pool.take(&version, &call("t", "{}"), began + 2 * WAIT_MAX), None);
    }

    #[test]
    fn a_version_that_is_off_keeps_nothing() {
        let (pool, now) = (WarmPool::new(), Instant::now());
        let (version, other) = (pool.enter(9), pool.enter(9));
        pool.put(&version, &call("t", "{}"), 1, now);
        pool.put(&other, &call("t", "{}"), 2, now);
        assert!(pool.switch_off(&version) && !pool.switch_off(&version));
        pool.put(&version, &call("t", "{}"), 3, now);
        assert_eq!((pool.gauges().n_idle, pool.gauges().n_switched_off), (1, 1));
        assert_eq!(pool.take(&other, &call("t", "{}"), now), Some(2));
    }

    #[test]
    fn repeats_are_dense_at_first_and_never_stop() {
        let version = WarmPool::<()>::new().enter(9);
        let repeated: Vec<u64> = (1..=1_024).filter(|_| version.count_verdict()).collect();
        assert_eq!(repeated, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1_024]);
    }
}
