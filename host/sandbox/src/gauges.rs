//! What the sandbox holds, and what it counted: values for whoever watches.

/// What the sandbox holds at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// Calls of conditions.
    pub conditions: LaneGauges,
    /// Calls of actions.
    pub actions: LaneGauges,
    /// Components that can be called, or are being called for the last time.
    pub n_plugins: usize,
    /// Instances in the pool.
    pub n_instances: u64,
    /// Linear memories in use.
    pub n_memories: usize,
    /// Stacks in use.
    pub n_stacks: usize,
    /// Linear memories that are free, and warm for the component that had them last.
    pub n_warm_memories: u32,
    /// Bytes that the free memories still hold.
    pub warm_bytes: usize,
    /// Calls of conditions in the same instance.
    pub warm: WarmGauges,
}

/// The calls of one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneGauges {
    /// Calls that are being made.
    pub n_running: usize,
    /// Calls that wait for a place.
    pub n_waiting: usize,
}

/// Conditions that are called again in the same instance. What is counted is counted since the sandbox was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmGauges {
    /// Instances that wait for another call.
    pub n_idle: usize,
    /// Calls of conditions that were made in an instance of an earlier call.
    pub n_warm_calls: u64,
    /// Calls of conditions that were made in a fresh instance, without the repeats.
    pub n_fresh_calls: u64,
    /// Warm calls that were repeated in a fresh instance.
    pub n_repeats: u64,
    /// Versions of plugins whose repeats differed, so that each of their calls gets a fresh instance.
    pub n_switched_off: u64,
}
