//! Messages by BDAT and DATA: chunks, mixes, and what is drained.

use super::*;

#[test]
fn chunks_make_a_message() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: BDAT 8
            E: begin
            c: a\\r\\n.\\r\\nb
            S: 250 2.0.0 chunk taken
            C: BDAT 0
            S: 250 2.0.0 chunk taken
            C: BDAT 4 LAST
            c: c\\r\\nd
            S: 250 2.0.0 kept
            E: message a\\r\\n.\\r\\nb\\rc\\r\\nd
            C: NOOP
            S: 250 2.0.0 ok
            ",
            begun()
        )
        // Eight bytes: the last two are "b" and the CR that the next chunk does not follow with LF.
        .replace("BDAT 8", "BDAT 7")
        .replace("\\r\\nb\\rc", "\\r\\nbc"),
    );
}

#[test]
fn an_empty_last_chunk_ends_a_message() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: BDAT 3
            E: begin
            c: x\\r\\n
            S: 250 2.0.0 chunk taken
            C: BDAT 0 LAST
            S: 250 2.0.0 kept
            E: message x\\r\\n
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<bob@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <bob@example.org>
            C: BDAT 0 LAST
            E: begin
            S: 250 2.0.0 kept
            E: message 
            ",
            begun()
        )
        .replace("E: message \n", "E: message\u{20}\n"),
    );
}

#[test]
fn binary_messages_come_by_bdat_only() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{HELLO}
            C: MAIL FROM:<a@x> BODY=BINARYMIME
            S: 250 2.1.0 sender ok
            E: mail <a@x> BinaryMime
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: DATA
            S: 503 5.5.1 this message comes by BDAT
            C: BDAT 9
            E: begin
            c: \\n\\r.\\r\\n\\0\\xff\\r\\r
            S: 250 2.0.0 chunk taken
            C: DATA
            S: 503 5.5.1 this message comes by BDAT
            C: RCPT TO:<bob@example.org>
            S: 503 5.5.1 bad sequence of commands
            C: MAIL FROM:<b@x>
            S: 503 5.5.1 bad sequence of commands
            C: BDAT 1 last
            c: \\n
            S: 250 2.0.0 kept
            E: message \\n\\r.\\r\\n\\x00\\xff\\r\\r\\n
            "
        ),
    );
}

#[test]
fn a_chunk_out_of_place_is_drained() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{HELLO}
            C: BDAT 6 LAST
            C: QUIT
            S: 503 5.5.1 MAIL comes first
            C: BDAT 6
            C: RSET
            S: 503 5.5.1 MAIL comes first
            C: RCPT TO:<alice@example.org>
            S: 503 5.5.1 MAIL comes first
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            C: BDAT 6
            C: QUIT
            S: 554 5.5.1 no valid recipients
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: BDAT 3 LAST
            E: begin
            c: x\\r\\n
            S: 250 2.0.0 kept
            E: message x\\r\\n
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            C: BDAT 6 LAST
            C: QUIT
            S: 554 5.5.1 no valid recipients
            E: reset
            C: NOOP
            S: 250 2.0.0 ok
            "
        ),
    );
}

#[test]
fn a_chunk_of_unknown_size_ends_the_session() {
    for arguments in ["", "x", "-1", "99999999999999999999 LAST", "5 FIRST"] {
        check(
            &smtp(),
            Peer::default(),
            &format!(
                "{}
                C: BDAT {arguments}
                S: 501 5.5.4 expected BDAT size [LAST]
                E: close
                C: QUIT
                ",
                begun()
            ),
        );
    }
}

#[test]
fn a_refused_chunk_is_followed_by_refused_chunks() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: BDAT 3
            E: begin
            c: x\\n\\r
            E: abandoned BareLineEnd
            S: 550 5.6.11 message with a CR or LF that is not part of a CRLF
            C: BDAT 6
            C: QUIT
            S: 550 5.6.11 message with a CR or LF that is not part of a CRLF
            C: BDAT 6 LAST
            C: QUIT
            S: 550 5.6.11 message with a CR or LF that is not part of a CRLF
            C: BDAT 6 LAST
            C: QUIT
            S: 503 5.5.1 MAIL comes first
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            ",
            begun()
        ),
    );
}

