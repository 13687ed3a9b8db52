//! Plugins: the only home of the WebAssembly runtime.
//!
//! A component is checked, compiled in a child process, kept on disk under a host key, and linked once. Every call
//! then gets a fresh store and instance, with limits on time, memory, log, output and sends; only a condition that asks
//! for it is called again in an instance that was called before.
//!
//! ```text
//! upload ─▶ check   is it a component, of which world, what does it import
//!           cache   code compiled earlier, if it is ours beyond doubt
//!           compile else a child process compiles it, one at a time
//!           plugin  linked: ready to be called
//!           judge   a condition: in a warm instance or a fresh one, now and then in both, to compare
//!           warm    the instances that wait for another call: for whom, how many, how long
//!           call    a free place, a store, a deadline, an instance, an answer
//!           imports what the guest may ask of the host meanwhile: log, ledger, sinks, state; WASI, virtual or empty
//! ```
//!
//! What is not here: the crate does not know which sinks exist, it calls [`Hands`](trapjaw_engine::ports::Hands); it
//! keeps no registry of plugins; and nothing of a guest outlives its call, but for the memory and the handles of a warm
//! instance. Those are met again only by the same plugin, trigger and configuration, and never after a trap or a limit.

mod sandbox;
mod settings;
mod gauges;

mod check;

mod cache;
mod child;
mod compile;

mod plugin;
mod judge;
mod warm;
mod call;

mod bindings;
mod engine;
mod fault;
mod guest;
mod imports;
mod limiter;
mod meter;
mod text;
mod wasi;

pub use check::{About, Reason};
pub use child::{COMPILE_COMMAND, compile_child};
pub use gauges::{Gauges, LaneGauges, WarmGauges};
pub use sandbox::{LoadError, OpenError, Sandbox};
pub use settings::{Compiler, Limits, Settings, Warm};
