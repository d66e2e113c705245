//! TLS, on the server's side but for load tests: certificates that reload without a restart, one crypto provider (aws-lc-rs), the unbuffered
//! rustls API so that an idle connection keeps no buffers.
//!
//! `certificates.rs` owns which certificate a client is shown, `connector.rs` a load test's client, `session.rs` the state of one connection as a pure value
//! (bytes in, bytes out). TLS 1.2 and 1.3; no client certificates, no ALPN, no early data, no renegotiation. Sessions are
//! resumed by tickets alone (RFC 5077, RFC 8446 section 4.6.1), so that the node keeps no table of them.

mod certificates;
mod connector;
mod session;

pub use connector::TlsConnector;
pub(crate) use session::{SEAL_BYTES_MAX, TlsSession};

use certificates::Certificates;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::sync::Arc;

/// A certificate chain and its key, both PEM.
#[derive(Clone)]
pub struct PemIdentity {
    /// The chain, leaf first.
    pub certificate_chain: Vec<u8>,
    /// PKCS#8, SEC1 or PKCS#1 key.
    pub private_key: Vec<u8>,
}

/// Accepts TLS; cheap to clone; `Send + Sync`, shared by the cores.
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    provider: Arc<CryptoProvider>,
}

/// What is wrong with a certificate or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Which of the identities, counted from 0; `None` where it is none of them.
    pub identity: Option<usize>,
    /// One sentence for the operator.
    pub message: String,
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TlsError {}

impl TlsAcceptor {
    /// The first identity is the default; others are chosen by server name (SNI) from their certificates' names.
    pub fn new(identities: &[PemIdentity]) -> Result<TlsAcceptor, TlsError> {
        let acceptor = TlsAcceptor::without_certificates()?;
        acceptor.reload(identities)?;
        Ok(acceptor)
    }

    /// One that has nothing to show yet: its handshakes fail until `reload` brings the first certificate.
    pub fn without_certificates() -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates::none());
        let internal = |error: rustls::Error| TlsError {
            identity: None,
            message: format!("TLS cannot be set up: {error}"),
        };
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(internal)?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        // The ticket keys live as long as the acceptor, through every reload of certificates.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(internal)?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(TlsAcceptor {
            config: Arc::new(config),
            certificates,
            provider,
        })
    }

    /// New certificates for handshakes from now on, on every core; on an error the old ones stay.
    pub fn reload(&self, identities: &[PemIdentity]) -> Result<(), TlsError> {
        self.certificates.replace(identities, &self.provider)
    }

    /// Whether there is a certificate to show: only then should TLS be offered. From then on there always is.
    pub fn has_certificate(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The host names that the certificates in force are for, the default's first.
    pub fn names(&self) -> Vec<String> {
        self.certificates.names()
    }
}
