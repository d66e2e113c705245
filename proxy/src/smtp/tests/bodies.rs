//! Messages on their way into the store: when they are answered, in what pieces, and what is left of those that fail.

use super::*;
use crate::mail_store::TransferError;
use pigeon_engine::testing::same_for_all_cuts;
use pigeon_proto::smtp::BareLineEnds;

fn begun(dialogue: &mut Dialogue, recipients: &[&str]) {
    talk(dialogue, &["EHLO client.example.net", "MAIL FROM:<carol@example.net>"]);
    for recipient in recipients {
        let answer = talk(dialogue, &[&format!("RCPT TO:<{recipient}>")]);
        assert!(answer.starts_with("250 "), "{answer}");
    }
}

#[test]
fn a_message_is_kept_as_it_was_sent_with_its_trace() {
    let input = session("EHLO", &["alice@example.org"], MESSAGE);
    same_for_all_cuts(input.as_bytes(), |pieces| {
        let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
        pieces.iter().for_each(|piece| dialogue.send(piece));
        let stored = store.stored();
        assert_eq!(stored.len(), 1);
        let text = stored[0].text();
        let own = "Return-Path: <carol@example.net>\r\nDelivered-To: alice@example.org\r\n";
        assert_eq!(stored[0].prepend, own);
        let trace = "Received: from client.example.net ([127.0.0.1])\r\n\tby \
                     mx.example.org (PigeonAir) with ESMTP\r\n\tid 0000000000000abc.1\r\n\tfor <alice@example.org>; ";
        assert!(text.starts_with(trace), "{text}");
        assert_eq!(stored[0].body(), KEPT);
        assert!(dialogue.peer.is_closed());
        dialogue.take_output()
    });
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
    begun(&mut dialogue, &["alice@example.org"]);
    store.hold();
    dialogue.take_output();
    // What the client pipelines behind its message waits as well.
    dialogue.send(format!("DATA\r\n{MESSAGE}NOOP\r\n").as_bytes());
    assert_eq!(dialogue.take_text(), "354 end with CRLF.CRLF\r\n");
    assert_eq!(
        dialogue.peer.timeout().map(|timeout| timeout.as_secs() > 290),
        Some(true)
    );
    store.release();
    dialogue.run();
    assert_eq!(
        dialogue.take_text(),
        "250 2.0.0 ok, stored as 0000000000000abc.1\r\n250 2.0.0 ok\r\n"
    );
    assert_eq!(store.accounts(), ["alice@example.org"]);
}

#[test]
fn a_client_that_vanishes_during_the_commit_leaves_one_message_and_nothing_else() {
    for vanish in [Dialogue::end, |dialogue: &mut Dialogue| dialogue.peer.reset()] {
        let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
        begun(&mut dialogue, &["alice@example.org"]);
        store.hold();
        dialogue.send(format!("DATA\r\n{MESSAGE}").as_bytes());
        vanish(&mut dialogue);
        // The commit cannot be taken back any more, and is not begun twice.
        assert_eq!((store.open(), store.accounts().len()), (1, 0));
        store.release();
        dialogue.run();
        assert!(dialogue.has_ended());
        assert_eq!(store.accounts(), ["alice@example.org"]);
        assert_eq!((store.open(), store.aborted()), (0, 0));
        assert_eq!(context.counters.sessions_open.get(), 0);
    }
}

