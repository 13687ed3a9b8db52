//! The real binary as a process: started, told to stop, killed, and started again on the same data.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::api::Api;
use crate::built;
use crate::log::Log;
use crate::wait::spawn;

/// The administrator's token of every daemon here.
pub const ADMIN_TOKEN: &str = "admin-token-of-the-tests";

/// How long a start may take: open work is recovered and components are compiled on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a stop may take, beyond the daemon's own grace of 20 s.
const STOP_MAX: Duration = Duration::from_secs(40);

/// A daemon on a data directory. Dropping it kills it, and fails the test if it logged an error that nobody expects.
#[derive(Debug)]
pub struct Daemon {
    data: PathBuf,
    settings: Option<PathBuf>,
    child: Option<Child>,
    address: Arc<RwLock<String>>,
    log: Log,
}

impl Daemon {
    /// Starts it on a free port, with a settings file if there is one.
    pub async fn start(data: &Path, settings: Option<&Path>) -> anyhow::Result<Self> {
        let mut daemon = Self {
            data: data.to_path_buf(),
            settings: settings.map(Path::to_path_buf),
            child: None,
            address: Arc::default(),
            log: Log::default(),
        };
        daemon.restart().await?;
        Ok(daemon)
    }

    /// Starts it again on the same data; the address is another one.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut child = self.command()?.spawn().context("start the daemon")?;
        let stderr = child.stderr.take().context("read the daemon's log")?;
        let stdout = child.stdout.take().context("read the daemon's output")?;
        collect(stderr, self.log.clone());
        let mut lines = BufReader::new(stdout).lines();
        self.child = Some(child);
        let address = timeout(START_MAX, listening(&mut lines)).await;
        let address = address.unwrap_or_else(|_| bail!("it does not listen within {START_MAX:?}"));
        let address = address.with_context(|| format!("start the daemon; its log ends:\n{}", self.log.tail(20)))?;
        if let Ok(mut known) = self.address.write() {
            *known = address;
        }
        // What it says later has to be read, or it would block.
        spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// Runs it on this data where it is expected to refuse, and gives what it wrote on standard error.
    pub async fn refused(data: &Path) -> anyhow::Result<String> {
        let daemon = Self {
            data: data.to_path_buf(),
            settings: None,
            child: None,
            address: Arc::default(),
            log: Log::default(),
        };
        let output =
            timeout(START_MAX, daemon.command()?.output()).await.context("wait for the daemon to refuse")??;
        if output.status.success() {
            bail!("the daemon ended without an error");
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Calls as the administrator. It follows the daemon from life to life.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(self.address.clone(), Some(ADMIN_TOKEN))
    }

    /// Where it listens now, such as `http://127.0.0.1:40000`.
    pub fn url(&self) -> String {
        self.address.read().map(|address| address.clone()).unwrap_or_default()
    }

    /// What it logged.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process, if it lives.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("kill the daemon: it does not run")?;
        child.start_kill().context("kill the daemon")?;
        child.wait().await.context("wait for the daemon's end")?;
        Ok(())
    }

    /// Tells it to stop with SIGTERM.
    pub fn tell_to_stop(&self) -> anyhow::Result<()> {
        let id =
            self.id().and_then(|id| Pid::from_raw(id.cast_signed())).context("stop the daemon: it does not run")?;
        kill_process(id, Signal::TERM).context("signal the daemon")
    }

    /// Waits for its end, after it was told to stop.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("wait for the daemon: it does not run")?;
        let status = timeout(STOP_MAX, child.wait()).await;
        Ok(status.with_context(|| format!("the daemon does not stop within {STOP_MAX:?}"))??)
    }

    /// Tells it to stop and waits for its end.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.tell_to_stop()?;
        self.ended().await
    }

    /// Leaves it running when this is dropped, for people to play with.
    pub fn release(mut self) -> Option<Child> {
        self.child.take()
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(built::binary()?);
        command.env_clear().env("TRAPJAW_ADMIN_TOKEN", ADMIN_TOKEN).env("RUST_BACKTRACE", "1");
        command.arg("serve").arg("--data").arg(&self.data).args(["--listen", "127.0.0.1:0"]);
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(settings);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _gone = child.start_kill();
        }
        let errors = self.log.unexpected();
        if std::thread::panicking() {
            eprintln!("the daemon's log ends:\n{}", self.log.tail(20));
        } else {
            assert!(errors.is_empty(), "the daemon logged errors that nobody expects:\n{}", errors.join("\n"));
        }
    }
}

async fn listening(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on ") {
            return Ok(address.trim().to_owned());
        }
    }
    bail!("it ended before it listened")
}

fn collect(stderr: impl AsyncRead + Unpin + Send + 'static, log: Log) {
    spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log.take(line);
        }
    });
}
