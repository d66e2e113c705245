//! Transcripts of the reader: whole, at every cut, and byte by byte.

use super::*;
use crate::imap::Command;

static LIMITS: ReaderLimits = ReaderLimits {
    line_bytes_max: 100,
    long_line_bytes_max: 200,
    literal_bytes_max: 20,
    literals_bytes_max: 30,
    literals_max: 3,
    non_synchronising_bytes_max: 4096,
    drain_bytes_max: 5000,
    append: true,
};

/// Which answer the driver gives to messages of an APPEND.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Accept,
    Refuse,
    /// Takes two bytes or more, then refuses the rest.
    Abort,
    /// Refuses when the message has come.
    RefuseBetween,
}

/// What a driver sees of `pieces`, a word or two an event; data of messages joined.
fn events(limits: &'static ReaderLimits, policy: Policy, pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = CommandReader::new(limits);
    let mut seen: Vec<String> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            let text = match reader.read(&mut input) {
                Event::NeedMore => {
                    assert!(input.is_empty(), "input left with NeedMore");
                    break;
                }
                Event::Continue => "+".to_owned(),
                Event::Command(tag, Command::Idle) => {
                    reader.expect_line();
                    format!("{tag} IDLE")
                }
                Event::Command(tag, command) => format!("{tag} {command:?}"),
                Event::Line(line) => format!("line {}", line.escape_ascii()),
                Event::Append(message) => {
                    if policy == Policy::Refuse {
                        reader.refuse_literal()
                    } else {
                        reader.accept_literal()
                    }
                    format!(
                        "{} append {} {} {:?} {}{}",
                        message.tag,
                        message.index,
                        message.mailbox.as_str(),
                        message.internal_date,
                        message.size,
                        if message.synchronising { "" } else { "+" },
                    )
                }
                Event::AppendData(data) => {
                    let text = match seen.last_mut() {
                        Some(last) if last.starts_with("data ") => {
                            last.push_str(&data.escape_ascii().to_string());
                            None
                        }
                        _ => Some(format!("data {}", data.escape_ascii())),
                    };
                    seen.extend(text);
                    if policy == Policy::Abort && seen.last().is_some_and(|last| last.len() >= "data ab".len()) {
                        reader.refuse_literal();
                        seen.pop();
                        seen.push("aborted".to_owned());
                    }
                    continue;
                }
                Event::AppendMessageEnd => {
                    if policy == Policy::RefuseBetween {
                        reader.refuse_literal();
                    }
                    "end".to_owned()
                }
                Event::AppendEnd(tag) => format!("{tag} append end"),
                Event::Bad { tag, reason } => {
                    format!("{} BAD {reason}", tag.map_or("*".to_owned(), |tag| tag.to_string()))
                }
                Event::Close(_) => "close".to_owned(),
            };
            seen.push(text);
        }
    }
    if limits.append {
        assert!(
            reader.is_between_commands() || seen.last().is_some_and(|last| last == "close"),
            "{reader:?}"
        );
    }
    seen
}

/// The same events however `input` is cut.
fn check(policy: Policy, input: &[u8], expected: &[&str]) {
    let shown = input[..input.len().min(200)].escape_ascii();
    assert_eq!(events(&LIMITS, policy, &[input]), expected, "{shown}");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(events(&LIMITS, policy, &bytes), expected, "{shown} byte by byte");
    for cut in 0..=input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(
            events(&LIMITS, policy, &[front, back]),
            expected,
            "{shown} cut at {cut}"
        );
    }
}

#[test]
fn plain_commands() {
    check(
        Policy::Accept,
        b"a NOOP\r\nb capability\nc LOGOUT \r\n",
        &["a Noop", "b Capability", "c Logout"],
    );
    check(Policy::Accept, b"a XYZZY\r\n", &["a BAD Unknown command"]);
    check(Policy::Accept, b"a\r\n", &["a BAD Command expected"]);
    check(Policy::Accept, b"a SELECT\r\n", &["a BAD Missing argument"]);
    check(Policy::Accept, b"a NOOP x\r\n", &["a BAD Unexpected argument"]);
    check(Policy::Accept, b"\r\n", &["* BAD Empty line"]);
    check(
        Policy::Accept,
        b"+ NOOP\r\n\"a NOOP\r\na NOOP\r\n",
        &["* BAD Invalid tag", "* BAD Invalid tag", "a Noop"],
    );
    check(Policy::Accept, b"a \x00NOOP\r\n", &["a BAD Command expected"]);
}

