//! Submission: TLS, passwords, what is added to a header, and what is refused until there is a queue.

use super::*;
use crate::authenticate::{Attempt, CheckCredentials, Outcome, ProofAttempt};
use futures_util::future::LocalBoxFuture;
use pigeon_engine::tls::{PemIdentity, TlsAcceptor};
use pigeon_proto::network::NetworkSet;
use pigeon_proto::sasl::Exchange;
use pigeon_proto::sasl::scram::ClientFirst;
use pigeon_proto::sasl::scram::client::{Client, ClientKeys};

/// Knows alice's password.
pub(super) struct Passwords(pub(super) Rc<pigeon_datatree_cache::CoreCopy>);

impl CheckCredentials for Passwords {
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome> {
        let snapshot = self.0.snapshot();
        Box::pin(async move {
            match attempt.credentials.password.as_bytes() {
                b"pigeon" => Outcome::Accepted(snapshot.login(&attempt.credentials.name).expect("known").clone()),
                b"later" => Outcome::Unavailable,
                _ => Outcome::Refused,
            }
        })
    }

    fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        first.answer(
            ClientKeys::derive(b"pigeon", b"salt", 4096).verifier(b"salt".to_vec(), 4096),
            "nonce",
        )
    }

    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome> {
        let snapshot = self.0.snapshot();
        Box::pin(async move {
            match attempt.proof.proven {
                Some(_) => Outcome::Accepted(snapshot.login(&attempt.proof.name).expect("known").clone()),
                None => Outcome::Refused,
            }
        })
    }
}

/// From a client that is trusted, so that there need not be TLS.
fn node() -> Node {
    node_with(Options::new(Mode::Submission, "mx.example.org"))
}

fn node_with(options: Options) -> Node {
    let mut node = Node::with_options(options);
    node.context.policy.trusted = NetworkSet::loopback();
    node.context.authenticate = Some(Rc::new(Passwords(node.context.copy.clone())));
    node
}

fn acceptor() -> TlsAcceptor {
    TlsAcceptor::new(&[identity()]).unwrap()
}

fn identity() -> PemIdentity {
    let certified = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    PemIdentity {
        certificate_chain: certified.cert.pem().into_bytes(),
        private_key: certified.signing_key.serialize_pem().into_bytes(),
    }
}

/// alice and `pigeon`.
const AUTH: &str = "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBpZ2Vvbg==";

#[test]
fn scram_authenticates_a_user() {
    let mut options = Options::new(Mode::Submission, "mx.example.org");
    options.mechanisms.scram_sha_256 = true;
    let (mut dialogue, _, _) = node_with(options).start();
    let greeting = talk(&mut dialogue, &["EHLO x"]);
    assert!(
        greeting.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"),
        "{greeting}"
    );
    for (password, answer) in [(&b"wrong"[..], "535 5.7.8 "), (b"pigeon", "235 2.7.0 ")] {
        let client = Client::new("alice@example.org", None, "client");
        let challenge = talk(&mut dialogue, &["AUTH SCRAM-SHA-256", &client.first()]);
        let challenge = challenge
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("334 "))
            .expect("a challenge");
        let challenge = client.challenge(challenge.as_bytes()).expect("of SCRAM");
        let (last, expected) = challenge.answer(&ClientKeys::derive(password, b"salt", 4096));
        let mut said = talk(&mut dialogue, &[&last]);
        if let Some(server_final) = said.strip_prefix("334 ") {
            expected
                .check(server_final.trim_end().as_bytes())
                .expect("the server knows it");
            said = talk(&mut dialogue, &[""]);
        }
        assert!(said.starts_with(answer), "{said}");
    }
    assert!(talk(&mut dialogue, &["MAIL FROM:<alice@example.org>"]).starts_with("250 "));
}

