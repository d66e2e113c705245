//! Who is taken, who is refused, and who gets one copy.

use super::*;
use pigeon_engine::testing::same_for_all_cuts;

#[test]
fn each_recipient_has_its_answer() {
    let cases = [
        ("alice@example.org", Mode::Smtp, "250 2.1.5 "),
        ("ALICE@Example.ORG", Mode::Smtp, "250 2.1.5 "),
        ("al@example.org", Mode::Smtp, "250 2.1.5 "),
        ("alice+detail@example.org", Mode::Smtp, "250 2.1.5 "),
        ("\"alice\"@example.org", Mode::Smtp, "250 2.1.5 "),
        ("@relay.example:alice@example.org", Mode::Smtp, "250 2.1.5 "),
        ("postmaster", Mode::Smtp, "250 2.1.5 "),
        ("Postmaster@example.org", Mode::Smtp, "250 2.1.5 "),
        ("carol@example.org", Mode::Smtp, "250 2.1.5 "),
        ("staff@example.org", Mode::Smtp, "250 2.1.5 "),
        ("nobody@example.org", Mode::Smtp, "550 5.1.1 "),
        ("dave@example.org", Mode::Smtp, "550 5.2.1 "),
        ("erin@example.org", Mode::Smtp, "550 5.2.1 "),
        ("frank@example.org", Mode::Lmtp, "250 2.1.5 "),
        ("erin@example.org", Mode::Lmtp, "550 5.2.1 "),
        ("bob@example.org", Mode::Smtp, "552 5.3.4 "),
        ("staff@example.org", Mode::Lmtp, "250 2.1.5 "),
        ("empty@example.org", Mode::Smtp, "550 5.2.4 "),
        ("outside@example.org", Mode::Smtp, "550 5.7.1 "),
        ("alice@elsewhere.example", Mode::Smtp, "550 5.7.1 relaying denied"),
        ("alice@[192.0.2.1]", Mode::Smtp, "550 5.7.1 relaying denied"),
    ];
    for (recipient, mode, expected) in cases {
        let (mut dialogue, ..) = Node::new(mode).start();
        let hello = if mode == Mode::Lmtp { "LHLO x" } else { "EHLO x" };
        // The bound of bob, and of the group that he is in, is passed by SIZE.
        let mail = if recipient.starts_with("bob") {
            "MAIL FROM:<> SIZE=301"
        } else {
            "MAIL FROM:<> SIZE=300"
        };
        let answer = talk(&mut dialogue, &[hello, mail, &format!("RCPT TO:<{recipient}>")]);
        assert!(answer.starts_with(expected), "{recipient} by {mode:?}: {answer}");
    }
}

#[test]
fn frank_gets_mail_by_lmtp_only() {
    let (mut dialogue, ..) = Node::new(Mode::Smtp).start();
    let answer = talk(
        &mut dialogue,
        &["EHLO x", "MAIL FROM:<>", "RCPT TO:<frank@example.org>"],
    );
    assert!(answer.starts_with("550 5.2.1 "), "{answer}");
}

#[test]
fn a_group_goes_to_those_of_its_members_who_may_receive() {
    for (mode, hello, expected) in [
        (Mode::Smtp, "EHLO", &["alice@example.org"][..]),
        (Mode::Lmtp, "LHLO", &["alice@example.org", "frank@example.org"]),
    ] {
        let (mut dialogue, store, _) = Node::new(mode).start();
        dialogue.send(session(hello, &["mixed@example.org"], MESSAGE).as_bytes());
        assert_eq!(store.accounts(), expected);
    }
    // What is too large for one of them is refused for all: nobody else would tell the sender.
    let (mut dialogue, ..) = Node::new(Mode::Smtp).start();
    let answer = talk(
        &mut dialogue,
        &["EHLO x", "MAIL FROM:<> SIZE=301", "RCPT TO:<staff@example.org>"],
    );
    assert!(answer.starts_with("552 5.3.4 "), "{answer}");
}

#[test]
fn nobody_is_unknown_while_control_data_is_not_current() {
    let mut node = Node::new(Mode::Smtp);
    node.copy = Copy::new(Snapshot::empty());
    node.context.copy = Rc::new(node.copy.for_core());
    let (mut dialogue, ..) = node.start();
    for recipient in [
        "nobody@example.org",
        "alice@example.org",
        "x@elsewhere.example",
        "postmaster",
    ] {
        let rcpt = format!("RCPT TO:<{recipient}>");
        let answer = talk(&mut dialogue, &["RSET", "EHLO x", "MAIL FROM:<>", &rcpt]);
        assert!(answer.starts_with("451 4.3.0 "), "{recipient}: {answer}");
    }
}

