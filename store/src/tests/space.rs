//! Space: deleted mail's comes back, readers keep what they read, memory stays small, and a full disk leaves room to delete.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::harness::*;
use crate::sim::{Executor, SimDisk, yield_now};
use crate::{StoreError, Uid, VolumeOptions, VolumeState};

#[test]
fn the_space_of_deleted_mail_comes_back() {
    let executor = Executor::new(11);
    let disk = SimDisk::new(11);
    let volume = made(&executor, &disk, small_options());
    let held = volume.clone();
    executor
        .run(async move {
            for number in 0..400 {
                let bytes = if number % 40 == 0 { 50_000 } else { 3000 };
                deliver_one(&held, account_id((number % 4) as u8), &message_text(number, bytes))
                    .await
                    .expect("delivered");
            }
        })
        .expect("goes on");
    let full = volume.stats();
    assert!(full.live_bytes > 1_000_000, "{full:?}");
    let held = volume.clone();
    executor
        .run(async move {
            for number in 0..4 {
                let account = held.account(account_id(number)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("there");
                // All but every tenth.
                let uids: Vec<Uid> = (1..=100).filter(|uid| uid % 10 != 0).map(Uid).collect();
                inbox.expunge(&uids).await.expect("expunged");
            }
            held.poke();
        })
        .expect("goes on");
    executor.run_until_stalled();
    let emptied = volume.stats();
    assert!(emptied.segments_compacted > 8, "{emptied:?}");
    assert!(emptied.written_bytes < full.written_bytes / 3, "{full:?} {emptied:?}");
    let held = volume.clone();
    executor
        .run(async move {
            for number in 0..4u64 {
                let account = held.account(account_id(number as u8)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("there");
                let uids: Vec<Uid> =
                    inbox.with_messages(|messages| messages.iter().map(|message| message.uid).collect());
                assert_eq!(uids.len(), 10);
                for uid in uids {
                    let original = (u64::from(uid.0) - 1) * 4 + number;
                    let bytes = if original.is_multiple_of(40) { 50_000 } else { 3000 };
                    assert!(read_message(&inbox, uid).await.expect("readable") == message_text(original, bytes));
                }
                inbox
                    .expunge(&inbox.with_messages(|all| all.iter().map(|message| message.uid).collect::<Vec<_>>()))
                    .await
                    .expect("expunged");
            }
            held.poke();
        })
        .expect("goes on");
    executor.run_until_stalled();
    let empty = volume.stats();
    assert!(empty.segments <= 3, "{empty:?}");
    // What the counters say is near the truth: records of four accounts and nothing else.
    assert!(empty.live_bytes < 20_000, "{empty:?}");
    executor.run(async move { volume.close().await }).expect("closes");
    let volume = opened(&Executor::new(12), &disk.restarted(12), small_options());
    assert_eq!(volume.stats().live_bytes, empty.live_bytes, "the counters survive");
}

#[test]
fn who_reads_a_message_can_read_it_to_its_end() {
    let executor = Executor::new(13);
    let disk = SimDisk::new(13);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there");
            let text = message_text(1, 90_000);
            deliver_one(&volume, account_id(0), &text).await.expect("delivered");
            let reader = inbox.open_message(Uid(1)).await.expect("opens");
            let mut read = reader.read(0, 1000).await.expect("readable").to_vec();
            inbox.expunge(&[Uid(1)]).await.expect("expunged");
            for number in 0..200 {
                let appended = deliver_one(&volume, account_id(0), &message_text(number, 4000))
                    .await
                    .expect("delivered");
                inbox.expunge(&[appended.uid]).await.expect("expunged");
            }
            volume.poke();
            while volume.stats().segments_compacted < 3 {
                deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                    .await
                    .expect("delivered");
            }
            loop {
                let piece = reader.read(read.len() as u64, 7000).await.expect("still readable");
                if piece.is_empty() {
                    break;
                }
                read.extend_from_slice(&piece);
            }
            assert!(read == text);
            assert_eq!(inbox.open_message(Uid(1)).await.err(), Some(StoreError::MessageGone));
        })
        .expect("goes on");
}