#[test]
fn a_transaction_can_begin_after_a_refused_chunk() {
    for (command, said) in [
        ("MAIL FROM:<b@x>", "S: 250 2.1.0 sender ok\nE: mail <b@x>"),
        ("RSET", "S: 250 2.0.0 ok\nE: reset"),
    ] {
        check(
            &smtp(),
            Peer::default(),
            &format!(
                "{}
                C: BDAT 2
                E: begin
                c: x\\n
                E: abandoned BareLineEnd
                S: 550 5.6.11 message with a CR or LF that is not part of a CRLF
                C: {command}
                {said}
                ",
                begun()
            ),
        );
    }
}

#[test]
fn a_message_between_chunks_can_be_left() {
    for (command, said) in [
        ("RSET", "S: 250 2.0.0 ok\nE: abandoned Interrupted"),
        ("QUIT", "S: 221 2.0.0 bye\nE: close"),
    ] {
        check(
            &smtp(),
            Peer::default(),
            &format!(
                "{}
                C: BDAT 1
                E: begin
                c: x
                S: 250 2.0.0 chunk taken
                C: {command}
                {said}
                ",
                begun()
            ),
        );
    }
}

#[test]
fn a_cr_at_the_end_of_a_message_is_bare() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: BDAT 2 LAST
            E: begin
            c: x\\r
            E: abandoned BareLineEnd
            S: 550 5.6.11 message with a CR or LF that is not part of a CRLF
            C: NOOP
            S: 250 2.0.0 ok
            ",
            begun()
        ),
    );
    let mut options = smtp();
    options.bare_line_ends = BareLineEnds::Normalise;
    check(
        &options,
        Peer::default(),
        &format!(
            "{}
            C: BDAT 2
            E: begin
            c: x\\r
            S: 250 2.0.0 chunk taken
            C: BDAT 3 LAST
            c: \\ny\\r
            S: 250 2.0.0 kept
            E: message x\\r\\ny\\r\\n
            ",
            begun()
        ),
    );
}

#[test]
fn a_message_too_large_is_drained_and_refused() {
    let line = "x".repeat(98);
    let lines = format!("C: {line}\n").repeat(11);
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            {lines}
            E: abandoned TooLarge
            C: .
            S: 552 5.3.4 message too large
            C: RSET
            S: 250 2.0.0 ok
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: BDAT 1001
            E: abandoned TooLarge
            c: {}
            S: 552 5.3.4 message too large
            C: BDAT 1 LAST
            c: x
            S: 552 5.3.4 message too large
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: BDAT 500
            E: begin
            c: {}
            S: 250 2.0.0 chunk taken
            C: BDAT 501 LAST
            E: abandoned TooLarge
            c: {}
            S: 552 5.3.4 message too large
            C: NOOP
            S: 250 2.0.0 ok
            ",
            begun(),
            "x".repeat(1001),
            "x".repeat(500),
            "x".repeat(501)
        ),
    );
    // Exactly as large as allowed.
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: .{}
            C: .
            E: message {}\\r\\n
            S: 250 2.0.0 kept
            ",
            begun(),
            "x".repeat(998),
            "x".repeat(998)
        ),
    );
}

#[test]
fn the_driver_can_refuse_in_the_middle() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: BDAT 10
            E: begin
            c: x[abandon]
            E: driver abandons
            S: 452 4.3.1 insufficient system storage
            C: BDAT 10 LAST
            c: 0123456789
            S: 452 4.3.1 insufficient system storage
            C: NOOP
            S: 250 2.0.0 ok
            ",
            begun()
        ),
    );
}

#[test]
fn sizes_beyond_what_exists_are_drained_not_counted_wrong() {
    let mut driver = Driver::new(&smtp(), Peer::default());
    driver.feed(b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<alice@example.org>\r\nBDAT 18446744073709551615 LAST\r\n");
    assert_eq!(driver.seen.events.last().unwrap(), "abandoned TooLarge");
    for _ in 0..100 {
        driver.feed(&[b'x'; 4096]);
    }
    assert_eq!(driver.seen.events.last().unwrap(), "abandoned TooLarge");
    assert!(!driver.session.is_closed());
}
