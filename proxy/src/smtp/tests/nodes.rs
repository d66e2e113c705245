//! Mail that another node brings, by the cores of both ends.

use super::*;
use crate::authenticate::{NodeAuthenticator, Redirected};
use pigeon_datatree_cache::password::{self, Scheme};
use pigeon_proto::address::Address;
use pigeon_proto::lmtp_client::{Delivery, Envelope, Event, Failure, Greeting, LmtpClient, NodeLogin, Recipient};
use pigeon_proto::sasl::Mechanisms;
use pigeon_proto::sasl::scram::client::ClientKeys;
use pigeon_proto::smtp::{Authentication, BodyType, NODE_CIRCLE, RecipientRefusal, record};
use std::cell::RefCell;

const KEY: &str = "the key of n1";

/// The cluster's nodes beside the usual tree.
fn cluster() -> Snapshot {
    let key = password::hash(KEY, Scheme::ScramSha256);
    let nodes = format!(
        "\ndn: cn=n1,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n1\npigeonKey: {key}\n\n\
         dn: cn=n3,dc=example,dc=org\nobjectClass: pigeonServer\ncn: n3\n"
    );
    Snapshot::from_ldif(&(TREE.to_owned() + &nodes)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

struct Bench {
    dialogue: Dialogue,
    store: MemoryStore,
    client: LmtpClient,
    key: &'static str,
    counted: Rc<RefCell<Vec<Redirected>>>,
}

impl Bench {
    fn new(node: &str, key: &'static str) -> Bench {
        let mut options = Options::new(Mode::Lmtp, "n2.example.org");
        options.redirectors = true;
        options.authentication = Authentication::Required;
        options.mechanisms = Mechanisms {
            passwords: false,
            plain_of_nodes: false,
            scram_sha_256: true,
        };
        let mut backend = Node::with_options(options);
        backend.copy = Copy::new(cluster());
        let copy = Rc::new(backend.copy.for_core());
        let counted: Rc<RefCell<Vec<Redirected>>> = Rc::default();
        let count = counted.clone();
        backend.context.nodes = Some(NodeAuthenticator::new(copy.clone(), "n2", move |what| {
            count.borrow_mut().push(what);
        }));
        backend.context.copy = copy;
        backend.context.policy.trusted = ["192.0.2.0/24", "127.0.0.0/8", "::/0", "0.0.0.0/0"]
            .map(|network| network.parse().expect("a network"))
            .into_iter()
            .collect();
        let (dialogue, store, _) = backend.start();
        let client = LmtpClient::new(Greeting {
            host_name: "n1.example.org".to_owned(),
            login: Some(NodeLogin {
                node: node.to_owned(),
                nonce: "client".to_owned(),
            }),
        });
        Bench {
            dialogue,
            store,
            client,
            key,
            counted,
        }
    }

    /// Both ends go on until an event that is the test's.
    fn event(&mut self) -> Event {
        for _ in 0..20 {
            let said = self.dialogue.take_output();
            let (mut input, mut out) = (&said[..], Vec::new());
            let mut event = self.client.take(&mut input, &mut out);
            if let Some(Event::Keys { salt, iterations }) = &event {
                let keys = ClientKeys::derive(self.key.as_bytes(), salt, *iterations);
                self.client.keys(&keys, &mut out);
                event = None;
            }
            self.dialogue.peer.send(&out);
            self.dialogue.run();
            if let Some(event) = event {
                // Behind a refusal comes what the client had sent meanwhile.
                assert!(input.is_empty() || matches!(event, Event::Failed(_)), "{event:?}");
                return event;
            }
        }
        panic!("nothing happens");
    }

    /// A message to these, each with what is forwarded of the record.
    fn deliver(&mut self, recipients: &[(&str, &[(&str, &str)])]) -> Vec<Delivery> {
        self.deliver_with(b"Subject: h\xc3\xa9\r\n", recipients)
    }

    /// With this header section.
    fn deliver_with(&mut self, header: &[u8], recipients: &[(&str, &[(&str, &str)])]) -> Vec<Delivery> {
        let recipients: Vec<(Address, Option<String>)> = recipients
            .iter()
            .map(|(address, pairs)| {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect();
                let record = (!pairs.is_empty()).then(|| record::encode(&pairs).expect("it fits"));
                (Address::parse(address.as_bytes()).expect("an address"), record)
            })
            .collect();
        let recipients: Vec<_> = recipients
            .iter()
            .map(|(address, record)| Recipient {
                address,
                record: record.as_deref(),
            })
            .collect();
        let sender = Address::parse(b"carol@example.net").expect("an address");
        let envelope = Envelope {
            reverse_path: Some(&sender),
            size: Some(30),
            body: BodyType::EightBitMime,
            smtp_utf8: true,
        };
        let mut out = Vec::new();
        self.client.begin(&envelope, &recipients, &mut out).expect("it fits");
        self.client.piece(header, &mut out);
        self.client.last_piece(b"\r\n.\r\nbody\r\n", &mut out);
        self.dialogue.send(&out);
        assert_eq!(self.event(), Event::Answered);
        self.client.deliveries()
    }
}

const STRANGER: &str = "99999999-9999-4999-8999-999999999999";

#[test]
fn a_node_brings_messages_with_their_records() {
    let mut bench = Bench::new("n1", KEY);
    assert_eq!(bench.event(), Event::Ready);
    assert!(bench.client.forwards());
    // Nobody here knows stranger, nor looks for them; alice is known here, and is brought without a record.
    let key = ("key", "000102030405060708090a0b0c0d0e0f");
    let record: &[_] = &[("id", STRANGER), ("quota", "5000"), ("size", "1"), key];
    let deliveries = bench.deliver(&[("stranger@elsewhere.example", record), ("alice@example.org", &[])]);
    assert_eq!(deliveries, [Delivery::Delivered, Delivery::Delivered]);
    let stored = bench.store.stored();
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].account, "stranger@elsewhere.example");
    assert_eq!(
        stored[0].prepend,
        "Return-Path: <carol@example.net>\r\nDelivered-To: stranger@elsewhere.example\r\n"
    );
    assert_eq!(stored[0].key.map(|key| key[15]), Some(15));
    assert_eq!(stored[1].key, None);
    assert_eq!(stored[0].body(), "Subject: h\u{e9}\r\n\r\n.\r\nbody\r\n");
    // And the next one over the same connection; who is unknown, or comes with nonsense, is refused alone.
    let nonsense: &[_] = &[("id", STRANGER), ("key", "7")];
    let deliveries = bench.deliver(&[
        ("nobody@example.org", &[]),
        ("stranger@elsewhere.example", nonsense),
        ("alice@example.org", &[]),
    ]);
    assert!(
        matches!(&deliveries[0], Delivery::Refused(_, reply) if reply.code() == 550),
        "{deliveries:?}"
    );
    assert!(
        matches!(&deliveries[1], Delivery::Deferred(_, reply) if reply.code() == 451),
        "{deliveries:?}"
    );
    assert_eq!(deliveries[2], Delivery::Delivered);
    assert_eq!(bench.store.stored().len(), 3);
    assert!(bench.client.is_ready());
}

