//! The end that gives, as the end that takes sees it: another node over the private network, or another volume of this one.

use super::{is_this, node_of, seat_of};
use crate::node::core::node;
use bytes::Bytes;
use pigeon_datatree_cache::Account as Record;
use pigeon_delivery::Place;
use pigeon_engine::on_core;
use pigeon_engine::stream::Stream;
use pigeon_proto::transfer::{Frame, FrameReader, Item, State};
use pigeon_store::{Account, AccountId, BodyReader, Counterpart, Import, MailboxId, MoveId, StoreError, Uid, Wanted};
use std::collections::VecDeque;
use std::time::Duration;

/// For an answer of the other node.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Bodies that are asked for before the first of them is read: the way there and back costs little then.
const AHEAD: usize = 32;
/// Longest image that is taken: of more than ten million messages.
const IMAGE_BYTES_MAX: usize = 1 << 30;
/// What is read at once from another volume.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a step failed; for the log.
pub(super) type Why = String;

/// See the module.
pub(super) enum Source {
    Node(Box<NodeSource>),
    Volume(VolumeSource),
}

/// How the account stands there.
pub(super) struct There {
    pub(super) state: State,
    /// Whether it came there by the move that was asked about; `None`: not known any more.
    pub(super) taken: Option<bool>,
    /// Whether it would go here, as control data is known there.
    pub(super) agrees: bool,
    /// The other end, as it stands there.
    pub(super) id: MoveId,
    pub(super) place: String,
}

/// Another node.
pub(super) struct NodeSource {
    stream: Stream,
    reader: FrameReader,
    received: Vec<u8>,
}

/// Another volume of this node.
pub(super) struct VolumeSource {
    pub(super) place: Place,
    pub(super) account: AccountId,
}

impl Source {
    /// Talks to `NODE` or `NODE/VOLUME` about an account.
    pub(super) async fn open(record: &Record, place: &str) -> Result<Source, Why> {
        let node = node().ok_or("the node ends")?;
        let volume = place.split_once('/').map(|(_, volume)| volume);
        if is_this(node_of(place)) {
            let table = node.shared.table.get().ok_or("the volumes are not open yet")?;
            let named = volume.and_then(|volume| seat_of(table, volume));
            let place = named.ok_or_else(|| format!("{place:?} is no volume of this node"))?;
            return Ok(Source::Volume(VolumeSource {
                place,
                account: AccountId(record.id().0),
            }));
        }
        let redirector = node.contexts.redirector.clone().ok_or("this node is alone")?;
        let server = node.copy.snapshot().server(node_of(place)).cloned();
        let server = server.ok_or_else(|| format!("{place:?} is not in the server_map"))?;
        let mut forwarded = vec![("id".to_owned(), record.id().to_string())];
        forwarded.extend(volume.map(|volume| ("volume".to_owned(), volume.to_owned())));
        let session = node.ids.next();
        let stream = redirector
            .open_transfer(record.name(), session, forwarded, &server)
            .await
            .map_err(|why| format!("{place}: {why}"))?;
        Ok(Source::Node(Box::new(NodeSource {
            stream,
            reader: FrameReader::new(),
            received: Vec::new(),
        })))
    }

