//! Conditions that are called again in the same instance: what begins anew, what ends it, and that it is no difference.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use support::*;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{Activity, CallError, Failure, JudgeCall, Past, Plugin, Report, Verdict};
use trapjaw_engine::tasks::spawn;
use trapjaw_engine::time::Time;
use trapjaw_sandbox::{Warm, WarmGauges};

/// As many instances wait at the most.
const IDLE_MAX: usize = 16;

/// Counts its calls, and writes the count to the log: `1` in a fresh instance. Then it does what the first byte of the
/// event's data says: `t` traps, `s` spins, `h` works hard, `g` grows beyond its limit, `b` grows to more than is kept
/// warm, `w` asks the ledger and waits.
fn counting() -> Vec<u8> {
    let items = format!(
        r#"{LEDGER} (import "trapjaw:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
        {MEMORY} (global $n (mut i32) (i32.const 0)) (data (i32.const 0) "0123456789")"#
    );
    let body = "(local $do i32) (local $i i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (call $write (i32.const 1) (i32.rem_u (global.get $n) (i32.const 10)) (i32.const 1))
        (local.set $do (i32.load8_u (i32.load offset=60 (local.get 0))))
        (if (i32.eq (local.get $do) (i32.const 116)) (then unreachable))
        (if (i32.eq (local.get $do) (i32.const 115)) (then (loop $again (br $again))))
        (if (i32.eq (local.get $do) (i32.const 104)) (then (loop $again
            (br_if $again (i32.ne (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))))
        (if (i32.eq (local.get $do) (i32.const 103)) (then (drop (memory.grow (i32.const 2000)))))
        (if (i32.eq (local.get $do) (i32.const 98)) (then (drop (memory.grow (i32.const 511)))))
        (if (i32.eq (local.get $do) (i32.const 119)) (then (call $current (i32.const 2048))))
        (i32.const 1024)";
    condition(&items, body)
}

/// Says yes from its call of that number on: it remembers.
fn remembering(n_calls: u32) -> Vec<u8> {
    let items = format!("{MEMORY} (global $n (mut i32) (i32.const 0))");
    let body = format!(
        "(global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store8 (i32.const 1028) (i32.ge_u (global.get $n) (i32.const {n_calls}))) (i32.const 1024)"
    );
    condition(&items, &body)
}

fn call(trigger: &str, config: &str, data: &'static str) -> JudgeCall {
    let mut event = Event::new("shop", "order.paid", "1", NOW);
    event.data = Bytes::from_static(data.as_bytes());
    JudgeCall { event: Arc::new(event), trigger: trigger.into(), ..judge_call(config) }
}

async fn ask(plugin: &Arc<dyn Plugin>, call: JudgeCall) -> Report<Verdict> {
    plugin.judge(call, Arc::new(Outside::default())).await
}

/// The number of this call in its instance.
async fn count(plugin: &Arc<dyn Plugin>, call: JudgeCall) -> u32 {
    let report = ask(plugin, call).await;
    assert!(!matched(&report));
    report.log.lines[0].text.parse().unwrap()
}

async fn counts(plugin: &Arc<dyn Plugin>, n_calls: u32) -> Vec<u32> {
    let mut counts = Vec::new();
    for _ in 0..n_calls {
        counts.push(count(plugin, call("t", "{}", "-")).await);
    }
    counts
}

fn gauges(bench: &Bench) -> WarmGauges {
    bench.sandbox.gauges().warm
}

#[tokio::test]
async fn an_instance_is_called_as_often_as_it_asks_for() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(4, counting())).await;
    assert_eq!(counts(&plugin, 9).await, [1, 2, 3, 4, 1, 2, 3, 4, 1]);
    // Of the six warm calls the first, second and fourth were repeated, and nobody saw it.
    let expected = WarmGauges { n_idle: 1, n_warm_calls: 6, n_fresh_calls: 3, n_repeats: 3, n_switched_off: 0 };
    assert_eq!(gauges(&bench), expected);
    let once = bench.load(&asking(1, counting())).await;
    assert_eq!(counts(&once, 3).await, [1, 1, 1]);
    // Where a last call is repeated, the fresh instance waits in its stead.
    let twice = bench.load(&asking(2, counting())).await;
    assert_eq!(counts(&twice, 6).await, [1, 2, 2, 2, 1, 2]);
}

