//! An account moves from one volume to another: everything comes along, and whatever crashes, at most one of them has it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;

use super::harness::*;
use crate::sim::{Executor, SimDisk};
use crate::{
    Account, Counterpart, FlagChange, FlagOperation, Flags, ModSeq, MoveId, NewMessage, SpecialUse, Standing,
    StoreError, Uid, Volume, VolumeState,
};

const ACCOUNT: u8 = 3;

/// UID, mod-sequence, flags as kept, keywords by name, date, bytes.
type SeenMessage = (Uid, ModSeq, Flags, Vec<String>, i64, Vec<u8>);

/// Everything that a client could see of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    number: u32,
    uid_validity: u32,
    uid_next: Uid,
    highest_mod_seq: ModSeq,
    special_use: Option<SpecialUse>,
    selectable: bool,
    messages: Vec<SeenMessage>,
}

async fn seen(account: &Account) -> (Vec<Seen>, Vec<String>) {
    let mut all = Vec::new();
    for mailbox in account.mailboxes() {
        let keywords = mailbox.keywords();
        let mut messages = Vec::new();
        for message in mailbox.with_messages(<[_]>::to_vec) {
            let words = message.flags.keyword_indices().map(|index| keywords[index].clone());
            messages.push((
                message.uid,
                message.mod_seq,
                message.flags,
                words.collect(),
                message.internal_date,
                read_message(&mailbox, message.uid).await.expect("it is there"),
            ));
        }
        all.push(Seen {
            name: mailbox.name(),
            number: mailbox.id().0,
            uid_validity: mailbox.uid_validity().0,
            uid_next: mailbox.uid_next(),
            highest_mod_seq: mailbox.highest_mod_seq(),
            special_use: mailbox.special_use(),
            selectable: mailbox.is_selectable(),
            messages,
        });
    }
    (all, account.subscriptions())
}

/// A few mailboxes with flags, keywords, copies, gaps, and bodies small and streamed.
async fn fill(volume: &Volume) {
    let account = volume.account(account_id(ACCOUNT)).await.expect("loads");
    let sent = account
        .create_mailbox("Sent", Some(SpecialUse::Sent))
        .await
        .expect("made");
    let deep = account.create_mailbox("a/b/c", None).await.expect("made");
    account.subscribe("a/b/c", true).await.expect("subscribes");
    account.subscribe("not there", true).await.expect("subscribes");
    for number in 0..9 {
        let bytes = if number % 4 == 3 { 20_000 } else { 700 };
        let text = message_text(1000 + number, bytes);
        let mut prepended = delivery(account_id(ACCOUNT));
        prepended.prepend = Bytes::from_static(b"Delivered-To: somebody@example.org\r\n");
        deliver(volume, vec![prepended, delivery(account_id(9))], &text)
            .await
            .into_iter()
            .for_each(|result| assert!(result.is_ok()));
    }
    let inbox = account.mailbox("INBOX").expect("always there");
    inbox.copy(&[Uid(2), Uid(4)], &deep).await.expect("copies");
    inbox.copy(&[Uid(4)], &sent).await.expect("copies");
    inbox.expunge(&[Uid(1), Uid(5)]).await.expect("goes");
    let change = |uid| FlagChange {
        uid,
        operation: FlagOperation::Add,
        flags: Flags::SEEN | Flags::FLAGGED,
        keywords: vec!["$Work".to_owned(), "later".to_owned()],
        unchanged_since: None,
    };
    let changes = [change(Uid(3)), change(Uid(4))];
    inbox.store_flags(&changes).await.expect("changes");
    let mut writer = volume.begin_body(&[account_id(ACCOUNT)]).await.expect("begins");
    writer.write(Bytes::from(message_text(77, 900))).await.expect("writes");
    let draft = NewMessage {
        body: writer.finish().await.expect("ends"),
        flags: Flags::DRAFT,
        keywords: vec!["mine".to_owned()],
        internal_date: 1_234_567,
    };
    deep.append(vec![draft]).await.expect("appends");
}

