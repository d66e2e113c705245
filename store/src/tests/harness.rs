//! What the tests share: small volumes on a simulated disk, driven by the simulated executor.

use std::rc::Rc;

use bytes::Bytes;

use crate::disk::Disk;
use crate::sim::{Executor, SimDisk};
use crate::{
    AccountId, Appended, Delivered, Delivery, Flags, Limits, Mailbox, StoreError, Uid, Volume, VolumeId, VolumeOptions,
};

pub(crate) const VOLUME: VolumeId = VolumeId([0x42; 16]);

pub(crate) fn account_id(number: u8) -> AccountId {
    AccountId([number + 1; 16])
}

/// Small everything, so that a short test crosses all borders.
pub(crate) fn small_options() -> VolumeOptions {
    VolumeOptions {
        segment_bytes: 128 * 1024,
        batch_bytes_max: 32 * 1024,
        uid_validity_base: 1_000,
        body_cache_bytes: 16 * 1024,
        read_ahead_bytes: 1024 * 1024,
        index_bytes_max: 64 * 1024,
        ingest_bytes_max: 64 * 1024,
        checkpoint_bytes: 64 * 1024,
        snapshot_records: 8,
        reserve_bytes: 128 * 1024,
        ..VolumeOptions::default()
    }
}

/// Makes a volume, and opens it with its tasks running.
pub(crate) fn made(executor: &Executor, disk: &SimDisk, options: VolumeOptions) -> Volume {
    let (making, with) = (disk.clone(), options.clone());
    executor
        .run(async move { Volume::create(Rc::new(making), VOLUME, &with).await })
        .expect("making goes on")
        .expect("the volume is made");
    opened(executor, disk, options)
}

/// Opens a volume with its tasks running.
pub(crate) fn opened(executor: &Executor, disk: &SimDisk, options: VolumeOptions) -> Volume {
    try_open(executor, disk, options).expect("opening goes on")
}

/// As `opened`; `None` when the disk crashed meanwhile.
pub(crate) fn try_open(executor: &Executor, disk: &SimDisk, options: VolumeOptions) -> Option<Volume> {
    let disk: Rc<dyn Disk> = Rc::new(disk.clone());
    let volume = executor
        .run(async move { Volume::open(disk, VOLUME, options).await })?
        .expect("the volume opens");
    executor.spawn(volume.drive());
    executor.spawn(volume.maintain());
    Some(volume)
}

pub(crate) fn delivery(account: AccountId) -> Delivery {
    Delivery {
        account,
        limits: Limits::default(),
        mailbox: "INBOX".into(),
        flags: Flags::NONE,
        keywords: Vec::new(),
        internal_date: 1_700_000_000,
        create_mailbox: false,
        prepend: Bytes::new(),
        key: None,
    }
}

/// Delivers a body as it comes from a session, to accounts that have it not.
pub(crate) async fn deliver(volume: &Volume, to: Vec<Delivery>, body: &[u8]) -> Vec<Result<Appended, StoreError>> {
    let results = deliver_keyed(volume, to, body).await.into_iter();
    let stored = results.map(|result| {
        result.map(|delivered| match delivered {
            Delivered::Stored(appended) => appended,
            Delivered::Known => panic!("nobody has the message yet"),
        })
    });
    stored.collect()
}

/// Delivers a body as it comes from a session.
pub(crate) async fn deliver_keyed(
    volume: &Volume,
    to: Vec<Delivery>,
    body: &[u8],
) -> Vec<Result<Delivered, StoreError>> {
    let accounts: Vec<AccountId> = to.iter().map(|delivery| delivery.account).collect();
    let finished = async {
        let mut writer = volume.begin_body(&accounts).await?;
        for piece in body.chunks(3000) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        writer.finish().await
    };
    match finished.await {
        Ok(finished) => volume.deliver(finished, to).await,
        Err(error) => to.iter().map(|_| Err(error.clone())).collect(),
    }
}

pub(crate) async fn deliver_one(volume: &Volume, account: AccountId, body: &[u8]) -> Result<Appended, StoreError> {
    deliver(volume, vec![delivery(account)], body).await.remove(0)
}

/// All bytes of a message.
pub(crate) async fn read_message(mailbox: &Mailbox, uid: Uid) -> Result<Vec<u8>, StoreError> {
    let reader = mailbox.open_message(uid).await?;
    let mut bytes = Vec::new();
    loop {
        let piece = reader.read(bytes.len() as u64, 5000).await?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(
        bytes.len() as u64,
        reader.info().size,
        "a reader gives as many bytes as it says"
    );
    Ok(bytes)
}

/// A message of about so many bytes, which no other number gives.
pub(crate) fn message_text(number: u64, bytes: usize) -> Vec<u8> {
    let mut text = format!("Message-ID: <{number}@example.org>\r\nSubject: number {number}\r\n\r\n").into_bytes();
    let mut line = 0u64;
    while text.len() < bytes {
        text.extend_from_slice(format!("line {line} of message {number}\r\n").as_bytes());
        line += 1;
    }
    text
}
