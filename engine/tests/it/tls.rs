//! Streams over loopback, in plaintext and under TLS, against a blocking rustls client on a thread of its own.

use crate::{options, run};
use pigeon_engine::bytes::Bytes;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::runtime::{self, CoreId};
use pigeon_engine::stream::{RelayEnd, Stream, relay};
use pigeon_engine::tls::{PemIdentity, TlsAcceptor};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const NAME: &str = "mail.example.org";

fn identity() -> PemIdentity {
    let certified = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    PemIdentity {
        certificate_chain: certified.cert.pem().into_bytes(),
        private_key: certified.signing_key.serialize_pem().into_bytes(),
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The client's end of a TLS connection whose handshake has not begun.
fn tls_client(identity: &PemIdentity, socket: TcpStream) -> Tls {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&identity.certificate_chain).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

/// Serves one connection with `serve` on core 0 while `client` talks to it from another thread. Gives what both gave.
fn talk<S, F, T, U>(serve: S, client: impl FnOnce(PemIdentity, TcpStream) -> U + Send + 'static) -> (T, U)
where
    S: Fn(Stream, TlsAcceptor) -> F + Clone + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
    U: Send + 'static,
{
    let identity = identity();
    let acceptor = TlsAcceptor::new(std::slice::from_ref(&identity)).unwrap();
    let (tell, address) = mpsc::channel::<SocketAddr>();
    let thread = std::thread::spawn(move || {
        let socket = TcpStream::connect(address.recv().unwrap()).unwrap();
        client(identity, socket)
    });
    let served = run(options(), move || {
        let (serve, acceptor, tell) = (serve.clone(), acceptor.clone(), tell.clone());
        async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            tell.send(listener.local_address()).unwrap();
            serve(Stream::plain(listener.accept().await.unwrap()), acceptor).await
        }
    });
    (served, thread.join().unwrap())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 253) as u8).collect()
}

/// Sends back what comes, until the peer's end; then ends too.
async fn echo(mut stream: Stream) -> io::Result<usize> {
    let mut total = 0;
    while let Some(chunk) = stream.receive().await? {
        let data = Bytes::copy_from_slice(&chunk);
        drop(chunk);
        total += data.len();
        stream.send(data).await?;
    }
    stream.close().await;
    Ok(total)
}

#[test]
fn megabytes_come_back_and_both_ends_say_goodbye() {
    let data = pattern(3 << 20);
    let sent = data.clone();
    let (served, received) = talk(
        |stream, acceptor| async move {
            let stream = stream.accept_tls(&acceptor).await.unwrap();
            let tls = stream.tls().unwrap();
            assert_eq!(
                (tls.version.as_str(), tls.server_name.as_deref()),
                ("TLSv1.3", Some(NAME))
            );
            assert!(tls.cipher.starts_with("TLS_AES_"), "{}", tls.cipher);
            echo(stream).await
        },
        move |identity, socket| {
            let mut tls = tls_client(&identity, socket);
            let mut received = Vec::new();
            for piece in sent.chunks(100_000) {
                tls.write_all(piece).unwrap();
                let mut back = vec![0; piece.len()];
                tls.read_exact(&mut back).unwrap();
                received.extend(back);
            }
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            // An end with close_notify reads as an end, one without as an error.
            let mut rest = Vec::new();
            tls.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
            received
        },
    );
    assert_eq!(served.unwrap(), data.len());
    assert!(received == data);
}

/// The client under TLS, the other side in plaintext, both with much to say.
#[test]
fn a_relay_seals_one_side_and_not_the_other() {
    const LENGTH: usize = 3 << 20;
    let ((forward, backward, is_first), ()) = talk(
        |stream, acceptor| async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let deadline = runtime::now() + Duration::from_secs(30);
            let connecting = Connection::connect(listener.local_address(), deadline).await.unwrap();
            let backend = listener.accept().await.unwrap();
            let echoing = runtime::spawn(async move { echo(Stream::plain(backend)).await.unwrap() });
            let mut first = stream.accept_tls(&acceptor).await.unwrap();
            let mut second = Stream::plain(connecting);
            let relayed = relay(&mut first, &mut second, Duration::from_secs(60)).await;
            second.close().await;
            assert_eq!(echoing.await, Some(LENGTH));
            first.close().await;
            let is_first = matches!(relayed.end, RelayEnd::First);
            (relayed.forward, relayed.backward, is_first)
        },
        |identity, socket| {
            let mut tls = tls_client(&identity, socket);
            for piece in pattern(LENGTH).chunks(100_000) {
                tls.write_all(piece).unwrap();
                let mut back = vec![0; piece.len()];
                tls.read_exact(&mut back).unwrap();
                assert!(back == piece);
            }
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            let mut rest = Vec::new();
            tls.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
        },
    );
    assert_eq!((forward, backward, is_first), (LENGTH as u64, LENGTH as u64, true));
}

