//! Checking passwords against the hashes that directories hold. Blocking and slow: only on the hash pool.
//!
//! Invariants: an empty password never matches; a damaged hash never panics and never matches; what a hash may cost
//! is bounded, whatever it says of itself; values are compared in constant time.
//!
//! What this deliberately does not do: it caches nothing (a re-login costs as much as a login) and asks no server.

mod crypt;
mod fresh;
mod modern;
mod scram;
mod stored;

pub use fresh::{Scheme, hash, hash_for_ldif};
pub use scram::{ScramVerifier, scram_sha_256, scram_verifier};
pub(crate) use stored::cost_class;

use crate::Account;
use std::sync::Arc;
use stored::{Stored, StoredError};

/// Bytes of a password that are looked at; longer ones never match. PAM takes 512.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// What became of a password check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of the secrets matches.
    Match,
    /// None does (also: the password is empty, or the account has no secret).
    Mismatch,
    /// None that can be checked here does, and there is one that can't: its scheme, with its cost where that is why.
    Unsupported(String),
}

/// Checks `password` against all secrets of `account`. Costs up to seconds and 256 MiB for the dearest hash that is
/// taken: call it on the hash pool.
pub fn verify(account: &Account, password: &[u8]) -> Verdict {
    verify_secrets(account.secrets(), password)
}

/// The same for secrets in directory form (`{SSHA512}...`, `SCRAM-SHA-256$...`).
pub fn verify_secrets<'a>(secrets: impl IntoIterator<Item = &'a str>, password: &[u8]) -> Verdict {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains(&0) {
        return Verdict::Mismatch;
    }
    let mut verdict = Verdict::Mismatch;
    for secret in secrets {
        match Stored::parse(secret) {
            Ok(stored) if stored.matches(password) => return Verdict::Match,
            Ok(_) | Err(StoredError::Damaged(_)) => {}
            Err(StoredError::Unsupported(scheme)) => verdict = Verdict::Unsupported(scheme),
        }
    }
    verdict
}

/// Takes about as long as checking a hash of [`hash_for_ldif`], and matches nothing. Where a snapshot is at hand,
/// [`crate::Snapshot::decoy`] costs what its accounts cost.
pub fn dummy_verify(password: &[u8]) {
    Decoy::default().verify(password);
}

/// Stands in for the secret of an account that does not exist, so that the time of a refusal does not tell: the
/// commonest kind of hash of a snapshot, at its cost.
#[derive(Clone)]
pub struct Decoy(Arc<str>);

impl Default for Decoy {
    /// The cost of [`hash_for_ldif`].
    fn default() -> Self {
        Decoy("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into())
    }
}

impl Decoy {
    /// `secret` is one that stands for many of its kind.
    pub(crate) fn of(secret: &str) -> Decoy {
        Decoy(secret.into())
    }

    #[cfg(test)]
    pub(crate) fn is_like(&self, start: &str) -> bool {
        self.0.starts_with(start)
    }

    /// Does the work of a check. Never a match. Call it on the hash pool.
    pub fn verify(&self, password: &[u8]) -> Verdict {
        let _ = std::hint::black_box(verify_secrets([&*self.0], password));
        Verdict::Mismatch
    }
}

/// In which attribute a secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    UserPassword,
    AuthPassword,
}

/// What can be said of a stored secret without the password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inspection {
    Good,
    /// It works or may work elsewhere, but a person should look at it.
    Doubtful(String),
    /// It can never match.
    Damaged(String),
}

/// Looks at a stored secret when control data is loaded.
pub(crate) fn inspect(secret: &str, form: Form) -> Inspection {
    match Stored::parse(secret) {
        Ok(Stored::Clear("")) => Inspection::Damaged("expected a password hash, found an empty password".into()),
        Ok(Stored::Clear(_)) if form == Form::AuthPassword => {
            Inspection::Damaged("expected SCRAM-SHA-256$iterations:salt$stored-key:server-key".into())
        }
        Ok(Stored::Clear(_)) => Inspection::Doubtful(
            "this password stands here in clear text; store a hash ({SSHA512}, {ARGON2ID}, ...)".into(),
        ),
        Ok(_) => Inspection::Good,
        Err(StoredError::Unsupported(scheme)) => Inspection::Doubtful(format!(
            "{scheme} cannot be checked here: without a directory to bind to, this password lets nobody in"
        )),
        Err(StoredError::Damaged(expected)) => {
            Inspection::Damaged(format!("damaged password hash: expected {expected}"))
        }
    }
}

#[cfg(test)]
mod tests;
