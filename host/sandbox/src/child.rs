//! The compiler's own process: it reads a component on standard input and writes its code on standard output.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use crate::compile;
use crate::engine;

/// The argument with which the host's program is its own compiler. It is for the host alone.
pub const COMPILE_COMMAND: &str = "compile-component";

/// What the compiler may take: address space, thread time of all its threads, and no dump of its memory.
pub(crate) const MEMORY_BYTES_MAX: u64 = 4 << 30;
pub(crate) const CPU_SECONDS_MAX: u64 = 60;
/// The signal that says so comes first; what does not heed it is killed so much later.
const CPU_SECONDS_GRACE: u64 = 5;
/// How much the compiler stands back behind the host, which is at work meanwhile.
const NICENESS: i32 = 10;

/// What the host's program does when it is called with [`COMPILE_COMMAND`].
///
/// It limits itself, compiles, and ends; the reason of a failure is on standard error.
pub fn compile_child() -> ExitCode {
    match limit_self().and_then(|()| compile_streams()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Nobody is left to be told when this fails too; the exit code says enough.
            let _ = writeln!(std::io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn limit_self() -> Result<(), String> {
    let limits = [
        (Resource::As, MEMORY_BYTES_MAX, 0),
        (Resource::Cpu, CPU_SECONDS_MAX, CPU_SECONDS_GRACE),
        (Resource::Core, 0, 0),
    ];
    for (resource, most, grace) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most + grace) };
        setrlimit(resource, limit).map_err(|err| format!("limit the compiler: {err}"))?;
    }
    nice(NICENESS).map_err(|err| format!("stand back: {err}"))?;
    Ok(())
}

fn compile_streams() -> Result<(), String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(|err| format!("read component: {err}"))?;
    let engine = engine::compiling().map_err(|err| format!("start compiler: {err:#}"))?;
    let code = compile::compile(&engine, &bytes)?;
    std::io::stdout().write_all(&code).map_err(|err| format!("write code: {err}"))
}
