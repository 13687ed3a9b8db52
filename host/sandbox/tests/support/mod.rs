//! What the tests share: sandboxes, components from WebAssembly text, calls, and a world that can be held up.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{
    Activity, CallError, Failure, Hands, JudgeCall, Outcome, Past, PerformCall, Plugin, Receipt, Report, SendRequest,
    StateOp, Verdict,
};
use trapjaw_engine::time::Time;
use trapjaw_sandbox::{Compiler, LoadError, Sandbox, Settings};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub(crate) const NOW: Time = Time(1_700_000_001_000_000);

/// A sandbox with few places, in a folder of its own.
pub(crate) struct Bench {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = open(folder.path(), change);
        Self { sandbox, folder }
    }

    pub(crate) async fn load(&self, bytes: &[u8]) -> Arc<dyn Plugin> {
        load(&self.sandbox, bytes).await.unwrap()
    }
}

pub(crate) fn open(folder: &Path, change: impl FnOnce(&mut Settings)) -> Arc<Sandbox> {
    let mut settings = Settings::new(folder.join("compiled"), Compiler::Here);
    (settings.n_conditions_max, settings.n_actions_max) = (8, 8);
    change(&mut settings);
    Sandbox::new(settings).unwrap()
}

pub(crate) async fn load(sandbox: &Arc<Sandbox>, bytes: &[u8]) -> Result<Arc<dyn Plugin>, LoadError> {
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    sandbox.load(&digest, Bytes::copy_from_slice(bytes)).await
}

/// A condition whose function has this body. It gets a pointer to its arguments, and returns one to its answer: at
/// 1024 is one that says `false` without a reason.
pub(crate) fn condition(items: &str, body: &str) -> Vec<u8> {
    component("condition-plugin", "trapjaw:plugin/condition@0.1.0#evaluate", items, body)
}

/// An action whose function has this body; at 1024 is an answer that says `done` without an output.
pub(crate) fn action(items: &str, body: &str) -> Vec<u8> {
    component("action-plugin", "trapjaw:plugin/action@0.1.0#perform", items, body)
}

/// A condition as [`condition`] makes it, which may import [`RANDOM`] and [`CLOCK`] besides.
pub(crate) fn condition_of_chance(items: &str, body: &str) -> Vec<u8> {
    component(WITH_CHANCE, "trapjaw:plugin/condition@0.1.0#evaluate", items, body)
}

/// The component, with a manifest that asks for a warm pool.
pub(crate) fn asking(uses: u32, mut component: Vec<u8>) -> Vec<u8> {
    let (name, manifest) = ("trapjaw:manifest", format!(r#"{{"warm":{{"uses":{uses}}}}}"#));
    let sizes = [1 + name.len() + manifest.len(), name.len()].map(|size| u8::try_from(size).unwrap());
    assert!(sizes[0] < 0x80, "the sizes stand in one byte each");
    component.extend([0, sizes[0], sizes[1]]);
    component.extend(name.bytes().chain(manifest.bytes()));
    component
}

const WITH_CHANCE: &str = "condition-of-chance";
/// The contract's world and what of WASI the tests call directly, in place of a language's library.
const CHANCE: &str = "package test:chance;
    world condition-of-chance {
        include trapjaw:plugin/condition-plugin@0.1.0;
        import wasi:random/random@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
    }
    package wasi:random@0.2.0 { interface random { get-random-u64: func() -> u64; } }
    package wasi:clocks@0.2.0 { interface monotonic-clock { now: func() -> u64; } }";
pub(crate) const RANDOM: &str = r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#;
pub(crate) const CLOCK: &str = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))"#;

fn component(world: &str, export: &str, items: &str, body: &str) -> Vec<u8> {
    // The arguments are laid down from 64 KiB on; nothing is ever freed.
    let module = format!(
        r#"(module
            {items}
            (global $free (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3))))
            (func $run (export "{export}") (param i32) (result i32) {body}))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let wit = PathBuf::from("../../wit");
    let (package, _) = resolve.push_path(&wit).unwrap();
    let world = match world {
        WITH_CHANCE => resolve.push_str("chance.wit", CHANCE).and_then(|own| resolve.select_world(&[own], None)),
        _ => resolve.select_world(&[package], Some(world)),
    };
    let world = world.unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// Memory of two pages, which most of the components need and no more.
