//! SCRAM against control data: the verifier of a name for the challenge, and the check of the proof.
//!
//! All of it is a look into the core's own copy and a few HMACs: nothing runs off the core. A name without a verifier gets a
//! challenge like everybody else's, the same each time, so that what the client sees does not tell whether it exists.

use super::{Authenticator, Inner, Outcome, from, log};
use crate::session_id::SessionId;
use hmac::{Hmac, KeyInit, Mac};
use pigeon_datatree_cache::password::{ScramVerifier, scram_sha_256};
use pigeon_datatree_cache::{CopyState, Service};
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::Exchange;
use pigeon_proto::sasl::scram::{ClientFirst, Proof, Verifier};
use sha2::Sha256;
use std::cell::Cell;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::LazyLock;

/// What SCRAM came to.
#[derive(Clone, Debug)]
pub struct ProofAttempt {
    /// Whose, for the log.
    pub session: SessionId,
    /// What the client proved.
    pub proof: Proof,
    /// What a redirector said of the session; empty for clients.
    pub received: Received,
    /// Where the client is.
    pub peer: IpAddr,
    /// It is in a trusted network, of which many may come: what fails there slows nobody else there.
    pub trusted: bool,
    /// What it wants to use: `Submission`, `Pop3` or `Imap`.
    pub service: Service,
}

/// Makes the salts of names without a verifier: for the whole process, because clients come to any core. A restart changes
/// it, which somebody who asks before and after can see; a secret in control data would be needed for more.
static SALT_KEY: LazyLock<[[u8; 16]; 2]> =
    LazyLock::new(|| [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes));

/// What challenges for names without a verifier look like: as those of the account that had one last.
#[derive(Debug)]
pub(super) struct ScramDecoys {
    iterations: Cell<u32>,
    salt_bytes: Cell<usize>,
}

impl Default for ScramDecoys {
    fn default() -> Self {
        // As our own tools make verifiers.
        ScramDecoys {
            iterations: Cell::new(4096),
            salt_bytes: Cell::new(16),
        }
    }
}

impl ScramDecoys {
    fn note(&self, verifier: &ScramVerifier) {
        self.iterations.set(verifier.iterations);
        self.salt_bytes.set(verifier.salt.len());
    }

    fn verifier(&self, name: &str) -> Verifier {
        let mut salt = Vec::new();
        let mut block = 0_u8;
        while salt.len() < self.salt_bytes.get() {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(SALT_KEY.as_flattened()).expect("HMAC takes keys of any length");
            mac.update(&[block]);
            // Names that differ in case alone are one account.
            mac.update(name.to_lowercase().as_bytes());
            salt.extend_from_slice(&mac.finalize().into_bytes());
            block = block.wrapping_add(1);
        }
        salt.truncate(self.salt_bytes.get());
        Verifier::unprovable(self.iterations.get(), salt)
    }
}

pub(super) fn verifier_of(stored: ScramVerifier) -> Verifier {
    Verifier {
        iterations: stored.iterations,
        salt: stored.salt,
        stored_key: stored.stored_key,
        server_key: stored.server_key,
    }
}

/// 122 random bits, in letters and digits.
pub(crate) fn random_nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Authenticator {
    /// See [`super::CheckCredentials::challenge`].
    pub fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        let stored = self
            .inner
            .copy
            .snapshot()
            .login(first.name())
            .and_then(|account| scram_sha_256(account));
        let verifier = match stored {
            Some(stored) => {
                self.inner.decoys.note(&stored);
                verifier_of(stored)
            }
            None => self.inner.decoys.verifier(first.name()),
        };
        first.answer(verifier, &random_nonce())
    }

    /// See [`super::CheckCredentials::check_proof`].
    pub async fn check_proof(&self, attempt: ProofAttempt) -> Outcome {
        let name = attempt.proof.name.as_str();
        let proving = pin!(self.inner.prove(&attempt));
        let outcome = self
            .inner
            .slowed(from(attempt.peer, attempt.trusted), name, proving)
            .await;
        log(&outcome, attempt.session, attempt.peer, attempt.service, name);
        outcome
    }
}

impl Inner {
    /// Also whether it counts as a failure.
    async fn prove(&self, attempt: &ProofAttempt) -> (Outcome, bool) {
        let proof = &attempt.proof;
        let (account, is_certain) = {
            let snapshot = self.copy.snapshot();
            let account = snapshot.login(&proof.name).cloned();
            // What is not in a copy that is not current may well exist, and a verifier in it may be an old one; and there
            // are records that could not be taken.
            let is_certain = match account {
                Some(_) => snapshot.state() == CopyState::Live,
                None => snapshot.is_nobody(&proof.name),
            };
            (account, is_certain)
        };
        // What was proven is a verifier; it has to be the account's still. Acting as someone else is not offered to clients.
        let stored = account.as_ref().and_then(|account| scram_sha_256(account));
        let is_right =
            proof.authorization.is_none() && proof.proven.is_some() && proof.proven == stored.map(verifier_of);
        if let (Some(account), true) = (&account, is_right) {
            // A record that changed meanwhile: the client may prove the next one.
            return self
                .admit(account, attempt.service)
                .unwrap_or((Outcome::Unavailable, false));
        }
        // Slowed as well where the client is not told: it was a guess all the same.
        let outcome = match is_certain || proof.authorization.is_some() {
            true => Outcome::Refused,
            false => Outcome::Unavailable,
        };
        (outcome, true)
    }
}
