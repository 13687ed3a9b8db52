//! The runtime's settings, the same for the compiler and for the calls, and the thread that ticks its epoch.

use std::num::NonZeroUsize;
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::settings::Settings;
use crate::warm;

/// How often running guests are looked at: the longest that one of them keeps its thread from others, and well within
/// the time that judging may take an event. A shorter tick would wake an idle host for nothing.
const TICK: Duration = Duration::from_millis(2);
/// The guest's stack.
pub(crate) const STACK_BYTES: usize = 512 << 10;
/// The guest's stack and that of the host functions it calls. Overflowing the latter would end the process, so it is
/// ample.
const STACK_WITH_HOST_BYTES: usize = 2 << 20;
/// The most frames of a backtrace.
const FRAMES_MAX: usize = 32;
/// What a component may consist of. Python, the largest known, has 14 core instances.
pub(crate) const CORE_INSTANCES_MAX: u32 = 32;
pub(crate) const MEMORIES_MAX: u32 = 4;
pub(crate) const TABLES_MAX: u32 = 8;
/// The most elements of one table. SpiderMonkey, the largest known, needs 7,689.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
/// How many places of memory stay warm for the component that had them last.
const WARM_MAX: u32 = 64;

/// The engine that calls are made in. It cannot compile.
pub(crate) fn calling(settings: &Settings) -> wasmtime::Result<Engine> {
    let n_calls = settings.n_conditions_max + settings.n_actions_max;
    let memory_bytes_max = settings.condition.memory_bytes_max.max(settings.action.memory_bytes_max);
    let mut pool = PoolingAllocationConfig::new();
    // The totals are what so many of the largest components need, so a call that has its place finds room, beside the
    // instances that wait for another.
    let n_rooms = n_calls + warm::IDLE_MAX as u32;
    pool.total_component_instances(n_rooms)
        .total_core_instances(n_rooms * CORE_INSTANCES_MAX)
        .total_memories(n_rooms * MEMORIES_MAX)
        .total_tables(n_rooms * TABLES_MAX)
        .total_stacks(n_rooms)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(memory_bytes_max)
        .max_unused_warm_slots(WARM_MAX)
        .decommit_batch_size(16);
    if has_pagemap_scan() {
        // Without the scan a slot that is kept is rewritten whole, which costs more than giving it back.
        pool.pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(1 << 20)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(64 << 10);
    }
    let mut config = config();
    config.enable_compiler(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// The engine that compiles. It makes no instances.
pub(crate) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = config();
    // The bits of a NaN would differ between machines, and with them what a condition says.
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config)
}

/// What both engines must agree on, or the code of one does not load into the other.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_WITH_HOST_BYTES)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES_MAX))
        // Functions are named by the name section. Debug information is not read: it is the author's to write and
        // would be ours to parse, at every trap.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false);
    config
}

/// Starts the thread that ticks the engine's epoch. It ends when the engine is gone.
///
/// It is a thread of its own, because a task would wait for the very guests that it is to interrupt.
pub(crate) fn start_ticking(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("sandbox-epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}

/// Whether the kernel can tell which pages of a range were written: Linux 6.7 and later.
fn has_pagemap_scan() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_at_least_6_7(&release))
}

fn is_at_least_6_7(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 7),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart() {
        let check = |release: &str, expected: bool| assert_eq!(is_at_least_6_7(release), expected, "{release}");
        check("6.1.0-18-amd64\n", false);
        check("6.7.0", true);
        check("6.18.44-fc-v669", true);
        check("5.15.167.4-microsoft-standard-WSL2", false);
        check("10.0", true);
        check("", false);
    }
}
