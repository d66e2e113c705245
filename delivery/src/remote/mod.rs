//! Mail for accounts of another node: by LMTP over connections that are kept and reused, answered when that node has it.
//!
//! One [`Peers`] belongs to one core. The message goes on while it comes in: memory is bounded by the pieces under way. A
//! peer that does not answer is not asked for a moment (`pigeon_engine::reach`), and nothing is kept here for it: the sender keeps
//! the message. A message whose answer was lost may be brought again under its key: the peer stores it once.

mod connection;
mod keys;
mod peer;
mod transfer;

pub use keys::keys_of;
pub use transfer::RemoteTransfer;

use futures_util::future::LocalBoxFuture;
use peer::Peer;
use pigeon_datatree_cache::Account;
use pigeon_datatree_cache::record::Server;
use pigeon_engine::reach::Reach;
use pigeon_proto::address::Address;
use pigeon_proto::sasl::scram::client::ClientKeys;
use pigeon_proto::smtp::{MailParameters, Reply};
use pigeon_store::MessageKey;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// For a connection and the login on it. A node on the same network answers within milliseconds.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// For a look whether it is back: soon given up, soon made again.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Connections of one core to one peer. Slow senders of long messages hold one each.
const CONNECTIONS_MAX: usize = 64;
/// Of these, that wait for the next message.
const IDLE_MAX: usize = 8;
/// How long they wait; shorter than any server's patience.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Derives the node's keys for a salt and a count, or finds them; off the core. `None`: not now.
pub type KeysFor = Rc<dyn Fn(Vec<u8>, u32) -> LocalBoxFuture<'static, Option<ClientKeys>>>;

/// The record of a node as control data has it now; `None`: it is not in the server_map.
pub type ServerOf = Rc<dyn Fn(&str) -> Option<Arc<Server>>>;

/// As whom this node speaks.
#[derive(Clone)]
pub struct NodeIdentity {
    /// Its id in the server_map.
    pub node: String,
    /// In LHLO.
    pub host_name: String,
    /// Its keys.
    pub keys: KeysFor,
    /// How it finds the others, with all that is known of them on this core.
    pub reach: Reach,
    /// Where its connections come from; `None`: the kernel's choice.
    pub source: Option<IpAddr>,
    /// Asked for a node that does not answer, which may be none any more.
    pub servers: ServerOf,
    /// For a peer to take a piece of a message, and to answer at its end.
    pub answer_time: Duration,
}

/// What is known of a message beside its bytes.
#[derive(Clone, Debug)]
pub struct RemoteEnvelope {
    /// The sender; `None` is the null sender.
    pub reverse_path: Option<Address>,
    /// What came with MAIL.
    pub parameters: MailParameters,
    /// Names the message: the same at each try, random, of no other. The other node stores it once an account.
    pub key: MessageKey,
}

/// Somebody whose mail another node keeps.
#[derive(Clone, Debug)]
pub struct RemoteRecipient {
    /// The record, forwarded to nodes of ours.
    pub account: Arc<Account>,
    /// The address that led to it.
    pub address: Address,
}

/// Why a recipient's node did not take the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteError {
    /// What it said to the message, or to the size of it.
    Answered(Reply),
    /// It takes no more recipients with one message (4.5.3), and took others: the rest is brought in another transaction.
    TooMany(Reply),
    /// It is out of reach: nothing was said to it.
    OutOfReach(String),
    /// It broke off in the middle of the message, and does not have it.
    BrokeOff(String),
    /// It broke off before the answer to the whole message: it may have it.
    Unsure(String),
    /// It is out of reach, and as much waits here as may.
    NoRoom,
    /// It does not take mail for this account, or not from this node: to be mended by a person, later for the sender.
    Denied(String),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::Answered(reply) | RemoteError::TooMany(reply) => write!(f, "it answered {reply}"),
            RemoteError::OutOfReach(why) => write!(f, "out of reach: {why}"),
            RemoteError::BrokeOff(why) => write!(f, "it broke off: {why}"),
            RemoteError::Unsure(why) => write!(f, "it may have the message: {why}"),
            RemoteError::NoRoom => f.write_str("out of reach, and no room is left to wait for it"),
            RemoteError::Denied(why) => write!(f, "it does not take this mail: {why}"),
        }
    }
}

impl std::error::Error for RemoteError {}

/// What became of mail to other nodes, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteEvent {
    /// Another node has taken over a copy.
    Delivered,
    /// It refused one, for good or for now.
    Refused,
    /// A copy did not reach it.
    Unreached,
    /// The answer to a copy was lost: it may have it.
    Unknown,
    /// A connection was opened.
    Connected,
    /// A connection or an attempt at one failed.
    Failed,
    /// An attempt at one for which this node had no local port left.
    NoPort,
}

/// Told of everything that happens.
pub type CountRemote = Rc<dyn Fn(RemoteEvent)>;

/// The other nodes, from one core. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    inner: Rc<Inner>,
}

/// How it stands with one other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Its id.
    pub name: String,
    /// It did not answer when it was tried last, and is tried again now and then.
    pub is_away: bool,
    /// Connections to it, in use or waiting for the next message.
    pub connections: usize,
}

struct Inner {
    identity: NodeIdentity,
    count: CountRemote,
    /// By their ids. A node that is taken off the server_map leaves an empty entry behind.
    peers: RefCell<HashMap<String, Rc<Peer>>>,
}

impl Peers {
    /// Nobody is connected to yet.
    pub fn new(identity: NodeIdentity, count: impl Fn(RemoteEvent) + 'static) -> Peers {
        Peers {
            inner: Rc::new(Inner {
                identity,
                count: Rc::new(count),
                peers: RefCell::default(),
            }),
        }
    }

    /// Whether it is known now that `server` does not answer: somebody has just tried, where control data says now that it is.
    pub fn is_away(&self, server: &Arc<Server>) -> bool {
        let peers = self.inner.peers.borrow();
        peers.get(server.name()).is_some_and(|peer| {
            peer.set_server(server);
            peer.is_away()
        })
    }

    /// The nodes that mail was for.
    pub fn states(&self) -> Vec<PeerState> {
        self.inner.peers.borrow().values().map(|peer| peer.state()).collect()
    }

    /// Looks whether `server` answers, by a connection that is kept for mail when it does.
    pub async fn look(&self, server: &Arc<Server>) -> bool {
        self.peer(server).look().await
    }

    /// Begins a message to accounts of `server` (at least one). Never fails here: recipients have their results at the end.
    pub async fn begin(
        &self,
        server: &Arc<Server>,
        envelope: Rc<RemoteEnvelope>,
        recipients: Vec<RemoteRecipient>,
    ) -> RemoteTransfer {
        RemoteTransfer::begin(self.peer(server), envelope, recipients).await
    }

    /// With the record as it is now.
    fn peer(&self, server: &Arc<Server>) -> Rc<Peer> {
        let mut peers = self.inner.peers.borrow_mut();
        let peer = peers
            .entry(server.name().to_owned())
            .or_insert_with(|| Peer::new(self.inner.identity.clone(), self.inner.count.clone(), server.clone()));
        peer.set_server(server);
        peer.clone()
    }
}
