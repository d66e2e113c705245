//! Relays between a client that ends its own side and a backend that still answers.

use crate::relay::{STALLED, pattern, relayed, relayed_with};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

/// Says everything, ends its side, and wants all of the answer.
fn ask_and_end(request: usize, answer: usize) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut client| {
        client.write_all(&pattern(request, 1)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).unwrap();
        assert!(said == pattern(answer, 2), "{} of {answer}", said.len());
    }
}

#[test]
fn who_has_ended_its_side_gets_all_answers() {
    for pipes in [0, 8] {
        for (request, answer) in [(0, 10), (10, 10), (10, 3 << 20), (3 << 20, 10), (3 << 20, 3 << 20)] {
            let (forward, backward, _, end) = relayed_with(
                pipes,
                ask_and_end(request, answer),
                move |mut backend| {
                    let mut said = Vec::new();
                    backend.read_to_end(&mut said).unwrap();
                    assert!(said == pattern(request, 1));
                    backend.write_all(&pattern(answer, 2)).unwrap();
                },
                STALLED,
            );
            assert_eq!(
                (forward, backward, end.as_str()),
                (request as u64, answer as u64, "first")
            );
        }
    }
}

#[test]
fn answers_that_come_one_by_one_are_waited_for() {
    const STALLED: Duration = Duration::from_secs(2);
    let (_, backward, end) = relayed(
        ask_and_end(10, 4),
        |mut backend| {
            backend.read_to_end(&mut Vec::new()).unwrap();
            // Longer than a backend may be silent, all in all.
            for byte in pattern(4, 2) {
                std::thread::sleep(STALLED / 3);
                backend.write_all(&[byte]).unwrap();
            }
        },
        STALLED,
    );
    assert_eq!((backward, end.as_str()), (4, "first"));
}

#[test]
fn a_backend_that_does_not_answer_an_end_is_given_up() {
    let (tell, told) = mpsc::channel();
    let (_, _, end) = relayed(
        move |client| {
            ask_and_end(10, 0)(client);
            tell.send(()).unwrap();
        },
        move |mut backend| {
            backend.read_to_end(&mut Vec::new()).unwrap();
            // Open until the client has been let go.
            told.recv().unwrap();
        },
        Duration::from_millis(500),
    );
    assert_eq!(end, "first");
}

#[test]
fn who_has_ended_and_then_leaves_ends_the_relay() {
    let (_, _, end) = relayed(
        |mut client| {
            client.write_all(b"x").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client.read_exact(&mut [0; 10]).unwrap();
            // Unread bytes make it a reset.
            drop(client);
        },
        |mut backend| {
            let piece = [0; 65_536];
            while backend.write_all(&piece).is_ok() {}
        },
        STALLED,
    );
    assert!(end.starts_with("first "), "{end}");
}
