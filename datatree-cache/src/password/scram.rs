//! SCRAM verifiers (RFC 5802, RFC 7677; stored as in RFC 5803).

use super::modern::{PBKDF2_ROUNDS_MAX, derive};
use super::stored::{BASE64, DigestKind, Stored, StoredError, same};
use crate::Account;
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use icu_normalizer::ComposingNormalizerBorrowed;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// What a server needs for an exchange with SCRAM-SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Iteration count, at least 4096 by RFC 7677 (not enforced).
    pub iterations: u32,
    /// Salt.
    pub salt: Vec<u8>,
    /// StoredKey of RFC 5802, 3.
    pub stored_key: [u8; 32],
    /// ServerKey of RFC 5802, 3.
    pub server_key: [u8; 32],
}

/// The account's verifier for SCRAM-SHA-256, if its entry has one.
pub fn scram_sha_256(account: &Account) -> Option<ScramVerifier> {
    account.secrets().find_map(scram_verifier)
}

/// A stored secret, if it is a verifier for SCRAM-SHA-256: of an account, or of a node (`pigeonKey`).
pub fn scram_verifier(secret: &str) -> Option<ScramVerifier> {
    match Stored::parse(secret) {
        Ok(Stored::Scram(scram)) if scram.kind == DigestKind::Sha256 => Some(ScramVerifier {
            iterations: scram.iterations,
            stored_key: scram.stored_key.try_into().ok()?,
            server_key: scram.server_key.try_into().ok()?,
            salt: scram.salt,
        }),
        _ => None,
    }
}

/// `iterations:salt$stored:server` (RFC 5803) or `iterations,salt,stored,server` (Dovecot).
#[derive(Debug)]
pub(super) struct Scram {
    kind: DigestKind,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl Scram {
    pub(super) fn parse(kind: DigestKind, value: &str) -> Result<Scram, StoredError> {
        const FORM: StoredError = StoredError::Damaged("iterations:salt$stored-key:server-key");
        let fields: Vec<&str> = if value.contains('$') {
            let (info, keys) = value.split_once('$').ok_or(FORM)?;
            info.split(':').chain(keys.split(':')).collect()
        } else {
            value.split(',').collect()
        };
        let [iterations, salt, stored_key, server_key] = fields[..] else {
            return Err(FORM);
        };
        let (Ok(iterations), Ok(salt), Ok(stored_key), Ok(server_key)) = (
            iterations.parse::<u32>(),
            BASE64.decode(salt),
            BASE64.decode(stored_key),
            BASE64.decode(server_key),
        ) else {
            return Err(FORM);
        };
        let key_bytes = if kind == DigestKind::Sha256 { 32 } else { 20 };
        if stored_key.len() != key_bytes || server_key.len() != key_bytes || iterations == 0 || salt.is_empty() {
            return Err(FORM);
        }
        if iterations > PBKDF2_ROUNDS_MAX {
            return Err(StoredError::Unsupported(format!(
                "{{SCRAM}} with {iterations} iterations"
            )));
        }
        Ok(Scram {
            kind,
            iterations,
            salt,
            stored_key,
            server_key,
        })
    }

    /// Checks a password that came in clear (PLAIN, LOGIN): RFC 5802, 3 computes the same keys from it.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let password = prepare(password);
        let mut salted = vec![0; self.stored_key.len()];
        if !derive(self.kind, &password, &self.salt, self.iterations, &mut salted) {
            return false;
        }
        let stored_key = match self.kind {
            DigestKind::Sha256 => Sha256::digest(mac_sha_256(&salted, b"Client Key")).to_vec(),
            _ => Sha1::digest(mac_sha_1(&salted, b"Client Key")).to_vec(),
        };
        same(&stored_key, &self.stored_key)
    }

    pub(super) fn cost_class(&self) -> String {
        format!("scram {:?} {}", self.kind, self.iterations)
    }
}

pub(super) fn mac_sha_256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn mac_sha_1(key: &[u8], data: &[u8]) -> [u8; 20] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// SASLprep (RFC 4013) as far as it changes a password that people type: odd spaces become spaces, soft hyphens and
/// joiners vanish, NFKC. Nothing is refused: it would not match.
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password) {
        Ok(text) if !text.is_ascii() => {
            let mapped: String = text
                .chars()
                .filter(|c| {
                    !matches!(
                        c,
                        '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
                    )
                })
                .map(|c| if c.is_whitespace() && !c.is_ascii() { ' ' } else { c })
                .collect();
            Cow::Owned(
                ComposingNormalizerBorrowed::new_nfkc()
                    .normalize(&mapped)
                    .into_owned()
                    .into_bytes(),
            )
        }
        _ => Cow::Borrowed(password),
    }
}
