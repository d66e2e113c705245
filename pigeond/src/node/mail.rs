//! Where accepted mail goes: into the volumes of this node, or to the node that keeps the account, by what control data says.
//!
//! Invariant: what another node has brought here goes no further, but for an account that is on its way here: its mail goes to
//! where it still is. So a message makes two hops between nodes at most: the record that comes with it names one owner, and no
//! other node passes it on.

use super::core::node;
use super::joins::IntoVolumes;
use super::moves::{self, Located};
use super::routed::Routed;
use super::shared::Shared;
use crate::status::Counter;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::record::{NodeState, Server};
use pigeon_datatree_cache::{Account, CoreCopy, Owner, Snapshot};
use pigeon_delivery::queue::{CountQueued, QueuedRecipient, Queues, Room};
use pigeon_delivery::remote::{KeysFor, NodeIdentity, Peers, RemoteEvent, RemoteRecipient};
use pigeon_engine::current_core;
use pigeon_engine::reach::Reach;
use pigeon_proto::smtp::RecipientRefusal;
use pigeon_proxy::{EnvelopeInfo, MailStore, Redirected, Target, Transfer, TransferError};
use std::rc::Rc;
use std::sync::Arc;

/// Mail for the accounts of a cluster, on one core.
#[derive(Clone)]
pub(super) struct Routes {
    local: Rc<IntoVolumes>,
    copy: Rc<CoreCopy>,
    /// This node's id.
    node: Rc<str>,
    onward: Rc<Onward>,
}

/// What becomes of mail for accounts of other nodes.
enum Onward {
    /// It goes there, or waits here.
    There(Elsewhere),
    /// It came from there; told of accounts that are not here. What is on its way here goes to where it still is.
    Nowhere(Box<dyn Fn(Redirected)>, Option<Elsewhere>),
}

/// How mail gets to other nodes from one core. Cheap to clone.
#[derive(Clone)]
pub(super) struct Elsewhere {
    pub(super) peers: Peers,
    /// Where it waits when it cannot get there now.
    pub(super) queues: Queues,
    pub(super) count: CountQueued,
}

/// The other nodes, for mail from one core; of a node in a cluster.
pub(super) fn peers(shared: &Arc<Shared>, copy: &Rc<CoreCopy>, keys: KeysFor, reach: Reach) -> Option<Peers> {
    let cluster = shared.cluster.as_ref()?;
    let counted = shared.clone();
    let count = move |event| {
        counted.counters[usize::from(current_core().0)].count(match event {
            RemoteEvent::Delivered => Counter::CopiesElsewhere,
            RemoteEvent::Refused => Counter::CopiesElsewhereRefused,
            RemoteEvent::Unreached => Counter::CopiesElsewhereUnreached,
            RemoteEvent::Unknown => Counter::CopiesElsewhereUnknown,
            RemoteEvent::Connected => Counter::MailConnections,
            RemoteEvent::Failed => Counter::MailConnectionsFailed,
            RemoteEvent::NoPort => Counter::BackendPortsExhausted,
        });
    };
    let copy = copy.clone();
    let identity = NodeIdentity {
        node: cluster.node.clone(),
        host_name: shared.config.hostname.clone(),
        keys,
        reach,
        source: shared
            .config
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.private_address),
        servers: Rc::new(move |name| copy.snapshot().server(name).cloned()),
        answer_time: shared.config.queue.answer_time.duration(),
    };
    Some(Peers::new(identity, count))
}

/// What came from clients.
pub(super) fn from_clients(local: IntoVolumes, copy: Rc<CoreCopy>, node: &str, elsewhere: Elsewhere) -> Routes {
    Routes {
        local: Rc::new(local),
        copy,
        node: node.into(),
        onward: Rc::new(Onward::There(elsewhere)),
    }
}

/// What other nodes brought.
pub(super) fn from_nodes(
    local: IntoVolumes,
    copy: Rc<CoreCopy>,
    node: &str,
    elsewhere: Option<Elsewhere>,
    count: impl Fn(Redirected) + 'static,
) -> Routes {
    Routes {
        local: Rc::new(local),
        copy,
        node: node.into(),
        onward: Rc::new(Onward::Nowhere(Box::new(count), elsewhere)),
    }
}

