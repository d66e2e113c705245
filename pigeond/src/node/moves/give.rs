//! The end that gives: a session of the node that takes, beside the account that it is about.
//!
//! Any node may ask how the account stands. It is given to the node that control data wants it on, or that it is being handed over to;
//! what is said of a move counts from the other end of that very move.

use super::{end_sessions, node_of, own};
use crate::node::core::node;
use pigeon_datatree_cache::{AccountUuid, Owner};
use pigeon_delivery::Place;
use pigeon_engine::on_core;
use pigeon_engine::stream::Stream;
use pigeon_proto::transfer::{Frame, FrameReader, Item, PIECE_BYTES_MAX, State};
use pigeon_store::{Account, AccountId, Counterpart, MailboxId, MoveId, Standing, StoreError, Uid};
use std::io;
use std::time::Duration;

/// For the taker's next word: it may be busy writing what it has.
const WAIT: Duration = Duration::from_secs(120);

/// What is refused to a node that asks for more than how the account stands.
const NOT_YOURS: &str = "it is not to go there, as this node knows it";

/// A session of a move.
pub(super) struct Giving {
    pub(super) stream: Stream,
    pub(super) account: Account,
    pub(super) place: Place,
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
            Frame::Ask(about) => {
                let standing = said(&self.account, self.place, MoveId(about), self.is_wanted_there()).await;
                self.send(&standing).await
            }
            Frame::SendImage | Frame::SendBody(_) if !self.may_read() => self.refuse(NOT_YOURS).await,
            Frame::SendImage => self.image().await,
            Frame::SendBody(item) => self.body(item).await,
            Frame::HandOver { id, place } => self.hand_over(id, place).await,
            Frame::Taken(id) if self.is_with_taker() => {
                let result = self.account.let_go(MoveId(id)).await;
                if result.is_ok() {
                    tracing::info!(account = self.name, taker = self.taker, "moved: the copy here is gone");
                }
                self.done(result).await
            }
            Frame::Declined(id) if self.is_with_taker() => {
                let result = self.account.take_back(MoveId(id)).await;
                tracing::warn!(
                    account = self.name,
                    taker = self.taker,
                    done = result.is_ok(),
                    "the hand-over was declined: the account stays"
                );
                self.done(result).await
            }
            Frame::Abandon(id) => {
                let standing = self.account.standing();
                let is_of_another =
                    standing.counterpart().is_some_and(|other| other.id == MoveId(id)) && !self.is_with_taker();
                match is_of_another {
                    true => self.refuse(NOT_YOURS).await,
                    false => {
                        let result = abandon(&self.account, self.place, MoveId(id)).await;
                        self.done(result).await
                    }
                }
            }
            Frame::StandAside { before, id, place } => self.stand_aside(MoveId(before), MoveId(id), place).await,
            Frame::Taken(_) | Frame::Declined(_) => self.refuse(NOT_YOURS).await,
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