#[test]
fn a_full_disk_refuses_mail_and_takes_deletions_and_then_mail_again() {
    let executor = Executor::new(14);
    let disk = SimDisk::new(14);
    let options = small_options();
    disk.set_capacity(8 * options.segment_bytes);
    let volume = made(&executor, &disk, options);
    executor
        .run(async move {
            let mut stored = 0;
            let refused = loop {
                match deliver_one(&volume, account_id(0), &message_text(stored, 5000)).await {
                    Ok(_) => stored += 1,
                    Err(error) => break error,
                }
                assert!(stored < 1000);
            };
            assert_eq!(refused, StoreError::NearlyFull);
            assert_eq!(volume.state(), VolumeState::NearlyFull);
            assert!(volume.begin_body(&[account_id(0)]).await.is_err());
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there");
            account
                .create_mailbox("still", None)
                .await
                .expect("other changes still work");
            let uids: Vec<Uid> = (1..=stored as u32).map(Uid).collect();
            let (gone, left) = uids.split_at(uids.len() * 3 / 4);
            inbox.expunge(gone).await.expect("expunged");
            volume.poke();
            let waiting = volume.clone();
            let mut turns = 0;
            while waiting.state() != VolumeState::Writable {
                yield_now().await;
                turns += 1;
                assert!(
                    turns < 200_000,
                    "compaction makes no room: {:?} {:?}",
                    waiting.state(),
                    waiting.stats()
                );
            }
            deliver_one(&volume, account_id(0), &message_text(1, 5000))
                .await
                .expect("takes mail again");
            for uid in left {
                assert!(
                    read_message(&inbox, *uid).await.expect("readable") == message_text(u64::from(uid.0) - 1, 5000)
                );
            }
        })
        .expect("goes on");
}

#[test]
fn many_big_bodies_at_once_hold_little_memory() {
    let executor = Executor::new(15);
    let disk = SimDisk::new(15);
    let options = VolumeOptions {
        segment_bytes: 8 * 1024 * 1024,
        batch_bytes_max: 256 * 1024,
        ingest_bytes_max: 128 * 1024,
        ..small_options()
    };
    let volume = made(&executor, &disk, options);
    // What the pieces hold is counted by the pieces themselves.
    let held = Rc::new(Cell::new(0usize));
    let most = Rc::new(Cell::new(0usize));
    let done = Rc::new(RefCell::new(0));
    for number in 0..20u8 {
        let (volume, held, most, done) = (volume.clone(), held.clone(), most.clone(), done.clone());
        executor.spawn(async move {
            let mut writer = volume.begin_body(&[account_id(number)]).await.expect("begins");
            let before = volume.stats().journal_bytes;
            for _ in 0..64 {
                held.set(held.get() + 16 * 1024);
                writer.write(Bytes::from(vec![b'x'; 16 * 1024])).await.expect("taken");
                let journal = volume.stats().journal_bytes;
                most.set(
                    most.get()
                        .max(held.get().saturating_sub(usize::try_from(journal).expect("small"))),
                );
            }
            assert!(volume.stats().journal_bytes > before, "it is streamed");
            let body = writer.finish().await.expect("finished");
            let results = volume.deliver(body, vec![delivery(account_id(number))]).await;
            assert!(results[0].is_ok(), "{results:?}");
            *done.borrow_mut() += 1;
        });
    }
    executor.run_until_stalled();
    assert_eq!(*done.borrow(), 20);
    // Twenty times a chunk of less than 64 KiB, the budget, and two batches.
    assert!(
        most.get() < 20 * 64 * 1024 + 128 * 1024 + 2 * 256 * 1024,
        "{}",
        most.get()
    );
}
