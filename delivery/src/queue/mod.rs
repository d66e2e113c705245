//! Mail that another node cannot take now waits here, durably, in the volumes of this node.
//!
//! A queued message is an ordinary message of a reserved account, one in each volume, in a mailbox for the node it waits for,
//! with its envelope in front of its bytes: durability, recovery and compaction are the store's. [`Queues`] puts messages in,
//! [`Forward`] brings one message to its node or into the queue, and [`Runner`] brings what waits.
//!
//! Invariants:
//! - A recipient leaves a queued message only when its node, this node or a report to the sender has it durably.
//! - Every try brings the same key, so that what was brought and not answered is there once.
//! - Nothing is tried that could not be noted.
//! - What the message's own record was is not asked: each try looks the account up anew.

mod attempt;
mod enqueue;
mod envelope;
mod forward;
mod index;
mod kept;
mod listing;
mod notes;
mod report;
mod runner;
mod schedule;
mod stored;
mod telling;

pub use enqueue::{Entry, HasRoom, Queues, Room};
pub use envelope::{QueuedEnvelope, QueuedRecipient};
pub use forward::Forward;
pub use index::{QueueGauge, QueueIndex};
pub use listing::{Listed, ListedEnvelope, list};
pub use runner::{Runner, Stop};

use crate::mail_store::MailStore;
use crate::placement::Place;
use crate::remote::Peers;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::record::{NodeState, Server};
use pigeon_datatree_cache::{Account, CoreCopy};
use pigeon_store::AccountId;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whose messages the queued ones are. Nobody can log in to it, and placement and quotas leave it out.
pub const QUEUE_ACCOUNT: AccountId = AccountId(*b"PigeonAir\x80\x00queue");

/// What could neither be delivered nor reported is kept in this mailbox of the queue's account.
pub const UNDELIVERABLE: &str = "undeliverable";

const MAILBOX_PREFIX: &str = "to/";

/// The mailbox of what waits for a node.
fn mailbox_of(destination: &str) -> String {
    format!("{MAILBOX_PREFIX}{destination}")
}

/// What became of queued messages, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEvent {
    /// A copy waits from now on.
    Queued,
    /// A message was tried.
    Tried,
    /// A copy that waited has been delivered.
    Delivered,
    /// A copy that waited was reported to the sender, or to the postmaster, as undeliverable.
    Bounced,
    /// A copy could neither be delivered nor reported, and is kept.
    Kept,
    /// A message cannot be read, and is kept apart.
    PutAside,
    /// A kept message went to a postmaster.
    ToPostmaster,
    /// A copy was delivered that may have been there already, under a key that is forgotten by now.
    PerhapsTwice,
}

/// Told of everything that happens.
pub type CountQueued = Rc<dyn Fn(QueueEvent)>;

/// What the queue of one core works with. Cheap to clone.
#[derive(Clone)]
pub struct QueueParts {
    /// Control data.
    pub copy: Rc<CoreCopy>,
    /// This node's id.
    pub node: Rc<str>,
    /// In reports.
    pub host_name: Rc<str>,
    /// The other nodes.
    pub peers: Peers,
    /// For accounts that have come here.
    pub local: MailStore,
    /// Where accounts are that are on their way here.
    pub locate: Locate,
    /// Where reports to other nodes wait, and messages whose account has moved on.
    pub queues: Queues,
    /// For counters.
    pub count: CountQueued,
    /// How long a message waits at most.
    pub life: Duration,
    /// How long another node keeps the key of a message that it has stored.
    pub key_life: Duration,
    /// An account over its quota is tried again, not given up.
    pub over_quota_defers: bool,
}

/// Where an account is served now of which control data says that it was somewhere else before.
pub enum Located {
    /// In this volume of this node.
    Volume(Place),
    /// On another node still.
    Node(Arc<Server>),
    /// Nowhere for now; the text is for the log.
    Nowhere(String),
}

/// Tells it; `None`: control data names no other place. Without it mail would be stored in an account that has not arrived yet.
pub type Locate = Rc<dyn Fn(Arc<Account>) -> LocalBoxFuture<'static, Option<Located>>>;

/// Whether control data says that a node takes mail now.
pub fn is_up(server: &Arc<Server>) -> bool {
    server.state() != NodeState::Down
}