#[test]
fn literals() {
    let login = "a Login { user: [97, 108], password: Secret }";
    check(
        Policy::Accept,
        b"a LOGIN {2}\r\nal {3}\r\nx\r\ny\r\n",
        &["+", "+", "a BAD Unexpected argument"],
    );
    check(
        Policy::Accept,
        b"a LOGIN {2}\r\nal {3}\r\nx\r\n\r\nb NOOP\r\n",
        &["+", "+", login, "b Noop"],
    );
    check(Policy::Accept, b"a LOGIN {2+}\r\nal {0+}\r\n\r\n", &[login]);
    check(
        Policy::Accept,
        b"a LOGIN al {3+}\r\n}}\r\nb NOOP\r\n",
        &[login, "b Noop"],
    );
    check(
        Policy::Accept,
        b"a LOGIN al {3+}\r\n{9}\r\nb NOOP\r\n",
        &[login, "b Noop"],
    );
    check(Policy::Accept, b"a LOGIN al {3+}\r\nab\r\n", &[login]);
    // What a wrong command carries is never taken for a command.
    check(
        Policy::Accept,
        b"a FOO {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n",
        &["a BAD Unknown command", "c Noop"],
    );
    check(
        Policy::Accept,
        b"\" {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n",
        &["* BAD Invalid tag", "c Noop"],
    );
    // No announcement: not at the end, no digits, too many of them.
    check(Policy::Accept, b"a LOGIN {2} b\r\n", &["a BAD Invalid literal"]);
    check(Policy::Accept, b"a LOGIN {}\r\n", &["a BAD Number expected"]);
    check(
        Policy::Accept,
        b"a LOGIN {000000000000000000001}\r\n",
        &["a BAD Invalid literal"],
    );
}

