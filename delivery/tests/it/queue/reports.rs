//! What becomes of mail that cannot be delivered: a report to its sender, or a postmaster who gets it.

use super::here::{BOB, DAY, Here};
use crate::peer::run;
use pigeon_delivery::queue::{QueueEvent, list};
use pigeon_store::AccountId;
use std::time::Duration;

#[test]
fn what_is_refused_in_the_end_is_reported_to_the_sender() {
    run(|| async {
        let here = Here::new("refused", DAY).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: refuse\r\n\r\n")
                .await,
            [Ok(())]
        );
        // From a stranger, and no postmaster is there: it is kept until there is one.
        assert_eq!(
            here.send("x@example.net", &["alice"], 2, "Subject: refuse\r\n\r\n")
                .await,
            [Ok(())]
        );
        here.there.seen.away.set(false);
        here.drained().await;
        let [report] = &here.stored(BOB).await[..] else {
            panic!("one report");
        };
        assert!(report.contains("\r\nAction: failed\r\nStatus: 5.6.0\r\n"), "{report}");
        assert!(
            report.contains("text/rfc822-headers\r\n\r\nSubject: refuse\r\n"),
            "{report}"
        );
        assert_eq!((here.count(QueueEvent::Bounced), here.count(QueueEvent::Kept)), (1, 1));
        assert_eq!(here.kept().await, 1);
        let [kept] = &list(&here.volume, 10).await.expect("it is listed")[..] else {
            panic!("one message");
        };
        let envelope = kept.envelope.as_ref().expect("it is read");
        assert_eq!(
            (&kept.destination, &*envelope.sender, &envelope.recipients[..]),
            (&None, "x@example.net", &["alice@example.org".to_owned()][..])
        );
        let postmaster = format!("{}pigeonPostmaster: bob@example.org\n", here.there.tree_head());
        here.publish(&here.there.tree.replace(here.there.tree_head(), &postmaster));
        here.until("a postmaster has it", async || here.kept().await == 0).await;
        let stored = here.stored(BOB).await;
        assert_eq!(
            stored[1],
            "Return-Path: <>\r\nX-Undelivered-From: <x@example.net>\r\nX-Undelivered-To: <alice@example.org>\r\n\
             Subject: refuse\r\n\r\n"
        );
        assert_eq!((stored.len(), here.count(QueueEvent::ToPostmaster)), (2, 1));
        here.end().await;
    });
}

#[test]
fn what_has_waited_too_long_is_reported() {
    run(|| async {
        let here = Here::new("life", Duration::from_secs(1)).await;
        here.there.seen.away.set(true);
        assert_eq!(
            here.send("bob@example.org", &["alice"], 1, "Subject: x\r\n\r\n").await,
            [Ok(())]
        );
        here.drained().await;
        let [report] = &here.stored(BOB).await[..] else {
            panic!("one report");
        };
        assert!(report.contains("\r\nAction: failed\r\nStatus: 4.4.7\r\n"), "{report}");
        assert_eq!((here.there.taken(), here.count(QueueEvent::Bounced)), (0, 1));
        here.end().await;
    });
}

#[test]
fn a_sender_without_room_for_a_report_leaves_it_to_a_postmaster() {
    run(|| async {
        let here = Here::new("room", DAY).await;
        // Bob has room for next to nothing.
        let tree = here.there.tree.replace("uid: bob\n", "uid: bob\nmailQuotaSize: 10\n");
        here.publish(&tree);
        here.there.seen.away.set(true);
        let text = "Subject: refuse\r\n\r\n";
        assert_eq!(here.send("bob@example.org", &["alice"], 1, text).await, [Ok(())]);
        here.there.seen.away.set(false);
        here.until("it is kept", async || here.kept().await == 1).await;
        let eve = "\ndn: uid=eve,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: eve\nmail: postmaster@example.org\n\
                   mailHost: n1\nentryUUID: 33333333-3333-4333-8333-333333333333\n";
        here.publish(&format!("{tree}{eve}"));
        here.until("a postmaster has it", async || here.kept().await == 0).await;
        // The next report goes to her at once.
        // Connections that wait, too, end.
        here.there.seen.words.set(Some(0));
        assert_eq!(here.send("bob@example.org", &["alice"], 2, text).await, [Ok(())]);
        here.there.seen.words.set(None);
        here.drained().await;
        let eve = AccountId(0x3333_3333_3333_4333_8333_3333_3333_3333_u128.to_be_bytes());
        let stored = here.stored(eve).await;
        assert_eq!(stored.len(), 2);
        assert!(stored[1].contains("To: <postmaster@example.org>"), "{}", stored[1]);
        here.end().await;
    });
}
