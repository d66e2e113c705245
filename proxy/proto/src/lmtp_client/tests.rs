//! Against scripts of servers, at every cut and broken off at every byte, and against our own server's core.

use super::*;
use crate::address::Address;
use crate::sasl::{Claim, Exchange, Mechanism, Progress};
use crate::smtp::{BodyType, Reply};

const SALT: &[u8] = b"salt";
const KEY: &[u8] = b"the key of n1";

fn greeting() -> Greeting {
    Greeting {
        host_name: "n1.example.org".to_owned(),
        login: Some(NodeLogin {
            node: "n1".to_owned(),
            nonce: "client".to_owned(),
        }),
    }
}

fn addresses() -> Vec<Address> {
    let names = ["alice", "bob", "carol"];
    names
        .map(|name| Address::from_parts(name, "example.org").expect("an address"))
        .to_vec()
}

/// The server's two messages of SCRAM, in base64.
fn server_half() -> (String, String) {
    let client = Client::new("n1", None, "client");
    let (_, progress) = Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes())).expect("it starts");
    let Progress::Complete(Claim::ScramFirst(first)) = progress else {
        panic!("{progress:?}")
    };
    let keys = ClientKeys::derive(KEY, SALT, 4096);
    let (mut exchange, challenge) = first.answer(keys.verifier(SALT.to_vec(), 4096), "server");
    let (line, _) = client
        .challenge(challenge.as_bytes())
        .expect("a challenge")
        .answer(&keys);
    let Ok(Progress::Challenge(proof)) = exchange.respond(line.as_bytes()) else {
        panic!("no proof")
    };
    (challenge.to_string(), proof.into_owned())
}

fn entrance(keywords: &str) -> String {
    let (challenge, proof) = server_half();
    format!(
        "220 n2 LMTP\r\n250-n2\r\n{keywords}250 AUTH SCRAM-SHA-256\r\n334 {challenge}\r\n334 {proof}\r\n235 2.7.0 in\r\n"
    )
}

const OURS: &str = "250-PIPELINING\r\n250-SIZE 1000\r\n250-CHUNKING\r\n250-8BITMIME\r\n250-XPIGEON\r\n";
const CYRUS: &str = "250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE\r\n";

/// What the client sent, which events there were, and what became of the recipients.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sent: String,
    events: Vec<String>,
    deliveries: Vec<Delivery>,
    ready: bool,
}

