//! Both protocols over a stream in memory: whole, at every cut and byte by byte.

use super::*;
use crate::authenticate::{Attempt, Outcome, ProofAttempt};
use crate::backend::Login;
use crate::session_id::SessionId;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::{Account, Service, Snapshot};
use pigeon_engine::testing::{Dialogue, MemoryStream, same_for_all_cuts};
use pigeon_engine::tls::PemIdentity;
use pigeon_proto::sasl::Exchange;
use pigeon_proto::sasl::scram::ClientFirst;
use pigeon_proto::sasl::scram::client::{Client, ClientKeys};
use std::net::IpAddr;
use std::sync::Arc;

const TREE: &str = "\
dn: dc=example,dc=org
objectClass: pigeonDomain
associatedDomain: example.org

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
entryUUID: 11111111-1111-4111-8111-111111111111
uid: alice
mail: alice@example.org
userPassword: pigeon
";

fn alice() -> Arc<Account> {
    let snapshot = Snapshot::from_ldif(TREE).expect("the tree is well-formed");
    snapshot.login("alice@example.org").expect("alice is in it").clone()
}

/// alice/pigeon is accepted; bob/pigeon may not; carol cannot be checked.
struct Checker;

impl CheckCredentials for Checker {
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome> {
        assert_eq!(attempt.peer, IpAddr::from([127, 0, 0, 1]));
        let right = attempt.credentials.password.as_bytes() == b"pigeon";
        let outcome = match (attempt.credentials.name.as_str(), attempt.service) {
            ("alice", Service::Imap | Service::Pop3) if right => Outcome::Accepted(alice()),
            ("bob", _) if right => Outcome::NotAllowed,
            ("carol", _) => Outcome::Unavailable,
            _ => Outcome::Refused,
        };
        std::future::ready(outcome).boxed_local()
    }

    fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        let keys = ClientKeys::derive(b"pigeon", b"salt", 4096);
        first.answer(keys.verifier(b"salt".to_vec(), 4096), "server")
    }

    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome> {
        let outcome = match attempt.proof.proven {
            Some(_) => Outcome::Accepted(alice()),
            None => Outcome::Refused,
        };
        std::future::ready(outcome).boxed_local()
    }
}

/// Shows what it got, and what comes behind.
struct Shower;

impl Backend<MemoryStream> for Shower {
    fn hand_over(&self, login: Login, mut stream: MemoryStream) -> LocalBoxFuture<'static, ()> {
        async move {
            let name = login.account.main_address().unwrap_or_default().to_owned();
            let text = format!("({name} {:?} session {})\r\n", login.opening, login.session);
            stream.send(text.into()).await.unwrap();
            while let Ok(Some(chunk)) = stream.receive().await {
                stream.send(chunk.into()).await.unwrap();
            }
        }
        .boxed_local()
    }
}

fn acceptor() -> TlsAcceptor {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let identity = PemIdentity {
        certificate_chain: pair.cert.pem().into_bytes(),
        private_key: pair.signing_key.serialize_pem().into_bytes(),
    };
    TlsAcceptor::new(&[identity]).unwrap()
}

fn context(tls: Option<TlsAcceptor>, trusted: bool) -> Rc<LoginContext<MemoryStream>> {
    Rc::new(LoginContext {
        tls,
        trusted: if trusted {
            vec!["127.0.0.0/8".parse().unwrap()]
        } else {
            Vec::new()
        },
        timeout: Duration::from_secs(60),
        limits: Limits {
            bad_commands_max: 10,
            failed_logins_max: 3,
        },
        mechanisms: Mechanisms::default(),
        redirectors: false,
        authenticate: Rc::new(Checker),
        backend: Rc::new(Shower),
        drain: Drain::new(),
    })
}

#[derive(Clone, Copy)]
enum Protocol {
    Imap,
    Pop3,
}

fn start(protocol: Protocol, context: Rc<LoginContext<MemoryStream>>) -> Dialogue {
    Dialogue::start(|stream| match protocol {
        Protocol::Imap => imap::serve(stream, SessionId(7), context).boxed_local(),
        Protocol::Pop3 => pop3::serve(stream, SessionId(7), context).boxed_local(),
    })
}