    /// How the account stands there, and whether it came there by this move.
    pub(super) async fn ask(&mut self, about: MoveId) -> Result<There, Why> {
        let said = match self {
            Source::Node(node) => node.question(&Frame::Ask(about.0)).await?,
            Source::Volume(volume) => {
                let place = volume.place;
                let ask = move |account| async move { Ok(super::give::said(&account, place, about, true).await) };
                volume.with(ask).await?
            }
        };
        match said {
            Frame::Standing {
                state,
                taken,
                agrees,
                id,
                place,
            } => Ok(There {
                state,
                taken,
                agrees,
                id: MoveId(id),
                place,
            }),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) async fn image(&mut self) -> Result<Bytes, Why> {
        match self {
            Source::Node(node) => node.image().await,
            Source::Volume(volume) => volume.with(|account| async move { Ok(account.image()) }).await,
        }
    }

    /// Fetches bodies into the import. A message that is gone is left out: the next image does not have it.
    pub(super) async fn fetch(&mut self, wanted: &[Wanted], import: &mut Import) -> Result<(), Why> {
        match self {
            Source::Node(node) => node.fetch(wanted, import).await,
            Source::Volume(volume) => volume.fetch(wanted, import).await,
        }
    }

    pub(super) async fn hand_over(&mut self, to: Counterpart) -> Result<(), Why> {
        match self {
            Source::Node(node) => {
                let (id, place) = (to.id.0, to.place);
                node.order(&Frame::HandOver { id, place }).await
            }
            Source::Volume(volume) => {
                volume
                    .with(|account| async move {
                        account.hand_over(&to).await?;
                        super::end_sessions(pigeon_datatree_cache::AccountUuid(account.id().0));
                        Ok(())
                    })
                    .await
            }
        }
    }

    pub(super) async fn taken(&mut self, id: MoveId) -> Result<(), Why> {
        match self {
            Source::Node(node) => node.order(&Frame::Taken(id.0)).await,
            Source::Volume(volume) => {
                volume
                    .with(move |account| async move { account.let_go(id).await })
                    .await
            }
        }
    }

    /// The account is not here by this move, and durably never will be.
    pub(super) async fn declined(&mut self, id: MoveId) -> Result<(), Why> {
        match self {
            Source::Node(node) => node.order(&Frame::Declined(id.0)).await,
            Source::Volume(volume) => {
                volume
                    .with(move |account| async move { account.take_back(id).await })
                    .await
            }
        }
    }

    /// It has nothing of the account, as it said; from here on it begins nothing either. Fails where that is not so any more.
    pub(super) async fn stand_aside(&mut self, before: MoveId, to: Counterpart) -> Result<(), Why> {
        match self {
            Source::Node(node) => {
                let (before, id, place) = (before.0, to.id.0, to.place);
                node.order(&Frame::StandAside { before, id, place }).await
            }
            Source::Volume(volume) => {
                let place = volume.place;
                let aside = move |account| async move { super::give::stand_aside(&account, place, before, &to).await };
                volume.with(aside).await
            }
        }
    }

    /// It keeps the account: it will not be there by this move. Fails when it is there by it.
    pub(super) async fn abandon(&mut self, id: MoveId) -> Result<(), Why> {
        match self {
            Source::Node(node) => node.order(&Frame::Abandon(id.0)).await,
            Source::Volume(volume) => {
                let place = volume.place;
                let abandon = move |account| async move { super::give::abandon(&account, place, id).await };
                volume.with(abandon).await
            }
        }
    }
}

fn unexpected(frame: &Frame) -> Why {
    match frame {
        Frame::Refused(why) => format!("it says: {why}"),
        _ => "it answers something else".to_owned(),
    }
}

fn store(error: StoreError) -> Why {
    error.to_string()
}

impl NodeSource {
    async fn send(&mut self, frames: &[Frame]) -> Result<(), Why> {
        let mut out = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.stream.set_deadline(Some(pigeon_engine::now() + ANSWER_TIME));
        self.stream.send(out.into()).await.map_err(|error| error.to_string())
    }