#[tokio::test]
async fn nobody_else_is_called_again() {
    let bench = Bench::new();
    let plugin = bench.load(&counting()).await;
    for _ in 0..3 {
        assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    }
    assert_eq!((gauges(&bench).n_idle, gauges(&bench).n_fresh_calls), (0, 3));
    // What the host forbids, a manifest does not allow; and an action has no instance that waits, whatever the host says.
    let bench = Bench::with(|settings| settings.warm = Warm::Never);
    let plugin = bench.load(&asking(9, counting())).await;
    for _ in 0..3 {
        assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    }
    let bench = Bench::with(|settings| settings.warm = Warm::Always);
    let plugin = bench.load(&action(MEMORY, "(i32.const 1024)")).await;
    assert!(perform(&plugin, "{}", &Arc::default()).await.answer.is_ok());
    assert_eq!((gauges(&bench).n_idle, bench.sandbox.gauges().n_instances), (0, 0));
}

#[tokio::test]
async fn an_instance_is_for_one_plugin_trigger_and_configuration() {
    let bench = Bench::new();
    let (plugin, twin) = (bench.load(&asking(9, counting())).await, bench.load(&asking(9, counting())).await);
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    assert_eq!(count(&plugin, call("u", "{}", "-")).await, 1);
    assert_eq!(count(&plugin, call("t", "{ }", "-")).await, 1);
    assert_eq!(count(&twin, call("t", "{}", "-")).await, 1);
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 2);
    assert_eq!(count(&plugin, call("u", "{}", "-")).await, 2);
    assert_eq!(count(&twin, call("t", "{}", "-")).await, 2);
    assert_eq!(gauges(&bench).n_idle, 4);
}

#[tokio::test]
async fn an_instance_that_was_stopped_is_gone() {
    let bench = Bench::with(|settings| settings.condition.cpu = Duration::from_millis(20));
    let plugin = bench.load(&asking(9, counting())).await;
    let check = async |data: &'static str, expected: &str| {
        assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1, "before {data}");
        assert_eq!(count(&plugin, call("t", "{}", "-")).await, 2, "before {data}");
        let report = ask(&plugin, call("t", "{}", data)).await;
        let err = report.answer.unwrap_err().to_string();
        assert!(err.contains(expected), "{data}: {err}");
        assert_eq!(report.log.lines.len(), 1, "{data}");
        if data == "s" {
            assert!(report.cpu >= Duration::from_millis(40), "the call and its repeat: {:?}", report.cpu);
        }
        assert_eq!((gauges(&bench).n_idle, bench.sandbox.gauges().n_instances), (0, 0), "after {data}");
    };
    check("t", "unreachable").await;
    check("s", "thread time, 20ms").await;
    check("g", "memory, 64 MiB").await;
    // None of it is a difference: a fresh instance says the same.
    assert_eq!(gauges(&bench).n_switched_off, 0);
    // A door that fails ends the guest's call in the middle.
    assert_eq!(count(&plugin, call("broken", "{}", "-")).await, 1);
    let report = ask(&plugin, call("broken", "{}", "w")).await;
    assert!(matches!(report.answer, Err(CallError::Failed(_))), "{report:?}");
    assert_eq!(count(&plugin, call("broken", "{}", "-")).await, 1);
}