pub(crate) const MEMORY: &str = r#"(memory (export "memory") 2)"#;
/// A condition's import, and its call: it waits for the world to answer.
pub(crate) const LEDGER: &str = r#"(import "trapjaw:plugin/ledger@0.1.0" "current" (func $current (param i32)))"#;
pub(crate) const ASK: &str = "(call $current (i32.const 2048)) (i32.const 1024)";
/// A loop without an end.
pub(crate) const SPIN: &str = "(loop $again (br $again)) (unreachable)";

pub(crate) fn judge_call(config: &str) -> JudgeCall {
    let mut event = Event::new("shop", "order.paid", "1", Time(1_700_000_000_000_000));
    event.data = Bytes::from_static(b"{}");
    JudgeCall {
        event: Arc::new(event),
        config: config.into(),
        trigger: "shop.vip".into(),
        subject: "c-17".into(),
        now: NOW,
        facts: "{}".into(),
    }
}

pub(crate) fn perform_call(config: &str) -> PerformCall {
    let JudgeCall { event, config, trigger, subject, now, facts } = judge_call(config);
    let (run, action, traceparent) = ("run_1".into(), "crm".into(), None);
    PerformCall { event, config, trigger, run, action, subject, attempt: 1, now, facts, traceparent }
}

pub(crate) async fn judge(plugin: &Arc<dyn Plugin>, config: &str) -> Report<Verdict> {
    plugin.judge(judge_call(config), Arc::new(Outside::default())).await
}

pub(crate) async fn perform(plugin: &Arc<dyn Plugin>, config: &str, outside: &Arc<Outside>) -> Report<Outcome> {
    plugin.perform(perform_call(config), Arc::<Outside>::clone(outside)).await
}

/// The limit that the call went over, as its message begins, and the backtrace.
pub(crate) fn over_limit<T: std::fmt::Debug>(report: &Report<T>, expected: &str) -> String {
    match &report.answer {
        Err(CallError::Limit { message, backtrace }) if message.starts_with(expected) => backtrace.clone(),
        other => panic!("expected the limit `{expected}`, got {other:?}"),
    }
}

pub(crate) fn matched(report: &Report<Verdict>) -> bool {
    report.answer.as_ref().unwrap_or_else(|err| panic!("{err:?}, {:?}", report.log)).matched
}

/// The world outside the sandbox: it notes what is asked of it, and can be held up.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) asked: Mutex<Vec<String>>,
    pub(crate) sent: Mutex<Vec<SendRequest>>,
    pub(crate) changed: Mutex<Vec<StateOp>>,
    /// When it is there, the ledger answers only after something was put into `open`; `asked` says that it was asked.
    pub(crate) gate: Option<Gate>,
}

pub(crate) struct Gate {
    pub(crate) asked: Semaphore,
    pub(crate) open: Semaphore,
}

impl Outside {
    pub(crate) fn held_up() -> Arc<Self> {
        let gate = Gate { asked: Semaphore::new(0), open: Semaphore::new(0) };
        Arc::new(Self { gate: Some(gate), ..Self::default() })
    }

    /// Returns when the ledger has been asked.
    pub(crate) async fn was_asked(&self) {
        self.gate.as_ref().unwrap().asked.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_go(&self) {
        self.gate.as_ref().unwrap().open.add_permits(1);
    }
}

#[async_trait]
impl Past for Outside {
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, Failure> {
        self.asked.lock().unwrap().push(format!("{trigger} {subject}"));
        if let Some(gate) = &self.gate {
            gate.asked.add_permits(1);
            gate.open.acquire().await.unwrap().forget();
        }
        if trigger == "broken" {
            return Err(Failure::transient("the store does not answer"));
        }
        Ok(Activity { count: 3, last: Some(Time(5)) })
    }
}

#[async_trait]
impl Hands for Outside {
    async fn send(&self, request: SendRequest) -> Result<Receipt, Failure> {
        if request.label == "nobody-granted-this" {
            return Err(Failure::rejected("label `nobody-granted-this` is not bound"));
        }
        self.sent.lock().unwrap().push(request);
        Ok(Receipt { status: Some(204), ..Receipt::default() })
    }

    async fn state_get(&self, _: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(None)
    }

    async fn state_change(&self, op: StateOp) -> Result<i64, Failure> {
        self.changed.lock().unwrap().push(op);
        Ok(1)
    }
}