/// A client that has said its goodbye, and still wants the answer to what it said before.
#[test]
fn a_relay_answers_after_a_close_notify() {
    const LENGTH: usize = 1 << 20;
    let (is_first, ()) = talk(
        |stream, acceptor| async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let deadline = runtime::now() + Duration::from_secs(30);
            let connecting = Connection::connect(listener.local_address(), deadline).await.unwrap();
            let backend = listener.accept().await.unwrap();
            let answering = runtime::spawn(async move {
                while backend.receive().await.unwrap().is_some() {}
                backend.send_last(Bytes::from(pattern(LENGTH))).await.unwrap();
            });
            let mut first = stream.accept_tls(&acceptor).await.unwrap();
            let mut second = Stream::plain(connecting);
            let relayed = relay(&mut first, &mut second, Duration::from_secs(60)).await;
            first.close().await;
            answering.await;
            assert_eq!((relayed.forward, relayed.backward), (7, LENGTH as u64));
            matches!(relayed.end, RelayEnd::First)
        },
        |identity, socket| {
            let mut tls = tls_client(&identity, socket);
            tls.write_all(b"a FETCH").unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            // Our own side of the connection below as well.
            tls.sock.shutdown(Shutdown::Write).unwrap();
            let mut said = Vec::new();
            tls.read_to_end(&mut said).unwrap();
            assert!(said == pattern(LENGTH));
        },
    );
    assert!(is_first);
}

#[test]
fn tls_starts_within_a_plaintext_dialogue() {
    let (served, ()) = talk(
        |mut stream, acceptor| async move {
            let command = stream.receive().await.unwrap().unwrap().to_vec();
            assert_eq!(command, b"STARTTLS\r\n");
            stream.send(Bytes::from_static(b"220 go\r\n")).await.unwrap();
            echo(stream.start_tls(&acceptor).await.unwrap()).await
        },
        |identity, mut socket| {
            socket.write_all(b"STARTTLS\r\n").unwrap();
            let mut reply = [0; 8];
            socket.read_exact(&mut reply).unwrap();
            let mut tls = tls_client(&identity, socket);
            tls.write_all(b"EHLO client\r\n").unwrap();
            let mut back = [0; 13];
            tls.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"EHLO client\r\n");
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            tls.read_to_end(&mut Vec::new()).unwrap();
        },
    );
    assert_eq!(served.unwrap(), 13);
}

#[test]
fn plaintext_behind_the_command_that_starts_tls_is_refused() {
    let (error, read) = talk(
        |mut stream, acceptor| async move {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"evil\r\n") {
                bytes.extend_from_slice(&stream.receive().await.unwrap().unwrap());
            }
            stream.put_back(&bytes["STARTTLS\r\n".len()..]);
            stream.start_tls(&acceptor).await.err().map(|error| error.kind())
        },
        |_, mut socket| {
            socket.write_all(b"STARTTLS\r\nRCPT TO:evil\r\n").unwrap();
            // The stream is closed: nothing comes but the end, or a reset.
            let mut reply = Vec::new();
            let _ = socket.read_to_end(&mut reply);
            reply
        },
    );
    assert_eq!((error, read), (Some(ErrorKind::InvalidData), Vec::new()));
}

#[test]
fn a_hello_behind_a_proxy_header_is_the_beginning_of_tls() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 993\r\n";
    let (served, ()) = talk(
        |mut stream, acceptor| async move {
            let mut bytes = Vec::new();
            while bytes.len() <= HEADER.len() {
                bytes.extend_from_slice(&stream.receive().await.unwrap().unwrap());
            }
            stream.put_back(&bytes[HEADER.len()..]);
            let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:993".parse().unwrap());
            stream.set_addresses(peer, local);
            let stream = stream.accept_tls(&acceptor).await.unwrap();
            assert_eq!((stream.peer_address(), stream.local_address()), (peer, local));
            echo(stream).await
        },
        |identity, mut socket| {
            let mut hello = HEADER.to_vec();
            let mut tls = tls_client(&identity, socket.try_clone().unwrap());
            tls.conn.write_tls(&mut hello).unwrap();
            socket.write_all(&hello).unwrap();
            tls.write_all(b"NOOP\r\n").unwrap();
            tls.read_exact(&mut [0; 6]).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            tls.read_to_end(&mut Vec::new()).unwrap();
        },
    );
    assert_eq!(served.unwrap(), 6);
}

