//! LMTP, submission, TLS and authentication.

use super::*;

#[test]
fn lmtp_answers_for_each_recipient() {
    let mut options = Options::new(Mode::Lmtp, "mx.example.org");
    options.limits.message_bytes_max = 100;
    check(
        &options,
        Peer::default(),
        &format!(
            "
            S: 220 mx.example.org LMTP PigeonAir
            C: EHLO x
            S: 500 5.5.1 command not recognised
            C: HELO x
            S: 500 5.5.1 command not recognised
            C: LHLO x
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 100
            S: 250-8BITMIME
            S: 250-SMTPUTF8
            S: 250-CHUNKING
            S: 250-BINARYMIME
            S: 250 ENHANCEDSTATUSCODES
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: RCPT TO:<nobody@example.org>
            S: 550 5.1.1 no such user here
            C: RCPT TO:<full@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <full@example.org>
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: x
            C: .
            S: 250 2.0.0 kept
            S: 552 5.2.2 over quota
            E: message x\\r\\n
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: RCPT TO:<bob@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <bob@example.org>
            C: BDAT 1
            E: begin
            c: x
            S: 250 2.0.0 chunk taken
            C: BDAT 1 LAST
            c: y
            S: 250 2.0.0 kept
            S: 250 2.0.0 kept
            E: message xy
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<alice@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <alice@example.org>
            C: RCPT TO:<bob@example.org>
            S: 250 2.1.5 recipient ok
            E: recipient <bob@example.org>
            C: DATA
            S: 354 end with CRLF.CRLF
            E: begin
            C: {}
            E: abandoned TooLarge
            C: .
            S: 552 5.3.4 message too large
            S: 552 5.3.4 message too large
            C: MAIL FROM:<>
            S: 250 2.1.0 sender ok
            E: mail <>
            C: RCPT TO:<nobody@example.org>
            S: 550 5.1.1 no such user here
            C: BDAT 1 LAST
            c: x
            S: 554 5.5.1 no valid recipients
            E: reset
            ",
            "x".repeat(100)
        ),
    );
}

const SUBMISSION: &str = "
    S: 220 mx.example.org ESMTP PigeonAir
    C: EHLO x
    S: 250-mx.example.org
    S: 250-PIPELINING
    S: 250-SIZE 1000
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-CHUNKING
    S: 250-BINARYMIME
    S: 250-DSN
";

fn submission() -> Options {
    let mut options = Options::new(Mode::Submission, "mx.example.org");
    options.start_tls = true;
    options.limits.message_bytes_max = 1000;
    options
}

#[test]
fn submission_wants_tls_and_then_a_password() {
    check(
        &submission(),
        Peer::default(),
        &format!(
            "{SUBMISSION}
            S: 250-STARTTLS
            S: 250 ENHANCEDSTATUSCODES
            C: MAIL FROM:<alice@example.org>
            S: 530 5.7.0 authentication required
            C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
            S: 538 5.7.11 start TLS before sending a password
            C: STARTTLS now
            S: 501 5.5.4 no arguments allowed
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
            E: starttls
            T:
            C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
            S: 503 5.5.1 bad sequence of commands
            C: MAIL FROM:<alice@example.org>
            S: 503 5.5.1 say hello first
            C: EHLO x
            S: 250-mx.example.org
            S: 250-PIPELINING
            S: 250-SIZE 1000
            S: 250-8BITMIME
            S: 250-SMTPUTF8
            S: 250-CHUNKING
            S: 250-BINARYMIME
            S: 250-DSN
            S: 250-AUTH PLAIN LOGIN
            S: 250 ENHANCEDSTATUSCODES
            C: STARTTLS
            S: 503 5.5.1 bad sequence of commands
            C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
            S: 235 2.7.0 authenticated
            E: authenticate alice -
            C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
            S: 503 5.5.1 bad sequence of commands
            C: MAIL FROM:<alice@example.org> AUTH=<>
            S: 250 2.1.0 sender ok
            E: mail <alice@example.org>
            C: STARTTLS
            S: 503 5.5.1 bad sequence of commands
            "
        ),
    );
}