#[test]
fn a_user_sends_to_local_recipients_only() {
    let (mut dialogue, store, context) = node().start();
    assert!(talk(&mut dialogue, &["EHLO x"]).contains("250-AUTH PLAIN LOGIN\r\n"));
    assert!(talk(&mut dialogue, &["MAIL FROM:<alice@example.org>"]).starts_with("530 5.7.0 "));
    assert!(talk(&mut dialogue, &["AUTH PLAIN AGFsaWNlAHdyb25n"]).starts_with("535 5.7.8 "));
    assert!(talk(&mut dialogue, &["AUTH PLAIN AGFsaWNlAGxhdGVy"]).starts_with("454 4.7.0 "));
    assert!(talk(&mut dialogue, &[AUTH]).starts_with("235 2.7.0 "));
    assert!(talk(&mut dialogue, &["MAIL FROM:<alice@example.org>"]).starts_with("250 "));
    let answer = talk(&mut dialogue, &["RCPT TO:<x@elsewhere.example>"]);
    assert_eq!(
        answer,
        "550 5.7.1 this server delivers to its own domains only; relaying is not available\r\n"
    );
    talk(&mut dialogue, &["RCPT TO:<carol@example.org>", "DATA"]);
    assert!(talk(&mut dialogue, &["Subject: hi", "", "x", "."]).starts_with("250 "));
    let stored = &store.stored()[0];
    assert!(stored.text().contains(" with ESMTPA\r\n"), "{}", stored.text());
    let body = stored.body();
    let (date, rest) = body.split_once("\r\n").unwrap();
    assert!(date.starts_with("Date: ") && date.ends_with(" +0000"), "{date}");
    assert_eq!(
        rest,
        "Message-ID: <0000000000000abc.1@mx.example.org>\r\nSubject: hi\r\n\r\nx\r\n"
    );
    assert_eq!(context.counters.authentications.get(), 1);
    assert_eq!(context.counters.authentications_refused.get(), 1);
}

#[test]
fn a_complete_header_is_left_alone() {
    for lines in [1, 3000] {
        let (mut dialogue, store, _) = node().start();
        talk(
            &mut dialogue,
            &[
                "EHLO x",
                AUTH,
                "MAIL FROM:<alice@example.org>",
                "RCPT TO:<carol@example.org>",
                "DATA",
            ],
        );
        let text =
            "message-id: <1@x>\r\nDATE: today\r\n\r\n".to_owned() + &format!("{}\r\n", "x".repeat(76)).repeat(lines);
        dialogue.send(text.as_bytes());
        dialogue.send(b".\r\n");
        assert_eq!(store.stored()[0].body(), text);
    }
    // Completed in the first piece of a long message, too.
    let (mut dialogue, store, _) = node().start();
    talk(
        &mut dialogue,
        &[
            "EHLO x",
            AUTH,
            "MAIL FROM:<alice@example.org>",
            "RCPT TO:<carol@example.org>",
            "DATA",
        ],
    );
    let text = "Date: today\r\n\r\n".to_owned() + &format!("{}\r\n", "x".repeat(76)).repeat(3000);
    (text.as_bytes().chunks(4096)).for_each(|piece| dialogue.send(piece));
    dialogue.send(b".\r\n");
    let body = store.stored()[0].body();
    assert_eq!(body.matches("Message-ID: ").count(), 1);
    assert!(body.starts_with("Message-ID: <0000000000000abc.1@mx.example.org>\r\nDate: today\r\n\r\nxx"));
}

#[test]
fn a_sender_can_be_held_to_their_own_addresses() {
    let mut strict = node();
    strict.context.policy.sender_must_match = true;
    let (mut dialogue, ..) = strict.start();
    talk(&mut dialogue, &["EHLO x", AUTH]);
    for (sender, expected) in [
        ("carol@example.org", "553 5.7.1 "),
        ("alice@elsewhere.example", "553 5.7.1 "),
        ("alice@example.org", "250 "),
        ("al@example.org", "250 "),
        ("alice+tag@example.org", "250 "),
        ("", "250 "),
    ] {
        let answer = talk(&mut dialogue, &["RSET", &format!("MAIL FROM:<{sender}>")]);
        assert!(answer.starts_with(expected), "{sender}: {answer}");
    }
}

