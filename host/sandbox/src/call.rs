//! One call: a free place, a store, a deadline, an instance, an answer. The only file that makes stores.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use trapjaw_engine::ports::{CallError, Report};
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::fault::{self, Stage, Stop};
use crate::guest::Guest;
use crate::meter::Meter;
use crate::settings::{HANDED_BYTES_MAX, Limits};

/// The places that calls of one world are made in, and what such a call may take.
pub(crate) struct Lane {
    engine: Engine,
    limits: Limits,
    places: Semaphore,
    n_running: AtomicUsize,
    n_waiting: AtomicUsize,
}

/// What is done with a store: the guest's function is called in a new instance.
pub(crate) type Work<'a, R> = Pin<Box<dyn Future<Output = Result<R, Broken>> + Send + 'a>>;

/// The runtime's error, and how far the call had come.
pub(crate) struct Broken {
    stage: Stage,
    err: wasmtime::Error,
}

impl Broken {
    pub(crate) fn instantiate(err: wasmtime::Error) -> Self {
        Self { stage: Stage::Instantiate, err }
    }

    pub(crate) fn call(err: wasmtime::Error) -> Self {
        Self { stage: Stage::Call, err }
    }
}

impl Lane {
    pub(crate) fn new(engine: Engine, limits: Limits, n_places: u32) -> Self {
        let places = Semaphore::new(n_places as usize);
        Self { engine, limits, places, n_running: AtomicUsize::new(0), n_waiting: AtomicUsize::new(0) }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many calls run, and how many wait for a place.
    pub(crate) fn n_running_and_waiting(&self) -> (usize, usize) {
        (self.n_running.load(Ordering::Relaxed), self.n_waiting.load(Ordering::Relaxed))
    }

    /// Does the work in a store of its own, once there is a place. The store is gone when this returns or is dropped.
    pub(crate) async fn call<R, W>(&self, guest: Guest, work: W) -> Report<R>
    where
        W: for<'a> FnOnce(&'a mut Store<Guest>) -> Work<'a, R> + Send,
        R: Send,
    {
        // Declared before the store, so dropped after it: the place is free when its memory is.
        let _place = self.take_place().await;
        let _running = Counted::new(&self.n_running);
        let meter = Arc::new(Meter::default());
        let mut store = self.open_store(guest, Arc::clone(&meter));
        let answer = match tokio::time::timeout(self.limits.wall, meter.count(work(&mut store))).await {
            Ok(done) => done.map_err(|broken| fault::read(&broken.err, broken.stage, &self.limits)),
            Err(_) => Err(fault::over_wall(&self.limits)),
        };
        Report { answer, cpu: meter.so_far(), log: store.into_data().into_log() }
    }

    async fn take_place(&self) -> tokio::sync::SemaphorePermit<'_> {
        if let Ok(place) = self.places.try_acquire() {
            return place;
        }
        let _waiting = Counted::new(&self.n_waiting);
        self.places.acquire().await.expect("the semaphore is never closed")
    }

    /// A store whose guest is limited before any of its code can run: start functions run at instantiation.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule points to")]
    fn open_store(&self, guest: Guest, meter: Arc<Meter>) -> Store<Guest> {
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(HANDED_BYTES_MAX);
        store.set_epoch_deadline(1);
        let cpu = self.limits.cpu;
        // The epoch ticks by the wall; what counts is the thread time of this call. A guest within its limit lets the
        // others of its thread go first, and that is where the wall's limit can reach it.
        store.epoch_deadline_callback(move |_| {
            if meter.so_far() >= cpu {
                return Err(Stop::Cpu.into());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

/// Counts something for as long as it is held.
pub(crate) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The report of a call that was not made.
pub(crate) fn not_made<R>(why: &str) -> Report<R> {
    Report { answer: Err(CallError::Host(why.into())), log: Default::default(), cpu: Default::default() }
}
