//! Mail that waits for another node: over sockets to a scripted one, from a volume on a disk.

mod disk;
mod peer;

use bytes::Bytes;
use disk::Breakable;
use peer::{KEY, KEY_OF_MESSAGE, There, run, there};
use pigeon_datatree_cache::{Copy, Snapshot};
use pigeon_delivery::queue::{
    Forward, QUEUE_ACCOUNT, QueueEvent, QueueIndex, QueueParts, QueuedEnvelope, QueuedRecipient, Queues, Room, Runner,
    Stop, list,
};
use pigeon_delivery::remote::{RemoteError, RemoteRecipient};
use pigeon_delivery::{MailStore, VolumeSeat, VolumeTable, add_volume, take_volumes};
use pigeon_engine::{current_core, sleep, spawn};
use pigeon_store::disk::EngineDisk;
use pigeon_store::{AccountId, Delivery, Flags, Limits, MessageKey, Volume, VolumeId, VolumeOptions};
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const ALICE: [u8; 16] = 0x1111_1111_1111_4111_8111_1111_1111_1111_u128.to_be_bytes();
const BOB: AccountId = AccountId(0x2222_2222_2222_4222_8222_2222_2222_2222_u128.to_be_bytes());
const VOLUME: VolumeId = VolumeId([7; 16]);

/// The node n1 with one volume on its own core.
struct Here {
    there: There,
    copy: Copy,
    parts: QueueParts,
    index: Arc<QueueIndex>,
    events: Rc<RefCell<Vec<QueueEvent>>>,
    room: Rc<Cell<Room>>,
    /// Writes to the disk fail.
    broken: Rc<Cell<bool>>,
    /// Reads from it do.
    unreadable: Rc<Cell<bool>>,
    volume: Volume,
    table: Arc<VolumeTable>,
    stop: Rc<Stop>,
    directory: PathBuf,
}

fn options() -> VolumeOptions {
    VolumeOptions {
        segment_bytes: 4 << 20,
        uid_validity_base: 1,
        // What is read is read from the disk.
        body_cache_bytes: 0,
        ..VolumeOptions::default()
    }
}

