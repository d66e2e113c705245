//! The check of a name and a password against control data, the same for POP3, IMAP and submission.
//!
//! The lookup is in the core's own copy; what the core remembers of right passwords lets in at once, everything else is
//! found out by `verification`, for all cores together and off them. A name that does not exist goes the same way as one
//! that does. Failures are slowed per address and per account. What the client is told is the caller's part.

mod counts;
mod directory;
mod flights;
mod memory;
mod node;
mod rereads;
mod scram;
mod verification;
mod verified;

pub use counts::{AuthenticationCounts, Count};
pub use directory::AskDirectory;
pub use verification::{VERIFIED_FOR, Verification, Verify};

use crate::backend::Place;
use crate::session_id::SessionId;
use futures_util::future::LocalBoxFuture;
pub use node::{NodeAuthenticator, Redirected};
use pigeon_datatree_cache::{Account, CopyState, CoreCopy, FailureSlowing, Service, SlowingOptions};
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::scram::ClientFirst;
use pigeon_proto::sasl::{Credentials, Exchange};
pub use scram::ProofAttempt;
use scram::ScramDecoys;
pub(crate) use scram::random_nonce;
use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verification::Verdict;
use verified::Verified;

/// A login to be checked.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose, for the log.
    pub session: SessionId,
    /// What the client said.
    pub credentials: Credentials,
    /// What a redirector said of the session; empty for clients.
    pub received: Received,
    /// Where the client is.
    pub peer: IpAddr,
    /// It is in a trusted network, of which many may come: what fails there slows nobody else there.
    pub trusted: bool,
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
    /// A node logged in for a user whose mail is on another node.
    Elsewhere(Place),
    /// Neither right nor wrong: too much to do, the directory does not answer, or control data is not current or has a
    /// secret that cannot be checked. Ask the client to come again.
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
    /// The node's.
    verification: Arc<Verification>,
    /// Each core counts by itself: what is slowed is many attempts over few connections.
    failures: RefCell<FailureSlowing>,
    verified: RefCell<Verified>,
    decoys: ScramDecoys,
    start: Instant,
}

impl Authenticator {
    /// With hashes alone and a memory of its own, for one core. `pool` is the pool for hashes.
    pub fn new(copy: Rc<CoreCopy>, pool: BlockingPool, slowing: SlowingOptions) -> Authenticator {
        let verification = Verification::new(pool, None, Verify::Hash, VERIFIED_FOR);
        Authenticator::sharing(copy, Arc::new(verification), slowing)
    }

