//! crypt(3): `$1$`, `$2a$` `$2b$` `$2y$`, `$5$`, `$6$`, `$y$` and DES.
//!
//! The crates that compute these were written for well-formed input; shapes and costs are checked here before they see
//! a byte (a stored hash with an empty digest would match anything, another would take all memory).

use super::stored::{StoredError, same};

/// Rounds of $5$ and $6$: the usual 5,000 take 3 ms, these take under a second.
const SHA_ROUNDS_MAX: u32 = 1_000_000;
/// Cost of bcrypt: 10 takes 50 ms, and each step doubles it.
const BCRYPT_COST_MAX: u32 = 15;
/// Memory of yescrypt, as for argon2.
const YESCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A crypt(3) string that has been checked.
#[derive(Debug)]
pub(super) struct Crypt<'a> {
    kind: Kind,
    hash: &'a str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Md5,
    Bcrypt { cost: u32 },
    Sha { rounds: u32 },
    Yescrypt { bytes: u64 },
    Des,
}

fn is_crypt64(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/')
}

impl<'a> Crypt<'a> {
    pub(super) fn parse(hash: &'a str) -> Result<Crypt<'a>, StoredError> {
        let mut fields = hash.split('$');
        let kind = match (fields.next(), fields.next()) {
            (Some(""), Some("1")) => Self::md5(fields)?,
            (Some(""), Some("2a" | "2b" | "2y")) => Self::bcrypt(hash, fields)?,
            (Some(""), Some(id @ ("5" | "6"))) => Self::sha(id, fields)?,
            (Some(""), Some("y")) => Self::yescrypt(fields)?,
            (Some(""), Some(id)) => return Err(StoredError::Unsupported(format!("{{CRYPT}} with ${}$", shorten(id)))),
            (Some(des), None) if des.len() == 13 && is_crypt64(des) => Kind::Des,
            _ => return Err(StoredError::Damaged("a crypt(3) hash ($6$salt$..., $2y$..., $y$...)")),
        };
        Ok(Crypt { kind, hash })
    }

    fn md5<'f>(mut fields: impl Iterator<Item = &'f str>) -> Result<Kind, StoredError> {
        match (fields.next(), fields.next(), fields.next()) {
            (Some(salt), Some(digest), None)
                if (1..=8).contains(&salt.len()) && is_crypt64(salt) && digest.len() == 22 && is_crypt64(digest) =>
            {
                Ok(Kind::Md5)
            }
            _ => Err(StoredError::Damaged(
                "$1$salt$digest, the salt of at most 8 and the digest of 22 characters",
            )),
        }
    }

    fn bcrypt<'f>(hash: &str, mut fields: impl Iterator<Item = &'f str>) -> Result<Kind, StoredError> {
        let damaged = StoredError::Damaged("$2y$, two digits of cost, $ and 53 characters");
        let (Some(cost), Some(rest), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(damaged);
        };
        if hash.len() != 60 || rest.len() != 53 || !is_crypt64(rest) || !cost.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(damaged);
        }
        match cost.parse::<u32>() {
            Ok(cost @ 4..=BCRYPT_COST_MAX) => Ok(Kind::Bcrypt { cost }),
            Ok(_) => Err(StoredError::Unsupported(format!("{{BLF-CRYPT}} with a cost of {cost}"))),
            Err(_) => Err(damaged),
        }
    }

    fn sha<'f>(id: &str, fields: impl Iterator<Item = &'f str>) -> Result<Kind, StoredError> {
        let damaged = StoredError::Damaged("$6$salt$digest or $6$rounds=N$salt$digest");
        let fields: Vec<&str> = fields.collect();
        let (rounds, salt, digest) = match fields[..] {
            [salt, digest] => ("5000", salt, digest),
            [rounds, salt, digest] => match rounds.strip_prefix("rounds=") {
                Some(rounds) => (rounds, salt, digest),
                None => return Err(damaged),
            },
            _ => return Err(damaged),
        };
        let length = if id == "5" { 43 } else { 86 };
        if digest.len() != length || !is_crypt64(digest) || salt.len() > 16 || !is_crypt64(salt) || salt.is_empty() {
            return Err(damaged);
        }
        match rounds.parse::<u32>() {
            Ok(rounds @ 1000..=SHA_ROUNDS_MAX) => Ok(Kind::Sha { rounds }),
            Ok(_) => Err(StoredError::Unsupported(format!("{{CRYPT}} with {rounds} rounds"))),
            Err(_) => Err(damaged),
        }
    }

    fn yescrypt<'f>(mut fields: impl Iterator<Item = &'f str>) -> Result<Kind, StoredError> {
        let damaged = StoredError::Damaged("$y$parameters$salt$digest");
        let (Some(parameters), Some(salt), Some(digest), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(damaged);
        };
        if digest.len() != 43 || !is_crypt64(digest) || salt.is_empty() || salt.len() > 86 || !is_crypt64(salt) {
            return Err(damaged);
        }
        // `j` is the one flavour in use; three or four characters are N and r alone, so that p, t and g are the default.
        let plain = parameters.starts_with('j') && (3..=4).contains(&parameters.len()) && is_crypt64(parameters);
        let unsupported = || StoredError::Unsupported(format!("{{CRYPT}} with $y${}$", shorten(parameters)));
        let parameters: yescrypt::Params = match parameters.parse() {
            Ok(parameters) if plain => parameters,
            _ => return Err(unsupported()),
        };
        let bytes = parameters
            .n()
            .saturating_mul(u64::from(parameters.r()))
            .saturating_mul(128);
        if bytes > YESCRYPT_BYTES_MAX || parameters.p() != 1 {
            return Err(unsupported());
        }
        Ok(Kind::Yescrypt { bytes })
    }

    pub(super) fn matches(&self, password: &[u8]) -> bool {
        use yescrypt::PasswordVerifier as _;
        match self.kind {
            Kind::Md5 => pwhash::md5_crypt::verify(password, self.hash),
            Kind::Bcrypt { .. } => bcrypt::verify(password, self.hash).unwrap_or(false),
            Kind::Sha { .. } => {
                use sha_crypt::PasswordVerifier as _;
                sha_crypt::ShaCrypt::default()
                    .verify_password(password, self.hash)
                    .is_ok()
            }
            Kind::Yescrypt { .. } => yescrypt::Yescrypt::default()
                .verify_password(password, self.hash)
                .is_ok(),
            // DES takes seven bits of eight characters.
            Kind::Des => {
                #[expect(deprecated, reason = "to check old hashes, not to make new ones")]
                let computed = pwhash::unix_crypt::hash_with(&self.hash[..2], password);
                computed.is_ok_and(|computed| same(computed.as_bytes(), self.hash.as_bytes()))
            }
        }
    }

    pub(super) fn cost_class(&self) -> String {
        match self.kind {
            Kind::Md5 | Kind::Des => "old crypt".into(),
            Kind::Bcrypt { cost } => format!("bcrypt {cost}"),
            Kind::Sha { rounds } => format!("sha-crypt {rounds}"),
            Kind::Yescrypt { bytes } => format!("yescrypt {bytes}"),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(20).collect()
}
