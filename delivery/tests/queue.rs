//! Mail that waits for another node: over sockets to a scripted one, from a volume on a disk.

mod peer;

use bytes::Bytes;
use peer::{KEY, KEY_OF_MESSAGE, There, run, there};
use pigeon_datatree_cache::{Copy, Snapshot};
use pigeon_delivery::queue::{
    Forward, QUEUE_ACCOUNT, QueueEvent, QueueIndex, QueueParts, QueuedEnvelope, QueuedRecipient, Queues, Runner, Stop,
};
use pigeon_delivery::remote::{RemoteError, RemoteRecipient};
use pigeon_delivery::{MailStore, VolumeSeat, VolumeTable, add_volume, take_volumes};
use pigeon_engine::{current_core, sleep, spawn};
use pigeon_store::disk::EngineDisk;
use pigeon_store::{AccountId, MessageKey, Volume, VolumeId, VolumeOptions};
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
    takes_mail: Rc<Cell<bool>>,
    volume: Volume,
    table: Arc<VolumeTable>,
    stop: Rc<Stop>,
    directory: PathBuf,
}

fn options() -> VolumeOptions {
    VolumeOptions {
        segment_bytes: 4 << 20,
        uid_validity_base: 1,
        ..VolumeOptions::default()
    }
}

impl Here {
    async fn new(name: &str, life: Duration) -> Here {
        let directory = std::env::temp_dir().join(format!("pigeon-queue-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let disk = Rc::new(EngineDisk::new(&directory));
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
        let takes_mail = Rc::new(Cell::new(true));
        let takes = takes_mail.clone();
        let events: Rc<RefCell<Vec<QueueEvent>>> = Rc::default();
        let counted = events.clone();
        let parts = QueueParts {
            locate: Rc::new(|_| Box::pin(async { None })),
            copy: Rc::new(copy.for_core()),
            node: "n1".into(),
            host_name: "n1.example.org".into(),
            peers: there.peers.clone(),
            local: MailStore::new(table.clone()),
            queues: Queues::new(table.clone(), index.clone(), Rc::new(move |_| takes.get())),
            count: Rc::new(move |event| counted.borrow_mut().push(event)),
            life,
            over_quota_defers: false,
        };
        let mut here = Here {
            there,
            copy,
            parts,
            index,
            events,
            takes_mail,
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
        here.index = Arc::default();
        let takes = here.takes_mail.clone();
        here.parts.queues = Queues::new(here.table.clone(), here.index.clone(), Rc::new(move |_| takes.get()));
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
        // From a stranger, and no postmaster is there: it is kept.
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
        let account = here.volume.account(QUEUE_ACCOUNT).await.expect("loads");
        let kept = account.mailbox("undeliverable").expect("it was made");
        assert_eq!(kept.status().messages, 1);
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
        let changed = Snapshot::from_ldif(&tree).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        // As the next generation.
        here.copy.publish(changed.in_state(here.copy.current().state()));
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
fn without_a_volume_that_takes_mail_the_sender_hears_it() {
    run(|| async {
        let here = Here::new("full", DAY).await;
        here.there.seen.away.set(true);
        here.takes_mail.set(false);
        assert!(!here.parts.queues.can_take());
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
