//! One connection to a peer: the pure client, and the stream that it speaks over.

use super::KeysFor;
use bytes::Bytes;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::lmtp_client::{Event, Failure, Greeting, LmtpClient};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// See the module.
pub(super) struct Connection<S> {
    stream: S,
    pub(super) client: LmtpClient,
    /// It has brought a message before.
    pub(super) reused: bool,
    /// It let the time for an answer pass.
    pub(super) hung: bool,
}

impl<S: ByteStream> Connection<S> {
    /// Logs in on a stream that has just been connected.
    pub(super) async fn open(
        stream: S,
        greeting: Greeting,
        keys: &KeysFor,
        patience: Duration,
    ) -> Result<Connection<S>, Failure> {
        let mut connection = Connection {
            stream,
            client: LmtpClient::new(greeting),
            reused: false,
            hung: false,
        };
        connection.stream.set_timeout(Some(patience));
        loop {
            match connection.wait().await {
                Event::Ready => return Ok(connection),
                Event::Keys { salt, iterations } => {
                    let Some(keys) = keys(salt, iterations).await else {
                        return Err(Failure::Unavailable("there are no keys for the login now".to_owned()));
                    };
                    let mut out = Vec::new();
                    connection.client.keys(&keys, &mut out);
                    connection.send(out, patience).await.map_err(broken)?;
                }
                Event::Failed(failure) => return Err(failure),
                Event::Go | Event::Answered => unreachable!("there is no transaction"),
            }
        }
    }

    /// Sends all of `bytes`.
    pub(super) async fn send(&mut self, bytes: Vec<u8>, patience: Duration) -> io::Result<()> {
        self.stream.set_timeout(Some(patience));
        if bytes.is_empty() {
            return Ok(());
        }
        self.stream.send(Bytes::from(bytes)).await
    }

    /// The next event, for which the time last set is waited.
    pub(super) async fn wait(&mut self) -> Event {
        loop {
            let received = self.stream.receive().await;
            let (event, out) = self.take(received);
            if !out.is_empty()
                && let Err(error) = self.stream.send(Bytes::from(out)).await
            {
                return self.broke(error);
            }
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// The next event, if it is there.
    pub(super) async fn look(&mut self) -> Option<Event> {
        loop {
            let received = {
                let mut receive = pin!(self.stream.receive());
                poll_fn(|context| {
                    Poll::Ready(match receive.as_mut().poll(context) {
                        Poll::Ready(received) => Some(received),
                        Poll::Pending => None,
                    })
                })
                .await
            }?;
            let (event, _) = self.take(received);
            if event.is_some() {
                return event;
            }
        }
    }

    /// Whether it can bring another message: nothing has come since the last one, not even its end.
    pub(super) async fn is_fresh(&mut self) -> bool {
        self.stream.set_timeout(None);
        self.client.is_ready() && self.look().await.is_none() && self.client.is_ready()
    }

    /// Ends it, so that the transaction's recipients have their results.
    pub(super) fn broke(&mut self, error: io::Error) -> Event {
        self.client.closed();
        self.hung = error.kind() == io::ErrorKind::TimedOut;
        Event::Failed(broken(error))
    }

    fn take(&mut self, received: io::Result<Option<S::Chunk>>) -> (Option<Event>, Vec<u8>) {
        let mut out = Vec::new();
        let chunk = match received {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                self.client.closed();
                let failure = Failure::Unavailable("it closed the connection".to_owned());
                return (Some(Event::Failed(failure)), out);
            }
            Err(error) => return (Some(self.broke(error)), out),
        };
        let mut input = &chunk[..];
        let event = self.client.take(&mut input, &mut out);
        if !input.is_empty() {
            let rest = input.to_vec();
            drop(chunk);
            self.stream.put_back(&rest);
        }
        (event, out)
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::Unavailable(error.to_string())
}