/// Recipients of a message by where they go; each with its place among all.
#[derive(Default)]
pub(super) struct Split {
    pub(super) here: Vec<Target>,
    pub(super) here_places: Vec<usize>,
    pub(super) there: Vec<There>,
    /// The message's key, where another node brought it.
    pub(super) key: Option<[u8; 16]>,
    /// For whom there is no place; all others are still to come.
    pub(super) results: Vec<Option<Result<(), TransferError>>>,
}

/// Recipients of another node, in one order.
pub(super) struct There {
    pub(super) server: Arc<Server>,
    pub(super) recipients: Vec<RemoteRecipient>,
    /// As they would wait.
    pub(super) queued: Vec<QueuedRecipient>,
    pub(super) places: Vec<usize>,
}

impl Routes {
    /// Where accounts are that control data says were somewhere else before; nothing for all others.
    pub(super) async fn still_at(&self, recipients: &[Target]) -> Vec<Option<Arc<Server>>> {
        let moved = |target: &Target| self.newest(&target.account).was_elsewhere();
        if !recipients.iter().any(moved) {
            return Vec::new();
        }
        let located = recipients.iter().map(|target| {
            let record = self.newest(&target.account);
            async move {
                let located = match self.owns(&record) {
                    true => moves::locate(&record).await,
                    false => None,
                };
                match located {
                    Some(Located::Node(server)) => Some(server),
                    // What is not known now is asked again where it is stored.
                    Some(Located::Volume(_) | Located::Nowhere(_)) | None => None,
                }
            }
        });
        moves::at_once(located).await
    }

    /// Whether they came from clients, and not from another node.
    pub(super) fn is_from_clients(&self) -> bool {
        matches!(&*self.onward, Onward::There(_))
    }

    /// Whether control data says that this node keeps the account.
    pub(super) fn owns(&self, record: &Account) -> bool {
        record.node().is_none_or(|node| *node == *self.node)
    }

    /// What control data says by now: a client may take its time between RCPT and the end of its message.
    pub(super) fn newest(&self, record: &Arc<Account>) -> Arc<Account> {
        let snapshot = self.copy.snapshot();
        snapshot.account(record.id()).unwrap_or(record).clone()
    }

    /// `still_at` has a server for some, or is empty.
    pub(super) fn split(&self, recipients: Vec<Target>, still_at: &[Option<Arc<Server>>]) -> Split {
        let snapshot = self.copy.snapshot();
        let mut split = Split::default();
        for (place, target) in recipients.into_iter().enumerate() {
            split.results.push(None);
            // One message, one key.
            split.key = split.key.or(target.key);
            // What another node brought was checked at RCPT, and control data may not have it here.
            let owner = match (still_at.get(place), &*self.onward) {
                (Some(Some(server)), _) => Owner::Node(server.clone()),
                (_, Onward::There(_)) => {
                    let record = snapshot.account(target.account.id()).unwrap_or(&target.account);
                    snapshot.owner_of(record, Some(&self.node))
                }
                (_, Onward::Nowhere(..)) => Owner::Here,
            };
            match owner {
                Owner::Here => {
                    split.here.push(target);
                    split.here_places.push(place);
                }
                Owner::Node(server) => {
                    let known = split
                        .there
                        .iter()
                        .position(|there| there.server.name() == server.name());
                    let index = known.unwrap_or_else(|| {
                        split.there.push(There {
                            server,
                            recipients: Vec::new(),
                            queued: Vec::new(),
                            places: Vec::new(),
                        });
                        split.there.len() - 1
                    });
                    let there = &mut split.there[index];
                    there.queued.push(QueuedRecipient {
                        account: target.account.id().0,
                        address: target.address.clone(),
                        prepend: target.prepend,
                    });
                    there.recipients.push(RemoteRecipient {
                        account: target.account,
                        address: target.address,
                    });
                    there.places.push(place);
                }
                Owner::Nowhere(why) => {
                    tracing::error!(dn = target.account.dn(), %why, "mail for this account waits at the sender");
                    split.results[place] = Some(Err(TransferError::Moved(why.to_string())));
                }
            }
        }
        split
    }

    /// Whether control data says that it is not to be tried; counted.
    fn is_down(&self, server: &Server) -> bool {
        let is_down = server.state() == NodeState::Down;
        if is_down {
            count(Counter::OwnersDown);
        }
        is_down
    }

