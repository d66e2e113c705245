//! Two streams joined by a relay.

use crate::{options, run};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, EngineOptions};
use pigeon_engine::stream::{RelayEnd, Relayed, Stream, relay};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

pub(crate) const STALLED: Duration = Duration::from_secs(60);

/// A relay between a client and a backend that are plain sockets of threads.
pub(crate) fn relayed(
    client: impl FnOnce(TcpStream) + Send + 'static,
    backend: impl FnOnce(TcpStream) + Send + 'static,
    stalled: Duration,
) -> (u64, u64, String) {
    let (forward, backward, _, end) = relayed_with(8, client, backend, stalled);
    (forward, backward, end)
}

/// As `relayed`, with so many pipes; says also what went through them.
pub(crate) fn relayed_with(
    pipes: u16,
    client: impl FnOnce(TcpStream) + Send + 'static,
    backend: impl FnOnce(TcpStream) + Send + 'static,
    stalled: Duration,
) -> (u64, u64, u64, String) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = server.local_addr().unwrap();
    let backend = std::thread::spawn(move || backend(server.accept().unwrap().0));
    let (sender, receiver) = std::sync::mpsc::channel::<SocketAddr>();
    let client = std::thread::spawn(move || client(TcpStream::connect(receiver.recv().unwrap()).unwrap()));
    let sender = std::sync::Arc::new(std::sync::Mutex::new(sender));
    let options = EngineOptions { pipes, ..options() };
    let seen = run(options, move || {
        let sender = sender.clone();
        async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            sender.lock().unwrap().send(listener.local_address()).unwrap();
            let mut first = Stream::plain(listener.accept().await.unwrap());
            let deadline = runtime::now() + Duration::from_secs(30);
            let mut second = Stream::plain(Connection::connect(there, deadline).await.unwrap());
            let Relayed {
                forward,
                backward,
                spliced,
                end,
                ..
            } = relay(&mut first, &mut second, stalled).await;
            let end = match end {
                RelayEnd::First => "first".to_owned(),
                RelayEnd::Second => "second".to_owned(),
                RelayEnd::FirstFailed(error) => format!("first {:?}", error.kind()),
                RelayEnd::SecondFailed(error) => format!("second {:?}", error.kind()),
            };
            first.close().await;
            second.close().await;
            (forward, backward, spliced, end)
        }
    });
    client.join().unwrap();
    backend.join().unwrap();
    seen
}

pub(crate) fn pattern(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn both_ways_at_once_whoever_writes_first() {
    // More than the sockets' buffers hold: a relay that did one direction after the other would never end.
    const LENGTH: usize = 8 << 20;
    let (forward, backward, end) = relayed(
        |mut client| {
            let mut reading = client.try_clone().unwrap();
            client.write_all(&pattern(LENGTH, 1)).unwrap();
            let mut answer = vec![0; LENGTH];
            reading.read_exact(&mut answer).unwrap();
            assert!(answer == pattern(LENGTH, 2));
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(reading.read(&mut [0]).unwrap(), 0);
        },
        |mut backend| {
            let mut reading = backend.try_clone().unwrap();
            let writer = std::thread::spawn(move || backend.write_all(&pattern(LENGTH, 2)).unwrap());
            let mut said = vec![0; LENGTH];
            reading.read_exact(&mut said).unwrap();
            assert!(said == pattern(LENGTH, 1));
            writer.join().unwrap();
            assert_eq!(reading.read(&mut [0]).unwrap(), 0);
        },
        STALLED,
    );
    assert_eq!(
        (forward, backward, end.as_str()),
        (LENGTH as u64, LENGTH as u64, "first")
    );
}

#[test]
fn what_a_side_said_before_its_end_arrives() {
    let (forward, backward, end) = relayed(
        |mut client| {
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            assert_eq!(text, "* BYE\r\n");
        },
        |mut backend| backend.write_all(b"* BYE\r\n").unwrap(),
        STALLED,
    );
    assert_eq!((forward, backward, end.as_str()), (0, 7, "second"));
}

#[test]
fn a_side_that_takes_nothing_is_given_up() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (_, _, end) = relayed(
        move |client| {
            // It reads nothing until the relay is over.
            receiver.recv().unwrap();
            drop(client);
        },
        move |mut backend| {
            let piece = [0; 65_536];
            let error = loop {
                if let Err(error) = backend.write_all(&piece) {
                    break error;
                }
            };
            assert!(matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ));
            sender.send(()).unwrap();
        },
        Duration::from_millis(500),
    );
    assert_eq!(end, "first TimedOut");
}