/// One attempt to move the account from `old` to `new`, as the owners of the volumes would make it.
async fn attempt(old: &Volume, new: &Volume, number: u8) -> Result<(), StoreError> {
    let (here, there) = (
        old.account(account_id(ACCOUNT)).await?,
        new.account(account_id(ACCOUNT)).await?,
    );
    let is_there = there.standing().is_here() && !there.is_unused();
    if !is_there {
        let id = MoveId([number; 16]);
        let from = |id| Counterpart {
            id,
            place: "old".to_owned(),
        };
        let mut import = there.begin_import(from(id)).await?;
        // Nothing can arrive any more by what an attempt before may have been handed over by.
        if let Standing::HandingOver(to) = here.standing() {
            assert_ne!(to.id, id);
            here.take_back(to.id).await?;
        }
        for round in 0..3 {
            if round == 2 {
                let to = Counterpart {
                    id: import.id(),
                    place: "new".to_owned(),
                };
                here.hand_over(&to).await?;
            }
            for wanted in import.plan(&here.image()).await? {
                let reader = match here.open_by_number(wanted.mailbox, wanted.uid).await {
                    Err(StoreError::MessageGone | StoreError::NoSuchMailbox) if round < 2 => continue,
                    other => other?,
                };
                let mut writer = import.begin_body().await?;
                let mut offset = 0;
                loop {
                    let piece = reader.read(offset, 7_000).await?;
                    if piece.is_empty() {
                        break;
                    }
                    offset += piece.len() as u64;
                    writer.write(piece).await?;
                }
                import.place(wanted, writer.finish().await?).await?;
                if import.unstaged().1 >= 4 {
                    import.stage().await?;
                }
            }
            if round < 2 {
                import.stage().await?;
            }
        }
        import.finish().await?;
    }
    if let Standing::Arrived(from) = there.standing() {
        here.let_go(from.id).await?;
        there.settle().await?;
    }
    Ok(())
}

/// What was acknowledged to those who sent: UID and number.
type Acknowledged = Rc<RefCell<Vec<(Uid, u64)>>>;

/// Delivers to the owner, whoever says that it is.
fn send(executor: &Executor, volume: &Volume, acknowledged: &Acknowledged, first: u64) {
    let (volume, acknowledged) = (volume.clone(), acknowledged.clone());
    executor.spawn(async move {
        for number in first..first + 8 {
            match deliver_one(&volume, account_id(ACCOUNT), &message_text(number, 400)).await {
                Ok(appended) => acknowledged.borrow_mut().push((appended.uid, number)),
                Err(_) => return,
            }
        }
    });
}

fn is_owner(account: &Account) -> bool {
    account.standing().is_here() && !account.is_unused()
}

fn account_of(executor: &Executor, volume: &Volume) -> Account {
    let volume = volume.clone();
    executor
        .run(async move { volume.account(account_id(ACCOUNT)).await.expect("loads") })
        .expect("loading goes on")
}

#[test]
fn everything_comes_along() {
    let executor = Executor::new(1);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let old = made(&executor, &one, small_options());
    let new = made(&executor, &two, small_options());
    let (from, to) = (old.clone(), new.clone());
    executor
        .run(async move {
            fill(&from).await;
            let here = from.account(account_id(ACCOUNT)).await.expect("loads");
            let before = seen(&here).await;
            attempt(&from, &to, 1).await.expect("nothing is in the way");
            let there = to.account(account_id(ACCOUNT)).await.expect("loads");
            assert_eq!(seen(&there).await, before);
            assert_eq!(there.standing(), Standing::Here);
            assert!(matches!(here.standing(), Standing::Moved(_)));
            assert_eq!(seen(&here).await, (Vec::new(), Vec::new()), "the old copy is gone");
            assert_eq!(here.usage(), crate::Usage::default());
            // Neighbours of the same bodies stay.
            let neighbour = from.account(account_id(9)).await.expect("loads");
            assert_eq!(neighbour.usage().messages, 9);
            let refused = deliver_one(&from, account_id(ACCOUNT), b"Subject: x\r\n\r\n").await;
            assert_eq!(refused, Err(StoreError::Elsewhere));
            // There it goes on, and back again.
            deliver_one(&to, account_id(ACCOUNT), b"Subject: x\r\n\r\n")
                .await
                .expect("there is room");
            let before = seen(&there).await;
            attempt(&to, &from, 2).await.expect("nothing is in the way");
            assert_eq!(seen(&here).await, before);
        })
        .expect("moving goes on");
}

