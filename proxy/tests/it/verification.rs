//! What all cores share when passwords are checked: memory, single flights, and the directory behind them.

use crate::{TREE, run};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use pigeon_datatree_cache::ldap::{Bound, Reread};
use pigeon_datatree_cache::{Account, Copy, CopyState, Service, SlowingOptions, Snapshot};
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::Credentials;
use pigeon_proxy::authenticate::{AskDirectory, Count, VERIFIED_FOR};
use pigeon_proxy::{Attempt, Authenticator, Outcome, SessionId, Verification, Verify};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// A directory that answers what the test says, and counts.
struct Directory {
    bound: Mutex<Bound>,
    read: Mutex<Reread>,
    binds: AtomicU64,
    reads: AtomicU64,
    away: bool,
}

impl Directory {
    fn new(bound: Bound, read: Reread) -> Arc<Directory> {
        let away = matches!(bound, Bound::Away(_)) || matches!(read, Reread::Away(_));
        Arc::new(Directory {
            bound: Mutex::new(bound),
            read: Mutex::new(read),
            binds: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            away,
        })
    }

    fn has(secret: &str) -> Arc<Directory> {
        Directory::new(Bound::Right, Reread::Secrets(vec![secret.to_owned()]))
    }

    fn asked(&self) -> (u64, u64) {
        (self.binds.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed))
    }
}

impl AskDirectory for Directory {
    fn bind(&self, _: Arc<Account>, _: Vec<u8>) -> BoxFuture<'_, Bound> {
        self.binds.fetch_add(1, Ordering::Relaxed);
        let bound = self.bound.lock().unwrap().clone();
        let mut polls = 0;
        // The other logins get their turn before the answer comes.
        std::future::poll_fn(move |context| {
            polls += 1;
            if polls < 100 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(bound.clone())
        })
        .boxed()
    }

    fn read_again(&self, _: Arc<Account>) -> BoxFuture<'_, Reread> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let read = self.read.lock().unwrap().clone();
        std::future::ready(read).boxed()
    }

    fn is_away(&self) -> bool {
        self.away
    }
}

/// Cores that share what there is to share, all on this one.
struct Node {
    copy: Copy,
    verification: Arc<Verification>,
    cores: Vec<Authenticator>,
}

impl Node {
    fn new(state: CopyState, directory: Option<Arc<Directory>>, verify: Verify) -> Node {
        let live = Snapshot::from_ldif(TREE).unwrap();
        let copy = Copy::new(live.in_state(state));
        let pool = BlockingPool::new("test-hash", 2, 256, None);
        let directory = directory.map(|directory| directory as Arc<dyn AskDirectory>);
        let verification = Arc::new(Verification::new(pool, directory, verify, VERIFIED_FOR));
        let slowing = SlowingOptions {
            address_free: u32::MAX,
            account_free: u32::MAX,
            ..SlowingOptions::default()
        };
        let cores = (0..2)
            .map(|_| Authenticator::sharing(Rc::new(copy.for_core()), verification.clone(), slowing))
            .collect();
        Node {
            copy,
            verification,
            cores,
        }
    }

    async fn login(&self, core: usize, name: &str, password: &str) -> &'static str {
        let attempt = Attempt {
            session: SessionId(1),
            credentials: Credentials::from_login_command(name.as_bytes(), password.as_bytes()).unwrap(),
            received: Received::default(),
            peer: IpAddr::from([192, 0, 2, 1]),
            trusted: false,
            service: Service::Imap,
        };
        match self.cores[core].check(attempt).await {
            Outcome::Accepted(_) => "accepted",
            Outcome::Refused => "refused",
            Outcome::NotAllowed => "not allowed",
            Outcome::Elsewhere(_) => "elsewhere",
            Outcome::Unavailable => "unavailable",
        }
    }

    fn counts<const N: usize>(&self, counts: [Count; N]) -> [u64; N] {
        counts.map(|count| self.verification.counts().get(count))
    }
}

