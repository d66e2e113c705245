//! Mail that is kept until somebody takes it: what cannot be read, and postmasters who do not take it.

use super::here::{BOB, DAY, Here, seconds};
use crate::peer::run;
use bytes::Bytes;
use pigeon_delivery::queue::{QUEUE_ACCOUNT, QueueEvent, list};
use pigeon_store::{Delivery, Flags, Limits};
use std::cell::Cell;
use std::rc::Rc;

#[test]
fn what_cannot_be_read_is_put_aside_and_named() {
    run(|| async {
        let here = Here::new("aside", DAY).await;
        here.there.seen.away.set(true);
        // As a later version might write it.
        let mut body = here.volume.begin_body(&[QUEUE_ACCOUNT]).await.expect("begins");
        let mut head = b"PGNQUEUE".to_vec();
        head.extend_from_slice(&[99, 0, 0, 0, 0, 0, 0, 0]);
        body.write(head.into()).await.expect("is written");
        let delivery = Delivery {
            account: QUEUE_ACCOUNT,
            limits: Limits::default(),
            mailbox: "to/n2".to_owned(),
            flags: Flags::NONE,
            keywords: Vec::new(),
            internal_date: seconds(),
            create_mailbox: true,
            prepend: Bytes::from_static(b"PGQ1\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"),
            key: None,
        };
        let finished = body.finish().await.expect("is whole");
        here.volume
            .deliver(finished, vec![delivery])
            .await
            .pop()
            .expect("one")
            .expect("is stored");
        here.until("it is put aside", async || here.kept().await == 1).await;
        here.drained().await;
        assert_eq!(here.count(QueueEvent::PutAside), 1);
        let listed = list(&here.volume, 10).await.expect("it is listed");
        assert_eq!(
            listed[0].envelope,
            Err("not understood: version of the envelope".to_owned())
        );
        let named = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is named", async || named().is_some()).await;
        here.end().await;
    });
}

#[test]
fn kept_mail_that_cannot_be_read_is_not_read_at_each_change() {
    run(|| async {
        let mut here = Here::new("unread", DAY).await;
        here.there.seen.away.set(true);
        let text = "Subject: refuse 1\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        // Another life, in which it cannot be read at first.
        here.stop.set();
        here.new_life();
        here.unreadable.set(true);
        here.start().await;
        let named = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is named", async || named().is_some()).await;
        here.unreadable.set(false);
        here.there.seen.words.set(Some(0));
        let text = "Subject: refuse 2\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 2, text).await, [Ok(())]);
        here.there.seen.words.set(None);
        here.until("another is kept", async || here.kept().await == 2).await;
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        here.publish(&here.there.tree.replace(here.there.tree_head(), &postmaster));
        here.until("the postmaster has one", async || {
            !here.stored(BOB).await.is_empty() && here.kept().await < 2
        })
        .await;
        let stored = here.stored(BOB).await;
        assert!(stored[0].contains("Subject: refuse 2\r\n"), "{stored:?}");
        assert_eq!((stored.len(), here.kept().await), (1, 1));
        here.end().await;
    });
}

#[test]
fn a_postmaster_without_room_is_not_asked_at_each_change() {
    run(|| async {
        let mut here = Here::new("no-room", DAY).await;
        // Everybody who is about to get mail here is looked for.
        let asked: Rc<Cell<u32>> = Rc::default();
        let counted = asked.clone();
        here.stop.set();
        here.parts.locate = Rc::new(move |account| {
            counted.set(counted.get() + u32::from(account.id().0 == BOB.0));
            Box::pin(async { None })
        });
        here.new_life();
        here.start().await;
        here.there.seen.away.set(true);
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        let tree = here.there.tree.replace("uid: bob\n", "uid: bob\nmailQuotaSize: 10\n");
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        let tree = tree.replace(here.there.tree_head(), &postmaster);
        here.publish(&tree);
        here.until("he is asked", async || asked.get() > 0).await;
        // A change that has nothing to do with him; and somebody else to ask.
        let other = "\ndn: dc=example,dc=com\nobjectClass: pigeonDomain\nassociatedDomain: example.com\n\
                     pigeonPostmaster: eve@example.org\n\n\
                     dn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: eve@example.org\n\
                     mailHost: n1\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        here.publish(&format!("{tree}{other}"));
        here.until("the other has it", async || here.kept().await == 0).await;
        assert_eq!(asked.get(), 1);
        here.end().await;
    });
}

#[test]
fn a_postmaster_on_another_node_who_does_not_take_kept_mail_is_not_asked_at_each_change() {
    run(|| async {
        let here = Here::new("postmaster", DAY).await;
        let eve = "\ndn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: postmaster@example.org\n\
                   mailHost: n2\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        let tree = format!("{}{eve}", here.there.tree);
        here.publish(&tree);
        here.there.seen.away.set(true);
        // Nor does she take a report of it.
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("x@example.net", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        here.drained().await;
        let tried = here.count(QueueEvent::Tried);
        // Somebody else is, when there is one.
        let other = "\ndn: dc=example,dc=com\nobjectClass: pigeonDomain\nassociatedDomain: example.com\n\
                     pigeonPostmaster: bob@example.org\n";
        here.publish(&format!("{tree}{other}"));
        here.until("he has it", async || here.kept().await == 0).await;
        assert_eq!((here.stored(BOB).await.len(), here.waiting().await), (1, 0));
        assert_eq!(here.count(QueueEvent::Tried), tried);
        here.end().await;
    });
}
