//! The real command line, as a person would use it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use trapjaw_tests::{ADMIN_TOKEN, Daemon, binary};

/// The command line, pointed at a daemon.
pub(crate) struct Cli {
    program: PathBuf,
    url: String,
}

impl Cli {
    pub(crate) fn new(daemon: &Daemon) -> anyhow::Result<Self> {
        Ok(Self { program: binary()?, url: daemon.url() })
    }

    /// Uploads a component and makes it the active version.
    pub(crate) async fn push(&self, plugin: &str, file: &Path, version: &str) -> anyhow::Result<()> {
        let file = file.to_str().context("the path of a component is no text")?;
        self.run(&["plugin", "push", plugin, file, "--version", version]).await?;
        Ok(())
    }

    /// Runs a command; what it prints.
    pub(crate) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run_with(arguments, "").await
    }

    /// Runs a command with something on its standard input; what it prints.
    pub(crate) async fn run_with(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let shown = format!("trapjaw {}", arguments.join(" "));
        let mut command = Command::new(&self.program);
        command.args(arguments).env("TRAPJAW_URL", &self.url).env("TRAPJAW_TOKEN", ADMIN_TOKEN).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("run {shown}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may have ended already.
            let _unread = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.with_context(|| format!("run {shown}"))?;
        if !output.status.success() {
            bail!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
