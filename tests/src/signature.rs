//! Signatures after Standard Webhooks, checked without any code of the sender's.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Checks signatures with one secret.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: Vec<u8>,
}

/// The block of SHA-256, which HMAC pads its key to.
const BLOCK: usize = 64;
/// How far a timestamp may be from our clock, in seconds.
const TIMESTAMP_OFF_MAX: u64 = 300;

impl Verifier {
    /// Reads a secret: base64 after `whsec_`, or any text as it is.
    pub fn new(secret: &str) -> Self {
        let decoded = secret.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
        Self { key: decoded.unwrap_or_else(|| secret.as_bytes().to_vec()) }
    }

    /// Checks one request; the error says what is wrong.
    pub fn check(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> Result<(), String> {
        let now = now_s();
        let at: u64 = timestamp.parse().map_err(|_| format!("timestamp `{timestamp}` is no number"))?;
        if at.abs_diff(now) > TIMESTAMP_OFF_MAX {
            return Err(format!("timestamp {at} is too far from {now}"));
        }
        self.check_content(id, timestamp, signatures, body)
    }

    fn check_content(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> Result<(), String> {
        if id.is_empty() {
            return Err("webhook-id is missing".to_owned());
        }
        let mut content = format!("{id}.{timestamp}.").into_bytes();
        content.extend_from_slice(body);
        let expected = STANDARD.encode(hmac(&self.key, &content));
        let found = signatures.split(' ').any(|one| one.strip_prefix("v1,") == Some(&expected));
        if found { Ok(()) } else { Err(format!("no signature of `{signatures}` is ours")) }
    }
}

fn hmac(key: &[u8], content: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |byte: u8| block.map(|part| part ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(content).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[expect(clippy::disallowed_methods, reason = "a receiver has a clock of its own")]
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secret: &str, signatures: &str, expected: bool) {
        let verifier = Verifier::new(secret);
        // The example of the standard's own libraries.
        let (id, timestamp, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(verifier.check_content(id, timestamp, signatures, body).is_ok(), expected, "{signatures}");
    }

    #[test]
    fn the_known_example_is_taken_and_others_are_not() {
        let (secret, signature) =
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        check(secret, signature, true);
        check(secret, &format!("v1,other {signature}"), true);
        check(secret, "v1,g1hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", false);
        check(secret, "", false);
        check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSa", signature, false);
    }

    #[test]
    fn an_old_timestamp_is_refused() {
        assert!(Verifier::new("x").check("id", "1614265330", "v1,x", b"").unwrap_err().contains("too far"));
    }

    #[test]
    fn long_keys_are_hashed() {
        // RFC 4231, test case 6.
        let mac = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(mac[..4], [0x60, 0xe4, 0x31, 0x59]);
    }
}
