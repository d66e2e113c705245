//! Mail that is read one message after the other: few reads of the disk, and never other bytes than were written.

use super::harness::*;
use crate::sim::{Executor, Image, SimDisk};
use crate::{StoreError, Uid, VolumeOptions};

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

/// Reads these of the first account's, which must be right if they can be read; gives those that cannot, and the reads and the bytes it took.
fn read(image: &Image, options: VolumeOptions, uids: Vec<u32>) -> (Vec<u32>, u64, u64) {
    let executor = Executor::new(22);
    let volume = opened(&executor, &SimDisk::with_image(22, image), options);
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there is an INBOX");
            let before = volume.stats();
            let mut unread = Vec::new();
            for uid in uids {
                match read_message(&inbox, Uid(uid)).await {
                    Ok(bytes) => assert!(bytes == message_text(u64::from(uid), BYTES), "UID {uid}: other bytes"),
                    Err(StoreError::Damaged { what }) => {
                        assert!(what.contains(&format!("UID {uid}")), "{what}");
                        unread.push(uid);
                    }
                    Err(error) => panic!("UID {uid}: {error}"),
                }
            }
            let after = volume.stats();
            (unread, after.reads - before.reads, after.read_bytes - before.read_bytes)
        })
        .expect("goes on")
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
    let (unread, reads, bytes) = read(&image, options(), all.clone());
    assert!(unread.is_empty(), "{unread:?}");
    // The journal of both accounts: no byte of it twice, or hardly.
    let stored = image.values().map(|file| used(file)).sum::<u64>();
    assert!(reads <= u64::from(MESSAGES) / 10, "{reads} reads");
    assert!(bytes < stored * 5 / 4, "{bytes} bytes of {stored}");
    let alone = VolumeOptions {
        read_ahead_bytes: 0,
        ..options()
    };
    let (_, reads, _) = read(&image, alone, all);
    assert_eq!(reads, u64::from(MESSAGES), "each message is a read");
}

#[test]
fn messages_that_are_read_here_and_there_take_no_more_than_themselves() {
    let image = a_mailbox();
    // Each is 77 messages behind the last, as in a circle: none is close to any of those before.
    let few: Vec<u32> = (0..5).map(|number| 1 + number * 77 % MESSAGES).collect();
    let (unread, reads, bytes) = read(&image, options(), few);
    assert!(unread.is_empty(), "{unread:?}");
    assert_eq!(reads, 5);
    assert!(bytes <= 5 * 24 * 1024, "{bytes} bytes");
}

#[test]
fn damage_in_what_is_read_ahead_is_that_of_its_message_alone() {
    let mut image = a_mailbox();
    let wanted = b"line 5 of message 100\r\n";
    let (name, offset) = image
        .iter()
        .find_map(|(name, bytes)| {
            let offset = bytes.windows(wanted.len()).position(|window| window == wanted)?;
            Some((name.clone(), offset))
        })
        .expect("the message is there");
    image.get_mut(&name).expect("it is there")[offset] ^= 1;
    let (unread, _, _) = read(&image, options(), (1..=MESSAGES).collect());
    assert_eq!(unread, [100]);
}

#[test]
fn what_comes_while_a_mailbox_is_read_is_read_too() {
    let executor = Executor::new(23);
    let volume = opened(&executor, &SimDisk::with_image(23, &a_mailbox()), options());
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there is an INBOX");
            // The last read ahead ends where the journal does; then more is written behind it.
            for uid in 1..=2 * MESSAGES {
                if uid >= MESSAGES {
                    let text = message_text(u64::from(uid + 1), BYTES);
                    deliver_one(&volume, account_id(0), &text).await.expect("delivered");
                }
                let text = read_message(&inbox, Uid(uid)).await.expect("readable");
                assert!(text == message_text(u64::from(uid), BYTES), "UID {uid}: other bytes");
            }
            assert_eq!(volume.stats().damaged, 0);
        })
        .expect("goes on");
}
