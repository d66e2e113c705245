//! Mail to another node, over sockets, from a core to our own server's protocol core: what it takes, how connections are
//! kept, and what recipients are told wherever the other end breaks off.

use bytes::Bytes;
use pigeon_datatree_cache::password::{self, Scheme, scram_verifier};
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, Snapshot};
use pigeon_delivery::remote::{
    NodeIdentity, Peers, RemoteEnvelope, RemoteError, RemoteEvent, RemoteRecipient, keys_of,
};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, EngineOptions};
use pigeon_engine::{now, spawn};
use pigeon_proto::address::{Address, ForwardPath};
use pigeon_proto::sasl::Claim;
use pigeon_proto::sasl::Mechanisms;
use pigeon_proto::sasl::scram::Verifier;
use pigeon_proto::smtp::{Authentication, AuthenticationAnswer, Enhanced, Event, Mode, Options, Peer, Reply, Session};
use pigeon_store::MessageKey;
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

const KEY_OF_MESSAGE: MessageKey = MessageKey([0x6b; 16]);

const KEY: &str = "the key of n1, which is long";

/// Runs `test` on core 0 of an engine.
fn run<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Clone + Send + 'static) {
    let options = EngineOptions {
        cores: None,
        control_cpus: None,
        receive_buffers: 256,
        receive_buffer_bytes: 4096,
        pipes: 0,
        core_queue_depth: 64,
        open_files: 4096,
        open_files_for: "a test".to_owned(),
    };
    let ended = Arc::new(Mutex::new(false));
    let kept = ended.clone();
    let main = move || {
        let (test, kept) = (test.clone(), kept.clone());
        async move {
            if runtime::current_core().0 == 0 {
                test().await;
                *kept.lock().unwrap() = true;
            }
        }
    };
    runtime::run(options, main, |_| async {}).expect("the engine starts");
    assert!(*ended.lock().unwrap(), "the test has ended well");
}

/// What the other node has seen, and where it breaks off.
#[derive(Default)]
struct Seen {
    connections: Cell<u32>,
    /// Recipients and message of each that it has said to have.
    taken: RefCell<Vec<(Vec<String>, Vec<u8>)>>,
    /// Bytes that it still says; then it closes.
    words: Cell<Option<usize>>,
    /// It closes its connections after the next answer to a message.
    closes: Cell<bool>,
    /// Of these it has ended its side.
    shut: Cell<u32>,
    verifier: RefCell<Option<Verifier>>,
}

/// The node n2: its server, listening, and the record of it.
struct There {
    seen: Rc<Seen>,
    peers: Peers,
    server: Arc<Server>,
    account: Arc<Account>,
    events: Rc<RefCell<Vec<RemoteEvent>>>,
}

fn there(key_of_this: &str) -> There {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_address().port();
    let key = password::hash(KEY, Scheme::ScramSha256);
    let snapshot = Snapshot::from_ldif(&format!(
        "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n\
         dn: cn=n2,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n2\npigeonKey: {key}\n\
         pigeonPrivateAddress: lmtp://127.0.0.1:{port}\n\n\
         dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\nmail: alice@example.org\nmailHost: n2\n\
         entryUUID: 11111111-1111-4111-8111-111111111111\n"
    ))
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let stored = scram_verifier(&key).expect("a verifier");
    let seen = Rc::new(Seen::default());
    *seen.verifier.borrow_mut() = Some(Verifier {
        iterations: stored.iterations,
        salt: stored.salt.to_vec(),
        stored_key: stored.stored_key,
        server_key: stored.server_key,
    });
    let shared = seen.clone();
    spawn(async move {
        while let Ok(connection) = listener.accept().await {
            shared.connections.set(shared.connections.get() + 1);
            spawn(serve(connection, shared.clone()));
        }
    });
    let events: Rc<RefCell<Vec<RemoteEvent>>> = Rc::default();
    let counted = events.clone();
    let identity = NodeIdentity {
        node: "n1".to_owned(),
        host_name: "n1.example.org".to_owned(),
        keys: keys_of(key_of_this.as_bytes().into(), BlockingPool::new("keys", 1, 8, None)),
    };
    There {
        seen,
        peers: Peers::new(identity, move |event| counted.borrow_mut().push(event)),
        server: snapshot.server("n2").expect("it is there").clone(),
        account: snapshot.login("alice").expect("she is there").clone(),
        events,
    }
}

