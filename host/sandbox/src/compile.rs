//! Compiling, in a child process of the host's own program, one component at a time.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::child::{COMPILE_COMMAND, CPU_SECONDS_MAX, MEMORY_BYTES_MAX};
use crate::sandbox::LoadError;
use crate::settings::Compiler;

/// The most bytes of compiled code. That of SpiderMonkey, the largest known, has 37 MB.
pub(crate) const CODE_BYTES_MAX: usize = 512 << 20;
/// How long the compiler may take on the wall, whatever else the machine does. Its thread time is limited in the child.
const WALL: Duration = Duration::from_secs(300);
/// What is read of the compiler's complaints.
const COMPLAINT_BYTES_MAX: u64 = 8 << 10;

/// Compiles components, one at a time.
pub(crate) struct Compile {
    compiler: Compiler,
    turn: Semaphore,
    engine: Engine,
}

impl Compile {
    pub(crate) fn new(compiler: Compiler, engine: Engine) -> Self {
        Self { compiler, turn: Semaphore::new(1), engine }
    }

    /// The code of a component that has been checked. Dropped, the compiler is stopped.
    pub(crate) async fn compile(&self, bytes: Bytes) -> Result<Vec<u8>, LoadError> {
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        match &self.compiler {
            Compiler::Child(program) => tokio::time::timeout(WALL, compile_in_child(program, &bytes))
                .await
                .unwrap_or_else(|_| Err(unavailable(format!("it took longer than {} s", WALL.as_secs())))),
            Compiler::Here => {
                let engine = self.engine.clone();
                tokio::task::spawn_blocking(move || compile(&engine, &bytes))
                    .await
                    .map_err(|err| unavailable(err.to_string()))?
                    .map_err(LoadError::Compile)
            }
        }
    }
}

/// Compiles, in whatever process it is called.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>, String> {
    engine.precompile_component(bytes).map_err(|err| format!("{err:#}"))
}

async fn compile_in_child(program: &Path, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let mut child = Command::new(program)
        .arg(COMPILE_COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| unavailable(format!("start {}: {err}", program.display())))?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    // A child that died early closes its input; its end says why, so the failed write need not.
    let feed = async move {
        let _ = stdin.write_all(bytes).await;
    };
    let ((), code, complaint) =
        tokio::join!(feed, read(stdout, CODE_BYTES_MAX as u64 + 1), read(stderr, COMPLAINT_BYTES_MAX));
    let code = code?;
    if code.len() > CODE_BYTES_MAX {
        return Err(LoadError::Compile(format!("its code has more than {CODE_BYTES_MAX} bytes")));
    }
    let status = child.wait().await.map_err(|err| unavailable(err.to_string()))?;
    if status.success() { Ok(code) } else { Err(failed(status, &complaint?)) }
}

async fn read(from: impl AsyncRead + Unpin, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    from.take(bytes_max).read_to_end(&mut bytes).await.map_err(|err| unavailable(err.to_string()))?;
    Ok(bytes)
}

/// What became of a child that did not succeed: it said why, or its limits stopped it.
fn failed(status: ExitStatus, complaint: &[u8]) -> LoadError {
    let complaint = String::from_utf8_lossy(complaint);
    let complaint = complaint.trim();
    match (status.code(), status.signal().and_then(Signal::from_named_raw)) {
        (Some(1), _) => LoadError::Compile(complaint.to_owned()),
        (_, Some(Signal::XCPU)) => {
            LoadError::Compile(format!("the compiler would take more than {CPU_SECONDS_MAX} s of thread time"))
        }
        // Out of memory, the allocator aborts.
        (_, Some(Signal::ABORT)) => LoadError::Compile(format!(
            "the compiler gave up, most often for want of memory, of which it has {} GiB: {complaint}",
            MEMORY_BYTES_MAX >> 30
        )),
        (Some(_) | None, _) => unavailable(format!("{status}: {complaint}")),
    }
}

fn unavailable(why: String) -> LoadError {
    LoadError::Unavailable(format!("compile component: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_child_says_whether_to_try_again() {
        // As `wait` tells it: the exit code stands in the second byte, a signal in the first.
        let check = |status: i32, expected: &str| {
            let err = failed(ExitStatus::from_raw(status), b"why\n");
            assert_eq!(matches!(err, LoadError::Compile(_)), !expected.starts_with("again"), "{err}");
            assert!(err.to_string().contains(expected.trim_start_matches("again ")), "{err}");
        };
        check(1 << 8, "compile component: why");
        check(101 << 8, "again exit status: 101: why");
        check(Signal::XCPU.as_raw(), "more than 60 s of thread time");
        check(Signal::ABORT.as_raw(), "it has 4 GiB: why");
        check(Signal::KILL.as_raw(), "again signal: 9");
    }
}