#[test]
fn a_copy_is_fetched_once_and_what_was_staged_never_again() {
    let executor = Executor::new(1);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let old = made(&executor, &one, small_options());
    let new = made(&executor, &two, small_options());
    executor
        .run(async move {
            fill(&old).await;
            let here = old.account(account_id(ACCOUNT)).await.expect("loads");
            let there = new.account(account_id(ACCOUNT)).await.expect("loads");
            let from = Counterpart {
                id: MoveId([1; 16]),
                place: "old".to_owned(),
            };
            let again = Counterpart {
                id: MoveId([2; 16]),
                place: "old".to_owned(),
            };
            let mut import = there.begin_import(from).await.expect("begins");
            assert!(there.begin_import(again.clone()).await.is_err(), "one at a time");
            // Seven in INBOX, one draft; the copies share.
            let wanted = import.plan(&here.image()).await.expect("an image");
            assert_eq!(wanted.len(), 8);
            assert!(import.plan(b"nonsense").await.is_err());
            for wanted in &wanted[..3] {
                let reader = here.open_by_number(wanted.mailbox, wanted.uid).await.expect("there");
                let mut writer = import.begin_body().await.expect("begins");
                let mut offset = 0;
                while let Ok(piece) = reader.read(offset, 50_000).await
                    && !piece.is_empty()
                {
                    offset += piece.len() as u64;
                    writer.write(piece).await.expect("writes");
                }
                import
                    .place(*wanted, writer.finish().await.expect("ends"))
                    .await
                    .expect("fits");
            }
            let mut short = import.begin_body().await.expect("begins");
            short.write(Bytes::from_static(b"short")).await.expect("writes");
            let short = short.finish().await.expect("ends");
            assert!(
                import.place(wanted[3], short).await.is_err(),
                "not the bytes that were promised"
            );
            import.stage().await.expect("stages");
            assert_eq!(import.unstaged(), (0, 0));
            drop(import);
            let mut import = there.begin_import(again).await.expect("goes on");
            assert_eq!(import.plan(&here.image()).await.expect("an image"), wanted[3..]);
            assert!(import.finish().await.is_err(), "bodies are missing");
            assert!(matches!(there.standing(), Standing::Incoming(_)));
            let refused = deliver_one(&new, account_id(ACCOUNT), b"Subject: x\r\n\r\n").await;
            assert_eq!(refused, Err(StoreError::Elsewhere));
            assert_eq!(there.has_taken(MoveId([2; 16])), Some(false));
            there.abandon(MoveId([1; 16])).await.expect("nothing comes by that one");
            assert!(
                matches!(there.standing(), Standing::Incoming(_)),
                "another attempt goes on"
            );
            there.abandon(MoveId([2; 16])).await.expect("gives up");
            there.abandon(MoveId([2; 16])).await.expect("said twice");
            assert!(matches!(there.standing(), Standing::GivenUp(_)));
            assert_eq!(there.usage(), crate::Usage::default());
        })
        .expect("moving goes on");
}

