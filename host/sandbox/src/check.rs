//! Whether an upload is a plugin, and if not, every reason why; nothing of it is run or compiled.

mod manifest;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;
use trapjaw_engine::ports::World;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::text;

/// The most bytes of a component. Python, the largest known, has 18 MB.
const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// The most functions of all its modules. Python has about 30,000.
const FUNCTIONS_MAX: u64 = 200_000;
/// The most bytes of one function's body: the compiler's memory grows faster than this does.
const FUNCTION_BYTES_MAX: usize = 1 << 20;
/// The most modules and components inside it, and how deep they nest.
const PARTS_MAX: usize = 256;
const PARTS_DEPTH_MAX: usize = 8;
/// The most imports and exports that it may have.
const NAMES_MAX: usize = 1_000;
/// The custom section that holds the manifest.
pub(crate) const MANIFEST_SECTION: &str = "trapjaw:manifest";

/// The package of the contract, and its version. Versions with the same minor number fit one another.
const PACKAGE: &str = "trapjaw:plugin";
const VERSION: &str = "0.1.0";

/// What each world may import of the contract.
pub(crate) const FOR_CONDITIONS: &[&str] = &["types", "log", "ledger"];
pub(crate) const FOR_ACTIONS: &[&str] = &["types", "log", "ledger", "sinks", "state"];
/// What every plugin may import of WASI 0.2: all there is, virtual or empty.
pub(crate) const WASI: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What is known of a component without running it.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// What it is for.
    pub world: World,
    /// What it imports, in the order of names.
    pub imports: Vec<String>,
    /// What it exports, in the order of names. Toolchains leave some of their own; they are harmless.
    pub exports: Vec<String>,
    /// How many functions its modules have.
    pub n_functions: u64,
    /// What its author says of it.
    pub manifest: Option<Value>,
    /// How many calls of a condition may be made in one instance, where its author asks for more than one.
    pub warm_uses: Option<u32>,
}

impl About {
    /// Whether it imports the ledger.
    pub fn reads_past(&self) -> bool {
        self.imports.iter().any(|name| is_of_contract(name, "ledger"))
    }
}

/// Why an upload is not a plugin, in one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the component, and says every reason why it is none.
pub(crate) fn check(bytes: &[u8], features: WasmFeatures) -> Result<About, Vec<Reason>> {
    if let Some(reason) = at_first_sight(bytes) {
        return Err(vec![Reason(reason)]);
    }
    let mut outline = Outline::default();
    if let Err(err) = outline.read(bytes) {
        // What follows the place that cannot be read is unknown, so whatever seems to be missing may be there.
        outline.reasons.push(unreadable(&err, bytes.len()));
        return Err(outline.reasons.into_iter().map(Reason).collect());
    }
    let world = outline.world();
    outline.check_imports(world);
    let warm_uses = outline.warm_uses(world);
    if outline.reasons.is_empty()
        && let Err(err) = Validator::new_with_features(features).validate_all(bytes)
    {
        outline.reasons.push(unreadable(&err, bytes.len()));
    }
    match world {
        Some(world) if outline.reasons.is_empty() => Ok(About {
            world,
            imports: outline.imports.into_iter().collect(),
            exports: outline.exports.into_iter().collect(),
            n_functions: outline.n_functions,
            manifest: outline.manifest,
            warm_uses,
        }),
        Some(_) | None => Err(outline.reasons.into_iter().map(Reason).collect()),
    }
}

/// What the first bytes and the length say.
fn at_first_sight(bytes: &[u8]) -> Option<String> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        let (size, most) = (bytes.len(), text::bytes(COMPONENT_BYTES_MAX));
        Some(format!("too large: {size} bytes, and {most} is the most"))
    } else if bytes.is_empty() {
        Some("empty: there are no bytes".into())
    } else if !bytes.starts_with(b"\0asm"[..bytes.len().min(4)].as_ref()) {
        Some("not WebAssembly: it does not begin with the bytes `00 61 73 6d`".into())
    } else if bytes.len() < 8 {
        Some(format!("truncated: it ends after {} bytes", bytes.len()))
    } else if Parser::is_core_wasm(bytes) {
        Some(
            "core module, not a component: make one of it with `wasm-tools component new`, or build for wasm32-wasip2"
                .into(),
        )
    } else if !Parser::is_component(bytes) {
        Some(format!("WebAssembly of an unknown kind: its header ends in {:02x?}", &bytes[4..8]))
    } else {
        None
    }
}

fn unreadable(err: &wasmparser::BinaryReaderError, n_bytes: usize) -> String {
    if err.message().starts_with("unexpected end") {
        format!("truncated: {} at byte {} of {n_bytes}", err.message(), err.offset())
    } else {
        format!("not valid WebAssembly: {} at byte {}", err.message(), err.offset())
    }
}

/// The parts of a component that matter here, and what is wrong with them.
#[derive(Default)]
struct Outline {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    manifest: Option<Value>,
    n_functions: u64,
    n_parts: usize,
    reasons: Vec<String>,
}