/// Runs a transcript of `C: ` and `S: ` lines; `(closed)` is the end.
fn check(protocol: Protocol, context: Rc<LoginContext<MemoryStream>>, transcript: &str) {
    let mut client = String::new();
    let mut server = String::new();
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        match line.split_at(3) {
            ("C: ", text) => client.push_str(&format!("{text}\r\n")),
            ("S: ", text) => server.push_str(&format!("{text}\r\n")),
            _ => panic!("neither C: nor S: in {line:?}"),
        }
    }
    let output = same_for_all_cuts(client.as_bytes(), |pieces| {
        let mut dialogue = start(protocol, context.clone());
        pieces.iter().for_each(|piece| dialogue.send(piece));
        let mut output = dialogue.take_output();
        if dialogue.has_ended() {
            output.extend_from_slice(b"(closed)\r\n");
        }
        output
    });
    assert_eq!(String::from_utf8_lossy(&output), server);
}

const IMAP_GREETING: &str =
    "S: * OK [CAPABILITY IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN] PigeonAir IMAP ready\n";

#[test]
fn imap_logins_hand_over_what_comes_behind() {
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a CAPABILITY
             S: * CAPABILITY IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN
             S: a OK CAPABILITY completed
             C: b ID (\"name\" \"x\")
             S: * ID (\"name\" \"PigeonAir\")
             S: b OK ID completed
             C: c LOGIN alice {{6}}
             S: + OK
             C: pigeon
             S: (alice@example.org Imap {{ tag: Tag(\"c\") }} session 0000000000000007)
             C: d SELECT INBOX
             S: d SELECT INBOX"
        ),
    );
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a AUTHENTICATE PLAIN
             S: + 
             C: AGFsaWNlAHBpZ2Vvbg==
             S: (alice@example.org Imap {{ tag: Tag(\"a\") }} session 0000000000000007)"
        ),
    );
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a AUTHENTICATE PLAIN AGFsaWNlAHBpZ2Vvbg==
             S: (alice@example.org Imap {{ tag: Tag(\"a\") }} session 0000000000000007)
             C: b NOOP
             S: b NOOP"
        ),
    );
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a AUTHENTICATE LOGIN
             S: + VXNlcm5hbWU6
             C: YWxpY2U=
             S: + UGFzc3dvcmQ6
             C: cGlnZW9u
             S: (alice@example.org Imap {{ tag: Tag(\"a\") }} session 0000000000000007)"
        ),
    );
}

#[test]
fn imap_refusals() {
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a LOGIN alice wrong
             S: a NO [AUTHENTICATIONFAILED] Wrong name or password
             C: b LOGIN bob pigeon
             S: b NO [CONTACTADMIN] This account may not use IMAP
             C: c AUTHENTICATE PLAIN
             S: + 
             C: *
             S: c BAD AUTHENTICATE cancelled
             C: d LOGIN carol x
             S: d NO [UNAVAILABLE] Cannot check the password now, try again later
             S: * BYE Too many failed logins
             S: (closed)"
        ),
    );
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a AUTHENTICATE PLAIN Ym9iAGFsaWNlAHBpZ2Vvbg==
             S: a NO [AUTHORIZATIONFAILED] Acting for others is not offered
             C: b AUTHENTICATE CRAM-MD5
             S: b NO [CANNOT] Unknown mechanism
             C: c LOGIN \"\" x
             S: c NO [AUTHENTICATIONFAILED] Wrong name or password
             C: d STARTTLS
             S: d BAD TLS is not on offer
             C: e SELECT INBOX
             S: e BAD Log in first
             C: f LOGOUT
             S: * BYE Logging out
             S: f OK LOGOUT completed
             S: (closed)"
        ),
    );
}

#[test]
fn imap_bad_commands_end_the_session() {
    let long = "x".repeat(9000);
    check(
        Protocol::Imap,
        context(None, true),
        &format!(
            "{IMAP_GREETING}
             C: a AUTHENTICATE PLAIN
             S: + 
             C: {long}
             S: a BAD Line too long
             C: b LOGIN alice {{9999}}
             S: b BAD Literal too large
             C: c NOOP
             S: c OK NOOP completed
             C: d SELECT a
             S: d BAD Log in first
             C: e CLOSE
             S: e BAD Log in first
             C: f CLOSE
             S: f BAD Log in first
             C: g CLOSE
             S: g BAD Log in first
             C: h CLOSE
             S: h BAD Log in first
             C: i CLOSE
             S: i BAD Log in first
             C: j CLOSE
             S: j BAD Log in first
             C: k CLOSE
             S: k BAD Log in first
             S: * BYE Too many bad commands
             S: (closed)
             C: l NOOP"
        ),
    );
}

#[test]
fn passwords_without_tls_are_refused() {
    check(
        Protocol::Imap,
        context(Some(acceptor()), false),
        "S: * OK [CAPABILITY IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE STARTTLS LOGINDISABLED] PigeonAir IMAP ready
         C: a LOGIN alice pigeon
         S: a NO [PRIVACYREQUIRED] Passwords need TLS here, use STARTTLS first
         C: b AUTHENTICATE PLAIN AGFsaWNlAHBpZ2Vvbg==
         S: b NO [PRIVACYREQUIRED] Passwords need TLS here, use STARTTLS first",
    );
    check(
        Protocol::Pop3,
        context(Some(acceptor()), false),
        "S: +OK PigeonAir POP3 ready
         C: USER alice
         S: -ERR Passwords need TLS here, use STLS first",
    );
}

#[test]
fn tls_starts_and_opens_the_login() {
    let mut dialogue = start(Protocol::Imap, context(Some(acceptor()), false));
    dialogue.send(b"a STARTTLS\r\n");
    assert!(dialogue.take_text().ends_with("a OK Begin TLS negotiation now\r\n"));
    dialogue.send(b"b CAPABILITY\r\nc LOGIN alice pigeon\r\nd NOOP\r\n");
    assert_eq!(
        dialogue.take_text(),
        "* CAPABILITY IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN\r\nb OK CAPABILITY completed\r\n\
         (alice@example.org Imap { tag: Tag(\"c\") } session 0000000000000007)\r\nd NOOP\r\n"
    );

    let mut dialogue = start(Protocol::Pop3, context(Some(acceptor()), false));
    dialogue.send(b"STLS\r\n");
    assert!(dialogue.take_text().ends_with("+OK Begin TLS\r\n"));
    dialogue.send(b"USER alice\r\nPASS pigeon\r\n");
    assert!(dialogue.take_text().contains("(alice@example.org Pop3 { utf8: false }"));
}

#[test]
fn commands_behind_starttls_end_the_connection() {
    for (protocol, line) in [
        (Protocol::Imap, &b"a STARTTLS\r\nb LOGIN alice pigeon\r\n"[..]),
        (Protocol::Pop3, b"STLS\r\nUSER alice\r\nPASS pigeon\r\n"),
    ] {
        let mut dialogue = start(protocol, context(Some(acceptor()), false));
        dialogue.send(line);
        assert!(dialogue.has_ended());
        assert!(!dialogue.take_text().contains("alice"));
    }
}

#[test]
fn pop3_logins_hand_over_what_comes_behind() {
    check(
        Protocol::Pop3,
        context(None, true),
        "S: +OK PigeonAir POP3 ready
         C: UTF8
         S: +OK UTF8 enabled
         C: USER alice
         S: +OK
         C: PASS wrong
         S: -ERR [AUTH] Wrong name or password
         C: USER alice
         S: +OK
         C: PASS pigeon
         S: (alice@example.org Pop3 { utf8: true } session 0000000000000007)
         C: STAT
         S: STAT",
    );
    check(
        Protocol::Pop3,
        context(None, true),
        "S: +OK PigeonAir POP3 ready
         C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
         S: (alice@example.org Pop3 { utf8: false } session 0000000000000007)",
    );
}

#[test]
fn the_third_failed_login_closes_at_once() {
    for (protocol, login) in [
        (Protocol::Imap, "a LOGIN alice wrong\r\n"),
        (Protocol::Pop3, "USER alice\r\nPASS wrong\r\n"),
    ] {
        let mut dialogue = start(protocol, context(None, true));
        dialogue.send(login.as_bytes());
        dialogue.send(login.as_bytes());
        assert!(!dialogue.has_ended());
        dialogue.send(login.as_bytes());
        assert!(dialogue.has_ended());
    }
}

#[test]
fn the_time_to_log_in_is_bounded() {
    for (protocol, farewell) in [(Protocol::Imap, "* BYE No login in time\r\n"), (Protocol::Pop3, "")] {
        let mut dialogue = start(protocol, context(None, true));
        dialogue.take_output();
        assert_eq!(dialogue.peer.timeout(), Some(Duration::from_secs(60)));
        dialogue.time_out();
        assert_eq!(dialogue.take_text(), farewell);
        assert!(dialogue.has_ended());
    }
}

#[test]
fn a_drain_sends_waiting_clients_away() {
    for (protocol, farewell) in [
        (
            Protocol::Imap,
            "* BYE [UNAVAILABLE] Server shutting down, come again soon\r\n",
        ),
        (
            Protocol::Pop3,
            "-ERR [SYS/TEMP] Server shutting down, come again soon\r\n",
        ),
    ] {
        let context = context(None, true);
        let mut dialogue = start(protocol, context.clone());
        dialogue.take_output();
        assert_eq!(context.drain.session_count(), 1);
        context.drain.begin();
        dialogue.run();
        assert_eq!(dialogue.take_text(), farewell);
        assert!(dialogue.has_ended());
        assert_eq!(context.drain.session_count(), 0);
    }
}

#[test]
fn a_client_that_goes_ends_its_session() {
    for protocol in [Protocol::Imap, Protocol::Pop3] {
        let mut dialogue = start(protocol, context(None, true));
        dialogue.end();
        assert!(dialogue.has_ended());
        let mut dialogue = start(protocol, context(None, true));
        dialogue.peer.reset();
        dialogue.run();
        assert!(dialogue.has_ended());
    }
}

/// The bytes of a session's future before the login.
fn future_bytes<F>(_: fn(Stream, SessionId, Rc<LoginContext>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_silent_session_is_small() {
    for (name, bytes) in [
        ("imap", future_bytes(imap::serve::<Stream>)),
        ("pop3", future_bytes(pop3::serve::<Stream>)),
    ] {
        println!("{name}: {bytes} bytes");
        assert!(bytes <= 512, "{name} needs {bytes} bytes");
    }
}

/// Logs in, or fails with another password; gives what the server said to the last message.
fn scram(protocol: Protocol, password: &[u8]) -> String {
    let mut context = Rc::into_inner(context(None, true)).expect("nobody else has it");
    context.mechanisms.scram_sha_256 = true;
    let mut dialogue = start(protocol, Rc::new(context));
    let greeting = dialogue.take_text();
    let client = Client::new("alice", None, "client");
    let begin = match protocol {
        Protocol::Imap => {
            assert!(
                greeting.contains(" AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN]"),
                "{greeting}"
            );
            format!("a AUTHENTICATE SCRAM-SHA-256 {}\r\n", client.first())
        }
        Protocol::Pop3 => format!("AUTH SCRAM-SHA-256 {}\r\n", client.first()),
    };
    let mut question = |line: &str| {
        dialogue.send(line.as_bytes());
        dialogue.take_text()
    };
    let challenge = question(&begin);
    let challenge = challenge.strip_prefix("+ ").expect("a challenge").trim_end();
    let challenge = client.challenge(challenge.as_bytes()).expect("of SCRAM");
    let keys = ClientKeys::derive(password, &challenge.salt, challenge.iterations);
    let (last, expected) = challenge.answer(&keys);
    let answer = question(&format!("{last}\r\n"));
    let Some(server_final) = answer.strip_prefix("+ ") else {
        return answer;
    };
    expected
        .check(server_final.trim_end().as_bytes())
        .expect("the server knows it");
    question("\r\nand more\r\n")
}

#[test]
fn scram_logs_in_and_hands_over() {
    assert_eq!(
        scram(Protocol::Imap, b"pigeon"),
        "(alice@example.org Imap { tag: Tag(\"a\") } session 0000000000000007)\r\nand more\r\n"
    );
    assert_eq!(
        scram(Protocol::Pop3, b"pigeon"),
        "(alice@example.org Pop3 { utf8: false } session 0000000000000007)\r\nand more\r\n"
    );
    let refused = scram(Protocol::Imap, b"wrong");
    assert!(refused.starts_with("a NO [AUTHENTICATIONFAILED] "), "{refused}");
    let refused = scram(Protocol::Pop3, b"wrong");
    assert!(refused.starts_with("-ERR [AUTH] "), "{refused}");
}
