//! TLS, mutual TLS and HTTP/2, with certificates made here.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use trapjaw_engine::ports::{Refusal, SendError};
use trapjaw_engine::tasks;

use crate::support::{local, message};

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// A server of `server.test` that answers with the version and the body of each request.
pub(crate) struct Server {
    pub(crate) port: u16,
    n_connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(authority: &Authority, is_mutual: bool) -> Self {
        Self::start_with(authority, is_mutual, &[b"h2", b"http/1.1"]).await
    }

    async fn start_with(authority: &Authority, is_mutual: bool, protocols: &[&[u8]]) -> Self {
        let (certificate, key) = authority.issue("server.test");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if is_mutual {
            let mut roots = RootCertStore::empty();
            roots.add(authority.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let n_connections = Arc::new(AtomicUsize::new(0));
        let n_accepted = n_connections.clone();
        tasks::spawn("server", async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                n_accepted.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tasks::spawn("server connection", async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _gone = builder.serve_connection(TokioIo::new(stream), service_fn(echo)).await;
                });
            }
        });
        Self { port, n_connections }
    }
}

async fn echo(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let version = format!("{:?} ", request.version());
    assert!(request.headers().contains_key("webhook-id"));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Ok(hyper::Response::new(Full::from([version.as_bytes(), &body].concat())))
}

/// Sends to a server under a name with these TLS settings; gives the answer's text.
async fn send(server: &Server, name: &str, tls: Value) -> Result<String, SendError> {
    let sink = local(&format!("https://{name}:{}/", server.port), json!({"tls": tls}));
    sink.probe().await?;
    let receipt = sink.send(&message("{}")).await?;
    Ok(String::from_utf8(receipt.body.to_vec()).unwrap())
}

#[tokio::test]
async fn http_2_and_1_are_negotiated() {
    let authority = Authority::new();
    let server = Server::start(&authority, false).await;
    assert_eq!(send(&server, "server.test", json!({"ca": authority.pem()})).await.unwrap(), "HTTP/2.0 {}");
    let server = Server::start_with(&authority, false, &[b"http/1.1"]).await;
    assert_eq!(send(&server, "server.test", json!({"ca": authority.pem()})).await.unwrap(), "HTTP/1.1 {}");
}

#[tokio::test]
async fn one_http_2_connection_carries_many_sends() {
    let authority = Authority::new();
    let server = Server::start(&authority, false).await;
    let sink = local(&format!("https://server.test:{}/", server.port), json!({"tls": {"ca": authority.pem()}}));
    sink.send(&message("first")).await.unwrap();
    let bodies = ["a", "b", "c"].map(message);
    let (a, b, c) = tokio::join!(sink.send(&bodies[0]), sink.send(&bodies[1]), sink.send(&bodies[2]));
    for (receipt, expected) in [(a, "HTTP/2.0 a"), (b, "HTTP/2.0 b"), (c, "HTTP/2.0 c")] {
        assert_eq!(receipt.unwrap().body, expected);
    }
    assert_eq!(server.n_connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_may_be_mended() {
    let authority = Authority::new();
    let server = Server::start(&authority, false).await;
    for (name, tls) in [
        ("server.test", json!({})),
        ("server.test", json!({"ca": Authority::new().pem()})),
        ("other.test", json!({"ca": authority.pem()})),
    ] {
        let err = send(&server, name, tls).await.unwrap_err();
        assert_eq!(err.refusal, Refusal::Retry(None));
        assert!(err.message.contains("invalid peer certificate"), "{err}");
    }
}

#[tokio::test]
async fn mutual_tls_shows_our_certificate() {
    let authority = Authority::new();
    let server = Server::start(&authority, true).await;
    let (certificate, key) = authority.issue("client.test");
    let tls = json!({"ca": authority.pem(), "cert": certificate.pem(), "key": key.serialize_pem()});
    assert_eq!(send(&server, "server.test", tls).await.unwrap(), "HTTP/2.0 {}");
    let err = send(&server, "server.test", json!({"ca": authority.pem()})).await.unwrap_err();
    assert_eq!(err.refusal, Refusal::Retry(None));
    let (foreign, key) = Authority::new().issue("client.test");
    let tls = json!({"ca": authority.pem(), "cert": foreign.pem(), "key": key.serialize_pem()});
    assert_eq!(send(&server, "server.test", tls).await.unwrap_err().refusal, Refusal::Retry(None));
}
