//! IMAP commands: the same events however the input is cut; the reader stays usable whatever came.

use pigeon_proto::imap::{Command, CommandReader, Event, ReaderLimits};

use crate::steer::{self, Steer};

/// Small bounds, so that the fuzzer reaches them; a line holds at least the bytes that a tag is looked for in.
static SMALL: ReaderLimits = ReaderLimits {
    line_bytes_max: 300,
    long_line_bytes_max: 400,
    literal_bytes_max: 20,
    literals_bytes_max: 30,
    literals_max: 3,
    non_synchronising_bytes_max: 4096,
    drain_bytes_max: 600,
    append: true,
};

pub(crate) fn run(input: &[u8]) {
    let (data, mut steer) = steer::split(input);
    let limits = [&ReaderLimits::BEFORE_LOGIN, &ReaderLimits::AFTER_LOGIN, &SMALL][steer.option(3) as usize];
    let accept = steer.option(2) == 0;
    let whole = events(limits, accept, &Steer::whole(data));
    let cut = events(limits, accept, &steer.pieces(data));
    assert_eq!(whole, cut);
}

fn events(limits: &'static ReaderLimits, accept: bool, pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = CommandReader::new(limits);
    let mut seen = Vec::new();
    let mut message: Option<Vec<u8>> = None;
    for piece in pieces {
        let mut input = *piece;
        loop {
            let before = input.len();
            let event = reader.read(&mut input);
            assert!(input.len() <= before);
            match event {
                Event::NeedMore => {
                    assert!(input.is_empty());
                    break;
                }
                Event::Command(tag, command) => {
                    if matches!(command, Command::Idle) {
                        reader.expect_line();
                    }
                    seen.push(format!("{tag} {command:?}"));
                }
                Event::Append(append) => {
                    seen.push(format!("{append:?}"));
                    if accept {
                        message = Some(Vec::new());
                        reader.accept_literal();
                    } else {
                        reader.refuse_literal();
                    }
                }
                Event::AppendData(bytes) => {
                    assert!(!bytes.is_empty());
                    message
                        .as_mut()
                        .expect("a message was accepted")
                        .extend_from_slice(bytes);
                }
                Event::AppendMessageEnd => {
                    let message = message.take().expect("a message was accepted");
                    seen.push(format!("message {}", message.escape_ascii()));
                }
                other => seen.push(format!("{other:?}")),
            }
        }
    }
    seen
}
