//! SASL: credentials that were read are read again from a response made of them, and nobody proves what cannot be proven.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pigeon_proto::sasl::scram::Verifier;
use pigeon_proto::sasl::{Claim, Credentials, Exchange, Mechanism, Progress};

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let mechanism = Mechanism::ALL[steer.option(3) as usize];
    // Mostly the lines are taken as what stands behind the base64, which the fuzzer would not find by itself.
    let encode = steer.option(4) != 0;
    let mut lines = data.split(|byte| *byte == b'\n').map(|line| match encode {
        true => STANDARD.encode(line).into_bytes(),
        false => line.to_vec(),
    });
    let initial = if steer.option(2) == 0 { lines.next() } else { None };
    let Ok((mut exchange, mut progress)) = Exchange::start(mechanism, initial.as_deref()) else {
        return;
    };
    loop {
        match progress {
            Progress::Challenge(_) => {}
            Progress::Complete(Claim::Password(credentials)) => return check(&credentials),
            Progress::Complete(Claim::ScramFirst(first)) => {
                assert!((1..=512).contains(&first.name().len()));
                (exchange, _) = first.answer(Verifier::unprovable(4096, b"salt".to_vec()), "nonce");
            }
            Progress::Complete(Claim::Scram(proof)) => return assert_eq!(proof.proven, None),
        }
        let Some(line) = lines.next() else { return };
        match exchange.respond(&line) {
            Ok(next) => progress = next,
            Err(_) => return,
        }
    }
}

fn check(credentials: &Credentials) {
    assert!((1..=512).contains(&credentials.name.len()));
    assert!((1..=1024).contains(&credentials.password.as_bytes().len()));
    let mut response = credentials.authorization.clone().unwrap_or_default().into_bytes();
    response.push(0);
    response.extend_from_slice(credentials.name.as_bytes());
    response.push(0);
    response.extend_from_slice(credentials.password.as_bytes());
    let response = STANDARD.encode(response);
    match Exchange::start(Mechanism::Plain, Some(response.as_bytes())) {
        Ok((_, Progress::Complete(Claim::Password(again)))) => {
            assert_eq!(
                (&again.authorization, &again.name),
                (&credentials.authorization, &credentials.name)
            );
            assert_eq!(again.password, credentials.password);
        }
        other => panic!("{other:?} for {credentials:?}"),
    }
}
