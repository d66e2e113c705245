//! The store: a record through room, copy, checksum and batch; and whole deliveries with quota, index and the account's link.

use crate::Round;
use crate::memory_disk::MemoryDisk;
use bytes::Bytes;
use futures_util::future::join_all;
use pigeon_store::disk::Disk;
use pigeon_store::sim::Executor;
use pigeon_store::{AccountId, Delivery, Flags, Limits, Volume, VolumeId, VolumeOptions};
use std::rc::Rc;

/// Room for all rounds of any unit.
const SEGMENT_BYTES: u64 = 32 << 20;

/// Deliveries in one batch.
pub(crate) const AT_ONCE: usize = 16;

/// A new volume with its tasks running.
pub(crate) fn volume() -> (Executor, Volume) {
    let tasks = Executor::new(1);
    let spawner = tasks.clone();
    let opened = tasks.run(async move {
        let disk: Rc<dyn Disk> = Rc::new(MemoryDisk::default());
        let options = VolumeOptions {
            segment_bytes: SEGMENT_BYTES,
            // No checkpoint comes in between.
            checkpoint_bytes: SEGMENT_BYTES,
            ..VolumeOptions::default()
        };
        let id = VolumeId([7; 16]);
        Volume::create(disk.clone(), id, &options).await.expect("a new disk");
        let volume = Volume::open(disk, id, options).await.expect("made just now");
        spawner.spawn(volume.drive());
        spawner.spawn(volume.maintain());
        volume
    });
    let volume = opened.expect("opening ends");
    tasks.run_until_stalled();
    (tasks, volume)
}

/// 4 KiB.
pub(crate) fn message() -> Bytes {
    let mut message = b"Subject: a message\r\nFrom: carol@example.net\r\nTo: alice@example.org\r\n\r\n".to_vec();
    while message.len() < 4094 {
        message.push(b'x');
    }
    message.extend_from_slice(b"\r\n");
    Bytes::from(message)
}

/// Into an account's INBOX.
pub(crate) async fn deliver(volume: Volume, account: AccountId, message: Bytes) {
    let mut writer = volume.begin_body(&[account]).await.expect("there is room");
    writer.write(message).await.expect("there is room");
    let body = writer.finish().await.expect("there is room");
    let delivery = Delivery {
        account,
        limits: Limits {
            bytes: Some(1 << 30),
            messages: None,
        },
        mailbox: "INBOX".to_owned(),
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: 1_700_000_000,
        create_mailbox: false,
        prepend: Bytes::from_static(b"Return-Path: <carol@example.net>\r\n"),
        key: None,
    };
    for result in volume.deliver(body, vec![delivery]).await {
        result.expect("delivered");
    }
}

/// One record of 4 KiB in a batch of its own.
pub(crate) fn append() -> Round {
    let (tasks, volume) = volume();
    let message = message();
    Box::new(move || {
        let (volume, message) = (volume.clone(), message.clone());
        let done = tasks.run(async move { volume.append_unreferenced(message).await });
        done.expect("it ends").expect("there is room");
    })
}

/// One delivery of 4 KiB in a batch of its own.
pub(crate) fn delivery() -> Round {
    let (tasks, volume) = volume();
    let message = message();
    Box::new(move || {
        let done = tasks.run(deliver(volume.clone(), AccountId([1; 16]), message.clone()));
        done.expect("it ends");
    })
}

/// Several at once, to as many accounts, in one batch.
pub(crate) fn deliveries() -> Round {
    let (tasks, volume) = volume();
    let message = message();
    Box::new(move || {
        let (volume, message) = (volume.clone(), message.clone());
        let all = (1..).take(AT_ONCE);
        let all = all.map(move |number| deliver(volume.clone(), AccountId([number; 16]), message.clone()));
        let done = tasks.run(async move { join_all(all).await.len() });
        assert_eq!(done, Some(AT_ONCE));
    })
}
