//! Both protocols against a scripted backend with our own server's half of SCRAM: at every cut, and stopped anywhere.

use super::imap::ImapRedirect;
use super::pop3::Pop3Redirect;
use super::*;
use crate::sasl::{Claim, Exchange, Mechanism, Progress};

const SALT: &[u8] = b"salt";

fn keys() -> ClientKeys {
    ClientKeys::derive(b"the key of n1", SALT, 4096)
}

fn redirect() -> Redirect {
    Redirect {
        node: "n1".to_owned(),
        user: "alice@example.org".to_owned(),
        nonce: "client".to_owned(),
        session: SessionData {
            id: "7".to_owned(),
            client: "203.0.113.7:51234".parse().unwrap(),
            connected: "192.0.2.10:993".parse().unwrap(),
            hops_left: 4,
        },
        forwarded: vec![
            ("quota".to_owned(), "2147483648".to_owned()),
            ("odd".to_owned(), "a\"b\tc".to_owned()),
        ],
    }
}

/// Either protocol.
trait Core {
    fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event>;
    fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>);
}

impl Core for ImapRedirect {
    fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        ImapRedirect::take(self, input, out)
    }
    fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        ImapRedirect::keys(self, keys, out);
    }
}

impl Core for Pop3Redirect {
    fn take(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        Pop3Redirect::take(self, input, out)
    }
    fn keys(&mut self, keys: &ClientKeys, out: &mut Vec<u8>) {
        Pop3Redirect::keys(self, keys, out);
    }
}

/// What the core sent, how it ended, and what was left of the input.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sent: String,
    outcome: Option<Outcome>,
    left: Vec<u8>,
}

fn run(mut core: impl Core, pieces: &[&[u8]]) -> Seen {
    let mut sent = Vec::new();
    let mut outcome = None;
    let mut left = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while outcome.is_none() {
            match core.take(&mut input, &mut sent) {
                None => break,
                Some(Event::Keys { salt, iterations }) => {
                    core.keys(&ClientKeys::derive(b"the key of n1", &salt, iterations), &mut sent);
                }
                Some(Event::Done(done)) => outcome = Some(done),
            }
        }
        left.extend_from_slice(input);
    }
    Seen {
        sent: String::from_utf8(sent).unwrap(),
        outcome,
        left,
    }
}

/// The server's two messages of SCRAM, in base64.
fn server_half() -> (String, String) {
    let client = Client::new("n1", Some("alice@example.org"), "client");
    let Ok((_, Progress::Complete(Claim::ScramFirst(first)))) =
        Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes()))
    else {
        panic!("our own client");
    };
    assert_eq!((first.name(), first.authorization()), ("n1", Some("alice@example.org")));
    let (mut exchange, challenge) = first.answer(keys().verifier(SALT.to_vec(), 4096), "server");
    let (last, _) = client.challenge(challenge.as_bytes()).unwrap().answer(&keys());
    let Ok(Progress::Challenge(server_final)) = exchange.respond(last.as_bytes()) else {
        panic!("our own keys");
    };
    (challenge, server_final.into_owned())
}

fn imap_script() -> String {
    let (challenge, server_final) = server_half();
    format!(
        "* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=SCRAM-SHA-256] ready\r\n* ID NIL\r\nI OK ID done\r\n+ {challenge}\r\n\
         + {server_final}\r\n* CAPABILITY IMAP4rev1 IDLE\r\nL OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"
    )
}

fn pop3_script() -> String {
    let (challenge, server_final) = server_half();
    format!("+OK [XCLIENT] ready\r\n+OK Updated\r\n+ {challenge}\r\n+ {server_final}\r\n+OK 3 messages\r\n")
}

fn imap() -> ImapRedirect {
    ImapRedirect::new(redirect(), true)
}

fn pop3() -> Pop3Redirect {
    Pop3Redirect::new(redirect(), true)
}

#[test]
fn imap_logs_in_at_every_cut_and_leaves_what_follows() {
    let script = imap_script() + "* BYE and more\r\n";
    let whole = run(imap(), &[script.as_bytes()]);
    let lines: Vec<&str> = whole.sent.lines().collect();
    assert_eq!(
        lines[0],
        "I ID (\"x-session-id\" \"7\" \"x-originating-ip\" \"203.0.113.7\" \"x-originating-port\" \"51234\" \
         \"x-connected-ip\" \"192.0.2.10\" \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"4\" \
         \"x-forward-quota\" \"2147483648\" \"x-forward-odd\" \"a\\\"b\tc\")"
    );
    assert!(lines[1].starts_with("L AUTHENTICATE SCRAM-SHA-256 "), "{}", lines[1]);
    assert_eq!(
        (lines.len(), lines[3]),
        (4, ""),
        "the proof, and an empty line behind it"
    );
    assert_eq!(
        whole.outcome,
        Some(Outcome::LoggedIn(Answer {
            untagged: b"* CAPABILITY IMAP4rev1 IDLE\r\n".to_vec(),
            text: b"[CAPABILITY IMAP4rev1 IDLE] in".to_vec(),
        }))
    );
    assert_eq!(whole.left, b"* BYE and more\r\n");
    for cut in 0..script.len() {
        let seen = run(imap(), &[&script.as_bytes()[..cut], &script.as_bytes()[cut..]]);
        assert_eq!(seen, whole, "cut at {cut}");
    }
    assert_eq!(run(imap(), &script.as_bytes().chunks(1).collect::<Vec<_>>()), whole);
}

