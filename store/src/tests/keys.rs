//! Messages with keys: brought again after a crash anywhere, each is there exactly once.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join_all;

use super::harness::*;
use crate::sim::{Executor, SimDisk};
use crate::{AccountId, Delivered, Delivery, Limits, MessageKey, StoreError, Uid, Volume, VolumeState};

fn key(number: u64) -> MessageKey {
    let mut bytes = [0x6b; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    MessageKey(bytes)
}

fn keyed(account: AccountId, number: u64) -> Delivery {
    Delivery {
        key: Some(key(number)),
        ..delivery(account)
    }
}

const MESSAGES: u64 = 30;

/// Small ones, and some that are streamed, for two accounts at once.
fn text(number: u64) -> Vec<u8> {
    message_text(number, if number % 5 == 4 { 20_000 } else { 300 })
}

/// Brings every message as whoever got no answer does: again, with the key that it has. Two of them at once, so that batches have
/// more than one, and a snapshot and what compaction has to do in between.
async fn bring_all(volume: Volume) -> Result<(), StoreError> {
    for first in (0..MESSAGES).step_by(2) {
        let both = [first, first + 1].map(|number| {
            let volume = volume.clone();
            async move {
                let to = vec![keyed(account_id(0), number), keyed(account_id(1), number)];
                deliver_keyed(&volume, to, &text(number)).await
            }
        });
        for result in join_all(both).await.into_iter().flatten() {
            result?;
        }
        volume.poke();
    }
    Ok(())
}

/// How often each message is there, by account and number.
async fn counts(volume: &Volume) -> BTreeMap<(u8, u64), u32> {
    let mut counts = BTreeMap::new();
    for account in 0..2 {
        let inbox = volume
            .account(account_id(account))
            .await
            .expect("loads")
            .mailbox("INBOX")
            .expect("there");
        let uids: Vec<Uid> = inbox.with_messages(|messages| messages.iter().map(|message| message.uid).collect());
        for uid in uids {
            let bytes = read_message(&inbox, uid).await.expect("readable");
            let number = (0..MESSAGES)
                .find(|number| text(*number) == bytes)
                .expect("one of them");
            *counts.entry((account, number)).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn brought_again_after_a_crash_anywhere_each_is_there_once() {
    let wanted: BTreeMap<(u8, u64), u32> = (0..2)
        .flat_map(|account| (0..MESSAGES).map(move |number| ((account, number), 1)))
        .collect();
    let mut points = 0;
    for point in 0.. {
        // One life that is cut off after so many operations of the disk, one that is cut off a little later, one that is not.
        let executor = Executor::new(point);
        let mut disk = SimDisk::new(point);
        let volume = made(&executor, &disk, small_options());
        executor.run(async move { volume.close().await }).expect("closes");
        let mut cut = false;
        for (life, crash_at) in [Some(point), Some(point / 2 + 7), None].into_iter().enumerate() {
            let executor = Executor::new(point * 3 + life as u64);
            disk = disk.restarted(point);
            if let Some(crash_at) = crash_at {
                disk.crash_at(crash_at);
            }
            let Some(volume) = try_open(&executor, &disk, small_options()) else {
                cut = true;
                continue;
            };
            assert_eq!(volume.state(), VolumeState::Writable);
            let brought = executor.run(bring_all(volume.clone()));
            assert!(crash_at.is_some() || brought.is_some(), "point {point}: it goes on");
            if let Some(brought) = brought {
                assert_eq!(brought, Ok(()), "point {point}");
                let there = executor.run(async move { counts(&volume).await });
                assert_eq!(
                    there.unwrap_or_else(|| wanted.clone()),
                    wanted,
                    "point {point} life {life}"
                );
            } else if life == 0 {
                cut = true;
            }
        }
        points += 1;
        if !cut {
            break;
        }
    }
    assert!(points > 40, "crashes at {points} points");
}

#[test]
fn a_known_key_is_answered_whatever_the_limits_say_and_others_are_not() {
    let executor = Executor::new(1);
    let disk = SimDisk::new(1);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let full = Limits {
                messages: Some(1),
                bytes: None,
            };
            let to = |number| Delivery {
                limits: full,
                ..keyed(account_id(0), number)
            };
            let first = deliver_keyed(&volume, vec![to(1)], b"a: b\r\n\r\n").await;
            assert!(matches!(first[..], [Ok(Delivered::Stored(_))]), "{first:?}");
            let again = deliver_keyed(&volume, vec![to(1), keyed(account_id(1), 1)], b"a: b\r\n\r\n").await;
            assert!(
                matches!(again[..], [Ok(Delivered::Known), Ok(Delivered::Stored(_))]),
                "another account's key is its own: {again:?}"
            );
            let other = deliver_keyed(&volume, vec![to(2)], b"a: b\r\n\r\n").await;
            assert!(matches!(other[..], [Err(StoreError::OverQuota { .. })]), "{other:?}");
            // The message may be gone: the key is not.
            let inbox = volume
                .account(account_id(0))
                .await
                .expect("loads")
                .mailbox("INBOX")
                .expect("there");
            inbox.expunge(&[Uid(1)]).await.expect("expunged");
            let again = deliver_keyed(&volume, vec![to(1)], b"a: b\r\n\r\n").await;
            assert_eq!(again, [Ok(Delivered::Known)]);
            assert_eq!(volume.stats().duplicates, 2);
        })
        .expect("goes on");
}

#[test]
fn of_two_at_once_one_is_stored_and_both_are_answered_when_it_is_durable() {
    for seed in 0..20 {
        let executor = Executor::new(seed);
        let disk = SimDisk::new(seed);
        let volume = made(&executor, &disk, small_options());
        executor
            .run(async move {
                let bring = || deliver_keyed(&volume, vec![keyed(account_id(0), 1)], b"a: b\r\n\r\n");
                let results: Vec<_> = join_all([bring(), bring(), bring()])
                    .await
                    .into_iter()
                    .flatten()
                    .collect();
                let stored = results
                    .iter()
                    .filter(|result| matches!(result, Ok(Delivered::Stored(_))));
                assert_eq!(stored.count(), 1, "{results:?}");
                assert!(results.iter().all(Result::is_ok));
                let inbox = volume
                    .account(account_id(0))
                    .await
                    .expect("loads")
                    .mailbox("INBOX")
                    .expect("there");
                assert_eq!(inbox.status().messages, 1);
            })
            .expect("goes on");
    }
}

#[test]
fn snapshots_and_compaction_keep_the_keys() {
    let executor = Executor::new(3);
    let disk = SimDisk::new(3);
    let volume = made(&executor, &disk, small_options());
    let held = volume.clone();
    executor
        .run(async move {
            for number in 0..60 {
                let result =
                    deliver_keyed(&held, vec![keyed(account_id(0), number)], &message_text(number, 9000)).await;
                assert!(matches!(result[..], [Ok(Delivered::Stored(_))]), "{result:?}");
            }
            let inbox = held
                .account(account_id(0))
                .await
                .expect("loads")
                .mailbox("INBOX")
                .expect("there");
            let uids: Vec<Uid> = (1..=58).map(Uid).collect();
            inbox.expunge(&uids).await.expect("expunged");
        })
        .expect("goes on");
    for _ in 0..4 {
        volume.poke();
        executor.run_until_stalled();
    }
    let stats = volume.stats();
    assert!(stats.segments_compacted > 0 && stats.snapshots > 0, "{stats:?}");
    executor.run(async move { volume.close().await }).expect("closes");

    let executor = Executor::new(4);
    let volume = opened(&executor, &Rc::new(disk.restarted(4)), small_options());
    executor
        .run(async move {
            for number in 0..60 {
                let again = deliver_keyed(&volume, vec![keyed(account_id(0), number)], b"a: b\r\n\r\n").await;
                assert_eq!(again, [Ok(Delivered::Known)], "message {number}");
            }
            assert_eq!(volume.stats().duplicates, 60);
        })
        .expect("goes on");
}
