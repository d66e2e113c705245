//! Bounds: lines, errors, recipients, commands, sessions that never end.

use super::*;

#[test]
fn lines_over_their_bound_are_refused_whole() {
    let fits = "x".repeat(512 - 2 - 5);
    check(
        &smtp(),
        Peer::default(),
        &format!(
            "
            S: 220 mx.example.org ESMTP PigeonAir
            C: NOOP {fits}
            S: 250 2.0.0 ok
            C: NOOP {fits}x
            S: 500 5.5.6 line too long
            C: NOOP
            S: 250 2.0.0 ok
            C: {}
            S: 500 5.5.6 line too long
            c: {}\\n
            S: 500 5.5.6 line too long
            C: HELO x
            S: 250 mx.example.org
            C: MAIL FROM:<a@x> ENVID={} SIZE={}
            S: 501 5.5.4 bad parameter
            C: MAIL FROM:<a@x>{}
            S: 500 5.5.6 line too long
            ",
            "x".repeat(2000),
            "x".repeat(600),
            "x".repeat(100),
            "9".repeat(600),
            " ".repeat(1500),
        ),
    );
}

#[test]
fn a_line_without_an_end_ends_the_session() {
    for size in [1, 1000, 70_000] {
        let mut driver = Driver::new(&smtp(), Peer::default());
        let piece = vec![b'x'; size];
        for _ in 0..70_000_usize.div_ceil(size) {
            driver.feed(&piece);
        }
        assert!(driver.seen.output.ends_with(b"421 4.7.0 line without an end\r\n"));
        assert_eq!(driver.seen.events, ["close"]);
    }
}

#[test]
fn too_many_errors_end_the_session() {
    let mut options = smtp();
    options.limits.errors_max = 2;
    check(
        &options,
        Peer::default(),
        "
        S: 220 mx.example.org ESMTP PigeonAir
        C: X
        S: 500 5.5.1 command not recognised
        C: X
        S: 500 5.5.1 command not recognised
        C: X
        S: 500 5.5.1 command not recognised
        S: 421 4.7.0 too many errors
        E: close
        C: NOOP
        ",
    );
}

#[test]
fn recipients_beyond_the_bound_are_for_another_transaction() {
    let mut options = smtp();
    options.limits.recipients_max = 1;
    options.limits.refused_recipients_max = 2;
    check(
        &options,
        Peer::default(),
        &format!(
            "{}
            C: RCPT TO:<bob@example.org>
            S: 452 4.5.3 too many recipients, send the rest in another transaction
            C: BDAT 1 LAST
            c: x
            E: begin
            E: message x
            S: 250 2.0.0 kept
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<a@example.org>
            S: 550 5.1.1 no such user here
            C: RCPT TO:<b@example.org>
            S: 550 5.1.1 no such user here
            C: RCPT TO:<later@example.org>
            S: 451 4.3.0 cannot tell now whether this address exists
            C: RCPT TO:<later@example.org>
            S: 451 4.3.0 cannot tell now whether this address exists
            C: RCPT TO:<c@example.org>
            S: 550 5.1.1 no such user here
            S: 421 4.7.0 too many refused recipients
            E: close
            ",
            begun()
        ),
    );
}

#[test]
fn commands_without_mail_are_counted() {
    let mut options = smtp();
    options.limits.idle_commands_max = 6;
    check(
        &options,
        Peer::default(),
        &format!(
            "{}
            C: NOOP
            S: 250 2.0.0 ok
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: .
            E: message
            S: 250 2.0.0 kept
            C: NOOP
            S: 250 2.0.0 ok
            C: NOOP
            S: 250 2.0.0 ok
            C: RSET
            S: 250 2.0.0 ok
            C: NOOP
            S: 250 2.0.0 ok
            C: NOOP
            S: 250 2.0.0 ok
            C: NOOP
            S: 250 2.0.0 ok
            C: NOOP
            S: 421 4.7.0 too many commands without mail
            E: close
            ",
            begun()
        )
        .replace("E: message\n", "E: message \n"),
    );
}

#[test]
fn transactions_are_counted() {
    let mut options = smtp();
    options.limits.transactions_max = 1;
    check(
        &options,
        Peer::default(),
        &format!(
            "{}
            C: RSET
            S: 250 2.0.0 ok
            E: reset
            C: MAIL FROM:<a@x>
            S: 421 4.7.0 too many messages in one session
            E: close
            ",
            begun()
        ),
    );
}

#[test]
fn failed_authentications_are_counted() {
    let mut options = Options::new(Mode::Submission, "mx.example.org");
    options.limits.authentication_failures_max = 2;
    let peer = Peer {
        tls: true,
        trusted: false,
    };
    // The credentials are alice, wrong.
    check(
        &options,
        peer,
        "
        S: 220 mx.example.org ESMTP PigeonAir
        C: EHLO x
        S: 250-mx.example.org
        S: 250-PIPELINING
        S: 250-SIZE 104857600
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-DSN
        S: 250-AUTH PLAIN LOGIN
        S: 250 ENHANCEDSTATUSCODES
        C: AUTH PLAIN AGFsaWNlAHdyb25n
        S: 535 5.7.8 authentication failed
        E: authenticate alice -
        C: AUTH PLAIN AGFsaWNlAHdyb25n
        S: 535 5.7.8 authentication failed
        S: 421 4.7.0 too many failed authentications
        E: authenticate alice -
        E: close
        ",
    );
}

#[test]
fn memory_is_freed_between_lines() {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(smtp()), Peer::default());
    session.greet(now);
    session.process(b"NOOP something that is cut", now);
    session.process(b" here\r\n", now);
    assert!(session.is_idle());
    assert_eq!(
        session.take_output().len(),
        "220 mx.example.org ESMTP PigeonAir\r\n250 2.0.0 ok\r\n".len()
    );
    assert_eq!(session.take_output().capacity(), 0);
}
