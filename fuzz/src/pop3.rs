//! POP3 before and after the login, and messages on their way out: the same output however the input is cut.

use bytes::Bytes;
use pigeon_proto::pop3::{
    Authorization, AuthorizationEvent, Limits, Maildrop, MessageText, Offer, Refusal, Transaction, TransactionEvent,
};
use pigeon_proto::sasl::scram::Verifier;
use pigeon_proto::sasl::{Claim, Mechanisms};

use crate::steer::{self, Steer};

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    match steer.option(3) {
        0 => {
            let offer = Offer {
                stls: steer.option(2) == 0,
                passwords: steer.option(2) == 0,
                redirectors: steer.option(2) == 0,
                mechanisms: Mechanisms {
                    passwords: steer.option(2) == 0,
                    scram_sha_256: steer.option(2) == 0,
                    plain_of_nodes: steer.option(2) == 0,
                },
            };
            assert_eq!(
                authorization(offer, &Steer::whole(data)),
                authorization(offer, &steer.pieces(data))
            );
        }
        1 => assert_eq!(transaction(&Steer::whole(data)), transaction(&steer.pieces(data))),
        _ => {
            let body_lines = [None, Some(0), Some(2)][steer.option(3) as usize];
            let whole = text(body_lines, &Steer::whole(data));
            // A message may have been stored with LF alone at the ends of its lines.
            assert!(
                whole.ends_with(b"\n.\r\n") || whole == b".\r\n",
                "{}",
                whole.escape_ascii()
            );
            assert_eq!(whole, text(body_lines, &steer.pieces(data)));
        }
    }
}

fn authorization(offer: Offer, pieces: &[&[u8]]) -> (String, Vec<String>) {
    let mut output = Vec::new();
    let mut out = Vec::new();
    let mut events = Vec::new();
    let mut session = Authorization::new(
        offer,
        Limits {
            bad_commands_max: 10,
            failed_logins_max: 3,
        },
        &mut out,
    );
    'pieces: for piece in pieces {
        let mut input = *piece;
        while let Some(event) = session.next_event(&mut input, &mut out) {
            match event {
                AuthorizationEvent::Flush => output.append(&mut out),
                AuthorizationEvent::Check(Claim::ScramFirst(first)) => {
                    events.push(format!("{first:?}"));
                    let (exchange, challenge) = first.answer(Verifier::unprovable(4096, b"salt".to_vec()), "nonce");
                    session.challenge(exchange, &challenge, &mut out);
                }
                AuthorizationEvent::Check(claim) => {
                    events.push(format!("{claim:?}"));
                    session.refused(Refusal::Credentials, &mut out);
                }
                end => {
                    events.push(format!("{end:?}"));
                    break 'pieces;
                }
            }
        }
        assert!(input.is_empty());
    }
    output.append(&mut out);
    (output.escape_ascii().to_string(), events)
}

fn transaction(pieces: &[&[u8]]) -> (String, Vec<String>) {
    let maildrop = Maildrop::new(7, [(1, 100), (5, 2000), (6, 0), (9, u32::MAX)].into_iter());
    let mut output = Vec::new();
    let mut out = Vec::new();
    let mut events = Vec::new();
    let mut session = Transaction::new(maildrop, 10, Mechanisms::default(), &mut out);
    'pieces: for piece in pieces {
        let mut input = *piece;
        while let Some(event) = session.next_event(&mut input, &mut out) {
            match event {
                TransactionEvent::Flush => output.append(&mut out),
                TransactionEvent::List(mut listing) => while !listing.fill(session.maildrop(), &mut out, 10) {},
                TransactionEvent::Retrieve { uid, .. } => {
                    assert!([1, 5, 6, 9].contains(&uid));
                    events.push(format!("{event:?}"));
                    session.message_gone(&mut out);
                }
                TransactionEvent::Update => {
                    events.push(format!(
                        "delete {:?}",
                        session.maildrop().deleted_uids().collect::<Vec<_>>()
                    ));
                    session.updated(true, &mut out);
                }
                TransactionEvent::Close => {
                    events.push("close".to_owned());
                    break 'pieces;
                }
            }
        }
        assert!(input.is_empty());
    }
    output.append(&mut out);
    (output.escape_ascii().to_string(), events)
}

fn text(body_lines: Option<u64>, pieces: &[&[u8]]) -> Vec<u8> {
    let mut text = MessageText::new(body_lines, true);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&text.push(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(text.finish());
    out
}
