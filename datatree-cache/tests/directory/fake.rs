//! A server that says what a real one cannot be made to say.

use crate::{Following, options};
use pigeon_datatree_cache::CopyState;
use pigeon_datatree_cache::ldap::{Bind, LdapOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// BER, definite lengths.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match contents.len() {
        length @ 0..0x80 => bytes.push(length as u8),
        length => {
            bytes.push(0x82);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend(contents);
    bytes
}

fn joined(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn message(id: u8, operation: Vec<u8>, control: Option<(&str, Vec<u8>)>) -> Vec<u8> {
    let mut parts = vec![element(2, &[id]), operation];
    if let Some((oid, value)) = control {
        let control = element(0x30, &joined(&[element(4, oid.as_bytes()), element(4, &value)]));
        parts.push(element(0xa0, &control));
    }
    element(0x30, &joined(&parts))
}

fn result(tag: u8, code: &[u8]) -> Vec<u8> {
    element(tag, &joined(&[element(10, code), element(4, b""), element(4, b"")]))
}

const STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const INFO: &[u8] = b"1.3.6.1.4.1.4203.1.9.1.4";

fn entry(id: u8, name: &str, number: u8, state: Vec<u8>) -> Vec<u8> {
    let attribute = |name: &str, value: &str| {
        element(
            0x30,
            &joined(&[
                element(4, name.as_bytes()),
                element(0x31, &element(4, value.as_bytes())),
            ]),
        )
    };
    let attributes = joined(&[
        attribute("objectClass", "pigeonAccount"),
        attribute("uid", name),
        attribute("mail", &format!("{name}@example.org")),
    ]);
    let dn = format!("uid={name},dc=test");
    let operation = element(0x64, &joined(&[element(4, dn.as_bytes()), element(0x30, &attributes)]));
    let state = if state.is_empty() {
        element(0x30, &joined(&[element(10, &[1]), element(4, &[number; 16])]))
    } else {
        state
    };
    message(id, operation, Some((STATE, state)))
}

fn refreshed(id: u8, cookie: &str) -> Vec<u8> {
    let info = element(0xa1, &element(4, cookie.as_bytes()));
    let operation = element(0x79, &joined(&[element(0x80, INFO), element(0x81, &info)]));
    message(id, operation, None)
}

/// What to answer to the searches, one after the other: bytes, made with the search's id; then silence. The answers run out:
/// connections are closed.
type Script = Vec<fn(u8) -> Vec<u8>>;

/// Serves the script. Gives the address, and the searches as they came.
fn serve(script: Script) -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has ports");
    let uri = format!("ldap://{}", listener.local_addr().expect("it is bound"));
    let (searches, received) = channel();
    // It ends with the test's process.
    std::thread::spawn(move || {
        let mut script = script.into_iter();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            while let Some(request) = read_message(&mut stream) {
                // The identifier is below 128: 30 length 02 01 id operation.
                let start = if request[1] & 0x80 == 0 {
                    2
                } else {
                    2 + usize::from(request[1] & 0x7f)
                };
                let (id, operation) = (request[start + 2], request[start + 3]);
                match operation {
                    0x60 => drop(stream.write_all(&message(id, result(0x61, &[0]), None))),
                    0x63 => {
                        let _ = searches.send(request);
                        match script.next() {
                            Some(answer) => drop(stream.write_all(&answer(id))),
                            None => break,
                        }
                    }
                    // A probe, or the end: silence.
                    _ => {}
                }
            }
        }
    });
    (uri, received)
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut message = head.to_vec();
    let mut length = usize::from(head[1]);
    if head[1] & 0x80 != 0 {
        let mut more = vec![0; usize::from(head[1] & 0x7f)];
        stream.read_exact(&mut more).ok()?;
        length = more.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        message.extend(more);
    }
    let start = message.len();
    message.resize(start + length, 0);
    stream.read_exact(&mut message[start..]).ok()?;
    Some(message)
}

fn node(uri: String) -> Following {
    Following::start(LdapOptions {
        bind: Bind::Anonymous,
        answer_timeout: Duration::from_millis(300),
        probe_after: Duration::from_millis(100),
        ..options(&[uri], None)
    })
}

fn good(id: u8) -> Vec<u8> {
    joined(&[entry(id, "alice", 1, Vec::new()), refreshed(id, "c1")])
}

#[test]
fn garbage_is_a_lost_connection_and_the_next_one_serves() {
    let garbage: [fn(u8) -> Vec<u8>; 8] = [
        // No control; a control of nonsense; a state that is none; an id of three bytes.
        |id| {
            message(
                id,
                element(0x64, &joined(&[element(4, b"uid=x"), element(0x30, b"")])),
                None,
            )
        },
        |id| entry(id, "x", 9, vec![0xff, 0xff, 0xff]),
        |id| {
            entry(
                id,
                "x",
                9,
                element(0x30, &joined(&[element(10, &[7]), element(4, &[9; 16])])),
            )
        },
        |id| {
            entry(
                id,
                "x",
                9,
                element(0x30, &joined(&[element(10, &[1]), element(4, &[9; 3])])),
            )
        },
        // An info of nonsense; an entry that is a string; an operation that nobody knows; no LDAP at all.
        |id| {
            message(
                id,
                element(0x79, &joined(&[element(0x80, INFO), element(0x81, &[0xaf, 0])])),
                None,
            )
        },
        |id| {
            message(
                id,
                element(0x44, b"x"),
                Some((
                    STATE,
                    element(0x30, &joined(&[element(10, &[1]), element(4, &[9; 16])])),
                )),
            )
        },
        |id| message(id, element(0x7e, b""), None),
        |_| b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec(),
    ];
    for (number, bad) in garbage.into_iter().enumerate() {
        let (uri, _searches) = serve(vec![bad, good]);
        let mut node = node(uri);
        node.until(&format!("alice behind garbage {number}"), |now| {
            now.login("alice").is_some()
        });
        assert!(!node.has("x"));
    }
}