#[test]
fn literal_limits() {
    check(
        Policy::Accept,
        b"a LOGIN {21}\r\nb NOOP\r\n",
        &["a BAD Literal too large", "b Noop"],
    );
    let mut input = b"a LOGIN {21+}\r\n".to_vec();
    input.extend_from_slice(b"12345678901234567\r\nx ");
    input.extend_from_slice(b" {3+}\r\nabc\r\nb NOOP\r\n");
    check(Policy::Accept, &input, &["a BAD Literal too large", "b Noop"]);
    check(
        Policy::Accept,
        b"a LOGIN {20+}\r\n12345678901234567890 {11}\r\n",
        &["a BAD Literal too large"],
    );
    check(
        Policy::Accept,
        b"a X {0+}\r\n {0+}\r\n {0+}\r\n {0}\r\nb NOOP\r\n",
        &["a BAD Too many literals", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a X {4294967296}\r\nb NOOP\r\n",
        &["a BAD Literal too large", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a X {99999999999999999999+}\r\nb NOOP\r\n",
        &["a BAD Literal too large", "close"],
    );
    check(
        Policy::Accept,
        b"a X {5001+}\r\nb NOOP\r\n",
        &["a BAD Literal too large", "close"],
    );
}

#[test]
fn line_limits() {
    let line = |start: &str, length: usize, end: &str| {
        let mut line = start.as_bytes().to_vec();
        line.resize(length - end.len(), b'1');
        line.extend_from_slice(end.as_bytes());
        line
    };
    let followed = |line: Vec<u8>| [line, b"z NOOP\r\n".to_vec()].concat();
    check(
        Policy::Accept,
        &followed(line("a NOOP", 100, "\r\n")),
        &["a BAD Unknown command", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a NOOP", 101, "\r\n")),
        &["a BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("", 150, "\r\n")),
        &["* BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a UID FETCH 1", 201, "\r\n")),
        &["a BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a fetch 1", 200, "\r\n")),
        &["a BAD Number too large", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a NOOP", 145, "{20+}\r\n12345678901234567890\r\n")),
        &["a BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a NOOP", 120, "{5}\r\n")),
        &["a BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &followed(line("a APPEND x {1+}\r\nx", 121, "\r\n")),
        &["a append 0 x None 1+", "data x", "end", "a BAD Line too long", "z Noop"],
    );
    check(
        Policy::Accept,
        &line("a X", 5003, "\r\n")[..5001],
        &["a BAD Line too long", "close"],
    );
}

#[test]
fn raw_lines() {
    check(
        Policy::Accept,
        b"a IDLE\r\nDONE\r\nb NOOP\r\n",
        &["a IDLE", "line DONE", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a IDLE\r\n{5+}\r\nb NOOP\r\n",
        &["a IDLE", "line {5+}", "b Noop"],
    );
    let mut long = b"a IDLE\r\n".to_vec();
    long.resize(150, b'x');
    long.extend_from_slice(b"{9+}\r\nb NOOP\r\n");
    check(Policy::Accept, &long, &["a IDLE", "* BAD Line too long", "b Noop"]);
}

#[test]
fn append() {
    let one = "a append 0 Sent None 5";
    check(
        Policy::Accept,
        b"a APPEND Sent {5}\r\nhello\r\nb NOOP\r\n",
        &[one, "data hello", "end", "a append end", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent {0+}\r\n\r\n",
        &["a append 0 Sent None 0+", "end", "a append end"],
    );
    check(
        Policy::Accept,
        b"a append {4}\r\nSent (\\Seen) \" 1-Jan-1970 00:00:09 +0000\" {3+}\r\na\r\n\r\n",
        &["+", "a append 0 Sent Some(9) 3+", "data a\\r\\n", "end", "a append end"],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent {5}\r\nhello (\\Draft) {2}\r\nyo\r\n",
        &[
            one,
            "data hello",
            "end",
            "a append 1 Sent None 2",
            "data yo",
            "end",
            "a append end",
        ],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent {5}\r\nhello x\r\nb NOOP\r\n",
        &[one, "data hello", "end", "a BAD Unexpected argument", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent (\\Foo) {5}\r\nb NOOP\r\n",
        &["a BAD Invalid system flag", "b Noop"],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent (\\Foo) {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n",
        &["a BAD Invalid system flag", "c Noop"],
    );
    check(
        Policy::Accept,
        b"a APPEND Sent ~{5}\r\nb NOOP\r\n",
        &["a BAD BINARY is not supported", "b Noop"],
    );
    check(Policy::Accept, b"a APPEND Sent\r\n", &["a BAD Missing message literal"]);
    check(
        Policy::Accept,
        b"a APPEND a&b {5}\r\n",
        &["a BAD Mailbox name is not valid modified UTF-7"],
    );
}

#[test]
fn refused_append() {
    let one = "a append 0 Sent None 5";
    check(Policy::Refuse, b"a APPEND Sent {5}\r\nb NOOP\r\n", &[one, "b Noop"]);
    check(
        Policy::Refuse,
        b"a APPEND Sent {8+}\r\nx NOOP\r\n (\\Seen) {3+}\r\nabc\r\nb NOOP\r\n",
        &["a append 0 Sent None 8+", "b Noop"],
    );
    check(
        Policy::Refuse,
        b"a APPEND Sent {3+}\r\nabc {3}\r\nb NOOP\r\n",
        &["a append 0 Sent None 3+", "b Noop"],
    );
    check(
        Policy::Abort,
        b"a APPEND Sent {5}\r\nhello {3+}\r\nabc\r\nb NOOP\r\n",
        &[one, "aborted", "b Noop"],
    );
    check(
        Policy::RefuseBetween,
        b"a APPEND Sent {5}\r\nhello {3+}\r\nabc\r\nb NOOP\r\n",
        &[one, "data hello", "end", "b Noop"],
    );
}

#[test]
fn before_the_login() {
    let seen = events(
        &ReaderLimits::BEFORE_LOGIN,
        Policy::Accept,
        &[b"a APPEND Sent {5}\r\nb APPEND x {5+}\r\nc NO\r\nc LOGIN a {4097+}\r\n"],
    );
    assert_eq!(
        seen,
        [
            "a BAD APPEND needs a login",
            "b BAD APPEND needs a login",
            "c BAD Literal too large"
        ]
    );
}

/// Any bytes at all, cut anywhere: no panic, and the same events.
#[test]
fn any_bytes() {
    const WORDS: [&[u8]; 24] = [
        b"a ",
        b"UID ",
        b"FETCH ",
        b"1:* ",
        b"(",
        b")",
        b"BODY[",
        b"]",
        b"{3}\r\n",
        b"{3+}\r\n",
        b"\r\n",
        b"\n",
        b"\"",
        b"\\",
        b"APPEND ",
        b"INBOX ",
        b"{99+}",
        b"\x00",
        b"\xff",
        b"LOGIN ",
        b"abc",
        b"IDLE\r\n",
        b"SEARCH ",
        b"NOT ",
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..20_000 {
        let count = next() % 14;
        let input: Vec<u8> = (0..count)
            .flat_map(|_| WORDS[(next() % WORDS.len() as u64) as usize].to_vec())
            .collect();
        let whole = lenient_events(&[&input]);
        let cut = (next() % (input.len() as u64 + 1)) as usize;
        assert_eq!(
            lenient_events(&[&input[..cut], &input[cut..]]),
            whole,
            "{}",
            input.escape_ascii()
        );
    }
}

/// As `events`, for input that may end within a command.
fn lenient_events(pieces: &[&[u8]]) -> Vec<String> {
    static UNFINISHED: ReaderLimits = ReaderLimits {
        append: true,
        ..ReaderLimits::AFTER_LOGIN
    };
    let mut pieces = pieces.to_vec();
    // Ends whatever is open.
    pieces.push(&[b'x'; 120]);
    pieces.extend(std::iter::repeat_n(b"\r\n".as_slice(), 40));
    events(&UNFINISHED, Policy::Accept, &pieces)
}

#[test]
fn long_lines_by_configuration() {
    let line = [b"a UID FETCH 1".as_slice(), &[b'1'; 300], b" FLAGS\r\n"].concat();
    let reason = |reader: &mut CommandReader| match reader.read(&mut line.as_slice()) {
        Event::Bad { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let mut reader = CommandReader::new(&LIMITS).with_long_lines(400);
    assert_eq!(reason(&mut reader), "Number too large");
    assert_eq!(reason(&mut reader), "Number too large");
    assert_eq!(reason(&mut CommandReader::new(&LIMITS)), "Line too long");
}
