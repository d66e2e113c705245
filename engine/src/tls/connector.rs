//! The client's side of TLS, for what measures servers: it takes any certificate.

use super::TlsError;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

/// Begins TLS as a client; cheap to clone; `Send + Sync`, shared by the cores.
#[derive(Clone)]
pub struct TlsConnector {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

impl TlsConnector {
    /// One that asks for `server_name` (a host name or an address) and **takes whatever certificate is shown**: who is at
    /// the other end is not known. Fit for load and for measurements alone, never for mail. Each handshake is a whole one:
    /// no session is resumed.
    pub fn unverified(server_name: &str) -> Result<TlsConnector, TlsError> {
        let refused = |message: String| TlsError {
            identity: None,
            message,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let server_name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| refused(format!("{server_name:?} is neither a host name nor an address")))?;
        Ok(TlsConnector {
            config: Arc::new(config),
            server_name,
        })
    }
}

/// Whoever holds the key of the certificate that is shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The signatures are checked all the same: they are a part of what a handshake costs a client.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsAcceptor;
    use crate::tls::session::TlsSession;
    use crate::tls::session::tests::identity_for;

    /// Carries what one has to say to the other, a piece at a time; what came of it.
    fn carry(from: &mut TlsSession, to: &mut TlsSession, piece_bytes: usize) -> (Vec<u8>, bool) {
        let (mut plaintext, mut closed) = (Vec::new(), false);
        for piece in from.take_output().chunks(piece_bytes) {
            let opened = to.receive(&mut piece.to_vec()).expect("both speak TLS");
            plaintext.extend(opened.plaintext);
            closed |= opened.peer_closed;
        }
        (plaintext, closed)
    }

    #[test]
    fn our_client_and_our_server_understand_each_other() {
        let acceptor = TlsAcceptor::new(&[identity_for(&["mail.example.org"])]).expect("a valid identity");
        for (name, told) in [("mail.example.org", Some("mail.example.org")), ("192.0.2.1", None)] {
            for piece_bytes in [1, 7, 1000, usize::MAX] {
                let connector = TlsConnector::unverified(name).expect("a valid name");
                let mut client = TlsSession::client(&connector).expect("the configuration is valid");
                let mut server = TlsSession::new(&acceptor).expect("the configuration is valid");
                client.receive(&mut []).expect("the hello");
                while !(client.is_established() && server.is_established()) {
                    carry(&mut client, &mut server, piece_bytes);
                    carry(&mut server, &mut client, piece_bytes);
                }
                assert_eq!(server.server_name(), told);
                let sealed = server.seal(b"* OK\r\n").expect("established");
                assert_eq!(
                    client.receive(&mut sealed.clone()).expect("a record").plaintext,
                    b"* OK\r\n"
                );
                let sealed = client.seal(b"a LOGOUT\r\n").expect("established");
                assert_eq!(
                    server.receive(&mut sealed.clone()).expect("a record").plaintext,
                    b"a LOGOUT\r\n"
                );
                client.close();
                assert!(carry(&mut client, &mut server, piece_bytes).1);
            }
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(TlsConnector::unverified("no name").is_err());
    }
}
