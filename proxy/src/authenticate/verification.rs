//! Whether a password is right, for all cores of the node: from memory, by its hash here, or by asking the directory.
//!
//! The order, for an account: what the node remembers; the hash, on the pool (or a bind, when so configured, and for secrets
//! that cannot be checked here); and before a hash that does not match is believed, the entry is read once more, because
//! the copy may be behind. A name without an account goes the same way, with the work of a usual hash and the waiting of a
//! usual question in place of both: neither the answer nor its time tells which names there are.
//!
//! Invariants: one check at a time for the same credentials, on all cores together, so one bind for as long as a password is
//! remembered; nothing here blocks a core; wrong passwords are remembered only where the directory has confirmed them,
//! or where there is none to ask.

use super::counts::{AuthenticationCounts, Count};
use super::directory::AskDirectory;
use super::flights::Flights;
use super::memory::{Key, Memory, Remembered, Tag};
use super::rereads::{Pace, Rereads};
use pigeon_datatree_cache::Account;
use pigeon_datatree_cache::ldap::{Bound, Reread};
use pigeon_datatree_cache::password::{self, Decoy};
use pigeon_engine::blocking::{BlockingError, BlockingPool};
use pigeon_proto::sasl::Password;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How passwords are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// By the hashes in the records; by a bind where a hash is of a kind that is unknown here.
    #[default]
    Hash,
    /// By a bind as the account. Without a directory to bind to, by hashes all the same.
    Bind,
}

/// How long a right password is remembered when nobody says.
pub const VERIFIED_FOR: Duration = Duration::from_secs(10 * 60);

/// Checks passwords for the whole node. One for all cores.
pub struct Verification {
    pool: BlockingPool,
    directory: Option<Arc<dyn AskDirectory>>,
    verify: Verify,
    key: Key,
    memory: Arc<Memory>,
    flights: Flights,
    rereads: Mutex<Rereads>,
    /// Of binds that were refused, waiting included.
    bind_pace: Pace,
    /// The last bind was decided neither way.
    undecided: AtomicBool,
    reread_pace: Pace,
    counts: Arc<AuthenticationCounts>,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right, and counts until then.
    Right(Instant),
    /// It is wrong: so says the directory itself, or there is none to ask.
    Wrong,
    /// The copy says that it is wrong, and the directory was not asked or did not answer.
    WrongByCopy,
    /// Neither; why, where a person should know.
    Unknown(Option<String>),
}

/// What the pool has found out.
enum Found {
    Remembered(Remembered),
    Right(Instant),
    Wrong,
    /// It cannot be checked here: the scheme.
    Foreign(String),
    /// By a bind, as configured.
    ByBind,
}

impl Verification {
    /// `pool` is the node's pool for hashes; `directory` the source of control data, where it is one. A right
    /// password is remembered for `verified_for`.
    pub fn new(
        pool: BlockingPool,
        directory: Option<Arc<dyn AskDirectory>>,
        verify: Verify,
        verified_for: Duration,
    ) -> Verification {
        Verification {
            pool,
            verify: if directory.is_some() { verify } else { Verify::Hash },
            directory,
            key: Key::new(),
            memory: Arc::new(Memory::new(verified_for)),
            flights: Flights::default(),
            rereads: Mutex::new(Rereads::new(Instant::now())),
            bind_pace: Pace::default(),
            undecided: AtomicBool::new(false),
            reread_pace: Pace::default(),
            counts: Arc::default(),
        }
    }

    /// What it cost so far.
    pub fn counts(&self) -> &Arc<AuthenticationCounts> {
        &self.counts
    }

    /// The MAC by which a right password of this record is remembered.
    pub(super) fn tag(&self, account: &Account, password: &Password) -> Tag {
        self.key.right(account, password.as_bytes())
    }

    /// Checks the password of an account that was asked for by `name`. `tag` is that of [`Verification::tag`].
    pub(super) async fn known(
        &self,
        account: &Arc<Account>,
        name: &str,
        password: &Password,
        tag: Tag,
        decoy: Decoy,
    ) -> Verdict {
        let wrong = self.key.wrong(Some(account), name, password.as_bytes());
        let _flight = self.flight(tag).await;
        let found = match self.look(account, password, tag, wrong, decoy).await {
            Ok(found) => found,
            Err(verdict) => return verdict,
        };
        let check = Check {
            account,
            password,
            right: tag,
            wrong,
        };
        match (found, &self.directory) {
            (Found::Remembered(Remembered::Right(until)), _) => {
                self.counts.count(Count::HitsNode);
                Verdict::Right(until)
            }
            (Found::Remembered(Remembered::Wrong), _) => {
                self.counts.count(Count::HitsWrong);
                Verdict::Wrong
            }
            (Found::Right(until), _) => Verdict::Right(until),
            (Found::Wrong, None) => self.wrong(wrong).await,
            (Found::Wrong, Some(directory)) => self.once_more(&**directory, check, name).await,
            (Found::Foreign(_) | Found::ByBind, Some(directory)) => self.bind(&**directory, check).await,
            (Found::Foreign(scheme), None) => Verdict::Unknown(Some(format!("{scheme} cannot be checked here"))),
            (Found::ByBind, None) => unreachable!("binds are only configured with a directory"),
        }
    }