#[test]
fn long_messages_go_in_pieces_and_wait_for_the_store() {
    let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
    begun(&mut dialogue, &["alice@example.org", "carol@example.org"]);
    let line = [&[b'x'; 76][..], b"\r\n"].concat();
    let chunk = line.repeat(200);
    dialogue.send(b"DATA\r\n");
    for _ in 0..64 {
        dialogue.send(&chunk);
    }
    assert!(store.stored().is_empty());
    assert_eq!(store.open(), 1);
    let pieces = store.pieces();
    assert!(
        pieces[0] >= 128 * 1024 && pieces[0] <= 128 * 1024 + chunk.len(),
        "{pieces:?}"
    );
    assert!(
        pieces[1..]
            .iter()
            .all(|bytes| (64 * 1024..64 * 1024 + chunk.len()).contains(bytes)),
        "{pieces:?}"
    );
    // The store takes nothing more: what is sent stays where it is, and memory does not grow.
    store.hold();
    (0..64).for_each(|_| dialogue.peer.send(&chunk));
    dialogue.run();
    let written = store.pieces().len();
    dialogue.run();
    assert_eq!(store.pieces().len(), written);
    store.release();
    dialogue.run();
    dialogue.send(b".\r\n");
    assert!(
        dialogue
            .take_text()
            .ends_with("250 2.0.0 ok, stored as 0000000000000abc.1\r\n")
    );
    let stored = store.stored();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].body().as_bytes(), line.repeat(200 * 128));
    assert_eq!(stored[0].message, stored[1].message);
    assert_eq!(context.counters.bytes_stored.get(), 200 * 128 * 78);
    assert_eq!((store.open(), store.aborted()), (0, 0));
}

#[test]
fn a_message_just_over_one_piece_is_whole() {
    for extra in [0, 1, 1000, 20_000] {
        let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
        begun(&mut dialogue, &["alice@example.org"]);
        let body = vec![b'x'; 128 * 1024 - 300 + extra];
        dialogue.send(format!("BDAT {} LAST\r\n", body.len()).as_bytes());
        dialogue.send(&body);
        assert!(dialogue.take_text().contains("stored as"));
        assert_eq!(store.stored()[0].body().len(), body.len());
    }
}

#[test]
fn what_the_store_refuses_is_drained_and_answered() {
    let big = "x".repeat(998) + "\r\n";
    let cases = [
        (TransferError::NoSpace, "452 4.3.1 "),
        (TransferError::Unavailable("why".to_owned()), "451 4.3.0 "),
        (TransferError::TooLarge, "552 5.3.4 "),
        (TransferError::OverQuota, "552 5.2.2 "),
        (TransferError::Moved("why".to_owned()), "451 4.2.1 "),
        (TransferError::Elsewhere, "451 4.2.1 "),
    ];
    for (error, expected) in cases {
        for lines in [1, 1000] {
            for at in ["begin", "first write", "later write", "commit"] {
                let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
                match at {
                    "begin" => store.fail_begin(error.clone()),
                    "first write" => store.fail_write(0, error.clone()),
                    "later write" if lines > 1 => store.fail_write(1, error.clone()),
                    _ => store.fail("alice@example.org", error.clone()),
                }
                begun(&mut dialogue, &["alice@example.org"]);
                dialogue.send(b"DATA\r\n");
                (0..lines).for_each(|_| dialogue.send(big.as_bytes()));
                dialogue.take_output();
                dialogue.send(b".\r\n");
                let answer = dialogue.take_text();
                assert!(answer.starts_with(expected), "{error} at {at}, {lines} lines: {answer}");
                assert!(!answer.contains("why"), "the client is not told what the log is told");
                assert!(store.stored().is_empty());
                assert_eq!(store.open(), 0);
                let counters = &context.counters;
                assert_eq!(counters.messages_stored.get(), 0);
                assert_eq!(counters.messages_deferred.get() + counters.messages_refused.get(), 1);
                // The session goes on.
                assert_eq!(talk(&mut dialogue, &["MAIL FROM:<>"]), "250 2.1.0 sender ok\r\n");
            }
        }
    }
}

