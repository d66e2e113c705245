//! Two streams joined by a relay.

use crate::{options, run};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime;
use pigeon_engine::stream::{RelayEnd, Relayed, Stream, relay};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const STALLED: Duration = Duration::from_secs(60);

/// A relay between a client and a backend that are plain sockets of threads.
fn relayed(
    client: impl FnOnce(TcpStream) + Send + 'static,
    backend: impl FnOnce(TcpStream) + Send + 'static,
    stalled: Duration,
) -> (u64, u64, String) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = server.local_addr().unwrap();
    let backend = std::thread::spawn(move || backend(server.accept().unwrap().0));
    let (sender, receiver) = std::sync::mpsc::channel::<SocketAddr>();
    let client = std::thread::spawn(move || client(TcpStream::connect(receiver.recv().unwrap()).unwrap()));
    let sender = std::sync::Arc::new(std::sync::Mutex::new(sender));
    let seen = run(options(), move || {
        let sender = sender.clone();
        async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            sender.lock().unwrap().send(listener.local_address()).unwrap();
            let mut first = Stream::plain(listener.accept().await.unwrap());
            let deadline = runtime::now() + Duration::from_secs(30);
            let mut second = Stream::plain(Connection::connect(there, deadline).await.unwrap());
            let Relayed {
                forward, backward, end, ..
            } = relay(&mut first, &mut second, stalled).await;
            let end = match end {
                RelayEnd::First => "first".to_owned(),
                RelayEnd::Second => "second".to_owned(),
                RelayEnd::FirstFailed(error) => format!("first {:?}", error.kind()),
                RelayEnd::SecondFailed(error) => format!("second {:?}", error.kind()),
            };
            first.close().await;
            second.close().await;
            (forward, backward, end)
        }
    });
    client.join().unwrap();
    backend.join().unwrap();
    seen
}

fn pattern(length: usize, seed: u32) -> Vec<u8> {
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
        assert_eq!(relaying.await, Some(12));
    });
}
