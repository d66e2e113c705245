//! Who waits for whom: mail of one sender keeps its order, and nobody is held up by another's.

use super::here::{ALICE, DAY, Here};
use crate::peer::run;
use bytes::Bytes;
use pigeon_delivery::queue::QueueEvent;
use pigeon_delivery::remote::RemoteError;
use pigeon_store::AccountId;

#[test]
fn what_a_node_cannot_take_waits_and_keeps_its_order_by_sender() {
    run(|| async {
        let mut here = Here::new("order", DAY).await;
        here.there.seen.away.set(true);
        for (key, text) in [(1, "1\r\n"), (2, "2\r\n"), (3, "3\r\n")] {
            assert_eq!(here.send("bob@example.org", &["alice"], key, text).await, [Ok(())]);
        }
        assert_eq!(here.send("", &["alice"], 4, "null\r\n").await, [Ok(())]);
        // A long one is written beside, and to nobody else.
        let mut forward = here.begin("bob@example.org", &["alice"], 5).await;
        let piece = Bytes::from(vec![b'x'; 60_000]);
        for _ in 0..5 {
            forward.write(&piece).await;
        }
        assert_eq!(forward.commit_with(Bytes::from_static(b"\r\n"), false).await, [Ok(())]);
        assert_eq!((here.waiting().await, here.count(QueueEvent::Queued)), (5, 5));
        // Another life, as after a crash: it is found, and newer mail of anybody goes behind it.
        here.stop.set();
        here.new_life();
        here.start().await;
        here.there.seen.away.set(false);
        assert_eq!(here.send("bob@example.org", &["alice"], 6, "6\r\n").await, [Ok(())]);
        here.drained().await;
        let taken: Vec<String> = here.taken().into_iter().filter(|text| text != "null\r\n").collect();
        let long = format!("{}\r\n", "x".repeat(300_000));
        assert_eq!(taken, ["1\r\n", "2\r\n", "3\r\n", &long, "6\r\n"]);
        assert_eq!(here.there.taken(), 6);
        // Nothing waits: the next goes straight there.
        let before = here.count(QueueEvent::Queued);
        assert_eq!(here.send("bob@example.org", &["alice"], 7, "7\r\n").await, [Ok(())]);
        assert_eq!((here.there.taken(), here.count(QueueEvent::Queued)), (7, before));
        let gauges = here.index.gauges();
        assert_eq!((&*gauges[0].0, gauges[0].2.messages), ("n2", 0));
        here.end().await;
    });
}

#[test]
fn who_is_told_to_come_later_waits_alone_and_the_others_have_it_once() {
    run(|| async {
        let here = Here::new("later", DAY).await;
        // One of two: the message is not brought again for both.
        let results = here.send("bob@example.org", &["alice", "full"], 1, "A: b\r\n").await;
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!((here.there.taken(), here.count(QueueEvent::Queued)), (1, 1));
        here.until("it was tried", async || here.count(QueueEvent::Tried) == 1)
            .await;
        // It holds nobody up.
        here.until("its sender goes on", async || {
            !here
                .parts
                .queues
                .holds_up("n2", Some(&"bob@example.org".parse().unwrap()))
        })
        .await;
        assert_eq!(here.send("bob@example.org", &["alice"], 2, "A: c\r\n").await, [Ok(())]);
        assert_eq!(
            (here.taken(), here.waiting().await),
            (vec!["A: b\r\n".to_owned(), "A: c\r\n".to_owned()], 1)
        );
        // Alone it is the sender's.
        let results = here.send("bob@example.org", &["full"], 3, "A: d\r\n").await;
        assert!(
            matches!(&results[..], [Err(RemoteError::Answered(reply))] if reply.code() == 452),
            "{results:?}"
        );
        assert_eq!(here.waiting().await, 1);
        here.end().await;
    });
}

#[test]
fn an_account_that_comes_here_gets_its_mail_here() {
    run(|| async {
        let here = Here::new("moved", DAY).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: x\r\n\r\n").await,
            [Ok(())]
        );
        let tree = here.there.tree.replace("mailHost: n2", "mailHost: n1");
        here.publish(&tree);
        here.drained().await;
        assert_eq!(
            here.stored(AccountId(ALICE)).await,
            ["Delivered-To: alice@example.org\r\nSubject: x\r\n\r\n"]
        );
        assert_eq!(here.there.taken(), 0);
        here.end().await;
    });
}

