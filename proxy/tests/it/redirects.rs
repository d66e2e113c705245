//! Nodes that log in at a backend's listener, by the cores of both ends.

use crate::run;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::password::{self, Scheme};
use pigeon_datatree_cache::{Copy, Snapshot};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::stream::Stream;
use pigeon_engine::{now, spawn};
use pigeon_proto::redirect::imap::ImapRedirect;
use pigeon_proto::redirect::pop3::Pop3Redirect;
use pigeon_proto::redirect::{Event, Outcome as End, Redirect, Referral, SessionData};
use pigeon_proto::sasl::Mechanisms;
use pigeon_proto::sasl::scram::client::ClientKeys;
use pigeon_proxy::drain::Drain;
use pigeon_proxy::login::{self, Limits, LoginContext};
use pigeon_proxy::{Backend, Login, NodeAuthenticator, Opening, Redirected, SessionId};
use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

const KEY: &str = "the key of n1";
const ALICE: &str = "11111111-1111-4111-8111-111111111111";

/// n1 has a key, n2 is this node and owns alice, n3 is in the server_map without a key.
fn tree() -> Snapshot {
    let key = password::hash(KEY, Scheme::ScramSha256);
    Snapshot::from_ldif(&format!(
        "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n\
         dn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\npigeonKey: {key}\n\n\
         dn: cn=n2,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n2\n\n\
         dn: cn=n3,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n3\npigeonPrivateAddress: fd00::3\n\n\
         dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nentryUUID: {ALICE}\nuid: alice\n\
         mail: alice@example.org\nmailHost: n2\n\n\
         dn: uid=bob,dc=example,dc=org\nobjectClass: inetOrgPerson\nentryUUID: 22222222-2222-4222-8222-222222222222\n\
         uid: bob\nmail: bob@example.org\nmailHost: n3\n"
    ))
    .unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// Answers as a backend would, with what it was told.
struct Shower;

impl Backend for Shower {
    fn hand_over(&self, login: Login, mut stream: Stream) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let said = format!(
                "{} {} {:?} from {}",
                login.account.id(),
                login.account.main_address().unwrap_or_default(),
                login.account.quota().bytes,
                stream.peer_address()
            );
            let answer = match login.opening {
                Opening::Imap { tag } => format!("{tag} OK {said}\r\n"),
                Opening::Pop3 { .. } => format!("+OK {said}\r\n"),
            };
            stream.send(answer.into()).await.unwrap();
            stream.close().await;
        })
    }
}

#[derive(Clone)]
struct Try {
    is_imap: bool,
    node: &'static str,
    key: &'static str,
    user: &'static str,
    forwarded: Vec<(&'static str, &'static str)>,
    hops_left: u8,
}

impl Try {
    fn good(is_imap: bool) -> Try {
        Try {
            is_imap,
            node: "n1",
            key: KEY,
            user: "alice@example.org",
            forwarded: vec![("id", ALICE), ("quota", "5000")],
            hops_left: 4,
        }
    }
}

/// A listener of its own that serves one connection: where, and the counts when it is over.
struct Door {
    address: SocketAddr,
    served: LocalBoxFuture<'static, Vec<Redirected>>,
}

/// `plain`: it takes keys themselves.
fn open_door(is_imap: bool, plain: bool) -> Door {
    let copy = Copy::new(tree());
    let counts = Rc::new(RefCell::new(Vec::new()));
    let counted = counts.clone();
    let count = move |what| counted.borrow_mut().push(what);
    let mut authenticate = NodeAuthenticator::new(Rc::new(copy.for_core()), "n2", count);
    if plain {
        authenticate = authenticate.with_plain(BlockingPool::new("test-keys", 1, 16, None));
    }
    let context = Rc::new(LoginContext {
        tls: None,
        trusted: vec!["127.0.0.1".parse().unwrap()],
        timeout: Duration::from_secs(60),
        limits: Limits {
            bad_commands_max: 10,
            failed_logins_max: 3,
        },
        mechanisms: Mechanisms {
            passwords: false,
            plain_of_nodes: plain,
            scram_sha_256: true,
        },
        redirectors: true,
        authenticate: Rc::new(authenticate),
        backend: Rc::new(Shower),
        drain: Drain::new(),
    });
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.local_address();
    let served = spawn(async move {
        let stream = Stream::plain(listener.accept().await.unwrap());
        match is_imap {
            true => login::imap::serve(stream, SessionId(1), context).await,
            false => login::pop3::serve(stream, SessionId(1), context).await,
        }
        counts.take()
    });
    Door {
        address,
        served: Box::pin(async { served.await.expect("it ends by itself") }),
    }
}