#[test]
fn an_end_without_goodbye_is_told_from_one_with() {
    let (served, ()) = talk(
        |stream, acceptor| async move { echo(stream.accept_tls(&acceptor).await.unwrap()).await },
        |identity, socket| {
            let mut tls = tls_client(&identity, socket);
            tls.write_all(b"DATA").unwrap();
            tls.read_exact(&mut [0; 4]).unwrap();
            tls.sock.shutdown(Shutdown::Both).unwrap();
        },
    );
    assert_eq!(served.err().map(|error| error.kind()), Some(ErrorKind::UnexpectedEof));
}

#[test]
fn what_is_not_tls_gets_an_alert() {
    let (error, reply) = talk(
        |stream, acceptor| async move { stream.accept_tls(&acceptor).await.err().map(|error| error.kind()) },
        |_, mut socket| {
            socket.write_all(b"EHLO client.example.org\r\n").unwrap();
            let mut reply = Vec::new();
            socket.read_to_end(&mut reply).unwrap();
            reply
        },
    );
    assert_eq!(error, Some(ErrorKind::InvalidData));
    assert_eq!(reply.first(), Some(&21), "an alert record: {reply:?}");
}

#[test]
fn a_silent_peer_ends_the_handshake_at_the_deadline() {
    let (error, ()) = talk(
        |stream, acceptor| async move {
            stream.set_deadline(Some(runtime::now() + Duration::from_millis(1)));
            stream.accept_tls(&acceptor).await.err().map(|error| error.kind())
        },
        |_, mut socket| {
            let _ = socket.read_to_end(&mut Vec::new());
        },
    );
    assert_eq!(error, Some(ErrorKind::TimedOut));
}

#[test]
fn a_tls_stream_moves_between_cores_with_bytes_in_flight() {
    let data = pattern(1 << 20);
    let sent = data.clone();
    let (received, ()) = talk(
        |stream, acceptor| async move {
            let mut stream = stream.accept_tls(&acceptor).await.unwrap();
            let mut received = Vec::new();
            let mut core = 0;
            while let Some(chunk) = stream.receive().await.unwrap() {
                // Some of it is put back, so that the stream travels with bytes received ahead.
                let (eaten, left) = chunk.split_at(chunk.len() - chunk.len() / 3);
                received.extend_from_slice(eaten);
                stream.put_back(left);
                drop(chunk);
                core = (core + 1) % runtime::core_count();
                let detached = stream.detach().await.unwrap();
                let (moved, more) = runtime::on_core(CoreId(core), move || async move {
                    let mut stream = detached.attach();
                    let more = stream.receive().await.unwrap().map(|chunk| chunk.to_vec());
                    (stream.detach().await.unwrap(), more)
                })
                .await
                .unwrap();
                stream = moved.attach();
                match more {
                    Some(more) => received.extend(more),
                    None => break,
                }
            }
            stream.close().await;
            received
        },
        move |identity, socket| {
            let mut tls = tls_client(&identity, socket);
            tls.write_all(&sent).unwrap();
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            tls.read_to_end(&mut Vec::new()).unwrap();
        },
    );
    assert!(received == data);
}

#[test]
fn giving_up_on_a_receive_loses_nothing() {
    let data = pattern(200_000);
    let sent = data.clone();
    let (received, ()) = talk(
        |stream, acceptor| async move {
            let mut stream = stream.accept_tls(&acceptor).await.unwrap();
            let mut received = Vec::new();
            loop {
                // Gives up after one turn, again and again, at any point of a record.
                let chunk = polled_once(stream.receive()).await;
                match chunk {
                    None => runtime::yield_now().await,
                    Some(chunk) => match chunk.unwrap() {
                        Some(chunk) => received.extend_from_slice(&chunk),
                        None => break,
                    },
                }
            }
            stream.close().await;
            received
        },
        move |identity, socket| {
            socket.set_nodelay(true).unwrap();
            let mut tls = tls_client(&identity, socket);
            for piece in sent.chunks(777) {
                tls.write_all(piece).unwrap();
            }
            tls.conn.send_close_notify();
            tls.flush().unwrap();
            tls.read_to_end(&mut Vec::new()).unwrap();
        },
    );
    assert!(received == data);
}

/// What `future` gives when it is polled once, or `None`; it is dropped either way.
async fn polled_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
