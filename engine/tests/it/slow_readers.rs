//! Relays whose readers do not read: their writers wait, and nobody else does.

use crate::relay::{STALLED, relayed};
use crate::{options, run};
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, EngineOptions};
use pigeon_engine::stream::{Stream, relay};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[test]
fn a_slow_reader_holds_its_writer_back() {
    let (sender, receiver) = mpsc::channel();
    let (_, backward, end) = relayed(
        move |mut client| {
            // What fits into two sockets' buffers and a pipe, and no more, comes in before this one reads.
            let sent: usize = receiver.recv().unwrap();
            let mut said = vec![0; sent];
            client.read_exact(&mut said).unwrap();
            client.shutdown(Shutdown::Both).unwrap();
        },
        move |mut backend| {
            // Nothing is taken any more when it was refused for a second.
            backend.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let piece = vec![0; 1 << 20];
            let mut sent = 0;
            let error = loop {
                match backend.write(&piece) {
                    Ok(count) => sent += count,
                    Err(error) => break error,
                }
                assert!(sent < 64 << 20, "the relay takes without end");
            };
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            sender.send(sent).unwrap();
            let _ = backend.read(&mut [0]);
        },
        STALLED,
    );
    assert!(backward > 0 && end.starts_with("first"), "{backward} {end}");
}

/// Sessions whose clients do not read, more of them than there are buffers.
const SLOW: usize = 150;

/// How often a client that reads asks and is answered meanwhile.
const ROUNDS: usize = 500;

/// Relays `sessions` sessions, one after the other, between sockets that `world` has made.
fn relay_all(sessions: usize, options: EngineOptions, world: impl FnOnce(SocketAddr, TcpListener) + Send + 'static) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = server.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel::<SocketAddr>();
    let world = std::thread::spawn(move || world(receiver.recv().unwrap(), server));
    let sender = Arc::new(Mutex::new(sender));
    run(options, move || {
        let sender = sender.clone();
        async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            sender.lock().unwrap().send(listener.local_address()).unwrap();
            let mut relaying = Vec::new();
            for _ in 0..sessions {
                let mut first = Stream::plain(listener.accept().await.unwrap());
                let deadline = runtime::now() + Duration::from_secs(30);
                let mut second = Stream::plain(Connection::connect(there, deadline).await.unwrap());
                relaying.push(runtime::spawn(async move {
                    relay(&mut first, &mut second, STALLED).await;
                }));
            }
            for session in relaying {
                session.await;
            }
        }
    });
    world.join().unwrap();
}

/// A client that has little room for what it does not read.
fn narrow_client(to: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// What every backend says has this at `position`.
fn byte_at(position: usize) -> u8 {
    (position % 251) as u8
}

/// Has all of them say as much as is taken, until nothing is taken any more for a second. What each has said.
fn flood(backends: &mut [TcpStream]) -> Vec<usize> {
    const PIECE: usize = 65_536;
    let saying: Vec<u8> = (0..PIECE + 251).map(byte_at).collect();
    let mut sent = vec![0; backends.len()];
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        for (backend, sent) in backends.iter_mut().zip(&mut sent) {
            let start = *sent % 251;
            match backend.write(&saying[start..start + PIECE]) {
                Ok(count) => *sent += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let mut taking: Vec<_> = backends
            .iter()
            .map(|backend| PollFd::new(backend, PollFlags::OUT))
            .collect();
        if poll(&mut taking, Some(&patience)).unwrap() == 0 {
            return sent;
        }
    }
}

#[test]
fn hundreds_of_slow_readers_hold_nobody_else_up() {
    let options = EngineOptions {
        receive_buffers: 64,
        pipes: 8,
        ..options()
    };
    relay_all(SLOW + 1, options, |address, server| {
        let mut clients = Vec::new();
        let mut backends = Vec::new();
        for _ in 0..SLOW {
            clients.push(narrow_client(address));
            let (backend, _) = server.accept().unwrap();
            sockopt::set_socket_send_buffer_size(&backend, 4096).unwrap();
            backend.set_nonblocking(true).unwrap();
            backends.push(backend);
        }
        let mut reader = TcpStream::connect(address).unwrap();
        let (mut answering, _) = server.accept().unwrap();
        let sent = flood(&mut backends);
        let answering = std::thread::spawn(move || {
            let mut said = [0; 8];
            while answering.read_exact(&mut said).is_ok() {
                answering.write_all(&said).unwrap();
            }
        });
        reader.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        for round in 0..ROUNDS {
            let asked = (round as u64).to_be_bytes();
            reader.write_all(&asked).unwrap();
            let mut said = [0; 8];
            reader
                .read_exact(&mut said)
                .expect("an answer while others do not read");
            assert_eq!(said, asked);
        }
        drop(reader);
        answering.join().unwrap();
        // Everything was kept for those who come back to it.
        for ((mut client, backend), sent) in clients.into_iter().zip(backends).zip(sent) {
            drop(backend);
            let mut said = Vec::new();
            client.read_to_end(&mut said).unwrap();
            assert_eq!(said.len(), sent);
            assert!((0..sent).zip(&said).all(|(position, byte)| *byte == byte_at(position)));
        }
    });
}