#[test]
fn what_is_pipelined_behind_starttls_ends_the_session() {
    check(
        &submission(),
        Peer::default(),
        &format!(
            "{SUBMISSION}
            S: 250-STARTTLS
            S: 250 ENHANCEDSTATUSCODES
            C: STARTTLS
            S: 220 2.0.0 ready to start TLS
            E: starttls
            C: EHLO injected
            E: close
            C: MAIL FROM:<x@x>
            "
        ),
    );
}

#[test]
fn every_way_through_an_authentication() {
    check(
        &submission(),
        Peer {
            tls: false,
            trusted: true,
        },
        &format!(
            "{SUBMISSION}
            S: 250-STARTTLS
            S: 250-AUTH PLAIN LOGIN
            S: 250 ENHANCEDSTATUSCODES
            C: AUTH
            S: 501 5.5.4 expected AUTH mechanism
            C: AUTH GSSAPI
            S: 504 5.5.4 mechanism not supported
            C: AUTH PLAIN !!!
            S: 501 5.5.2 not base64
            C: AUTH PLAIN =
            S: 501 5.5.2 malformed credentials
            C: AUTH PLAIN a b
            S: 501 5.5.4 expected AUTH mechanism
            C: AUTH PLAIN
            S: 334\\x20
            C: *
            S: 501 5.7.0 authentication cancelled
            C: AUTH PLAIN
            S: 334\\x20
            c: AGFs\\n
            S: 500 5.5.2 lines end with CRLF
            C: AGFsaWNlAHBpZ2Vvbg==
            S: 500 5.5.1 command not recognised
            C: AUTH PLAIN
            S: 334\\x20
            C: {}
            S: 501 5.5.2 malformed credentials
            C: AUTH PLAIN
            S: 334\\x20
            C: {}
            S: 500 5.5.6 line too long
            C: AUTH LOGIN
            S: 334 VXNlcm5hbWU6
            C: YWxpY2U=
            S: 334 UGFzc3dvcmQ6
            C: bGF0ZXI=
            S: 454 4.7.0 cannot authenticate now, try again later
            E: authenticate alice -
            C: auth login YWxpY2U=
            S: 334 UGFzc3dvcmQ6
            C: d3Jvbmc=
            S: 535 5.7.8 authentication failed
            E: authenticate alice -
            C: AUTH PLAIN
            S: 334\\x20
            C: Ym9iAGFsaWNlAHBpZ2Vvbg==
            S: 235 2.7.0 authenticated
            E: authenticate alice bob
            ",
            "AAAA".repeat(3000),
            "AAAA".repeat(3073),
        ),
    );
}

#[test]
fn scram_where_it_is_on_offer() {
    let mut options = submission();
    options.mechanisms.scram_sha_256 = true;
    let trusted = Peer {
        tls: false,
        trusted: true,
    };
    check(
        &options,
        trusted,
        &format!(
            "{SUBMISSION}
            S: 250-STARTTLS
            S: 250-AUTH SCRAM-SHA-256 PLAIN LOGIN
            S: 250 ENHANCEDSTATUSCODES
            C: AUTH SCRAM-SHA-256
            S: 334\\x20
            C: {first}
            S: 334 {challenge}
            E: verifier user
            C: *
            S: 501 5.7.0 authentication cancelled
            C: AUTH SCRAM-SHA-256 {first}
            S: 334 {challenge}
            E: verifier user
            C: {last}
            S: 535 5.7.8 authentication failed
            E: proof user false
            ",
            // n,,n=user,r=client
            first = "biwsbj11c2VyLHI9Y2xpZW50",
            // r=clientnonce,s=c2FsdA==,i=4096
            challenge = "cj1jbGllbnRub25jZSxzPWMyRnNkQT09LGk9NDA5Ng==",
            // c=biws,r=clientnonce,p= and the base64 of 32 zeros
            last = "Yz1iaXdzLHI9Y2xpZW50bm9uY2UscD1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBPQ==",
        ),
    );
}

#[test]
fn a_password_is_not_asked_for_in_plaintext() {
    check(
        &submission(),
        Peer::default(),
        &format!(
            "{SUBMISSION}
            S: 250-STARTTLS
            S: 250 ENHANCEDSTATUSCODES
            C: AUTH LOGIN
            S: 538 5.7.11 start TLS before sending a password
            "
        ),
    );
}
