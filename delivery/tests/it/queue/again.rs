//! What is brought again after a lost answer, a crash or a failed write, and under which key.

use super::here::{DAY, Here};
use crate::peer::{KEY_OF_MESSAGE, run};
use pigeon_delivery::queue::{QueueEvent, Runner};
use pigeon_engine::spawn;
use pigeon_store::MessageKey;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    run(|| async {
        let here = Here::new("lost", DAY).await;
        // The answers to a whole message and its login, but for the last.
        let mut words = 0;
        loop {
            here.there.seen.words.set(Some(words));
            here.there.seen.keys.take();
            let before = here.there.taken();
            assert_eq!(
                here.send("bob@example.org", &["alice"], 9, "A: b\r\n").await,
                [Ok(())],
                "{words}"
            );
            here.there.seen.words.set(None);
            here.drained().await;
            let brought = here.there.taken() - before;
            let keys = here.there.seen.keys.take();
            assert!(keys.iter().all(|key| *key == "09".repeat(16)), "{keys:?}");
            if brought == 2 {
                // The other node keeps one of them, which is its store's affair.
                assert!(keys.len() >= 2);
                break;
            }
            assert_eq!(brought, 1, "{words}");
            words += 25;
            assert!(words < 2000);
        }
        assert_ne!(KEY_OF_MESSAGE, MessageKey([9; 16]));
        here.end().await;
    });
}

#[test]
fn what_cannot_be_noted_is_not_brought() {
    run(|| async {
        let here = Here::new("poisoned", DAY).await;
        here.there.seen.away.set(true);
        for key in 1..=60 {
            assert_eq!(here.send("", &["alice"], key, "A: b\r\n").await, [Ok(())]);
        }
        assert_eq!(here.waiting().await, 60);
        // From now on nothing can be taken out of the queue.
        here.broken.set(true);
        here.there.seen.away.set(false);
        let held = || here.index.gauges().iter().find_map(|(.., gauge)| gauge.held.clone());
        here.until("it is told", async || held().is_some()).await;
        assert!(
            held().expect("it is").starts_with("the volume is poisoned: "),
            "{:?}",
            held()
        );
        let tried = here.count(QueueEvent::Tried);
        assert!(
            here.there.taken() <= 40 && tried <= 60 + 40,
            "{} {tried}",
            here.there.taken()
        );
        // A look that finds the node, and nothing more.
        here.parts.peers.look(&here.there.server).await;
        here.publish(&here.there.tree);
        assert_eq!(here.count(QueueEvent::Tried), tried);
        here.end().await;
    });
}

#[test]
fn what_comes_before_the_queue_runs_is_not_of_an_earlier_life() {
    run(|| async {
        let mut here = Here::new("early", DAY).await;
        here.there.seen.away.set(true);
        let bob = "bob@example.org";
        assert_eq!(here.send(bob, &["alice"], 1, "1\r\n").await, [Ok(())]);
        here.stop.set();
        here.new_life();
        let runner = Runner::open(0, &here.volume, here.index.clone()).await.expect("opens");
        assert_eq!(here.send(bob, &["alice"], 2, "2\r\n").await, [Ok(())]);
        here.stop = Rc::default();
        drop(spawn(runner.run(here.parts.clone(), here.stop.clone())));
        here.there.seen.away.set(false);
        here.drained().await;
        here.until("nobody waits", async || {
            !here.parts.queues.holds_up("n2", Some(&bob.parse().unwrap()))
        })
        .await;
        assert_eq!(here.taken(), ["1\r\n", "2\r\n"]);
        here.end().await;
    });
}

#[test]
fn who_may_have_it_under_a_key_that_is_forgotten_gets_it_and_that_is_counted() {
    run(|| async {
        let mut here = Here::new("twice", DAY).await;
        for (life, expected) in [(DAY, 0), (Duration::ZERO, 1)] {
            here.stop.set();
            here.parts.key_life = life;
            here.new_life();
            here.start().await;
            here.there.seen.mute.set(true);
            assert_eq!(here.send("", &["alice"], 7, "A: b\r\n").await, [Ok(())]);
            here.there.seen.mute.set(false);
            here.drained().await;
            assert!(here.there.taken() >= 2);
            here.until("it is counted", async || here.count(QueueEvent::Delivered) > expected)
                .await;
            assert_eq!(here.count(QueueEvent::PerhapsTwice), expected);
        }
        here.end().await;
    });
}
