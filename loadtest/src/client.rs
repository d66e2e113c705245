//! A connection of a client: lines and literals in, bytes out, a deadline for the unit.

use crate::failure::Failure;
use bytes::Bytes;
use pigeon_engine::net::Connection;
use pigeon_engine::stream::Stream;
use pigeon_engine::tls::TlsConnector;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest line that a server may send.
const LINE_BYTES_MAX: usize = 256 * 1024;

/// How long a server may take to end a connection on which it has said goodbye.
const GOODBYE_WAIT: Duration = Duration::from_millis(250);

/// What a server may say behind its goodbye; who says more is left at once.
const GOODBYE_BYTES_MAX: usize = 64 << 10;

/// So many connections of the process are waited for at once when goodbye was said: beside those of the sessions.
pub(crate) const PARTING_MAX: u64 = 256;

static PARTING: AtomicU64 = AtomicU64::new(0);

/// A connection whose end is waited for.
struct Parting;

impl Parting {
    /// `None`: there are too many.
    fn begin() -> Option<Parting> {
        let one_more = |count| (count < PARTING_MAX).then_some(count + 1);
        PARTING
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Parting)
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        PARTING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    /// Where in the buffer the next byte is.
    at: usize,
}

impl Client {
    /// The deadline holds until the next `set_deadline`.
    pub(crate) async fn connect(target: SocketAddr, deadline: Instant) -> Result<Client, Failure> {
        let connection = Connection::connect(target, deadline)
            .await
            .map_err(|error| match Failure::of(&error) {
                Failure::Timeout => Failure::Timeout,
                _ => Failure::Connect,
            })?;
        let stream = Stream::plain(connection);
        stream.set_deadline(Some(deadline));
        Ok(Client {
            stream,
            buffer: Vec::new(),
            at: 0,
        })
    }

    /// Under TLS from here on.
    pub(crate) async fn secure(self, connector: &TlsConnector) -> Result<Client, Failure> {
        if self.at != self.buffer.len() {
            return Err(Failure::Garbage);
        }
        let stream = self.stream.connect_tls(connector).await;
        let stream = stream.map_err(|error| match Failure::of(&error) {
            Failure::Timeout => Failure::Timeout,
            _ => Failure::Tls,
        })?;
        Ok(Client {
            stream,
            buffer: Vec::new(),
            at: 0,
        })
    }

    /// For all that follows.
    pub(crate) fn set_deadline(&self, timeout: Duration) {
        self.stream.set_deadline(Some(pigeon_engine::now() + timeout));
    }

    /// Waits as long as the server does.
    pub(crate) fn set_patient(&self) {
        self.stream.set_deadline(None);
    }

    /// All of it.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.stream
            .send(bytes.into())
            .await
            .map_err(|error| Failure::of(&error))
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> Result<&[u8], Failure> {
        let mut searched = self.at;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let (start, end) = (self.at, searched + found);
                self.at = end + 1;
                let line = &self.buffer[start..end];
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            if self.buffer.len() - self.at > LINE_BYTES_MAX {
                return Err(Failure::Garbage);
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            searched = self.buffer.len();
            self.more().await?;
        }
    }

    /// The next `count` bytes, given in pieces.
    pub(crate) async fn take(&mut self, mut count: usize, mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
        loop {
            let there = (self.buffer.len() - self.at).min(count);
            piece(&self.buffer[self.at..self.at + there]);
            self.at += there;
            count -= there;
            if count == 0 {
                return Ok(());
            }
            self.buffer.clear();
            self.at = 0;
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Failure> {
        match self.stream.receive().await {
            Ok(Some(chunk)) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Ok(None) => Err(Failure::Closed),
            Err(error) => Err(Failure::of(&error)),
        }
    }

    /// Reads once, and throws it away.
    pub(crate) async fn taste(&mut self) -> Result<(), Failure> {
        self.buffer.clear();
        self.at = 0;
        self.more().await
    }

    /// What comes until the server ends the connection is of no interest.
    pub(crate) async fn until_closed(&mut self) -> Failure {
        loop {
            self.buffer.clear();
            self.at = 0;
            if let Err(failure) = self.more().await {
                return failure;
            }
        }
    }

    /// The server has said goodbye: the end of the connection is its to make, as protocols have it, and costs nothing here. Nobody
    /// waits for it; one that does not come is made from here in order, or by dropping it where already many are waited for.
    pub(crate) fn part(self) {
        let Some(parting) = Parting::begin() else { return };
        drop(pigeon_engine::spawn(async move {
            self.until_ended().await;
            drop(parting);
        }));
    }

    async fn until_ended(mut self) {
        self.set_deadline(GOODBYE_WAIT);
        let mut said = 0;
        while said < GOODBYE_BYTES_MAX {
            match self.stream.receive().await {
                Ok(Some(chunk)) => said += chunk.len(),
                Err(error) if Failure::of(&error) == Failure::Timeout => return self.stream.close().await,
                Ok(None) | Err(_) => return,
            }
        }
    }
}