const WORK: [Count; 4] = [Count::Hashes, Count::HitsWrong, Count::Binds, Count::Rereads];

#[test]
fn a_name_without_an_account_costs_what_a_wrong_password_costs() {
    // By counters, not by a clock: the same work, whoever is asked for, the first time and the second.
    let directory = || Directory::has("pigeon");
    for (directory, verify, expected) in [
        (None, Verify::Hash, [[1, 0], [0, 1]]),
        (Some(directory()), Verify::Hash, [[1, 0], [0, 1]]),
        (
            Some(Directory::new(Bound::Wrong, Reread::Gone)),
            Verify::Bind,
            [[0, 0], [0, 1]],
        ),
    ] {
        for name in ["alice@example.org", "nobody@example.org", "alice@nowhere.example"] {
            let directory = directory.clone();
            let work = run(move || {
                let directory = directory.clone();
                async move {
                    let node = Node::new(CopyState::Live, directory, verify);
                    let mut work = Vec::new();
                    for name in [name.to_owned(), name.to_uppercase()] {
                        let before = node.counts(WORK);
                        assert_eq!(node.login(0, &name, "wrong").await, "refused");
                        let after = node.counts(WORK);
                        work.push([after[0] - before[0], after[1] - before[1]]);
                    }
                    work
                }
            });
            assert_eq!(work, expected, "hashes and remembered, {name} {verify:?}");
        }
    }
}

#[test]
fn one_bind_for_as_long_as_a_password_is_remembered() {
    let directory = Directory::new(Bound::Right, Reread::Gone);
    let asked = directory.clone();
    let (outcomes, counts) = run(move || {
        let directory = directory.clone();
        async move {
            let node = Node::new(CopyState::Live, Some(directory), Verify::Bind);
            let logins = (0..40).map(|number| node.login(number % 2, "alice", "pigeon"));
            let mut outcomes = join_all(logins).await;
            outcomes.push(node.login(0, "alice@example.org", "pigeon").await);
            (outcomes, node.counts([Count::Binds, Count::Hashes, Count::Joined]))
        }
    });
    assert_eq!(outcomes, ["accepted"; 41]);
    assert_eq!(asked.asked(), (1, 0));
    assert_eq!(counts[..2], [1, 0]);
    assert!(counts[2] > 0, "some came at the same time");
}

#[test]
fn a_life_ends_and_a_changed_record_is_another_one() {
    let directory = Directory::new(Bound::Right, Reread::Gone);
    let asked = directory.clone();
    run(move || {
        let directory = directory.clone();
        async move {
            let node = Node::new(CopyState::Live, Some(directory.clone()), Verify::Bind);
            for core in [0, 0, 1] {
                assert_eq!(node.login(core, "alice", "pigeon").await, "accepted");
            }
            let changed = TREE.replacen("uid: alice", "uid: alice\ndescription: changed", 1);
            let current = node.copy.current();
            let loaded = pigeon_datatree_cache::ldif::snapshot(changed.as_bytes(), &Default::default(), &current);
            node.copy.publish(loaded.unwrap().snapshot);
            assert_eq!(node.login(0, "alice", "pigeon").await, "accepted");
            assert_eq!(node.login(1, "alice", "pigeon").await, "accepted");
        }
    });
    assert_eq!(asked.asked(), (2, 0));
}

