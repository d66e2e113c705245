//! A queue that has no room: it says so before anybody has acknowledged anything.

use super::here::{DAY, Here};
use crate::peer::run;
use bytes::Bytes;
use pigeon_delivery::queue::Room;
use pigeon_delivery::remote::RemoteError;

#[test]
fn a_queue_that_is_full_says_so() {
    run(|| async {
        let here = Here::new("bound", DAY).await;
        here.there.seen.away.set(true);
        here.room.set(Room::Full);
        assert_eq!(
            here.send("", &["alice"], 1, "A: b\r\n").await,
            [Err(RemoteError::NoRoom)]
        );
        let mut forward = here.begin("", &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        // Known to be away, nobody is asked.
        here.until("it is away", async || {
            here.parts.peers.is_away(&here.there.server) || {
                here.send("", &["alice"], 3, "A: b\r\n").await;
                false
            }
        })
        .await;
        let mut forward = here.begin("", &["alice"], 4).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert!(forward.is_in_vain(false));
        assert_eq!(forward.give_up(), [Err(RemoteError::NoRoom)]);
        // The same of a message that is whole, before anybody else has it.
        let mut forward = here.begin("", &["alice"], 5).await;
        assert!(!forward.is_in_vain(true));
        forward.prepare().await;
        assert!(forward.is_in_vain(true));
        assert_eq!(forward.give_up(), [Err(RemoteError::NoRoom)]);
        assert_eq!(here.waiting().await, 0);
        here.end().await;
    });
}

#[test]
fn without_a_volume_that_takes_mail_the_sender_hears_it() {
    run(|| async {
        let here = Here::new("full", DAY).await;
        here.there.seen.away.set(true);
        here.room.set(Room::No);
        assert_eq!(here.parts.queues.room(), Room::No);
        let results = here.send("bob@example.org", &["alice"], 1, "A: b\r\n").await;
        assert!(matches!(results[..], [Err(RemoteError::OutOfReach(_))]), "{results:?}");
        let mut forward = here.begin("bob@example.org", &["alice"], 2).await;
        forward.write(&Bytes::from_static(b"A: b\r\n")).await;
        assert!(forward.is_in_vain(false));
        assert!(matches!(forward.give_up()[..], [Err(RemoteError::OutOfReach(_))]));
        assert_eq!(here.waiting().await, 0);
        here.end().await;
    });
}
