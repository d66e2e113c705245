//! Credentials against control data, with the real hash pool.

use crate::{TREE, run};
use pigeon_datatree_cache::password::{self, Scheme};
use pigeon_datatree_cache::{Copy, CopyState, Service, SlowingOptions, Snapshot};
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::scram::client::{Client, ClientKeys};
use pigeon_proto::sasl::{Claim, Credentials, Exchange, Mechanism, Progress};
use pigeon_proxy::{Attempt, Authenticator, Outcome, ProofAttempt, SessionId};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

fn attempt(name: &str, password: &str, service: Service) -> Attempt {
    Attempt {
        session: SessionId(1),
        credentials: Credentials::from_login_command(name.as_bytes(), password.as_bytes()).unwrap(),
        received: Received::default(),
        peer: IpAddr::from([192, 0, 2, 1]),
        trusted: false,
        service,
    }
}

fn authenticator(copy: &Copy, threads: usize, queue_depth: usize) -> Authenticator {
    let pool = BlockingPool::new("test-hash", threads, queue_depth, None);
    // Failures cost no time in these tests.
    let slowing = SlowingOptions {
        address_free: u32::MAX,
        account_free: u32::MAX,
        ..SlowingOptions::default()
    };
    Authenticator::new(Rc::new(copy.for_core()), pool, slowing)
}

async fn word(authenticator: &Authenticator, attempt: Attempt) -> String {
    said(authenticator.check(attempt).await)
}

fn said(outcome: Outcome) -> String {
    match outcome {
        Outcome::Accepted(account) => account.main_address().unwrap_or_default().to_owned(),
        Outcome::Refused => "refused".to_owned(),
        Outcome::NotAllowed => "not allowed".to_owned(),
        Outcome::Elsewhere(_) => "elsewhere".to_owned(),
        Outcome::Unavailable => "unavailable".to_owned(),
    }
}

#[test]
fn nobody_waits_for_what_others_do_at_a_trusted_address() {
    let words = run(|| async {
        let copy = Copy::new(Snapshot::from_ldif(TREE).unwrap());
        let slowing = SlowingOptions {
            address_free: 0,
            account_free: u32::MAX,
            delay_first: Duration::from_secs(3600),
            delay_max: Duration::from_secs(3600),
            ..SlowingOptions::default()
        };
        let pool = BlockingPool::new("test-hash", 2, 16, None);
        let authenticator = Authenticator::new(Rc::new(copy.for_core()), pool, slowing);
        let trusted = |name, password| Attempt {
            trusted: true,
            ..attempt(name, password, Service::Imap)
        };
        let mut words = Vec::new();
        for (name, password) in [("nobody", "wrong"), ("nobody", "wrong"), ("alice", "pigeon")] {
            let checked =
                pigeon_engine::timeout(Duration::from_secs(60), word(&authenticator, trusted(name, password)));
            words.push(checked.await.unwrap_or_else(|_| "waits".to_owned()));
        }
        words
    });
    assert_eq!(words, ["refused", "refused", "alice@example.org"]);
}

#[test]
fn outcomes() {
    let words = run(|| async {
        let copy = Copy::new(Snapshot::from_ldif(TREE).unwrap());
        let authenticator = authenticator(&copy, 2, 16);
        let mut words = Vec::new();
        for (name, password, service) in [
            ("alice@example.org", "pigeon", Service::Pop3),
            // Remembered.
            ("ALICE@example.org", "pigeon", Service::Imap),
            ("alice", "pigeon", Service::Submission),
            ("alice", "wrong", Service::Imap),
            ("nobody@example.org", "pigeon", Service::Imap),
            ("bob@example.org", "pigeon", Service::Imap),
            ("bob@example.org", "pigeon", Service::Pop3),
            ("bob@example.org", "wrong", Service::Pop3),
            ("carol@example.org", "pigeon", Service::Imap),
        ] {
            words.push(word(&authenticator, attempt(name, password, service)).await);
        }
        let mut acting = attempt("alice", "pigeon", Service::Imap);
        acting.credentials.authorization = Some("bob".to_owned());
        words.push(word(&authenticator, acting).await);
        words
    });
    assert_eq!(
        words,
        [
            "alice@example.org",
            "alice@example.org",
            "alice@example.org",
            "refused",
            "refused",
            "bob@example.org",
            "not allowed",
            "refused",
            "unavailable",
            "refused",
        ]
    );
}