#[test]
fn who_is_switched_off_after_the_login_sends_nothing_more() {
    for (before, after) in [
        ("uid: alice\n", "uid: alice\naccountStatus: disabled\n"),
        ("uid: alice\n", "uid: alice\nenabledService: imap\n"),
        ("dn: uid=alice,", "dn: uid=alison,"),
    ] {
        let node = node();
        let copy = node.copy.clone();
        let (mut dialogue, store, _) = node.start();
        talk(&mut dialogue, &["EHLO x", AUTH]);
        assert!(talk(&mut dialogue, &["MAIL FROM:<alice@example.org>"]).starts_with("250 "));
        let next = Snapshot::from_ldif(&TREE.replace(before, after)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        copy.publish(next.in_state(CopyState::Live));
        // What has begun is brought to its end: one transaction, one snapshot.
        talk(&mut dialogue, &["RCPT TO:<carol@example.org>", "DATA"]);
        assert!(talk(&mut dialogue, &["Subject: hi", "", "x", "."]).starts_with("250 "));
        let answer = talk(&mut dialogue, &["MAIL FROM:<alice@example.org>"]);
        assert!(answer.starts_with("550 5.7.1 "), "{after}: {answer}");
        assert_eq!(store.stored().len(), 1);
    }
}

#[test]
fn tls_comes_before_the_password() {
    let mut node = node();
    node.context.policy.trusted = NetworkSet::default();
    let context = SmtpContext::new(
        Options::new(Mode::Submission, "mx.example.org"),
        node.context.copy.clone(),
        node.context.store.clone(),
        Some(acceptor()),
    );
    node.context = SmtpContext {
        authenticate: node.context.authenticate.clone(),
        ..context
    };
    let (mut dialogue, store, _) = node.start();
    let hello = talk(&mut dialogue, &["EHLO x"]);
    assert!(hello.contains("250-STARTTLS\r\n") && !hello.contains("AUTH"), "{hello}");
    assert!(talk(&mut dialogue, &[AUTH]).starts_with("538 5.7.11 "));
    assert_eq!(talk(&mut dialogue, &["STARTTLS"]), "220 2.0.0 ready to start TLS\r\n");
    let hello = talk(&mut dialogue, &["EHLO x"]);
    assert!(!hello.contains("250-STARTTLS\r\n") && hello.contains("AUTH"), "{hello}");
    talk(
        &mut dialogue,
        &[
            AUTH,
            "MAIL FROM:<alice@example.org>",
            "RCPT TO:<carol@example.org>",
            "DATA",
        ],
    );
    assert!(talk(&mut dialogue, &["Subject: x", "", "."]).starts_with("250 "));
    let text = store.stored()[0].text();
    assert!(
        text.contains(" with ESMTPSA\r\n\t(TLSv1.3 TLS_AES_128_GCM_SHA256)\r\n"),
        "{text}"
    );
}

#[test]
fn what_is_pipelined_behind_starttls_closes() {
    let node = node();
    for pieces in [
        vec!["EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@x>\r\n"],
        vec!["EHLO x\r\n", "STARTTLS\r\nM"],
    ] {
        let context = Rc::new(SmtpContext::new(
            Options::new(Mode::Smtp, "mx.example.org"),
            node.context.copy.clone(),
            node.context.store.clone(),
            Some(acceptor()),
        ));
        let mut dialogue = Dialogue::start(|stream| serve(stream, SessionId(1), context));
        pieces.iter().for_each(|piece| dialogue.send(piece.as_bytes()));
        assert!(dialogue.has_ended() && dialogue.peer.is_closed());
        let text = dialogue.take_text();
        assert!(!text.contains("250 2.1.0"), "{text}");
    }
}

#[test]
fn without_a_way_to_check_passwords_nobody_gets_in() {
    let mut node = node();
    node.context.authenticate = None;
    let (mut dialogue, ..) = node.start();
    assert!(talk(&mut dialogue, &["EHLO x", AUTH]).starts_with("454 4.7.0 "));
}

#[test]
fn starttls_is_offered_as_soon_as_there_is_a_certificate() {
    let node = node();
    let tls = TlsAcceptor::without_certificates().unwrap();
    let context = Rc::new(SmtpContext::new(
        Options::new(Mode::Smtp, "mx.example.org"),
        node.context.copy.clone(),
        node.context.store.clone(),
        Some(tls.clone()),
    ));
    let says = |dialogue: &mut Dialogue<_>| {
        dialogue.send(b"EHLO x\r\n");
        let offered = dialogue.take_text().contains("STARTTLS");
        dialogue.send(b"STARTTLS\r\n");
        let text = dialogue.take_text();
        assert_eq!(text.starts_with("220 "), offered, "{text}");
        offered
    };
    let begin = || Dialogue::start(|stream| serve(stream, SessionId(1), context.clone()));
    let mut early = begin();
    assert!(!says(&mut early));
    tls.reload(&[identity()]).unwrap();
    assert!(says(&mut begin()));
    // A session goes on as it began.
    assert!(!says(&mut early));
}
