//! From bytes to a plugin: what is refused, and when compiled code is taken from disk.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::*;
use trapjaw_sandbox::{Compiler, LoadError};

/// A sandbox that cannot compile, so what it loads was in the cache.
fn without_compiler(folder: &Path) -> std::sync::Arc<trapjaw_sandbox::Sandbox> {
    open(folder, |settings| settings.compiler = Compiler::Child(PathBuf::from("/there/is/no/compiler")))
}

fn compiled(folder: &Path) -> PathBuf {
    let paths = fs::read_dir(folder.join("compiled")).unwrap().map(|entry| entry.unwrap().path());
    paths.into_iter().find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap()
}

#[tokio::test]
async fn compiled_code_is_taken_from_the_cache() {
    let bench = Bench::new();
    let bytes = condition(MEMORY, "(i32.const 1024)");
    bench.load(&bytes).await;
    let plugin = load(&without_compiler(bench.folder.path()), &bytes).await.unwrap();
    assert!(!matched(&judge(&plugin, "{}").await));
    let other = load(&without_compiler(bench.folder.path()), &condition(MEMORY, "(i32.const 1032)")).await;
    assert!(matches!(other, Err(LoadError::Unavailable(why)) if why.contains("/there/is/no/compiler")));
}

#[tokio::test]
async fn code_that_was_changed_is_compiled_again() {
    let bench = Bench::new();
    let bytes = condition(MEMORY, "(i32.const 1024)");
    bench.load(&bytes).await;
    let path = compiled(bench.folder.path());
    let mut code = fs::read(&path).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&path, &code).unwrap();
    let refused = load(&without_compiler(bench.folder.path()), &bytes).await;
    assert!(matches!(refused, Err(LoadError::Unavailable(_))), "changed code was loaded");
    let plugin = load(&open(bench.folder.path(), |_| {}), &bytes).await.unwrap();
    assert!(!matched(&judge(&plugin, "{}").await));
    load(&without_compiler(bench.folder.path()), &bytes).await.expect("the new code is in the cache");
}

#[tokio::test]
async fn code_of_another_host_is_compiled_again() {
    let (here, there) = (Bench::new(), Bench::new());
    let bytes = condition(MEMORY, "(i32.const 1024)");
    there.load(&bytes).await;
    let path = compiled(there.folder.path());
    fs::copy(&path, here.folder.path().join("compiled").join(path.file_name().unwrap())).unwrap();
    let refused = load(&without_compiler(here.folder.path()), &bytes).await;
    assert!(matches!(refused, Err(LoadError::Unavailable(_))), "another host's code was loaded");
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_every_reason() {
    let bench = Bench::new();
    let check = async |bytes: &[u8], expected: &str| match load(&bench.sandbox, bytes).await {
        Err(LoadError::Refused(reasons)) => {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            assert!(reasons.join("\n").contains(expected), "{reasons:#?}");
        }
        Err(err) => panic!("{err}"),
        Ok(_) => panic!("loaded"),
    };
    check(&wat::parse_str("(module)").unwrap(), "core module").await;
    let of_other_type = r#"(component (instance $i) (export "trapjaw:plugin/condition@0.1.0" (instance $i)))"#;
    check(&wat::parse_str(of_other_type).unwrap(), "it does not fit the contract").await;
    let large = condition(r#"(memory (export "memory") 1025)"#, "(i32.const 1024)");
    check(&large, "it needs 67174400 bytes of memory at its start, and 67108864 are the most").await;
    let tables = format!("{MEMORY} {}", "(table 1 funcref)".repeat(9));
    check(&condition(&tables, "(i32.const 1024)"), "it does not fit the sandbox: module table does not fit").await;
    let table = format!("{MEMORY} (table 20001 funcref)");
    check(&condition(&table, "(i32.const 1024)"), "it does not fit the sandbox: module table does not fit").await;
    let digest = bench.sandbox.load("00", bytes::Bytes::from_static(b"")).await;
    assert!(matches!(digest, Err(LoadError::Refused(_))));
}
