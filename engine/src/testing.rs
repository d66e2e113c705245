//! A stream in memory and a way to talk to a protocol driver over it, for the tests of every crate: no socket, no clock,
//! no executor, so that a transcript runs at every cut in microseconds. Nothing of the node uses it.
//!
//! ```
//! # use pigeon_engine::{byte_stream::ByteStream, testing::{Dialogue, same_for_all_cuts}};
//! async fn echo<S: ByteStream>(mut stream: S) {
//!     while let Ok(Some(chunk)) = stream.receive().await {
//!         let data = chunk.to_vec();
//!         drop(chunk);
//!         stream.send(data.into()).await.unwrap();
//!     }
//! }
//! let output = same_for_all_cuts(b"hello", |pieces| {
//!     let mut dialogue = Dialogue::start(echo);
//!     pieces.iter().for_each(|piece| dialogue.send(piece));
//!     dialogue.take_output()
//! });
//! assert_eq!(output, b"hello");
//! ```

use crate::byte_stream::ByteStream;
use crate::stream::TlsInfo;
use crate::tls::TlsAcceptor;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// The driver's end of a connection that exists in memory only.
pub struct MemoryStream {
    wire: Rc<RefCell<Wire>>,
    put_back: Vec<u8>,
}

/// The client's end; `Dialogue` holds one.
#[derive(Clone)]
pub struct MemoryPeer {
    wire: Rc<RefCell<Wire>>,
}

struct Wire {
    to_driver: VecDeque<Vec<u8>>,
    client_ended: bool,
    timed_out: bool,
    reset: bool,
    waker: Option<Waker>,
    from_driver: Vec<u8>,
    driver_closed: bool,
    timeout: Option<Duration>,
    tls: Option<TlsInfo>,
    peer_address: SocketAddr,
    local_address: SocketAddr,
}

/// Both ends of a new plaintext connection from 127.0.0.1.
pub fn memory_stream() -> (MemoryStream, MemoryPeer) {
    let wire = Rc::new(RefCell::new(Wire {
        to_driver: VecDeque::new(),
        client_ended: false,
        timed_out: false,
        reset: false,
        waker: None,
        from_driver: Vec::new(),
        driver_closed: false,
        timeout: None,
        tls: None,
        peer_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
        local_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 2000)),
    }));
    (
        MemoryStream {
            wire: wire.clone(),
            put_back: Vec::new(),
        },
        MemoryPeer { wire },
    )
}

fn memory_tls() -> TlsInfo {
    TlsInfo {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
        server_name: None,
    }
}

impl MemoryStream {
    /// The same, as if TLS had been agreed on before (implicit TLS).
    pub fn with_tls(self) -> MemoryStream {
        self.wire.borrow_mut().tls = Some(memory_tls());
        self
    }

    /// The same, with the client at `address`.
    pub fn from_peer(self, address: SocketAddr) -> MemoryStream {
        self.wire.borrow_mut().peer_address = address;
        self
    }

    /// What came in and was not received yet, as the next owner of the stream would see it.
    pub fn unread(&self) -> Vec<u8> {
        let mut unread = self.put_back.clone();
        self.wire
            .borrow()
            .to_driver
            .iter()
            .for_each(|piece| unread.extend_from_slice(piece));
        unread
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().driver_closed = true;
    }
}

impl ByteStream for MemoryStream {
    type Chunk = Vec<u8>;

    async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        if !self.put_back.is_empty() {
            return Ok(Some(std::mem::take(&mut self.put_back)));
        }
        std::future::poll_fn(|context| {
            let mut wire = self.wire.borrow_mut();
            if wire.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if let Some(piece) = wire.to_driver.pop_front() {
                return Poll::Ready(Ok(Some(piece)));
            }
            if wire.timed_out {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if wire.client_ended {
                return Poll::Ready(Ok(None));
            }
            wire.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    async fn send(&mut self, data: Bytes) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        if wire.reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        wire.from_driver.extend_from_slice(&data);
        Ok(())
    }

    async fn send_last(mut self, data: Bytes) -> io::Result<()> {
        self.send(data).await
    }

    fn put_back(&mut self, bytes: &[u8]) {
        self.put_back.splice(0..0, bytes.iter().copied());
    }

    fn set_deadline(&self, deadline: Option<Instant>) {
        self.set_timeout(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())));
    }

    fn set_timeout(&self, after: Option<Duration>) {
        self.wire.borrow_mut().timeout = after;
    }

