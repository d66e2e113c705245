//! Another node as tests script it: our own server's protocol core behind a socket, which refuses, breaks off or is away.

use bytes::Bytes;
use pigeon_datatree_cache::password::{self, Scheme, scram_verifier};
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account, Snapshot};
use pigeon_delivery::remote::{
    NodeIdentity, Peers, RemoteEnvelope, RemoteError, RemoteEvent, RemoteRecipient, keys_of,
};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::names::Names;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::reach::Reach;
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
use std::time::Duration;

pub(crate) const KEY_OF_MESSAGE: MessageKey = MessageKey([0x6b; 16]);

pub(crate) const KEY: &str = "the key of n1, which is long";

/// Runs `test` on core 0 of an engine.
pub(crate) fn run<F: Future<Output = ()> + 'static>(test: impl Fn() -> F + Clone + Send + 'static) {
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
pub(crate) struct Seen {
    pub(crate) connections: Cell<u32>,
    /// Recipients and message of each that it has said to have.
    pub(crate) taken: RefCell<Vec<(Vec<String>, Vec<u8>)>>,
    /// Bytes that it still says; then it closes.
    pub(crate) words: Cell<Option<usize>>,
    /// It closes its connections after the next answer to a message.
    pub(crate) closes: Cell<bool>,
    /// It takes so many recipients with one message.
    pub(crate) recipients_max: Cell<Option<usize>>,
    /// It ends the connection within messages that have `break` in them.
    pub(crate) breaks: Cell<bool>,
    /// It takes messages and ends the connection without a word.
    pub(crate) mute: Cell<bool>,
    /// Of these it has ended its side.
    pub(crate) shut: Cell<u32>,
    /// It is not in the server_map any more.
    pub(crate) removed: Cell<bool>,
    /// It ends every connection at once.
    pub(crate) away: Cell<bool>,
    /// Of all recipients that were brought.
    pub(crate) keys: RefCell<Vec<String>>,
    pub(crate) verifier: RefCell<Option<Verifier>>,
}

/// The node n2: its server, listening, and the record of it.
pub(crate) struct There {
    pub(crate) seen: Rc<Seen>,
    pub(crate) peers: Peers,
    pub(crate) server: Arc<Server>,
    pub(crate) account: Arc<Account>,
    pub(crate) events: Rc<RefCell<Vec<RemoteEvent>>>,
    /// Control data.
    pub(crate) tree: String,
}

pub(crate) fn there(key_of_this: &str) -> There {
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_address().port();
    let key = password::hash(KEY, Scheme::ScramSha256);
    let tree = format!(
        "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n\
         dn: cn=n2,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n2\npigeonKey: {key}\n\
         pigeonPrivateAddress: lmtp://localhost:{port}\n\n\
         dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\nmail: alice@example.org\nmailHost: n2\n\
         entryUUID: 11111111-1111-4111-8111-111111111111\n\n\
         dn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\npigeonPrivateAddress: 127.0.0.1\n\n\
         dn: uid=bob,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: bob\nmail: bob@example.org\nmailHost: n1\n\
         entryUUID: 22222222-2222-4222-8222-222222222222\n"
    );
    let snapshot = Snapshot::from_ldif(&tree).unwrap_or_else(|mistakes| panic!("{mistakes}"));
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
            if shared.away.get() {
                continue;
            }
            spawn(serve(connection, shared.clone()));
        }
    });
    let events: Rc<RefCell<Vec<RemoteEvent>>> = Rc::default();
    let counted = events.clone();
    let identity = NodeIdentity {
        node: "n1".to_owned(),
        host_name: "n1.example.org".to_owned(),
        keys: keys_of(key_of_this.as_bytes().into(), BlockingPool::new("keys", 1, 8, None)),
        reach: Reach::new(Names::new(BlockingPool::new("names", 1, 8, None))),
        source: None,
        servers: {
            let (gone, server) = (seen.clone(), snapshot.server("n2").expect("it is there").clone());
            Rc::new(move |name| (name == server.name() && !gone.removed.get()).then(|| server.clone()))
        },
        answer_time: Duration::from_secs(20),
    };
    There {
        seen,
        peers: Peers::new(identity, move |event| counted.borrow_mut().push(event)),
        server: snapshot.server("n2").expect("it is there").clone(),
        account: snapshot.login("alice").expect("she is there").clone(),
        events,
        tree,
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
                    assert_eq!(key.0, "key");
                    seen.keys.borrow_mut().push(key.1.clone());
                    let answer = match address.local() {
                        _ if seen.recipients_max.get().is_some_and(|most| recipients.len() >= most) => {
                            Err(Reply::new(452, Enhanced(4, 5, 3), "too many recipients"))
                        }
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
                Some(Event::Body(piece)) => {
                    message.extend_from_slice(piece.bytes(rest));
                    if seen.breaks.get() && message.windows(5).any(|window| window == b"break") {
                        return;
                    }
                }
                Some(Event::BodyEnd(_)) => {
                    let refused = message.windows(6).any(|window| window == b"refuse");
                    let reply = match refused {
                        true => Reply::new(554, Enhanced(5, 6, 0), "no"),
                        false => Reply::new(250, Enhanced(2, 0, 0), "ok"),
                    };
                    if !refused {
                        seen.taken.borrow_mut().push((recipients.clone(), message.clone()));
                    }
                    if seen.mute.get() {
                        return;
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
    pub(crate) async fn begin(&self, names: &[&str]) -> pigeon_delivery::remote::RemoteTransfer {
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

    pub(crate) async fn deliver(&self, names: &[&str], message: &'static str) -> Vec<Result<(), RemoteError>> {
        let transfer = self.begin(names).await;
        transfer.commit_with(Bytes::from_static(message.as_bytes())).await
    }

    /// The line of the tree behind which the domain's attributes go.
    pub(crate) fn tree_head(&self) -> &'static str {
        "associatedDomain: example.org\n"
    }

    pub(crate) fn taken(&self) -> usize {
        self.seen.taken.borrow().len()
    }
}