#[test]
fn a_message_that_cannot_be_read_does_not_hold_its_sender_for_ever() {
    run(|| async {
        let here = Here::new("lost-sender", DAY).await;
        let bob = "bob@example.org";
        let holds_up = || here.parts.queues.holds_up("n2", Some(&bob.parse().unwrap()));
        here.there.seen.away.set(true);
        here.unreadable.set(true);
        assert_eq!(here.send(bob, &["alice"], 1, "1\r\n").await, [Ok(())]);
        here.until("it is tried, and read in vain", async || {
            here.count(QueueEvent::Tried) == 1
        })
        .await;
        here.unreadable.set(false);
        here.until("its sender goes on", async || !holds_up()).await;
        here.there.seen.away.set(false);
        assert_eq!(here.waiting().await, 1);
        here.until("the node is there", async || {
            !here.parts.peers.is_away(&here.there.server)
        })
        .await;
        assert_eq!(here.send(bob, &["alice"], 2, "2\r\n").await, [Ok(())]);
        assert_eq!((here.taken(), here.waiting().await), (vec!["2\r\n".to_owned()], 1));
        here.end().await;
    });
}

#[test]
fn a_node_that_breaks_off_within_messages_gets_the_others() {
    run(|| async {
        let here = Here::new("breaks", DAY).await;
        let (bob, carol) = ("bob@example.org", "carol@example.net");
        here.there.seen.away.set(true);
        assert_eq!(here.send(bob, &["alice"], 1, "break\r\n").await, [Ok(())]);
        // In the middle of a longer one.
        let mut forward = here.begin(carol, &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"break\r\n")).await;
        for _ in 0..20 {
            forward.write(&Bytes::from(vec![b'x'; 60_000])).await;
        }
        assert_eq!(forward.commit_with(Bytes::from_static(b"\r\n"), false).await, [Ok(())]);
        for (key, sender, text) in [
            (3, bob, "of bob\r\n"),
            (4, carol, "of carol\r\n"),
            (5, "", "of nobody\r\n"),
        ] {
            assert_eq!(here.send(sender, &["alice"], key, text).await, [Ok(())]);
        }
        here.there.seen.breaks.set(true);
        here.there.seen.away.set(false);
        // After a few tries even what is behind those.
        here.until("the others are there", async || here.waiting().await == 2)
            .await;
        let mut taken = here.taken();
        taken.sort();
        assert_eq!(taken, ["of bob\r\n", "of carol\r\n", "of nobody\r\n"]);
        // And they, when it takes them.
        here.there.seen.breaks.set(false);
        here.drained().await;
        assert_eq!(here.there.taken(), 5);
        here.end().await;
    });
}

#[test]
fn a_server_that_takes_few_recipients_at_a_time_gets_the_rest_in_other_transactions() {
    run(|| async {
        let here = Here::new("few", DAY).await;
        here.there.seen.recipients_max.set(Some(2));
        let names = ["a", "b", "c", "d", "full"];
        let sent = || {
            let taken = here.there.seen.taken.borrow();
            let recipients = taken.iter().map(|(recipients, _)| recipients.len());
            recipients.collect::<Vec<_>>()
        };
        // In one piece, each at once; alone, who is full is the sender's.
        let mut results = here
            .begin("", &names, 1)
            .await
            .commit_with(Bytes::from_static(b"A: b\r\n"), false)
            .await;
        assert!(
            matches!(results.pop(), Some(Err(RemoteError::Answered(_)))),
            "{results:?}"
        );
        assert_eq!((results, sent()), (vec![Ok(()); 4], vec![2, 2]));
        // In pieces the rest waits, and goes from there.
        let mut forward = here.begin("", &names[..4], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert_eq!(
            forward.commit_with(Bytes::from_static(b"\r\n"), false).await,
            vec![Ok(()); 4]
        );
        here.drained().await;
        assert_eq!((sent(), here.count(QueueEvent::Tried)), (vec![2; 4], 1));
        // A long list that waits goes in one try.
        here.there.seen.words.set(Some(0));
        assert_eq!(
            here.send("", &["a", "b", "c", "d", "e", "f"], 3, "A: b\r\n").await,
            vec![Ok(()); 6]
        );
        here.there.seen.words.set(None);
        let before = sent().len();
        here.drained().await;
        assert_eq!(sent()[before..], [2, 2, 2]);
        // One who takes nobody is deferred like any other.
        here.there.seen.recipients_max.set(Some(0));
        let results = here
            .begin("", &["a", "b"], 4)
            .await
            .commit_with(Bytes::from_static(b"A: b\r\n"), false)
            .await;
        assert!(
            results
                .iter()
                .all(|result| matches!(result, Err(RemoteError::Answered(_)))),
            "{results:?}"
        );
        here.end().await;
    });
}