#[tokio::test]
async fn thread_time_is_of_one_call() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, counting())).await;
    // The fifth warm verdict and the sixth, which are not repeated.
    assert_eq!(counts(&plugin, 5).await, [1, 2, 3, 4, 5]);
    let hard = ask(&plugin, call("t", "{}", "h")).await;
    let light = ask(&plugin, call("t", "{}", "-")).await;
    assert!(light.cpu < hard.cpu, "{:?} after {:?}", light.cpu, hard.cpu);
    assert_eq!(gauges(&bench).n_repeats, 3);
}

#[tokio::test]
async fn a_large_instance_is_not_kept() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, counting())).await;
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    assert_eq!(count(&plugin, call("t", "{}", "b")).await, 2, "32 MiB and 64 KiB");
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_took_too_long_is_gone() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, counting())).await;
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    let report = plugin.judge(call("t", "{}", "w"), Outside::held_up()).await;
    over_limit(&report, "time on the wall, 5s");
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
}

#[tokio::test]
async fn an_instance_whose_call_is_dropped_is_gone() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, counting())).await;
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
    let outside = Outside::held_up();
    let judging = plugin.judge(call("t", "{}", "w"), Arc::<Outside>::clone(&outside));
    tokio::select! {
        report = judging => panic!("{report:?}"),
        () = outside.was_asked() => {}
    }
    assert_eq!((gauges(&bench).n_idle, bench.sandbox.gauges().n_instances), (0, 0));
    assert_eq!(count(&plugin, call("t", "{}", "-")).await, 1);
}

