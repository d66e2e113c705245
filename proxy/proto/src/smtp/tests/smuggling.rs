//! Ends of a message that are none: whatever looks like an end to somebody else is part of the message here, and refused.
//! (The 2023 corpus of SMTP smuggling, CVE-2023-51764 and its kin.)

use super::*;

/// Byte sequences that some server somewhere takes for the end of DATA.
const FALSE_ENDS: &[&str] = &[
    "\\n.\\n",
    "\\n.\\r\\n",
    "\\r\\n.\\n",
    "\\r.\\r",
    "\\r.\\r\\n",
    "\\r\\n.\\r",
    "\\r.\\n",
    "\\n.\\r",
    "\\r\\r.\\r\\r",
    "\\n\\n.\\n\\n",
    "\\r\\n\\0.\\r\\n",
    "\\r\\n.\\0\\r\\n",
    "\\r\\0\\n.\\r\\n",
    "\\r\\n.\\r\\0\\n",
    "\\r\\n.\\r\\r\\n",
    "\\r\\n\\r.\\r\\n",
    "\\n\\r.\\r\\n",
    "\\r\\n .\\r\\n",
    "\\r\\n. \\r\\n",
    "\\r\\n.\\t\\r\\n",
    "\\r\\n\\x85.\\r\\n",
    "\\x85.\\x85",
    "\\r\\n..\\r\\n",
];

const SMUGGLED: &str = "MAIL FROM:<admin@example.org>\\r\\nRCPT TO:<bob@example.org>\\r\\nDATA\\r\\nboo";