/// Crashes the old end, or the new one, after so many of its operations.
fn crash_after(operations: u64, crash_the_old: bool) -> bool {
    let seed = operations * 2 + u64::from(crash_the_old);
    let executor = Executor::new(seed);
    let (mut one, mut two) = (SimDisk::new(seed), SimDisk::new(seed + 1));
    let mut old = made(&executor, &one, small_options());
    let mut new = made(&executor, &two, small_options());
    let filled = old.clone();
    executor
        .run(async move { fill(&filled).await })
        .expect("filling goes on");
    executor.run_until_stalled();
    let acknowledged = Acknowledged::default();
    let crashing = if crash_the_old { &one } else { &two };
    crashing.crash_at(crashing.operations() + operations);
    let mut crashed = false;
    let mut done = false;
    for life in 1..=3_u8 {
        send(&executor, &old, &acknowledged, u64::from(life) * 100);
        let (from, to) = (old.clone(), new.clone());
        let result = executor.run(async move { attempt(&from, &to, life).await });
        executor.run_until_stalled();
        done = matches!(result, Some(Ok(())));
        if one.crashed() {
            crashed = true;
            one = one.restarted(seed);
            old = opened(&executor, &one, small_options());
        }
        if two.crashed() {
            crashed = true;
            two = two.restarted(seed);
            new = opened(&executor, &two, small_options());
        }
        for volume in [&old, &new] {
            assert_eq!(volume.state(), VolumeState::Writable, "{:?}", volume.damage());
        }
        let owners = [&old, &new].map(|volume| is_owner(&account_of(&executor, volume)));
        assert!(
            owners != [true, true],
            "two have it: crash after {operations}, old: {crash_the_old}, life {life}"
        );
        if done {
            break;
        }
        assert!(crashed, "without a crash nothing is in the way: {result:?}");
    }
    assert!(done, "it has arrived in the end");
    // What the disk says, not what memory does.
    let two = two.restarted(seed);
    let new = opened(&executor, &two, small_options());
    let there = account_of(&executor, &new);
    assert_eq!(there.standing(), Standing::Here);
    let acknowledged = acknowledged.borrow().clone();
    assert!(!acknowledged.is_empty());
    executor
        .run(async move {
            let (mailboxes, subscriptions) = seen(&there).await;
            assert_eq!(subscriptions, ["a/b/c", "not there"]);
            assert_eq!(mailboxes.len(), 5);
            let inbox = &mailboxes[0];
            for (uid, number) in &acknowledged {
                let found = inbox.messages.iter().filter(|message| message.0 == *uid);
                let texts: Vec<&Vec<u8>> = found.map(|message| &message.5).collect();
                assert!(texts == [&message_text(*number, 400)], "message {number}");
            }
            let once: std::collections::HashSet<&Vec<u8>> = inbox.messages.iter().map(|message| &message.5).collect();
            assert_eq!(once.len(), inbox.messages.len(), "each once");
            assert_eq!(mailboxes[4].messages.len(), 3, "{}", mailboxes[4].name);
        })
        .expect("looking goes on");
    crashed
}

#[test]
fn whatever_crashes_there_is_one_owner_at_most_and_nothing_is_lost() {
    for crash_the_old in [true, false] {
        let mut crashes = 0;
        for operations in 1.. {
            if !crash_after(operations, crash_the_old) {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 5, "{crashes} points of crash, old: {crash_the_old}");
    }
}

#[test]
fn while_the_first_word_of_a_move_is_written_nothing_is_here_yet() {
    let executor = Executor::new(1);
    let disk = SimDisk::new(1);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let account = volume.account(account_id(ACCOUNT)).await.expect("loads");
            let from = Counterpart {
                id: MoveId([1; 16]),
                place: "n2".to_owned(),
            };
            let mut begun = pin!(account.begin_import(from.clone()));
            let mut looks = 0;
            let import = poll_fn(|context| {
                let polled = begun.as_mut().poll(context);
                // Whatever it stands in, nobody is told that it is here and empty.
                assert_eq!(account.standing() == Standing::Here, account.is_unused_durably());
                looks += usize::from(account.is_unused_durably() && !account.is_unused());
                polled
            });
            drop(import.await.expect("nothing is in the way"));
            assert!(!account.is_unused_durably());
            assert_eq!(account.standing(), Standing::Incoming(from));
            assert!(looks > 0, "it was looked at while that was written");
        })
        .expect("goes on");
}