    async fn start_tls(self, _: &TlsAcceptor) -> io::Result<MemoryStream> {
        if !self.unread().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bytes received ahead of the TLS handshake",
            ));
        }
        Ok(self.with_tls())
    }

    /// The handshake takes no bytes here.
    async fn accept_tls(self, _: &TlsAcceptor) -> io::Result<MemoryStream> {
        Ok(self.with_tls())
    }

    fn tls(&self) -> Option<TlsInfo> {
        self.wire.borrow().tls.clone()
    }

    fn peer_address(&self) -> SocketAddr {
        self.wire.borrow().peer_address
    }

    fn local_address(&self) -> SocketAddr {
        self.wire.borrow().local_address
    }

    fn set_addresses(&mut self, peer: SocketAddr, local: SocketAddr) {
        let mut wire = self.wire.borrow_mut();
        (wire.peer_address, wire.local_address) = (peer, local);
    }

    async fn close(self) {}
}

impl MemoryPeer {
    /// Sends `bytes` to the driver as one piece.
    pub fn send(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.change(|wire| wire.to_driver.push_back(bytes.to_vec()));
        }
    }

    /// The client's orderly end, behind what it sent.
    pub fn end(&self) {
        self.change(|wire| wire.client_ended = true);
    }

    /// The connection breaks: what was under way is lost.
    pub fn reset(&self) {
        self.change(|wire| wire.reset = true);
    }

    /// The driver's deadline passes.
    pub fn time_out(&self) {
        self.change(|wire| wire.timed_out = true);
    }

    /// What the driver sent since the last call.
    pub fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.wire.borrow_mut().from_driver)
    }

    /// Whether the driver has closed or dropped its end.
    pub fn is_closed(&self) -> bool {
        self.wire.borrow().driver_closed
    }

    /// The time-out that the driver set last.
    pub fn timeout(&self) -> Option<Duration> {
        self.wire.borrow().timeout
    }

    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let waker = {
            let mut wire = self.wire.borrow_mut();
            change(&mut wire);
            wire.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A driver under test and its client: each call lets the driver run until it waits for something.
pub struct Dialogue<T = ()> {
    /// The client's end.
    pub peer: MemoryPeer,
    driver: Option<Pin<Box<dyn Future<Output = T>>>>,
    woken: Arc<Woken>,
    output: Option<T>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl<T> Dialogue<T> {
    /// Makes the driver over a new plaintext connection and runs it until it waits.
    pub fn start<F: Future<Output = T> + 'static>(driver: impl FnOnce(MemoryStream) -> F) -> Dialogue<T> {
        let (stream, peer) = memory_stream();
        let mut dialogue = Dialogue {
            peer,
            driver: Some(Box::pin(driver(stream))),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            output: None,
        };
        dialogue.run();
        dialogue
    }

    /// Polls the driver for as long as it is woken. For drivers whose wake-ups all come from this thread.
    pub fn run(&mut self) {
        let waker = Waker::from(self.woken.clone());
        while self.woken.0.swap(false, Ordering::AcqRel) {
            let Some(driver) = &mut self.driver else { return };
            if let Poll::Ready(output) = driver.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.driver = None;
                self.output = Some(output);
            }
        }
    }

    /// Sends `bytes` as one piece and runs.
    pub fn send(&mut self, bytes: &[u8]) {
        self.peer.send(bytes);
        self.run();
    }

    /// The client's orderly end, then runs.
    pub fn end(&mut self) {
        self.peer.end();
        self.run();
    }

    /// The driver's deadline passes, then runs.
    pub fn time_out(&mut self) {
        self.peer.time_out();
        self.run();
    }

    /// What the driver sent since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.peer.take_output()
    }

    /// As `take_output`, as text.
    pub fn take_text(&mut self) -> String {
        String::from_utf8_lossy(&self.take_output()).into_owned()
    }

    /// What the driver returned; `None` while it goes on.
    pub fn output(&mut self) -> Option<T> {
        self.output.take()
    }

    /// Whether the driver has returned.
    pub fn has_ended(&self) -> bool {
        self.driver.is_none()
    }
}

/// Runs one dialogue with `input` whole, cut in two at every place, and byte by byte; `run` gets the pieces and returns
/// what came back. Panics when that differs; returns it else.
pub fn same_for_all_cuts(input: &[u8], mut run: impl FnMut(&[&[u8]]) -> Vec<u8>) -> Vec<u8> {
    let whole = run(&[input]);
    let mut check = |pieces: &[&[u8]], how: &str| {
        let output = run(pieces);
        assert!(
            output == whole,
            "{how} gives another result\n--- whole\n{}\n--- cut\n{}",
            String::from_utf8_lossy(&whole),
            String::from_utf8_lossy(&output)
        );
    };
    for cut in 1..input.len() {
        check(&[&input[..cut], &input[cut..]], &format!("cut at {cut}"));
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    check(&bytes, "byte by byte");
    whole
}
