//! SCRAM-SHA-256 (RFC 5802, RFC 7677) on the server's side ([`client`] is the other), as values: no lookup, no clock, no randomness of its own.
//!
//! `ClientFirst` says whose verifier is needed; with it and a nonce the exchange goes on; `Proof` says how it ended. Channel
//! binding is not offered, so a client that asks for one is refused and one that only could (`y`) goes on. The server
//! computes no key from a password: two HMACs and a hash a login, cheap enough for a core.

pub mod client;

use super::{Exchange, NAME_BYTES_MAX, SaslError, name_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Most bytes of a client's nonce; those of libraries have 16 to 64. A guess.
const NONCE_BYTES_MAX: usize = 256;

/// What is stored of a password (RFC 5802 section 3), from which nobody can log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Iteration count of the key derivation.
    pub iterations: u32,
    /// Its salt.
    pub salt: Vec<u8>,
    /// Checks the client's proof.
    pub stored_key: [u8; 32],
    /// Makes the server's.
    pub server_key: [u8; 32],
}

impl Verifier {
    /// One that nobody can prove, for names that have none: a proof would be a preimage of an all-zero SHA-256.
    pub fn unprovable(iterations: u32, salt: Vec<u8>) -> Verifier {
        Verifier {
            iterations,
            salt,
            stored_key: [0; 32],
            server_key: [0; 32],
        }
    }
}

/// Shows nothing of the keys.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst {
    /// `n,[a=authzid],` or `y,...`: comes back in the client's last message.
    gs2_header: String,
    /// The message without it.
    bare: String,
    authorization: Option<String>,
    name: String,
    nonce: String,
}

/// What was answered to it.
#[derive(Debug)]
pub(super) struct ServerFirst {
    first: ClientFirst,
    verifier: Verifier,
    /// The client's and the server's nonce.
    nonce: String,
    message: String,
}

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Whom to act as, when it is named and differs from `name`.
    pub authorization: Option<String>,
    /// Who it was. 1 to 512 bytes, no control characters.
    pub name: String,
    /// What the client knows the password of: the verifier as it was at the beginning. `None`: it does not know it.
    pub proven: Option<Verifier>,
}

impl ClientFirst {
    /// RFC 5802 section 7, `client-first-message`.
    pub(super) fn parse(data: &[u8]) -> Result<ClientFirst, SaslError> {
        // Two names and a nonce, with escapes of three bytes for one.
        if data.len() > 6 * NAME_BYTES_MAX + NONCE_BYTES_MAX + 256 {
            return Err(SaslError::TooLong);
        }
        let text = std::str::from_utf8(data).map_err(|_| SaslError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authorization), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SaslError::Malformed);
        };
        // `p=` asks for channel binding, which was not offered.
        if !matches!(flag, "n" | "y") {
            return Err(SaslError::Malformed);
        }
        let gs2_header = format!("{flag},{authorization},");
        let authorization = match authorization {
            "" => None,
            named => Some(saslname(named.strip_prefix("a=").ok_or(SaslError::Malformed)?)?),
        };
        let mut attributes = bare.split(',');
        // An `m=` in front is an extension that must be understood: there is none.
        let name = attributes.next().and_then(|text| text.strip_prefix("n="));
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r="));
        let (Some(name), Some(nonce)) = (name, nonce) else {
            return Err(SaslError::Malformed);
        };
        let name = saslname(name)?;
        if nonce.len() > NONCE_BYTES_MAX {
            return Err(SaslError::TooLong);
        }
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SaslError::Malformed);
        }
        Ok(ClientFirst {
            gs2_header,
            authorization: authorization.filter(|authorization| *authorization != name),
            nonce: nonce.to_owned(),
            bare: bare.to_owned(),
            name,
        })
    }

    /// Whose verifier is needed. 1 to 512 bytes, no control characters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom to act as, when it is named and differs from the name.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// The exchange that goes on, and the challenge in base64. `nonce` is random, printable, without a comma, and never
    /// used twice. For a name that has no verifier give one that nobody can prove, so that the answer tells nothing.
    pub fn answer(self, verifier: Verifier, nonce: &str) -> (Exchange, String) {
        debug_assert!(nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = STANDARD.encode(&verifier.salt);
        let message = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let challenge = STANDARD.encode(&message);
        let server_first = ServerFirst {
            first: self,
            verifier,
            nonce,
            message,
        };
        (Exchange::scram(server_first), challenge)
    }
}

impl ServerFirst {
    /// Takes the client's last message; gives the server's, when the proof is right.
    pub(super) fn take(self, data: &[u8]) -> Result<(Proof, Option<String>), SaslError> {
        let text = std::str::from_utf8(data).map_err(|_| SaslError::Malformed)?;
        // The proof comes last, behind whatever extensions there are.
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(SaslError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|text| text.strip_prefix("c="));
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r="));
        let (Some(binding), Some(nonce)) = (binding, nonce) else {
            return Err(SaslError::Malformed);
        };
        let proof = STANDARD.decode(proof).map_err(|_| SaslError::Malformed)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| SaslError::Malformed)?;
        // A proof of another exchange proves nothing in this one, whoever has kept it.
        if binding != STANDARD.encode(&self.first.gs2_header) || nonce != self.nonce {
            let proof = Proof {
                authorization: self.first.authorization,
                name: self.first.name,
                proven: None,
            };
            return Ok((proof, None));
        }
        let said = format!("{},{},{without_proof}", self.first.bare, self.message);
        let signature: [u8; 32] = keyed(&self.verifier.stored_key, &said).finalize().into_bytes().into();
        // ClientProof is ClientKey XOR ClientSignature, and StoredKey the hash of ClientKey.
        let client_key: [u8; 32] = std::array::from_fn(|place| proof[place] ^ signature[place]);
        let is_proven: bool = Sha256::digest(client_key).ct_eq(&self.verifier.stored_key).into();
        let server_final = is_proven.then(|| {
            let signature = keyed(&self.verifier.server_key, &said).finalize().into_bytes();
            format!("v={}", STANDARD.encode(signature))
        });
        let proof = Proof {
            authorization: self.first.authorization,
            name: self.first.name,
            proven: is_proven.then_some(self.verifier),
        };
        Ok((proof, server_final))
    }
}

fn keyed(key: &[u8; 32], text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}

/// `=2C` is a comma and `=3D` an equals sign; nothing else begins with one.
fn saslname(text: &str) -> Result<String, SaslError> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (escaped, rest) = match part {
            _ if part.starts_with("2C") => (',', &part[2..]),
            _ if part.starts_with("3D") => ('=', &part[2..]),
            _ => return Err(SaslError::Malformed),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    name_of(name.as_bytes())
}

#[cfg(test)]
mod tests;
