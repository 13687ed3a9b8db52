//! One call: a free place, a store, a deadline, an instance, an answer. The only file that makes stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use trapjaw_engine::ports::{CallError, Report};
use wasmtime::{Engine, Store, UpdateDeadline};

use crate::fault::{self, Stage, Stop};
use crate::guest::{Doors, Guest};
use crate::meter::Meter;
use crate::settings::{HANDED_BYTES_MAX, Limits};
use crate::wasi::WasiOf;

/// The places that calls of one world are made in, and what such a call may take.
pub(crate) struct Lane {
    engine: Engine,
    limits: Limits,
    places: Semaphore,
    n_running: AtomicUsize,
    n_waiting: AtomicUsize,
}

/// A place of a lane, held for as long as a call is made in it.
///
/// The pool has room for one instance a place, beside those that wait. So whoever holds a place has at most one room at
/// a time, and it is gone before the place is: declare the place first.
pub(crate) struct Place<'a> {
    /// When it was taken: the call's time begins then.
    pub(crate) since: Instant,
    until: Instant,
    _running: Counted<'a>,
    _permit: SemaphorePermit<'a>,
}

/// A store, and what is measured of the call in it.
pub(crate) struct Room {
    pub(crate) store: Store<Guest>,
    pub(crate) meter: Arc<Meter>,
}

impl Room {
    /// Makes the room ready for another call: but for the guest's own memory and handles, it is as a new one.
    pub(crate) fn renew(&mut self, wasi: WasiOf, doors: Doors) {
        self.store.data_mut().renew(wasi, doors);
        self.store.set_epoch_deadline(1);
        self.meter.reset();
    }
}

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

    /// A place for one call, once there is one.
    pub(crate) async fn take_place(&self) -> Place<'_> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Counted::new(&self.n_waiting);
                self.places.acquire().await.expect("the semaphore is never closed")
            }
        };
        let since = Instant::now();
        Place { since, until: since + self.limits.wall, _running: Counted::new(&self.n_running), _permit: permit }
    }

    /// A room whose guest is limited before any of its code can run: start functions run at instantiation.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule points to")]
    pub(crate) fn open(&self, guest: Guest) -> Room {
        let mut store = Store::new(&self.engine, guest);
        store.limiter(|guest| &mut guest.limiter);
        // The runtime begins anew with it at each call of a host function.
        store.set_hostcall_fuel(HANDED_BYTES_MAX);
        store.set_epoch_deadline(1);
        let meter = Arc::new(Meter::default());
        let (cpu, clock) = (self.limits.cpu, Arc::clone(&meter));
        // The epoch ticks by the wall; what counts is the thread time of this call. A guest within its limit lets the
        // others of its thread go first, and that is where the wall's limit can reach it.
        store.epoch_deadline_callback(move |_| {
            if clock.so_far() >= cpu {
                return Err(Stop::Cpu.into());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Room { store, meter }
    }

    /// Does the work, in the room that the meter is of, within the limits. Where that fails, the guest was stopped in the
    /// middle of something, and must not be called again.
    pub(crate) async fn call<R>(
        &self,
        place: &Place<'_>,
        meter: &Meter,
        work: impl Future<Output = Result<R, Broken>>,
    ) -> Result<R, CallError> {
        match tokio::time::timeout_at(place.until, meter.count(work)).await {
            Ok(done) => done.map_err(|broken| fault::read(&broken.err, broken.stage, &self.limits)),
            Err(_) => Err(fault::over_wall(&self.limits)),
        }
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