#[test]
fn a_changed_record_counts_at_once() {
    let words = run(|| async {
        let first = Snapshot::from_ldif(TREE).unwrap();
        let changed = |from: &str, to: &str| {
            let text = TREE.replacen(from, to, 1);
            pigeon_datatree_cache::ldif::snapshot(text.as_bytes(), &Default::default(), &first)
                .unwrap()
                .snapshot
        };
        let new_password = changed("userPassword: pigeon", "userPassword: dove");
        let copy = Copy::new(Snapshot::from_ldif(TREE).unwrap());
        let authenticator = authenticator(&copy, 1, 16);
        let mut words = vec![word(&authenticator, attempt("alice", "pigeon", Service::Imap)).await];
        copy.publish(new_password);
        words.push(word(&authenticator, attempt("alice", "pigeon", Service::Imap)).await);
        words.push(word(&authenticator, attempt("alice", "dove", Service::Imap)).await);
        words
    });
    assert_eq!(words, ["alice@example.org", "refused", "alice@example.org"]);
}

#[test]
fn unknown_names_are_refused_only_while_the_copy_is_current() {
    let words = run(|| async {
        let live = Snapshot::from_ldif(TREE).unwrap();
        let copy = Copy::new(live.in_state(CopyState::Lost));
        let authenticator = authenticator(&copy, 1, 16);
        vec![
            word(&authenticator, attempt("nobody", "pigeon", Service::Imap)).await,
            word(&authenticator, attempt("alice", "pigeon", Service::Imap)).await,
            word(&authenticator, attempt("alice", "wrong", Service::Imap)).await,
        ]
    });
    assert_eq!(words, ["unavailable", "alice@example.org", "refused"]);
}

#[test]
fn a_full_pool_is_a_temporary_failure() {
    let outcome = run(|| async {
        let copy = Copy::new(Snapshot::from_ldif(TREE).unwrap());
        let pool = BlockingPool::new("test-hash", 1, 1, None);
        let authenticator = Authenticator::new(Rc::new(copy.for_core()), pool.clone(), SlowingOptions::default());
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (started, running) = std::sync::mpsc::channel::<()>();
        let busy = pool.clone();
        let busy = pigeon_engine::spawn(async move {
            let job = move || {
                started.send(()).unwrap();
                wait.recv().unwrap();
            };
            busy.run(job).await
        });
        // One job runs, one waits: there is no room for a third.
        while running.try_recv().is_err() {
            pigeon_engine::runtime::yield_now().await;
        }
        let waiting = pigeon_engine::spawn({
            let pool = pool.clone();
            async move { pool.run(|| ()).await }
        });
        pigeon_engine::runtime::yield_now().await;
        let outcome = word(&authenticator, attempt("alice", "pigeon", Service::Imap)).await;
        release.send(()).unwrap();
        busy.await;
        waiting.await;
        outcome
    });
    assert_eq!(outcome, "unavailable");
}

/// The whole exchange; what it came to, and the challenge as the client read it.
async fn scram(authenticator: &Authenticator, name: &str, password: &str, acting: Option<&str>) -> (String, Vec<u8>) {
    let client = Client::new(name, acting, "client");
    let (_, progress) = Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes())).unwrap();
    let Progress::Complete(Claim::ScramFirst(first)) = progress else {
        panic!("{progress:?}");
    };
    let (mut exchange, challenge) = authenticator.challenge(first);
    let challenge = client.challenge(challenge.as_bytes()).unwrap();
    let salt = challenge.salt.clone();
    let keys = ClientKeys::derive(password.as_bytes(), &salt, challenge.iterations);
    let (last, expected) = challenge.answer(&keys);
    let mut progress = exchange.respond(last.as_bytes()).unwrap();
    if let Progress::Challenge(server_final) = &progress {
        expected.check(server_final.as_bytes()).unwrap();
        progress = exchange.respond(b"").unwrap();
    }
    let Progress::Complete(Claim::Scram(proof)) = progress else {
        panic!("{progress:?}");
    };
    let attempt = ProofAttempt {
        session: SessionId(1),
        proof,
        received: Received::default(),
        peer: IpAddr::from([192, 0, 2, 1]),
        trusted: false,
        service: Service::Pop3,
    };
    (said(authenticator.check_proof(attempt).await), salt)
}