#[tokio::test]
async fn what_remembers_is_called_no_more() {
    let bench = Bench::new();
    // At once where it shows at once.
    let plugin = bench.load(&asking(10_000, remembering(2))).await;
    for _ in 0..5 {
        assert!(!matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    let expected = WarmGauges { n_idle: 0, n_warm_calls: 1, n_fresh_calls: 4, n_repeats: 1, n_switched_off: 1 };
    assert_eq!(gauges(&bench), expected);
    // With its 256th warm verdict at the latest. The same bytes loaded once more are another chance.
    let plugin = bench.load(&asking(10_000, remembering(200))).await;
    let mut answers = Vec::new();
    for _ in 0..600 {
        answers.push(matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    let wrong: Vec<usize> = (0..600).filter(|n| answers[*n]).collect();
    assert_eq!(wrong, (199..256).collect::<Vec<_>>());
    assert_eq!((gauges(&bench).n_switched_off, gauges(&bench).n_idle), (2, 0));
}

#[tokio::test]
async fn all_instances_of_what_remembers_are_gone() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, remembering(3))).await;
    let other = bench.load(&asking(9, counting())).await;
    assert_eq!(count(&other, call("t", "{}", "-")).await, 1);
    for trigger in ["t", "u", "v"] {
        assert!(!matched(&ask(&plugin, call(trigger, "{}", "-")).await));
    }
    assert_eq!(gauges(&bench).n_idle, 4);
    // The warm verdicts are the first and, a wrong one, the second; both are repeated.
    for _ in 0..3 {
        assert!(!matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    assert_eq!((gauges(&bench).n_idle, gauges(&bench).n_switched_off), (1, 1));
    assert_eq!(count(&other, call("t", "{}", "-")).await, 2);
}

#[tokio::test]
async fn a_trap_that_comes_with_age_is_no_answer() {
    let bench = Bench::new();
    let items = format!("{MEMORY} (global $n (mut i32) (i32.const 0))");
    let body = "(global.set $n (i32.add (global.get $n) (i32.const 1)))
        (if (i32.gt_u (global.get $n) (i32.const 3)) (then unreachable)) (i32.const 1024)";
    let plugin = bench.load(&asking(9, condition(&items, body))).await;
    for _ in 0..9 {
        assert!(!matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    assert_eq!((gauges(&bench).n_switched_off, gauges(&bench).n_idle), (1, 0));
}

#[tokio::test]
async fn memory_that_fills_with_age_is_no_answer() {
    let bench = Bench::new();
    // 10 MiB a call: the fourth instance's call is over what is kept, and nothing comes near the limit.
    let plugin =
        bench.load(&asking(99, condition(MEMORY, "(drop (memory.grow (i32.const 160))) (i32.const 1024)"))).await;
    for _ in 0..9 {
        assert!(!matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    // 30 MiB in the first call, and 40 MiB more in the second: a fresh instance answers in its stead.
    let body = "(drop (memory.grow (select (i32.const 640) (i32.const 470) (i32.gt_u (memory.size) (i32.const 400)))))
        (i32.const 1024)";
    let plugin = bench.load(&asking(99, condition(MEMORY, body))).await;
    for _ in 0..9 {
        assert!(!matched(&ask(&plugin, call("t", "{}", "-")).await));
    }
    assert_eq!(gauges(&bench).n_switched_off, 0);
}

#[tokio::test]
async fn chance_and_clocks_begin_anew() {
    // The reason is the random number and the clock, twice each, a letter for every four bits.
    let items = format!(
        "{RANDOM} {CLOCK} {MEMORY}
        (func $spell (param $at i32) (param $value i64)
            (loop $again
                (i32.store8 (local.get $at)
                    (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $value) (i64.const 15)))))
                (local.set $value (i64.shr_u (local.get $value) (i64.const 4)))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $again (i32.and (local.get $at) (i32.const 15)))))"
    );
    let body = "(call $spell (i32.const 0) (call $random)) (call $spell (i32.const 16) (call $now))
        (call $spell (i32.const 32) (call $random)) (call $spell (i32.const 48) (call $now))
        (i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1036) (i32.const 0))
        (i32.store (i32.const 1040) (i32.const 64)) (i32.const 1024)";
    let component = condition_of_chance(&items, body);
    let (fresh, warm) = (Bench::with(|settings| settings.warm = Warm::Never), Bench::new());
    let (fresh, plugin) = (fresh.load(&component).await, warm.load(&asking(99, component)).await);
    let mut seen = Vec::new();
    for n in [0, 0, 1, 0, 2, 1] {
        let call = || JudgeCall { now: Time(NOW.0 + n), ..call("t", "{}", "-") };
        let reason = ask(&plugin, call()).await.answer.unwrap().reason.unwrap();
        assert_eq!(ask(&fresh, call()).await.answer.unwrap().reason.unwrap(), reason);
        let (random, clock) = (&reason[..16], &reason[16..32]);
        assert_eq!(clock, "a".repeat(16), "the clock began at 0");
        assert_ne!(random, &reason[32..48]);
        seen.push(random.to_owned());
    }
    assert_eq!(gauges(&warm).n_warm_calls, 5);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "each time has its own numbers");
}

/// A ledger whose count is another at every look-up.
#[derive(Default)]
struct Moving(AtomicU32);

#[async_trait]
impl Past for Moving {
    async fn activity(&self, _: &str, _: &str) -> Result<Activity, Failure> {
        Ok(Activity { count: self.0.fetch_add(1, Ordering::Relaxed), last: None })
    }
}

#[tokio::test]
async fn a_repeat_is_told_what_the_call_was_told() {
    let bench = Bench::new();
    // Holds where the count is odd.
    let body = "(call $current (i32.const 2048))
        (i32.store8 (i32.const 1028) (i32.and (i32.load (i32.const 2048)) (i32.const 1))) (i32.const 1024)";
    let plugin = bench.load(&asking(99, condition(&format!("{LEDGER} {MEMORY}"), body))).await;
    let past = Arc::new(Moving::default());
    for n in 0..9 {
        let report = plugin.judge(call("t", "{}", "-"), Arc::<Moving>::clone(&past) as Arc<dyn Past>).await;
        assert_eq!(matched(&report), n % 2 == 1, "call {n}");
    }
    assert_eq!((gauges(&bench).n_repeats, gauges(&bench).n_switched_off), (4, 0));
}

#[tokio::test]
async fn few_instances_wait() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(99, counting())).await;
    let triggers: Vec<String> = (0..IDLE_MAX + 4).map(|n| format!("t{n}")).collect();
    for trigger in &triggers {
        assert_eq!(count(&plugin, call(trigger, "{}", "-")).await, 1);
    }
    assert_eq!((gauges(&bench).n_idle, bench.sandbox.gauges().n_instances), (IDLE_MAX, IDLE_MAX as u64));
    // Those that waited the longest are gone, and the others are there.
    for trigger in &triggers[4..] {
        assert_eq!(count(&plugin, call(trigger, "{}", "-")).await, 2, "{trigger}");
    }
    assert_eq!(count(&plugin, call(&triggers[0], "{}", "-")).await, 1);
}