/// Our own server's core. Refuses `full`; a message with `refuse` in it is refused.
async fn serve(connection: Connection, seen: Rc<Seen>) {
    let mut options = Options::new(Mode::Lmtp, "n2.example.org");
    options.redirectors = true;
    options.authentication = Authentication::Required;
    options.mechanisms = Mechanisms {
        passwords: false,
        plain_of_nodes: false,
        scram_sha_256: true,
    };
    let known = Peer {
        tls: false,
        trusted: true,
    };
    let mut core = Session::new(Arc::new(options), known);
    core.greet(now());
    let (mut recipients, mut message) = (Vec::new(), Vec::new());
    loop {
        let mut output = core.take_output();
        let words = seen.words.get();
        if let Some(words) = words {
            output.truncate(words);
            seen.words.set(Some(words - output.len()));
        }
        if !output.is_empty() && connection.send(output.into()).await.is_err() {
            return;
        }
        if seen.words.get() == Some(0) || seen.closes.get() && !message.is_empty() && core.is_idle() {
            let shut = async { seen.shut.set(seen.shut.get() + 1) };
            futures_util::future::join(connection.close(), shut).await;
            return;
        }
        let Ok(Some(chunk)) = connection.receive().await else {
            return;
        };
        let mut at = 0;
        loop {
            let rest = &chunk[at..];
            let step = core.process(rest, now());
            at += step.consumed;
            match step.event {
                None => break,
                Some(Event::Mail { .. }) => {
                    (recipients, message) = (Vec::new(), Vec::new());
                    core.answer_mail(Ok(()), now());
                }
                Some(Event::Recipient { path, parameters }) => {
                    let ForwardPath::Address(address) = path else {
                        panic!("postmaster")
                    };
                    let record = parameters.record.expect("it comes with the record");
                    assert_eq!(record[0].0, "id");
                    let key = record.last().expect("it is not empty");
                    assert_eq!((&*key.0, &*key.1), ("key", "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"));
                    let answer = match address.local() {
                        "full" => Err(Reply::new(452, Enhanced(4, 2, 2), "full")),
                        _ => Ok(()),
                    };
                    if answer.is_ok() {
                        recipients.push(address.to_string());
                    }
                    core.answer_recipient(answer, now());
                }
                Some(Event::Authenticate(Claim::ScramFirst(first))) => {
                    let verifier = seen.verifier.borrow().clone().expect("there is one");
                    let (exchange, challenge) = first.answer(verifier, "server");
                    core.challenge(exchange, challenge, now());
                }
                Some(Event::Authenticate(Claim::Scram(proof))) => {
                    let answer = match proof.proven {
                        Some(_) => AuthenticationAnswer::Accepted,
                        None => AuthenticationAnswer::Refused,
                    };
                    core.answer_authentication(answer, now());
                }
                Some(Event::Body(piece)) => message.extend_from_slice(piece.bytes(rest)),
                Some(Event::BodyEnd(_)) => {
                    let refused = message.windows(6).any(|window| window == b"refuse");
                    let reply = match refused {
                        true => Reply::new(554, Enhanced(5, 6, 0), "no"),
                        false => Reply::new(250, Enhanced(2, 0, 0), "ok"),
                    };
                    if !refused {
                        seen.taken.borrow_mut().push((recipients.clone(), message.clone()));
                    }
                    for _ in 0..core.body_answers_due() {
                        core.answer_body(&reply, now());
                    }
                }
                Some(Event::Close) => return connection.close().await,
                Some(_) => {}
            }
        }
    }
}

impl There {
    async fn begin(&self, names: &[&str]) -> pigeon_delivery::remote::RemoteTransfer {
        let recipient = |name: &&str| RemoteRecipient {
            account: self.account.clone(),
            address: Address::from_parts(name, "example.org").expect("an address"),
        };
        let envelope = RemoteEnvelope {
            reverse_path: None,
            parameters: Default::default(),
            key: KEY_OF_MESSAGE,
        };
        let recipients = names.iter().map(recipient).collect();
        self.peers.begin(&self.server, Rc::new(envelope), recipients).await
    }

    async fn deliver(&self, names: &[&str], message: &'static str) -> Vec<Result<(), RemoteError>> {
        let transfer = self.begin(names).await;
        transfer.commit_with(Bytes::from_static(message.as_bytes())).await
    }

    fn taken(&self) -> usize {
        self.seen.taken.borrow().len()
    }
}