/// The server has a tree, then refuses the cookie with this answer, then has another tree.
fn refused_cookie(refusal: fn(u8) -> Vec<u8>) {
    fn other(id: u8) -> Vec<u8> {
        joined(&[entry(id, "bob", 2, Vec::new()), refreshed(id, "c2")])
    }
    fn first(id: u8) -> Vec<u8> {
        joined(&[
            good(id),
            message(id, result(0x65, &[0]), Some((DONE, element(0x30, b"")))),
        ])
    }
    let (uri, searches) = serve(vec![first, refusal, other]);
    let mut node = node(uri);
    node.until("the second tree", |now| now.login("bob").is_some());
    // Swept: it was a refresh of everything.
    assert!(!node.has("alice"));
    let asked: Vec<bool> = searches
        .try_iter()
        .map(|search| search.windows(2).any(|bytes| bytes == b"c1"))
        .collect();
    assert_eq!(
        asked,
        [false, true, false],
        "the cookie is used once, and then forgotten"
    );
}

#[test]
fn a_refresh_that_is_required_asks_without_a_cookie() {
    // 4096 in two bytes.
    refused_cookie(|id| message(id, result(0x65, &[0x10, 0x00]), Some((DONE, element(0x30, b"")))));
}

#[test]
fn a_server_that_is_behind_the_cookie_is_asked_without_one() {
    refused_cookie(|id| message(id, result(0x65, &[53]), None));
}

#[test]
fn silence_is_a_lost_connection() {
    fn silent(_: u8) -> Vec<u8> {
        Vec::new()
    }
    // In the refresh, and after it.
    let (uri, _searches) = serve(vec![silent, good, good]);
    let mut node = node(uri);
    node.until("alice", |now| now.login("alice").is_some());
    node.until("the lost state", |now| now.state() == CopyState::Lost);
    assert!(node.has("alice"));
    node.until_live();
}

#[test]
fn garbage_after_the_refresh_leaves_the_copy_and_is_mended() {
    // Behind what was good: an entry of nonsense, half a message and then silence, a control that the library's own reader of
    // controls cannot take, a length beyond all bounds.
    let broken: [fn(u8) -> Vec<u8>; 4] = [
        |id| joined(&[good(id), entry(id, "x", 9, vec![0xff, 0xff, 0xff])]),
        |id| {
            let mut bytes = joined(&[good(id), entry(id, "x", 9, Vec::new())]);
            bytes.truncate(bytes.len() - 7);
            bytes
        },
        |id| {
            let operation = element(0x65, &joined(&[element(10, &[0]), element(4, b""), element(4, b"")]));
            let controls = element(0xa0, &element(0x30, &element(2, b"no oid")));
            joined(&[
                good(id),
                element(0x30, &joined(&[element(2, &[id]), operation, controls])),
            ])
        },
        |id| joined(&[good(id), vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2, 1, id]]),
    ];
    fn other(id: u8) -> Vec<u8> {
        joined(&[entry(id, "bob", 2, Vec::new()), refreshed(id, "c2")])
    }
    for (number, bad) in broken.into_iter().enumerate() {
        let (uri, _searches) = serve(vec![bad, other]);
        let mut node = node(uri);
        node.until(&format!("alice before garbage {number}"), |now| {
            now.login("alice").is_some()
        });
        node.until(&format!("bob behind garbage {number}"), |now| {
            now.login("bob").is_some() && now.state() == CopyState::Live
        });
        assert!(!node.has("x"));
    }
}

#[test]
fn dropped_changes_come_with_the_next_question() {
    // The server takes bob in and says nothing of it; asked with the cookie, it tells.
    fn told(id: u8) -> Vec<u8> {
        joined(&[entry(id, "bob", 2, Vec::new()), refreshed(id, "c2")])
    }
    let (uri, searches) = serve(vec![good, told]);
    let mut node = Following::start(LdapOptions {
        bind: Bind::Anonymous,
        // It answers no probe: the question comes first.
        probe_after: Duration::from_secs(60),
        repair_every: Duration::from_millis(300),
        ..options(&[uri], None)
    });
    assert!(node.has("alice") && !node.has("bob"));
    node.until("what was dropped", |now| now.login("bob").is_some());
    // With a cookie nothing is swept, and the copy was current all the time.
    assert!(node.has("alice"));
    assert_eq!(node.current.state(), CopyState::Live);
    assert!(!node.told.iter().any(|told| told.contains("lost")), "{:?}", node.told);
    let second = searches.try_iter().nth(1).expect("it asked again");
    assert!(second.windows(2).any(|bytes| bytes == b"c1"));
}

#[test]
fn a_tree_without_end_is_not_believed() {
    // Entries come and come, the same ones: what is kept of them must not grow for ever.
    fn endless(id: u8) -> Vec<u8> {
        (0..40_u8)
            .flat_map(|number| entry(id, &format!("u{number}"), number, Vec::new()))
            .collect::<Vec<u8>>()
            .repeat(30)
    }
    let (uri, _searches) = serve(vec![endless, good]);
    let mut node = Following::start(LdapOptions {
        bind: Bind::Anonymous,
        entries_max: 1000,
        ..options(&[uri], None)
    });
    node.until("the tree of a better day", |now| now.login("alice").is_some());
    assert!(!node.has("u1"), "of the endless tree nothing is taken");
    assert!(
        node.told.iter().any(|told| told.contains("more than 1000 entries")),
        "{:?}",
        node.told
    );
}