#[test]
fn steps_out_of_order_are_refused() {
    let executor = Executor::new(1);
    let disk = SimDisk::new(1);
    let volume = made(&executor, &disk, small_options());
    executor
        .run(async move {
            let account = volume.account(account_id(ACCOUNT)).await.expect("loads");
            let other = |number: u8, place: &str| Counterpart {
                id: MoveId([number; 16]),
                place: place.to_owned(),
            };
            assert!(account.let_go(MoveId([1; 16])).await.is_err());
            account.abandon(MoveId([1; 16])).await.expect("nothing comes by it");
            assert_eq!(account.standing(), Standing::Here);
            assert!(account.hand_over(&other(1, "")).await.is_err());
            assert!(account.hand_over(&other(1, &"x".repeat(501))).await.is_err());
            account.hand_over(&other(1, "n2")).await.expect("it is here");
            account.hand_over(&other(1, "n2")).await.expect("the same once more");
            // A late word of an attempt that is over takes the place of none.
            assert!(account.hand_over(&other(2, "n2")).await.is_err());
            assert!(account.hand_over(&other(1, "n3")).await.is_err(), "n2 may have it");
            assert!(account.let_go(MoveId([2; 16])).await.is_err(), "another one");
            assert!(account.take_back(MoveId([2; 16])).await.is_err(), "another one");
            assert!(account.begin_import(other(1, "n2")).await.is_err());
            account.take_back(MoveId([1; 16])).await.expect("n2 does not have it");
            account.take_back(MoveId([1; 16])).await.expect("said twice");
            assert_eq!(account.standing(), Standing::Here);
            assert!(account.begin_import(other(1, "n2")).await.is_err(), "it is here");
            account.hand_over(&other(3, "n2")).await.expect("it is here");
            account.let_go(MoveId([3; 16])).await.expect("n2 has it");
            account.let_go(MoveId([3; 16])).await.expect("said twice");
            assert!(account.take_back(MoveId([3; 16])).await.is_err());
        })
        .expect("goes on");
}

#[test]
fn what_stands_aside_has_nothing_and_begins_nothing_until_it_is_fetched_from_there() {
    let executor = Executor::new(1);
    let disks = [SimDisk::new(1), SimDisk::new(2)];
    let [one, two] = [0, 1].map(|index| made(&executor, &disks[index], small_options()));
    let other = |number: u8, place: &str| Counterpart {
        id: MoveId([number; 16]),
        place: place.to_owned(),
    };
    let (volume, used) = (one.clone(), two.clone());
    executor
        .run(async move {
            let none = MoveId::default();
            let account = volume.account(account_id(ACCOUNT)).await.expect("loads");
            assert!(account.stand_aside(MoveId([1; 16]), &other(2, "n2")).await.is_err());
            account
                .stand_aside(none, &other(1, "n2"))
                .await
                .expect("nothing is here");
            account
                .stand_aside(none, &other(1, "n2"))
                .await
                .expect("the same once more");
            let refused = account.stand_aside(none, &other(2, "n3")).await;
            assert!(refused.is_err(), "it stands aside for n2 since");
            let delivered = deliver_one(&volume, account_id(ACCOUNT), b"Subject: x\r\n\r\n").await;
            assert!(delivered.is_err(), "it is not here");
            // Who has asked since may change that, also while it is fetched: then it does not begin.
            let import = account.begin_import(other(3, "n2")).await.expect("begins");
            assert!(account.stand_aside(MoveId([1; 16]), &other(4, "n4")).await.is_err());
            account
                .stand_aside(MoveId([3; 16]), &other(4, "n4"))
                .await
                .expect("asked since");
            assert!(import.begin_anew().await.is_err(), "it stands aside for n4");
            assert_eq!(account.standing(), Standing::GivenUp(other(4, "n4")));
            // What is here does not go.
            deliver_one(&used, account_id(ACCOUNT), b"Subject: x\r\n\r\n")
                .await
                .expect("it is here");
            let here = used.account(account_id(ACCOUNT)).await.expect("loads");
            assert!(here.stand_aside(none, &other(5, "n1")).await.is_err(), "it is here");
            here.hand_over(&other(6, "n1")).await.expect("it is here");
            assert!(here.stand_aside(MoveId([6; 16]), &other(7, "n1")).await.is_err());
            here.take_back(MoveId([6; 16])).await.expect("n1 does not have it");
        })
        .expect("goes on");
    executor.run_until_stalled();
    let one = opened(&executor, &disks[0].restarted(7), small_options());
    let account = account_of(&executor, &one);
    assert_eq!(
        account.standing(),
        Standing::GivenUp(other(4, "n4")),
        "after a crash too"
    );
    executor
        .run(async move {
            let account = one.account(account_id(ACCOUNT)).await.expect("loads");
            let import = account.begin_import(other(8, "n4")).await.expect("begins");
            import.begin_anew().await.expect("nobody has it");
            deliver_one(&one, account_id(ACCOUNT), b"Subject: x\r\n\r\n")
                .await
                .expect("it is here");
        })
        .expect("goes on");
}