#[test]
fn an_account_gets_one_copy() {
    let input = session(
        "EHLO",
        &[
            "al@example.org",
            "staff@example.org",
            "alice+x@example.org",
            "bob@example.org",
            "carol@example.org",
        ],
        MESSAGE,
    );
    same_for_all_cuts(input.as_bytes(), |pieces| {
        let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
        pieces.iter().for_each(|piece| dialogue.send(piece));
        let text = dialogue.take_text();
        assert!(
            text.ends_with("250 2.0.0 ok, stored as 0000000000000abc.1\r\n221 2.0.0 bye\r\n"),
            "{text}"
        );
        assert!(dialogue.has_ended());
        assert_eq!(
            store.accounts(),
            ["alice@example.org", "bob@example.org", "carol@example.org"]
        );
        let prepends: Vec<String> = store.stored().into_iter().map(|stored| stored.prepend).collect();
        assert_eq!(
            prepends,
            [
                "Return-Path: <carol@example.net>\r\nDelivered-To: al@example.org\r\n",
                "Return-Path: <carol@example.net>\r\nDelivered-To: staff@example.org\r\n",
                "Return-Path: <carol@example.net>\r\nDelivered-To: staff@example.org\r\n"
            ]
        );
        assert_eq!(context.counters.copies_stored.get(), 3);
        assert_eq!(context.counters.messages_stored.get(), 1);
        assert_eq!(context.counters.recipients_accepted.get(), 5);
        assert_eq!(context.counters.sessions_open.get(), 0);
        text.into_bytes()
    });
}

#[test]
fn details_and_headers_of_a_recipient_are_its_own() {
    let mut node = Node::new(Mode::Smtp);
    node.context.policy.delivered_to = false;
    let (mut dialogue, store, _) = node.start();
    dialogue.send(session("EHLO", &["alice+news@example.org", "carol@example.org"], MESSAGE).as_bytes());
    let stored = store.stored();
    assert_eq!(stored[0].detail.as_deref(), Some("news"));
    assert_eq!(stored[0].prepend, "Return-Path: <carol@example.net>\r\n");
    // With two recipients neither is named in the message.
    assert!(!stored[0].text().contains("for <"));
    assert_eq!(stored[1].detail, None);
}

#[test]
fn many_accounts_are_found_again_by_hash() {
    let mut tree = TREE.to_owned();
    for index in 0..40 {
        tree += &format!("\ndn: uid=user{index},dc=example,dc=org\nmail: user{index}@example.org\n");
    }
    let mut node = Node::new(Mode::Smtp);
    node.context.policy.accounts_max = 40;
    node.copy = Copy::new(Snapshot::from_ldif(&tree).unwrap_or_else(|mistakes| panic!("{mistakes}")));
    node.context.copy = Rc::new(node.copy.for_core());
    let (mut dialogue, store, _) = node.start();
    let names: Vec<String> = (0..40).map(|index| format!("user{index}@example.org")).collect();
    let twice: Vec<&str> = names.iter().chain(&names).map(String::as_str).collect();
    talk(&mut dialogue, &["EHLO x", "MAIL FROM:<>"]);
    for (index, name) in twice.iter().enumerate() {
        let answer = talk(&mut dialogue, &[&format!("RCPT TO:<{name}>")]);
        // The list is full for new accounts; one that is in it is asked before that.
        let expected = if index < 40 { "250 2.1.5" } else { "452 4.5.3" };
        assert!(answer.starts_with(expected), "{index}: {answer}");
    }
    let answer = talk(&mut dialogue, &["RCPT TO:<alice@example.org>"]);
    assert!(answer.starts_with("452 4.5.3"), "{answer}");
    dialogue.send(b"DATA\r\nx\r\n.\r\n");
    assert_eq!(store.accounts(), names);
}

#[test]
fn a_transaction_sees_one_snapshot() {
    let node = Node::new(Mode::Smtp);
    let copy = node.copy.clone();
    let (mut dialogue, store, _) = node.start();
    talk(
        &mut dialogue,
        &["EHLO x", "MAIL FROM:<>", "RCPT TO:<alice@example.org>"],
    );
    // Everybody but alice leaves.
    let without = TREE.replace("mail: carol@", "mail: caroline@");
    let next = Snapshot::from_ldif(&without).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    copy.publish(next.in_state(CopyState::Live));
    let answer = talk(&mut dialogue, &["RCPT TO:<carol@example.org>"]);
    assert!(answer.starts_with("250 "), "{answer}");
    dialogue.send(b"DATA\r\nx\r\n.\r\n");
    assert_eq!(store.accounts(), ["alice@example.org", "carol@example.org"]);
    let answer = talk(&mut dialogue, &["MAIL FROM:<>", "RCPT TO:<carol@example.org>"]);
    assert!(answer.starts_with("550 5.1.1 "), "{answer}");
}

#[test]
fn hundreds_of_recipients_come_in_one_piece() {
    let recipients = vec!["alice@example.org"; 500];
    let input = session("EHLO", &recipients, MESSAGE);
    let (mut dialogue, store, context) = Node::new(Mode::Smtp).start();
    dialogue.send(input.as_bytes());
    let text = dialogue.take_text();
    assert_eq!(text.matches("250 2.1.5 recipient ok\r\n").count(), 500);
    assert!(
        text.ends_with("stored as 0000000000000abc.1\r\n221 2.0.0 bye\r\n"),
        "{text}"
    );
    assert_eq!(store.accounts(), ["alice@example.org"]);
    assert_eq!(context.counters.recipients_accepted.get(), 500);
}
