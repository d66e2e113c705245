//! The node that the queue's tests are about: its volume on a disk that can be broken, its queue, and another node that is scripted.

use super::disk::Breakable;
use crate::peer::{KEY, There, there};
use bytes::Bytes;
use pigeon_datatree_cache::{Copy, Snapshot};
use pigeon_delivery::queue::{
    Forward, QUEUE_ACCOUNT, QueueEvent, QueueIndex, QueueParts, QueuedEnvelope, QueuedRecipient, Queues, Room, Runner,
    Stop,
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

pub(super) const ALICE: [u8; 16] = 0x1111_1111_1111_4111_8111_1111_1111_1111_u128.to_be_bytes();
pub(super) const BOB: AccountId = AccountId(0x2222_2222_2222_4222_8222_2222_2222_2222_u128.to_be_bytes());
pub(super) const DAY: Duration = Duration::from_secs(86_400);

const VOLUME: VolumeId = VolumeId([7; 16]);

/// The node n1 with one volume on its own core.
pub(super) struct Here {
    pub(super) there: There,
    pub(super) copy: Copy,
    pub(super) parts: QueueParts,
    pub(super) index: Arc<QueueIndex>,
    pub(super) events: Rc<RefCell<Vec<QueueEvent>>>,
    pub(super) room: Rc<Cell<Room>>,
    /// Writes to the disk fail.
    pub(super) broken: Rc<Cell<bool>>,
    /// Reads from it do.
    pub(super) unreadable: Rc<Cell<bool>>,
    pub(super) volume: Volume,
    pub(super) table: Arc<VolumeTable>,
    pub(super) stop: Rc<Stop>,
    pub(super) directory: PathBuf,
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
    pub(super) async fn new(name: &str, life: Duration) -> Here {
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

    pub(super) async fn start(&mut self) {
        let runner = Runner::open(0, &self.volume, self.index.clone()).await.expect("opens");
        self.stop = Rc::default();
        drop(spawn(runner.run(self.parts.clone(), self.stop.clone())));
    }

    /// What is known of the queue is that of a node which has just begun.
    pub(super) fn new_life(&mut self) {
        self.index = Arc::default();
        let has = self.room.clone();
        self.parts.queues = Queues::new(self.table.clone(), self.index.clone(), Rc::new(move |_| has.get()));
    }

    /// As the next generation.
    pub(super) fn publish(&self, tree: &str) {
        let current = self.copy.current();
        let mut changed = Snapshot::from_ldif(tree).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        while changed.generation() <= current.generation() {
            changed = changed.in_state(current.state());
        }
        self.copy.publish(changed);
    }

    pub(super) async fn kept(&self) -> u32 {
        let account = self.volume.account(QUEUE_ACCOUNT).await.expect("loads");
        account
            .mailbox("undeliverable")
            .map_or(0, |mailbox| mailbox.status().messages)
    }

    pub(super) async fn begin(&self, sender: &str, names: &[&str], key: u8) -> Forward {
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

    pub(super) async fn send(
        &self,
        sender: &str,
        names: &[&str],
        key: u8,
        text: &'static str,
    ) -> Vec<Result<(), RemoteError>> {
        let forward = self.begin(sender, names, key).await;
        forward
            .commit_with(Bytes::from_static(text.as_bytes()), names.len() > 1)
            .await
    }

    pub(super) fn count(&self, event: QueueEvent) -> usize {
        self.events.borrow().iter().filter(|other| **other == event).count()
    }

    pub(super) async fn waiting(&self) -> u32 {
        let account = self.volume.account(QUEUE_ACCOUNT).await.expect("loads");
        account.mailbox("to/n2").map_or(0, |mailbox| mailbox.status().messages)
    }

    pub(super) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let deadline = pigeon_engine::now() + Duration::from_secs(120);
        while !condition().await {
            assert!(pigeon_engine::now() < deadline, "{what}: {:?}", self.events.borrow());
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn drained(&self) {
        self.until("nothing waits", async || self.waiting().await == 0).await;
    }

    pub(super) fn taken(&self) -> Vec<String> {
        let taken = self.there.seen.taken.borrow();
        taken
            .iter()
            .map(|(_, message)| String::from_utf8_lossy(message).into_owned())
            .collect()
    }

    /// The messages of an account here.
    pub(super) async fn stored(&self, account: AccountId) -> Vec<String> {
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

    pub(super) async fn end(self) {
        self.stop.set();
        for (_, volume) in take_volumes() {
            volume.close().await;
        }
        std::fs::remove_dir_all(&self.directory).expect("it is ours");
    }
}

pub(super) fn seconds() -> i64 {
    i64::try_from(pigeon_engine::unix_time().as_secs()).expect("for a while")
}