/// Moves an account with nothing in it.
async fn pass_on(from: &Account, to: &Account, number: u8) {
    let id = MoveId([number; 16]);
    let at = |place: &str| Counterpart {
        id,
        place: place.to_owned(),
    };
    let mut import = to.begin_import(at("before")).await.expect("begins");
    from.hand_over(&at("behind")).await.expect("it is here");
    assert_eq!(import.plan(&from.image()).await.expect("an image"), []);
    import.finish().await.expect("nothing is missing");
}

#[test]
fn by_which_move_it_came_is_known_wherever_it_has_gone_since() {
    let executor = Executor::new(1);
    let disks = [SimDisk::new(1), SimDisk::new(2), SimDisk::new(3)];
    let volumes: Vec<Volume> = disks
        .iter()
        .map(|disk| made(&executor, disk, small_options()))
        .collect();
    let all = volumes.clone();
    executor
        .run(async move {
            let mut accounts = Vec::new();
            for volume in &all {
                accounts.push(volume.account(account_id(ACCOUNT)).await.expect("loads"));
            }
            let [one, two, three] = &accounts[..] else { return };
            pass_on(one, two, 1).await;
            assert!(two.abandon(MoveId([1; 16])).await.is_err(), "it came by it");
            // The first does not hear of it, and the second passes it on.
            pass_on(two, three, 2).await;
            two.let_go(MoveId([2; 16])).await.expect("the third has it");
            three.settle().await.expect("and the second knows");
            assert_eq!(two.has_taken(MoveId([1; 16])), Some(true));
            assert!(two.abandon(MoveId([1; 16])).await.is_err(), "it came by it");
            assert_eq!(three.has_taken(MoveId([2; 16])), Some(false), "nobody will ask");
            // What is incoming by another number leaves the answer as it is.
            let again = Counterpart {
                id: MoveId([3; 16]),
                place: "three".to_owned(),
            };
            drop(two.begin_import(again).await.expect("begins"));
            assert_eq!(two.has_taken(MoveId([1; 16])), Some(true));
            two.abandon(MoveId([3; 16])).await.expect("gives up");
        })
        .expect("goes on");
    executor.run_until_stalled();
    let disk = disks[1].restarted(7);
    let two = account_of(&executor, &opened(&executor, &disk, small_options()));
    assert_eq!(two.has_taken(MoveId([1; 16])), Some(true), "after a crash too");
    assert!(matches!(two.standing(), Standing::GivenUp(_)));
}

