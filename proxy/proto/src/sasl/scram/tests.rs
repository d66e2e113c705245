//! The example of RFC 7677, and everything that is nearly it.

use super::client::{Challenge, Client, ClientKeys, ScramError};
use super::*;
use crate::sasl::{Claim, Mechanism, Progress};

const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn salt() -> Vec<u8> {
    STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap()
}

fn verifier(password: &str) -> Verifier {
    ClientKeys::derive(password.as_bytes(), &salt(), 4096).verifier(salt(), 4096)
}

fn first(message: &str) -> Result<ClientFirst, SaslError> {
    let line = STANDARD.encode(message);
    match Exchange::start(Mechanism::ScramSha256, Some(line.as_bytes())) {
        Ok((_, Progress::Complete(Claim::ScramFirst(first)))) => Ok(first),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    }
}

/// The exchange up to the answer to the client's last message.
fn after_final(password: &str, client_first: &str, client_final: &str) -> (Exchange, Result<Progress, SaslError>) {
    let (mut exchange, _) = first(client_first).unwrap().answer(verifier(password), SERVER_NONCE);
    let progress = exchange.respond(STANDARD.encode(client_final).as_bytes());
    (exchange, progress)
}

#[test]
fn the_example_of_the_rfc() {
    let (mut exchange, challenge) = Exchange::start(Mechanism::ScramSha256, None).unwrap();
    assert_eq!(challenge, Progress::Challenge("".into()));
    let progress = exchange.respond(STANDARD.encode(CLIENT_FIRST).as_bytes()).unwrap();
    let Progress::Complete(Claim::ScramFirst(first)) = progress else {
        panic!("{progress:?}");
    };
    assert_eq!((first.name(), first.authorization()), ("user", None));
    let (mut exchange, challenge) = first.answer(verifier("pencil"), SERVER_NONCE);
    assert_eq!(challenge, STANDARD.encode(SERVER_FIRST));
    let progress = exchange.respond(STANDARD.encode(CLIENT_FINAL).as_bytes());
    assert_eq!(progress, Ok(Progress::Challenge(STANDARD.encode(SERVER_FINAL).into())));
    let proof = Proof {
        authorization: None,
        name: "user".to_owned(),
        proven: Some(verifier("pencil")),
    };
    assert_eq!(exchange.respond(b""), Ok(Progress::Complete(Claim::Scram(proof))));
}

#[test]
fn another_password_proves_nothing_and_gets_no_proof_of_the_server() {
    let (_, progress) = after_final("pencils", CLIENT_FIRST, CLIENT_FINAL);
    let Ok(Progress::Complete(Claim::Scram(proof))) = progress else {
        panic!("{progress:?}");
    };
    assert_eq!((proof.name.as_str(), proof.proven), ("user", None));
}