/// Feeds the message and gives the events from its beginning on.
fn events_of(options: &Options, message: &[u8], pieces: usize) -> Vec<String> {
    let mut driver = Driver::new(options, Peer::default());
    driver.feed(b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
    let before = driver.seen.events.len();
    for piece in message.chunks(pieces) {
        driver.feed(piece);
    }
    let output = String::from_utf8(driver.seen.output).unwrap();
    let mut events = driver.seen.events.split_off(before);
    events.push(output.lines().last().unwrap().to_owned());
    events
}

#[test]
fn no_false_end_ends_a_message() {
    for false_end in FALSE_ENDS {
        let text = format!("first{false_end}{SMUGGLED}\\r\\n.\\r\\n");
        let message = unescape(&text);
        let expected = events_of(&smtp(), &message, message.len());
        assert_eq!(expected.len(), 2, "{text}: {expected:?}");
        // Only what has neither a bare CR nor a bare LF is taken.
        let contents = &message[..message.len() - 3];
        let bare = contents.iter().enumerate().any(|(at, byte)| match byte {
            b'\n' => at == 0 || contents[at - 1] != b'\r',
            b'\r' => contents.get(at + 1) != Some(&b'\n'),
            _ => false,
        });
        if bare {
            assert_eq!(expected[0], "abandoned BareLineEnd", "{text}");
            assert!(expected[1].starts_with("550 5.6.11 "), "{text}");
        } else {
            assert!(expected[0].starts_with("message first"), "{text}");
            assert!(expected[0].contains("MAIL FROM:<admin@example.org>"), "{text}");
            assert_eq!(expected[1], "250 2.0.0 kept");
        }
        for pieces in 1..message.len() {
            assert_eq!(
                events_of(&smtp(), &message, pieces),
                expected,
                "{text} in pieces of {pieces}"
            );
        }
    }
}

#[test]
fn normalised_messages_have_crlf_only() {
    let mut options = smtp();
    options.bare_line_ends = BareLineEnds::Normalise;
    let cases = [
        ("a\\nb\\rc\\r\\n.\\r\\n", "a\\r\\nb\\r\\nc\\r\\n"),
        ("\\n\\r\\r\\n\\r\\n.\\r\\n", "\\r\\n\\r\\n\\r\\n\\r\\n"),
        // A dot that stands alone in its line after the repair is part of the message: it did not end it before.
        ("a\\n.\\nb\\r\\n.\\r\\n", "a\\r\\n.\\r\\nb\\r\\n"),
        ("a\\r.\\rb\\r\\n.\\r\\n", "a\\r\\n.\\r\\nb\\r\\n"),
        ("\\r\\n.\\na\\r\\n.\\r\\n", "\\r\\n\\r\\na\\r\\n"),
        ("\\r\\n.\\ra\\r\\n.\\r\\n", "\\r\\n\\r\\na\\r\\n"),
        ("\\r\\n.\\r\\r\\n.\\r\\n", "\\r\\n\\r\\n\\r\\n"),
        (".\\r\\n", ""),
        ("..\\r\\n.\\r\\n", ".\\r\\n"),
        ("\\n.\\n\\r\\n.\\r\\n", "\\r\\n.\\r\\n\\r\\n"),
    ];
    for (sent, kept) in cases {
        let message = unescape(sent);
        for pieces in 1..=message.len() {
            let events = events_of(&options, &message, pieces);
            assert_eq!(
                events,
                [format!("message {kept}"), "250 2.0.0 kept".to_owned()],
                "{sent} in pieces of {pieces}"
            );
        }
    }
    for false_end in FALSE_ENDS {
        let message = unescape(&format!("first{false_end}{SMUGGLED}\\r\\n.\\r\\n"));
        let whole = events_of(&options, &message, message.len());
        assert!(
            whole[0].starts_with("message first") && whole[0].contains("admin@example.org"),
            "{false_end}"
        );
        for pieces in 1..message.len() {
            assert_eq!(
                events_of(&options, &message, pieces),
                whole,
                "{false_end} in pieces of {pieces}"
            );
        }
    }
}

/// The reference: one byte at a time, as the rules are written.
fn reference(message: &[u8], normalise: bool) -> Result<Option<(Vec<u8>, usize)>, usize> {
    let mut kept = Vec::new();
    let mut line_start = true;
    let mut at = 0;
    while at < message.len() {
        if line_start && message[at..].starts_with(b".\r\n") {
            return Ok(Some((kept, at + 3)));
        }
        if line_start && message[at] == b'.' {
            at += 1;
            line_start = false;
            continue;
        }
        if message[at..].starts_with(b"\r\n") {
            kept.extend_from_slice(b"\r\n");
            line_start = true;
            at += 2;
            continue;
        }
        line_start = false;
        match message[at] {
            b'\r' | b'\n' if !normalise => return Err(at),
            b'\r' | b'\n' => kept.extend_from_slice(b"\r\n"),
            byte => kept.push(byte),
        }
        at += 1;
    }
    Ok(None)
}

#[test]
fn long_messages_agree_with_the_rules_byte_by_byte() {
    // Blocks of the vectorised search begin and end everywhere against what is special.
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for round in 0..1500 {
        let mut message = Vec::new();
        for _ in 0..random(40) {
            let length = random(90) as usize;
            message.resize(message.len() + length, if round % 3 == 0 { b'.' } else { b'x' });
            let special: &[u8] = match random(if round % 2 == 0 { 60 } else { 12 }) {
                0 => b"\r",
                1 => b"\n",
                2 => b"\r\n.",
                3 => b"\r\n..",
                4 => b"\r\n.\r",
                5 => b"\n.\r\n",
                6 => b"\xff",
                _ => b"\r\n",
            };
            message.extend_from_slice(special);
        }
        message.extend_from_slice(b"\r\n.\r\n");
        for normalise in [false, true] {
            let mut options = smtp();
            options.limits.message_bytes_max = 1 << 20;
            if normalise {
                options.bare_line_ends = BareLineEnds::Normalise;
            }
            let pieces = 1 + random(600) as usize;
            let mut driver = Driver::new(&options, Peer::default());
            driver.feed(b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
            let before = driver.seen.events.len();
            let (expected, used) = match reference(&message, normalise) {
                Ok(Some((kept, used))) => (format!("message {}", kept.escape_ascii()), used),
                Ok(None) => panic!("every message here has an end"),
                Err(_) => {
                    let Ok(Some((_, used))) = reference(&message, true) else {
                        panic!("every message here has an end");
                    };
                    ("abandoned BareLineEnd".to_owned(), used)
                }
            };
            message[..used].chunks(pieces).for_each(|piece| driver.feed(piece));
            assert_eq!(driver.seen.events[before], expected, "{}", message.escape_ascii());
            assert!(
                driver.session.is_idle(),
                "the end is where the rules say: {}",
                message.escape_ascii()
            );
        }
    }
}