#[test]
fn what_binds_say() {
    let away = || Bound::Away("stopped".to_owned());
    for (bound, known, unknown) in [
        (Bound::Right, "accepted", "refused"),
        (Bound::Wrong, "refused", "refused"),
        // Who is there and who is not is told the same, whatever it is.
        (Bound::Barred("locked (19)".to_owned()), "refused", "refused"),
        (Bound::Unwilling("no (80)".to_owned()), "unavailable", "unavailable"),
        (Bound::Full, "unavailable", "unavailable"),
        (away(), "unavailable", "unavailable"),
    ] {
        let directory = Directory::new(bound.clone(), Reread::Gone);
        let outcomes = run(move || {
            let directory = directory.clone();
            async move {
                let node = Node::new(CopyState::Live, Some(directory), Verify::Bind);
                (
                    node.login(0, "alice", "pigeon").await,
                    node.login(0, "nobody", "pigeon").await,
                )
            }
        });
        assert_eq!(outcomes, (known, unknown), "{bound:?}");
    }
}

#[test]
fn a_scheme_that_is_unknown_here_is_left_to_the_directory() {
    let directory = Directory::new(Bound::Right, Reread::Gone);
    let asked = directory.clone();
    run(move || {
        let directory = directory.clone();
        async move {
            let node = Node::new(CopyState::Live, Some(directory), Verify::Hash);
            assert_eq!(node.login(0, "carol", "pigeon").await, "accepted");
            assert_eq!(node.login(1, "carol", "pigeon").await, "accepted");
            assert_eq!(node.login(0, "alice", "pigeon").await, "accepted");
        }
    });
    assert_eq!(asked.asked(), (1, 0));
}

#[test]
fn the_entry_is_read_once_more_before_a_refusal() {
    let secrets = |secret: &str| Reread::Secrets(vec![secret.to_owned()]);
    let away = || Reread::Away("stopped".to_owned());
    use CopyState::{Live, Lost};
    for (state, read, right, wrong) in [
        // The copy is behind: dove is the password by now.
        (Live, secrets("dove"), "accepted", "refused"),
        (Live, secrets("pigeon"), "refused", "refused"),
        (Live, secrets("{SASL}alice"), "accepted", "accepted"),
        (Live, Reread::Gone, "refused", "refused"),
        (Live, Reread::Full, "refused", "refused"),
        (Live, away(), "refused", "refused"),
        // Without an answer, a copy that is not current refuses nobody for good.
        (Lost, secrets("dove"), "accepted", "refused"),
        (Lost, secrets("pigeon"), "refused", "refused"),
        (Lost, away(), "unavailable", "unavailable"),
        (Lost, Reread::Full, "unavailable", "unavailable"),
    ] {
        let directory = Directory::new(Bound::Right, read.clone());
        let asked = directory.clone();
        let outcomes = run(move || {
            let directory = directory.clone();
            async move {
                let node = Node::new(state, Some(directory), Verify::Hash);
                (
                    node.login(0, "alice", "dove").await,
                    node.login(0, "alice", "crow").await,
                )
            }
        });
        assert_eq!(outcomes, (right, wrong), "{state:?} {read:?}");
        assert_eq!(asked.asked().1, 2, "{state:?} {read:?}");
    }
}

#[test]
fn guessing_does_not_ask_the_directory_for_ever() {
    let directory = Directory::has("pigeon");
    let asked = directory.clone();
    let limited = run(move || {
        let directory = directory.clone();
        async move {
            let node = Node::new(CopyState::Live, Some(directory), Verify::Hash);
            for number in 0..50 {
                assert_eq!(
                    node.login(number % 2, "alice", &format!("guess{number}")).await,
                    "refused"
                );
            }
            // The same one again: remembered, where the directory has confirmed it.
            let before = node.counts(WORK);
            assert_eq!(node.login(0, "alice", "guess0").await, "refused");
            let after = node.counts(WORK);
            assert_eq!([after[0] - before[0], after[1] - before[1]], [0, 1]);
            assert_eq!(
                node.login(0, "alice", "pigeon").await,
                "accepted",
                "its owner is let in"
            );
            node.counts([Count::RereadsLimited])
        }
    });
    // Three at once; more only if this took ten seconds.
    let (_, reads) = asked.asked();
    assert_eq!(reads + limited[0], 50);
    assert!(reads < 10, "{reads}");
}
