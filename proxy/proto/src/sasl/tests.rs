//! The mechanisms that carry a password; SCRAM's are in `scram/tests.rs`.

use super::*;
use base64::engine::general_purpose::STANDARD;

fn complete(authorization: Option<&str>, name: &str, password: &str, mechanism: Mechanism) -> Progress {
    Progress::Complete(Claim::Password(Credentials {
        mechanism: Some(mechanism),
        authorization: authorization.map(str::to_owned),
        name: name.to_owned(),
        password: Password::new(password.as_bytes()).unwrap(),
    }))
}

#[test]
fn plain_takes_what_rfc_4616_allows() {
    let long_name = "n".repeat(NAME_BYTES_MAX + 1);
    let long_password = "p".repeat(PASSWORD_BYTES_MAX + 1);
    let cases: &[(&str, Result<Progress, SaslError>)] = &[
        (
            "\0tim\0tanstaafltanstaafl",
            Ok(complete(None, "tim", "tanstaafltanstaafl", Mechanism::Plain)),
        ),
        (
            "Ursel\0Kurt\0xipj3plmq",
            Ok(complete(Some("Ursel"), "Kurt", "xipj3plmq", Mechanism::Plain)),
        ),
        (
            "Kurt\0Kurt\0xipj3plmq",
            Ok(complete(None, "Kurt", "xipj3plmq", Mechanism::Plain)),
        ),
        (
            "\0jürgen@example.org\0pässword",
            Ok(complete(None, "jürgen@example.org", "pässword", Mechanism::Plain)),
        ),
        ("", Err(SaslError::Malformed)),
        ("\0\0", Err(SaslError::Malformed)),
        ("\0tim\0", Err(SaslError::Malformed)),
        ("\0\0secret", Err(SaslError::Malformed)),
        ("tim\0secret", Err(SaslError::Malformed)),
        ("\0tim\0secret\0more", Err(SaslError::Malformed)),
        ("\0tim\ntom\0secret", Err(SaslError::Malformed)),
        (&format!("\0{long_name}\0p"), Err(SaslError::TooLong)),
        (&format!("\0n\0{long_password}"), Err(SaslError::TooLong)),
    ];
    for (message, expected) in cases {
        let line = STANDARD.encode(message);
        let direct = Exchange::start(Mechanism::Plain, Some(line.as_bytes())).map(|(_, progress)| progress);
        // An empty message is "=" as an initial response and an empty line as an answer to the challenge.
        assert_eq!(&direct, expected, "{message:?}");
        let (mut exchange, challenge) = Exchange::start(Mechanism::Plain, None).unwrap();
        assert_eq!(challenge, Progress::Challenge("".into()));
        assert_eq!(&exchange.respond(line.as_bytes()), expected, "{message:?}");
    }
}

#[test]
fn login_asks_twice_and_takes_an_initial_name() {
    let (mut exchange, first) = Exchange::start(Mechanism::Login, None).unwrap();
    assert_eq!(first, Progress::Challenge("VXNlcm5hbWU6".into()));
    assert_eq!(
        exchange.respond(STANDARD.encode("tim").as_bytes()),
        Ok(Progress::Challenge("UGFzc3dvcmQ6".into()))
    );
    let last = exchange.respond(STANDARD.encode("secret").as_bytes());
    assert_eq!(last, Ok(complete(None, "tim", "secret", Mechanism::Login)));

    let (mut exchange, second) = Exchange::start(Mechanism::Login, Some(b"dGlt")).unwrap();
    assert_eq!(second, Progress::Challenge("UGFzc3dvcmQ6".into()));
    assert_eq!(exchange.respond(b""), Err(SaslError::Malformed));
    assert!(matches!(
        Exchange::start(Mechanism::Login, Some(b"=")),
        Err(SaslError::Malformed)
    ));
}

#[test]
fn lines_that_are_no_response() {
    let cases: &[(&[u8], SaslError)] = &[
        (b"*", SaslError::Cancelled),
        (b"**", SaslError::BadBase64),
        (b"AHRpbQB0 YW5z", SaslError::BadBase64),
        (b"\xff", SaslError::BadBase64),
        (b"A", SaslError::BadBase64),
        (&[b'A'; LINE_BYTES_MAX + 1], SaslError::TooLong),
    ];
    for (line, expected) in cases {
        for mechanism in Mechanism::ALL {
            let (mut exchange, _) = Exchange::start(mechanism, None).unwrap();
            assert_eq!(exchange.respond(line), Err(*expected));
        }
    }
}

#[test]
fn padding_may_be_missing_and_names_have_any_case() {
    assert_eq!(decode(b"dGk"), Ok(b"ti".to_vec()));
    assert_eq!(Mechanisms::default().parse(b"plain"), Some(Mechanism::Plain));
    assert_eq!(Mechanisms::default().parse(b"Login"), Some(Mechanism::Login));
    assert_eq!(Mechanisms::default().parse(b"SCRAM-SHA-256"), None);
}

#[test]
fn a_password_is_never_shown() {
    let credentials = Credentials::from_login_command(b"tim", b"secret").unwrap();
    assert!(!format!("{credentials:?}").contains("secret"));
    assert!(Credentials::from_login_command(b"", b"secret").is_err());
    assert!(Credentials::from_login_command(b"tim", b"").is_err());
    assert!(Credentials::from_login_command(b"t\0im", b"x").is_err());
}