#[test]
fn what_was_fetched_of_a_lost_account_is_there_under_another_uid_validity() {
    let executor = Executor::new(1);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let old = made(&executor, &one, small_options());
    let new = made(&executor, &two, small_options());
    let volume = new.clone();
    executor
        .run(async move {
            fill(&old).await;
            let here = old.account(account_id(ACCOUNT)).await.expect("loads");
            let there = volume.account(account_id(ACCOUNT)).await.expect("loads");
            let from = Counterpart {
                id: MoveId([1; 16]),
                place: "old".to_owned(),
            };
            let mut import = there.begin_import(from).await.expect("begins");
            let wanted = import.plan(&here.image()).await.expect("an image");
            for wanted in &wanted[..2] {
                let reader = here.open_by_number(wanted.mailbox, wanted.uid).await.expect("there");
                let mut writer = import.begin_body().await.expect("begins");
                let mut offset = 0;
                while let Ok(piece) = reader.read(offset, 50_000).await
                    && !piece.is_empty()
                {
                    offset += piece.len() as u64;
                    writer.write(piece).await.expect("writes");
                }
                let body = writer.finish().await.expect("ends");
                import.place(*wanted, body).await.expect("fits");
            }
            import.stage().await.expect("stages");
            drop(import);
            let again = Counterpart {
                id: MoveId([2; 16]),
                place: "old".to_owned(),
            };
            let import = there.begin_import(again).await.expect("begins");
            import.begin_anew().await.expect("begins");
            let before = here.mailbox("INBOX").expect("always there").uid_validity();
            let inbox = there.mailbox("INBOX").expect("always there");
            assert_ne!(inbox.uid_validity(), before);
            assert_eq!(inbox.with_messages(<[_]>::len), 2);
            deliver_one(&volume, account_id(ACCOUNT), b"Subject: x\r\n\r\n")
                .await
                .expect("it is here");
            // And of one that had gone there: nothing.
            here.hand_over(&Counterpart {
                id: MoveId([9; 16]),
                place: "lost".to_owned(),
            })
            .await
            .expect("it is here");
            let again = |number| Counterpart {
                id: MoveId([number; 16]),
                place: "lost".to_owned(),
            };
            assert!(here.begin_import(again(10)).await.is_err(), "it may be there");
            here.let_go(MoveId([9; 16])).await.expect("it is there");
            let import = here.begin_import(again(11)).await.expect("begins");
            import.begin_anew().await.expect("begins");
            assert_eq!(here.mailboxes().len(), 1);
            deliver_one(&old, account_id(ACCOUNT), b"Subject: x\r\n\r\n")
                .await
                .expect("it is here");
        })
        .expect("goes on");
    executor.run_until_stalled();
    let disk = two.restarted(7);
    let there = account_of(&executor, &opened(&executor, &disk, small_options()));
    assert_eq!(there.standing(), Standing::Here);
    assert_eq!(there.usage().messages, 3);
}

/// Messages that an import of so many, with a stage now and then, looks at; each as often as it does.
fn looked_at(count: u64) -> u64 {
    let executor = Executor::new(count);
    let (one, two) = (SimDisk::new(1), SimDisk::new(2));
    let options = || crate::VolumeOptions {
        segment_bytes: 64 << 20,
        ..small_options()
    };
    let old = made(&executor, &one, options());
    let new = made(&executor, &two, options());
    executor
        .run(async move {
            let here = old.account(account_id(ACCOUNT)).await.expect("loads");
            let inbox = here.mailbox("INBOX").expect("always there");
            let mut left = count;
            while left > 0 {
                let some = left.min(500);
                let mut messages = Vec::new();
                for _ in 0..some {
                    let mut writer = old.begin_body(&[account_id(ACCOUNT)]).await.expect("begins");
                    writer.write(Bytes::from_static(b"S: x\r\n\r\n")).await.expect("writes");
                    messages.push(NewMessage {
                        body: writer.finish().await.expect("ends"),
                        flags: Flags::SEEN,
                        keywords: Vec::new(),
                        internal_date: 0,
                    });
                }
                inbox.append(messages).await.expect("there is room");
                left -= some;
            }
            let there = new.account(account_id(ACCOUNT)).await.expect("loads");
            let at = |place: &str| Counterpart {
                id: MoveId([1; 16]),
                place: place.to_owned(),
            };
            let mut import = there.begin_import(at("old")).await.expect("begins");
            let wanted = import.plan(&here.image()).await.expect("an image");
            for wanted in wanted {
                let mut writer = import.begin_body().await.expect("begins");
                writer.write(Bytes::from_static(b"S: x\r\n\r\n")).await.expect("writes");
                let body = writer.finish().await.expect("ends");
                import.place(wanted, body).await.expect("fits");
                if import.unstaged().1 >= 200 {
                    import.stage().await.expect("stages");
                }
            }
            import.stage().await.expect("stages");
            here.hand_over(&at("new")).await.expect("it is here");
            assert_eq!(import.plan(&here.image()).await.expect("an image"), []);
            let looked_at = import.finish_counted().await.expect("nothing is missing");
            assert_eq!(there.usage(), here.usage());
            looked_at
        })
        .expect("goes on")
}

#[test]
fn the_work_of_an_import_grows_as_its_messages_do() {
    for count in [1_000, 10_000, 100_000] {
        let looked_at = looked_at(count);
        assert!(
            (5 * count..8 * count).contains(&looked_at),
            "{looked_at} looks for {count} messages"
        );
    }
}
