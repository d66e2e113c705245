//! The client's side: how a node logs in at another one, or at a server of somebody else.
//!
//! The keys are derived once from a password, a salt and a count, which is dear by design; whoever logs in often keeps them
//! for as long as the server names the same salt and count. A server that cannot prove that it knows the verifier is not
//! talked to.

use super::keyed;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// Iterations beyond which a server is not obeyed: a second of work, and none has a use for it.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// RFC 7677 section 4 asks for as many at least; fewer make a stolen exchange cheap to guess from.
pub const ITERATIONS_MIN: u32 = 4096;

/// What logs in, made of a password for one salt and count.
#[derive(Clone)]
pub struct ClientKeys {
    client_key: [u8; 32],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// Shows nothing.
impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys(..)")
    }
}

impl ClientKeys {
    /// Costs two SHA-256 blocks an iteration: milliseconds, not for a core. The password is in the form of SASLprep.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> ClientKeys {
        let mac = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
        let of = |data: &[u8]| -> [u8; 32] { mac.clone().chain_update(data).finalize().into_bytes().into() };
        // PBKDF2 of RFC 8018 for one block.
        let mut round = of(&[salt, &[0, 0, 0, 1]].concat());
        let mut salted = round;
        for _ in 1..iterations {
            round = of(&round);
            salted.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
        }
        let client_key: [u8; 32] = keyed(&salted, "Client Key").finalize().into_bytes().into();
        ClientKeys {
            client_key,
            stored_key: Sha256::digest(client_key).into(),
            server_key: keyed(&salted, "Server Key").finalize().into_bytes().into(),
        }
    }

    /// What a server stores, made with this salt and count.
    pub fn verifier(&self, salt: Vec<u8>, iterations: u32) -> super::Verifier {
        super::Verifier {
            iterations,
            salt,
            stored_key: self.stored_key,
            server_key: self.server_key,
        }
    }
}

/// Why the server is not logged in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// Not what RFC 5802 says a server answers.
    Malformed,
    /// A count of iterations beyond the bounds of this module.
    Iterations,
    /// The server does not know the verifier: it is somebody else.
    Server,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScramError::Malformed => "the server's answer is no SCRAM-SHA-256",
            ScramError::Iterations => "the server asks for a count of iterations that is not acceptable",
            ScramError::Server => "the server cannot prove that it knows the key",
        })
    }
}

impl std::error::Error for ScramError {}

/// A login that has begun.
#[derive(Debug)]
pub struct Client {
    gs2_header: String,
    bare: String,
    nonce: String,
}

/// The server's challenge, read.
#[derive(Debug)]
pub struct Challenge {
    /// For [`ClientKeys::derive`].
    pub salt: Vec<u8>,
    /// For [`ClientKeys::derive`]; within the bounds of this module.
    pub iterations: u32,
    gs2_header: String,
    said: String,
    nonce: String,
}

/// What the server must say at the end.
#[derive(Debug)]
pub struct Expected([u8; 32]);

impl Client {
    /// Who logs in, and as whom it wants to act if that is another. `nonce`: see [`super::ClientFirst::answer`].
    pub fn new(name: &str, authorization: Option<&str>, nonce: &str) -> Client {
        let gs2_header = match authorization {
            Some(authorization) => format!("n,a={},", escaped(authorization)),
            None => "n,,".to_owned(),
        };
        Client {
            gs2_header,
            bare: format!("n={},r={nonce}", escaped(name)),
            nonce: nonce.to_owned(),
        }
    }

    /// The first message, in base64.
    pub fn first(&self) -> String {
        STANDARD.encode(format!("{}{}", self.gs2_header, self.bare))
    }

    /// Reads the server's challenge, in base64.
    pub fn challenge(self, line: &[u8]) -> Result<Challenge, ScramError> {
        let data = STANDARD.decode(line).map_err(|_| ScramError::Malformed)?;
        let text = std::str::from_utf8(&data).map_err(|_| ScramError::Malformed)?;
        let mut attributes = text.split(',');
        let mut attribute = |name: &str| {
            let found = attributes.next().and_then(|text| text.strip_prefix(name));
            found.ok_or(ScramError::Malformed)
        };
        let (nonce, salt, iterations) = (attribute("r=")?, attribute("s=")?, attribute("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Malformed);
        }
        let iterations: u32 = iterations.parse().map_err(|_| ScramError::Malformed)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Iterations);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
        if salt.is_empty() {
            return Err(ScramError::Malformed);
        }
        Ok(Challenge {
            salt,
            iterations,
            nonce: nonce.to_owned(),
            said: format!("{},{text}", self.bare),
            gs2_header: self.gs2_header,
        })
    }
}

impl Challenge {
    /// The last message, in base64, and what the server has to answer. `keys` are of this salt and count.
    pub fn answer(self, keys: &ClientKeys) -> (String, Expected) {
        let without_proof = format!("c={},r={}", STANDARD.encode(&self.gs2_header), self.nonce);
        let said = format!("{},{without_proof}", self.said);
        let signature: [u8; 32] = keyed(&keys.stored_key, &said).finalize().into_bytes().into();
        let proof: [u8; 32] = std::array::from_fn(|place| keys.client_key[place] ^ signature[place]);
        let line = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
        let expected = Expected(keyed(&keys.server_key, &said).finalize().into_bytes().into());
        (line, expected)
    }
}

impl Expected {
    /// Whether the server's last message, in base64, is its proof.
    pub fn check(&self, line: &[u8]) -> Result<(), ScramError> {
        let data = STANDARD.decode(line).map_err(|_| ScramError::Malformed)?;
        let text = std::str::from_utf8(&data).map_err(|_| ScramError::Malformed)?;
        let signature = text.split(',').next().and_then(|text| text.strip_prefix("v="));
        let signature = STANDARD.decode(signature.ok_or(ScramError::Server)?);
        let signature = signature.map_err(|_| ScramError::Malformed)?;
        match bool::from(signature.ct_eq(&self.0)) {
            true => Ok(()),
            false => Err(ScramError::Server),
        }
    }
}

/// RFC 5802 section 5.1, `saslname`.
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}