    async fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.send(&Frame::Refused(why.to_owned())).await
    }

    /// Whether the other end of what the account stands in is who asks.
    fn is_with_taker(&self) -> bool {
        let standing = self.account.standing();
        standing
            .counterpart()
            .is_some_and(|other| node_of(&other.place) == self.taker)
    }

    /// Whether control data wants the account there; without any, whoever has proven itself is believed.
    fn is_wanted_there(&self) -> bool {
        let Some(record) = own(AccountUuid(self.account.id().0)) else {
            return true;
        };
        let Some(node) = node() else { return false };
        match node.copy.snapshot().owner_of(&record, super::this_node().as_deref()) {
            Owner::Node(server) => server.name() == self.taker,
            Owner::Here | Owner::Nowhere(_) => false,
        }
    }

    fn may_read(&self) -> bool {
        matches!(self.account.standing(), Standing::HandingOver(_)) && self.is_with_taker() || self.is_wanted_there()
    }

    async fn hand_over(&mut self, id: [u8; 16], place: String) -> io::Result<()> {
        if node_of(&place) != self.taker {
            return self.refuse("a node takes for itself alone").await;
        }
        if !self.is_wanted_there() {
            return self.refuse(NOT_YOURS).await;
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

    async fn stand_aside(&mut self, before: MoveId, id: MoveId, place: String) -> io::Result<()> {
        if node_of(&place) != self.taker {
            return self.refuse("a node takes for itself alone").await;
        }
        if !self.is_wanted_there() {
            return self.refuse(NOT_YOURS).await;
        }
        let result = stand_aside(&self.account, self.place, before, &Counterpart { id, place }).await;
        self.done(result).await
    }

    async fn image(&mut self) -> io::Result<()> {
        let standing = self.account.standing();
        if !standing.is_here() && !matches!(standing, Standing::HandingOver(_)) {
            return self.refuse("the account is not here").await;
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

/// The account will not come here by this move, durably so; what is under way of it here ends.
pub(super) async fn abandon(account: &Account, place: Place, id: MoveId) -> Result<(), StoreError> {
    let uuid = AccountUuid(account.id().0);
    if matches!(account.standing(), Standing::Incoming(from) if from.id == id) {
        super::stop(uuid, place.volume);
    }
    let result = account.abandon(id).await;
    // What was stopped may have got further than that, or be wanted again.
    if let Some(record) = own(uuid) {
        super::act(&record, account, place);
    }
    result
}

/// Nothing of the account is here, and nothing begins here: what is under way of it here ends.
pub(super) async fn stand_aside(
    account: &Account,
    place: Place,
    before: MoveId,
    to: &Counterpart,
) -> Result<(), StoreError> {
    let uuid = AccountUuid(account.id().0);
    let may_be = match account.standing() {
        Standing::Here => account.is_unused(),
        Standing::Incoming(now) | Standing::GivenUp(now) => now.id == before,
        Standing::Arrived(_) | Standing::HandingOver(_) | Standing::Moved(_) => false,
    };
    if may_be {
        // What it has found out so far does not count any more when the account stands otherwise.
        super::stop(uuid, place.volume);
    }
    let result = account.stand_aside(before, to).await;
    if result.is_ok() {
        // They come again, and are sent to where it begins.
        end_sessions(uuid);
    }
    // What was stopped goes on, or it is wanted here by now.
    if let Some(record) = own(uuid) {
        super::act(&record, account, place);
    }
    result
}

/// How an account stands in this volume, and whether it came by a move.
pub(super) async fn said(account: &Account, place: Place, about: MoveId, agrees: bool) -> Frame {
    let standing = account.standing();
    if matches!(&standing, Standing::Incoming(from) if from.id == about) {
        super::asked(AccountUuid(account.id().0), place);
    }
    let state = match &standing {
        Standing::Here if account.is_unused() => State::Unused,
        Standing::Here => State::Here,
        Standing::Arrived(_) => State::Arrived,
        Standing::Incoming(_) => State::Incoming,
        Standing::HandingOver(_) => State::HandingOver,
        Standing::Moved(_) => State::Moved,
        Standing::GivenUp(_) => State::GivenUp,
    };
    let other = standing.counterpart().cloned().unwrap_or_default();
    let (mut state, mut place_said) = (state, other.place);
    // Who asks may not know its volume: then it is said which of the others has something of it.
    if state == State::Unused {
        let record = own(AccountUuid(account.id().0));
        if let Some(volume) = Box::pin(other_volumes(account.id(), place)).await.into_iter().next() {
            (state, place_said) = (State::Incoming, volume);
        } else if record.is_none_or(|record| super::is_owner(&record)) {
            // In whichever of its volumes. Without a record it serves whatever is sent to it.
            state = State::Awaited;
        }
    }
    Frame::Standing {
        state,
        taken: account.has_taken(about),
        agrees,
        id: other.id.0,
        place: place_said,
    }
}

/// Other volumes of this node in which something of the account is, as control data names them.
pub(super) async fn other_volumes(id: AccountId, place: Place) -> Vec<String> {
    let mut found = Vec::new();
    let Some(node) = node() else { return found };
    let this = super::this_node().unwrap_or_else(|| "local".to_owned());
    let Some(table) = node.shared.table.get() else {
        return found;
    };
    for (index, seat) in table
        .seats()
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != place.volume)
    {
        let knows = on_core(seat.core, move || async move {
            pigeon_delivery::volume(index).is_some_and(|volume| volume.knows(id))
        });
        if knows.await.unwrap_or(false) {
            found.push(format!("{this}/{}", seat.name));
        }
    }
    found
}