#[test]
fn scram_against_the_verifier_of_the_record() {
    run(|| async {
        let with_verifiers = |copy: &Copy| {
            let verifier = password::hash("pigeon", Scheme::ScramSha256);
            let tree = TREE.replace("userPassword: pigeon", &format!("authPassword: {verifier}"));
            copy.publish(Snapshot::from_ldif(&tree).unwrap());
        };
        let copy = Copy::new(Snapshot::empty());
        with_verifiers(&copy);
        let authenticator = authenticator(&copy, 1, 16);
        let outcome = async |name, password, acting| scram(&authenticator, name, password, acting).await.0;
        assert_eq!(outcome("alice", "pigeon", None).await, "alice@example.org");
        assert_eq!(outcome("ALICE@Example.org", "pigeon", None).await, "alice@example.org");
        assert_eq!(outcome("alice", "pigeons", None).await, "refused");
        assert_eq!(outcome("alice", "pigeon", Some("bob")).await, "refused");
        assert_eq!(outcome("bob", "pigeon", None).await, "not allowed");
        assert_eq!(outcome("carol", "pigeon", None).await, "refused", "she has no verifier");
        assert_eq!(outcome("nobody", "pigeon", None).await, "refused");

        // A name without a verifier looks like one with: the same salt each time, another one for each name.
        let salt = async |name| scram(&authenticator, name, "x", None).await.1;
        let known = salt("alice").await;
        let unknown = salt("nobody").await;
        assert_eq!(unknown.len(), known.len());
        assert_eq!(unknown, salt("NoBody").await);
        assert_ne!(unknown, salt("somebody").await);

        // While the copy is not current an unknown name may exist, and a verifier may be an old one.
        copy.publish(copy.current().in_state(CopyState::Lost));
        assert_eq!(outcome("nobody", "pigeon", None).await, "unavailable");
        assert_eq!(outcome("alice", "pigeons", None).await, "unavailable");
        assert_eq!(outcome("carol", "pigeon", None).await, "unavailable");
        assert_eq!(outcome("alice", "pigeon", None).await, "alice@example.org");
    });
}

/// Between the challenge and the proof the password changed.
#[test]
fn a_proof_of_a_verifier_that_is_gone_is_refused() {
    run(|| async {
        let tree = |password: &str| {
            let verifier = password::hash(password, Scheme::ScramSha256);
            TREE.replace("userPassword: pigeon", &format!("authPassword: {verifier}"))
        };
        let copy = Copy::new(Snapshot::from_ldif(&tree("pigeon")).unwrap());
        let authenticator = authenticator(&copy, 1, 16);
        let client = Client::new("alice", None, "client");
        let (_, progress) = Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes())).unwrap();
        let Progress::Complete(Claim::ScramFirst(first)) = progress else {
            panic!("{progress:?}");
        };
        let (mut exchange, challenge) = authenticator.challenge(first);
        let challenge = client.challenge(challenge.as_bytes()).unwrap();
        let keys = ClientKeys::derive(b"pigeon", &challenge.salt, challenge.iterations);
        exchange.respond(challenge.answer(&keys).0.as_bytes()).unwrap();
        let Ok(Progress::Complete(Claim::Scram(proof))) = exchange.respond(b"") else {
            panic!("it is proven");
        };
        copy.publish(Snapshot::from_ldif(&tree("another")).unwrap().in_state(CopyState::Live));
        let attempt = ProofAttempt {
            session: SessionId(1),
            proof,
            received: Received::default(),
            peer: IpAddr::from([192, 0, 2, 1]),
            trusted: false,
            service: Service::Pop3,
        };
        assert_eq!(said(authenticator.check_proof(attempt).await), "refused");
    });
}
