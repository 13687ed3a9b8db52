//! Write Trapjaw conditions and actions in Rust: one annotated function is a plugin.
//!
//! ```
//! use serde::Deserialize;
//! use trapjaw_sdk::{Event, Failure, Verdict};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     at_least: f64,
//! }
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     total: f64,
//! }
//!
//! #[trapjaw_sdk::condition]
//! fn check(event: &Event, config: Config) -> Result<Verdict, Failure> {
//!     let order: Order = event.data()?;
//!     let reason = format!("total {}, {} wanted", order.total, config.at_least);
//!     Ok(Verdict::new(order.total >= config.at_least, reason))
//! }
//! # fn main() {}
//! ```
//!
//! A condition only decides, so it may use [`log`] and [`ledger`]; an action may use [`sinks`] and [`state`] as well.
//! Outside Trapjaw, in a unit test, log lines go to stderr and the other doors answer that they are closed.

mod bindings;
mod call;
mod event;
mod failure;
pub mod ledger;
pub mod log;
mod outcome;
pub mod sinks;
pub mod state;
mod verdict;

pub use bindings::types::{Context, Event, Failure, FailureKind};
pub use outcome::{IntoOutcome, Outcome};
pub use serde_json::{Value, json};
pub use trapjaw_sdk_macros::{action, condition};
pub use verdict::{IntoVerdict, Verdict};

/// What the attributes expand to; no part of the promise to authors.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{action_world, condition_world};
    pub use crate::call::{act, judge, read_config};
}

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
