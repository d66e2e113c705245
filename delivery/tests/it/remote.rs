//! Mail to another node, over sockets, from a core to our own server's protocol core: what it takes, how connections are
//! kept, and what recipients are told wherever the other end breaks off.

use crate::peer::{KEY, run, there};
use bytes::Bytes;
use pigeon_delivery::remote::{RemoteError, RemoteEvent};
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::now;
use std::net::{Ipv4Addr, SocketAddr};

fn code(result: &Result<(), RemoteError>) -> u16 {
    match result {
        Ok(()) => 250,
        Err(RemoteError::Answered(reply)) => reply.code(),
        Err(RemoteError::OutOfReach(_) | RemoteError::BrokeOff(_) | RemoteError::Unsure(_) | RemoteError::NoRoom) => 0,
        Err(RemoteError::TooMany(_)) => 2,
        Err(RemoteError::Denied(_)) => 1,
    }
}

#[test]
fn messages_go_over_one_connection_each_with_its_answers() {
    run(|| async {
        let there = there(KEY);
        let results = there.deliver(&["alice", "full", "alice+x"], "A: b\r\n\r\n.\r\n").await;
        assert_eq!(
            results.iter().map(code).collect::<Vec<_>>(),
            [250, 452, 250],
            "{results:?}"
        );
        let results = there.deliver(&["alice"], "A: refuse\r\n\r\n").await;
        assert_eq!(code(&results[0]), 554, "{results:?}");
        // In pieces, of which the total is more than is ever held.
        let mut transfer = there.begin(&["alice", "bob"]).await;
        let piece = Bytes::from(
            vec![b'x'; 64 * 1024 - 2]
                .into_iter()
                .chain(*b"\r\n")
                .collect::<Vec<u8>>(),
        );
        for _ in 0..64 {
            transfer.write(&piece).await;
        }
        let results = transfer.commit().await;
        assert_eq!(results, [Ok(()), Ok(())]);
        assert_eq!(there.seen.connections.get(), 1);
        let keys = there.seen.keys.take();
        assert!(
            keys.iter().all(|key| key == "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"),
            "{keys:?}"
        );
        let taken = there.seen.taken.take();
        assert_eq!(
            taken[0],
            (
                vec!["alice@example.org".into(), "alice+x@example.org".into()],
                b"A: b\r\n\r\n.\r\n".to_vec()
            )
        );
        assert_eq!(taken[1].1, piece.repeat(64));
        assert_eq!(taken.len(), 2);
        // Two at once are two connections.
        let (one, two) = (there.begin(&["alice"]).await, there.begin(&["bob"]).await);
        drop(one);
        assert_eq!(two.commit_with(Bytes::from_static(b"x\r\n")).await, [Ok(())]);
        assert_eq!(there.seen.connections.get(), 2);
        assert!(!there.events.borrow().contains(&RemoteEvent::Failed));
    });
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_replaced() {
    run(|| async {
        let there = there(KEY);
        there.seen.closes.set(true);
        for round in 1..=5 {
            let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
            assert_eq!(results, [Ok(())], "{round}");
            assert_eq!(there.seen.connections.get(), round);
            while there.seen.shut.get() < round {
                pigeon_engine::runtime::yield_now().await;
            }
            // What this core's ring tells of a connection made now, it tells after the end of the other.
            let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            let patience = now() + std::time::Duration::from_secs(60);
            Connection::connect(listener.local_address(), patience).await.unwrap();
        }
        assert_eq!(there.taken(), 5);
    });
}

#[test]
fn whatever_it_breaks_off_nothing_is_said_to_be_there_that_is_not() {
    run(|| async {
        // How much it says in all when nothing breaks.
        let mut words = 0;
        loop {
            let there = there(KEY);
            there.seen.words.set(Some(words));
            let results = there.deliver(&["alice", "bob"], "A: b\r\n\r\n").await;
            let acknowledged = results.iter().filter(|result| result.is_ok()).count();
            let errors = results
                .iter()
                .filter(|result| matches!(result, Err(RemoteError::OutOfReach(_) | RemoteError::Unsure(_))))
                .count();
            assert_eq!(acknowledged + errors, 2, "{words}: {results:?}");
            assert!(acknowledged == 0 || there.taken() == 1, "{words}");
            let events = there.events.borrow().clone();
            let unknown = events.iter().filter(|event| **event == RemoteEvent::Unknown).count();
            // What it may have is counted as such.
            assert!(
                acknowledged == 2 || there.taken() == 0 || unknown + acknowledged == 2,
                "{words}: {events:?}"
            );
            if acknowledged == 2 {
                break;
            }
            assert!(words < 2000, "it says everything at last");
            words += 1;
        }
        assert!(words > 300, "{words}");
    });
}

#[test]
fn a_node_with_another_key_is_not_believed_and_then_left_alone() {
    run(|| async {
        let there = there("another key");
        for _ in 0..3 {
            assert!(!there.peers.is_away(&there.server));
            let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
            assert!(results[0].is_err(), "{results:?}");
        }
        assert!(there.peers.is_away(&there.server));
        let results = there.deliver(&["alice"], "A: b\r\n\r\n").await;
        assert_eq!(code(&results[0]), 0, "{results:?}");
        assert_eq!((there.seen.connections.get(), there.taken()), (3, 0));
    });
}

#[test]
fn a_node_that_is_away_is_not_sought_when_it_is_none_any_more() {
    run(|| async {
        let there = there(KEY);
        there.seen.away.set(true);
        while !there.peers.is_away(&there.server) {
            there.deliver(&["alice"], "A: b\r\n\r\n").await;
        }
        let state = || there.peers.states().pop().expect("it is known");
        let until = async |what: &str, condition: &dyn Fn() -> bool| {
            let deadline = now() + std::time::Duration::from_secs(60);
            while !condition() {
                assert!(now() < deadline, "{what}");
                pigeon_engine::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        // As long as it is one, it is looked for.
        let before = there.seen.connections.get();
        until("it is looked for", &|| there.seen.connections.get() > before).await;
        assert!(state().is_away);
        there.seen.removed.set(true);
        until("nobody looks for it", &|| !state().is_away).await;
        // And one of its name that is added later is asked at once.
        there.seen.removed.set(false);
        there.seen.away.set(false);
        assert_eq!(there.deliver(&["alice"], "A: b\r\n\r\n").await, [Ok(())]);
    });
}