/// Logs in at a listener of its own; what came of it, and the counts.
async fn redirect(tried: Try) -> (End, Vec<Redirected>) {
    let is_imap = tried.is_imap;
    let Door { address, served } = open_door(is_imap, false);
    let pairs = tried.forwarded.iter();
    let redirect = Redirect {
        node: tried.node.to_owned(),
        user: tried.user.to_owned(),
        nonce: "client".to_owned(),
        session: SessionData {
            id: "0000000000000007".to_owned(),
            client: "203.0.113.7:51234".parse().unwrap(),
            connected: "192.0.2.10:993".parse().unwrap(),
            hops_left: tried.hops_left,
        },
        forwarded: pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let connection = Connection::connect(address, now() + Duration::from_secs(60))
        .await
        .unwrap();
    let (mut imap, mut pop3) = (
        ImapRedirect::new(redirect.clone(), true),
        Pop3Redirect::new(redirect, true),
    );
    let end = 'end: loop {
        let Some(chunk) = connection.receive().await.unwrap() else {
            panic!("the backend closed in the middle");
        };
        let mut input = &chunk[..];
        loop {
            let mut out = Vec::new();
            let event = match is_imap {
                true => imap.take(&mut input, &mut out),
                false => pop3.take(&mut input, &mut out),
            };
            let is_used_up = event.is_none();
            match event {
                Some(Event::Keys { salt, iterations }) => {
                    let keys = ClientKeys::derive(tried.key.as_bytes(), &salt, iterations);
                    match is_imap {
                        true => imap.keys(&keys, &mut out),
                        false => pop3.keys(&keys, &mut out),
                    }
                }
                Some(Event::Done(end)) => break 'end end,
                None => {}
            }
            if !out.is_empty() {
                connection.send(out.into()).await.unwrap();
            }
            if is_used_up {
                break;
            }
        }
    };
    connection.close().await;
    (end, served.await)
}

#[test]
fn a_node_logs_in_for_a_user_and_forwards_the_record() {
    run(|| async {
        for is_imap in [true, false] {
            let (end, counts) = redirect(Try::good(is_imap)).await;
            let End::LoggedIn(answer) = end else { panic!("{end:?}") };
            assert_eq!(
                String::from_utf8(answer.text).unwrap(),
                format!("{ALICE} alice@example.org Some(5000) from 203.0.113.7:51234")
            );
            assert_eq!(counts, [Redirected::Accepted]);
        }
    });
}

#[test]
fn whatever_is_not_right_is_refused_and_counted() {
    run(|| async {
        for is_imap in [true, false] {
            let good = Try::good(is_imap);
            let bob = vec![("id", "22222222-2222-4222-8222-222222222222")];
            for (what, tried, count, temporary) in [
                (
                    "another key",
                    Try {
                        key: "another",
                        ..good.clone()
                    },
                    Redirected::WrongKey,
                    false,
                ),
                (
                    "no key in the map",
                    Try {
                        node: "n3",
                        ..good.clone()
                    },
                    Redirected::UnknownNode,
                    false,
                ),
                (
                    "not in the map",
                    Try {
                        node: "n9",
                        ..good.clone()
                    },
                    Redirected::UnknownNode,
                    false,
                ),
                (
                    "no record",
                    Try {
                        forwarded: Vec::new(),
                        ..good.clone()
                    },
                    Redirected::Malformed,
                    true,
                ),
                (
                    "a wrong record",
                    Try {
                        forwarded: vec![("id", "x")],
                        ..good.clone()
                    },
                    Redirected::Malformed,
                    true,
                ),
                (
                    "of another node, with no hop left for a referral",
                    Try {
                        forwarded: bob,
                        user: "bob@example.org",
                        hops_left: 1,
                        ..good.clone()
                    },
                    Redirected::Astray,
                    true,
                ),
                (
                    "no hop left",
                    Try {
                        hops_left: 0,
                        ..good.clone()
                    },
                    Redirected::Astray,
                    true,
                ),
            ] {
                let (end, counts) = redirect(tried).await;
                match end {
                    End::Unavailable(_) => assert!(temporary, "{what}"),
                    End::Misconfigured(_) => assert!(!temporary, "{what}"),
                    other => panic!("{what}: {other:?}"),
                }
                assert_eq!(counts, [count], "{what}");
            }
        }
    });
}

#[test]
fn who_is_another_nodes_is_referred_to_it() {
    run(|| async {
        for is_imap in [true, false] {
            let (end, counts) = redirect(Try {
                forwarded: vec![("id", "22222222-2222-4222-8222-222222222222")],
                user: "bob+100%@example.org",
                ..Try::good(is_imap)
            })
            .await;
            let referral = Referral {
                user: Some("bob+100%@example.org".to_owned()),
                host: "fd00::3".to_owned(),
                port: Some(if is_imap { 2143 } else { 2110 }),
            };
            assert_eq!(end, End::Referral(referral));
            assert_eq!(counts, [Redirected::Referred]);
        }
    });
}

