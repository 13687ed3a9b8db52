//! What TLS trusts, and who we are in it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use trapjaw_engine::problem::Problem;

/// The TLS side of a connection's config, as PEM text. It is compared as a whole, so that connections share a pool only
/// where they are the same client to the remote.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TlsKey {
    /// Certificate authorities that are trusted beside the public ones.
    pub(crate) ca: Option<String>,
    /// Our certificate, with its chain.
    pub(crate) cert: Option<String>,
    /// Its private key.
    pub(crate) key: Option<String>,
}

/// Reads the PEM texts. The problems are named by the fields `ca`, `cert` and `key`.
pub(crate) fn client_config(tls: &TlsKey) -> Result<ClientConfig, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = &tls.ca {
        for certificate in certificates("ca", pem, &mut problems) {
            if roots.add(certificate).is_err() {
                problems.push(Problem::at("ca", "holds a certificate that cannot be an authority"));
            }
        }
    }
    let identity = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("cert", cert, &mut problems);
            match PrivateKeyDer::from_pem_slice(key.as_bytes()) {
                Ok(key) => Some((chain, key)),
                Err(_) => {
                    problems.push(Problem::at("key", "is not a private key in PEM form"));
                    None
                }
            }
        }
        (Some(_), None) => {
            problems.push(Problem::at("key", "is needed beside `cert`"));
            None
        }
        (None, Some(_)) => {
            problems.push(Problem::at("cert", "is needed beside `key`"));
            None
        }
        (None, None) => None,
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|err| vec![Problem::at("cert", format!("does not go with `key`: {err}"))]),
    }
}

fn certificates(field: &str, pem: &str, problems: &mut Vec<Problem>) -> Vec<CertificateDer<'static>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => certificates,
        Ok(_) | Err(_) => {
            problems.push(Problem::at(field, "holds no certificate in PEM form"));
            Vec::new()
        }
    }
}
