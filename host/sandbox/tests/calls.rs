//! Calls of small components in WebAssembly text: what they answer, what stops them, what they leave alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use trapjaw_engine::ports::{CallError, LogLevel, Outcome, Plugin, World};
use trapjaw_engine::tasks::spawn;

/// Answers `matched`, with a reason of so many bytes from address 0 on.
fn reason(n_pages: u32, n_bytes: u32, first: &str) -> Vec<u8> {
    let memory = format!(r#"(memory (export "memory") {n_pages}) (data (i32.const 0) "{first}")"#);
    let body = format!(
        "(i32.store8 (i32.const 1028) (i32.const 1)) (i32.store8 (i32.const 1032) (i32.const 1))
         (i32.store (i32.const 1036) (i32.const 0)) (i32.store (i32.const 1040) (i32.const {n_bytes})) (i32.const 1024)"
    );
    condition(&memory, &body)
}

#[tokio::test]
async fn a_condition_answers() {
    let bench = Bench::new();
    let plugin = bench.load(&condition(MEMORY, "(i32.const 1024)")).await;
    assert_eq!((plugin.world(), plugin.reads_past()), (World::Condition, false));
    let report = judge(&plugin, "{}").await;
    assert!(!matched(&report));
    assert!(report.cpu > Duration::ZERO && report.cpu < Duration::from_millis(50), "{:?}", report.cpu);
    let plugin = bench.load(&reason(2, 5, "since")).await;
    assert_eq!(judge(&plugin, "{}").await.answer.unwrap().reason.as_deref(), Some("since"));
}

#[tokio::test]
async fn an_action_answers() {
    let bench = Bench::new();
    let plugin = bench.load(&action(MEMORY, "(i32.const 1024)")).await;
    assert_eq!(plugin.world(), World::Action);
    let report = perform(&plugin, "{}", &Arc::default()).await;
    assert_eq!(report.answer.unwrap(), Outcome::Done(String::new()));
    assert!(matches!(judge(&plugin, "{}").await.answer, Err(CallError::Host(_))));
}

#[tokio::test]
async fn the_event_arrives_as_it_is() {
    // The data's pointer and length are the 16th and 17th word of the arguments; here they are the reason of the verdict.
    let body = "(i32.store8 (i32.const 1032) (i32.const 1))
         (i32.store (i32.const 1036) (i32.load offset=60 (local.get 0)))
         (i32.store (i32.const 1040) (i32.load offset=64 (local.get 0))) (i32.const 1024)";
    let bench = Bench::new();
    let plugin = bench.load(&condition(MEMORY, body)).await;
    assert_eq!(judge(&plugin, "{}").await.answer.unwrap().reason.as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_and_starves_nobody() {
    let bench = Bench::with(|settings| settings.condition.cpu = Duration::from_millis(200));
    let spin = bench.load(&condition(MEMORY, SPIN)).await;
    let neighbour = bench.load(&condition(MEMORY, "(i32.const 1024)")).await;
    // One thread for both: the neighbour has its turn only if the spinning guest gives it away.
    let spinning = spawn("test", async move { judge(&spin, "{}").await });
    while bench.sandbox.gauges().conditions.n_running == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert!(!matched(&judge(&neighbour, "{}").await));
    }
    assert!(!spinning.is_finished(), "the neighbour had to wait for the spinning guest");
    let report = spinning.await.unwrap();
    let backtrace = over_limit(&report, "thread time, 200ms");
    assert!(backtrace.starts_with("0: run"), "{backtrace}");
    assert!(report.cpu >= Duration::from_millis(200) && report.cpu < Duration::from_millis(400), "{:?}", report.cpu);
}

#[tokio::test]
async fn a_start_function_is_stopped_too() {
    let bench = Bench::new();
    let items = format!("{MEMORY} (func $begin (loop $again (br $again))) (start $begin)");
    let plugin = bench.load(&condition(&items, "(i32.const 1024)")).await;
    let backtrace = over_limit(&judge(&plugin, "{}").await, "thread time, 50ms");
    assert!(backtrace.starts_with("0: begin"), "{backtrace}");
}

#[tokio::test]
async fn growth_is_stopped() {
    let bench = Bench::new();
    let grow = "(loop $again (drop (memory.grow (i32.const 16))) (br $again)) (unreachable)";
    let plugin = bench.load(&condition(MEMORY, grow)).await;
    over_limit(&judge(&plugin, "{}").await, "memory, 64 MiB");
    let plugin = bench.load(&action(MEMORY, grow)).await;
    over_limit(&perform(&plugin, "{}", &Arc::default()).await, "memory, 256 MiB");
    // A guest that forbids itself to grow is told so, and goes on.
    let modest = r#"(memory (export "memory") 2 2)"#;
    let plugin = bench.load(&condition(modest, "(drop (memory.grow (i32.const 1))) (i32.const 1024)")).await;
    assert!(!matched(&judge(&plugin, "{}").await));
    let tables = r#"(memory (export "memory") 2) (table $a 19000 funcref) (table $b 19000 funcref) (table $c 19000 funcref)
        (table $d 19000 funcref) (table $e 19000 funcref) (table $f 19000 funcref)"#;
    let plugin = bench.load(&condition(tables, "(i32.const 1024)")).await;
    over_limit(&judge(&plugin, "{}").await, "table elements, 100000");
}

#[tokio::test]
async fn endless_recursion_is_stopped() {
    let bench = Bench::new();
    let items = format!("{MEMORY} (func $down (result i32) (i32.add (call $down) (i32.const 1)))");
    let plugin = bench.load(&condition(&items, "(call $down)")).await;
    let backtrace = over_limit(&judge(&plugin, "{}").await, "stack, 512 KiB");
    assert!(backtrace.starts_with("0: down (32 times)"), "{backtrace}");
}

#[tokio::test]
async fn a_trap_names_its_functions() {
    let bench = Bench::new();
    let items = format!("{MEMORY} (func $deep unreachable) (func $outer (call $deep))");
    let plugin = bench.load(&condition(&items, "(call $outer) (i32.const 1024)")).await;
    let CallError::Trap { message, backtrace } = judge(&plugin, "{}").await.answer.unwrap_err() else {
        panic!("not a trap");
    };
    assert_eq!(message, "wasm `unreachable` instruction executed");
    assert_eq!(backtrace, "0: deep\n1: outer\n2: run\n");
}

#[tokio::test]
async fn garbage_for_an_answer_is_a_trap() {
    let bench = Bench::new();
    let check = async |bytes: Vec<u8>, expected: &str| {
        let plugin = bench.load(&bytes).await;
        match judge(&plugin, "{}").await.answer {
            Err(CallError::Trap { message, .. }) => assert!(message.contains(expected), "{message}"),
            other => panic!("{other:?}"),
        }
    };
    check(reason(2, 3, "\\ff\\fe\\fd"), "invalid utf-8").await;
    check(condition(MEMORY, "(i32.const -8)"), "out of bounds").await;
    check(condition(MEMORY, "(i32.store8 (i32.const 1024) (i32.const 9)) (i32.const 1024)"), "discriminant").await;
}

#[tokio::test]
async fn answers_are_bounded() {
    let bench = Bench::new();
    let check = async |n_bytes: u32, expected: &str| {
        let plugin = bench.load(&reason(64, n_bytes, "")).await;
        over_limit(&judge(&plugin, "{}").await, expected);
    };
    check(8_193, "reason of 8193 bytes, and 8 KiB is the most").await;
    check(3 << 20, "bytes handed to the host at a time, 2 MiB").await;
}

#[tokio::test]
async fn the_log_is_bounded_and_harmless() {
    let bench = Bench::new();
    let items = format!(
        r#"(import "trapjaw:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32))) {MEMORY}
           (data (i32.const 0) "a\1b[2J\n")"#
    );
    let body = "(local $n i32)
        (loop $again
            (call $write (i32.const 2) (i32.const 0) (i32.const 6))
            (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300))))
        (i32.const 1024)";
    let plugin = bench.load(&condition(&items, body)).await;
    let report = judge(&plugin, "{}").await;
    assert!(!matched(&report));
    assert_eq!((report.log.lines.len(), report.log.n_dropped), (256, 44));
    assert_eq!(report.log.lines[0].text, r"a\u{1b}[2J\n");
    assert_eq!(report.log.lines[0].level, LogLevel::Warn);
}

