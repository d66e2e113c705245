//! Mail that is read one message after the other: few reads of the disk, and never other bytes than were written.

use super::harness::*;
use crate::body::ahead::PIECE_BYTES_MAX;
use crate::sim::{Executor, Image, SimDisk};
use crate::{Message, READ_MAX, StoreError, Uid, Volume, VolumeOptions};

const MESSAGES: u32 = 200;
const BYTES: usize = 6000;

fn options() -> VolumeOptions {
    VolumeOptions {
        segment_bytes: 1024 * 1024,
        ..small_options()
    }
}

/// Messages of one account, with some of another between them; whether anything is in memory is the opening's affair.
fn a_mailbox() -> Image {
    let executor = Executor::new(21);
    let disk = SimDisk::new(21);
    let volume = made(&executor, &disk, options());
    executor
        .run(async move {
            for uid in 1..=MESSAGES {
                let text = message_text(u64::from(uid), BYTES);
                deliver_one(&volume, account_id(0), &text).await.expect("delivered");
                if uid % 3 == 0 {
                    deliver_one(&volume, account_id(1), &text).await.expect("delivered");
                }
            }
            volume.close().await;
        })
        .expect("goes on");
    drop(executor);
    disk.restarted(21).image()
}

/// What reading messages came to.
struct Reading {
    /// Those that cannot be read.
    unread: Vec<u32>,
    reads: u64,
    bytes: u64,
    /// Messages that a read for others had brought.
    ahead: u64,
    damaged: u64,
}

/// Reads these of the first account's, one after the other, which must be right if they can be read.
async fn read_on(volume: &Volume, uids: &[u32]) -> Reading {
    let account = volume.account(account_id(0)).await.expect("loads");
    let inbox = account.mailbox("INBOX").expect("there is an INBOX");
    let messages: Vec<Message> = uids.iter().filter_map(|uid| inbox.message(Uid(*uid))).collect();
    let before = volume.stats();
    let mut unread = Vec::new();
    let mut ahead = volume.read_ahead();
    for (index, uid) in uids.iter().enumerate() {
        let following = messages[index + 1..].iter().copied();
        let read = match inbox.open_message_ahead(Uid(*uid), &mut ahead, following).await {
            Ok(reader) => reader.read(0, READ_MAX).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(bytes) => assert!(bytes == message_text(u64::from(*uid), BYTES), "UID {uid}: other bytes"),
            Err(StoreError::Damaged { what }) => {
                assert!(what.contains(&format!("UID {uid}")), "{what}");
                unread.push(*uid);
            }
            Err(StoreError::Io(_)) => unread.push(*uid),
            Err(error) => panic!("UID {uid}: {error}"),
        }
    }
    let after = volume.stats();
    Reading {
        unread,
        reads: after.reads - before.reads,
        bytes: after.read_bytes - before.read_bytes,
        ahead: after.read_ahead - before.read_ahead,
        damaged: after.damaged - before.damaged,
    }
}

/// The same of a volume that has just been opened.
fn read(disk: &SimDisk, options: VolumeOptions, uids: Vec<u32>) -> Reading {
    let executor = Executor::new(22);
    let volume = opened(&executor, disk, options);
    executor
        .run(async move { read_on(&volume, &uids).await })
        .expect("goes on")
}

/// Where a message's fifth line is: the file, and the offset.
fn line_of(image: &Image, uid: u32) -> (String, usize) {
    let wanted = format!("line 5 of message {uid}\r\n").into_bytes();
    let found = image.iter().find_map(|(name, bytes)| {
        let offset = bytes.windows(wanted.len()).position(|window| window == wanted)?;
        Some((name.clone(), offset))
    });
    found.expect("the message is there")
}

