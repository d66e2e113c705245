use super::*;
use crate::pop3::transcript::check;
use crate::sasl::scram::Verifier;

const LIMITS: Limits = Limits {
    bad_commands_max: 10,
    failed_logins_max: 3,
};
const PASSWORDS: Mechanisms = Mechanisms {
    passwords: true,
    plain_of_nodes: false,
    scram_sha_256: false,
};
const PLAIN: Offer = Offer {
    stls: true,
    passwords: false,
    mechanisms: PASSWORDS,
    redirectors: false,
};
const TRUSTED: Offer = Offer {
    stls: true,
    passwords: true,
    mechanisms: PASSWORDS,
    redirectors: false,
};

/// Feeds `pieces`; alice/pigeon is let in (written as `(in ...)`), bob may not use POP3, the clock is out of order for carol.
fn run(offer: Offer, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut session = Authorization::new(offer, LIMITS, &mut out);
    for mut piece in pieces.iter().copied() {
        while let Some(event) = session.next_event(&mut piece, &mut out) {
            match event {
                AuthorizationEvent::Flush => {}
                AuthorizationEvent::Check(Claim::ScramFirst(first)) => {
                    let (exchange, challenge) = first.answer(Verifier::unprovable(4096, b"salt".to_vec()), "nonce");
                    session.challenge(exchange, &challenge, &mut out);
                }
                AuthorizationEvent::Check(Claim::Scram(_)) => session.refused(Refusal::Credentials, &mut out),
                AuthorizationEvent::Check(Claim::Password(credentials)) => {
                    match (credentials.name.as_str(), credentials.password.as_bytes()) {
                        ("alice", b"pigeon") => {
                            let text = if session.utf8() {
                                "(in with UTF8)\r\n"
                            } else {
                                "(in)\r\n"
                            };
                            out.extend_from_slice(text.as_bytes());
                            return out;
                        }
                        ("bob", b"pigeon") => session.refused(Refusal::NotAllowed, &mut out),
                        ("carol", _) => session.refused(Refusal::Temporary, &mut out),
                        _ => session.refused(Refusal::Credentials, &mut out),
                    }
                }
                AuthorizationEvent::StartTls => {
                    out.extend_from_slice(b"(handshake)\r\n");
                    session.tls_started();
                }
                AuthorizationEvent::Close => {
                    out.extend_from_slice(b"(closed)\r\n");
                    return out;
                }
            }
        }
    }
    out
}

#[test]
fn logins() {
    check(
        "S: +OK PigeonAir POP3 ready
         C: USER alice
         S: +OK
         C: CAPA
         S: +OK Capability list follows
         S: STLS
         S: USER
         S: SASL PLAIN LOGIN
         S: TOP
         S: UIDL
         S: PIPELINING
         S: RESP-CODES
         S: AUTH-RESP-CODE
         S: EXPIRE NEVER
         S: UTF8 USER
         S: IMPLEMENTATION PigeonAir
         S: .
         C: PASS pigeon
         S: (in)
         C: STAT",
        |pieces| run(TRUSTED, pieces),
    );
    check(
        "S: +OK PigeonAir POP3 ready
         C: UTF8
         S: +OK UTF8 enabled
         C: AUTH
         S: +OK
         S: PLAIN
         S: LOGIN
         S: .
         C: AUTH CRAM-MD5
         S: -ERR Unknown mechanism
         C: AUTH LOGIN
         S: + VXNlcm5hbWU6
         C: *
         S: -ERR Authentication cancelled
         C: AUTH LOGIN YWxpY2U=
         S: + UGFzc3dvcmQ6
         C: cGlnZW9u
         S: (in with UTF8)",
        |pieces| run(TRUSTED, pieces),
    );
    check(
        "S: +OK PigeonAir POP3 ready
         C: AUTH PLAIN
         S: + 
         C: AGFsaWNlAHBpZ2Vvbg==
         S: (in)",
        |pieces| run(TRUSTED, pieces),
    );
}

#[test]
fn scram_where_it_is_on_offer() {
    let offer = Offer {
        mechanisms: Mechanisms {
            scram_sha_256: true,
            ..PASSWORDS
        },
        ..TRUSTED
    };
    check(
        "S: +OK PigeonAir POP3 ready
         C: AUTH
         S: +OK
         S: SCRAM-SHA-256
         S: PLAIN
         S: LOGIN
         S: .
         C: AUTH SCRAM-SHA-256
         S: + 
         C: biwsbj11c2VyLHI9Y2xpZW50
         S: + cj1jbGllbnRub25jZSxzPWMyRnNkQT09LGk9NDA5Ng==
         C: *
         S: -ERR Authentication cancelled
         C: AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9Y2xpZW50
         S: + cj1jbGllbnRub25jZSxzPWMyRnNkQT09LGk9NDA5Ng==
         C: Yz1iaXdzLHI9Y2xpZW50bm9uY2UscD1BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBPQ==
         S: -ERR [AUTH] Wrong name or password",
        |pieces| run(offer, pieces),
    );
}

