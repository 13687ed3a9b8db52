//! WASI 0.2 as a guest sees it: clocks, randomness and standard error, and all the rest there but empty.
//!
//! A condition is repeatable, so all that it sees here follows from its call. Its wall clock stands at the call's time.
//! Its monotonic clock begins at 0 and moves by a fixed step at each reading; a sleep ends at once and moves the clock
//! to its end. Its randomness is drawn from the names of what it is asked. An action has real clocks and randomness,
//! but its wall clock begins at the call's time.

mod dice;
mod stderr;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trapjaw_engine::ports::JudgeCall;
use trapjaw_engine::time::Time;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};

use self::dice::Dice;
use self::stderr::Stderr;
use crate::guest::Guest;
use crate::settings::{RANDOM_BYTES_MAX, RESOURCES_MAX};

/// How far a condition's monotonic clock moves at each reading, so that a loop that waits for it ends.
const STEP_NS: u64 = 1_000;

/// Whose WASI it is.
pub(crate) enum WasiOf {
    /// A condition's: virtual.
    Condition(JudgeCall),
    /// An action's: real, from this time on, which it was at that instant.
    Action(Time, Instant),
}

/// The WASI of one guest.
///
/// What a guest can hold a handle of outlives a call with the guest: the table, and the clock and standard error that
/// entries of it share. All the rest is of one call, and made when the guest first uses it; most small guests never do.
pub(crate) struct Wasi {
    table: ResourceTable,
    monotonic: Arc<AtomicU64>,
    stderr: Stderr,
    call: Option<WasiOf>,
    made: Option<WasiCtx>,
}

impl Wasi {
    pub(crate) fn new(of: WasiOf) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let (monotonic, stderr) = (Arc::default(), Stderr::default());
        Self { table, monotonic, stderr, call: Some(of), made: None }
    }

    /// Lets go of all that the call was given.
    pub(crate) fn rest(&mut self) {
        (self.call, self.made) = (None, None);
    }

    /// Begins another call of the guest: its clocks and its randomness are those of a new guest.
    pub(crate) fn renew(&mut self, of: WasiOf) {
        (self.call, self.made) = (Some(of), None);
        self.monotonic.store(0, Ordering::Relaxed);
        self.stderr.clear();
    }

    /// What the guest wrote to standard error, shortened and escaped.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let Wasi { table, monotonic, stderr, call, made } = &mut self.wasi;
        let ctx = made.get_or_insert_with(|| {
            let of = call.as_ref().expect("a guest runs only while it is called");
            make(of, monotonic, stderr)
        });
        WasiCtxView { ctx, table }
    }
}

fn make(of: &WasiOf, monotonic: &Arc<AtomicU64>, stderr: &Stderr) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.stderr(stderr.clone()).allow_tcp(false).allow_udp(false).max_random_size(RANDOM_BYTES_MAX);
    match of {
        WasiOf::Condition(call) => {
            let mut dice = Dice::of(call);
            builder
                .wall_clock(WallClock { from: call.now, began: None })
                .monotonic_clock(Virtual(Arc::clone(monotonic)))
                .insecure_random_seed(dice.roll_u128())
                .insecure_random(dice.other())
                .secure_random(dice);
        }
        WasiOf::Action(now, began) => {
            builder.wall_clock(WallClock { from: *now, began: Some(*began) });
        }
    }
    builder.build()
}

/// A wall clock that stands at a time, or moves on from there.
struct WallClock {
    from: Time,
    began: Option<Instant>,
}

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        let passed = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        Duration::from_micros((self.from + passed).as_micros())
    }
}

/// The monotonic clock of a condition.
struct Virtual(Arc<AtomicU64>);

impl HostMonotonicClock for Virtual {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(STEP_NS, Ordering::Relaxed)
    }
}

/// Puts the virtual clock in the place of the one in the linker, which would sleep.
pub(crate) fn link_virtual_clock(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<Guest, HasVirtualClock>(linker, |guest| VirtualClock {
        clock: &guest.wasi.monotonic,
        table: &mut guest.wasi.table,
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct HasVirtualClock;

impl HasData for HasVirtualClock {
    type Data<'a> = VirtualClock<'a>;
}

struct VirtualClock<'a> {
    clock: &'a Arc<AtomicU64>,
    table: &'a mut ResourceTable,
}

impl monotonic_clock::Host for VirtualClock<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(Virtual(Arc::clone(self.clock)).now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(STEP_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Timer { clock: Arc::clone(self.clock), when })?;
        subscribe(self.table, timer)
    }

    fn subscribe_duration(&mut self, span: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_instant(self.clock.load(Ordering::Relaxed).saturating_add(span))
    }
}

/// A sleep on the virtual clock: it is over when someone waits for it, and the clock is where it ends.
struct Timer {
    clock: Arc<AtomicU64>,
    when: u64,
}

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        self.clock.fetch_max(self.when, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use trapjaw_engine::ports::{Activity, Failure, Past};
    use wasmtime_wasi::cli::WasiCliView;
    use wasmtime_wasi::filesystem::WasiFilesystemView;
    use wasmtime_wasi::p2::bindings::cli::environment::Host as _;
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::instance_network::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::network::IpAddressFamily;
    use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
    use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
    use wasmtime_wasi::sockets::WasiSocketsView;

    use super::*;
    use crate::guest::Doors;
    use crate::settings::Limits;

    struct Nothing;

    #[async_trait::async_trait]
    impl Past for Nothing {
        async fn activity(&self, _: &str, _: &str) -> Result<Activity, Failure> {
            Ok(Activity::default())
        }
    }

    #[tokio::test]
    async fn there_is_no_way_out() {
        let doors = Doors::of_condition("t".into(), "".into(), Arc::new(Nothing));
        let mut guest = Guest::new(WasiOf::Action(Time(0), Instant::now()), &Limits::ACTION, doors);
        assert!(guest.sockets().create_tcp_socket(IpAddressFamily::Ipv4).is_err());
        assert!(guest.sockets().create_udp_socket(IpAddressFamily::Ipv6).await.is_err());
        let network = guest.sockets().instance_network().unwrap();
        assert!(guest.sockets().resolve_addresses(network, "localhost".into()).is_err());
        assert!(guest.filesystem().get_directories().unwrap().is_empty());
        assert!(guest.cli().get_environment().unwrap().is_empty());
        assert!(guest.cli().get_arguments().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_virtual_sleep_moves_the_clock() {
        let clock = Arc::new(AtomicU64::new(0));
        let mut table = ResourceTable::new();
        let now =
            |table: &mut ResourceTable| monotonic_clock::Host::now(&mut VirtualClock { clock: &clock, table }).unwrap();
        assert_eq!((now(&mut table), now(&mut table)), (0, STEP_NS));
        Timer { clock: Arc::clone(&clock), when: 5_000_000 }.ready().await;
        assert_eq!(now(&mut table), 5_000_000);
        Timer { clock: Arc::clone(&clock), when: 7 }.ready().await;
        assert_eq!(now(&mut table), 5_000_000 + STEP_NS);
    }
}
