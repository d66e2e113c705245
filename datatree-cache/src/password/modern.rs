//! Argon2 (RFC 9106) and PBKDF2 (RFC 8018, 5.2) in the forms that directories hold.

use super::stored::{BASE64, DigestKind, StoredError, decode_hex, same};
use base64::Engine as _;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// Memory of one argon2 check, KiB.
const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Memory times passes, KiB: about 3 s at the most.
const ARGON2_WORK_KIB_MAX: u64 = 4 * 1024 * 1024;
/// Lanes are computed one after the other here.
const ARGON2_LANES_MAX: u32 = 64;
/// Rounds of PBKDF2: 600,000 of SHA-256 take about 150 ms.
pub(super) const PBKDF2_ROUNDS_MAX: u32 = 5_000_000;
/// Digest bytes: fewer could be guessed, more are no known scheme's.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// `$argon2id$v=19$m=65536,t=3,p=1$salt$digest`.
#[derive(Debug)]
pub(super) struct Argon2 {
    algorithm: argon2::Algorithm,
    version: argon2::Version,
    parameters: argon2::Params,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Argon2 {
    pub(super) fn parse(value: &str) -> Result<Argon2, StoredError> {
        const FORM: StoredError = StoredError::Damaged("$argon2id$v=19$m=65536,t=3,p=1$salt$digest");
        let mut fields: Vec<&str> = value.split('$').collect();
        if fields.len() == 5 {
            fields.insert(2, "v=16"); // Version 1.0 wrote no version.
        }
        let ["", algorithm, version, costs, salt, digest] = fields[..] else {
            return Err(FORM);
        };
        let algorithm = match algorithm {
            "argon2i" => argon2::Algorithm::Argon2i,
            "argon2d" => argon2::Algorithm::Argon2d,
            "argon2id" => argon2::Algorithm::Argon2id,
            _ => return Err(FORM),
        };
        let version = match version {
            "v=16" => argon2::Version::V0x10,
            "v=19" => argon2::Version::V0x13,
            _ => return Err(FORM),
        };
        let (mut memory, mut passes, mut lanes) = (None, None, None);
        for cost in costs.split(',') {
            let Some((name, number)) = cost.split_once('=') else {
                return Err(FORM);
            };
            let place = match name {
                "m" => &mut memory,
                "t" => &mut passes,
                "p" => &mut lanes,
                _ => return Err(FORM),
            };
            *place = Some(number.parse::<u32>().map_err(|_| FORM)?);
        }
        let (Some(memory), Some(passes), Some(lanes)) = (memory, passes, lanes) else {
            return Err(FORM);
        };
        let work = u64::from(memory).saturating_mul(u64::from(passes));
        if memory > ARGON2_MEMORY_KIB_MAX || work > ARGON2_WORK_KIB_MAX || lanes > ARGON2_LANES_MAX {
            return Err(StoredError::Unsupported(format!(
                "{{ARGON2}} with m={memory},t={passes},p={lanes}"
            )));
        }
        let (Ok(salt), Ok(digest)) = (BASE64.decode(salt), BASE64.decode(digest)) else {
            return Err(FORM);
        };
        if !KEY_BYTES.contains(&digest.len()) || !(8..=1024).contains(&salt.len()) {
            return Err(FORM);
        }
        let parameters = argon2::Params::new(memory, passes, lanes, Some(digest.len())).map_err(|_| FORM)?;
        Ok(Argon2 {
            algorithm,
            version,
            parameters,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut computed = vec![0; self.digest.len()];
        argon2::Argon2::new(self.algorithm, self.version, self.parameters.clone())
            .hash_password_into(password, &self.salt, &mut computed)
            .is_ok()
            && same(&computed, &self.digest)
    }

    pub(super) fn cost_class(&self) -> String {
        let parameters = &self.parameters;
        format!(
            "argon2 {} {} {}",
            parameters.m_cost(),
            parameters.t_cost(),
            parameters.p_cost()
        )
    }
}

/// `rounds$salt$digest` (OpenLDAP, passlib) or `$1$salt$rounds$hex` (Dovecot).
#[derive(Debug)]
pub(super) struct Pbkdf2 {
    kind: DigestKind,
    rounds: u32,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Pbkdf2 {
    pub(super) fn parse(kind: DigestKind, value: &str) -> Result<Pbkdf2, StoredError> {
        const FORM: StoredError = StoredError::Damaged("rounds$salt$digest");
        // passlib writes `.` for `+`.
        let decode = |text: &str| BASE64.decode(text.replace('.', "+")).ok();
        let fields: Vec<&str> = value.split('$').collect();
        let (rounds, salt, digest) = match fields[..] {
            ["", "1", salt, rounds, digest] => (rounds, Some(salt.as_bytes().to_vec()), decode_hex(digest)),
            [rounds, salt, digest] => (rounds, decode(salt), decode(digest)),
            _ => return Err(FORM),
        };
        let (Ok(rounds), Some(salt), Some(digest)) = (rounds.parse::<u32>(), salt, digest) else {
            return Err(FORM);
        };
        if !KEY_BYTES.contains(&digest.len()) || salt.len() > 1024 || rounds == 0 {
            return Err(FORM);
        }
        if rounds > PBKDF2_ROUNDS_MAX {
            return Err(StoredError::Unsupported(format!("{{PBKDF2}} with {rounds} rounds")));
        }
        Ok(Pbkdf2 {
            kind,
            rounds,
            salt,
            digest,
        })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let mut computed = vec![0; self.digest.len()];
        derive(self.kind, password, &self.salt, self.rounds, &mut computed) && same(&computed, &self.digest)
    }

    pub(super) fn cost_class(&self) -> String {
        format!("pbkdf2 {:?} {}", self.kind, self.rounds)
    }
}

/// PBKDF2-HMAC; false for a digest that no scheme uses.
pub(super) fn derive(kind: DigestKind, password: &[u8], salt: &[u8], rounds: u32, out: &mut [u8]) -> bool {
    match kind {
        DigestKind::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, rounds, out),
        DigestKind::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, rounds, out),
        DigestKind::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, out),
        _ => return false,
    }
    true
}