/// Bytes up to the last that is not zero.
fn used(file: &[u8]) -> u64 {
    file.iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

#[test]
fn a_mailbox_that_is_read_through_takes_few_reads() {
    let image = a_mailbox();
    let all: Vec<u32> = (1..=MESSAGES).collect();
    let reading = read(&SimDisk::with_image(1, &image), options(), all.clone());
    let Reading { reads, bytes, .. } = reading;
    assert!(reading.unread.is_empty(), "{:?}", reading.unread);
    assert_eq!(reading.ahead + reads, u64::from(MESSAGES), "each was read or there");
    // The journal of both accounts: no byte of it twice, or hardly.
    let stored = image.values().map(|file| used(file)).sum::<u64>();
    assert!(reads <= u64::from(MESSAGES) / 10, "{reads} reads");
    assert!(bytes < stored * 5 / 4, "{bytes} bytes of {stored}");
    let alone = VolumeOptions {
        read_ahead_bytes: 0,
        ..options()
    };
    let reading = read(&SimDisk::with_image(1, &image), alone, all);
    assert_eq!(reading.reads, u64::from(MESSAGES), "each message is a read");
}

#[test]
fn messages_that_are_read_here_and_there_take_no_more_than_themselves() {
    let image = a_mailbox();
    for few in [vec![1, 78, 155, 32, 109], vec![50, 49, 48, 47, 46]] {
        let reading = read(&SimDisk::with_image(1, &image), options(), few);
        assert!(reading.unread.is_empty(), "{:?}", reading.unread);
        assert_eq!((reading.reads, reading.ahead), (5, 0));
        assert!(reading.bytes <= 5 * 24 * 1024, "{} bytes", reading.bytes);
    }
}

#[test]
fn damage_in_what_is_read_ahead_is_that_of_its_message_alone() {
    let mut image = a_mailbox();
    let (name, offset) = line_of(&image, 100);
    image.get_mut(&name).expect("it is there")[offset] ^= 1;
    let reading = read(&SimDisk::with_image(1, &image), options(), (1..=MESSAGES).collect());
    assert_eq!((reading.unread, reading.damaged), (vec![100], 1));
    assert!(reading.ahead > u64::from(MESSAGES) / 2, "{}", reading.ahead);
}

#[test]
fn a_block_that_cannot_be_read_costs_its_message_alone() {
    let image = a_mailbox();
    let disk = SimDisk::with_image(1, &image);
    let (name, offset) = line_of(&image, 100);
    disk.make_unreadable(&name, offset as u64);
    let reading = read(&disk, options(), (1..=MESSAGES).collect());
    assert_eq!(reading.unread, [100]);
    assert!(reading.ahead > u64::from(MESSAGES) / 2, "{}", reading.ahead);
}

#[test]
fn who_finds_no_room_for_a_piece_reads_each_message_by_itself() {
    let executor = Executor::new(24);
    let one = VolumeOptions {
        read_ahead_bytes: PIECE_BYTES_MAX,
        ..options()
    };
    let volume = opened(&executor, &SimDisk::with_image(24, &a_mailbox()), one);
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there is an INBOX");
            let following = [2, 3].map(|uid| inbox.message(Uid(uid)).expect("there"));
            let mut first = volume.read_ahead();
            let opened = inbox
                .open_message_ahead(Uid(1), &mut first, following.into_iter())
                .await;
            opened.expect("readable");
            let reading = read_on(&volume, &[50, 51, 52, 53]).await;
            assert_eq!((reading.reads, reading.ahead), (4, 0));
            drop(first);
            let reading = read_on(&volume, &[60, 61, 62, 63]).await;
            assert_eq!((reading.reads, reading.ahead), (1, 3));
        })
        .expect("goes on");
}

#[test]
fn what_is_read_through_leaves_in_the_cache_what_is_in_use() {
    let executor = Executor::new(25);
    let cached = VolumeOptions {
        body_cache_bytes: 8 * BYTES,
        ..options()
    };
    let volume = opened(&executor, &SimDisk::with_image(25, &a_mailbox()), cached);
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there is an INBOX");
            for uid in 191..=200 {
                read_message(&inbox, Uid(uid)).await.expect("readable");
            }
            let misses = volume.stats().cache_misses;
            for round in 0..2 {
                let through: Vec<u32> = (1..=100).collect();
                assert!(read_on(&volume, &through).await.unread.is_empty());
                let before = volume.stats();
                for uid in 195..=200 {
                    read_message(&inbox, Uid(uid)).await.expect("readable");
                }
                assert_eq!(
                    volume.stats().reads,
                    before.reads,
                    "round {round}: they are in the cache"
                );
            }
            assert_eq!(volume.stats().cache_misses, misses + 200, "and of the others none");
            // Few enough to stay: the second time.
            for (round, reads) in [1, 1, 0].into_iter().enumerate() {
                let reading = read_on(&volume, &[20, 21, 22, 23]).await;
                assert_eq!(reading.reads, reads, "round {round}");
            }
        })
        .expect("goes on");
}

#[test]
fn what_comes_while_a_mailbox_is_read_is_read_too() {
    let executor = Executor::new(23);
    let volume = opened(&executor, &SimDisk::with_image(23, &a_mailbox()), options());
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there is an INBOX");
            let mut ahead = volume.read_ahead();
            // A long read ends where the journal does; then more is written behind it, which is wanted next.
            for uid in MESSAGES - 3..MESSAGES + 50 {
                let text = message_text(u64::from(uid + 4), BYTES);
                deliver_one(&volume, account_id(0), &text).await.expect("delivered");
                let following: Vec<Message> = (uid + 1..uid + 5).filter_map(|uid| inbox.message(Uid(uid))).collect();
                let reader = inbox
                    .open_message_ahead(Uid(uid), &mut ahead, following.into_iter())
                    .await;
                let bytes = reader.expect("opens").read(0, READ_MAX).await.expect("readable");
                assert!(bytes == message_text(u64::from(uid), BYTES), "UID {uid}: other bytes");
            }
            assert_eq!(volume.stats().damaged, 0);
            assert!(volume.stats().read_ahead > 10, "{}", volume.stats().read_ahead);
        })
        .expect("goes on");
}
