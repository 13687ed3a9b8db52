//! What the host chooses about the sandbox, and the limits of a call.

use std::path::PathBuf;
use std::time::Duration;

/// What the host chooses about the sandbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where compiled code is kept. It is made if it is missing, and closed to everyone else.
    pub cache_folder: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// How many calls of conditions are made at a time; more wait.
    pub n_conditions_max: u32,
    /// How many calls of actions are made at a time; more wait. They have places of their own, because an action may
    /// wait for a slow remote for a minute, and a condition must not wait for that.
    pub n_actions_max: u32,
    /// Which conditions are called again in the same instance.
    pub warm: Warm,
    /// The limits of a condition's call.
    pub condition: Limits,
    /// The limits of an action's call.
    pub action: Limits,
}

impl Settings {
    /// The settings that fit most hosts.
    pub fn new(cache_folder: PathBuf, compiler: Compiler) -> Self {
        Self {
            cache_folder,
            compiler,
            n_conditions_max: 64,
            n_actions_max: 192,
            warm: Warm::Asked,
            condition: Limits::CONDITION,
            action: Limits::ACTION,
        }
    }
}

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This program, called with [`COMPILE_COMMAND`](crate::COMPILE_COMMAND) as its only argument. The compiler reads
    /// what strangers wrote, so it gets a process of its own, with limits. `/proc/self/exe` is the host's own program
    /// even after its file was replaced; code of another build would not load.
    Child(PathBuf),
    /// This process. For tests, whose components are their own.
    Here,
}

/// Which conditions are called again in the same instance. An action never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warm {
    /// Those whose manifest asks for it.
    Asked,
    /// None: every call gets a fresh instance.
    Never,
    /// All, as often as a manifest may ask for at the most. For measuring, and for tests.
    Always,
}

/// What one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Thread time: of the guest, of its instantiation, and of what the host does for it meanwhile.
    pub cpu: Duration,
    /// Time on the wall, from when the call has its place.
    pub wall: Duration,
    /// All linear memories together.
    pub memory_bytes_max: usize,
    /// Messages sent.
    pub n_sends_max: u32,
}

impl Limits {
    /// The limits of a condition: it only computes, so what takes long is stuck.
    pub const CONDITION: Self = Self {
        cpu: Duration::from_millis(50),
        wall: Duration::from_secs(5),
        memory_bytes_max: 64 << 20,
        n_sends_max: 0,
    };

    /// The limits of an action: it waits for remotes.
    pub const ACTION: Self = Self {
        cpu: Duration::from_secs(1),
        wall: Duration::from_secs(60),
        memory_bytes_max: 256 << 20,
        n_sends_max: 100,
    };
}

/// The most bytes of an action's output.
pub(crate) const OUTPUT_BYTES_MAX: usize = trapjaw_engine::limits::BODY_BYTES_MAX;
/// The longest reason of a verdict or a skip, and the longest message of a failure.
pub(crate) const REASON_BYTES_MAX: usize = trapjaw_engine::limits::DETAIL_BYTES_MAX;
/// The most lines of a call's log.
pub(crate) const LOG_LINES_MAX: usize = 256;
/// The most bytes of a call's log, escaped.
pub(crate) const LOG_BYTES_MAX: usize = 64 << 10;
/// What is kept of the beginning of standard error, and as much again of its end: a panic's message comes first, a
/// traceback's last.
pub(crate) const STDERR_HALF_BYTES_MAX: usize = 4 << 10;
/// The most bytes that the guest may hand to the host in one call of a host function, or as its answer: a message of
/// [`OUTPUT_BYTES_MAX`] and as much again for its headers and the bookkeeping of lists.
pub(crate) const HANDED_BYTES_MAX: usize = 2 << 20;
/// The most look-ups in the ledger of one call: each is a read of the store.
pub(crate) const LOOKUPS_MAX: u32 = 100;
/// The most uses of the plugin's state of one call.
pub(crate) const STATE_CALLS_MAX: u32 = 1_000;
/// The most bytes that one call may write to the plugin's state: they are held until the attempt settles.
pub(crate) const STATE_BYTES_MAX: usize = 4 << 20;
/// The most table elements of one call, all tables together.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// The most WASI resources (streams, pollables) that a guest may hold.
pub(crate) const RESOURCES_MAX: usize = 256;
/// The most random bytes that a guest may draw at a time; the host makes them without a pause.
pub(crate) const RANDOM_BYTES_MAX: u64 = 64 << 10;
