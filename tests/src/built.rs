//! Where the build left the daemon and the components.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The daemon.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = profile()?.join("trapjaw");
    if !path.is_file() {
        bail!("{} is missing: build it with `cargo build --release -p trapjaw`", path.display());
    }
    Ok(path)
}

/// The folder of the components.
pub fn components() -> anyhow::Result<PathBuf> {
    let profile = profile()?;
    let target = profile.parent().context("find target folder")?;
    Ok(target.join("components"))
}

/// The bytes of one component.
pub fn component(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = components()?.join(name).with_extension("wasm");
    std::fs::read(&path)
        .with_context(|| format!("{} is missing: build it with `make -C plugins setup all`", path.display()))
}

/// The folder of this program's profile: tests stand one below it, in `deps`.
fn profile() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("find own program")?;
    let folder = program.parent().context("find own folder")?;
    let is_test = folder.file_name().is_some_and(|name| name == "deps");
    let profile = if is_test { folder.parent() } else { Some(folder) };
    profile.map(Path::to_path_buf).context("find folder of the profile")
}
