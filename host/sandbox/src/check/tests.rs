use super::*;

const CONDITION: &str = r#"(instance $i) (export "trapjaw:plugin/condition@0.1.0" (instance $i))"#;
const ACTION: &str = r#"(instance $i) (export "trapjaw:plugin/action@0.1.0" (instance $i))"#;

fn features() -> WasmFeatures {
    crate::engine::compiling().unwrap().get_wasm_features()
}

fn component(parts: &[&str]) -> Vec<u8> {
    wat::parse_str(format!("(component {})", parts.concat())).unwrap()
}

/// The reasons, each by its beginning.
fn refused(bytes: &[u8], expected: &[&str]) {
    let reasons = check(bytes, features()).unwrap_err();
    let matches = reasons.len() == expected.len() && reasons.iter().zip(expected).all(|(r, e)| r.0.starts_with(e));
    assert!(matches, "{reasons:#?}\nexpected {expected:#?}");
}

#[test]
fn what_is_no_component_is_told_apart() {
    refused(b"", &["empty: there are no bytes"]);
    refused(b"PK\x03\x04zip", &["not WebAssembly: it does not begin with"]);
    refused(b"\0as", &["truncated: it ends after 3 bytes"]);
    refused(b"\0asm\x0d\0", &["truncated: it ends after 6 bytes"]);
    refused(&wat::parse_str("(module)").unwrap(), &["core module, not a component: make one"]);
    refused(b"\0asm\x07\0\x09\0", &["WebAssembly of an unknown kind"]);
    refused(&vec![0; COMPONENT_BYTES_MAX + 1], &["too large: 67108865 bytes, and 64 MiB is the most"]);
}

#[test]
fn damage_is_found_wherever_it_is() {
    let whole = component(&[
        "(core module (func (result i32) i32.const 1)) (instance)",
        r#"(export "trapjaw:plugin/condition@0.1.0" (instance 0))"#,
    ]);
    assert!(check(&whole, features()).is_ok());
    for n in 8..whole.len() {
        assert!(check(&whole[..n], features()).is_err(), "cut at {n} of {}", whole.len());
    }
    refused(&whole[..whole.len() - 1], &["truncated: unexpected end"]);
    let mut bad_type = whole;
    // The body's constant becomes one of 64 bits, which the result is not.
    let place = bad_type.windows(3).position(|w| w == [0x41, 0x01, 0x0b]).unwrap();
    bad_type[place] = 0x42;
    refused(&bad_type, &["not valid WebAssembly: type mismatch"]);
}

#[test]
fn proposals_that_we_do_not_run_are_refused() {
    let with = |module: &str| component(&[CONDITION, "(core module ", module, ")"]);
    refused(&with("(memory i64 1)"), &["not valid WebAssembly: memory64 must be enabled"]);
    refused(&with("(memory 1 2 shared)"), &["not valid WebAssembly: threads must be enabled"]);
}

