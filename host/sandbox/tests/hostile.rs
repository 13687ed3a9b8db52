//! The hostile plugins of `plugins/hostile`, and guests in other languages: built by `make plugins`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::*;
use tokio::sync::OnceCell;
use trapjaw_engine::event::Event;
use trapjaw_engine::ports::{CallError, FailureKind, Outcome, Plugin, Report, Verdict};
use trapjaw_engine::time::Time;
use trapjaw_sandbox::Warm;

/// The component of this name, from the folder beside that of this program's profile.
fn built(name: &str) -> Vec<u8> {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let path = target.join("components").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}; `make plugins` builds it", path.display()))
}

/// One sandbox for all tests of a kind, because each compiles the same two components.
struct Hostile {
    _bench: Bench,
    condition: Arc<dyn Plugin>,
    action: Arc<dyn Plugin>,
}

async fn hostile() -> &'static Hostile {
    static HOSTILE: OnceCell<Hostile> = OnceCell::const_new();
    HOSTILE
        .get_or_init(async || {
            let bench = Bench::new();
            let condition = bench.load(&built("hostile-condition")).await;
            let action = bench.load(&built("hostile-action")).await;
            Hostile { _bench: bench, condition, action }
        })
        .await
}

async fn conditionally(config: &str) -> Report<Verdict> {
    judge(&hostile().await.condition, config).await
}

async fn actively(config: &str) -> (Report<Outcome>, Arc<Outside>) {
    let outside = Arc::new(Outside::default());
    (perform(&hostile().await.action, config, &outside).await, outside)
}

fn trapped<T: std::fmt::Debug>(report: &Report<T>) -> (&str, &str) {
    match &report.answer {
        Err(CallError::Trap { message, backtrace }) => (message, backtrace),
        other => panic!("not a trap: {other:?}"),
    }
}

fn failed<T: std::fmt::Debug>(report: &Report<T>, kind: FailureKind, message: &str) -> Option<Duration> {
    match &report.answer {
        Err(CallError::Failed(failure)) if failure.kind == kind && failure.message.contains(message) => failure.after,
        other => panic!("expected {kind:?} `{message}`, got {other:?}"),
    }
}

fn reason(report: &Report<Verdict>) -> &str {
    report.answer.as_ref().unwrap_or_else(|err| panic!("{err:?}")).reason.as_deref().unwrap()
}