#[test]
fn smtp_says_when_only_some_have_it_and_lmtp_says_who() {
    let cases = [
        (
            TransferError::OverQuota,
            "552 5.2.2 mailbox full; 1 of 2 recipients have it (0000000000000abc.1)\r\n",
            "552 5.2.2 mailbox full\r\n",
        ),
        (
            TransferError::NoSpace,
            "452 4.3.1 insufficient system storage; 1 of 2 recipients have it (0000000000000abc.1)\r\n",
            "452 4.3.1 insufficient system storage\r\n",
        ),
    ];
    for (error, smtp, lmtp) in cases {
        for (mode, hello, expected) in [
            (Mode::Smtp, "EHLO x", smtp.to_owned()),
            (
                Mode::Lmtp,
                "LHLO x",
                format!("250 2.0.0 ok, stored as 0000000000000abc.1\r\n{lmtp}"),
            ),
        ] {
            let (mut dialogue, store, _) = Node::new(mode).start();
            store.fail("carol@example.org", error.clone());
            let rcpt = ["RCPT TO:<alice@example.org>", "RCPT TO:<carol@example.org>"];
            talk(&mut dialogue, &[hello, "MAIL FROM:<>", rcpt[0], rcpt[1], "DATA"]);
            assert_eq!(talk(&mut dialogue, &["x", "."]), expected);
            assert_eq!(store.accounts(), ["alice@example.org"]);
        }
    }
}

#[test]
fn a_group_in_lmtp_has_the_answer_of_its_worst_member() {
    let (mut dialogue, store, _) = Node::new(Mode::Lmtp).start();
    store.fail("bob@example.org", TransferError::OverQuota);
    let rcpt = ["RCPT TO:<staff@example.org>", "RCPT TO:<alice@example.org>"];
    talk(&mut dialogue, &["LHLO x", "MAIL FROM:<>", rcpt[0], rcpt[1], "DATA"]);
    assert_eq!(
        talk(&mut dialogue, &["x", "."]),
        "552 5.2.2 mailbox full; 2 of 3 recipients have it (0000000000000abc.1)\r\n\
         250 2.0.0 ok, stored as 0000000000000abc.1\r\n"
    );
}

#[test]
fn an_account_that_takes_less_refuses_before_anybody_has_it() {
    let line = "x".repeat(98);
    let rcpt = ["RCPT TO:<alice@example.org>", "RCPT TO:<bob@example.org>"];
    let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
    talk(&mut dialogue, &["EHLO x", "MAIL FROM:<>", rcpt[0], rcpt[1], "DATA"]);
    let answer = talk(&mut dialogue, &[&line, &line, &line, &line, "."]);
    assert_eq!(answer, "552 5.3.4 message too large\r\n");
    assert!(store.stored().is_empty());
    // LMTP can tell one from the other.
    let (mut dialogue, store, _) = Node::new(Mode::Lmtp).start();
    talk(&mut dialogue, &["LHLO x", "MAIL FROM:<>", rcpt[0], rcpt[1], "DATA"]);
    let answer = talk(&mut dialogue, &[&line, &line, &line, &line, "."]);
    assert_eq!(
        answer,
        "250 2.0.0 ok, stored as 0000000000000abc.1\r\n552 5.3.4 message too large\r\n"
    );
    assert_eq!(store.accounts(), ["alice@example.org"]);
    // But not for a message that is under way when the bound is passed, or would be if it came in other pieces.
    for pieces in [1, 2000] {
        let (mut dialogue, store, _) = Node::new(Mode::Lmtp).start();
        talk(&mut dialogue, &["LHLO x", "MAIL FROM:<>", rcpt[0], rcpt[1], "DATA"]);
        (0..pieces).for_each(|_| dialogue.send(format!("{line}\r\n").repeat(2000 / pieces).as_bytes()));
        dialogue.take_output();
        assert_eq!(
            talk(&mut dialogue, &["."]),
            "552 5.3.4 message too large\r\n552 5.3.4 message too large\r\n"
        );
        assert!(store.stored().is_empty());
    }
    let (mut dialogue, store, _) = Node::new(Mode::Lmtp).start();
    talk(&mut dialogue, &["LHLO x", "MAIL FROM:<>", rcpt[0], rcpt[1]]);
    let body = "x".repeat(200_000);
    dialogue.send(format!("BDAT {} LAST\r\n{body}", body.len()).as_bytes());
    assert_eq!(
        dialogue.take_text(),
        "552 5.3.4 message too large\r\n552 5.3.4 message too large\r\n"
    );
    assert!(store.stored().is_empty());
}

