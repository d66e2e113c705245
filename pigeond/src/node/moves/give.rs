//! The end that gives: a session of the node that takes, beside the account that it is about.

use super::end_sessions;
use pigeon_datatree_cache::AccountUuid;
use pigeon_engine::stream::Stream;
use pigeon_proto::transfer::{Frame, FrameReader, Item, PIECE_BYTES_MAX, State};
use pigeon_store::{Account, Counterpart, MailboxId, MoveId, Standing, StoreError, Uid};
use std::io;
use std::time::Duration;

/// For the taker's next word: it may be busy writing what it has.
const WAIT: Duration = Duration::from_secs(120);

/// A session of a move.
pub(super) struct Giving {
    pub(super) stream: Stream,
    pub(super) account: Account,
    /// The node that asks, as it has proven.
    pub(super) taker: String,
    /// For the log: its DN where control data has it, else its id.
    pub(super) name: String,
}

impl Giving {
    /// Until the taker has what it wants, or goes away.
    pub(super) async fn run(mut self) {
        match self.serve().await {
            Ok(()) => self.stream.close().await,
            Err(error) => tracing::warn!(account = self.name, taker = self.taker, %error, "a move broke off"),
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        let mut reader = FrameReader::new();
        loop {
            self.stream.set_deadline(Some(pigeon_engine::now() + WAIT));
            let Some(chunk) = self.stream.receive().await? else {
                return Ok(());
            };
            let bytes = chunk.to_vec();
            drop(chunk);
            let mut input = &bytes[..];
            while let Some(frame) = reader.take(&mut input) {
                let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                self.answer(frame).await?;
            }
        }
    }

    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.stream.set_deadline(Some(pigeon_engine::now() + WAIT));
        self.stream.send(frame.to_bytes().into()).await
    }

    async fn answer(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::Ask => {
                let standing = said(&self.account);
                self.send(&standing).await
            }
            Frame::SendImage => self.image().await,
            Frame::SendBody(item) => self.body(item).await,
            Frame::HandOver { id, place } => self.hand_over(id, place).await,
            Frame::Taken(id) => {
                let result = self.account.let_go(MoveId(id)).await;
                if result.is_ok() {
                    tracing::info!(account = self.name, taker = self.taker, "moved: the copy here is gone");
                }
                self.done(result).await
            }
            Frame::Declined => {
                let result = match handed_to(&self.account).is_none_or(|node| node == self.taker) {
                    true => self.account.take_back().await,
                    false => Err(StoreError::BadName("it was handed over to another node")),
                };
                tracing::warn!(
                    account = self.name,
                    taker = self.taker,
                    "the hand-over was declined: the account stays"
                );
                self.done(result).await
            }
            Frame::Abandon => {
                super::stop(AccountUuid(self.account.id().0));
                let result = self.account.abandon().await;
                self.done(result).await
            }
            Frame::Standing { .. }
            | Frame::Image(_)
            | Frame::ImageEnd
            | Frame::Body(..)
            | Frame::Piece(_)
            | Frame::Gone(_)
            | Frame::Done
            | Frame::Refused(_) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer where a question was due",
            )),
        }
    }

    async fn done(&mut self, result: Result<(), StoreError>) -> io::Result<()> {
        match result {
            Ok(()) => self.send(&Frame::Done).await,
            Err(error) => self.send(&Frame::Refused(error.to_string())).await,
        }
    }

    async fn hand_over(&mut self, id: [u8; 16], place: String) -> io::Result<()> {
        let node = place.split('/').next().unwrap_or_default();
        if node != self.taker {
            return self
                .send(&Frame::Refused("a node takes for itself alone".to_owned()))
                .await;
        }
        if super::stays(AccountUuid(self.account.id().0)) {
            return self
                .send(&Frame::Refused("control data says that it stays".to_owned()))
                .await;
        }
        let to = Counterpart { id: MoveId(id), place };
        let result = self.account.hand_over(&to).await;
        if result.is_ok() {
            // They come again, and are sent to where the account is then.
            let sessions = end_sessions(AccountUuid(self.account.id().0));
            tracing::info!(account = self.name, taker = self.taker, sessions, "handing over");
        }
        self.done(result).await
    }

    async fn image(&mut self) -> io::Result<()> {
        if matches!(self.account.standing(), Standing::Incoming(_) | Standing::Moved(_)) {
            return self.send(&Frame::Refused("the account is not here".to_owned())).await;
        }
        let image = self.account.image();
        for piece in image.chunks(PIECE_BYTES_MAX) {
            self.send(&Frame::Image(piece.to_vec())).await?;
        }
        self.send(&Frame::ImageEnd).await
    }

    async fn body(&mut self, item: Item) -> io::Result<()> {
        let opened = self
            .account
            .open_by_number(MailboxId(item.mailbox), Uid(item.uid))
            .await;
        let reader = match opened {
            Ok(reader) => reader,
            Err(StoreError::MessageGone | StoreError::NoSuchMailbox) => return self.send(&Frame::Gone(item)).await,
            Err(error) => return self.send(&Frame::Refused(error.to_string())).await,
        };
        let size = reader.info().size;
        self.send(&Frame::Body(item, size)).await?;
        let mut offset = 0;
        while offset < size {
            let piece = reader.read(offset, PIECE_BYTES_MAX).await.map_err(io::Error::other)?;
            if piece.is_empty() {
                return Err(io::Error::other("a body shorter than it says"));
            }
            offset += piece.len() as u64;
            self.send(&Frame::Piece(piece.to_vec())).await?;
        }
        Ok(())
    }
}

/// The node to which it is handed over.
fn handed_to(account: &Account) -> Option<String> {
    match account.standing() {
        Standing::HandingOver(to) => to.place.split('/').next().map(str::to_owned),
        _ => None,
    }
}

/// How an account stands here.
pub(super) fn said(account: &Account) -> Frame {
    let standing = account.standing();
    let state = match &standing {
        Standing::Here if account.is_unused() => State::Unused,
        Standing::Here => State::Here,
        Standing::Arrived(_) => State::Arrived,
        Standing::Incoming(_) => State::Incoming,
        Standing::HandingOver(_) => State::HandingOver,
        Standing::Moved(_) => State::Moved,
    };
    let other = standing.counterpart().cloned().unwrap_or_default();
    Frame::Standing {
        state,
        id: other.id.0,
        place: other.place,
    }
}