#[tokio::test]
async fn the_ledger_is_asked_for_the_trigger_and_subject() {
    let bench = Bench::new();
    let items = format!("{LEDGER} {MEMORY}");
    let count = "(call $current (i32.const 2048))
        (i32.store8 (i32.const 1028) (i32.eq (i32.load (i32.const 2048)) (i32.const 3))) (i32.const 1024)";
    let plugin = bench.load(&condition(&items, count)).await;
    assert!(plugin.reads_past());
    let outside = Arc::new(Outside::default());
    assert!(matched(&plugin.judge(judge_call("{}"), Arc::<Outside>::clone(&outside)).await));
    assert_eq!(*outside.asked.lock().unwrap(), ["shop.vip c-17"]);
    let mut call = judge_call("{}");
    call.trigger = "broken".into();
    match plugin.judge(call, outside).await.answer {
        Err(CallError::Failed(failure)) => assert_eq!(failure.message, "the store does not answer"),
        other => panic!("{other:?}"),
    }
    let endless = bench
        .load(&condition(&items, "(loop $again (call $current (i32.const 2048)) (br $again)) (unreachable)"))
        .await;
    over_limit(&judge(&endless, "{}").await, "look-ups in the ledger, 100");
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded_by_the_wall() {
    let bench = Bench::new();
    let plugin = bench.load(&condition(&format!("{LEDGER} {MEMORY}"), ASK)).await;
    let report = plugin.judge(judge_call("{}"), Outside::held_up()).await;
    assert_eq!(over_limit(&report, "time on the wall, 5s"), "");
    assert_eq!(bench.sandbox.gauges().conditions.n_running, 0);
}

#[tokio::test]
async fn a_call_waits_for_a_place() {
    let bench = Bench::with(|settings| settings.n_conditions_max = 1);
    let plugin = bench.load(&condition(&format!("{LEDGER} {MEMORY}"), ASK)).await;
    let (outside, start) = (Outside::held_up(), |outside: &Arc<Outside>| {
        let (plugin, outside) = (Arc::clone(&plugin), Arc::<Outside>::clone(outside));
        spawn("test", async move { plugin.judge(judge_call("{}"), outside).await })
    });
    let first = start(&outside);
    outside.was_asked().await;
    let second = start(&outside);
    while bench.sandbox.gauges().conditions.n_waiting == 0 {
        tokio::task::yield_now().await;
    }
    let gauges = bench.sandbox.gauges();
    assert_eq!((gauges.conditions.n_running, gauges.n_instances, gauges.n_plugins), (1, 1, 1));
    assert_eq!(outside.asked.lock().unwrap().len(), 1, "the second call was made beside the first");
    outside.let_go();
    assert!(!matched(&first.await.unwrap()));
    outside.was_asked().await;
    outside.let_go();
    assert!(!matched(&second.await.unwrap()));
}

#[tokio::test]
async fn conditions_do_not_wait_for_actions() {
    let bench = Bench::with(|settings| (settings.n_conditions_max, settings.n_actions_max) = (1, 1));
    let slow = bench.load(&action(&format!("{LEDGER} {MEMORY}"), ASK)).await;
    let quick = bench.load(&condition(MEMORY, "(i32.const 1024)")).await;
    let outside = Outside::held_up();
    let acting = spawn("test", {
        let outside = Arc::clone(&outside);
        async move { perform(&slow, "{}", &outside).await }
    });
    outside.was_asked().await;
    assert!(!matched(&judge(&quick, "{}").await));
    outside.let_go();
    assert!(acting.await.unwrap().answer.is_ok());
}

#[tokio::test]
async fn a_dropped_call_frees_its_place() {
    let bench = Bench::with(|settings| (settings.n_conditions_max, settings.n_actions_max) = (1, 1));
    let plugin = bench.load(&condition(&format!("{LEDGER} {MEMORY}"), ASK)).await;
    for _ in 0..3 {
        let outside = Outside::held_up();
        let call = plugin.judge(judge_call("{}"), Arc::<Outside>::clone(&outside));
        tokio::select! {
            report = call => panic!("{report:?}"),
            () = outside.was_asked() => {}
        }
        let gauges = bench.sandbox.gauges();
        assert_eq!((gauges.conditions.n_running, gauges.n_instances, gauges.n_stacks), (0, 0, 0));
    }
    assert!(!matched(&judge(&plugin, "{}").await));
}

#[tokio::test]
async fn a_call_in_flight_survives_its_plugin_and_sandbox() {
    let Bench { sandbox, folder } = Bench::new();
    let plugin = load(&sandbox, &condition(&format!("{LEDGER} {MEMORY}"), ASK)).await.unwrap();
    let outside = Outside::held_up();
    let calling = spawn("test", {
        let (plugin, outside): (Arc<dyn Plugin>, _) = (Arc::clone(&plugin), Arc::<Outside>::clone(&outside));
        async move { plugin.judge(judge_call("{}"), outside).await }
    });
    outside.was_asked().await;
    drop((plugin, folder));
    assert_eq!(sandbox.gauges().n_plugins, 1, "its code must stay for the call");
    outside.let_go();
    assert!(!matched(&calling.await.unwrap()));
    assert_eq!(sandbox.gauges().n_plugins, 0);
}

#[tokio::test]
async fn every_place_has_room() {
    let bench = Bench::new();
    let items = format!("{LEDGER} {MEMORY} (table 19000 funcref)");
    let plugin = bench.load(&condition(&items, ASK)).await;
    for _ in 0..3 {
        let outside = Outside::held_up();
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (plugin, outside) = (Arc::clone(&plugin), Arc::<Outside>::clone(&outside));
                spawn("test", async move { plugin.judge(judge_call("{}"), outside).await })
            })
            .collect();
        for _ in &calls {
            outside.was_asked().await;
        }
        assert_eq!(bench.sandbox.gauges().n_instances, 8);
        calls.iter().for_each(|_| outside.let_go());
        for call in calls {
            assert!(!matched(&call.await.unwrap()));
        }
    }
}
