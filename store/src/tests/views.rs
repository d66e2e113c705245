//! What a session is told of a mailbox, against a session that keeps a list of its own.

use super::harness::*;
use crate::sim::{Executor, Random, SimDisk};
use crate::{FlagChange, FlagOperation, Flags, Mailbox, Uid, View};

/// What a client would know.
fn check(view: &View, list: &[Uid]) {
    assert_eq!(view.count() as usize, list.len());
    for (index, uid) in list.iter().enumerate() {
        let sequence = index as u32 + 1;
        assert_eq!(view.uid_of(sequence), Some(*uid));
        assert_eq!(view.sequence_of(*uid), Some(sequence));
    }
    assert_eq!(view.uid_of(0), None);
    assert_eq!(view.uid_of(list.len() as u32 + 1), None);
}

fn all(mailbox: &Mailbox) -> Vec<Uid> {
    mailbox.with_messages(|messages| messages.iter().map(|message| message.uid).collect())
}

#[test]
fn sequence_numbers_are_those_of_the_session() {
    for seed in 1..30 {
        let executor = Executor::new(seed);
        let disk = SimDisk::new(seed);
        let volume = made(&executor, &disk, small_options());
        executor
            .run(async move {
                let mut random = Random::new(seed);
                let account = volume.account(account_id(0)).await.expect("loads");
                let inbox = account.mailbox("INBOX").expect("there");
                let mut sessions: Vec<(View, Vec<Uid>)> = Vec::new();
                for _ in 0..150 {
                    match random.below(10) {
                        0..4 => {
                            deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                                .await
                                .expect("delivered");
                        }
                        4..6 => {
                            let uids: Vec<Uid> = all(&inbox).into_iter().filter(|_| random.percent(25)).collect();
                            inbox.expunge(&uids).await.expect("expunged");
                        }
                        6 => sessions.push((inbox.view(), all(&inbox))),
                        _ if sessions.is_empty() => {}
                        7 => {
                            let index = random.index(sessions.len());
                            drop(sessions.swap_remove(index));
                        }
                        _ => {
                            let index = random.index(sessions.len());
                            let (view, list) = &mut sessions[index];
                            for (sequence, uid) in view.take_expunges() {
                                assert_eq!(list.remove(sequence as usize - 1), uid);
                            }
                            let new: Vec<Uid> = all(&inbox).into_iter().filter(|uid| !list.contains(uid)).collect();
                            list.extend(&new);
                            let exists = view.take_new();
                            assert_eq!(exists, (!new.is_empty()).then_some(list.len() as u32));
                        }
                    }
                    sessions.iter().for_each(|(view, list)| check(view, list));
                }
            })
            .expect("goes on");
    }
}

#[test]
fn flag_changes_reach_the_others_once_and_never_echo() {
    let executor = Executor::new(5);
    let disk = SimDisk::new(5);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let account = volume.account(account_id(0)).await.expect("loads");
            let inbox = account.mailbox("INBOX").expect("there");
            // More than the mailbox remembers one by one.
            for _ in 0..600 {
                deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                    .await
                    .expect("delivered");
            }
            let (mut one, mut other) = (inbox.view(), inbox.view());
            let change = |uid, flags| FlagChange {
                uid,
                operation: FlagOperation::Add,
                flags,
                keywords: Vec::new(),
                unchanged_since: None,
            };
            let uids = all(&inbox);
            let everything: Vec<FlagChange> = uids.iter().map(|uid| change(*uid, Flags::SEEN)).collect();
            let results = inbox.store_flags(&everything).await.expect("stored");
            let own: Vec<_> = results.iter().map(|result| (result.uid, result.mod_seq)).collect();
            one.ignore_own(&own);
            assert_eq!(one.take_flag_changes(), []);
            assert!(other.has_changes());
            assert_eq!(other.take_flag_changes(), uids);
            assert!(!one.has_changes() && !other.has_changes());

            let own = inbox
                .store_flags(&[change(Uid(3), Flags::FLAGGED)])
                .await
                .expect("stored");
            one.ignore_own(&[(own[0].uid, own[0].mod_seq)]);
            assert!(!one.has_changes());
            inbox
                .store_flags(&[change(Uid(3), Flags::DRAFT), change(Uid(4), Flags::DRAFT)])
                .await
                .expect("stored");
            assert_eq!(one.take_flag_changes(), [Uid(3), Uid(4)]);
            inbox.expunge(&[Uid(3)]).await.expect("expunged");
            assert_eq!(other.take_flag_changes(), [Uid(4)]);

            // Changes of messages that the session does not know of yet are not told as changes.
            let appended = deliver_one(&volume, account_id(0), b"a: b\r\n\r\n")
                .await
                .expect("delivered");
            inbox
                .store_flags(&[change(appended.uid, Flags::SEEN)])
                .await
                .expect("stored");
            assert_eq!(one.take_flag_changes(), []);
        })
        .expect("goes on");
}
