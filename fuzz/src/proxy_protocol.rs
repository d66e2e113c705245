//! The PROXY protocol: a header is recognised at its last byte, and nothing that follows changes what was said.

use pigeon_proto::proxy_protocol::parse;

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, _) = steer::split(input);
    let mut decided = None;
    for length in 0..=data.len().min(600) {
        let now = parse(&data[..length]);
        match &decided {
            Some(before) => assert_eq!(&now, before, "more bytes changed the answer"),
            None => match now {
                Ok(None) => {}
                Ok(Some((_, taken))) => {
                    assert_eq!(taken, length, "the header ends where it was recognised");
                    decided = Some(now);
                }
                Err(_) => decided = Some(now),
            },
        }
    }
}
