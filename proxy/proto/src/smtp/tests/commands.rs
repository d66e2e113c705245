//! Commands in and out of order, their arguments, and what they say.

use super::*;

#[test]
fn a_message_by_data() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{}
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: Subject: hi
            C:
            C: ..dot
            C: .
            E: message Subject: hi\\r\\n\\r\\n.dot\\r\\n
            S: 250 2.0.0 kept
            C: QUIT
            S: 221 2.0.0 bye
            E: close
            ",
            begun()
        ),
    );
}

#[test]
fn pipelined_transactions_with_refusals_between() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{HELLO}
            C: MAIL FROM:<> SIZE=10 BODY=8BITMIME
            S: 250 2.1.0 sender ok
            E: mail <> size=10 EightBitMime
            C: RCPT TO:<nobody@example.org>
            S: 550 5.1.1 no such user here
            C: RCPT TO:<Postmaster>
            S: 250 2.1.5 recipient ok
            E: recipient <postmaster@example.org>
            C: RCPT TO:<bob@elsewhere.example>
            S: 550 5.7.1 relaying denied
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: x
            C: .
            S: 250 2.0.0 kept
            E: message x\\r\\n
            C: MAIL FROM:<carol@example.net>
            S: 250 2.1.0 sender ok
            E: mail <carol@example.net>
            C: RCPT TO:<nobody@example.org>
            S: 550 5.1.1 no such user here
            C: DATA
            S: 554 5.5.1 no valid recipients
            C: RSET
            S: 250 2.0.0 ok
            E: reset
            C: RCPT TO:<bob@example.org>
            S: 503 5.5.1 MAIL comes first
            "
        ),
    );
}

#[test]
fn commands_before_their_time() {
    check(
        &smtp(),
        Peer::default(),
        "
        S: 220 mx.example.org ESMTP PigeonAir
        C: MAIL FROM:<a@x>
        S: 503 5.5.1 say hello first
        C: RCPT TO:<alice@example.org>
        S: 503 5.5.1 MAIL comes first
        C: DATA
        S: 503 5.5.1 MAIL comes first
        C: RSET
        S: 250 2.0.0 ok
        C: NOOP anything
        S: 250 2.0.0 ok
        C: helo client
        S: 250 mx.example.org
        C: MAIL FROM:<a@x>
        S: 250 2.1.0 sender ok
        E: mail <a@x>
        C: MAIL FROM:<b@x>
        S: 503 5.5.1 bad sequence of commands
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: EHLO again
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-DSN
        S: 250 ENHANCEDSTATUSCODES
        E: reset
        C: DATA
        S: 503 5.5.1 MAIL comes first
        C: LHLO x
        S: 500 5.5.1 command not recognised
        C: AUTH PLAIN
        S: 502 5.5.1 not available
        C: STARTTLS
        S: 502 5.5.1 not available
        ",
    );
}

#[test]
fn what_carries_no_mail() {
    check(
        &smtp(),
        Peer::default(),
        "
        S: 220 mx.example.org ESMTP PigeonAir
        C: VRFY alice
        S: 252 2.0.0 cannot verify, but will take mail and attempt delivery
        C: VRFY
        S: 501 5.5.4 expected VRFY address
        C: EXPN staff
        S: 502 5.5.1 groups are not expanded
        C: HELP
        S: 214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP STARTTLS AUTH
        C: XYZZY
        S: 500 5.5.1 command not recognised
        C:
        S: 500 5.5.1 command not recognised
        C: \\xff\\0
        S: 500 5.5.1 command not recognised
        C: EHLO
        S: 501 5.5.4 expected the name of the client
        C: HELO a\\x01b
        S: 501 5.5.4 expected the name of the client
        C: DATA now
        S: 501 5.5.4 no arguments allowed
        C: RSET now
        S: 501 5.5.4 no arguments allowed
        C: QUIT now
        S: 221 2.0.0 bye
        E: close
        C: NOOP
        ",
    );
}

