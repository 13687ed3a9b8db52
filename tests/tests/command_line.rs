//! The command line against a daemon: what scripts and people do first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trapjaw_tests::{ADMIN_TOKEN, Bench, Reply, binary, components};

async fn run(bench: &Bench, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).env_clear().env("TRAPJAW_URL", bench.daemon.url()).env("TRAPJAW_TOKEN", ADMIN_TOKEN);
    command.current_dir(bench.folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have ended already.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

/// Runs a command that works; what it prints.
async fn good(bench: &Bench, arguments: &[&str], input: &str) -> String {
    let output = run(bench, arguments, input).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, as JSON.
async fn json_of(bench: &Bench, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let text = good(bench, &arguments, "").await;
    serde_json::from_str(&text).unwrap_or_else(|err| panic!("{arguments:?}: {err}: {text}"))
}

/// A document beside its component, as a person keeps them.
fn write_document(bench: &Bench) {
    let component = components().unwrap().join("big-push.wasm");
    std::fs::copy(component, bench.folder.path().join("big-push.wasm")).expect("`make -C plugins setup all` builds it");
    let url = bench.receiver.url("/out");
    let document = format!(
        r#"
connections:
  out: {{kind: webhook, url: "{url}", signing: "{{{{ secret.KEY }}}}", allow_private: true}}
plugins:
  big-push: {{file: ./big-push.wasm, version: 1.0.0}}
triggers:
  pushes:
    "on": {{type: [push]}}
    when: [{{plugin: big-push, config: {{min_commits: 1}}}}]
    do: [{{send: out}}]
"#
    );
    std::fs::write(bench.folder.path().join("trapjaw.yaml"), document).unwrap();
}

#[tokio::test]
async fn from_a_document_to_a_redrive() {
    let bench = Bench::start().await;
    write_document(&bench);
    let unchecked = run(&bench, &["validate", "trapjaw.yaml"], "").await;
    let said = String::from_utf8_lossy(&unchecked.stderr).into_owned();
    assert!(!unchecked.status.success() && said.contains("would upload plugin big-push 1.0.0"), "{unchecked:?}");
    assert_eq!(json_of(&bench, &["plugin", "ls"]).await["items"], json!([]), "nothing is uploaded unasked");
    let key = "whsec_dGhlLXRlc3RzLW93bi1zaWduaW5nLXNlY3JldA==";
    assert!(!run(&bench, &["apply", "trapjaw.yaml"], "").await.status.success(), "the secret is not set yet");
    good(&bench, &["secret", "set", "KEY"], &format!("{key}\n")).await;
    assert!(good(&bench, &["validate", "trapjaw.yaml", "--upload"], "").await.contains("valid"));
    let diff = good(&bench, &["diff", "trapjaw.yaml"], "").await;
    assert!(diff.contains("trigger pushes"), "{diff}");
    assert_eq!(json_of(&bench, &["trigger", "ls"]).await["items"], json!([]), "a diff changes nothing");
    let applied = good(&bench, &["apply", "trapjaw.yaml"], "").await;
    assert!(applied.contains("connection out") && applied.contains("trigger pushes"), "{applied}");
    let again = good(&bench, &["apply", "trapjaw.yaml"], "").await;
    assert!(again.contains("0 created, 0 updated"), "{again}");

    bench.receiver.script("/out", [Reply::Status(410)]);
    let data = r#"{"ref": "refs/heads/main", "commits": [{}]}"#;
    good(&bench, &["event", "publish", "--type", "push", "--source", "tests", "--id", "1", "--data", data], "").await;
    bench
        .wait("a dead letter", async || {
            let dead = json_of(&bench, &["dead", "ls"]).await;
            (!dead["items"].as_array()?.is_empty()).then_some(())
        })
        .await;
    let groups = json_of(&bench, &["dead", "ls", "--groups"]).await;
    assert_eq!(groups["items"][0]["trigger"], "pushes");
    good(&bench, &["dead", "redrive", "--all"], "").await;
    let delivery = bench.deliveries("/out", 2).await.remove(1);
    assert_eq!(delivery.json()["data"], serde_json::from_str::<Value>(data).unwrap());

    let event = json_of(&bench, &["event", "ls", "--source", "tests", "--id", "1"]).await["items"][0]["id"].clone();
    let event = event.as_str().unwrap();
    let explained = json_of(&bench, &["trigger", "explain", "pushes", event]).await;
    assert_eq!(explained["verdict"], "matched", "{explained}");
    let runs = json_of(&bench, &["run", "ls", "--trigger", "pushes"]).await;
    let run_id = runs["items"][0]["id"].as_str().unwrap();
    bench.run(event, &["succeeded"]).await;
    let shown = good(&bench, &["run", "get", run_id], "").await;
    assert!(shown.contains("succeeded") && shown.contains("out"), "{shown}");
    let tried = json_of(&bench, &["trigger", "try", "trapjaw.yaml", "--last", "5"]).await;
    assert_eq!(tried["items"][0]["verdict"], "matched", "{tried}");
    let dry = good(&bench, &["trigger", "fire", "pushes", "--event", event, "--dry"], "").await;
    assert!(dry.contains("refs/heads/main"), "{dry}");
    assert_eq!(bench.receiver.at("/out").len(), 2, "a dry fire sends nothing");
    let export = good(&bench, &["export"], "").await;
    assert!(export.contains("{{ secret.KEY }}") && !export.contains(key), "{export}");
}

#[tokio::test]
async fn plugins_are_pushed_and_rolled_back() {
    let bench = Bench::start().await;
    let components = components().unwrap();
    for (file, version) in [("big-push.wasm", "1.0.0"), ("big-push-v2.wasm", "2.0.0")] {
        let file = components.join(file);
        good(&bench, &["plugin", "push", "big-push", file.to_str().unwrap(), "--version", version], "").await;
        assert_eq!(json_of(&bench, &["plugin", "inspect", "big-push"]).await["active"], version);
    }
    good(&bench, &["plugin", "rollback", "big-push"], "").await;
    assert_eq!(json_of(&bench, &["plugin", "inspect", "big-push"]).await["active"], "1.0.0");
    good(&bench, &["plugin", "activate", "big-push", "2.0.0"], "").await;
    let listed = good(&bench, &["plugin", "ls"], "").await;
    assert!(listed.contains("big-push") && listed.contains("2.0.0"), "{listed}");
    let bad = run(&bench, &["plugin", "push", "big-push", "/etc/hostname"], "").await;
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("not WebAssembly"), "{bad:?}");
    assert_eq!(json_of(&bench, &["plugin", "inspect", "big-push"]).await["active"], "2.0.0");
}

#[tokio::test]
async fn mistakes_end_with_an_error_and_a_reason() {
    let bench = Bench::start().await;
    let check = async |arguments: &[&str], input: &str, reason: &str| {
        let output = run(&bench, arguments, input).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    };
    check(&["trigger", "get", "none"], "", "no trigger none").await;
    check(&["apply", "-"], "triggers: {t: {\"on\": {type: x}, do: [{send: none}]}}", "triggers.t.do[0].send").await;
    check(&["event", "publish", "--type", "x", "--data", "{"], "", "").await;
    check(&["status", "--token", "wrong"], "", "token").await;
    check(&["status", "--url", "http://127.0.0.1:1"], "", "127.0.0.1:1").await;
    assert!(good(&bench, &["status"], "").await.lines().count() > 1);
    assert!(good(&bench, &["doctor", "--data", "other"], "").await.lines().count() > 1);
}
