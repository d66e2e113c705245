//! What each operation does, and that it is there after opening again.

use bytes::Bytes;

use super::harness::*;
use crate::sim::{Executor, SimDisk};
use crate::{
    Delivery, FlagChange, FlagOperation, FlagOutcome, Flags, Limits, StoreError, Uid, VolumeOptions, VolumeState,
};

#[test]
fn a_delivered_message_is_read_and_is_there_after_a_restart() {
    let executor = Executor::new(1);
    let disk = SimDisk::new(1);
    let volume = made(&executor, &disk, small_options());
    let text = message_text(1, 2000);
    let (held, body) = (volume.clone(), text.clone());
    executor
        .run(async move {
            let appended = deliver_one(&held, account_id(0), &body).await.expect("delivered");
            assert_eq!(appended.uid, Uid(1));
            let account = held.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("inbox").expect("there is an INBOX");
            assert_eq!(read_message(&inbox, Uid(1)).await.expect("readable"), body);
            assert_eq!(account.usage().messages, 1);
            assert_eq!(account.usage().bytes, body.len() as u64);
        })
        .expect("goes on");
    drop((executor, volume));

    for restart in 0..3 {
        let executor = Executor::new(restart);
        let disk = disk.restarted(restart);
        let volume = opened(&executor, &disk, small_options());
        let body = text.clone();
        let held = volume.clone();
        executor
            .run(async move {
                let account = held.account(account_id(0)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("there is an INBOX");
                assert_eq!(inbox.status().messages, 1);
                assert_eq!(read_message(&inbox, Uid(1)).await.expect("readable"), body);
                held.close().await;
                assert_eq!(held.state(), VolumeState::Closed);
            })
            .expect("goes on");
    }
}

#[test]
fn a_streamed_body_that_was_read_is_read_again_without_the_disk_unless_it_is_big() {
    let executor = Executor::new(11);
    let disk = SimDisk::new(11);
    let options = VolumeOptions {
        body_cache_bytes: 256 * 1024,
        ..small_options()
    };
    let volume = made(&executor, &disk, options);
    executor
        .run(async move {
            for (size, is_kept) in [(20_000, true), (60_000, false)] {
                let text = message_text(size as u64, size);
                let appended = deliver_one(&volume, account_id(0), &text).await.expect("delivered");
                let account = volume.account(account_id(0)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("there is an INBOX");
                let mut reads = Vec::new();
                for _ in 0..2 {
                    let before = volume.stats().reads;
                    assert_eq!(read_message(&inbox, appended.uid).await.expect("readable"), text);
                    reads.push(volume.stats().reads - before);
                }
                assert!(reads[0] > 2, "it is streamed: {reads:?}");
                assert_eq!(reads[1] == 0, is_kept, "{reads:?}");
                assert!(volume.stats().cache_bytes <= 256 * 1024);
            }
        })
        .expect("goes on");
}

#[test]
fn one_body_for_many_accounts_with_their_own_front_lines() {
    let executor = Executor::new(2);
    let disk = SimDisk::new(2);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            for (round, size) in [100, 9_000, 60_000].into_iter().enumerate() {
                let text = message_text(round as u64, size);
                let to: Vec<Delivery> = (0..5)
                    .map(|number| Delivery {
                        prepend: Bytes::from(format!("Delivered-To: {number}\r\n")),
                        mailbox: if number == 3 { "Nowhere".into() } else { "INBOX".into() },
                        ..delivery(account_id(number))
                    })
                    .collect();
                let results = deliver(&volume, to, &text).await;
                for (number, result) in results.into_iter().enumerate() {
                    if number == 3 {
                        assert_eq!(result, Err(StoreError::NoSuchMailbox));
                        continue;
                    }
                    let appended = result.expect("delivered");
                    let account = volume.account(account_id(number as u8)).await.expect("loads");
                    let inbox = account.mailbox("INBOX").expect("there");
                    let bytes = read_message(&inbox, appended.uid).await.expect("readable");
                    let mut expected = format!("Delivered-To: {number}\r\n").into_bytes();
                    expected.extend_from_slice(&text);
                    assert_eq!(bytes, expected);
                    let message = inbox.message(appended.uid).expect("there");
                    assert_eq!(message.size as usize, expected.len());
                    assert_eq!(message.body.sharers, 4);
                }
            }
        })
        .expect("goes on");
}