#[tokio::test]
async fn a_spinning_guest_is_named() {
    let report = conditionally(r#"{"do":"spin"}"#).await;
    assert!(over_limit(&report, "thread time, 50ms").starts_with("0: hostile_common::spin\n"));
    let (report, _) = actively(r#"{"do":"spin"}"#).await;
    assert!(over_limit(&report, "thread time, 1s").starts_with("0: hostile_common::spin\n"));
}

#[tokio::test]
async fn a_growing_guest_is_stopped() {
    over_limit(&conditionally(r#"{"do":"grow"}"#).await, "memory, 64 MiB");
    over_limit(&actively(r#"{"do":"grow"}"#).await.0, "memory, 256 MiB");
}

#[tokio::test]
async fn a_panic_leaves_its_message_and_its_frames() {
    let report = conditionally(r#"{"do":"panic"}"#).await;
    let (message, backtrace) = trapped(&report);
    assert_eq!(message, "wasm `unreachable` instruction executed");
    assert!(backtrace.contains(": hostile_common::panic\n"), "{backtrace}");
    assert!(!backtrace.contains(".rs"), "{backtrace}");
    assert!(report.log.stderr.contains("told to panic"), "{}", report.log.stderr);
    trapped(&conditionally(r#"{"do":"trap"}"#).await);
    assert!(trapped(&conditionally(r#"{"do":"recurse"}"#).await).1.contains("hostile_common::recurse ("));
}

#[tokio::test]
async fn a_flood_of_lines_is_cut() {
    let (report, _) = actively(r#"{"do":"log-flood","amount":2000}"#).await;
    assert!(report.answer.is_ok(), "{report:?}");
    assert_eq!((report.log.lines.len(), report.log.n_dropped), (256, 1_744));
    assert_eq!(report.log.lines[0].text, r"line 0 with a bell \u{7} and a line break\nof its own");
    let stderr = &report.log.stderr;
    assert!(stderr.starts_with("line 0 on stderr\n") && stderr.ends_with("line 1999 on stderr\n"), "{stderr}");
    assert!(stderr.len() < 9 << 10 && !stderr.contains("stdout"));
}

#[tokio::test]
async fn outputs_and_failures_are_bounded() {
    let (report, _) = actively(r#"{"do":"big-output","amount":1100000}"#).await;
    over_limit(&report, "output of ");
    let (report, _) = actively(r#"{"do":"big-output","amount":4000000}"#).await;
    over_limit(&report, "bytes handed to the host at a time, 2 MiB");
    let (report, _) = actively(r#"{"do":"big-failure","amount":100000}"#).await;
    failed(&report, FailureKind::Permanent, "xxx…");
    let (report, _) = actively(r#"{"do":"invalid-json"}"#).await;
    failed(&report, FailureKind::Rejected, "the output is not JSON: key must be a string at line 1 column 2");
}

#[tokio::test]
async fn a_conditions_sleep_takes_no_time() {
    // An hour of it, within 50 ms of thread time and 5 s on the wall.
    let report = conditionally(r#"{"do":"sleep"}"#).await;
    assert!(reason(&report).contains("3600000"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_actions_sleep_ends_at_the_wall() {
    let bench = Bench::new();
    let plugin = bench.load(&built("hostile-action")).await;
    let report = perform(&plugin, r#"{"do":"sleep"}"#, &Arc::default()).await;
    over_limit(&report, "time on the wall, 1m");
}

#[tokio::test]
async fn a_condition_is_repeatable() {
    let first = conditionally(r#"{"do":"clock"}"#).await;
    for _ in 0..5 {
        assert_eq!(reason(&conditionally(r#"{"do":"clock"}"#).await), reason(&first));
    }
    assert!(reason(&first).contains(r#""wall_us":"1700000001000000""#), "{first:?}");
    // Randomness follows from the call: another event, another draw.
    let mut call = judge_call(r#"{"do":"clock"}"#);
    call.now = Time(call.now.0 + 1);
    let other = hostile().await.condition.judge(call, Arc::new(Outside::default())).await;
    let random = |report: &Report<Verdict>| {
        let report: serde_json::Value = serde_json::from_str(reason(report)).unwrap();
        report["random"].clone()
    };
    assert_ne!(random(&other), random(&first));
}

#[tokio::test]
async fn what_remembers_is_found_out() {
    let bench = Bench::with(|settings| settings.warm = Warm::Always);
    let check = async |config: &str, expected: Option<&str>| {
        let plugin = bench.load(&built("hostile-condition")).await;
        let first = judge(&plugin, config).await;
        for _ in 0..4 {
            assert_eq!(reason(&judge(&plugin, config).await), expected.unwrap_or(reason(&first)));
        }
        bench.sandbox.gauges().warm.n_switched_off
    };
    assert_eq!(check(r#"{"do":"nothing"}"#, None).await, 0);
    assert_eq!(check(r#"{"do":"remember"}"#, Some(r#"{"calls":1}"#)).await, 1);
    // Rust's library draws the seed of its hash maps once for all calls.
    assert_eq!(check(r#"{"do":"clock"}"#, None).await, 2);
}

#[tokio::test]
async fn standard_error_is_of_one_call() {
    let bench = Bench::with(|settings| settings.warm = Warm::Always);
    let plugin = bench.load(&built("hostile-condition")).await;
    for _ in 0..4 {
        let report = judge(&plugin, r#"{"do":"log-flood","amount":2}"#).await;
        assert_eq!(report.log.stderr, "line 0 on stderr\nline 1 on stderr\n");
        assert_eq!(report.log.lines.len(), 2);
    }
    let warm = bench.sandbox.gauges().warm;
    assert_eq!((warm.n_warm_calls, warm.n_switched_off), (3, 0));
}

#[tokio::test]
async fn an_actions_clock_begins_at_the_call() {
    let (report, _) = actively(r#"{"do":"clock"}"#).await;
    let Ok(Outcome::Done(output)) = &report.answer else { panic!("{report:?}") };
    let output: serde_json::Value = serde_json::from_str(output).unwrap();
    let wall_us: i64 = output["wall_us"].as_str().unwrap().parse().unwrap();
    assert!((NOW.0..NOW.0 + 60_000_000).contains(&wall_us), "{wall_us}");
}

#[tokio::test]
async fn there_are_no_files_and_no_environment() {
    let files = conditionally(r#"{"do":"file"}"#).await;
    assert_eq!(reason(&files).matches("refused").count(), 3, "{files:?}");
    let environment = conditionally(r#"{"do":"env"}"#).await;
    assert_eq!(reason(&environment), r#"{"arguments":[],"variables":[]}"#);
    let (files, _) = actively(r#"{"do":"file"}"#).await;
    let Ok(Outcome::Done(output)) = files.answer else { panic!("{files:?}") };
    assert_eq!(output.matches("refused").count(), 3, "{output}");
}

#[tokio::test]
async fn sends_are_counted() {
    let (report, outside) = actively(r#"{"do":"many-sends","amount":100}"#).await;
    assert!(report.answer.is_ok(), "{report:?}");
    assert_eq!(outside.sent.lock().unwrap().len(), 100);
    let (report, outside) = actively(r#"{"do":"many-sends","amount":101}"#).await;
    failed(&report, FailureKind::Permanent, "over the limit of 100 sends a call");
    assert_eq!(outside.sent.lock().unwrap().len(), 100);
    let sent = &outside.sent.lock().unwrap()[7];
    assert_eq!((sent.label.as_str(), &sent.message.body[..]), ("out", &b"message 7"[..]));
}

#[tokio::test]
async fn a_doors_refusal_is_a_value() {
    let (report, outside) = actively(r#"{"do":"ungranted-label"}"#).await;
    failed(&report, FailureKind::Rejected, "label `nobody-granted-this` is not bound");
    assert!(outside.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn state_is_bounded() {
    let (report, outside) = actively(r#"{"do":"state-flood"}"#).await;
    failed(&report, FailureKind::Permanent, "over the limit of 4 MiB written to the state a call");
    assert_eq!(outside.changed.lock().unwrap().len(), 63);
}

#[tokio::test]
async fn outcomes_and_failures_arrive_as_they_are() {
    let (report, _) = actively(r#"{"do":"resume-at","amount":2000}"#).await;
    assert_eq!(report.answer, Ok(Outcome::ResumeAt(Time(NOW.0 + 2_000_000))));
    let (report, _) = actively(r#"{"do":"skip"}"#).await;
    assert_eq!(report.answer, Ok(Outcome::Skipped("told to skip".into())));
    let after = failed(&conditionally(r#"{"do":"fail-transient"}"#).await, FailureKind::Transient, "told to fail");
    assert_eq!(after, Some(Duration::from_millis(50)));
    failed(&actively(r#"{"do":"fail-rejected"}"#).await.0, FailureKind::Rejected, "told to fail");
}

#[tokio::test]
async fn other_toolchains_fit() {
    let bench = Bench::new();
    for name in ["announce", "announce-js", "big-push", "big-push-c", "big-push-py"] {
        let about = bench.sandbox.check(&built(name)).unwrap_or_else(|reasons| panic!("{name}: {reasons:#?}"));
        assert_eq!(about.world.word().starts_with("action"), name.starts_with("announce"), "{name}");
        assert_eq!(about.warm_uses, (name == "big-push-py").then_some(1_000), "{name}");
    }
    for name in ["big-push", "big-push-c"] {
        let plugin = bench.load(&built(name)).await;
        let mut call = judge_call(r#"{"min_commits":2}"#);
        let mut event = Event::new("github", "push", "1", NOW);
        event.data = Bytes::from_static(br#"{"ref":"refs/heads/main","commits":[{},{}]}"#);
        call.event = Arc::new(event);
        assert!(matched(&plugin.judge(call, Arc::new(Outside::default())).await), "{name}");
    }
    for name in ["announce", "announce-js"] {
        let (plugin, outside) = (bench.load(&built(name)).await, Arc::new(Outside::default()));
        let report = perform(&plugin, "{}", &outside).await;
        assert!(matches!(report.answer, Ok(Outcome::Done(_))), "{name}: {report:?}");
        assert_eq!(outside.sent.lock().unwrap().len(), 2, "{name}");
    }
}