impl Outline {
    fn read(&mut self, bytes: &[u8]) -> wasmparser::Result<()> {
        let (mut depth, mut depth_seen, mut body_bytes_seen) = (0, 0, 0);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => {
                    depth += 1;
                    depth_seen = depth_seen.max(depth);
                    self.n_parts += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::CodeSectionStart { count, .. } => self.n_functions += u64::from(count),
                Payload::CodeSectionEntry(body) => body_bytes_seen = body_bytes_seen.max(body.range().len()),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section.into_iter().take(NAMES_MAX + 1) {
                        self.imports.insert(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section.into_iter().take(NAMES_MAX + 1) {
                        self.exports.insert(export?.name.name.to_owned());
                    }
                }
                Payload::CustomSection(section) if depth == 1 && section.name() == MANIFEST_SECTION => {
                    self.read_manifest(section.data());
                }
                _ => {}
            }
        }
        let mut bound = |what: &str, n: usize, most: usize| {
            if n > most {
                self.reasons.push(format!("too many {what}: {n}, and {most} are the most"));
            }
        };
        bound("functions", usize::try_from(self.n_functions).unwrap_or(usize::MAX), FUNCTIONS_MAX as usize);
        bound("bytes in one function", body_bytes_seen, FUNCTION_BYTES_MAX);
        bound("modules and components inside it", self.n_parts, PARTS_MAX);
        bound("levels of components inside components", depth_seen, PARTS_DEPTH_MAX);
        bound("imports", self.imports.len(), NAMES_MAX);
        bound("exports", self.exports.len(), NAMES_MAX);
        Ok(())
    }

    fn read_manifest(&mut self, data: &[u8]) {
        match manifest::read(data) {
            Ok(_) if self.manifest.is_some() => self.refuse_manifest("there twice"),
            Ok(manifest) => self.manifest = Some(manifest),
            Err(why) => self.refuse_manifest(&why),
        }
    }

    fn refuse_manifest(&mut self, why: &str) {
        self.reasons.push(format!("manifest (section `{MANIFEST_SECTION}`) {why}"));
    }

    /// How often the manifest asks for an instance to be called; a reason where it asks for what cannot be.
    fn warm_uses(&mut self, world: Option<World>) -> Option<u32> {
        let asked = manifest::warm_uses(self.manifest.as_ref()?, world);
        asked.unwrap_or_else(|reason| {
            self.reasons.push(reason);
            None
        })
    }

    /// The world that the exports say; a reason when they say none, or both.
    fn world(&mut self) -> Option<World> {
        let exports = |name: &str| self.exports.iter().any(|export| is_of_contract(export, name));
        let (condition, action) = (exports("condition"), exports("action"));
        match (condition, action) {
            (true, false) => return Some(World::Condition),
            (false, true) => return Some(World::Action),
            (true, true) => self
                .reasons
                .push("exports both a condition and an action: a plugin is one of them, so make two components".into()),
            (false, false) => {
                let mut reason = format!(
                    "export `{PACKAGE}/condition@{VERSION}` is missing, and so is `{PACKAGE}/action@{VERSION}`: \
                     a plugin has one of them"
                );
                if let Some(other) = self.exports.iter().find(|export| export.starts_with(PACKAGE)) {
                    reason += &format!("; `{other}` is of another version of the contract");
                }
                self.reasons.push(reason);
            }
        }
        None
    }

    /// A reason for each import that this host does not offer to that world. Of an unknown world, all are let pass.
    fn check_imports(&mut self, world: Option<World>) {
        for name in &self.imports {
            let offered_to = |names: &[&str]| names.iter().any(|short| is_of_contract(name, short));
            let reason = if is_of_wasi(name) || offered_to(FOR_CONDITIONS) {
                continue;
            } else if offered_to(FOR_ACTIONS) {
                if world != Some(World::Condition) {
                    continue;
                }
                format!("import `{name}` is not offered to conditions: they have no effects")
            } else if name.starts_with("wasi:http/") {
                format!("import `{name}` is not offered by this host: send through `{PACKAGE}/sinks`")
            } else {
                format!("import `{name}` is not offered by this host")
            };
            self.reasons.push(reason);
        }
    }
}

/// Whether a name is that of an interface of the contract, in a version that fits ours.
fn is_of_contract(name: &str, interface: &str) -> bool {
    let track = VERSION.rsplit_once('.').map_or(VERSION, |(track, _)| track);
    split(name).is_some_and(|(path, version)| {
        path.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) == Some(interface)
            && is_on_track(version, track)
    })
}

fn is_of_wasi(name: &str) -> bool {
    split(name).is_some_and(|(path, version)| WASI.contains(&path) && is_on_track(version, "0.2"))
}

fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once('@')
}

/// Whether `0.2.6` is on the track `0.2`. A pre-release is on none: those fit only themselves.
fn is_on_track(version: &str, track: &str) -> bool {
    version
        .strip_prefix(track)
        .and_then(|rest| rest.strip_prefix('.'))
        .is_some_and(|patch| patch.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests;