/// Says these lines one after the other, each when the last was answered, and gives the answer to the last.
async fn say(connection: &Connection, lines: &[String]) -> String {
    let mut answer = String::new();
    for line in lines {
        connection.send(format!("{line}\r\n").into()).await.unwrap();
        answer.clear();
        // An untagged line, or the whole answer, may come in pieces.
        while !answer.ends_with("\r\n") || answer.starts_with("* ") && !answer.contains("\r\nx") {
            let chunk = connection.receive().await.unwrap().expect("it answers");
            answer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
    answer
}

/// As a proxy that knows no SCRAM does it.
fn in_plain(is_imap: bool, user: &str, node: &str, key: &str) -> Vec<String> {
    let response = STANDARD.encode(format!("{user}\0{node}\0{key}"));
    match is_imap {
        true => vec![
            format!(
                "x1 ID (\"x-originating-ip\" \"203.0.113.7\" \"x-originating-port\" \"51234\" \"x-connected-ip\" \"192.0.2.10\" \"x-connected-port\" \"993\" \"x-forward-id\" \"{ALICE}\" \"x-forward-quota\" \"5000\")"
            ),
            format!("x2 AUTHENTICATE PLAIN {response}"),
        ],
        false => vec![
            format!(
                "XCLIENT ADDR=203.0.113.7 PORT=51234 DESTADDR=192.0.2.10 DESTPORT=995 FORWARD={}",
                STANDARD.encode(format!("id={ALICE}\tquota=5000"))
            ),
            format!("AUTH PLAIN {response}"),
        ],
    }
}

#[test]
fn where_plain_is_on_offer_a_node_may_say_its_key() {
    run(|| async {
        let user = "alice@example.org";
        for is_imap in [true, false] {
            let (yes, no) = match is_imap {
                true => ("x2 OK ", "x2 NO [AUTHENTICATIONFAILED]"),
                false => ("+OK ", "-ERR [AUTH]"),
            };
            for (lines, begin, count) in [
                (in_plain(is_imap, user, "n1", KEY), yes, Redirected::Accepted),
                (in_plain(is_imap, user, "n1", "another"), no, Redirected::WrongKey),
                (in_plain(is_imap, user, "n3", KEY), no, Redirected::UnknownNode),
                (in_plain(is_imap, user, "n9", KEY), no, Redirected::UnknownNode),
                // Nobody is named to act for.
                (in_plain(is_imap, "", "n1", KEY), no, Redirected::Malformed),
            ] {
                let door = open_door(is_imap, true);
                let connection = Connection::connect(door.address, now() + Duration::from_secs(60))
                    .await
                    .unwrap();
                let _greeting = connection.receive().await.unwrap();
                let answer = say(&connection, &lines).await;
                assert!(answer.starts_with(begin), "{lines:?}: {answer}");
                if count == Redirected::Accepted {
                    let expected = format!("{ALICE} {user} Some(5000) from 203.0.113.7:51234");
                    assert!(answer.contains(&expected), "{answer}");
                }
                connection.close().await;
                assert_eq!(door.served.await, [count], "{lines:?}");
            }
        }
    });
}

#[test]
fn a_key_that_was_right_is_known_again_and_a_wrong_one_is_not() {
    run(|| async {
        let door = open_door(false, true);
        let connection = Connection::connect(door.address, now() + Duration::from_secs(60))
            .await
            .unwrap();
        let _greeting = connection.receive().await.unwrap();
        // Right, but without a record; so that there is another try on the same connection.
        let bare = |key: &str| {
            vec![format!(
                "AUTH PLAIN {}",
                STANDARD.encode(format!("alice@example.org\0n1\0{key}"))
            )]
        };
        assert!(say(&connection, &bare(KEY)).await.starts_with("-ERR [SYS/TEMP]"));
        assert!(say(&connection, &bare("another")).await.starts_with("-ERR [AUTH]"));
        let lines = in_plain(false, "alice@example.org", "n1", KEY);
        assert!(say(&connection, &lines).await.starts_with("+OK "));
        connection.close().await;
        let counts = [Redirected::Malformed, Redirected::WrongKey, Redirected::Accepted];
        assert_eq!(door.served.await, counts);
    });
}

#[test]
fn where_plain_is_not_on_offer_no_key_is_taken() {
    run(|| async {
        for is_imap in [true, false] {
            let door = open_door(is_imap, false);
            let connection = Connection::connect(door.address, now() + Duration::from_secs(60))
                .await
                .unwrap();
            let greeting = connection.receive().await.unwrap().expect("it greets");
            assert!(!String::from_utf8_lossy(&greeting).contains("PLAIN"));
            let answer = say(&connection, &in_plain(is_imap, "alice@example.org", "n1", KEY)).await;
            let expected = if is_imap { "x2 NO [CANNOT]" } else { "-ERR Unknown" };
            assert!(answer.starts_with(expected), "{answer}");
            connection.close().await;
            assert_eq!(door.served.await, []);
        }
    });
}
