//! A disk that takes nothing more: the daemon ends rather than guesses, and what it acknowledged is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use trapjaw_tests::{ADMIN_TOKEN, Daemon, binary};

/// Longer than a start, or an end, takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How many events are taken before the disk is full.
const N_BEFORE: usize = 50;
/// How many are sent then at most; the first should be refused.
const N_AFTER_MAX: usize = 1_000;
/// No file may grow beyond this; every commit writes further into one.
const FILE_BYTES_MAX: u64 = 4_096;

/// Starts a daemon for which a file that is too large is an error, and not the signal that would end it.
async fn start(data: &std::path::Path) -> (Child, String) {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary().unwrap());
    command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    command.env_clear().env("TRAPJAW_ADMIN_TOKEN", ADMIN_TOKEN).env("PATH", "/usr/bin:/bin").kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(WAIT_MAX, lines.next_line()).await.expect("it does not listen").unwrap();
    let url = line.and_then(|line| Some(line.strip_prefix("listening on ")?.to_owned())).unwrap();
    (child, url)
}

#[tokio::test]
async fn it_ends_and_what_it_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut child, url) = start(&data).await;
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    // A refusal and no answer at all are the same to whoever sends: it is not acknowledged.
    let publish = async |id: usize| {
        let event = json!({"specversion": "1.0", "id": id.to_string(), "source": "tests", "type": "x", "data": id});
        let call = http.post(format!("{url}/v1/events")).bearer_auth(ADMIN_TOKEN);
        let sent = call.header("content-type", "application/cloudevents+json").body(event.to_string()).send().await;
        sent.is_ok_and(|answer| answer.status() == 202)
    };
    for id in 0..N_BEFORE {
        assert!(publish(id).await, "{id}");
    }
    let pid = Pid::from_raw(child.id().unwrap().cast_signed());
    let full = Rlimit { current: Some(FILE_BYTES_MAX), maximum: Some(FILE_BYTES_MAX) };
    prlimit(pid, Resource::Fsize, full).unwrap();
    let mut n_acknowledged = N_BEFORE;
    while n_acknowledged < N_BEFORE + N_AFTER_MAX && publish(n_acknowledged).await {
        n_acknowledged += 1;
    }
    assert!(n_acknowledged < N_BEFORE + N_AFTER_MAX, "the disk is full, and events are taken");

    let status = timeout(WAIT_MAX, child.wait()).await.expect("it goes on with a full disk").unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("write to the store"), "{log}");

    let daemon = Daemon::start(&data, None).await.unwrap();
    let api = daemon.api().unwrap();
    let kept = api.all("/v1/events?source=tests").await.unwrap();
    let mut ids: Vec<usize> =
        kept.iter().map(|event| event["event"]["id"].as_str().unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    // One more may be there: written, and not acknowledged.
    assert_eq!(ids[..n_acknowledged.min(ids.len())], (0..n_acknowledged).collect::<Vec<_>>());
}