#[test]
fn the_world_is_that_of_the_exports() {
    let check = |parts: &[&str], world: World| {
        assert_eq!(check(&component(parts), features()).unwrap().world, world);
    };
    check(&[CONDITION], World::Condition);
    check(&[ACTION], World::Action);
    check(&[CONDITION, r#"(export "init" (instance $i))"#], World::Condition);
    check(&[&CONDITION.replace("0.1.0", "0.1.7")], World::Condition);
    refused(&component(&[]), &["export `trapjaw:plugin/condition@0.1.0` is missing, and so is"]);
    refused(
        &component(&[CONDITION, r#"(export "trapjaw:plugin/action@0.1.0" (instance $i))"#]),
        &["exports both a condition and an action"],
    );
    let other = CONDITION.replace("0.1.0", "2.0.0");
    let reasons = super::check(&component(&[&other]), features()).unwrap_err();
    assert!(reasons[0].0.ends_with("`trapjaw:plugin/condition@2.0.0` is of another version of the contract"));
}

#[test]
fn every_import_that_is_not_offered_is_named() {
    let import = |name: &str| format!("(import {name:?} (instance))");
    let imports = |names: &[&str]| names.iter().map(|name| import(name)).collect::<String>();
    let log = "trapjaw:plugin/log@0.1.0";
    assert!(check(&component(&[&imports(&[log, "wasi:cli/stderr@0.2.6"]), CONDITION]), features()).is_ok());
    refused(
        &component(&[
            &imports(&["foo:bar/baz@1.0.0", "wasi:http/outgoing-handler@0.2.0", "wasi:io/poll@0.3.0", log]),
            &imports(&["trapjaw:plugin/sinks@0.1.0", "wasi:io/streams@0.2.0-rc-2023-11-10"]),
            CONDITION,
        ]),
        &[
            "import `foo:bar/baz@1.0.0` is not offered by this host",
            "import `trapjaw:plugin/sinks@0.1.0` is not offered to conditions",
            "import `wasi:http/outgoing-handler@0.2.0` is not offered by this host: send through",
            "import `wasi:io/poll@0.3.0` is not offered by this host",
            "import `wasi:io/streams@0.2.0-rc-2023-11-10` is not offered by this host",
        ],
    );
    assert!(check(&component(&[&import("trapjaw:plugin/sinks@0.1.0"), ACTION]), features()).is_ok());
    refused(&component(&["(import \"run\" (func))", ACTION]), &["import `run` is not offered by this host"]);
}

#[test]
fn several_reasons_are_told_at_once() {
    refused(
        &component(&["(import \"a:b/c@1.0.0\" (instance))", "(@custom \"trapjaw:manifest\" \"{\")"]),
        &[
            "manifest (section `trapjaw:manifest`) is not JSON: EOF",
            "export `trapjaw:plugin/condition",
            "import `a:b/c",
        ],
    );
}

#[test]
fn the_manifest_is_read() {
    let with = |text: &str| component(&[CONDITION, &format!("(@custom \"trapjaw:manifest\" {text:?})")]);
    let about = check(&with(r#"{"name":"vip"}"#), features()).unwrap();
    assert_eq!(about.manifest, Some(serde_json::json!({"name": "vip"})));
    refused(&with(&"[".repeat(65)), &["manifest (section `trapjaw:manifest`) nested deeper than 64"]);
    refused(&with(&" ".repeat(manifest::BYTES_MAX + 1)), &["manifest (section `trapjaw:manifest`) too large"]);
}

#[test]
fn only_a_condition_may_ask_for_a_warm_pool() {
    let with = |export: &str, text: &str| component(&[export, &format!("(@custom \"trapjaw:manifest\" {text:?})")]);
    let asked = |text: &str| check(&with(CONDITION, text), features()).unwrap().warm_uses;
    assert_eq!(asked("{}"), None);
    assert_eq!(asked(r#"{"warm":{"uses":1}}"#), Some(1));
    assert_eq!(asked(r#"{"name":"vip","warm":{"uses":10000}}"#), Some(10_000));
    let malformed = [
        "null",
        "true",
        "7",
        "[]",
        "{}",
        r#"{"uses":0}"#,
        r#"{"uses":10001}"#,
        r#"{"uses":-1}"#,
        r#"{"uses":1.5}"#,
        r#"{"uses":"9"}"#,
        r#"{"uses":null}"#,
        r#"{"uses":18446744073709551616}"#,
        r#"{"uses":9,"for":"ever"}"#,
    ];
    for warm in malformed {
        refused(
            &with(CONDITION, &format!("{{\"warm\":{warm}}}")),
            &["manifest.warm.uses: a whole number from 1 to 10000"],
        );
    }
    refused(&with(ACTION, r#"{"warm":{"uses":9}}"#), &["manifest.warm: an action gets a fresh instance"]);
}

#[test]
fn size_is_bounded_in_every_direction() {
    let functions = |n: usize| format!("(core module {})", "(func)".repeat(n));
    let many = functions(FUNCTIONS_MAX as usize / 2 + 1).repeat(2);
    refused(&component(&[CONDITION, &many]), &["too many functions: 200002"]);
    let long = format!("(core module (func {}))", "nop ".repeat(FUNCTION_BYTES_MAX));
    refused(&component(&[CONDITION, &long]), &["too many bytes in one function"]);
    let deep = format!("{}{}", "(component ".repeat(PARTS_DEPTH_MAX), ")".repeat(PARTS_DEPTH_MAX));
    refused(&component(&[CONDITION, &deep]), &["too many levels of components inside components: 9"]);
    refused(&component(&[CONDITION, &"(core module)".repeat(PARTS_MAX)]), &["too many modules and components"]);
    let exports: String = (0..NAMES_MAX).map(|n| format!("(export \"x{n}\" (instance $i))")).collect();
    refused(&component(&[CONDITION, &exports]), &["too many exports: 1001"]);
}

#[test]
fn the_version_is_that_of_the_contract() {
    let package = format!("package {PACKAGE}@{VERSION};");
    assert!(include_str!("../../../../wit/types.wit").starts_with(&package));
}