    fn elsewhere(&self) -> Option<Elsewhere> {
        match &*self.onward {
            Onward::There(elsewhere) => Some(elsewhere.clone()),
            Onward::Nowhere(_, elsewhere) => elsewhere.clone(),
        }
    }
}

impl MailStore for Routes {
    fn accepts(&self, account: &Account, snapshot: &Snapshot) -> Result<(), RecipientRefusal> {
        // What another node forwarded is in no snapshot, but its account may be.
        let known = snapshot.account(account.id()).map(|known| &**known);
        let is_previous = |known: &Account| known.was_on(&self.node);
        let owner = match (&*self.onward, known) {
            (Onward::Nowhere(..), None) => Owner::Here,
            // Until it is handed over.
            (Onward::Nowhere(..), Some(known)) if is_previous(known) => Owner::Here,
            (_, known) => snapshot.owner_of(known.unwrap_or(account), Some(&self.node)),
        };
        match (owner, &*self.onward) {
            (Owner::Here, _) => Ok(()),
            (Owner::Node(server), Onward::There(elsewhere)) => {
                if !self.is_down(&server) && !elsewhere.peers.is_away(&server) {
                    return Ok(());
                }
                match elsewhere.queues.room() {
                    Room::Yes => Ok(()),
                    Room::No => Err(RecipientRefusal::OwnerAway),
                    Room::Full => {
                        count(Counter::QueueFull);
                        Err(RecipientRefusal::QueueFull)
                    }
                }
            }
            (Owner::Nowhere(why), Onward::There(_)) => {
                tracing::error!(dn = account.dn(), %why, "mail for this account waits at the sender");
                Err(RecipientRefusal::NoOwner)
            }
            (owner, Onward::Nowhere(count, _)) => {
                count(Redirected::Astray);
                let dn = known.map(Account::dn);
                tracing::error!(
                    dn, account = %account.id(), ?owner,
                    "mail went astray: the nodes do not agree whose the account is"
                );
                Err(RecipientRefusal::Astray)
            }
        }
    }

    fn begin(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>> {
        let (this, envelope) = (self.clone(), envelope.clone());
        Box::pin(async move {
            let still_at = this.still_at(&recipients).await;
            let begun = this
                .begin_split(&envelope, this.split(recipients.clone(), &still_at))
                .await;
            match begun {
                Err(error) if this.tries_again(&error) => {
                    Box::pin(this.begin_again(&envelope, recipients, error)).await
                }
                begun => begun,
            }
        })
    }

    fn deliver(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
        message: Bytes,
    ) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        let (this, envelope) = (self.clone(), envelope.clone());
        Box::pin(async move {
            let still_at = this.still_at(&recipients).await;
            let split = this.split(recipients.clone(), &still_at);
            let mut results = this.deliver_split(&envelope, split, message.clone()).await;
            if results
                .iter()
                .filter_map(|result| result.as_ref().err())
                .any(|error| this.tries_again(error))
            {
                Box::pin(this.deliver_again(&envelope, &recipients, message, &mut results)).await;
            }
            results
        })
    }
}

/// On this core.
pub(super) fn count(counter: Counter) {
    if let Some(node) = node() {
        node.counters().count(counter);
    }
}

impl Routes {
    pub(super) fn begin_split(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        split: Split,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>> {
        if split.here.len() == split.results.len() {
            return self.local.begin(envelope, split.here);
        }
        let (local, elsewhere, envelope) = (self.local.clone(), self.elsewhere(), envelope.clone());
        Box::pin(async move {
            let routed = Routed::open(local, elsewhere, &envelope, split).await;
            match routed.is_in_vain() {
                true => Err(routed.why()),
                false => Ok(Box::new(routed) as Box<dyn Transfer>),
            }
        })
    }

    pub(super) fn deliver_split(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        split: Split,
        message: Bytes,
    ) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        let count = split.results.len();
        if split.here.len() == count {
            return self.local.deliver(envelope, split.here, message);
        }
        let (local, elsewhere, envelope) = (self.local.clone(), self.elsewhere(), envelope.clone());
        Box::pin(async move {
            let routed = Routed::open(local, elsewhere, &envelope, split).await;
            match routed.all_or_nobody && routed.is_in_vain() {
                true => vec![Err(routed.why()); count],
                false => routed.commit_with(message).await,
            }
        })
    }
}
