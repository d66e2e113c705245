//! New hashes, for the LDIF file of a quickstart and for tools that write control data.

use super::modern::derive;
use super::scram::{mac_sha_256, prepare};
use super::stored::DigestKind;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256, Sha512};

/// How a new secret is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Argon2id with 19 MiB and 2 passes (OWASP's first choice): about 20 ms a login, dear to guess when stolen.
    Argon2id,
    /// One salted SHA-512: microseconds a login, cheap to guess when stolen. For tests and load tests.
    SaltedSha512,
    /// A verifier for SCRAM-SHA-256 with 4096 iterations (RFC 7677), also good for PLAIN. A value of authPassword.
    ScramSha256,
}

/// A value for userPassword in an LDIF file, with a fresh salt: [`Scheme::Argon2id`].
pub fn hash_for_ldif(password: &str) -> String {
    hash(password, Scheme::Argon2id)
}

/// A new secret, with a fresh salt. Takes as long as checking it.
pub fn hash(password: &str, scheme: Scheme) -> String {
    let salt = random_salt();
    match scheme {
        Scheme::Argon2id => {
            let parameters = argon2::Params::DEFAULT;
            let mut digest = [0; 32];
            argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters.clone())
                .hash_password_into(password.as_bytes(), &salt, &mut digest)
                .expect("lengths are those of argon2, and 19 MiB are to be had");
            let costs = format!(
                "m={},t={},p={}",
                parameters.m_cost(),
                parameters.t_cost(),
                parameters.p_cost()
            );
            let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
            format!("{{ARGON2ID}}$argon2id$v=19${costs}${salt}${digest}")
        }
        Scheme::SaltedSha512 => {
            let mut sha = Sha512::new();
            sha.update(password.as_bytes());
            sha.update(salt);
            let mut value = sha.finalize().to_vec();
            value.extend_from_slice(&salt);
            format!("{{SSHA512}}{}", STANDARD.encode(value))
        }
        Scheme::ScramSha256 => {
            const ITERATIONS: u32 = 4096;
            let mut salted = [0; 32];
            derive(
                DigestKind::Sha256,
                &prepare(password.as_bytes()),
                &salt,
                ITERATIONS,
                &mut salted,
            );
            let stored = STANDARD.encode(Sha256::digest(mac_sha_256(&salted, b"Client Key")));
            let server = STANDARD.encode(mac_sha_256(&salted, b"Server Key"));
            format!("SCRAM-SHA-256${ITERATIONS}:{}${stored}:{server}", STANDARD.encode(salt))
        }
    }
}

/// 16 random bytes.
fn random_salt() -> [u8; 16] {
    let mut salt = [0; 16];
    crate::keyed::fill_random(&mut salt);
    salt
}
