//! What a guest may ask of the host: one file for each interface, each a thin conversion to the engine's ports.

mod ledger;
mod log;
mod sinks;
mod state;

use std::time::Duration;

use trapjaw_engine::ports::{Failure, FailureKind};
use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::{action, condition, types};
use crate::guest::Guest;
use crate::{settings, text, wasi};

/// What a condition finds.
pub(crate) fn for_conditions(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasi::link_virtual_clock(&mut linker)?;
    condition::ConditionPlugin::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

/// What an action finds.
pub(crate) fn for_actions(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    action::ActionPlugin::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl types::Host for Guest {}

/// The engine's failure as the guest sees it.
fn to_guest(failure: Failure) -> types::Failure {
    let kind = match failure.kind {
        FailureKind::Transient => types::FailureKind::Transient,
        FailureKind::Permanent => types::FailureKind::Permanent,
        FailureKind::Rejected => types::FailureKind::Rejected,
    };
    let after_ms = failure.after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
    types::Failure { kind, message: failure.message, after_ms }
}

/// The guest's failure as the engine sees it, its message bounded.
pub(crate) fn from_guest(failure: types::Failure) -> Failure {
    let kind = match failure.kind {
        types::FailureKind::Transient => FailureKind::Transient,
        types::FailureKind::Permanent => FailureKind::Permanent,
        types::FailureKind::Rejected => FailureKind::Rejected,
    };
    Failure {
        kind,
        message: text::cut(failure.message, settings::REASON_BYTES_MAX),
        after: failure.after_ms.map(|ms| Duration::from_millis(ms.into())),
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::*;
    use crate::check::{FOR_ACTIONS, FOR_CONDITIONS, WASI};
    use crate::engine;

    #[test]
    fn every_import_that_passes_the_check_is_offered() {
        let engine = engine::compiling().unwrap();
        let check = |linker: Linker<Guest>, ours: &[&str]| {
            let wasi = WASI.iter().map(|name| format!("{name}@0.2.0"));
            let ours = ours.iter().map(|name| format!("trapjaw:plugin/{name}@0.1.0"));
            let imports: String = wasi.chain(ours).map(|name| format!("(import {name:?} (instance))")).collect();
            let component = Component::new(&engine, wat::parse_str(format!("(component {imports})")).unwrap()).unwrap();
            linker.instantiate_pre(&component).map(|_| ()).unwrap();
        };
        check(for_conditions(&engine).unwrap(), FOR_CONDITIONS);
        check(for_actions(&engine).unwrap(), FOR_ACTIONS);
    }
}
