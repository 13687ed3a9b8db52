//! Seals what must not lie readable in the store, and makes the keys of everything else from one key file.
//!
//! A sealed value is `1 ‖ key id (4) ‖ nonce (12) ‖ ciphertext and tag`, AES-256-GCM, with the place it belongs to as
//! associated data: a value that is copied to another name does not open there.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};

use crate::clock::random;
use crate::text;

/// The format of sealed values. It is their first byte.
const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;
const KEY_LEN: usize = 32;

/// The installation's key.
pub(crate) struct Vault {
    id: [u8; KEY_ID_LEN],
    sealing: RandomizedNonceKey,
    deriving: hmac::Key,
}

/// A sealed value did not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// It is not a sealed value, or one of a later version of ours.
    #[error("open sealed value: unknown format")]
    Format,
    /// It was sealed with another key.
    #[error("open sealed value: it was sealed with key {sealed}, and the key file holds key {held}")]
    OtherKey {
        /// The id of the key that sealed it.
        sealed: String,
        /// The id of the key that is here.
        held: String,
    },
    /// It was changed, or belongs to another name.
    #[error("open sealed value: it was changed, or belongs to another name")]
    Tampered,
}

impl Vault {
    /// The vault of a data directory. The first start makes the key, readable by the owner only.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("key");
        let key = match fs::read_to_string(&path) {
            Ok(key) => key,
            Err(err) if err.kind() == ErrorKind::NotFound => make_key(&path)?,
            Err(err) => return Err(err).with_context(|| format!("read key file {}", path.display())),
        };
        let Some(key) = text::unhex(key.trim()).and_then(|key| <[u8; KEY_LEN]>::try_from(key).ok()) else {
            bail!("read key file {}: it does not hold 64 hexadecimal digits", path.display());
        };
        Ok(Self::new(&key))
    }

    /// The vault with this key.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Self {
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&Sha256::digest(key)[..KEY_ID_LEN]);
        let deriving = hmac::Key::new(hmac::HMAC_SHA256, key);
        let mut sealing = [0; KEY_LEN];
        sealing.copy_from_slice(hmac::sign(&deriving, b"trapjaw seal 1").as_ref());
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &sealing).expect("the key has the length of AES-256");
        Self { id, sealing, deriving }
    }

    /// A key for one purpose, which tells nothing about the others.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        key.copy_from_slice(hmac::sign(&self.deriving, purpose.as_bytes()).as_ref());
        key
    }

    /// Seals a value for a place, such as `secret/CRM`.
    pub(crate) fn seal(&self, place: &str, value: &[u8]) -> Vec<u8> {
        let mut ciphertext = value.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut ciphertext)
            .expect("values are far below the 64 GiB that the cipher takes");
        let mut sealed = Vec::with_capacity(HEAD_LEN + ciphertext.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&ciphertext);
        sealed
    }

    /// Opens a value that was sealed for this place.
    pub(crate) fn open_sealed(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (head, ciphertext) = sealed.split_at_checked(HEAD_LEN).ok_or(OpenError::Format)?;
        if head[0] != FORMAT {
            return Err(OpenError::Format);
        }
        let (id, nonce) = head[1..].split_at(KEY_ID_LEN);
        if id != self.id {
            return Err(OpenError::OtherKey { sealed: text::hex(id), held: text::hex(&self.id) });
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Format)?;
        let mut value = ciphertext.to_vec();
        let n_plain = self
            .sealing
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut value)
            .map_err(|_| OpenError::Tampered)?
            .len();
        value.truncate(n_plain);
        Ok(value)
    }
}

/// Writes a new key where none is, and syncs it: a key that is lost takes every secret with it.
fn make_key(path: &Path) -> anyhow::Result<String> {
    let key = text::hex(&random::<KEY_LEN>());
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{key}")?;
        file.sync_all()?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("write key file {}", path.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Vec<u8>), place: &str, expected: Result<&[u8], OpenError>) {
        let vault = Vault::new(&[7; KEY_LEN]);
        let mut sealed = vault.seal("secret/a", b"value");
        change(&mut sealed);
        assert_eq!(vault.open_sealed(place, &sealed), expected.map(<[u8]>::to_vec));
    }

    #[test]
    fn sealed_values_open_only_as_they_were_sealed() {
        check(|_| (), "secret/a", Ok(b"value"));
        check(|_| (), "secret/b", Err(OpenError::Tampered));
        check(|sealed| *sealed.last_mut().unwrap() ^= 1, "secret/a", Err(OpenError::Tampered));
        check(|sealed| sealed[6] ^= 1, "secret/a", Err(OpenError::Tampered));
        check(|sealed| sealed[0] = 2, "secret/a", Err(OpenError::Format));
        check(|sealed| sealed.truncate(10), "secret/a", Err(OpenError::Format));
        check(|sealed| sealed.truncate(HEAD_LEN), "secret/a", Err(OpenError::Tampered));
    }

    #[test]
    fn another_key_is_named() {
        let sealed = Vault::new(&[1; KEY_LEN]).seal("secret/a", b"value");
        let error = Vault::new(&[2; KEY_LEN]).open_sealed("secret/a", &sealed).unwrap_err();
        assert!(matches!(error, OpenError::OtherKey { .. }), "{error}");
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let vault = Vault::new(&[7; KEY_LEN]);
        assert_ne!(vault.seal("secret/a", b"value"), vault.seal("secret/a", b"value"));
    }

    #[test]
    fn the_key_file_is_made_once_and_for_the_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let sealed = Vault::open(dir.path()).unwrap().seal("secret/a", b"value");
        assert_eq!(Vault::open(dir.path()).unwrap().open_sealed("secret/a", &sealed).unwrap(), b"value");
        let mode = fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "abc").unwrap();
        assert!(Vault::open(dir.path()).err().unwrap().to_string().contains("64 hexadecimal digits"));
    }
}
