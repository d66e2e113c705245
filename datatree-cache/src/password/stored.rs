//! Stored secrets: from the text of userPassword or authPassword to something that can be compared.
//!
//! Schemes are those of OpenLDAP (with its contributed modules), Dovecot and passlib, which write the same names with
//! small differences; each is recognised by its shape.

use super::{crypt::Crypt, modern::Argon2, modern::Pbkdf2, scram::Scram};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

/// Bytes of a stored secret that are looked at.
const SECRET_BYTES_MAX: usize = 4096;

/// Standard alphabet, padding or not: directories hold both.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a secret cannot be checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StoredError {
    /// The scheme is unknown, or its cost is out of bounds. The text names it.
    Unsupported(String),
    /// The scheme is known and the value is not one of it. The text says what was expected.
    Damaged(&'static str),
}

/// A stored secret.
#[derive(Debug)]
pub(super) enum Stored<'a> {
    Clear(&'a str),
    Digest {
        kind: DigestKind,
        digest: Vec<u8>,
        salt: Vec<u8>,
    },
    Crypt(Crypt<'a>),
    Argon2(Argon2),
    Pbkdf2(Pbkdf2),
    Scram(Scram),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DigestKind {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl DigestKind {
    fn bytes(self) -> usize {
        match self {
            DigestKind::Md5 => 16,
            DigestKind::Sha1 => 20,
            DigestKind::Sha224 => 28,
            DigestKind::Sha256 => 32,
            DigestKind::Sha384 => 48,
            DigestKind::Sha512 => 64,
        }
    }

    fn of(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn run<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            let mut digest = D::new();
            digest.update(password);
            digest.update(salt);
            digest.finalize().to_vec()
        }
        match self {
            DigestKind::Md5 => run::<Md5>(password, salt),
            DigestKind::Sha1 => run::<Sha1>(password, salt),
            DigestKind::Sha224 => run::<Sha224>(password, salt),
            DigestKind::Sha256 => run::<Sha256>(password, salt),
            DigestKind::Sha384 => run::<Sha384>(password, salt),
            DigestKind::Sha512 => run::<Sha512>(password, salt),
        }
    }
}

impl<'a> Stored<'a> {
    pub(super) fn parse(secret: &'a str) -> Result<Stored<'a>, StoredError> {
        if secret.len() > SECRET_BYTES_MAX {
            return Err(StoredError::Damaged("at most 4096 bytes"));
        }
        if let Some((scheme, value)) = secret.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            return Self::of_scheme(scheme, value);
        }
        // RFC 5803: scheme$info$value, as authPassword holds it and some tools write it into userPassword.
        for (prefix, kind) in [
            ("SCRAM-SHA-256$", DigestKind::Sha256),
            ("SCRAM-SHA-1$", DigestKind::Sha1),
        ] {
            if secret
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            {
                return Scram::parse(kind, &secret[prefix.len()..]).map(Stored::Scram);
            }
        }
        // A hash without its scheme must not become a password of its own, which a thief of the directory could type.
        if secret.starts_with('$') {
            return Self::crypt(secret);
        }
        Ok(Stored::Clear(secret))
    }

    fn of_scheme(scheme: &str, value: &'a str) -> Result<Stored<'a>, StoredError> {
        let upper = scheme.to_ascii_uppercase();
        let (name, encoding) = match upper.rsplit_once('.') {
            Some((name, "HEX")) => (name, Encoding::Hex),
            Some((name, "B64" | "BASE64")) => (name, Encoding::Base64),
            _ => (upper.as_str(), Encoding::Either),
        };
        let digest = |kind, salted| Self::digest(kind, salted, encoding, value);
        match name {
            "CLEARTEXT" | "CLEAR" | "PLAIN" => Ok(Stored::Clear(value)),
            "SHA" | "SHA1" => digest(DigestKind::Sha1, false),
            "SSHA" => digest(DigestKind::Sha1, true),
            "SHA224" => digest(DigestKind::Sha224, false),
            "SSHA224" => digest(DigestKind::Sha224, true),
            "SHA256" => digest(DigestKind::Sha256, false),
            "SSHA256" => digest(DigestKind::Sha256, true),
            "SHA384" => digest(DigestKind::Sha384, false),
            "SSHA384" => digest(DigestKind::Sha384, true),
            "SHA512" => digest(DigestKind::Sha512, false),
            "SSHA512" => digest(DigestKind::Sha512, true),
            // Dovecot calls $1$ {MD5}; OpenLDAP means the digest.
            "MD5" if value.starts_with('$') => Self::crypt(value),
            "MD5" | "LDAP-MD5" | "PLAIN-MD5" => digest(DigestKind::Md5, false),
            "SMD5" => digest(DigestKind::Md5, true),
            "CRYPT" | "MD5-CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" | "DES-CRYPT" | "BLF-CRYPT" | "BCRYPT" => {
                Self::crypt(value)
            }
            "ARGON2" | "ARGON2I" | "ARGON2D" | "ARGON2ID" => Argon2::parse(value).map(Stored::Argon2),
            "PBKDF2" | "PBKDF2-SHA1" => Pbkdf2::parse(DigestKind::Sha1, value).map(Stored::Pbkdf2),
            "PBKDF2-SHA256" => Pbkdf2::parse(DigestKind::Sha256, value).map(Stored::Pbkdf2),
            "PBKDF2-SHA512" => Pbkdf2::parse(DigestKind::Sha512, value).map(Stored::Pbkdf2),
            "SCRAM-SHA-1" => Scram::parse(DigestKind::Sha1, value).map(Stored::Scram),
            "SCRAM-SHA-256" => Scram::parse(DigestKind::Sha256, value).map(Stored::Scram),
            _ => Err(StoredError::Unsupported(format!(
                "{{{}}}",
                scheme.chars().take(40).collect::<String>()
            ))),
        }
    }

    fn crypt(value: &'a str) -> Result<Stored<'a>, StoredError> {
        if value.starts_with("$argon2") {
            return Argon2::parse(value).map(Stored::Argon2);
        }
        for (prefix, kind) in [
            ("$pbkdf2-sha256$", DigestKind::Sha256),
            ("$pbkdf2-sha512$", DigestKind::Sha512),
            ("$pbkdf2$", DigestKind::Sha1),
        ] {
            if let Some(rest) = value.strip_prefix(prefix) {
                return Pbkdf2::parse(kind, rest).map(Stored::Pbkdf2);
            }
        }
        Crypt::parse(value).map(Stored::Crypt)
    }

    fn digest(kind: DigestKind, salted: bool, encoding: Encoding, value: &str) -> Result<Stored<'a>, StoredError> {
        let hex = match encoding {
            Encoding::Hex => true,
            Encoding::Base64 => false,
            Encoding::Either => !salted && value.len() == kind.bytes() * 2,
        };
        let decoded = if hex {
            decode_hex(value)
        } else {
            BASE64.decode(value).ok()
        };
        let Some(mut digest) = decoded else {
            return Err(StoredError::Damaged("base64 (or hex) after the scheme"));
        };
        let salt_fits = if salted {
            digest.len() >= kind.bytes()
        } else {
            digest.len() == kind.bytes()
        };
        if !salt_fits {
            return Err(StoredError::Damaged(
                "a digest of the scheme's length (and the salt behind it)",
            ));
        }
        let salt = digest.split_off(kind.bytes());
        Ok(Stored::Digest { kind, digest, salt })
    }

    /// Whether the password is this one. `password` is not empty.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        match self {
            // Digests, so that the time does not tell the length.
            Stored::Clear(clear) => {
                !clear.is_empty() && same(&Sha256::digest(clear.as_bytes()), &Sha256::digest(password))
            }
            Stored::Digest { kind, digest, salt } => same(digest, &kind.of(password, salt)),
            Stored::Crypt(crypt) => crypt.matches(password),
            Stored::Argon2(argon2) => argon2.matches(password),
            Stored::Pbkdf2(pbkdf2) => pbkdf2.matches(password),
            Stored::Scram(scram) => scram.matches(password),
        }
    }
}

#[derive(Clone, Copy)]
enum Encoding {
    Hex,
    Base64,
    Either,
}

/// Equal, in a time that tells nothing but the lengths.
pub(super) fn same(one: &[u8], another: &[u8]) -> bool {
    one.ct_eq(another).into()
}

pub(super) fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// What two secrets have in common if checking them costs the same; `None` for those that cannot be checked.
pub(crate) fn cost_class(secret: &str) -> Option<String> {
    match Stored::parse(secret).ok()? {
        // Cheap ones are one class: they differ by less than a network does.
        Stored::Clear(_) | Stored::Digest { .. } => Some("digest".into()),
        Stored::Crypt(crypt) => Some(crypt.cost_class()),
        Stored::Argon2(argon2) => Some(argon2.cost_class()),
        Stored::Pbkdf2(pbkdf2) => Some(pbkdf2.cost_class()),
        Stored::Scram(scram) => Some(scram.cost_class()),
    }
}