#[test]
fn refusals_and_the_end_after_three() {
    check(
        "S: +OK PigeonAir POP3 ready
         C: PASS pigeon
         S: -ERR USER first
         C: USER alice
         S: +OK
         C: PASS wrong
         S: -ERR [AUTH] Wrong name or password
         C: PASS pigeon
         S: -ERR USER first
         C: AUTH PLAIN AGJvYgBwaWdlb24=
         S: -ERR [AUTH] This account may not use POP3
         C: USER carol
         S: +OK
         C: PASS x
         S: -ERR [SYS/TEMP] Cannot check the password now, try again later
         S: (closed)
         C: NOOP",
        |pieces| run(TRUSTED, pieces),
    );
    check(
        "S: +OK PigeonAir POP3 ready
         C: AUTH PLAIN Ym9iAGFsaWNlAHBpZ2Vvbg==
         S: -ERR [AUTH] Wrong name or password
         C: AUTH PLAIN AGFsaWNlAA==
         S: -ERR [AUTH] Wrong name or password
         C: USER alice
         S: +OK
         C: PASS 
         S: -ERR [AUTH] Wrong name or password
         S: (closed)",
        |pieces| run(TRUSTED, pieces),
    );
}

#[test]
fn passwords_need_tls() {
    check(
        "S: +OK PigeonAir POP3 ready
         C: USER alice
         S: -ERR Passwords need TLS here, use STLS first
         C: AUTH
         S: +OK
         S: .
         C: AUTH PLAIN AGFsaWNlAHBpZ2Vvbg==
         S: -ERR Passwords need TLS here, use STLS first
         C: UTF8
         S: +OK UTF8 enabled
         C: STLS
         S: +OK Begin TLS
         S: (handshake)
         C: STLS
         S: -ERR TLS is not on offer
         C: USER alice
         S: +OK
         C: PASS pigeon
         S: (in)",
        |pieces| run(PLAIN, pieces),
    );
}

#[test]
fn bad_commands_end_the_session() {
    let long = "x".repeat(COMMAND_LINE_MAX - 1);
    let longer = "x".repeat(AUTHENTICATION_LINE_MAX);
    let transcript = format!(
        "S: +OK PigeonAir POP3 ready
         C: {long}
         S: -ERR Line too long
         C: {longer}
         S: -ERR Line too long
         C: AUTH PLAIN
         S: + 
         C: {longer}
         S: -ERR Line too long
         C: AUTH PLAIN !
         S: -ERR Not base64
         C: AUTH PLAIN AAAAAA==
         S: -ERR [AUTH] Wrong name or password
         C: AUTH LOGIN AAA=
         S: -ERR [AUTH] Wrong name or password
         C: RETR
         S: -ERR This command needs an argument
         C: NOOP
         S: +OK
         C: EHLO x
         S: -ERR Unknown command
         C: STAT
         S: -ERR Log in first
         C: PASS
         S: -ERR This command needs an argument
         C: QUIT now
         S: -ERR This command takes no argument
         C: GET / HTTP/1.1
         S: -ERR Too many bad commands
         S: (closed)
         C: NOOP"
    );
    check(&transcript, |pieces| run(TRUSTED, pieces));
}

#[test]
fn quit_closes() {
    check(
        "S: +OK PigeonAir POP3 ready
         C: NOOP
         S: +OK
         C: QUIT
         S: +OK Bye
         S: (closed)
         C: NOOP",
        |pieces| run(PLAIN, pieces),
    );
}

#[test]
fn pipelined_commands_are_flushed_in_pieces() {
    let mut out = Vec::new();
    let mut session = Authorization::new(TRUSTED, LIMITS, &mut out);
    let input = "CAPA\r\n".repeat(1000);
    let mut rest = input.as_bytes();
    let mut flushes = 0;
    while let Some(event) = session.next_event(&mut rest, &mut out) {
        assert_eq!(event, AuthorizationEvent::Flush);
        assert!(out.len() < 2 * OUTPUT_FLUSH_BYTES);
        out.clear();
        flushes += 1;
    }
    assert!(flushes > 10);
}

#[test]
fn waiting_is_small() {
    assert!(size_of::<Authorization>() <= 96, "{}", size_of::<Authorization>());
}
