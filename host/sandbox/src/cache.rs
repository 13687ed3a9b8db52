//! Compiled code on disk, of which only what this host made itself is ever loaded.
//!
//! A file is named by the component and by all that decides what the compiler makes of it, and carries a tag that only
//! the holder of the host's key can make. On any doubt there is no code here, and it is compiled again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::{hmac, rand};
use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::compile::CODE_BYTES_MAX;

const KEY_FILE: &str = "key";
/// How the name of a file ends that is being written.
const PART: &str = "part";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
/// What the tag is of, before the rest: code of another format is another code.
const FORMAT: &[u8] = b"trapjaw compiled component 1";

/// The folder of compiled code.
pub(crate) struct Cache {
    folder: PathBuf,
    key: hmac::Key,
    /// What decides, beside the component, what the compiler makes of it.
    compiler: [u8; 32],
    n_written: AtomicU64,
}

impl Cache {
    /// Opens the folder for what this compiler makes; makes the folder and the host's key when they are missing.
    pub(crate) fn open(folder: &Path, compiler: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        remove_parts(folder)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &host_key(&folder.join(KEY_FILE))?);
        let mut hash = HashBySha(Sha256::new());
        compiler.precompile_compatibility_hash().hash(&mut hash);
        let compiler = hash.0.finalize().into();
        Ok(Self { folder: folder.to_owned(), key, compiler, n_written: AtomicU64::new(0) })
    }

    /// The code of the component with this digest, if it is there and ours.
    pub(crate) fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let path = self.path(&name);
        let mut file = match read_bounded(&path, TAG_BYTES + CODE_BYTES_MAX) {
            Ok(file) => file,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return None,
            Err(err) => {
                tracing::warn!(path = %path.display(), %err, "cannot read compiled code: compiling again");
                return None;
            }
        };
        let code = file.split_off(TAG_BYTES.min(file.len()));
        if hmac::verify(&self.key, &self.tagged(&name, &code), &file).is_err() {
            tracing::warn!(path = %path.display(), "compiled code is not this host's: compiling again");
            return None;
        }
        Some(code)
    }

    /// Keeps the code. When it returned, the whole of it is there, or the former is.
    pub(crate) fn put(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        let name = self.name(digest);
        let tag = hmac::sign(&self.key, &self.tagged(&name, code));
        let number = self.n_written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{name}.{}.{number}.{PART}", std::process::id()));
        let written = new_file(&temporary)
            .and_then(|mut file| file.write_all(tag.as_ref()).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&temporary, self.path(&name)));
        if written.is_err() {
            // What was written in part is of no use; that it is there still changes nothing.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Forgets code that the runtime would not load.
    pub(crate) fn remove(&self, digest: &str) {
        let path = self.path(&self.name(digest));
        if let Err(err) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %err, "cannot remove compiled code");
        }
    }

    fn name(&self, digest: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(digest.as_bytes());
        hash.update(self.compiler);
        hex(&hash.finalize())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.cwasm"))
    }

    /// What the tag is made of: the name is in it, so code under another name is not ours.
    fn tagged(&self, name: &str, code: &[u8]) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(code);
        [FORMAT, name.as_bytes(), &hash.finalize()].concat()
    }
}

/// Bytes in hex, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the host's key, or makes it. One that others may have read is replaced; the code under it is compiled again.
fn host_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o077 == 0 => {
            if let Ok(key) = <[u8; KEY_BYTES]>::try_from(read_bounded(path, KEY_BYTES)?) {
                return Ok(key);
            }
            tracing::warn!(path = %path.display(), "the key of the compiled code is damaged: making another");
            fs::remove_file(path)?;
        }
        Ok(_) => {
            tracing::warn!(path = %path.display(), "others can read the key of the compiled code: making another");
            fs::remove_file(path)?;
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err),
    }
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("the system gives no randomness"))?;
    new_file(path)?.write_all(&key)?;
    Ok(key)
}

/// Removes what a host that was killed had written in part.
fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == PART) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    let n_read = file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    if n_read > bytes_max {
        return Err(io::Error::other("larger than it can be"));
    }
    Ok(bytes)
}

/// Hashes what the runtime tells of its compiler, in a way that is the same in every process.
struct HashBySha(Sha256);

impl Hasher for HashBySha {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    fn open(folder: &Path) -> Cache {
        Cache::open(folder, &engine::compiling().unwrap()).unwrap()
    }

    fn only_code(folder: &Path) -> PathBuf {
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut code: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "cwasm")).collect();
        assert_eq!(code.len(), 1);
        code.remove(0)
    }

    #[test]
    fn code_is_kept_across_openings() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).put("d1", b"code").unwrap();
        let cache = open(folder.path());
        assert_eq!(cache.get("d1").as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get("d2"), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.path().join(KEY_FILE))), (0o700, 0o600));
    }

    #[test]
    fn what_was_written_in_part_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).put("d1", b"code").unwrap();
        let part = folder.path().join("x.1.0.part");
        fs::write(&part, "co").unwrap();
        assert_eq!(open(folder.path()).get("d1").as_deref(), Some(&b"code"[..]));
        assert!(!part.exists());
    }

    #[test]
    fn changed_code_is_not_ours() {
        let check = |change: fn(&mut Vec<u8>)| {
            let folder = tempfile::tempdir().unwrap();
            let cache = open(folder.path());
            cache.put("d1", b"code").unwrap();
            let path = only_code(folder.path());
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
            assert_eq!(cache.get("d1"), None);
        };
        check(|bytes| *bytes.last_mut().unwrap() ^= 1);
        check(|bytes| bytes[0] ^= 1);
        check(|bytes| bytes.truncate(TAG_BYTES));
        check(|bytes| bytes.truncate(3));
        check(Vec::clear);
        check(|bytes| bytes.push(0));
    }

    #[test]
    fn code_under_another_name_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path());
        cache.put("d1", b"code").unwrap();
        fs::rename(only_code(folder.path()), cache.path(&cache.name("d2"))).unwrap();
        assert_eq!(cache.get("d2"), None);
    }

    #[test]
    fn code_under_another_key_is_not_ours() {
        let check = |spoil: fn(&Path)| {
            let folder = tempfile::tempdir().unwrap();
            open(folder.path()).put("d1", b"code").unwrap();
            spoil(&folder.path().join(KEY_FILE));
            let cache = open(folder.path());
            assert_eq!(cache.get("d1"), None);
            cache.put("d1", b"again").unwrap();
            assert_eq!(open(folder.path()).get("d1").as_deref(), Some(&b"again"[..]));
        };
        check(|key| fs::remove_file(key).unwrap());
        check(|key| fs::write(key, [0; KEY_BYTES]).unwrap());
        check(|key| fs::write(key, [0; 5]).unwrap());
        check(|key| fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap());
    }
}