#[test]
fn each_bit_of_the_last_message_counts() {
    for place in 0..CLIENT_FINAL.len() {
        for bit in 0..7 {
            let mut changed = CLIENT_FINAL.as_bytes().to_vec();
            changed[place] ^= 1 << bit;
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            match after_final("pencil", CLIENT_FIRST, &changed).1 {
                Err(SaslError::Malformed) => {}
                Ok(Progress::Complete(Claim::Scram(Proof { proven: None, .. }))) => {}
                // Bits behind the proof's last byte, in its base64, are refused by the decoder.
                other => panic!("{changed}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_client_has_nothing_to_add_at_the_end() {
    let (mut exchange, progress) = after_final("pencil", CLIENT_FIRST, CLIENT_FINAL);
    assert!(matches!(progress, Ok(Progress::Challenge(_))));
    assert_eq!(exchange.respond(b"AAAA"), Err(SaslError::Malformed));
    let (mut exchange, _) = after_final("pencil", CLIENT_FIRST, CLIENT_FINAL);
    assert_eq!(exchange.respond(b"*"), Err(SaslError::Cancelled));
}

#[test]
fn first_messages() {
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let long_nonce = "x".repeat(NONCE_BYTES_MAX + 1);
    let good = |message: &str, name: &str, authorization: Option<&str>| {
        let first = first(message).unwrap_or_else(|error| panic!("{message}: {error}"));
        assert_eq!(
            (first.name(), first.authorization()),
            (name, authorization),
            "{message}"
        );
    };
    good("y,,n=user,r=a", "user", None);
    good("n,,n=user,r=a,x=more,y=", "user", None);
    good("n,a=user,n=user,r=a", "user", None);
    good("n,a=bob@example.org,n=user,r=a", "user", Some("bob@example.org"));
    good("n,a=b=2Cb=3D,n=a=2Cb=3Dc,r=a", "a,b=c", Some("b,b="));
    good("n,,n=jürgen,r=a", "jürgen", None);
    for (message, error) in [
        ("", SaslError::Malformed),
        ("n,,", SaslError::Malformed),
        ("n,,n=,r=a", SaslError::Malformed),
        ("n,,n=user", SaslError::Malformed),
        ("n,,n=user,r=", SaslError::Malformed),
        ("n,,n=user,r=a b", SaslError::Malformed),
        ("n,,r=a,n=user", SaslError::Malformed),
        ("n,user,n=user,r=a", SaslError::Malformed),
        ("n,a=,n=user,r=a", SaslError::Malformed),
        ("p=tls-exporter,,n=user,r=a", SaslError::Malformed),
        ("x,,n=user,r=a", SaslError::Malformed),
        ("n,,m=must,n=user,r=a", SaslError::Malformed),
        ("n,,n=us=er,r=a", SaslError::Malformed),
        ("n,,n=us=2,r=a", SaslError::Malformed),
        ("n,,n=us=2ü,r=a", SaslError::Malformed),
        ("n,,n=us\0er,r=a", SaslError::Malformed),
        (&format!("n,,n={long},r=a"), SaslError::TooLong),
        (&format!("n,,n=user,r={long_nonce}"), SaslError::TooLong),
        (&format!("n,,n=user,r=a,x={}", "y".repeat(9000)), SaslError::TooLong),
    ] {
        assert_eq!(first(message), Err(error), "{message}");
    }
    let line = STANDARD.encode(b"n,,n=\xff,r=a");
    let not_text = Exchange::start(Mechanism::ScramSha256, Some(line.as_bytes())).map(|_| ());
    assert_eq!(not_text, Err(SaslError::Malformed));
}

/// What was said first is part of what is proven: whom to act as cannot be changed on the way.
#[test]
fn the_header_is_proven_too() {
    for header in ["n,a=other,", "y,,"] {
        let (_, progress) = after_final(
            "pencil",
            &format!("{header}n=user,r=rOprNGfwEbeRWgbNEkqO"),
            CLIENT_FINAL,
        );
        assert_proves_nothing(progress);
    }
}

/// Somebody who has heard an exchange says the same again: the server's nonce is another one.
#[test]
fn an_exchange_that_is_played_again_proves_nothing() {
    let (mut exchange, _) = first(CLIENT_FIRST).unwrap().answer(verifier("pencil"), "another");
    assert_proves_nothing(exchange.respond(STANDARD.encode(CLIENT_FINAL).as_bytes()));
}

fn assert_proves_nothing(progress: Result<Progress, SaslError>) {
    let Ok(Progress::Complete(Claim::Scram(proof))) = progress else {
        panic!("{progress:?}");
    };
    assert_eq!((proof.name.as_str(), proof.proven), ("user", None));
}

#[test]
fn keys_are_never_shown() {
    let shown = format!("{:?}", verifier("pencil"));
    assert_eq!(shown, "Verifier { iterations: 4096, .. }");
}

#[test]
fn a_client_as_in_the_rfc() {
    let client = Client::new("user", None, "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(client.first(), STANDARD.encode(CLIENT_FIRST));
    let challenge = client.challenge(STANDARD.encode(SERVER_FIRST).as_bytes()).unwrap();
    assert_eq!((&challenge.salt, challenge.iterations), (&salt(), 4096));
    let (last, expected) = challenge.answer(&ClientKeys::derive(b"pencil", &salt(), 4096));
    assert_eq!(last, STANDARD.encode(CLIENT_FINAL));
    let check = |message: &str| expected.check(STANDARD.encode(message).as_bytes());
    assert_eq!(check(SERVER_FINAL), Ok(()));
    assert_eq!(
        check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="),
        Err(ScramError::Malformed)
    );
    assert_eq!(
        check("v=AAriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        Err(ScramError::Server)
    );
    assert_eq!(check("v="), Err(ScramError::Server));
    assert_eq!(check("e=other-error"), Err(ScramError::Server));
    assert_eq!(expected.check(b"!"), Err(ScramError::Malformed));
}

#[test]
fn challenges_that_a_client_does_not_take() {
    let read = |message: &str| -> Result<Challenge, ScramError> {
        Client::new("user", None, "abc").challenge(STANDARD.encode(message).as_bytes())
    };
    assert!(read("r=abcd,s=c2FsdA==,i=4096,x=more").is_ok());
    for (message, error) in [
        ("r=abc,s=c2FsdA==,i=4096", ScramError::Malformed),
        ("r=xbcd,s=c2FsdA==,i=4096", ScramError::Malformed),
        ("r=abcd,s=,i=4096", ScramError::Malformed),
        ("r=abcd,s=c2FsdA==,i=", ScramError::Malformed),
        ("r=abcd,s=c2FsdA==", ScramError::Malformed),
        ("m=x,r=abcd,s=c2FsdA==,i=4096", ScramError::Malformed),
        ("e=unknown-user", ScramError::Malformed),
        ("r=abcd,s=c2FsdA==,i=4095", ScramError::Iterations),
        ("r=abcd,s=c2FsdA==,i=1000001", ScramError::Iterations),
    ] {
        assert_eq!(read(message).map(|_| ()), Err(error), "{message}");
    }
}

#[test]
fn both_sides_understand_each_other() {
    for (name, authorization) in [("user", None), ("a,b=c", Some("d=,e")), ("jürgen", Some("x"))] {
        let client = Client::new(name, authorization, "client");
        let Ok((_, Progress::Complete(Claim::ScramFirst(first)))) =
            Exchange::start(Mechanism::ScramSha256, Some(client.first().as_bytes()))
        else {
            panic!("{name}");
        };
        let (mut exchange, challenge) = first.answer(verifier("pencil"), "server");
        let (last, expected) = client
            .challenge(challenge.as_bytes())
            .unwrap()
            .answer(&ClientKeys::derive(b"pencil", &salt(), 4096));
        let Ok(Progress::Challenge(server_final)) = exchange.respond(last.as_bytes()) else {
            panic!("{name}");
        };
        assert_eq!(expected.check(server_final.as_bytes()), Ok(()));
        let Ok(Progress::Complete(Claim::Scram(proof))) = exchange.respond(b"") else {
            panic!("{name}");
        };
        assert_eq!(
            (proof.name.as_str(), proof.authorization.as_deref()),
            (name, authorization)
        );
        assert!(proof.proven.is_some());
    }
}