    /// Does for a name without an account what `known` does for one with a wrong password.
    pub(super) async fn unknown(&self, name: &str, password: &Password, decoy: Decoy) -> Verdict {
        let wrong = self.key.wrong(None, name, password.as_bytes());
        let _flight = self.flight(wrong).await;
        let (memory, counts, clear) = (self.memory.clone(), self.counts.clone(), password.clone());
        let hashes = self.verify == Verify::Hash;
        let remembered = self.on_pool(move || {
            let remembered = memory.recall(None, &wrong, Instant::now()).is_some();
            if !remembered && hashes {
                counts.count(Count::Hashes);
                let _ = decoy.verify(clear.as_bytes());
            }
            remembered
        });
        match remembered.await {
            Err(verdict) => return verdict,
            Ok(true) => {
                self.counts.count(Count::HitsWrong);
                return Verdict::Wrong;
            }
            Ok(false) => {}
        }
        let Some(directory) = &self.directory else {
            return self.wrong(wrong).await;
        };
        match self.verify {
            Verify::Bind => {
                pigeon_engine::sleep(self.bind_pace.usual()).await;
                // Who is there is told the same now.
                if directory.is_away() || self.undecided.load(Ordering::Relaxed) {
                    return Verdict::Unknown(None);
                }
            }
            Verify::Hash => {
                if !self.may_reread(name) {
                    return Verdict::WrongByCopy;
                }
                pigeon_engine::sleep(self.reread_pace.usual()).await;
                if directory.is_away() {
                    return Verdict::WrongByCopy;
                }
            }
        }
        self.wrong(wrong).await
    }

