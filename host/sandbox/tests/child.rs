//! The compiling child: this program is both the host that starts it and the child.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use support::*;
use trapjaw_sandbox::{COMPILE_COMMAND, Compiler, LoadError, compile_child};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COMPILE_COMMAND) {
        return compile_child();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(a_component_is_compiled_in_a_child());
    runtime.block_on(a_child_that_fails_is_no_code());
    garbage_is_refused_with_a_reason();
    println!("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

async fn a_component_is_compiled_in_a_child() {
    let program = std::env::current_exe().unwrap();
    let bench = Bench::with(|settings| settings.compiler = Compiler::Child(program));
    let plugin = bench.load(&condition(MEMORY, "(i32.const 1024)")).await;
    assert!(!matched(&judge(&plugin, "{}").await));
}

async fn a_child_that_fails_is_no_code() {
    let with = async |program: &str| {
        let bench = Bench::with(|settings| settings.compiler = Compiler::Child(program.into()));
        load(&bench.sandbox, &condition(MEMORY, "(i32.const 1024)")).await.map(|_| ())
    };
    // A program that fails, one that ends well and writes nothing, and none.
    assert!(matches!(with("/bin/false").await, Err(LoadError::Compile(_))));
    assert!(matches!(with("/bin/true").await, Err(LoadError::Unavailable(_))));
    assert!(matches!(with("/there/is/no/compiler").await, Err(LoadError::Unavailable(_))));
}

fn garbage_is_refused_with_a_reason() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(COMPILE_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"\0asm garbage").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(!output.stderr.is_empty());
}
