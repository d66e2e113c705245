//! The check of a name and a password against control data, the same for POP3, IMAP and submission.
//!
//! The lookup is in the core's own copy, the hash is verified off the cores. A name that does not exist costs the same
//! time as one that does. Failures are slowed per address and per account. What the client is told is the caller's part.

mod scram;
mod verified;

use crate::session_id::SessionId;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::password::{self, Verdict};
use pigeon_datatree_cache::{Account, CoreCopy, FailureSlowing, Service, SlowingOptions};
use pigeon_engine::blocking::{BlockingError, BlockingPool};
use pigeon_proto::sasl::scram::ClientFirst;
use pigeon_proto::sasl::{Credentials, Exchange};
pub use scram::ProofAttempt;
use scram::ScramDecoys;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verified::Verified;

/// A login to be checked.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose, for the log.
    pub session: SessionId,
    /// What the client said.
    pub credentials: Credentials,
    /// Where the client is.
    pub peer: IpAddr,
    /// What it wants to use: `Submission`, `Pop3` or `Imap`.
    pub service: Service,
}

/// What became of a login.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The password is right, and the account may use the service.
    Accepted(Arc<Account>),
    /// No such name, a wrong password, or the wish to act as someone else: not told apart.
    Refused,
    /// The password is right, but the account's status or its services do not allow it: 535 5.7.8 has nothing better to
    /// say, IMAP has `[CONTACTADMIN]`.
    NotAllowed,
    /// Neither right nor wrong: too much to do, or control data is not current or has a secret that cannot be checked.
    /// Ask the client to come again.
    Unavailable,
}

/// Checks logins; what `Authenticator` does, as protocol drivers see it.
pub trait CheckCredentials {
    /// Takes as long as it takes: the hash, and the slowing of failures.
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome>;

    /// The exchange of SCRAM that goes on from the client's first message, and the challenge in base64. Whether the name
    /// exists does not show.
    fn challenge(&self, first: ClientFirst) -> (Exchange, String);

    /// Checks what SCRAM came to. Takes as long as the slowing of failures.
    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome>;
}

/// Checks logins on one core. Clones share its memory of failures.
#[derive(Clone)]
pub struct Authenticator {
    inner: Rc<Inner>,
}

struct Inner {
    copy: Rc<CoreCopy>,
    pool: BlockingPool,
    /// Each core counts by itself: what is slowed is many attempts over few connections.
    failures: RefCell<FailureSlowing>,
    verified: RefCell<Verified>,
    decoys: ScramDecoys,
    start: Instant,
}

impl Authenticator {
    /// `pool` is the node's pool for hashes.
    pub fn new(copy: Rc<CoreCopy>, pool: BlockingPool, slowing: SlowingOptions) -> Authenticator {
        let failures = RefCell::new(FailureSlowing::new(slowing));
        let start = pigeon_engine::now();
        Authenticator {
            inner: Rc::new(Inner {
                copy,
                pool,
                failures,
                verified: RefCell::new(Verified::new()),
                decoys: ScramDecoys::default(),
                start,
            }),
        }
    }

    /// Checks one login.
    pub async fn check(&self, attempt: Attempt) -> Outcome {
        let outcome = self.inner.check(&attempt).await;
        log(
            &outcome,
            attempt.session,
            attempt.peer,
            attempt.service,
            &attempt.credentials.name,
        );
        outcome
    }
}

fn log(outcome: &Outcome, session: SessionId, peer: IpAddr, service: Service, name: &str) {
    let service = service.name();
    match outcome {
        Outcome::Accepted(account) => {
            tracing::info!(%session, %peer, service, name, account = %account.id(), "login");
        }
        Outcome::Refused => tracing::info!(%session, %peer, service, name, "login refused"),
        Outcome::NotAllowed => tracing::info!(%session, %peer, service, name, "login not allowed by control data"),
        Outcome::Unavailable => tracing::warn!(%session, %peer, service, name, "login not possible now"),
    }
}

impl CheckCredentials for Authenticator {
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome> {
        let this = self.clone();
        Box::pin(async move { Authenticator::check(&this, attempt).await })
    }

    fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        Authenticator::challenge(self, first)
    }

    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome> {
        let this = self.clone();
        Box::pin(async move { Authenticator::check_proof(&this, attempt).await })
    }
}

impl Inner {
    async fn check(&self, attempt: &Attempt) -> Outcome {
        let name = attempt.credentials.name.as_str();
        self.slowed(attempt.peer, name, self.verify(attempt)).await
    }

    /// Waits for an outcome, and for what failures cost.
    async fn slowed(&self, peer: IpAddr, name: &str, verify: impl Future<Output = Outcome>) -> Outcome {
        // Everybody at an address from which many failures came waits before the answer, so that an answer that does not
        // come tells nothing. What failed elsewhere with the name slows failures alone: nobody is locked out by others.
        let waited = self.wait(peer, "", Duration::ZERO).await;
        let outcome = verify.await;
        let now = self.now();
        match &outcome {
            Outcome::Accepted(_) => self.failures.borrow_mut().succeeded(peer, name, now),
            Outcome::Refused => {
                self.failures.borrow_mut().failed(peer, name, now);
                self.wait(peer, name, waited).await;
            }
            Outcome::NotAllowed | Outcome::Unavailable => {}
        }
        outcome
    }

    async fn verify(&self, attempt: &Attempt) -> Outcome {
        let credentials = &attempt.credentials;
        let (account, is_nobody, decoy) = {
            let snapshot = self.copy.snapshot();
            // Acting as someone else is not offered to clients, and is refused as slowly as everything else.
            let account = match credentials.authorization {
                None => snapshot.login(&credentials.name).cloned(),
                Some(_) => None,
            };
            (account, snapshot.is_nobody(&credentials.name), snapshot.decoy())
        };
        let password = credentials.password.clone();
        let Some(account) = account else {
            let checked = self.pool.run(move || decoy.verify(password.as_bytes())).await;
            // A name that is unknown to a copy that is not current may well exist.
            let certain = is_nobody || credentials.authorization.is_some();
            return if certain && checked.is_ok() {
                Outcome::Refused
            } else {
                Outcome::Unavailable
            };
        };
        let remembered = self
            .verified
            .borrow()
            .contains(&account, password.as_bytes(), self.now());
        if remembered {
            return self.admit(account, attempt.service);
        }
        let secrets = account.clone();
        let checked = self
            .pool
            .run(move || password::verify(&secrets, password.as_bytes()))
            .await;
        match checked {
            Ok(Verdict::Match) => {
                let password = credentials.password.as_bytes();
                self.verified.borrow_mut().insert(&account, password, self.now());
                self.admit(account, attempt.service)
            }
            Ok(Verdict::Mismatch) => Outcome::Refused,
            Ok(Verdict::Unsupported(scheme)) => {
                let dn = account.dn();
                tracing::warn!(session = %attempt.session, dn, scheme, "the secret's scheme cannot be checked here");
                Outcome::Unavailable
            }
            Err(BlockingError::Full) => Outcome::Unavailable,
            Err(error @ (BlockingError::Panicked | BlockingError::Stopped)) => {
                tracing::error!(session = %attempt.session, account = %account.id(), ?error, "password check failed");
                Outcome::Unavailable
            }
        }
    }

    /// The password was right; the record may have changed while it was checked.
    fn admit(&self, account: Arc<Account>, service: Service) -> Outcome {
        let snapshot = self.copy.snapshot();
        match snapshot.account(account.id()) {
            Some(current) if current.generation() == account.generation() => match account.may(service) {
                true => Outcome::Accepted(account),
                false => Outcome::NotAllowed,
            },
            _ => Outcome::Unavailable,
        }
    }

    /// Waits for what the failures of this address and name cost, less what has been waited already.
    async fn wait(&self, peer: IpAddr, name: &str, waited: Duration) -> Duration {
        let delay = self.failures.borrow_mut().delay(peer, name, self.now());
        let delay = delay.saturating_sub(waited);
        if !delay.is_zero() {
            pigeon_engine::sleep(delay).await;
        }
        delay
    }

    fn now(&self) -> Duration {
        pigeon_engine::now().saturating_duration_since(self.start)
    }
}