    async fn flight(&self, tag: Tag) -> super::flights::Flight<'_> {
        let (flight, waited) = self.flights.join(tag).await;
        if waited {
            self.counts.count(Count::Joined);
        }
        flight
    }

    /// What can be found out on the pool.
    async fn look(
        &self,
        account: &Arc<Account>,
        password: &Password,
        right: Tag,
        wrong: Tag,
        decoy: Decoy,
    ) -> Result<Found, Verdict> {
        let (memory, counts, verify) = (self.memory.clone(), self.counts.clone(), self.verify);
        let (account, password) = (account.clone(), password.clone());
        let is_directory = self.directory.is_some();
        self.on_pool(move || {
            if let Some(remembered) = memory.recall(Some(&right), &wrong, Instant::now()) {
                return Found::Remembered(remembered);
            }
            if verify == Verify::Bind {
                return Found::ByBind;
            }
            counts.count(Count::Hashes);
            if account.secrets().next().is_none() {
                let _ = decoy.verify(password.as_bytes());
                if is_directory {
                    counts.count(Count::NoSecret);
                    tracing::warn!(
                        dn = account.dn(),
                        "the record has no password: its entry has none, or hides it from the node's bind_dn, and \
                         control_data.ldap.verify is \"hash\""
                    );
                }
                return Found::Wrong;
            }
            match password::verify(&account, password.as_bytes()) {
                password::Verdict::Match => Found::Right(memory.keep_right(right, Instant::now())),
                password::Verdict::Mismatch => Found::Wrong,
                password::Verdict::Unsupported(scheme) => Found::Foreign(scheme),
            }
        })
        .await
    }

    /// The hash here does not match: the entry may have another one by now.
    async fn once_more(&self, directory: &dyn AskDirectory, check: Check<'_>, name: &str) -> Verdict {
        if !self.may_reread(name) {
            self.counts.count(Count::RereadsLimited);
            return Verdict::WrongByCopy;
        }
        self.counts.count(Count::Rereads);
        let began = Instant::now();
        let secrets = match directory.read_again(check.account.clone()).await {
            Reread::Secrets(secrets) => secrets,
            Reread::Gone => return self.wrong(check.wrong).await,
            Reread::Away(why) => {
                tracing::debug!(dn = check.account.dn(), why, "an entry could not be read once more");
                self.counts.count(Count::RereadsAway);
                return Verdict::WrongByCopy;
            }
            Reread::Full => {
                self.counts.count(Count::DirectoryFull);
                return Verdict::WrongByCopy;
            }
        };
        self.reread_pace.note(began.elapsed());
        if same(check.account.secrets(), &secrets) {
            return self.wrong(check.wrong).await;
        }
        let (memory, counts, right) = (self.memory.clone(), self.counts.clone(), check.right);
        let password = check.password.clone();
        let found = self.on_pool(move || {
            counts.count(Count::Hashes);
            match password::verify_secrets(secrets.iter().map(String::as_str), password.as_bytes()) {
                password::Verdict::Match => Found::Right(memory.keep_right(right, Instant::now())),
                password::Verdict::Mismatch => Found::Wrong,
                password::Verdict::Unsupported(scheme) => Found::Foreign(scheme),
            }
        });
        match found.await {
            Err(verdict) => verdict,
            Ok(Found::Right(until)) => {
                self.counts.count(Count::RereadsHelped);
                tracing::info!(
                    dn = check.account.dn(),
                    "the directory has another password than the copy, and it is right"
                );
                Verdict::Right(until)
            }
            Ok(Found::Foreign(_)) => self.bind(directory, check).await,
            Ok(_) => self.wrong(check.wrong).await,
        }
    }

    async fn bind(&self, directory: &dyn AskDirectory, check: Check<'_>) -> Verdict {
        self.counts.count(Count::Binds);
        let began = Instant::now();
        let bound = directory
            .bind(check.account.clone(), check.password.as_bytes().to_vec())
            .await;
        let dn = check.account.dn();
        let is_decided = matches!(bound, Bound::Right | Bound::Wrong | Bound::Barred(_));
        self.undecided.store(!is_decided, Ordering::Relaxed);
        match bound {
            Bound::Right => {
                let (memory, right) = (self.memory.clone(), check.right);
                let kept = self.on_pool(move || memory.keep_right(right, Instant::now())).await;
                // Where there is no place in the pool, it counts for this login alone.
                Verdict::Right(kept.unwrap_or(began))
            }
            Bound::Wrong => {
                self.counts.count(Count::BindsWrong);
                self.bind_pace.note(began.elapsed());
                self.wrong(check.wrong).await
            }
            // Told as a wrong password: guesses lock an account in some directories, and another answer from then on would
            // say that there is one.
            Bound::Barred(why) => {
                self.counts.count(Count::BindsUnwilling);
                tracing::warn!(dn, why, "the directory lets an account in with no password");
                self.bind_pace.note(began.elapsed());
                self.wrong(check.wrong).await
            }
            Bound::Unwilling(why) => {
                self.counts.count(Count::BindsUnwilling);
                Verdict::Unknown(Some(format!("the directory refuses a bind as {dn}: {why}")))
            }
            Bound::Away(why) => {
                self.counts.count(Count::BindsAway);
                Verdict::Unknown(Some(format!("no bind as {dn}: {why}")))
            }
            Bound::Full => {
                self.counts.count(Count::DirectoryFull);
                Verdict::Unknown(Some("too many binds are waiting".to_owned()))
            }
        }
    }

    /// It is wrong, and that is remembered.
    async fn wrong(&self, tag: Tag) -> Verdict {
        let memory = self.memory.clone();
        // Not remembered when the pool is full: the next attempt costs as much as this one.
        let _ = self.on_pool(move || memory.keep_wrong(tag, Instant::now())).await;
        Verdict::Wrong
    }

    fn may_reread(&self, name: &str) -> bool {
        let name = self.key.wrong(None, name, b"");
        let mut rereads = self.rereads.lock().unwrap_or_else(PoisonError::into_inner);
        rereads.take(name, Instant::now())
    }

    async fn on_pool<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Verdict> {
        self.pool.run(job).await.map_err(|error| match error {
            BlockingError::Full => {
                self.counts.count(Count::PoolFull);
                Verdict::Unknown(None)
            }
            BlockingError::Panicked => Verdict::Unknown(Some("the check of a password failed inside".to_owned())),
            BlockingError::Stopped => Verdict::Unknown(None),
        })
    }
}

/// Credentials of an account that are being checked.
#[derive(Clone, Copy)]
struct Check<'a> {
    account: &'a Arc<Account>,
    password: &'a Password,
    right: Tag,
    wrong: Tag,
}

/// Whether these are the same secrets, in whatever order a server gave them.
fn same<'a>(copy: impl Iterator<Item = &'a str>, fresh: &[String]) -> bool {
    let (mut copy, mut fresh): (Vec<_>, Vec<_>) = (copy.collect(), fresh.iter().map(String::as_str).collect());
    copy.sort_unstable();
    fresh.sort_unstable();
    copy == fresh
}