#[tokio::test]
async fn no_instance_outlives_its_plugin() {
    let bench = Bench::new();
    let (plugin, other) = (bench.load(&asking(9, counting())).await, bench.load(&asking(9, counting())).await);
    for trigger in ["t", "u"] {
        assert_eq!(count(&plugin, call(trigger, "{}", "-")).await, 1);
    }
    assert_eq!(count(&other, call("t", "{}", "-")).await, 1);
    drop(plugin);
    let now = bench.sandbox.gauges();
    assert_eq!((now.n_plugins, now.warm.n_idle, now.n_instances, now.n_stacks), (1, 1, 1, 1));
    assert_eq!(count(&other, call("t", "{}", "-")).await, 2);
}

#[tokio::test]
async fn what_waits_keeps_nothing_of_the_call() {
    let bench = Bench::new();
    let plugin = bench.load(&asking(9, counting())).await;
    let (past, asked) = (Arc::new(Outside::default()), call("t", "{}", "-"));
    let event = Arc::clone(&asked.event);
    plugin.judge(asked, Arc::<Outside>::clone(&past)).await;
    assert_eq!(gauges(&bench).n_idle, 1);
    assert_eq!((Arc::strong_count(&past), Arc::strong_count(&event)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_place_has_room_beside_what_waits() {
    let bench = Bench::with(|settings| settings.n_actions_max = 1);
    let items = format!("{LEDGER} {MEMORY} (table 19000 funcref)");
    let plugin = bench.load(&asking(99, condition(&items, ASK))).await;
    for round in 0..3 {
        for n in 0..IDLE_MAX {
            assert!(!matched(&ask(&plugin, call(&format!("idle {round} {n}"), "{}", "-")).await));
        }
        assert_eq!(gauges(&bench).n_idle, IDLE_MAX);
        let outside = Outside::held_up();
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let (plugin, outside) = (Arc::clone(&plugin), Arc::<Outside>::clone(&outside));
                spawn("test", async move { plugin.judge(call(&format!("busy {round} {n}"), "{}", "-"), outside).await })
            })
            .collect();
        for _ in &calls {
            outside.was_asked().await;
        }
        assert_eq!(bench.sandbox.gauges().n_instances, 8 + IDLE_MAX as u64);
        calls.iter().for_each(|_| outside.let_go());
        for call in calls {
            assert!(!matched(&call.await.unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_finds_room() {
    // More callers than places, of more triggers than may wait, so that instances come and go on both threads.
    let bench = Bench::new();
    let plugin =
        bench.load(&asking(5, condition(&format!("{MEMORY} (table 19000 funcref)"), "(i32.const 1024)"))).await;
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let plugin = Arc::clone(&plugin);
            spawn("test", async move {
                for n in 0..200 {
                    let trigger = format!("t{}", (caller * 7 + n) % 24);
                    assert!(!matched(&ask(&plugin, call(&trigger, "{}", "-")).await));
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let now = bench.sandbox.gauges();
    assert_eq!((now.warm.n_warm_calls + now.warm.n_fresh_calls, now.conditions.n_running), (32 * 200, 0));
    assert_eq!(now.n_instances, now.warm.n_idle as u64);
    assert!(now.warm.n_idle <= IDLE_MAX && now.warm.n_warm_calls > 0, "{now:?}");
}
