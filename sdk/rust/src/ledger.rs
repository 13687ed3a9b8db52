//! What happened before, as of the moment this call began.

pub use crate::bindings::ledger::Activity;

/// The finished runs of this trigger for the run's subject. Outside Trapjaw there are none.
#[cfg(target_family = "wasm")]
pub fn current() -> Activity {
    crate::bindings::ledger::current()
}

/// The finished runs of another trigger of the same team. Outside Trapjaw there are none.
#[cfg(target_family = "wasm")]
pub fn lookup(trigger: &str, subject: &str) -> Activity {
    crate::bindings::ledger::lookup(trigger, subject)
}

/// The finished runs of this trigger for the run's subject. Outside Trapjaw there are none.
#[cfg(not(target_family = "wasm"))]
pub fn current() -> Activity {
    Activity { count: 0, last_us: None }
}

/// The finished runs of another trigger of the same team. Outside Trapjaw there are none.
#[cfg(not(target_family = "wasm"))]
pub fn lookup(_trigger: &str, _subject: &str) -> Activity {
    Activity { count: 0, last_us: None }
}