#[test]
fn imap_that_has_asked_before_the_greeting_says_and_takes_the_same() {
    let script = imap_script() + "* BYE and more\r\n";
    let waited = run(imap(), &[script.as_bytes()]);
    let started = |pieces: &[&[u8]]| {
        let mut core = imap();
        let mut asked = Vec::new();
        core.start(&mut asked);
        let mut seen = run(core, pieces);
        seen.sent.insert_str(0, std::str::from_utf8(&asked).unwrap());
        seen
    };
    for cut in 0..script.len() {
        let seen = started(&[&script.as_bytes()[..cut], &script.as_bytes()[cut..]]);
        assert_eq!(seen, waited, "cut at {cut}");
    }
    for (greeting, wanted) in [
        (
            "* BYE [UNAVAILABLE] later\r\n",
            Outcome::Unavailable("[UNAVAILABLE] later".to_owned()),
        ),
        ("* BYE [LIMIT] many\r\n", Outcome::PassOn("[LIMIT] many".to_owned())),
    ] {
        assert_eq!(started(&[greeting.as_bytes()]).outcome, Some(wanted));
    }
    for greeting in ["* PREAUTH in\r\n", "I OK\r\n", "+ \r\n"] {
        let outcome = started(&[greeting.as_bytes()]).outcome;
        assert!(matches!(outcome, Some(Outcome::Garbage(_))), "{greeting}: {outcome:?}");
    }
}

#[test]
fn pop3_logs_in_at_every_cut_and_leaves_what_follows() {
    let script = pop3_script() + "and more";
    let whole = run(pop3(), &[script.as_bytes()]);
    let lines: Vec<&str> = whole.sent.lines().collect();
    // quota=2147483648, a tab, odd=a"b, an escaped tab, c
    assert_eq!(
        lines[0],
        "XCLIENT ADDR=203.0.113.7 PORT=51234 DESTADDR=192.0.2.10 DESTPORT=993 SESSION=7 TTL=4 FORWARD=cXVvdGE9MjE0NzQ4MzY0OAlvZGQ9YSJiAXRj"
    );
    assert!(lines[1].starts_with("AUTH SCRAM-SHA-256 "), "{}", lines[1]);
    let answer = Answer {
        untagged: Vec::new(),
        text: b"3 messages".to_vec(),
    };
    assert_eq!(whole.outcome, Some(Outcome::LoggedIn(answer)));
    assert_eq!(whole.left, b"and more");
    for cut in 0..script.len() {
        let seen = run(pop3(), &[&script.as_bytes()[..cut], &script.as_bytes()[cut..]]);
        assert_eq!(seen, whole, "cut at {cut}");
    }
}

/// Every byte missing, and every byte changed: never a user in, and never a panic.
#[test]
fn nothing_but_the_whole_exchange_lets_a_user_in() {
    let (imap_script, pop3_script) = (imap_script(), pop3_script());
    for (script, is_imap) in [(&imap_script, true), (&pop3_script, false)] {
        let seen = |bytes: &[u8]| match is_imap {
            true => run(imap(), &[bytes]).outcome,
            false => run(pop3(), &[bytes]).outcome,
        };
        for end in 0..script.len() {
            assert_eq!(seen(&script.as_bytes()[..end]), None, "{script:?} to {end}");
        }
        let proof = script.find("dj").map(|begin| begin..begin + 60).expect("base64 of v=");
        for place in 0..script.len() {
            let mut changed = script.clone().into_bytes();
            changed[place] ^= 1;
            let outcome = seen(&changed);
            if proof.contains(&place) {
                assert!(!matches!(outcome, Some(Outcome::LoggedIn(_))), "{place}: {outcome:?}");
            }
        }
    }
}

#[test]
fn a_server_without_initial_responses_or_capabilities_in_its_greeting() {
    let (challenge, server_final) = server_half();
    let script = format!(
        "* OK ready\r\n* CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256\r\nC OK\r\n+ \r\n+ {challenge}\r\n+ {server_final}\r\nL OK in\r\n"
    );
    // The tagged answer to CAPABILITY comes between.
    let seen = run(imap(), &[script.as_bytes()]);
    assert!(
        seen.sent
            .starts_with("C CAPABILITY\r\nL AUTHENTICATE SCRAM-SHA-256\r\nbixh"),
        "{}",
        seen.sent
    );
    assert!(!seen.sent.contains("ID ("));
    assert!(matches!(seen.outcome, Some(Outcome::LoggedIn(_))), "{seen:?}");
}

