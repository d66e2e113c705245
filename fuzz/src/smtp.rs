//! SMTP, LMTP and submission: the same replies and events however the input is cut, messages counted right.

use std::sync::Arc;
use std::time::Instant;

use pigeon_proto::sasl::Claim;
use pigeon_proto::sasl::scram::Verifier;
use pigeon_proto::smtp::{
    Authentication, AuthenticationAnswer, BareLineEnds, Enhanced, Event, Mode, Options, Peer, Reply, Session,
};

use crate::steer::{self, Steer};

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let mode = [Mode::Smtp, Mode::Lmtp, Mode::Submission][steer.option(3) as usize];
    let mut options = Options::new(mode, "mx.example.org");
    options.start_tls = steer.option(2) == 0;
    options.bare_line_ends = [BareLineEnds::Refuse, BareLineEnds::Normalise][steer.option(2) as usize];
    if steer.option(2) == 0 {
        options.authentication = Authentication::Offered;
        options.mechanisms.scram_sha_256 = true;
    }
    if steer.option(2) == 0 {
        options.limits.message_bytes_max = 200;
        options.limits.recipients_max = 3;
        options.limits.errors_max = 3;
    }
    let peer = Peer {
        tls: false,
        trusted: steer.option(2) == 0,
    };
    let options = Arc::new(options);
    let whole = dialogue(&options, peer, &Steer::whole(data));
    let cut = dialogue(&options, peer, &steer.pieces(data));
    assert_eq!(whole, cut);
}

/// All that is visible of a session: what it sends, and its events.
fn dialogue(options: &Arc<Options>, peer: Peer, pieces: &[&[u8]]) -> (String, Vec<String>) {
    let now = Instant::now();
    let mut session = Session::new(options.clone(), peer);
    session.greet(now);
    let mut output = Vec::new();
    let mut events = Vec::new();
    let mut message = Vec::new();
    'pieces: for piece in pieces {
        let mut rest = *piece;
        loop {
            let step = session.process(rest, now);
            let Some(event) = step.event else {
                assert_eq!(step.consumed, rest.len(), "all is consumed when nothing happens");
                break;
            };
            match event {
                Event::Mail {
                    reverse_path,
                    parameters,
                } => {
                    message.clear();
                    events.push(format!("mail {reverse_path:?} {parameters:?}"));
                    let refused = reverse_path.is_some_and(|path| path.local() == "refused");
                    let reply = Reply::new(451, Enhanced(4, 3, 0), "not now");
                    session.answer_mail(if refused { Err(reply) } else { Ok(()) }, now);
                }
                Event::Recipient { path, parameters } => {
                    let text = format!("recipient {path:?} {parameters:?}");
                    let refused = text.contains("refused");
                    events.push(text);
                    let reply = Reply::new(550, Enhanced(5, 1, 1), "nobody");
                    session.answer_recipient(if refused { Err(reply) } else { Ok(()) }, now);
                }
                Event::Authenticate(Claim::ScramFirst(first)) => {
                    events.push(format!("{first:?}"));
                    let (exchange, challenge) = first.answer(Verifier::unprovable(4096, b"salt".to_vec()), "nonce");
                    session.challenge(exchange, challenge, now);
                }
                Event::Authenticate(Claim::Scram(proof)) => {
                    assert_eq!(proof.proven, None);
                    session.answer_authentication(AuthenticationAnswer::Refused, now);
                }
                Event::Authenticate(Claim::Password(credentials)) => {
                    events.push(format!("authenticate {credentials:?}"));
                    let answer = match credentials.password.as_bytes() {
                        b"pigeon" => AuthenticationAnswer::Accepted,
                        _ => AuthenticationAnswer::Refused,
                    };
                    session.answer_authentication(answer, now);
                }
                Event::BodyBegin => message.clear(),
                Event::Body(part) => {
                    let bytes = part.bytes(rest);
                    assert!(!bytes.is_empty());
                    message.extend_from_slice(bytes);
                }
                Event::BodyEnd(summary) => {
                    assert_eq!(summary.bytes, message.len() as u64);
                    assert_eq!(summary.eight_bit, !message.is_ascii());
                    assert!(summary.bytes <= options.limits.message_bytes_max);
                    events.push(format!("message {}", message.escape_ascii()));
                    let due = session.body_answers_due();
                    assert!(due > 0);
                    for _ in 0..due {
                        session.answer_body(&Reply::new(250, Enhanced(2, 0, 0), "kept"), now);
                    }
                }
                Event::BodyAbandoned(why) => {
                    message.clear();
                    events.push(format!("abandoned {why:?}"));
                }
                Event::Reset => events.push("reset".to_owned()),
                // What follows in plaintext never counts.
                Event::StartTls => {
                    events.push("starttls".to_owned());
                    break 'pieces;
                }
                Event::Close => events.push("close".to_owned()),
            }
            rest = &rest[step.consumed..];
        }
        output.extend_from_slice(&session.take_output());
    }
    output.extend_from_slice(&session.take_output());
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        assert!(
            line.ends_with(b"\r\n") && line.len() <= 512 && line.is_ascii(),
            "{}",
            line.escape_ascii()
        );
    }
    (output.escape_ascii().to_string(), events)
}
