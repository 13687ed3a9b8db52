//! Makes C bindings of the contract, and a component of a core module: what a plugin in C needs beside its compiler.
//! Puts a plugin's manifest into its component, in whatever language it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_bindgen_core::Files;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

const USAGE: &str = "usage: trapjaw-pack c WIT WORLD FOLDER | trapjaw-pack component WIT WORLD CORE.wasm OUT.wasm | \
                     trapjaw-pack manifest PLUGIN.yaml IN.wasm OUT.wasm";
/// Where a host looks for the manifest.
const MANIFEST_SECTION: &str = "trapjaw:manifest";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["c", wit, world, folder] => write_bindings(Path::new(wit), world, Path::new(folder)),
        ["component", wit, world, core, out] => write_component(Path::new(wit), world, Path::new(core), Path::new(out)),
        ["manifest", manifest, from, out] => write_manifest(Path::new(manifest), Path::new(from), Path::new(out)),
        _ => bail!(USAGE),
    }
}

/// Writes the C files of a world into the folder.
fn write_bindings(wit: &Path, world: &str, folder: &Path) -> Result<()> {
    let (mut resolve, world) = read_world(wit, world)?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for (name, text) in files.iter() {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Makes the core module a component of the world.
fn write_component(wit: &Path, world: &str, core: &Path, out: &Path) -> Result<()> {
    let (resolve, world) = read_world(wit, world)?;
    let mut module = fs::read(core).with_context(|| format!("read {}", core.display()))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).context("embed the world")?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
        .with_context(|| format!("make a component of {}", core.display()))?;
    fs::write(out, component).with_context(|| format!("write {}", out.display()))
}

/// Appends the manifest to the component, which has none yet, as JSON in a custom section.
fn write_manifest(manifest: &Path, from: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
    let value: serde_json::Value =
        yaml_serde::from_str(&text).with_context(|| format!("read {}", manifest.display()))?;
    let mut component = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    let data = serde_json::to_vec(&value)?;
    CustomSection { name: MANIFEST_SECTION.into(), data: data.into() }.append_to_component(&mut component);
    fs::write(out, component).with_context(|| format!("write {}", out.display()))
}

fn read_world(wit: &Path, world: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).with_context(|| format!("read {}", wit.display()))?;
    let world = resolve.select_world(&[package], Some(world))?;
    Ok((resolve, world))
}