#[test]
fn arguments_of_mail_and_rcpt() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{HELLO}
            C: MAIL
            S: 501 5.5.4 expected MAIL FROM:<address>
            C: MAIL TO:<a@x>
            S: 501 5.5.4 expected MAIL FROM:<address>
            C: MAIL FROM:a@x
            S: 501 5.1.7 expected an address like <local@domain>
            C: MAIL FROM:<a@x> SIZE=1001
            S: 552 5.3.4 message too large
            C: MAIL FROM:<a@x> SIZE=x
            S: 501 5.5.4 bad parameter
            C: MAIL FROM:<a@x> COLOUR=red
            S: 555 5.5.4 parameter not recognised
            C: MAIL FROM:<a@x> AUTH=<>
            S: 555 5.5.4 parameter not recognised
            C: MAIL FROM:<refused@example.net>
            S: 451 4.3.0 not now
            E: mail <refused@example.net>
            C: mail from: <@relay.example:a@X> size=1000 ret=hdrs envid=q+2B1
            S: 250 2.1.0 sender ok
            E: mail <a@x> size=1000 Headers id=q+1
            C: RCPT
            S: 501 5.5.4 expected RCPT TO:<address>
            C: RCPT TO:<>
            S: 501 5.1.3 bad local part
            C: RCPT TO:<alice>
            S: 501 5.1.3 expected an address like <local@domain>
            C: RCPT TO:<alice@exa mple.org>
            S: 501 5.1.3 bad domain
            C: RCPT TO:<alice@example.org> SIZE=1
            S: 555 5.5.4 parameter not recognised
            C: rcpt to: <\"alice\"@EXAMPLE.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@x
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org> Notify {{ success: false, failure: true, delay: true }} rfc822;a+b@x
            "
        ),
    );
}

#[test]
fn utf8_addresses_need_the_parameter() {
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "{HELLO}
            C: MAIL FROM:<jürgen@bücher.example>
            S: 553 5.6.7 this address needs the parameter SMTPUTF8 of MAIL
            C: MAIL FROM:<a@x>
            S: 250 2.1.0 sender ok
            E: mail <a@x>
            C: RCPT TO:<jürgen@example.org>
            S: 553 5.6.7 this address needs the parameter SMTPUTF8 of MAIL
            C: RSET
            S: 250 2.0.0 ok
            E: reset
            C: MAIL FROM:<jürgen@bücher.example> SMTPUTF8
            S: 250 2.1.0 sender ok
            E: mail <jürgen@bücher.example> utf8
            C: RCPT TO:<jürgen@example.org> ORCPT=utf-8;jürgen@example.org
            S: 250 2.1.5 recipient ok
            E: recipient <jürgen@example.org> utf-8;jürgen@example.org
            C: RCPT TO:<j\\xfcrgen@example.org>
            S: 501 5.1.3 address is not UTF-8
            "
        ),
    );
}

#[test]
fn lines_that_do_not_end_as_they_should() {
    check(
        &smtp(),
        Peer::default(),
        "
        S: 220 mx.example.org ESMTP PigeonAir
        c: HELO x\\n
        S: 500 5.5.2 lines end with CRLF
        c: HELO x\\rNOOP\\r\\n
        S: 501 5.5.4 expected the name of the client
        c: \\n
        S: 500 5.5.2 lines end with CRLF
        C: MAIL FROM:<a@x>
        S: 503 5.5.1 say hello first
        C: HELO x
        S: 250 mx.example.org
        c: MAIL FROM:<a@x>\\nRCPT TO:<alice@example.org>\\r\\n
        S: 500 5.5.2 lines end with CRLF
        S: 503 5.5.1 MAIL comes first
        ",
    );
}

#[test]
fn a_browser_is_sent_away() {
    check(
        &smtp(),
        Peer::default(),
        "
        S: 220 mx.example.org ESMTP PigeonAir
        C: POST / HTTP/1.1
        S: 554 5.5.1 this is not an HTTP server
        E: close
        C: Host: mx.example.org
        C:
        C: EHLO x
        ",
    );
}
