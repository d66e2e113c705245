use super::*;
use pigeon_engine::testing::{Dialogue, MemoryStream, same_for_all_cuts};
use pigeon_proto::network::NetworkSet;
use std::net::SocketAddr;

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.10 51234 25\r\n";

fn policy(required: bool) -> AcceptPolicy {
    AcceptPolicy {
        balancers: NetworkSet::loopback(),
        header_required: required,
        crowded: Bytes::from_static(b"421 4.7.0 too many connections\r\n"),
        ..AcceptPolicy::default()
    }
}

/// What `greet` made of a connection: the client, what its protocol reads first, or the error.
type Greeted = Result<(SocketAddr, Vec<u8>), String>;

async fn greeted(stream: MemoryStream, policy: AcceptPolicy, limits: ConnectionLimits) -> Greeted {
    match greet(stream, &policy, &limits).await {
        Ok((mut stream, _permit)) => {
            let first = match stream.receive().await {
                Ok(Some(first)) => first,
                _ => Vec::new(),
            };
            let mut unread = stream.unread();
            unread.splice(0..0, first);
            Ok((stream.peer_address(), unread))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn limits() -> ConnectionLimits {
    ConnectionLimits::new(10, 10)
}

#[test]
fn a_balancer_names_its_client() {
    let mut input = HEADER.to_vec();
    input.extend_from_slice(b"EHLO x\r\n");
    let output = same_for_all_cuts(&input, |pieces| {
        let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(true), limits()));
        pieces.iter().for_each(|piece| dialogue.peer.send(piece));
        dialogue.peer.end();
        dialogue.run();
        let (client, rest) = dialogue.output().unwrap().unwrap();
        assert_eq!(client, "203.0.113.7:51234".parse().unwrap());
        // Byte by byte only the first of the rest has been received.
        assert!(b"EHLO x\r\n".starts_with(&rest[..]) && !rest.is_empty());
        rest[..1].to_vec()
    });
    assert_eq!(output, b"E");
}

#[test]
fn a_header_counts_from_balancers_only() {
    let stranger = "198.51.100.1:1".parse().unwrap();
    let mut dialogue = Dialogue::start(|stream| greeted(stream.from_peer(stranger), policy(true), limits()));
    dialogue.send(HEADER);
    assert_eq!(dialogue.output().unwrap(), Ok((stranger, HEADER.to_vec())));
}

#[test]
fn what_is_no_header_closes_where_one_is_required() {
    for (bytes, error) in [
        (b"EHLO x\r\n".as_slice(), "no PROXY header"),
        (b"PROXY TCP4 nonsense\r\n", "malformed PROXY header"),
    ] {
        let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(true), limits()));
        dialogue.send(bytes);
        assert_eq!(dialogue.output().unwrap(), Err(error.to_owned()));
        assert!(dialogue.peer.is_closed());
    }
    let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(true), limits()));
    assert_eq!(dialogue.peer.timeout(), Some(Duration::from_secs(10)));
    dialogue.time_out();
    assert!(dialogue.output().unwrap().is_err());
    let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(true), limits()));
    dialogue.end();
    assert!(dialogue.output().unwrap().is_err());
}

#[test]
fn a_header_can_be_left_out_where_it_is_not_required() {
    let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(false), limits()));
    assert_eq!(dialogue.peer.timeout(), Some(Duration::from_millis(500)));
    dialogue.send(b"EHLO x\r\n");
    let (client, rest) = dialogue.output().unwrap().unwrap();
    assert!(client.ip().is_loopback());
    assert_eq!(rest, b"EHLO x\r\n");
    let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(false), limits()));
    dialogue.time_out();
    assert!(dialogue.output().unwrap().is_ok());
}

#[test]
fn a_crowd_is_told_and_closed() {
    let limits = ConnectionLimits::new(10, 1);
    let client = "203.0.113.7".parse().unwrap();
    let _permit = limits.admit(client, false).ok().unwrap();
    let mut dialogue = Dialogue::start(|stream| greeted(stream, policy(true), limits.clone()));
    dialogue.send(HEADER);
    assert_eq!(dialogue.take_text(), "421 4.7.0 too many connections\r\n");
    assert_eq!(
        dialogue.output().unwrap(),
        Err("too many connections of one client".to_owned())
    );
    let unlimited = AcceptPolicy {
        unlimited: "203.0.113.0/24".parse().into_iter().collect(),
        ..policy(true)
    };
    let mut dialogue = Dialogue::start(|stream| greeted(stream, unlimited, limits.clone()));
    dialogue.send(HEADER);
    dialogue.end();
    assert!(dialogue.output().unwrap().is_ok());
    assert_eq!(limits.count(), 1);
}
