//! Which certificate a client is shown: by the server name it asks for (SNI, RFC 6066 section 3), else the default.
//!
//! The set is swapped as a whole on a reload; a handshake that has begun keeps the certificate it was given. The lock is
//! held for the clone of one `Arc` a handshake, which costs some thousand times more than that.

use super::{PemIdentity, TlsError};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The certificates in force.
#[derive(Debug)]
pub(super) struct Certificates {
    /// `None` until there is a first certificate.
    current: RwLock<Option<Arc<CertificateSet>>>,
}

#[derive(Debug)]
struct CertificateSet {
    default: Arc<CertifiedKey>,
    /// By host name in lower case.
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.org` under `example.org`: stands for exactly one label (RFC 6125 section 6.4.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// As written in the certificates, the default's first.
    names: Vec<String>,
}

impl Certificates {
    /// None, until `replace` is called.
    pub(super) fn none() -> Certificates {
        Certificates {
            current: RwLock::new(None),
        }
    }

    pub(super) fn replace(&self, identities: &[PemIdentity], provider: &CryptoProvider) -> Result<(), TlsError> {
        let set = Arc::new(CertificateSet::new(identities, provider)?);
        // A poisoned lock still holds a whole set: only whole sets are ever written.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(set);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.set().map(|set| set.names.clone()).unwrap_or_default()
    }

    fn set(&self) -> Option<Arc<CertificateSet>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CertificateSet {
    fn new(identities: &[PemIdentity], provider: &CryptoProvider) -> Result<CertificateSet, TlsError> {
        let mut default = None;
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        let mut names = Vec::new();
        for (index, identity) in identities.iter().enumerate() {
            let (key, own_names) = read_identity(identity, provider).map_err(|message| TlsError {
                identity: Some(index),
                message,
            })?;
            for name in own_names {
                let lower = name.to_ascii_lowercase();
                let (map, key_name) = match lower.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent.to_owned()),
                    None => (&mut exact, lower),
                };
                // Of two certificates for one name the one that is configured first is shown.
                map.entry(key_name).or_insert_with(|| key.clone());
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            default.get_or_insert(key);
        }
        let default = default.ok_or_else(|| TlsError {
            identity: None,
            message: "no certificate is configured for TLS".to_owned(),
        })?;
        Ok(CertificateSet {
            default,
            exact,
            wildcard,
            names,
        })
    }

    /// The certificate for `server_name`, which rustls has checked to be a host name.
    fn choose(&self, server_name: Option<&str>) -> Arc<CertifiedKey> {
        let chosen = server_name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.exact.get(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.wildcard.get(parent)
            })
        });
        chosen.unwrap_or(&self.default).clone()
    }
}

/// The parsed chain with its key, and the host names of the leaf; or what is wrong, in a sentence.
fn read_identity(
    identity: &PemIdentity,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Vec<String>), String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&identity.certificate_chain)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate chain is not readable as PEM: {error}"))?;
    let leaf = chain
        .first()
        .cloned()
        .ok_or("the certificate chain holds no certificate: expected -----BEGIN CERTIFICATE-----")?;
    let key = PrivateKeyDer::from_pem_slice(&identity.private_key).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "the private key file holds no key: expected -----BEGIN PRIVATE KEY----- or its kind, unencrypted"
                .to_owned()
        }
        other => format!("the private key is not readable as PEM: {other}"),
    })?;
    let names = {
        let certificate = webpki::EndEntityCert::try_from(&leaf).map_err(|error| {
            format!("the first certificate of the chain is not a valid server certificate: {error}")
        })?;
        certificate.valid_dns_names().map(str::to_owned).collect()
    };
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the private key does not belong to the first certificate of the chain".to_owned()
        }
        other => format!("the private key cannot be used: {other}"),
    })?;
    Ok((Arc::new(certified), names))
}

thread_local! {
    /// The name that the client hello just processed on this thread asked for. rustls 0.23 does not tell it on an unbuffered
    /// connection, but it calls `resolve` from within `process_tls_records`, so the session takes it from here right after.
    static ASKED_SERVER_NAME: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The server name that `resolve` saw on this thread since the last call.
pub(super) fn take_asked_server_name() -> Option<Box<str>> {
    ASKED_SERVER_NAME.take()
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let server_name = client_hello.server_name();
        ASKED_SERVER_NAME.set(server_name.map(Box::from));
        // Without any certificate the handshake ends in an alert.
        Some(self.set()?.choose(server_name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::identity_for;
    use super::*;
    use rustls::crypto::aws_lc_rs;

    #[test]
    fn the_certificate_follows_the_server_name() {
        let provider = aws_lc_rs::default_provider();
        let identities = [
            identity_for(&["mail.example.org", "imap.example.org"]),
            identity_for(&["*.example.net", "example.net"]),
            identity_for(&["special.example.net", "mail.example.org"]),
        ];
        let set = CertificateSet::new(&identities, &provider).expect("the identities are valid");
        let leaf = |index: usize| {
            CertificateDer::from_pem_slice(&identities[index].certificate_chain).expect("it was parsed before")
        };
        for (name, expected) in [
            (None, 0),
            (Some("mail.example.org"), 0),
            (Some("MAIL.Example.ORG"), 0),
            (Some("imap.example.org."), 0),
            (Some("example.net"), 1),
            (Some("any.example.net"), 1),
            (Some("special.example.net"), 2),
            // One label only, and never the bare suffix of another name.
            (Some("a.b.example.net"), 0),
            (Some("notexample.net"), 0),
            (Some("unknown.test"), 0),
            (Some("net"), 0),
        ] {
            assert_eq!(set.choose(name).cert[0], leaf(expected), "{name:?}");
        }
        assert_eq!(
            set.names,
            [
                "mail.example.org",
                "imap.example.org",
                "*.example.net",
                "example.net",
                "special.example.net"
            ]
        );
    }

    #[test]
    fn mistakes_name_the_identity_and_the_fault() {
        let provider = aws_lc_rs::default_provider();
        let good = identity_for(&["a.example.org"]);
        let other = identity_for(&["b.example.org"]);
        let with = |chain: &[u8], key: &[u8]| PemIdentity {
            certificate_chain: chain.to_vec(),
            private_key: key.to_vec(),
        };
        for (identities, identity, words) in [
            (vec![], None, "no certificate is configured"),
            (vec![with(b"", &good.private_key)], Some(0), "holds no certificate"),
            (
                vec![good.clone(), with(&good.certificate_chain, b"")],
                Some(1),
                "holds no key",
            ),
            (
                vec![with(&good.private_key, &good.private_key)],
                Some(0),
                "holds no certificate",
            ),
            (
                vec![with(&good.certificate_chain, &good.certificate_chain)],
                Some(0),
                "holds no key",
            ),
            (
                vec![good.clone(), with(&good.certificate_chain, &other.private_key)],
                Some(1),
                "does not belong",
            ),
            (
                vec![with(
                    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                    &good.private_key,
                )],
                Some(0),
                "not a valid server certificate",
            ),
            (
                vec![with(b"-----BEGIN CERTIFICATE-----\n????\n", &good.private_key)],
                Some(0),
                "not readable as PEM",
            ),
            (
                vec![with(
                    &good.certificate_chain,
                    b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                )],
                Some(0),
                "the private key cannot be used",
            ),
        ] {
            let error = CertificateSet::new(&identities, &provider).expect_err(words);
            assert_eq!(error.identity, identity, "{words}");
            assert!(error.message.contains(words), "no {words:?} in {:?}", error.message);
        }
    }
}
