//! The guest side of `wit/`, generated once for each world; the worlds share their types.

#![allow(missing_docs, unsafe_code, unreachable_pub, unused_qualifications, clippy::all, reason = "generated code")]

pub use action_world::trapjaw::plugin::{ledger, log, sinks, types};

// On the host nothing stands behind state, not even types.
#[cfg(target_family = "wasm")]
pub use action_world::trapjaw::plugin::state;

/// What an action plugin sees of the host.
pub mod action_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "action-plugin",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_action",
    });
}

/// What a condition plugin sees of the host.
pub mod condition_world {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "condition-plugin",
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_condition",
        with: {
            "trapjaw:plugin/types@0.1.0": super::action_world::trapjaw::plugin::types,
            "trapjaw:plugin/log@0.1.0": super::action_world::trapjaw::plugin::log,
            "trapjaw:plugin/ledger@0.1.0": super::action_world::trapjaw::plugin::ledger,
        },
    });
}