    /// With what all cores share.
    pub fn sharing(copy: Rc<CoreCopy>, verification: Arc<Verification>, slowing: SlowingOptions) -> Authenticator {
        Authenticator {
            inner: Rc::new(Inner {
                copy,
                verification,
                failures: RefCell::new(FailureSlowing::new(slowing)),
                verified: RefCell::default(),
                decoys: ScramDecoys::default(),
                start: pigeon_engine::now(),
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

/// Where failures are counted for the address; nowhere for a trusted one.
fn from(peer: IpAddr, trusted: bool) -> Option<IpAddr> {
    (!trusted).then_some(peer)
}

fn log(outcome: &Outcome, session: SessionId, peer: IpAddr, service: Service, name: &str) {
    let service = service.name();
    match outcome {
        Outcome::Accepted(account) => {
            tracing::info!(%session, %peer, service, name, account = %account.id(), "login");
        }
        Outcome::Refused => tracing::info!(%session, %peer, service, name, "login refused"),
        Outcome::NotAllowed => tracing::info!(%session, %peer, service, name, "login not allowed by control data"),
        Outcome::Elsewhere(_) => tracing::info!(%session, %peer, service, name, "login referred"),
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
        let from = from(attempt.peer, attempt.trusted);
        let verifying = pin!(self.verify(attempt));
        self.slowed(from, name, verifying).await
    }

    /// Waits for an outcome, and for what failures cost: `verify` gives both, the outcome and whether it is one. `from`: where the
    /// client is, if that counts. What verifies stays where it is: as an argument by value it would be copied, and kept twice.
    async fn slowed(
        &self,
        from: Option<IpAddr>,
        name: &str,
        verify: Pin<&mut impl Future<Output = (Outcome, bool)>>,
    ) -> Outcome {
        // Everybody at an address from which many failures came waits before the answer, so that an answer that does not
        // come tells nothing. What failed elsewhere with the name slows failures alone: nobody is locked out by others.
        let waited = match from {
            Some(peer) => {
                self.wait(Duration::ZERO, |failures, now| failures.delay(peer, "", now))
                    .await
            }
            None => Duration::ZERO,
        };
        let (outcome, failed) = verify.await;
        let now = self.now();
        match (from, failed, &outcome) {
            (Some(peer), true, _) => {
                self.failures.borrow_mut().failed(peer, name, now);
                self.wait(waited, |failures, now| failures.delay(peer, name, now)).await;
            }
            (None, true, _) => {
                self.failures.borrow_mut().failed_account(name, now);
                self.wait(waited, |failures, now| failures.delay_of_account(name, now))
                    .await;
            }
            (Some(peer), false, Outcome::Accepted(_)) => self.failures.borrow_mut().succeeded(peer, name, now),
            (_, false, _) => {}
        }
        outcome
    }

    /// Also whether it counts as a failure.
    async fn verify(&self, attempt: &Attempt) -> (Outcome, bool) {
        // A record that changes while its password is checked is a reason to look again, once.
        for _ in 0..2 {
            if let Some(outcome) = self.verify_once(attempt).await {
                return outcome;
            }
        }
        (Outcome::Unavailable, false)
    }

    /// `None`: the password was right for a record that is another one by now.
    async fn verify_once(&self, attempt: &Attempt) -> Option<(Outcome, bool)> {
        let credentials = &attempt.credentials;
        let (name, password) = (credentials.name.as_str(), &credentials.password);
        let (account, is_nobody, decoy) = {
            let snapshot = self.copy.snapshot();
            // Acting as someone else is not offered to clients, and is refused as slowly as everything else.
            let account = match credentials.authorization {
                None => snapshot.login(name).cloned(),
                Some(_) => None,
            };
            (account, snapshot.is_nobody(name), snapshot.decoy())
        };
        // Passwords that are not remembered are checked in a box of their own: a login whose password is would carry the room for it
        // through every copy of its future.
        let (verdict, is_known) = match &account {
            None => {
                let checking = Box::pin(self.verification.unknown(name, password, decoy));
                (checking.await, false)
            }
            Some(account) => {
                let tag = self.verification.tag(account, password);
                let remembered = self.verified.borrow().contains(&tag, pigeon_engine::now());
                if remembered {
                    self.verification.counts().count(Count::HitsCore);
                    return self.admit(account, attempt.service);
                }
                let checking = Box::pin(self.verification.known(account, name, password, tag, decoy));
                let verdict = checking.await;
                if let Verdict::Right(until) = verdict {
                    self.verified.borrow_mut().insert(tag, until, pigeon_engine::now());
                    return self.admit(account, attempt.service);
                }
                (verdict, true)
            }
        };
        // What is not in a copy that is not current may well exist, and a password in it may be an old one.
        let is_live = self.copy.snapshot().state() == CopyState::Live;
        let refused = match verdict {
            Verdict::Wrong => is_known || is_nobody || credentials.authorization.is_some(),
            Verdict::WrongByCopy if is_known => is_live,
            Verdict::WrongByCopy => is_nobody || credentials.authorization.is_some(),
            Verdict::Unknown(why) => {
                if let Some(why) = why {
                    tracing::warn!(session = %attempt.session, why, "a password cannot be checked");
                }
                return Some((Outcome::Unavailable, false));
            }
            Verdict::Right(_) => unreachable!("it was admitted above"),
        };
        // Slowed as well where the client is not told: it was a guess all the same.
        let outcome = if refused {
            Outcome::Refused
        } else {
            Outcome::Unavailable
        };
        Some((outcome, true))
    }

    /// The password was right; `None` when the record changed while it was checked.
    fn admit(&self, account: &Arc<Account>, service: Service) -> Option<(Outcome, bool)> {
        let snapshot = self.copy.snapshot();
        let current = snapshot.account(account.id())?;
        if current.generation() != account.generation() {
            return None;
        }
        let outcome = match current.may(service) {
            true => Outcome::Accepted(current.clone()),
            false => Outcome::NotAllowed,
        };
        Some((outcome, false))
    }

    /// Waits for what failures cost, less what has been waited already.
    async fn wait(&self, waited: Duration, cost: impl FnOnce(&mut FailureSlowing, Duration) -> Duration) -> Duration {
        let delay = cost(&mut self.failures.borrow_mut(), self.now());
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