#[test]
fn mail_loops_end() {
    for (hops, expected) in [(50, "250 2.0.0 "), (51, "554 5.4.6 ")] {
        let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
        begun(&mut dialogue, &["alice@example.org"]);
        dialogue.send(b"DATA\r\n");
        dialogue.send("Received: from x by y; now\r\n".repeat(hops).as_bytes());
        dialogue.take_output();
        dialogue.send(b"\r\nReceived: in the text\r\n.\r\n");
        let answer = dialogue.take_text();
        assert!(answer.starts_with(expected), "{hops}: {answer}");
        assert_eq!(store.stored().len(), usize::from(hops == 50));
    }
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    for lines in [0, 1, 2000] {
        for how in ["end", "reset", "time out"] {
            let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
            begun(&mut dialogue, &["alice@example.org"]);
            dialogue.send(b"DATA\r\n");
            (0..lines).for_each(|_| dialogue.send(&[b'x'; 100]));
            dialogue.take_output();
            match how {
                "end" => dialogue.end(),
                "reset" => {
                    dialogue.peer.reset();
                    dialogue.run();
                }
                _ => {
                    dialogue.time_out();
                    assert_eq!(dialogue.take_text(), "421 4.4.2 time-out\r\n");
                    assert_eq!(context.counters.time_outs.get(), 1);
                }
            }
            assert!(dialogue.has_ended(), "{how} after {lines}");
            assert!(store.stored().is_empty());
            assert_eq!(store.open(), 0);
            assert_eq!(store.aborted(), u32::from(lines == 2000));
            assert_eq!(context.counters.sessions_open.get(), 0);
        }
    }
}

#[test]
fn bare_line_ends_are_refused_or_repaired() {
    let input = session("EHLO", &["alice@example.org"], "a\nb\r\n.\nMAIL FROM:<evil@x>\r\n.\r\n");
    let output = same_for_all_cuts(input.as_bytes(), |pieces| {
        let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
        pieces.iter().for_each(|piece| dialogue.send(piece));
        assert!(store.stored().is_empty());
        assert_eq!(context.counters.messages_refused.get(), 1);
        dialogue.take_output()
    });
    let text = String::from_utf8(output).unwrap();
    assert!(
        text.contains("\r\n550 5.6.11 ") && text.ends_with("\r\n221 2.0.0 bye\r\n"),
        "{text}"
    );
    let mut options = Options::new(Mode::Smtp, "mx.example.org");
    options.bare_line_ends = BareLineEnds::Normalise;
    let (mut dialogue, store, _) = Node::with_options(options).start();
    dialogue.send(input.as_bytes());
    assert_eq!(store.stored()[0].body(), "a\r\nb\r\n\r\nMAIL FROM:<evil@x>\r\n");
}

#[test]
fn a_message_in_a_row_after_another() {
    let mut input = session("EHLO", &["alice@example.org"], MESSAGE).replace("QUIT\r\n", "");
    for _ in 0..3 {
        input += "MAIL FROM:<>\r\nRCPT TO:<carol@example.org>\r\nBDAT 3\r\na\r\nBDAT 1 LAST\r\nb";
    }
    let output = same_for_all_cuts(input.as_bytes(), |pieces| {
        let (mut dialogue, store, _) = Node::new(Mode::Smtp).start();
        pieces.iter().for_each(|piece| dialogue.send(piece));
        assert_eq!(store.stored().len(), 4);
        assert_eq!(store.stored()[3].body(), "a\r\nb");
        assert!(store.stored()[3].prepend.starts_with("Return-Path: <>\r\n"));
        dialogue.take_output()
    });
    assert!(
        String::from_utf8(output)
            .unwrap()
            .ends_with("stored as 0000000000000abc.4\r\n")
    );
}
