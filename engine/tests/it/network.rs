//! Connections over loopback.

use crate::{alone, options, run};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, CoreId, EngineOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn connect(address: SocketAddr) -> Connection {
    Connection::connect(address, runtime::now() + Duration::from_secs(30))
        .await
        .unwrap()
}

async fn pair() -> (Connection, Connection) {
    let listener = Listener::bind(loopback()).unwrap();
    let client = connect(listener.local_address()).await;
    (listener.accept().await.unwrap(), client)
}

async fn echo(connection: Connection) {
    while let Ok(Some(received)) = connection.receive().await {
        let data = Bytes::copy_from_slice(&received);
        drop(received);
        connection.send(data).await.unwrap();
    }
    connection.close().await;
}

async fn receive_exactly(connection: &Connection, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < length {
        bytes.extend_from_slice(&connection.receive().await.unwrap().expect("more bytes"));
    }
    bytes
}

#[test]
fn echoes_over_many_connections_on_all_cores() {
    run(options(), || async {
        let listener = Listener::bind(loopback()).unwrap();
        let address = listener.local_address();
        for core in 0..runtime::core_count() {
            runtime::on_core(CoreId(core), move || async move {
                let listener = Listener::bind(address).unwrap();
                drop(runtime::spawn(async move {
                    loop {
                        drop(runtime::spawn(echo(listener.accept().await.unwrap())));
                    }
                }));
            })
            .await
            .unwrap();
        }
        drop(listener);
        let mut clients = Vec::new();
        for client in 0..100u8 {
            clients.push(runtime::spawn(async move {
                let connection = connect(address).await;
                for round in 0..50u8 {
                    let data = vec![client ^ round; 1 + usize::from(client) * usize::from(round) * 3];
                    connection.send(data.clone().into()).await.unwrap();
                    assert_eq!(receive_exactly(&connection, data.len()).await, data);
                }
                connection.close().await;
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn ends_are_told_apart() {
    run(options(), || async {
        let (server, client) = pair().await;
        assert_eq!(server.peer_address(), client.local_address());
        assert_eq!(server.local_address(), client.peer_address());
        client.send(Bytes::from_static(b"last words")).await.unwrap();
        let closing = runtime::spawn(client.close());
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"last words");
        assert!(server.receive().await.unwrap().is_none());
        assert!(server.receive().await.unwrap().is_none());
        server.send(Bytes::from_static(b"heard")).await.unwrap();
        drop(server);
        closing.await.unwrap();

        let refused = Connection::connect(
            SocketAddr::from(([127, 0, 0, 1], 1)),
            runtime::now() + Duration::from_secs(9),
        );
        assert_eq!(
            refused.await.err().map(|error| error.kind()),
            Some(io::ErrorKind::ConnectionRefused)
        );
    });
}

#[test]
fn a_connection_moves_between_cores_with_bytes_in_flight() {
    run(options(), || async {
        let (mut server, client) = pair().await;
        let sender = runtime::spawn(async move {
            for number in 0..200_000u32 {
                client
                    .send(Bytes::copy_from_slice(&number.to_be_bytes()))
                    .await
                    .unwrap();
            }
            client.close().await;
        });
        let mut expected = 0u32;
        let mut rest = Vec::new();
        let other = CoreId(runtime::core_count() - 1);
        for round in 0..100 {
            // Takes a few pieces at each stop, on alternating cores.
            let detached = server.detach().await.unwrap();
            let core = if round % 2 == 0 { other } else { CoreId(0) };
            let (detached, bytes) = runtime::on_core(core, move || async move {
                let connection = detached.attach();
                let mut bytes = Vec::new();
                for _ in 0..3 {
                    if let Some(received) = connection.receive().await.unwrap() {
                        bytes.extend_from_slice(&received);
                    }
                }
                (connection.detach().await.unwrap(), bytes)
            })
            .await
            .unwrap();
            server = detached.attach();
            rest.extend_from_slice(&bytes);
            while let Some((number, left)) = rest.split_first_chunk::<4>() {
                assert_eq!(u32::from_be_bytes(*number), expected);
                expected += 1;
                rest = left.to_vec();
            }
        }
        while let Some(received) = server.receive().await.unwrap() {
            rest.extend_from_slice(&received);
        }
        assert_eq!(rest.len() % 4, 0);
        for number in rest.chunks_exact(4) {
            assert_eq!(u32::from_be_bytes(number.try_into().unwrap()), expected);
            expected += 1;
        }
        assert_eq!(expected, 200_000);
        drop(server);
        sender.await.unwrap();
    });
}

#[test]
fn deadlines_end_waits_and_can_be_moved() {
    run(options(), || async {
        let (server, client) = pair().await;
        let start = runtime::now();
        server.set_deadline(Some(start + Duration::from_secs(3600)));
        server.set_deadline(Some(start + Duration::from_millis(300)));
        let error = server.receive().await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(runtime::now() - start >= Duration::from_millis(300));
        // The connection lives on, and bytes come before the deadline that has passed.
        client.send(Bytes::from_static(b"late")).await.unwrap();
        server.set_deadline(None);
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"late");

        // A send that the peer does not take ends too, and the connection with it.
        server.set_deadline(Some(runtime::now() + Duration::from_millis(100)));
        let error = server.send(vec![0; 64 << 20].into()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(server.send(Bytes::from_static(b"more")).await.is_err());
        assert!(server.receive().await.is_err());
        assert!(pigeon_engine::counters().deadlines >= 2);
    });
}

#[test]
fn a_peer_that_sends_without_being_read_has_to_wait() {
    run(options(), || async {
        let listener = Listener::bind(loopback()).unwrap();
        let mut client = TcpStream::connect(listener.local_address()).unwrap();
        let server = listener.accept().await.unwrap();
        let total = 64 << 20;
        let data = vec![7; total];
        // The first receive arms the operation; then nobody reads for a while.
        client.write_all(&data[..1]).unwrap();
        let first = server.receive().await.unwrap().unwrap().len();
        client.set_nonblocking(true).unwrap();
        let (mut sent, mut refused) = (1, 0);
        // Whatever the core takes in makes room for more; a thousand turns without any is the end of that.
        while sent < total && refused < 1000 {
            match client.write(&data[sent..]) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused += 1,
                Err(error) => panic!("{error}"),
            }
            runtime::yield_now().await;
        }
        assert!(sent < total, "the sender did not have to wait");
        let before = pigeon_engine::counters().received_bytes;
        assert!(before < 1 << 20, "{before} bytes were taken in");
        let sending = std::thread::spawn(move || {
            client.set_nonblocking(false).unwrap();
            client.write_all(&data[sent..])
        });
        let mut received = first;
        while let Some(bytes) = server.receive().await.unwrap() {
            assert!(bytes.iter().all(|byte| *byte == 7));
            received += bytes.len();
        }
        assert_eq!(received, total);
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn few_buffers_are_shared_by_many() {
    let options = EngineOptions {
        receive_buffers: 4,
        receive_buffer_bytes: 512,
        ..options()
    };
    run(options, || async {
        let listener = Listener::bind(loopback()).unwrap();
        let address = listener.local_address();
        let mut tasks = Vec::new();
        for client in 0..50u8 {
            tasks.push(runtime::spawn(async move {
                let connection = connect(address).await;
                connection.send(vec![client; 100_000].into()).await.unwrap();
                connection.close().await;
            }));
            let server = listener.accept().await.unwrap();
            tasks.push(runtime::spawn(async move {
                let mut received = 0;
                while let Some(bytes) = server.receive().await.unwrap() {
                    received += bytes.len();
                    // Holds the buffer over a turn: the others run short.
                    runtime::yield_now().await;
                }
                assert_eq!(received, 100_000);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert!(pigeon_engine::counters().buffers_exhausted > 0);
    });
}

#[test]
fn a_dropped_receive_loses_nothing() {
    run(options(), || async {
        let (server, client) = pair().await;
        let sender = runtime::spawn(async move {
            for number in 0..1000u32 {
                client
                    .send(Bytes::copy_from_slice(&number.to_be_bytes()))
                    .await
                    .unwrap();
                if number % 10 == 0 {
                    runtime::yield_now().await;
                }
            }
            client.close().await;
        });
        let mut bytes = Vec::new();
        loop {
            match runtime::timeout(Duration::ZERO, server.receive()).await {
                Ok(Ok(Some(received))) => bytes.extend_from_slice(&received),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => runtime::yield_now().await,
            }
        }
        let expected: Vec<_> = (0..1000u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(bytes, expected);
        sender.await.unwrap();
    });
}

#[test]
fn a_dropped_send_ends_the_connection() {
    run(options(), || async {
        let (server, client) = pair().await;
        let sent = runtime::timeout(Duration::from_millis(5), server.send(vec![1; 64 << 20].into())).await;
        assert!(sent.is_err());
        assert!(server.send(Bytes::from_static(b"x")).await.is_err());
        assert!(server.receive().await.is_err());
        assert!(server.detach().await.is_err());
        while let Ok(Some(_)) = client.receive().await {}
    });
}

#[test]
fn ipv6_is_its_own() {
    run(options(), || async {
        let Ok(listener) = Listener::bind("[::1]:0".parse().unwrap()) else {
            return;
        };
        let client = connect(listener.local_address()).await;
        let server = listener.accept().await.unwrap();
        assert!(server.peer_address().is_ipv6());
        client.send(Bytes::from_static(b"six")).await.unwrap();
        assert_eq!(&*server.receive().await.unwrap().unwrap(), b"six");
    });
}

#[test]
fn more_connections_than_anyone_takes_wait_in_the_backlog() {
    run(options(), || async {
        let listener = Listener::bind(loopback()).unwrap();
        let mut clients = vec![TcpStream::connect(listener.local_address()).unwrap()];
        let mut servers = vec![listener.accept().await.unwrap()];
        for _ in 1..600 {
            clients.push(TcpStream::connect(listener.local_address()).unwrap());
        }
        for _ in 0..3 {
            runtime::yield_now().await;
        }
        while servers.len() < 600 {
            servers.push(listener.accept().await.unwrap());
        }
        for (index, client) in clients.iter_mut().enumerate() {
            client.write_all(&[u8::try_from(index % 251).unwrap()]).unwrap();
        }
        // In the order they came, as one core takes them all.
        for (index, server) in servers.iter().enumerate() {
            assert_eq!(
                &*server.receive().await.unwrap().unwrap(),
                &[u8::try_from(index % 251).unwrap()]
            );
        }
    });
}

#[test]
fn out_of_descriptors_is_waited_out() {
    alone("network::out_of_descriptors_is_waited_out", || {
        run(options(), || async {
            let listener = Listener::bind(loopback()).unwrap();
            let clients: Vec<_> = (0..10)
                .map(|_| TcpStream::connect(listener.local_address()).unwrap())
                .collect();
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
            let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            let limit = |current| {
                let limits = rustix::process::Rlimit { current, ..before };
                rustix::process::setrlimit(rustix::process::Resource::Nofile, limits).unwrap();
            };
            limit(Some(open + 3));
            let mut servers = vec![listener.accept().await.unwrap()];
            while pigeon_engine::counters().accept_pauses == 0 {
                servers.push(listener.accept().await.unwrap());
                runtime::yield_now().await;
            }
            assert!(servers.len() < 10);
            limit(before.current);
            while servers.len() < 10 {
                servers.push(listener.accept().await.unwrap());
            }
            drop(clients);
        });
    });
}

#[test]
fn a_reset_is_an_error() {
    run(options(), || async {
        let listener = Listener::bind(loopback()).unwrap();
        let client = TcpStream::connect(listener.local_address()).unwrap();
        let server = listener.accept().await.unwrap();
        let waiting = runtime::spawn(async move { server.receive().await.map(|_| ()) });
        runtime::yield_now().await;
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn whatever_is_dropped_is_closed() {
    run(options(), || async {
        let listener = Listener::bind(loopback()).unwrap();
        for how in 0..4 {
            let mut client = TcpStream::connect(listener.local_address()).unwrap();
            let server = listener.accept().await.unwrap();
            match how {
                0 => drop(server),
                1 => {
                    let task = runtime::spawn(async move { server.receive().await.map(|_| ()) });
                    runtime::yield_now().await;
                    task.cancel();
                }
                2 => drop(server.detach().await.unwrap()),
                _ => server.close().await,
            }
            // On a thread that may block.
            let pool = pigeon_engine::blocking::BlockingPool::new("test", 1, 1, None);
            assert_eq!(pool.run(move || client.read(&mut [0; 8]).unwrap()).await, Ok(0));
        }
        let address = listener.local_address();
        drop(listener);
        while TcpStream::connect(address).is_ok() {
            runtime::yield_now().await;
        }
    });
}
