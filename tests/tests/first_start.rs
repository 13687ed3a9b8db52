//! The first start of a daemon, as a person or an installer makes it: without a token, on a port that may be taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;
use trapjaw_tests::{binary, wait_until};

/// Longer than a start, or a stop, takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);
const SHOWN: &str = "admin token (shown this once): ";
const LISTENING: &str = "listening on ";

/// A command in a home of its own, which tells it nothing.
fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).env_clear().env("HOME", home).current_dir(home).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// What a command that ends by itself says.
async fn ended(mut command: Command) -> Output {
    timeout(WAIT_MAX, command.stderr(Stdio::piped()).output()).await.expect("it does not end").unwrap()
}

/// A command of the client's that is told where the daemon is.
async fn asked(home: &Path, url: &str, token: &str, arguments: &[&str]) -> Output {
    let mut command = command(home, arguments);
    command.env("TRAPJAW_URL", url).env("TRAPJAW_TOKEN", token);
    ended(command).await
}

struct Started {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Started {
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What it prints, to the line that begins like this.
    async fn until(&mut self, start: &str) -> Vec<String> {
        let mut read = Vec::new();
        while read.last().is_none_or(|line: &String| !line.starts_with(start)) {
            let line = timeout(WAIT_MAX, self.lines.next_line()).await.expect("it says nothing more").unwrap();
            read.push(line.unwrap_or_else(|| panic!("it ended after {read:?}")));
        }
        read
    }

    async fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        timeout(WAIT_MAX, self.child.wait()).await.expect("it does not stop").unwrap()
    }
}

fn serve(home: &TempDir, listen: &str) -> Command {
    command(home.path(), &["serve", "--data", "data", "--listen", listen])
}

#[tokio::test]
async fn the_first_token_is_shown_once() {
    let home = tempfile::tempdir().unwrap();
    let mut first = Started::of(serve(&home, "127.0.0.1:0"));
    let lines = first.until(LISTENING).await;
    let [shown, listening] = &lines[..] else { panic!("{lines:?}") };
    let token = shown.strip_prefix(SHOWN).unwrap();
    let url = listening.strip_prefix(LISTENING).unwrap();
    let listed = asked(home.path(), url, token, &["token", "ls", "-o", "json"]).await;
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["items"][0]["scopes"][0], "admin");
    assert!(!asked(home.path(), url, "tj_another", &["token", "ls"]).await.status.success());
    assert!(first.stop().await.success());

    let mut second = Started::of(serve(&home, "127.0.0.1:0"));
    let lines = second.until(LISTENING).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    let url = lines[0].strip_prefix(LISTENING).unwrap();
    assert!(asked(home.path(), url, token, &["token", "ls"]).await.status.success());
}

#[tokio::test]
async fn a_start_that_fails_takes_no_token_with_it() {
    let home = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = ended(serve(&home, &address)).await;
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), b"".as_slice()));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&format!("listen on {address}")), "{said}");
    let mut next = Started::of(serve(&home, "127.0.0.1:0"));
    assert!(next.until(LISTENING).await[0].starts_with(SHOWN));
}

#[tokio::test]
async fn who_reads_that_it_listens_may_stop_it() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..10 {
        let mut daemon = Started::of(serve(&home, "127.0.0.1:0"));
        daemon.until(LISTENING).await;
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test]
async fn a_limit_of_nothing_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for key in ["connections", "body-bytes", "streams", "attempts", "work-bytes"] {
        for value in ["0", "18446744073709551615"] {
            std::fs::write(home.path().join("settings.yaml"), format!("limits: {{{key}: {value}}}")).unwrap();
            let mut command = serve(&home, "127.0.0.1:0");
            command.args(["--config", "settings.yaml"]);
            let refused = ended(command).await;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{key}: {value}");
            assert!(said.contains(&format!("limits.{key}: 1 to ")), "{said}");
        }
    }
}

#[tokio::test]
async fn dev_can_be_used_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut dev = Started::of(command(home.path(), &["dev", "--listen", "127.0.0.1:0"]));
    let line = dev.until("export ").await.pop().unwrap();
    let variable = |name: &str| {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("{name} is not in {line}")).to_owned()
    };
    let (url, token) = (variable("TRAPJAW_URL"), variable("TRAPJAW_TOKEN"));

    // The command line finds it by itself.
    let trigger = r#"{"triggers": {"t": {"on": {"type": ["x"]}, "do": [{"send": "inbox", "body": {"n": "{{ event.data.n }}"}}]}}}"#;
    std::fs::write(home.path().join("t.json"), trigger).unwrap();
    for arguments in [&["apply", "t.json"] as &[&str], &["event", "publish", "--type", "x", "--data", r#"{"n": 7}"#]] {
        let output = ended(command(home.path(), arguments)).await;
        assert!(output.status.success(), "{output:?}");
    }
    // And with what it printed, so does everything else.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let received = wait_until("a delivery", WAIT_MAX, async || {
        let inbox = http.get(format!("{url}/dev/inbox")).bearer_auth(&token).send().await.ok()?;
        let inbox: Value = inbox.json().await.ok()?;
        inbox["items"][0]["body"].as_str().map(str::to_owned)
    });
    assert_eq!(received.await.unwrap(), r#"{"n":7}"#);
    assert!(dev.stop().await.success());
}
