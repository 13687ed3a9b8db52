//! The host's side of the contract in `wit/`, generated.

#![allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated code")]

/// The world of conditions, and the interfaces that both worlds share.
pub(crate) mod condition {
    wasmtime::component::bindgen!({
        world: "condition-plugin",
        path: "../../wit",
        imports: { "trapjaw:plugin/ledger": async | trappable },
        exports: { default: async },
        // The event and the context are handed over as they lie in memory; nothing is copied but into the guest.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

/// The world of actions.
pub(crate) mod action {
    wasmtime::component::bindgen!({
        world: "action-plugin",
        path: "../../wit",
        imports: { "trapjaw:plugin/sinks": async, "trapjaw:plugin/state": async },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: false },
        with: {
            "trapjaw:plugin/types": super::condition::trapjaw::plugin::types,
            "trapjaw:plugin/log": super::condition::trapjaw::plugin::log,
            "trapjaw:plugin/ledger": super::condition::trapjaw::plugin::ledger,
        },
    });
}

pub(crate) use action::trapjaw::plugin::{sinks, state};
pub(crate) use condition::trapjaw::plugin::{ledger, log, types};