    async fn next(&mut self) -> Result<Frame, Why> {
        loop {
            let mut input = &self.received[..];
            let frame = self.reader.take(&mut input);
            let used = self.received.len() - input.len();
            self.received.drain(..used);
            if let Some(frame) = frame {
                return frame.map_err(|error| error.to_string());
            }
            self.stream.set_deadline(Some(pigeon_engine::now() + ANSWER_TIME));
            match self.stream.receive().await {
                Ok(Some(chunk)) => self.received.extend_from_slice(&chunk),
                Ok(None) => return Err("it closed the connection".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    async fn question(&mut self, frame: &Frame) -> Result<Frame, Why> {
        self.send(std::slice::from_ref(frame)).await?;
        self.next().await
    }

    async fn order(&mut self, frame: &Frame) -> Result<(), Why> {
        match self.question(frame).await? {
            Frame::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn image(&mut self) -> Result<Bytes, Why> {
        self.send(&[Frame::SendImage]).await?;
        let mut image = Vec::new();
        loop {
            match self.next().await? {
                Frame::Image(piece) if image.len() + piece.len() <= IMAGE_BYTES_MAX => image.extend_from_slice(&piece),
                Frame::ImageEnd => return Ok(Bytes::from(image)),
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn fetch(&mut self, wanted: &[Wanted], import: &mut Import) -> Result<(), Why> {
        let mut asked: VecDeque<Wanted> = VecDeque::new();
        let mut rest = wanted.iter().copied();
        loop {
            if asked.len() <= AHEAD / 2 {
                let more: Vec<Wanted> = rest.by_ref().take(AHEAD - asked.len()).collect();
                let frames: Vec<Frame> = more.iter().map(|wanted| Frame::SendBody(item(*wanted))).collect();
                if !frames.is_empty() {
                    self.send(&frames).await?;
                }
                asked.extend(more);
            }
            let Some(wanted) = asked.pop_front() else {
                return Ok(());
            };
            match self.next().await? {
                Frame::Gone(gone) if gone == item(wanted) => {}
                Frame::Body(of, size) if of == item(wanted) => self.body(wanted, size, import).await?,
                other => return Err(unexpected(&other)),
            }
        }
    }

    async fn body(&mut self, wanted: Wanted, size: u64, import: &mut Import) -> Result<(), Why> {
        let mut writer = import.begin_body().await.map_err(store)?;
        while writer.size() < size {
            match self.next().await? {
                Frame::Piece(piece) if writer.size() + piece.len() as u64 <= size && !piece.is_empty() => {
                    writer.write(Bytes::from(piece)).await.map_err(store)?;
                }
                other => return Err(unexpected(&other)),
            }
        }
        let body = writer.finish().await.map_err(store)?;
        import.place(wanted, body).await.map_err(store)
    }
}

fn item(wanted: Wanted) -> Item {
    Item {
        mailbox: wanted.mailbox.0,
        uid: wanted.uid.0,
    }
}

impl VolumeSource {
    /// Runs `work` with the account on the core that owns the other volume.
    async fn with<T, F, W>(&self, work: W) -> Result<T, Why>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + 'static,
        W: FnOnce(Account) -> F + Send + 'static,
    {
        let (id, volume) = (self.account, self.place.volume);
        let worked = on_core(self.place.core, move || async move {
            let volume = pigeon_delivery::volume(volume).ok_or("its volume is not open")?;
            let account = volume.account(id).await.map_err(store)?;
            work(account).await.map_err(store)
        });
        worked.await.map_err(|_| "its core has ended".to_owned())?
    }

    async fn fetch(&mut self, wanted: &[Wanted], import: &mut Import) -> Result<(), Why> {
        for wanted in wanted {
            let size = u64::from(wanted.size);
            let mut writer = import.begin_body().await.map_err(store)?;
            let mut is_gone = false;
            while writer.size() < size {
                let (mailbox, uid, offset) = (wanted.mailbox, wanted.uid, writer.size());
                let read = self.with(move |account| async move { read(&account, mailbox, uid, offset).await });
                match read.await? {
                    Some(pieces) => {
                        for piece in pieces {
                            writer.write(piece).await.map_err(store)?;
                        }
                    }
                    None => {
                        is_gone = true;
                        break;
                    }
                }
            }
            if !is_gone {
                let body = writer.finish().await.map_err(store)?;
                import.place(*wanted, body).await.map_err(store)?;
            }
        }
        Ok(())
    }
}

/// A few pieces from `offset` on; `None`: the message is gone.
async fn read(account: &Account, mailbox: MailboxId, uid: Uid, offset: u64) -> Result<Option<Vec<Bytes>>, StoreError> {
    /// Pieces in one call to the other core.
    const PIECES: usize = 4;
    let reader: BodyReader = match account.open_by_number(mailbox, uid).await {
        Ok(reader) => reader,
        Err(StoreError::MessageGone | StoreError::NoSuchMailbox) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut offset, mut pieces) = (offset, Vec::new());
    while pieces.len() < PIECES {
        let piece = reader.read(offset, PIECE_BYTES).await?;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        pieces.push(piece);
    }
    match pieces.is_empty() {
        true => Err(StoreError::Damaged {
            what: format!("mailbox {mailbox}, UID {uid}: shorter than it should be"),
        }),
        false => Ok(Some(pieces)),
    }
}