fn code(result: &Result<(), RemoteError>) -> u16 {
    match result {
        Ok(()) => 250,
        Err(RemoteError::Answered(reply)) => reply.code(),
        Err(RemoteError::OutOfReach(_)) => 0,
        Err(RemoteError::Denied(_)) => 1,
    }
}

#[test]
fn messages_go_over_one_connection_each_with_its_answers() {
    run(|| async {
        let there = there(KEY);
        let results = there.deliver(&["alice", "full", "alice+x"], "A: b\r\n\r\n.\r\n").await;
        assert_eq!(
            results.iter().map(code).collect::<Vec<_>>(),
            [250, 452, 250],
            "{results:?}"
        );
        let results = there.deliver(&["alice"], "A: refuse\r\n\r\n").await;
        assert_eq!(code(&results[0]), 554, "{results:?}");
        // In pieces, of which the total is more than is ever held.
        let mut transfer = there.begin(&["alice", "bob"]).await;
        let piece = Bytes::from(
            vec![b'x'; 64 * 1024 - 2]
                .into_iter()
                .chain(*b"\r\n")
                .collect::<Vec<u8>>(),
        );
        for _ in 0..64 {
            transfer.write(&piece).await;
        }
        let results = transfer.commit().await;
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!(there.seen.connections.get(), 1);
        let taken = there.seen.taken.take();
        assert_eq!(
            taken[0],
            (
                vec!["alice@example.org".into(), "alice+x@example.org".into()],
                b"A: b\r\n\r\n.\r\n".to_vec()
            )
        );
        assert_eq!(taken[1].1, piece.repeat(64));
        assert_eq!(taken.len(), 2);
        // Two at once are two connections.
        let (one, two) = (there.begin(&["alice"]).await, there.begin(&["bob"]).await);
        drop(one);
        assert_eq!(two.commit_with(Bytes::from_static(b"x\r\n")).await, [Ok(())]);
        assert_eq!(there.seen.connections.get(), 2);
        assert!(!there.events.borrow().contains(&RemoteEvent::Failed));
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced() {
    run(|| async {
        let there = there(KEY);
        there.seen.closes.set(true);
        for round in 1..=5 {
            let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
            assert_eq!(results, [Ok(())], "{round}");
            assert_eq!(there.seen.connections.get(), round);
            while there.seen.shut.get() < round {
                pigeon_engine::runtime::yield_now().await;
            }
            // What this core's ring tells of a connection made now, it tells after the end of the other.
            let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            let patience = now() + std::time::Duration::from_secs(60);
            Connection::connect(listener.local_address(), patience).await.unwrap();
        }
        assert_eq!(there.taken(), 5);
    });
}

#[test]
fn whatever_it_breaks_off_nothing_is_said_to_be_there_that_is_not() {
    run(|| async {
        // How much it says in all when nothing breaks.
        let mut words = 0;
        loop {
            let there = there(KEY);
            there.seen.words.set(Some(words));
            let results = there.deliver(&["alice", "bob"], "A: b\r\n\r\n").await;
            let acknowledged = results.iter().filter(|result| result.is_ok()).count();
            let errors = results
                .iter()
                .filter(|result| matches!(result, Err(RemoteError::OutOfReach(_))))
                .count();
            assert_eq!(acknowledged + errors, 2, "{words}: {results:?}");
            assert!(acknowledged == 0 || there.taken() == 1, "{words}");
            let events = there.events.borrow().clone();
            let unknown = events.iter().filter(|event| **event == RemoteEvent::Unknown).count();
            // What it may have is counted as such.
            assert!(
                acknowledged == 2 || there.taken() == 0 || unknown + acknowledged == 2,
                "{words}: {events:?}"
            );
            if acknowledged == 2 {
                break;
            }
            assert!(words < 2000, "it says everything at last");
            words += 1;
        }
        assert!(words > 300, "{words}");
    });
}

#[test]
fn a_node_with_another_key_is_not_believed_and_then_left_alone() {
    run(|| async {
        let there = there("another key");
        for _ in 0..3 {
            assert!(!there.peers.is_away(&there.server));
            let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
            assert!(results[0].is_err(), "{results:?}");
        }
        assert!(there.peers.is_away(&there.server));
        let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
        assert_eq!(code(&results[0]), 0, "{results:?}");
        assert_eq!((there.seen.connections.get(), there.taken()), (3, 0));
    });
}
