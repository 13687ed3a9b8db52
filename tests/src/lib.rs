//! Black box: what the tests and the demo need to run the real binary, speak to it, and receive what it sends.
//!
//! Nothing here knows the daemon's code: it is a process, an address, a token, and what arrives at a receiver.

mod api;
mod bench;
mod built;
mod daemon;
mod figures;
mod log;
mod random;
mod receiver;
mod sample;
mod signature;
mod soak;
mod wait;

pub use api::{Answer, Api};
pub use bench::Bench;
pub use built::{binary, component, components};
pub use daemon::{ADMIN_TOKEN, Daemon};
pub use figures::{milliseconds, quantile};
pub use log::Log;
pub use random::Random;
pub use receiver::{Delivery, Receiver, Reply, Watched};
pub use sample::{Sample, differences};
pub use signature::Verifier;
pub use soak::amount;
pub use wait::{spawn, wait_until};
