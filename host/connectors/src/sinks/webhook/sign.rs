//! Signatures after Standard Webhooks.

use std::fmt::Write;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a secret begins whose rest is base64; any other is taken as it is.
const ENCODED_PREFIX: &str = "whsec_";

/// Signs with every live secret, so that a receiver may hold the old one or the new one while they are rotated.
pub(super) struct Signer {
    keys: Vec<hmac::Key>,
}

impl Signer {
    /// Reads the secrets; `Err` holds the places of those that cannot be read, and why.
    pub(super) fn new(secrets: &[String]) -> Result<Self, Vec<(usize, &'static str)>> {
        let mut keys = Vec::new();
        let mut problems = Vec::new();
        for (place, secret) in secrets.iter().enumerate() {
            match key(secret) {
                Ok(key) => keys.push(key),
                Err(problem) => problems.push((place, problem)),
            }
        }
        if problems.is_empty() { Ok(Self { keys }) } else { Err(problems) }
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut digits = String::with_capacity(20);
        let _infallible = write!(digits, "{seconds}");
        let mut signatures = String::with_capacity(self.keys.len() * 48);
        for key in &self.keys {
            let mut mac = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", digits.as_bytes(), b".", body] {
                mac.update(part);
            }
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            STANDARD.encode_string(mac.sign(), &mut signatures);
        }
        signatures
    }
}

fn key(secret: &str) -> Result<hmac::Key, &'static str> {
    let bytes = match secret.strip_prefix(ENCODED_PREFIX) {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| "must be base64 after `whsec_`")?,
        None => secret.as_bytes().to_vec(),
    };
    if bytes.is_empty() {
        return Err("is empty");
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secrets: &[&str], expected: &str) {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let signer = Signer::new(&secrets).ok().unwrap();
        // The example of the Standard Webhooks libraries.
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, expected);
    }

    #[test]
    fn the_known_example_is_signed() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        check(&[secret], signature);
        check(&[secret, secret], &format!("{signature} {signature}"));
    }

    #[test]
    fn bad_secrets_are_named_by_place() {
        let secrets = ["fine", "", "whsec_???", "whsec_"].map(String::from);
        let problems = Signer::new(&secrets).err().unwrap();
        assert_eq!(problems, [(1, "is empty"), (2, "must be base64 after `whsec_`"), (3, "is empty")]);
    }
}