#[test]
fn an_account_that_is_full_is_the_nodes_answer() {
    let mut bench = Bench::new("n1", KEY);
    assert_eq!(bench.event(), Event::Ready);
    bench
        .store
        .fail("alice@example.org", crate::mail_store::TransferError::OverQuota);
    let deliveries = bench.deliver(&[("alice@example.org", &[])]);
    assert!(matches!(&deliveries[0], Delivery::Refused(_, reply) if reply.to_string().starts_with("552 5.2.2")));
}

#[test]
fn what_nodes_pass_in_circles_ends_as_a_circle_and_is_counted() {
    // The policy's, and what nodes may add.
    for (hops, ends) in [(58, false), (59, true)] {
        let mut bench = Bench::new("n1", KEY);
        assert_eq!(bench.event(), Event::Ready);
        let header = b"Received: from n1 by n2; now\r\n".repeat(hops);
        let deliveries = bench.deliver_with(&header, &[("alice@example.org", &[])]);
        let counted = bench.counted.borrow();
        match ends {
            false => assert_eq!(deliveries, [Delivery::Delivered]),
            // Not the answer at which a node asks again at once.
            true => assert!(
                matches!(&deliveries[..], [Delivery::Deferred(_, reply)] if *reply == NODE_CIRCLE
                    && reply.enhanced() != RecipientRefusal::Astray.reply().enhanced()),
                "{deliveries:?}"
            ),
        }
        assert_eq!(counted.contains(&Redirected::Astray), ends, "{counted:?}");
    }
}

#[test]
fn who_is_no_node_brings_nothing() {
    for (node, key, counted) in [
        ("n1", "another key", Redirected::WrongKey),
        ("n3", KEY, Redirected::UnknownNode),
        ("n9", KEY, Redirected::UnknownNode),
    ] {
        let mut bench = Bench::new(node, key);
        // Refused, or not able to prove that it knows the key: either ends it.
        let event = bench.event();
        assert!(
            matches!(event, Event::Failed(Failure::Misconfigured(_) | Failure::Garbage(_))),
            "{event:?}"
        );
        assert_eq!(*bench.counted.borrow(), [counted], "{node}");
    }
    let mut bench = Bench::new("n1", KEY);
    let replies = talk(&mut bench.dialogue, &["LHLO x", "MAIL FROM:<a@example.net>"]);
    assert!(replies.starts_with("530 "), "{replies}");
    assert!(talk(&mut bench.dialogue, &["AUTH PLAIN AGEAYg=="]).starts_with("504 "));
}