/// A whole transaction with two chunks and three recipients, as soon as it may begin; at the end of `pieces` the connection
/// is closed where something is owed.
fn run(pieces: &[&[u8]]) -> Seen {
    let mut client = LmtpClient::new(greeting());
    let (mut sent, mut events, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
    let addresses = addresses();
    let send = |client: &mut LmtpClient, sent: &mut Vec<u8>| {
        client.piece(b"A: b\r\n\r\n.dot\r", sent);
        client.piece(b"\n.\r\n", sent);
        client.last_piece(b"end", sent);
    };
    for piece in pieces {
        let mut input = *piece;
        while let Some(event) = client.take(&mut input, &mut sent) {
            events.push(match &event {
                Event::Failed(failure) => failure.to_string(),
                Event::Keys { .. } => "keys".to_owned(),
                other => format!("{other:?}"),
            });
            match event {
                Event::Keys { salt, iterations } => client.keys(&ClientKeys::derive(KEY, &salt, iterations), &mut sent),
                Event::Ready => {
                    let envelope = Envelope {
                        reverse_path: None,
                        size: Some(20),
                        body: BodyType::EightBitMime,
                        smtp_utf8: false,
                    };
                    let recipients: Vec<_> = addresses
                        .iter()
                        .map(|address| Recipient {
                            address,
                            record: Some("cmVjb3Jk"),
                        })
                        .collect();
                    client.begin(&envelope, &recipients, &mut sent).expect("it fits");
                    if !client.waits_for_go() {
                        send(&mut client, &mut sent);
                    }
                }
                Event::Go => send(&mut client, &mut sent),
                Event::Answered | Event::Failed(_) => deliveries.extend(client.deliveries()),
            }
        }
    }
    let ready = client.is_ready();
    if deliveries.is_empty() {
        client.closed();
        deliveries = client.deliveries();
    }
    Seen {
        sent: String::from_utf8(sent).expect("text"),
        events,
        deliveries,
        ready,
    }
}

/// The same at every cut.
fn everywhere(input: &str) -> Seen {
    let input = input.as_bytes();
    let seen = run(&[input]);
    for cut in 0..=input.len() {
        assert_eq!(run(&[&input[..cut], &input[cut..]]), seen, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(&bytes), seen);
    seen
}

/// Each recipient's outcome in a word.
fn words(deliveries: &[Delivery]) -> Vec<String> {
    let word = |delivery: &Delivery| match delivery {
        Delivery::Delivered => "delivered".to_owned(),
        Delivery::Refused(stage, reply) => format!("refused {stage:?} {}", reply.code()),
        Delivery::Deferred(stage, reply) => format!("deferred {stage:?} {}", reply.code()),
        Delivery::NotSent => "not sent".to_owned(),
        Delivery::Unknown => "unknown".to_owned(),
    };
    deliveries.iter().map(word).collect()
}

const ANSWERS: &str = "250 sender\r\n250 2.1.5 alice\r\n550-5.1.1 no\r\n550 5.1.1 bob\r\n250 carol\r\n250 chunk\r\n250 chunk\r\n\
    250 2.0.0 alice\r\n452 4.2.2 carol is full\r\n";

#[test]
fn a_message_in_chunks() {
    let seen = everywhere(&(entrance(OURS) + ANSWERS));
    assert_eq!(
        words(&seen.deliveries),
        ["delivered", "refused Recipient 550", "deferred Message 452"]
    );
    assert_eq!(seen.events, ["keys", "Ready", "Answered"]);
    assert!(seen.ready);
    let (_, behind) = seen.sent.split_once("\r\n\r\n").expect("the empty line of the login");
    assert_eq!(
        behind,
        "MAIL FROM:<> SIZE=20 BODY=8BITMIME\r\nRCPT TO:<alice@example.org> XPIGEON=cmVjb3Jk\r\n\
         RCPT TO:<bob@example.org> XPIGEON=cmVjb3Jk\r\nRCPT TO:<carol@example.org> XPIGEON=cmVjb3Jk\r\n\
         BDAT 13\r\nA: b\r\n\r\n.dot\rBDAT 4\r\n\n.\r\nBDAT 3 LAST\r\nend"
    );
    assert!(
        seen.sent.starts_with("LHLO n1.example.org\r\nAUTH SCRAM-SHA-256 "),
        "{}",
        seen.sent
    );
}

#[test]
fn a_message_by_data() {
    let answers = ANSWERS.replace("250 chunk\r\n250 chunk\r\n", "354 go\r\n");
    let seen = everywhere(&(entrance(CYRUS) + &answers));
    assert_eq!(
        words(&seen.deliveries),
        ["delivered", "refused Recipient 550", "deferred Message 452"]
    );
    assert_eq!(seen.events, ["keys", "Ready", "Go", "Answered"]);
    assert!(
        seen.sent
            .ends_with("RCPT TO:<carol@example.org>\r\nDATA\r\nA: b\r\n\r\n..dot\r\n..\r\nend\r\n.\r\n"),
        "{}",
        seen.sent
    );
}

#[test]
fn broken_off_anywhere() {
    for (keywords, answers) in [
        (OURS, ANSWERS.to_owned()),
        (CYRUS, ANSWERS.replace("250 chunk\r\n250 chunk\r\n", "354 go\r\n")),
    ] {
        let entrance = entrance(keywords);
        let whole = format!("{entrance}{answers}");
        for end in 0..whole.len() {
            let seen = run(&[&whole.as_bytes()[..end]]);
            if end < entrance.len() {
                assert!(seen.deliveries.is_empty(), "{end}");
                continue;
            }
            assert_eq!(seen.deliveries.len(), 3, "{end}");
            let said = &whole[entrance.len()..end];
            let sent = !seen.sent.contains("DATA\r\n") || said.contains("354 go\r\n");
            let unanswered = if sent { Delivery::Unknown } else { Delivery::NotSent };
            let delivered = said.contains("2.0.0 alice\r\n");
            assert_eq!(seen.deliveries[0] == Delivery::Delivered, delivered, "{end}");
            assert!(delivered || seen.deliveries[0] == unanswered, "{end}");
            let refused = said.contains("550 5.1.1 bob\r\n");
            assert_eq!(seen.deliveries[1] == unanswered, !refused, "{end}");
            assert_eq!(seen.deliveries[2], unanswered, "{end}");
        }
    }
}

#[test]
fn nonsense_anywhere() {
    let whole = entrance(OURS) + ANSWERS;
    let lines: Vec<&str> = whole.split_inclusive("\r\n").collect();
    for place in 0..=lines.len() {
        for nonsense in ["* OK hello\r\n", "\r\n", "354 go\r\n", "999 x\r\n", "250\u{1}\r\n"] {
            let text = lines[..place].concat() + nonsense + &lines[place..].concat();
            let seen = everywhere_failing(&text);
            // Nothing that was not said: only alice is ever delivered to, by the line that says so.
            assert!(!seen.deliveries.contains(&Delivery::Delivered) || text.contains("2.0.0 alice"));
            assert!(seen.deliveries.len() <= 3);
        }
    }
    let long = lines[..8].concat() + "250 " + &"x".repeat(LINE_BYTES_MAX) + "\r\n";
    assert!(matches!(everywhere_failing(&long).events.last(), Some(event) if event.contains("too long")));
    let endless = "250-".to_owned() + &"more\r\n250-".repeat(100);
    assert!(everywhere_failing(&endless).events[0].contains("too many lines"));
}

/// Ends with a failure, and is of no use any more.
fn everywhere_failing(input: &str) -> Seen {
    let seen = run(&[input.as_bytes()]);
    assert!(!seen.ready, "{input}");
    assert!(
        seen.events
            .last()
            .is_some_and(|event| event.contains("not to be understood")),
        "{input}: {:?}",
        seen.events
    );
    let bytes: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
    assert_eq!(run(&bytes), seen);
    seen
}

#[test]
fn more_answers_than_were_asked_for_end_the_connection_and_change_nothing() {
    let seen = everywhere_failing(&(entrance(OURS) + ANSWERS + "250 one more\r\n"));
    assert_eq!(
        words(&seen.deliveries),
        ["delivered", "refused Recipient 550", "deferred Message 452"]
    );
}

#[test]
fn refusals_of_all() {
    let mail = "250 sender\r\n";
    let recipients = "250 a\r\n250 b\r\n250 c\r\n";
    for (answers, expected) in [
        (
            "451 4.3.0 later\r\n503 no\r\n503 no\r\n503 no\r\n".to_owned(),
            "deferred Mail 451",
        ),
        (
            "552 5.3.4 large\r\n250 a\r\n503 no\r\n503 no\r\n".to_owned(),
            "refused Mail 552",
        ),
        (format!("{mail}{recipients}552 5.3.4 large\r\n"), "refused Message 552"),
        (
            format!("{mail}{recipients}250 chunk\r\n452 4.3.1 no room\r\n"),
            "deferred Message 452",
        ),
        (
            format!("{mail}451 a\r\n451 a\r\n451 a\r\n554 none\r\n"),
            "deferred Recipient 451",
        ),
    ] {
        let seen = everywhere(&(entrance(OURS) + &answers));
        assert_eq!(words(&seen.deliveries), [expected; 3], "{answers}");
        assert!(
            !seen.ready && seen.events.last().is_some_and(|event| event == "Answered"),
            "{answers}"
        );
    }
    let seen = everywhere(&(entrance(CYRUS) + mail + recipients + "451 4.3.0 not now\r\n"));
    assert_eq!(words(&seen.deliveries), ["deferred Message 451"; 3]);
    let closing = everywhere(&(entrance(OURS) + mail + recipients + "421 4.3.2 going down\r\n250 chunk\r\n"));
    assert_eq!(words(&closing.deliveries), ["unknown"; 3]);
}

#[test]
fn servers_that_are_not_talked_to() {
    let (challenge, proof) = server_half();
    for (input, expected) in [
        ("421 4.3.2 full\r\n".to_owned(), "not available"),
        ("554 5.7.1 not you\r\n".to_owned(), "does not let this node in"),
        ("250 hello\r\n".to_owned(), "not to be understood"),
        ("220 n2\r\n502 what\r\n".to_owned(), "does not let this node in"),
        (
            "220 n2\r\n250-n2\r\n250 AUTH PLAIN\r\n".to_owned(),
            "does not offer SCRAM",
        ),
        (
            "220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n235 in\r\n".to_owned(),
            "cannot prove",
        ),
        (
            format!("220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n334 {challenge}\r\n235 in\r\n"),
            "cannot prove",
        ),
        (
            format!("220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n334 {challenge}\r\n334 {challenge}\r\n"),
            "cannot prove",
        ),
        (
            format!("220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n334 {proof}\r\n"),
            "no SCRAM-SHA-256",
        ),
        (
            format!("220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n334 {challenge}\r\n535 5.7.8 wrong\r\n"),
            "does not let this node in",
        ),
        (
            format!("220 n2\r\n250-n2\r\n250 AUTH SCRAM-SHA-256\r\n334 {challenge}\r\n454 4.7.0 later\r\n"),
            "not available",
        ),
    ] {
        let seen = everywhere(&input);
        assert!(seen.deliveries.is_empty() && !seen.ready);
        assert!(
            seen.events.last().is_some_and(|event| event.contains(expected)),
            "{input}: {:?}",
            seen.events
        );
    }
}

#[test]
fn without_a_login_records_are_not_forwarded() {
    let mut client = LmtpClient::new(Greeting {
        login: None,
        ..greeting()
    });
    let (mut input, mut out) = (
        b"220 x\r\n250-x\r\n250-XPIGEON\r\n250 CHUNKING\r\n".as_slice(),
        Vec::new(),
    );
    assert_eq!(client.take(&mut input, &mut out), Some(Event::Ready));
    assert!(!client.forwards());
    let address = &addresses()[0];
    let (sender, utf8) = (
        Address::from_parts("s", "example.org").unwrap(),
        Address::from_parts("\u{fc}", "example.org").unwrap(),
    );
    let mut begin = |body, smtp_utf8, sender: &Address, size| {
        let envelope = Envelope {
            reverse_path: Some(sender),
            size,
            body,
            smtp_utf8,
        };
        let recipient = Recipient {
            address,
            record: Some("x"),
        };
        let mut sent = Vec::new();
        client
            .begin(&envelope, &[recipient], &mut sent)
            .map(|()| String::from_utf8(sent).unwrap())
    };
    assert_eq!(begin(BodyType::BinaryMime, false, &sender, None), Err(Unfit::Binary));
    assert_eq!(
        begin(BodyType::EightBitMime, false, &sender, None),
        Err(Unfit::EightBit)
    );
    assert_eq!(begin(BodyType::SevenBit, true, &sender, None), Err(Unfit::Utf8));
    assert_eq!(begin(BodyType::SevenBit, false, &utf8, None), Err(Unfit::Utf8));
    assert_eq!(
        begin(BodyType::SevenBit, false, &sender, Some(7)).as_deref(),
        Ok("MAIL FROM:<s@example.org>\r\nRCPT TO:<alice@example.org>\r\n")
    );
    for unfit in [Unfit::Binary, Unfit::Utf8, Unfit::EightBit, Unfit::TooLarge] {
        let reply: Reply = unfit.reply();
        assert!(!reply.is_temporary() && !reply.is_positive());
    }
}