#[test]
fn flags_expunges_copies_and_moves() {
    let executor = Executor::new(3);
    let disk = SimDisk::new(3);
    let volume = made(&executor, &disk, small_options());
    let held = volume.clone();
    executor
        .run(async move {
            let volume = held;
            for number in 0..6 {
                deliver_one(&volume, account_id(0), &message_text(number, 300))
                    .await
                    .expect("delivered");
            }
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there");
            let mut view = inbox.view();
            assert_eq!(view.count(), 6);
            let change = |uid: u32, operation, flags, keywords: &[&str]| FlagChange {
                uid: Uid(uid),
                operation,
                flags,
                keywords: keywords.iter().map(|keyword| (*keyword).to_owned()).collect(),
                unchanged_since: None,
            };
            let results = inbox
                .store_flags(&[
                    change(1, FlagOperation::Add, Flags::SEEN, &["work"]),
                    change(2, FlagOperation::Add, Flags::SEEN, &["Work"]),
                    change(9, FlagOperation::Add, Flags::SEEN, &[]),
                    change(3, FlagOperation::Remove, Flags::SEEN, &[]),
                ])
                .await
                .expect("stored");
            let outcomes: Vec<_> = results.iter().map(|result| result.outcome).collect();
            use FlagOutcome::{Changed, Gone, Unchanged};
            assert_eq!(outcomes, [Changed, Changed, Gone, Unchanged]);
            assert_eq!(inbox.keywords(), ["work"]);
            assert_eq!(inbox.status().unseen, 4);
            assert!(view.has_changes());
            assert_eq!(view.take_flag_changes(), [Uid(1), Uid(2)]);
            assert!(!view.has_changes());

            let archive = account.create_mailbox("Archive/2026", None).await.expect("made");
            assert!(account.mailbox("Archive").is_some(), "parents are made too");
            let pairs = inbox.copy(&[Uid(2), Uid(1)], &archive).await.expect("copied");
            assert_eq!(pairs, [(Uid(1), Uid(1)), (Uid(2), Uid(2))]);
            assert_eq!(archive.keywords(), ["work"]);
            let moved = inbox.move_messages(&[Uid(4)], &archive).await.expect("moved");
            assert_eq!(moved, [(Uid(4), Uid(3))]);
            assert_eq!(
                inbox.expunge(&[Uid(1), Uid(5), Uid(77)]).await.expect("expunged"),
                [Uid(1), Uid(5)]
            );
            assert_eq!(view.count(), 6);
            assert_eq!(view.sequence_of(Uid(6)), Some(6));
            assert_eq!(view.uid_of(4), Some(Uid(4)));
            assert_eq!(view.take_expunges(), [(1, Uid(1)), (3, Uid(4)), (3, Uid(5))]);
            assert_eq!(view.count(), 3);
            assert_eq!(view.uid_of(3), Some(Uid(6)));
            deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                .await
                .expect("delivered");
            assert_eq!(view.count(), 3);
            assert_eq!(view.take_new(), Some(4));
            assert_eq!(view.uid_of(4), Some(Uid(7)));
            assert_eq!(view.take_new(), None);
            assert_eq!(
                read_message(&archive, Uid(3)).await.expect("readable"),
                message_text(3, 300)
            );
        })
        .expect("goes on");
}

#[test]
fn mailboxes_come_and_go() {
    let executor = Executor::new(4);
    let disk = SimDisk::new(4);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let names = || account.mailboxes().iter().map(crate::Mailbox::name).collect::<Vec<_>>();
            let first = account.create_mailbox("a/b", None).await.expect("made");
            assert_eq!(
                account.create_mailbox("a/b", None).await.err(),
                Some(StoreError::MailboxExists)
            );
            assert_eq!(
                account.create_mailbox("inbox", None).await.err(),
                Some(StoreError::MailboxExists)
            );
            assert!(matches!(
                account.delete_mailbox("INBOX").await,
                Err(StoreError::BadName(_))
            ));
            account.delete_mailbox("a").await.expect("deleted");
            assert_eq!(names(), ["INBOX", "a", "a/b"], "the name stays for its children");
            assert!(!account.mailbox("a").expect("there").is_selectable());
            assert!(matches!(account.delete_mailbox("a").await, Err(StoreError::BadName(_))));
            account.delete_mailbox("a/b").await.expect("deleted");
            assert!(first.is_deleted());
            let again = account.create_mailbox("a/b", None).await.expect("made");
            assert_ne!(again.uid_validity(), first.uid_validity());
            account.rename_mailbox("a", "x/y").await.expect("renamed");
            assert_eq!(names(), ["INBOX", "x", "x/y", "x/y/b"]);
            assert!(matches!(
                account.rename_mailbox("x", "x/z").await,
                Err(StoreError::BadName(_))
            ));
            deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                .await
                .expect("delivered");
            let inbox = account.mailbox("INBOX").expect("there");
            let mut view = inbox.view();
            account.rename_mailbox("INBOX", "old/mail").await.expect("renamed");
            assert_eq!(view.take_expunges(), [(1, Uid(1))]);
            assert_eq!(account.mailbox("old/mail").expect("there").status().messages, 1);
            assert_eq!(inbox.status().messages, 0);
            let appended = deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                .await
                .expect("delivered");
            assert_eq!(appended.uid, Uid(2), "INBOX goes on counting");
            account.subscribe("x/y", true).await.expect("subscribed");
            account.subscribe("gone", true).await.expect("subscribed");
            account.subscribe("x/y", false).await.expect("unsubscribed");
            assert_eq!(account.subscriptions(), ["gone"]);
        })
        .expect("goes on");
}

#[test]
fn quota_holds_also_for_what_is_under_way() {
    let executor = Executor::new(5);
    let disk = SimDisk::new(5);
    let volume = made(&executor, &disk, small_options());
    let limits = Limits {
        bytes: Some(1000),
        messages: Some(3),
    };
    let tasks = executor.clone();
    executor
        .run(async move {
            let results = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            let done = std::rc::Rc::new(pigeon_engine::sync::Notify::new());
            for number in 0..8 {
                let (volume, results, done) = (volume.clone(), results.clone(), done.clone());
                tasks.spawn(async move {
                    let to = Delivery {
                        limits,
                        ..delivery(account_id(0))
                    };
                    let result = deliver(&volume, vec![to], &message_text(number, 280)).await.remove(0);
                    results.borrow_mut().push(result);
                    done.notify_all();
                });
            }
            while results.borrow().len() < 8 {
                done.notified().await;
            }
            let good = results.borrow().iter().filter(|result| result.is_ok()).count();
            assert_eq!(good, 3, "{results:?}");
            let account = volume.account(account_id(0)).await.expect("loads");
            assert_eq!(account.usage().messages, 3);
            let refused = results
                .borrow()
                .iter()
                .filter(|r| matches!(r, Err(StoreError::OverQuota { .. })))
                .count();
            assert_eq!(refused, 5);
        })
        .expect("goes on");
}