#[test]
fn what_was_put_back_comes_first() {
    run(options(), || async {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let deadline = runtime::now() + Duration::from_secs(30);
        let connect = async || Connection::connect(listener.local_address(), deadline).await.unwrap();
        let (client, first) = (connect().await, listener.accept().await.unwrap());
        let (second, backend) = (connect().await, listener.accept().await.unwrap());
        client.send(Bytes::from_static(b"behind")).await.unwrap();
        let relaying = runtime::spawn(async move {
            let (mut first, mut second) = (Stream::plain(first), Stream::plain(second));
            first.put_back(b"ahead ");
            relay(&mut first, &mut second, STALLED).await.forward
        });
        let mut said = Vec::new();
        while said.len() < 12 {
            said.extend_from_slice(&backend.receive().await.unwrap().expect("more"));
        }
        assert_eq!(said, b"ahead behind");
        client.close().await;
        assert!(backend.receive().await.unwrap().is_none());
        drop(backend);
        assert_eq!(relaying.await, Some(12));
    });
}

/// Random sizes, each followed by an answer of one byte, so that bursts and silence take turns.
fn pieces(seed: u32, largest: usize) -> Vec<usize> {
    let bytes = pattern(32, seed);
    let sizes = bytes.chunks_exact(4).map(|bytes| {
        let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        1 + number % largest
    });
    sizes.collect()
}

#[test]
fn bursts_of_any_size_come_through_byte_by_byte() {
    for (seed, largest) in [(3, 4 << 20), (4, 300_000), (5, 40_000)] {
        let sizes = pieces(seed, largest);
        let total: usize = sizes.iter().sum();
        let (asked, told) = (sizes.clone(), sizes.clone());
        let (forward, backward, spliced, end) = relayed_with(
            8,
            move |mut client| {
                for (number, size) in asked.into_iter().enumerate() {
                    client.write_all(b"a FETCH\r\n").unwrap();
                    let mut answer = vec![0; size];
                    client.read_exact(&mut answer).unwrap();
                    assert!(answer == pattern(size, number as u32));
                }
            },
            move |mut backend| {
                let mut said = [0; 9];
                for (number, size) in told.into_iter().enumerate() {
                    backend.read_exact(&mut said).unwrap();
                    // Cut anywhere, so that pieces begin within buffers.
                    let answer = pattern(size, number as u32);
                    let (start, rest) = answer.split_at(size / 3);
                    backend.write_all(start).unwrap();
                    backend.write_all(rest).unwrap();
                }
                assert_eq!(backend.read(&mut said).unwrap(), 0);
            },
            STALLED,
        );
        assert_eq!((forward, backward), (72, total as u64));
        assert_eq!(end, "first");
        assert!(largest < 1 << 20 || spliced > 0, "much at once goes through pipes");
    }
}

#[test]
fn both_ways_at_once_are_spliced() {
    const LENGTH: usize = 16 << 20;
    let exchange = |mine: u32, others: u32| {
        move |mut socket: TcpStream| {
            let mut reading = socket.try_clone().unwrap();
            let writer = std::thread::spawn(move || {
                socket.write_all(&pattern(LENGTH, mine)).unwrap();
                socket
            });
            let mut said = vec![0; LENGTH];
            reading.read_exact(&mut said).unwrap();
            assert!(said == pattern(LENGTH, others));
            drop(writer.join().unwrap());
        }
    };
    let (forward, backward, spliced, _) = relayed_with(8, exchange(1, 2), exchange(2, 1), STALLED);
    assert_eq!((forward, backward), (LENGTH as u64, LENGTH as u64));
    assert!(spliced > LENGTH as u64, "most of both ways: {spliced}");
}

