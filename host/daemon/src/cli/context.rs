//! The context file: the address and token of the daemon that `trapjaw dev` started last.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Where a daemon is, and how it knows us.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// The address, such as `http://127.0.0.1:8723`.
    pub(crate) url: String,
    /// The token.
    pub(crate) token: String,
}

impl Context {
    /// The file that is used when none is named; none for a user without a home.
    pub(crate) fn default_path() -> Option<PathBuf> {
        std::env::home_dir().map(|home| home.join(".config/trapjaw/context.json"))
    }

    /// Reads the file; none when there is no such file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err).with_context(|| format!("read context {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("read context {}", path.display()))
    }

    /// Writes the file, with its directory, for its owner's eyes only. A reader sees the old one or the new one.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            let fresh = path.with_extension(format!("{}.new", std::process::id()));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        };
        write().with_context(|| format!("write context {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/context.json");
        assert!(Context::read(&path).unwrap().is_none());
        let context = Context { url: "http://127.0.0.1:1".into(), token: "t".into() };
        context.write(&path).unwrap();
        assert!(Context::read(&path).unwrap().unwrap() == context);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("context.json");
        fs::write(&path, "{").unwrap();
        assert!(Context::read(&path).is_err());
    }
}