#[test]
fn refusals_of_imap() {
    let greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=SCRAM-SHA-256] ready\r\n";
    let outcome = |answer: &str| {
        run(imap(), &[format!("{greeting}{answer}\r\n").as_bytes()])
            .outcome
            .expect(answer)
    };
    let referral = |user: Option<&str>, host: &str, port| {
        Outcome::Referral(Referral {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    };
    assert_eq!(
        outcome("L NO [UNAVAILABLE] later"),
        Outcome::Unavailable("[UNAVAILABLE] later".to_owned())
    );
    assert_eq!(
        outcome("* BYE going down"),
        Outcome::Unavailable("going down".to_owned())
    );
    assert_eq!(
        outcome("* BYE [LIMIT] too many"),
        Outcome::PassOn("[LIMIT] too many".to_owned())
    );
    assert_eq!(
        outcome("L NO [LIMIT] too many"),
        Outcome::PassOn("[LIMIT] too many".to_owned())
    );
    assert_eq!(
        outcome("L NO [REFERRAL IMAP://alice%40example.org;AUTH=*@n2.example.org:1143/] there"),
        referral(Some("alice@example.org"), "n2.example.org", Some(1143))
    );
    assert_eq!(
        outcome("L NO [REFERRAL imap://[fd00::2]/] there"),
        referral(None, "fd00::2", None)
    );
    for answer in [
        "L NO [AUTHENTICATIONFAILED] no",
        "L NO [AUTHORIZATIONFAILED] no",
        "L NO no",
        "L BAD what",
    ] {
        assert!(matches!(outcome(answer), Outcome::Misconfigured(_)), "{answer}");
    }
    for answer in [
        "L OK in",
        "L",
        "X OK in",
        "+ AAAA",
        "+",
        "hello",
        "L NO [REFERRAL http://x/] there",
        "L NO [REFERRAL imap://a b/] there",
        "L NO [REFERRAL imap://] there",
        &"x".repeat(LINE_BYTES_MAX),
        &"* x\r\n".repeat(LINES_MAX),
    ] {
        assert!(matches!(outcome(answer), Outcome::Garbage(_)), "{answer}");
    }
    let outcome = |script: &str| run(imap(), &[script.as_bytes()]).outcome.expect(script);
    assert!(matches!(outcome("+OK POP3\r\n"), Outcome::Garbage(_)));
    assert!(matches!(outcome("* PREAUTH in\r\n"), Outcome::Garbage(_)));
    assert!(matches!(
        outcome("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n"),
        Outcome::Misconfigured(_)
    ));
}

#[test]
fn refusals_of_pop3() {
    let outcome = |answer: &str| {
        run(pop3(), &[format!("+OK ready\r\n{answer}\r\n").as_bytes()])
            .outcome
            .expect(answer)
    };
    assert_eq!(
        outcome("-ERR [SYS/TEMP] later"),
        Outcome::Unavailable("[SYS/TEMP] later".to_owned())
    );
    assert_eq!(
        outcome("-ERR [IN-USE] locked"),
        Outcome::PassOn("[IN-USE] locked".to_owned())
    );
    assert_eq!(
        outcome("-ERR [REFERRAL/alice@n2] there"),
        Outcome::Referral(Referral {
            user: Some("alice".to_owned()),
            host: "n2".to_owned(),
            port: None
        })
    );
    assert!(matches!(outcome("-ERR [AUTH] no"), Outcome::Misconfigured(_)));
    assert!(matches!(outcome("-ERR no"), Outcome::Misconfigured(_)));
    for answer in ["+OK in", "hello", "+ AAAA", "+"] {
        assert!(matches!(outcome(answer), Outcome::Garbage(_)), "{answer}");
    }
    let first = |script: &str| run(pop3(), &[script.as_bytes()]).outcome.expect(script);
    assert!(matches!(first("-ERR full\r\n"), Outcome::Unavailable(_)));
    assert!(matches!(first("* OK IMAP\r\n"), Outcome::Garbage(_)));
}

/// The backend's proof is what makes the exchange mutual: one that has another key is not believed.
#[test]
fn a_backend_with_another_key_is_refused() {
    let client = Client::new("n1", Some("alice@example.org"), "client");
    let Ok((_, Progress::Complete(Claim::ScramFirst(first)))) =
        Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes()))
    else {
        panic!("our own client");
    };
    let (_, challenge) = first.answer(keys().verifier(SALT.to_vec(), 4096), "server");
    // v= and 32 bytes of nothing
    let proof = "dj1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBPQ==";
    let script = format!("+OK ready\r\n+ {challenge}\r\n+ {proof}\r\n+OK in\r\n");
    let seen = run(Pop3Redirect::new(redirect(), false), &[script.as_bytes()]);
    assert!(
        matches!(&seen.outcome, Some(Outcome::Garbage(why)) if why.contains("prove")),
        "{seen:?}"
    );
    assert!(!seen.sent.contains("XCLIENT"));
}
