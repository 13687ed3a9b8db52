//! Sinks: what Trapjaw can send to, and the network clients they share.
//!
//! This crate is the only home of network clients. It knows nothing of runs, triggers, retries or plugins: a sink is
//! built from a connection's config, sends one message when it is told to, and says what the remote answered.
//! Breakers, pauses and rates are the engine's.

pub mod clients;
pub mod sinks;
