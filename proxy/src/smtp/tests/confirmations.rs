//! NOTIFY=SUCCESS: who is told, what the report says, and when there is none.

use super::*;
use crate::mail_store::TransferError;

/// A message from `sender` with these parameters; what the store has then, the report last.
fn sent(mode: Mode, mail: &str, recipients: &[&str], prepare: impl FnOnce(&Node)) -> (String, Vec<store::Stored>) {
    let node = Node::new(mode);
    prepare(&node);
    let (mut dialogue, store, _) = node.start();
    let hello = if mode == Mode::Lmtp { "LHLO x" } else { "EHLO x" };
    talk(&mut dialogue, &[hello, mail]);
    for recipient in recipients {
        let answer = talk(&mut dialogue, &[&format!("RCPT TO:{recipient}")]);
        assert!(answer.starts_with("250 "), "{answer}");
    }
    talk(&mut dialogue, &["DATA"]);
    let answer = talk(&mut dialogue, &["Subject: hi", "", "x", "."]);
    assert_eq!(store.open(), 0);
    (answer, store.stored())
}

#[test]
fn a_sender_of_ours_is_told_of_the_delivery() {
    let (answer, stored) = sent(
        Mode::Smtp,
        "MAIL FROM:<alice+sent@example.org> RET=HDRS ENVID=QQ+2B314",
        &[
            "<carol@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Carol+2B@example.org",
            "<bob@example.org> NOTIFY=FAILURE",
            "<mixed@example.org> NOTIFY=SUCCESS",
        ],
        |_| {},
    );
    assert!(answer.starts_with("250 2.0.0 "), "{answer}");
    let [.., report] = &stored[..] else {
        panic!("nothing is stored")
    };
    assert_eq!(stored.len(), 4);
    assert_eq!(report.account, "alice@example.org");
    assert_eq!(report.detail.as_deref(), Some("sent"));
    assert_eq!(
        report.prepend,
        "Return-Path: <>\r\nDelivered-To: alice+sent@example.org\r\n"
    );
    let text = report.text();
    let (_, text) = text.split_once(" +0000\r\n").expect("it begins with its date");
    let (before, after) = text.split_once("Arrival-Date: ").expect("there is a date");
    let (_, after) = after.split_once("\r\n").expect("the date has a line");
    let boundary = "report-0000000000000abc.1";
    assert_eq!(
        before,
        format!(
            "From: Mail Delivery System <postmaster@mx.example.org>\r\nTo: <alice+sent@example.org>\r\nSubject: Delivered: \
             your message\r\nMessage-ID: <report.0000000000000abc.1@mx.example.org>\r\nAuto-Submitted: \
             auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; \
             report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n--{boundary}\r\nContent-Type: text/plain; \
             charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nYour message has been delivered \
             to:\r\n\r\n<carol@example.org>\r\n<mixed@example.org>\r\n\r\n--{boundary}\r\nContent-Type: \
             message/delivery-status\r\n\r\nOriginal-Envelope-Id: \
             QQ+314\r\nReporting-MTA: dns; mx.example.org\r\n"
        )
    );
    let (status, header) = after.split_once("Received: ").expect("the header is returned");
    assert_eq!(
        status,
        format!(
            "\r\nOriginal-Recipient: rfc822;Carol+@example.org\r\nFinal-Recipient: rfc822;carol@example.org\r\nAction: \
             delivered\r\nStatus: 2.0.0\r\n\r\nFinal-Recipient: rfc822;mixed@example.org\r\nAction: expanded\r\nStatus: \
             2.0.0\r\n\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        )
    );
    assert!(
        header.ends_with(&format!("Subject: hi\r\n\r\n--{boundary}--\r\n")),
        "{header}"
    );
}

#[test]
fn international_addresses_have_their_own_report() {
    let (_, stored) = sent(
        Mode::Smtp,
        "MAIL FROM:<alice@example.org> SMTPUTF8",
        &["<carol@example.org> NOTIFY=SUCCESS ORCPT=utf-8;jürgen@example.org"],
        |_| {},
    );
    let text = stored[1].text();
    assert!(
        text.contains("Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"),
        "{text}"
    );
    assert!(
        text.contains(
            "\r\nOriginal-Recipient: utf-8;jürgen@example.org\r\nFinal-Recipient: utf-8;carol@example.org\r\n"
        ),
        "{text}"
    );
}

#[test]
fn nobody_is_told_who_did_not_ask_or_is_not_here() {
    let success = "<carol@example.org> NOTIFY=SUCCESS";
    for (mode, mail, recipient) in [
        (Mode::Smtp, "MAIL FROM:<alice@example.org>", "<carol@example.org>"),
        (
            Mode::Smtp,
            "MAIL FROM:<alice@example.org>",
            "<carol@example.org> NOTIFY=NEVER",
        ),
        (
            Mode::Smtp,
            "MAIL FROM:<alice@example.org>",
            "<carol@example.org> NOTIFY=DELAY,FAILURE",
        ),
        (Mode::Smtp, "MAIL FROM:<>", success),
        (Mode::Smtp, "MAIL FROM:<dave@example.org>", success),
        (Mode::Smtp, "MAIL FROM:<x@elsewhere.example>", success),
        (Mode::Smtp, "MAIL FROM:<staff@example.org>", success),
        // The MTA in front does it.
        (Mode::Lmtp, "MAIL FROM:<alice@example.org>", success),
    ] {
        let (answer, stored) = sent(mode, mail, &[recipient], |_| {});
        assert!(answer.starts_with("250 2.0.0 "), "{answer}");
        assert_eq!(stored.len(), 1, "{mail} {recipient}");
    }
}

#[test]
fn a_message_that_failed_for_anybody_is_not_reported() {
    let (answer, stored) = sent(
        Mode::Smtp,
        "MAIL FROM:<alice@example.org>",
        &["<carol@example.org> NOTIFY=SUCCESS", "<bob@example.org>"],
        |node| node.store.fail("bob@example.org", TransferError::OverQuota),
    );
    assert!(answer.starts_with("552 5.2.2 "), "{answer}");
    assert_eq!(stored.len(), 1);
}

#[test]
fn a_report_that_cannot_be_kept_changes_nothing() {
    let (answer, stored) = sent(
        Mode::Smtp,
        "MAIL FROM:<alice@example.org>",
        &["<carol@example.org> NOTIFY=SUCCESS"],
        |node| node.store.fail("alice@example.org", TransferError::OverQuota),
    );
    assert!(answer.starts_with("250 2.0.0 "), "{answer}");
    assert_eq!(stored.len(), 1);
}