impl Here {
    async fn new(name: &str, life: Duration) -> Here {
        let directory = std::env::temp_dir().join(format!("pigeon-queue-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (broken, unreadable): (Rc<Cell<bool>>, Rc<Cell<bool>>) = Default::default();
        let disk = Rc::new(Breakable {
            disk: EngineDisk::new(&directory),
            broken: broken.clone(),
            unreadable: unreadable.clone(),
        });
        Volume::create(disk.clone(), VOLUME, &options()).await.expect("made");
        let volume = Volume::open(disk, VOLUME, options()).await.expect("opens");
        drop(spawn(volume.drive()));
        drop(pigeon_engine::runtime::spawn_background(volume.maintain()));
        add_volume(0, volume.clone());
        let there = there(KEY);
        let copy = Copy::new(Snapshot::from_ldif(&there.tree).unwrap_or_else(|mistakes| panic!("{mistakes}")));
        let seat = VolumeSeat {
            name: "main".to_owned(),
            core: current_core(),
        };
        let table = Arc::new(VolumeTable::new(vec![seat], &[Some(Vec::new())]));
        let index: Arc<QueueIndex> = Arc::default();
        let room = Rc::new(Cell::new(Room::Yes));
        let has = room.clone();
        let events: Rc<RefCell<Vec<QueueEvent>>> = Rc::default();
        let counted = events.clone();
        let parts = QueueParts {
            locate: Rc::new(|_| Box::pin(async { None })),
            copy: Rc::new(copy.for_core()),
            node: "n1".into(),
            host_name: "n1.example.org".into(),
            peers: there.peers.clone(),
            local: MailStore::new(table.clone()),
            queues: Queues::new(table.clone(), index.clone(), Rc::new(move |_| has.get())),
            count: Rc::new(move |event| counted.borrow_mut().push(event)),
            life,
            key_life: DAY,
            over_quota_defers: false,
        };
        let mut here = Here {
            there,
            copy,
            parts,
            index,
            events,
            room,
            broken,
            unreadable,
            volume,
            table,
            stop: Rc::default(),
            directory,
        };
        here.start().await;
        here
    }

    async fn start(&mut self) {
        let runner = Runner::open(0, &self.volume, self.index.clone()).await.expect("opens");
        self.stop = Rc::default();
        drop(spawn(runner.run(self.parts.clone(), self.stop.clone())));
    }

    /// What is known of the queue is that of a node which has just begun.
    fn new_life(&mut self) {
        self.index = Arc::default();
        let has = self.room.clone();
        self.parts.queues = Queues::new(self.table.clone(), self.index.clone(), Rc::new(move |_| has.get()));
    }

    /// As the next generation.
    fn publish(&self, tree: &str) {
        let current = self.copy.current();
        let mut changed = Snapshot::from_ldif(tree).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        while changed.generation() <= current.generation() {
            changed = changed.in_state(current.state());
        }
        self.copy.publish(changed);
    }

    async fn kept(&self) -> u32 {
        let account = self.volume.account(QUEUE_ACCOUNT).await.expect("loads");
        account
            .mailbox("undeliverable")
            .map_or(0, |mailbox| mailbox.status().messages)
    }

    async fn begin(&self, sender: &str, names: &[&str], key: u8) -> Forward {
        let address = |name: &&str| format!("{name}@example.org").parse().expect("an address");
        let recipients = names.iter().map(|name| RemoteRecipient {
            account: self.there.account.clone(),
            address: address(name),
        });
        let queued = names.iter().map(|name| QueuedRecipient {
            account: ALICE,
            address: address(name),
            prepend: Bytes::from_static(b"Delivered-To: alice@example.org\r\n"),
        });
        let envelope = QueuedEnvelope {
            reverse_path: (!sender.is_empty()).then(|| sender.parse().expect("an address")),
            parameters: Default::default(),
            received_at: seconds(),
            key: MessageKey([key; 16]),
            id: format!("message.{key}"),
            recipients: queued.collect(),
        };
        let recipients = recipients.collect();
        let QueueParts {
            peers, queues, count, ..
        } = &self.parts;
        Forward::begin(peers, queues, count, &self.there.server, envelope, recipients).await
    }

    async fn send(&self, sender: &str, names: &[&str], key: u8, text: &'static str) -> Vec<Result<(), RemoteError>> {
        let forward = self.begin(sender, names, key).await;
        forward
            .commit_with(Bytes::from_static(text.as_bytes()), names.len() > 1)
            .await
    }

    fn count(&self, event: QueueEvent) -> usize {
        self.events.borrow().iter().filter(|other| **other == event).count()
    }

    async fn waiting(&self) -> u32 {
        let account = self.volume.account(QUEUE_ACCOUNT).await.expect("loads");
        account.mailbox("to/n2").map_or(0, |mailbox| mailbox.status().messages)
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = pigeon_engine::now() + Duration::from_secs(120);
        while !condition().await {
            assert!(pigeon_engine::now() < deadline, "{what}: {:?}", self.events.borrow());
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn drained(&self) {
        self.until("nothing waits", async || self.waiting().await == 0).await;
    }

    fn taken(&self) -> Vec<String> {
        let taken = self.there.seen.taken.borrow();
        taken
            .iter()
            .map(|(_, message)| String::from_utf8_lossy(message).into_owned())
            .collect()
    }

    /// The messages of an account here.
    async fn stored(&self, account: AccountId) -> Vec<String> {
        let account = self.volume.account(account).await.expect("loads");
        let inbox = account.mailbox("INBOX").expect("there");
        let uids: Vec<_> = inbox.with_messages(|messages| messages.iter().map(|message| message.uid).collect());
        let mut stored = Vec::new();
        for uid in uids {
            let (reader, mut bytes) = (inbox.open_message(uid).await.expect("there"), Vec::new());
            while (bytes.len() as u64) < reader.info().size {
                let piece = reader.read(bytes.len() as u64, 100_000).await;
                bytes.extend_from_slice(&piece.expect("readable"));
            }
            stored.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        stored
    }

    async fn end(self) {
        self.stop.set();
        for (_, volume) in take_volumes() {
            volume.close().await;
        }
        std::fs::remove_dir_all(&self.directory).expect("it is ours");
    }
}

fn seconds() -> i64 {
    i64::try_from(pigeon_engine::unix_time().as_secs()).expect("for a while")
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn what_a_node_cannot_take_waits_and_keeps_its_order_by_sender() {
    run(|| async {
        let mut here = Here::new("order", DAY).await;
        here.there.seen.away.set(true);
        for (key, text) in [(1, "1\r\n"), (2, "2\r\n"), (3, "3\r\n")] {
            assert_eq!(here.send("bob@example.org", &["alice"], key, text).await, [Ok(())]);
        }
        assert_eq!(here.send("", &["alice"], 4, "null\r\n").await, [Ok(())]);
        // A long one is written beside, and to nobody else.
        let mut forward = here.begin("bob@example.org", &["alice"], 5).await;
        let piece = Bytes::from(vec![b'x'; 60_000]);
        for _ in 0..5 {
            forward.write(&piece).await;
        }
        assert_eq!(forward.commit_with(Bytes::from_static(b"\r\n"), false).await, [Ok(())]);
        assert_eq!((here.waiting().await, here.count(QueueEvent::Queued)), (5, 5));
        // Another life, as after a crash: it is found, and newer mail of anybody goes behind it.
        here.stop.set();
        here.new_life();
        here.start().await;
        here.there.seen.away.set(false);
        assert_eq!(here.send("bob@example.org", &["alice"], 6, "6\r\n").await, [Ok(())]);
        here.drained().await;
        let taken: Vec<String> = here.taken().into_iter().filter(|text| text != "null\r\n").collect();
        let long = format!("{}\r\n", "x".repeat(300_000));
        assert_eq!(taken, ["1\r\n", "2\r\n", "3\r\n", &long, "6\r\n"]);
        assert_eq!(here.there.taken(), 6);
        // Nothing waits: the next goes straight there.
        let before = here.count(QueueEvent::Queued);
        assert_eq!(here.send("bob@example.org", &["alice"], 7, "7\r\n").await, [Ok(())]);
        assert_eq!((here.there.taken(), here.count(QueueEvent::Queued)), (7, before));
        let gauges = here.index.gauges();
        assert_eq!((&*gauges[0].0, gauges[0].2.messages), ("n2", 0));
        here.end().await;
    });
}

#[test]
fn who_is_told_to_come_later_waits_alone_and_the_others_have_it_once() {
    run(|| async {
        let here = Here::new("later", DAY).await;
        // One of two: the message is not brought again for both.
        let results = here.send("bob@example.org", &["alice", "full"], 1, "A: b\r\n").await;
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!((here.there.taken(), here.count(QueueEvent::Queued)), (1, 1));
        here.until("it was tried", async || here.count(QueueEvent::Tried) == 1)
            .await;
        // It holds nobody up.
        here.until("its sender goes on", async || {
            !here
                .parts
                .queues
                .holds_up("n2", Some(&"bob@example.org".parse().unwrap()))
        })
        .await;
        assert_eq!(here.send("bob@example.org", &["alice"], 2, "A: c\r\n").await, [Ok(())]);
        assert_eq!(
            (here.taken(), here.waiting().await),
            (vec!["A: b\r\n".to_owned(), "A: c\r\n".to_owned()], 1)
        );
        // Alone it is the sender's.
        let results = here.send("bob@example.org", &["full"], 3, "A: d\r\n").await;
        assert!(
            matches!(&results[..], [Err(RemoteError::Answered(reply))] if reply.code() == 452),
            "{results:?}"
        );
        assert_eq!(here.waiting().await, 1);
        here.end().await;
    });
}

#[test]
fn what_is_refused_in_the_end_is_reported_to_the_sender() {
    run(|| async {
        let here = Here::new("refused", DAY).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: refuse\r\n\r\n")
                .await,
            [Ok(())]
        );
        // From a stranger, and no postmaster is there: it is kept until there is one.
        assert_eq!(
            here.send("x@example.net", &["alice"], 2, "Subject: refuse\r\n\r\n")
                .await,
            [Ok(())]
        );
        here.there.seen.away.set(false);
        here.drained().await;
        let [report] = &here.stored(BOB).await[..] else {
            panic!("one report");
        };
        assert!(report.contains("\r\nAction: failed\r\nStatus: 5.6.0\r\n"), "{report}");
        assert!(
            report.contains("text/rfc822-headers\r\n\r\nSubject: refuse\r\n"),
            "{report}"
        );
        assert_eq!((here.count(QueueEvent::Bounced), here.count(QueueEvent::Kept)), (1, 1));
        assert_eq!(here.kept().await, 1);
        let [kept] = &list(&here.volume, 10).await.expect("it is listed")[..] else {
            panic!("one message");
        };
        let envelope = kept.envelope.as_ref().expect("it is read");
        assert_eq!(
            (&kept.destination, &*envelope.sender, &envelope.recipients[..]),
            (&None, "x@example.net", &["alice@example.org".to_owned()][..])
        );
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        here.publish(&here.there.tree.replace(here.there.tree_head(), &postmaster));
        here.until("a postmaster has it", async || here.kept().await == 0).await;
        let stored = here.stored(BOB).await;
        assert_eq!(
            stored[1],
            "Return-Path: <>\r\nX-Undelivered-From: <x@example.net>\r\nX-Undelivered-To: <alice@example.org>\r\n\
             Subject: refuse\r\n\r\n"
        );
        assert_eq!((stored.len(), here.count(QueueEvent::ToPostmaster)), (2, 1));
        here.end().await;
    });
}

#[test]
fn what_has_waited_too_long_is_reported() {
    run(|| async {
        let here = Here::new("life", Duration::from_secs(1)).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: x\r\n\r\n").await,
            [Ok(())]
        );
        here.drained().await;
        let [report] = &here.stored(BOB).await[..] else {
            panic!("one report");
        };
        assert!(report.contains("\r\nAction: failed\r\nStatus: 4.4.7\r\n"), "{report}");
        assert_eq!((here.there.taken(), here.count(QueueEvent::Bounced)), (0, 1));
        here.end().await;
    });
}

#[test]
fn an_account_that_comes_here_gets_its_mail_here() {
    run(|| async {
        let here = Here::new("moved", DAY).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: x\r\n\r\n").await,
            [Ok(())]
        );
        let tree = here.there.tree.replace("mailHost: n2", "mailHost: n1");
        here.publish(&tree);
        here.drained().await;
        assert_eq!(
            here.stored(AccountId(ALICE)).await,
            ["Delivered-To: alice@example.org\r\nSubject: x\r\n\r\n"]
        );
        assert_eq!(here.there.taken(), 0);
        here.end().await;
    });
}

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    run(|| async {
        let here = Here::new("lost", DAY).await;
        // The answers to a whole message and its login, but for the last.
        let mut words = 0;
        loop {
            here.there.seen.words.set(Some(words));
            here.there.seen.keys.take();
            let before = here.there.taken();
            assert_eq!(
                here.send("bob@example.org", &["alice"], 9, "A: b\r\n").await,
                [Ok(())],
                "{words}"
            );
            here.there.seen.words.set(None);
            here.drained().await;
            let brought = here.there.taken() - before;
            let keys = here.there.seen.keys.take();
            assert!(keys.iter().all(|key| *key == "09".repeat(16)), "{keys:?}");
            if brought == 2 {
                // The other node keeps one of them, which is its store's affair.
                assert!(keys.len() >= 2);
                break;
            }
            assert_eq!(brought, 1, "{words}");
            words += 25;
            assert!(words < 2000);
        }
        assert_ne!(KEY_OF_MESSAGE, MessageKey([9; 16]));
        here.end().await;
    });
}

#[test]
fn what_cannot_be_noted_is_not_brought() {
    run(|| async {
        let here = Here::new("poisoned", DAY).await;
        here.there.seen.away.set(true);
        for key in 1..=60 {
            assert_eq!(here.send("", &["alice"], key, "A: b\r\n").await, [Ok(())]);
        }
        assert_eq!(here.waiting().await, 60);
        // From now on nothing can be taken out of the queue.
        here.broken.set(true);
        here.there.seen.away.set(false);
        let held = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is told", async || held().is_some()).await;
        assert!(
            held().expect("it is").starts_with("the volume is poisoned: "),
            "{:?}",
            held()
        );
        let tried = here.count(QueueEvent::Tried);
        assert!(
            here.there.taken() <= 40 && tried <= 60 + 40,
            "{} {tried}",
            here.there.taken()
        );
        // A look that finds the node, and nothing more.
        here.parts.peers.look(&here.there.server).await;
        here.publish(&here.there.tree);
        assert_eq!(here.count(QueueEvent::Tried), tried);
        here.end().await;
    });
}

#[test]
fn what_comes_before_the_queue_runs_is_not_of_an_earlier_life() {
    run(|| async {
        let mut here = Here::new("early", DAY).await;
        here.there.seen.away.set(true);
        let bob = "bob@example.org";
        assert_eq!(here.send(bob, &["alice"], 1, "1\r\n").await, [Ok(())]);
        here.stop.set();
        here.new_life();
        let runner = Runner::open(0, &here.volume, here.index.clone()).await.expect("opens");
        assert_eq!(here.send(bob, &["alice"], 2, "2\r\n").await, [Ok(())]);
        here.stop = Rc::default();
        drop(spawn(runner.run(here.parts.clone(), here.stop.clone())));
        here.there.seen.away.set(false);
        here.drained().await;
        here.until("nobody waits", async || {
            !here.parts.queues.holds_up("n2", Some(&bob.parse().unwrap()))
        })
        .await;
        assert_eq!(here.taken(), ["1\r\n", "2\r\n"]);
        here.end().await;
    });
}

#[test]
fn who_may_have_it_under_a_key_that_is_forgotten_gets_it_and_that_is_counted() {
    run(|| async {
        let mut here = Here::new("twice", DAY).await;
        for (life, expected) in [(DAY, 0), (Duration::ZERO, 1)] {
            here.stop.set();
            here.parts.key_life = life;
            here.new_life();
            here.start().await;
            here.there.seen.mute.set(true);
            assert_eq!(here.send("", &["alice"], 7, "A: b\r\n").await, [Ok(())]);
            here.there.seen.mute.set(false);
            here.drained().await;
            assert!(here.there.taken() >= 2);
            here.until("it is counted", async || here.count(QueueEvent::Delivered) > expected)
                .await;
            assert_eq!(here.count(QueueEvent::PerhapsTwice), expected);
        }
        here.end().await;
    });
}

#[test]
fn a_sender_without_room_for_a_report_leaves_it_to_a_postmaster() {
    run(|| async {
        let here = Here::new("room", DAY).await;
        // Bob has room for next to nothing.
        let tree = here.there.tree.replace("uid: bob\n", "uid: bob\nmailQuotaSize: 10\n");
        here.publish(&tree);
        here.there.seen.away.set(true);
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("bob@example.org", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        let eve = "\ndn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: postmaster@example.org\n\
                   mailHost: n1\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        here.publish(&format!("{tree}{eve}"));
        here.until("a postmaster has it", async || here.kept().await == 0).await;
        // The next report goes to her at once.
        // Connections that wait, too, end.
        here.there.seen.words.set(Some(0));
        assert_eq!(here.send("bob@example.org", &["alice"], 2, text).await, [Ok(())]);
        here.there.seen.words.set(None);
        here.drained().await;
        let eve = AccountId(0x3333_3333_3333_4333_8333_3333_3333_3333_u128.to_be_bytes());
        let stored = here.stored(eve).await;
        assert_eq!(stored.len(), 2);
        assert!(stored[1].contains("To: <postmaster@example.org>"), "{}", stored[1]);
        here.end().await;
    });
}

#[test]
fn what_cannot_be_read_is_put_aside_and_named() {
    run(|| async {
        let here = Here::new("aside", DAY).await;
        here.there.seen.away.set(true);
        // As a later version might write it.
        let mut body = here.volume.begin_body(&[QUEUE_ACCOUNT]).await.expect("begins");
        let mut head = b"PGNQUEUE".to_vec();
        head.extend_from_slice(&[99, 0, 0, 0, 0, 0, 0, 0]);
        body.write(head.into()).await.expect("is written");
        let delivery = Delivery {
            account: QUEUE_ACCOUNT,
            limits: Limits::default(),
            mailbox: "to/n2".to_owned(),
            flags: Flags::NONE,
            keywords: Vec::new(),
            internal_date: seconds(),
            create_mailbox: true,
            prepend: Bytes::from_static(b"PGQ1\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"),
            key: None,
        };
        let finished = body.finish().await.expect("is whole");
        here.volume
            .deliver(finished, vec![delivery])
            .await
            .pop()
            .expect("one")
            .expect("is stored");
        here.until("it is put aside", async || here.kept().await == 1).await;
        here.drained().await;
        assert_eq!(here.count(QueueEvent::PutAside), 1);
        let listed = list(&here.volume, 10).await.expect("it is listed");
        assert_eq!(
            listed[0].envelope,
            Err("not understood: version of the envelope".to_owned())
        );
        let named = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is named", async || named().is_some()).await;
        here.end().await;
    });
}

#[test]
fn a_message_that_cannot_be_read_does_not_hold_its_sender_for_ever() {
    run(|| async {
        let here = Here::new("lost-sender", DAY).await;
        let bob = "bob@example.org";
        let holds_up = || here.parts.queues.holds_up("n2", Some(&bob.parse().unwrap()));
        here.there.seen.away.set(true);
        here.unreadable.set(true);
        assert_eq!(here.send(bob, &["alice"], 1, "1\r\n").await, [Ok(())]);
        here.until("it is tried, and read in vain", async || {
            here.count(QueueEvent::Tried) == 1
        })
        .await;
        here.unreadable.set(false);
        here.until("its sender goes on", async || !holds_up()).await;
        here.there.seen.away.set(false);
        assert_eq!(here.waiting().await, 1);
        here.until("the node is there", async || {
            !here.parts.peers.is_away(&here.there.server)
        })
        .await;
        assert_eq!(here.send(bob, &["alice"], 2, "2\r\n").await, [Ok(())]);
        assert_eq!((here.taken(), here.waiting().await), (vec!["2\r\n".to_owned()], 1));
        here.end().await;
    });
}

#[test]
fn kept_mail_that_cannot_be_read_is_not_read_at_each_change() {
    run(|| async {
        let mut here = Here::new("unread", DAY).await;
        here.there.seen.away.set(true);
        let text = "Subject: refuse 1\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        // Another life, in which it cannot be read at first.
        here.stop.set();
        here.new_life();
        here.unreadable.set(true);
        here.start().await;
        let named = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is named", async || named().is_some()).await;
        here.unreadable.set(false);
        here.there.seen.words.set(Some(0));
        let text = "Subject: refuse 2\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 2, text).await, [Ok(())]);
        here.there.seen.words.set(None);
        here.until("another is kept", async || here.kept().await == 2).await;
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        here.publish(&here.there.tree.replace(here.there.tree_head(), &postmaster));
        here.until("the postmaster has one", async || {
            !here.stored(BOB).await.is_empty() && here.kept().await < 2
        })
        .await;
        let stored = here.stored(BOB).await;
        assert!(stored[0].contains("Subject: refuse 2\r\n"), "{stored:?}");
        assert_eq!((stored.len(), here.kept().await), (1, 1));
        here.end().await;
    });
}

#[test]
fn a_postmaster_without_room_is_not_asked_at_each_change() {
    run(|| async {
        let mut here = Here::new("no-room", DAY).await;
        // Everybody who is about to get mail here is looked for.
        let asked: Rc<Cell<u32>> = Rc::default();
        let counted = asked.clone();
        here.stop.set();
        here.parts.locate = Rc::new(move |account| {
            counted.set(counted.get() + u32::from(account.id().0 == BOB.0));
            Box::pin(async { None })
        });
        here.new_life();
        here.start().await;
        here.there.seen.away.set(true);
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        let tree = here.there.tree.replace("uid: bob\n", "uid: bob\nmailQuotaSize: 10\n");
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        let tree = tree.replace(here.there.tree_head(), &postmaster);
        here.publish(&tree);
        here.until("he is asked", async || asked.get() > 0).await;
        // A change that has nothing to do with him; and somebody else to ask.
        let other = "\ndn: dc=example,dc=com\nobjectClass: pigeonDomain\nassociatedDomain: example.com\n\
                     pigeonPostmaster: eve@example.org\n\n\
                     dn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: eve@example.org\n\
                     mailHost: n1\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        here.publish(&format!("{tree}{other}"));
        here.until("the other has it", async || here.kept().await == 0).await;
        assert_eq!(asked.get(), 1);
        here.end().await;
    });
}

#[test]
fn a_postmaster_on_another_node_who_does_not_take_kept_mail_is_not_asked_at_each_change() {
    run(|| async {
        let here = Here::new("postmaster", DAY).await;
        let eve = "\ndn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: postmaster@example.org\n\
                   mailHost: n2\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        let tree = format!("{}{eve}", here.there.tree);
        here.publish(&tree);
        here.there.seen.away.set(true);
        // Nor does she take a report of it.
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        here.drained().await;
        let tried = here.count(QueueEvent::Tried);
        // Somebody else is, when there is one.
        let other = "\ndn: dc=example,dc=com\nobjectClass: pigeonDomain\nassociatedDomain: example.com\n\
                     pigeonPostmaster: bob@example.org\n";
        here.publish(&format!("{tree}{other}"));
        here.until("he has it", async || here.kept().await == 0).await;
        assert_eq!((here.stored(BOB).await.len(), here.waiting().await), (1, 0));
        assert_eq!(here.count(QueueEvent::Tried), tried);
        here.end().await;
    });
}

#[test]
fn a_node_that_breaks_off_within_messages_gets_the_others() {
    run(|| async {
        let here = Here::new("breaks", DAY).await;
        let (bob, carol) = ("bob@example.org", "carol@example.net");
        here.there.seen.away.set(true);
        assert_eq!(here.send(bob, &["alice"], 1, "break\r\n").await, [Ok(())]);
        // In the middle of a longer one.
        let mut forward = here.begin(carol, &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"break\r\n")).await;
        for _ in 0..20 {
            forward.write(&Bytes::from(vec![b'x'; 60_000])).await;
        }
        assert_eq!(forward.commit_with(Bytes::from_static(b"\r\n"), false).await, [Ok(())]);
        for (key, sender, text) in [
            (3, bob, "of bob\r\n"),
            (4, carol, "of carol\r\n"),
            (5, "", "of nobody\r\n"),
        ] {
            assert_eq!(here.send(sender, &["alice"], key, text).await, [Ok(())]);
        }
        here.there.seen.breaks.set(true);
        here.there.seen.away.set(false);
        // After a few tries even what is behind those.
        here.until("the others are there", async || here.waiting().await == 2)
            .await;
        let mut taken = here.taken();
        taken.sort();
        assert_eq!(taken, ["of bob\r\n", "of carol\r\n", "of nobody\r\n"]);
        // And they, when it takes them.
        here.there.seen.breaks.set(false);
        here.drained().await;
        assert_eq!(here.there.taken(), 5);
        here.end().await;
    });
}

#[test]
fn a_server_that_takes_few_recipients_at_a_time_gets_the_rest_in_other_transactions() {
    run(|| async {
        let here = Here::new("few", DAY).await;
        here.there.seen.recipients_max.set(Some(2));
        let names = ["a", "b", "c", "d", "full"];
        let sent = || {
            let taken = here.there.seen.taken.borrow();
            let recipients = taken.iter().map(|(recipients, _)| recipients.len());
            recipients.collect::<Vec<_>>()
        };
        // In one piece, each at once; alone, who is full is the sender's.
        let mut results = here
            .begin("", &names, 1)
            .await
            .commit_with(Bytes::from_static(b"A: b\r\n"), false)
            .await;
        assert!(
            matches!(results.pop(), Some(Err(RemoteError::Answered(_)))),
            "{results:?}"
        );
        assert_eq!((results, sent()), (vec![Ok(()); 4], vec![2, 2]));
        // In pieces the rest waits, and goes from there.
        let mut forward = here.begin("", &names[..4], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert_eq!(
            forward.commit_with(Bytes::from_static(b"\r\n"), false).await,
            vec![Ok(()); 4]
        );
        here.drained().await;
        assert_eq!((sent(), here.count(QueueEvent::Tried)), (vec![2; 4], 1));
        // A long list that waits goes in one try.
        here.there.seen.words.set(Some(0));
        assert_eq!(
            here.send("", &["a", "b", "c", "d", "e", "f"], 3, "A: b\r\n").await,
            vec![Ok(()); 6]
        );
        here.there.seen.words.set(None);
        let before = sent().len();
        here.drained().await;
        assert_eq!(sent()[before..], [2, 2, 2]);
        // One who takes nobody is deferred like any other.
        here.there.seen.recipients_max.set(Some(0));
        let results = here
            .begin("", &["a", "b"], 4)
            .await
            .commit_with(Bytes::from_static(b"A: b\r\n"), false)
            .await;
        assert!(
            results
                .iter()
                .all(|result| matches!(result, Err(RemoteError::Answered(_)))),
            "{results:?}"
        );
        here.end().await;
    });
}

#[test]
fn a_queue_that_is_full_says_so() {
    run(|| async {
        let here = Here::new("bound", DAY).await;
        here.there.seen.away.set(true);
        here.room.set(Room::Full);
        assert_eq!(
            here.send("", &["alice"], 1, "A: b\r\n").await,
            [Err(RemoteError::NoRoom)]
        );
        let mut forward = here.begin("", &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        // Known to be away, nobody is asked.
        here.until("it is away", async || {
            here.parts.peers.is_away(&here.there.server) || {
                here.send("", &["alice"], 3, "A: b\r\n").await;
                false
            }
        })
        .await;
        let mut forward = here.begin("", &["alice"], 4).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert!(forward.is_in_vain(false));
        assert_eq!(forward.give_up(), [Err(RemoteError::NoRoom)]);
        // The same of a message that is whole, before anybody else has it.
        let mut forward = here.begin("", &["alice"], 5).await;
        assert!(!forward.is_in_vain(true));
        forward.prepare().await;
        assert!(forward.is_in_vain(true));
        assert_eq!(forward.give_up(), [Err(RemoteError::NoRoom)]);
        assert_eq!(here.waiting().await, 0);
        here.end().await;
    });
}

#[test]
fn without_a_volume_that_takes_mail_the_sender_hears_it() {
    run(|| async {
        let here = Here::new("full", DAY).await;
        here.there.seen.away.set(true);
        here.room.set(Room::No);
        assert_eq!(here.parts.queues.room(), Room::No);
        let results = here.send("bob@example.org", &["alice"], 1, "A: b\r\n").await;
        assert!(matches!(results[..], [Err(RemoteError::OutOfReach(_))]), "{results:?}");
        let mut forward = here.begin("bob@example.org", &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert!(forward.is_in_vain(false));
        assert!(matches!(forward.give_up()[..], [Err(RemoteError::OutOfReach(_))]));
        assert_eq!(here.waiting().await, 0);
        here.end().await;
    });
}
