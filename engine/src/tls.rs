//! TLS for the server side: certificates that reload without a restart, one crypto provider (aws-lc-rs), the unbuffered
//! rustls API so that an idle connection keeps no buffers.

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
    _private: (),
}

/// What is wrong with a certificate or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
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
        let _ = identities;
        unimplemented!()
    }

    /// New certificates for handshakes from now on, on every core; on an error the old ones stay.
    pub fn reload(&self, identities: &[PemIdentity]) -> Result<(), TlsError> {
        let _ = identities;
        unimplemented!()
    }
}