#[test]
fn without_a_pipe_everything_is_copied() {
    const LENGTH: usize = 40 << 20;
    for pipes in [0, 1] {
        let (forward, backward, spliced, end) = relayed_with(
            pipes,
            |mut client| {
                let mut reading = client.try_clone().unwrap();
                let writer = std::thread::spawn(move || client.write_all(&pattern(LENGTH, 1)).unwrap());
                let mut said = vec![0; LENGTH];
                reading.read_exact(&mut said).unwrap();
                assert!(said == pattern(LENGTH, 2));
                writer.join().unwrap();
                reading.shutdown(Shutdown::Write).unwrap();
            },
            |mut backend| {
                let mut reading = backend.try_clone().unwrap();
                let writer = std::thread::spawn(move || backend.write_all(&pattern(LENGTH, 2)).unwrap());
                let mut said = vec![0; LENGTH];
                reading.read_exact(&mut said).unwrap();
                assert!(said == pattern(LENGTH, 1));
                writer.join().unwrap();
                assert_eq!(reading.read(&mut [0]).unwrap(), 0);
            },
            STALLED,
        );
        assert_eq!(
            (forward, backward, end.as_str()),
            (LENGTH as u64, LENGTH as u64, "first")
        );
        // With one pipe, one direction has it and the other copies.
        assert!(if pipes == 0 {
            spliced == 0
        } else {
            spliced <= LENGTH as u64 && spliced > 0
        });
    }
}

#[test]
fn what_was_sent_before_the_end_arrives_wherever_it_comes() {
    // Within a buffer, within what is copied before the pipe, and far in the pipe.
    for length in [1_000, 70_000, 200_000, 3 << 20] {
        let (_, backward, end) = relayed(
            move |mut client| {
                client.write_all(b"x").unwrap();
                let mut said = Vec::new();
                client.read_to_end(&mut said).unwrap();
                assert!(said == pattern(length, 7));
            },
            move |mut backend| {
                backend.read_exact(&mut [0]).unwrap();
                backend.write_all(&pattern(length, 7)).unwrap();
            },
            STALLED,
        );
        assert_eq!((backward, end.as_str()), (length as u64, "second"));
    }
}

#[test]
fn a_reader_that_leaves_ends_the_relay_wherever_it_is() {
    for length in [10, 70_000, 1 << 20, 5 << 20] {
        let (_, backward, end) = relayed(
            move |mut client| {
                client.read_exact(&mut vec![0; length]).unwrap();
                // Unread bytes make it a reset.
                drop(client);
            },
            |mut backend| {
                let piece = [0; 65_536];
                while backend.write_all(&piece).is_ok() {}
            },
            STALLED,
        );
        assert!(end.starts_with("first"), "{end}");
        assert!(backward >= length as u64);
    }
}

#[test]
fn commands_pass_while_much_comes_the_other_way() {
    const LENGTH: usize = 32 << 20;
    let (forward, backward, end) = relayed(
        |mut client| {
            let mut reading = client.try_clone().unwrap();
            client.write_all(b"begin").unwrap();
            let mut half = vec![0; LENGTH / 2];
            reading.read_exact(&mut half).unwrap();
            // The backend goes on only when it has this.
            client.write_all(&pattern(300_000, 9)).unwrap();
            reading.read_exact(&mut half).unwrap();
            drop((client, reading));
        },
        |mut backend| {
            backend.read_exact(&mut [0; 5]).unwrap();
            backend.write_all(&vec![1; LENGTH / 2]).unwrap();
            let mut said = vec![0; 300_000];
            backend.read_exact(&mut said).unwrap();
            assert!(said == pattern(300_000, 9));
            backend.write_all(&vec![2; LENGTH / 2]).unwrap();
            assert_eq!(backend.read(&mut [0]).unwrap(), 0);
        },
        STALLED,
    );
    assert_eq!((forward, backward, end.as_str()), (300_005, LENGTH as u64, "first"));
}
