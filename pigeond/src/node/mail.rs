//! Where accepted mail goes: into the volumes of this node, or to the node that keeps the account, by what control data says.
//!
//! Invariant: what another node has brought here goes no further: a message makes one hop between nodes at most.

use super::core::node;
use super::joins::IntoVolumes;
use super::shared::Shared;
use crate::status::Counter;
use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all};
use pigeon_datatree_cache::record::{NodeState, Server};
use pigeon_datatree_cache::{Account, CoreCopy, Owner, Snapshot};
use pigeon_delivery::remote::{
    KeysFor, NodeIdentity, Peers, RemoteEnvelope, RemoteError, RemoteEvent, RemoteRecipient, RemoteTransfer,
};
use pigeon_engine::current_core;
use pigeon_proto::smtp::RecipientRefusal;
use pigeon_proxy::{EnvelopeInfo, MailStore, Redirected, Target, Transfer, TransferError};
use pigeon_store::MessageKey;
use std::rc::Rc;
use std::sync::Arc;

/// Mail for the accounts of a cluster, on one core.
pub(super) struct Routes {
    local: Rc<IntoVolumes>,
    copy: Rc<CoreCopy>,
    /// This node's id.
    node: Rc<str>,
    onward: Onward,
}

/// What becomes of mail for accounts of other nodes.
enum Onward {
    /// It goes there.
    Peers(Peers),
    /// It came from there; told of accounts that are not here.
    Nowhere(Box<dyn Fn(Redirected)>),
}

/// The other nodes, for mail from one core; of a node in a cluster.
pub(super) fn peers(shared: &Arc<Shared>, keys: KeysFor) -> Option<Peers> {
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
        });
    };
    let identity = NodeIdentity {
        node: cluster.node.clone(),
        host_name: shared.config.hostname.clone(),
        keys,
    };
    Some(Peers::new(identity, count))
}

/// What came from clients.
pub(super) fn from_clients(local: IntoVolumes, copy: Rc<CoreCopy>, node: &str, peers: Peers) -> Routes {
    Routes {
        local: Rc::new(local),
        copy,
        node: node.into(),
        onward: Onward::Peers(peers),
    }
}

/// What other nodes brought.
pub(super) fn from_nodes(
    local: IntoVolumes,
    copy: Rc<CoreCopy>,
    node: &str,
    count: impl Fn(Redirected) + 'static,
) -> Routes {
    Routes {
        local: Rc::new(local),
        copy,
        node: node.into(),
        onward: Onward::Nowhere(Box::new(count)),
    }
}

/// Recipients of a message by where they go; each with its place among all.
#[derive(Default)]
struct Split {
    here: Vec<Target>,
    here_places: Vec<usize>,
    there: Vec<(Arc<Server>, Vec<RemoteRecipient>, Vec<usize>)>,
    /// For whom there is no place; all others are still to come.
    results: Vec<Option<Result<(), TransferError>>>,
}

impl Routes {
    fn split(&self, recipients: Vec<Target>) -> Split {
        let snapshot = self.copy.snapshot();
        let mut split = Split::default();
        for (place, target) in recipients.into_iter().enumerate() {
            split.results.push(None);
            // What another node brought was checked at RCPT, and control data may not have it here.
            let owner = match self.onward {
                Onward::Peers(_) => snapshot.owner_of(&target.account, Some(&self.node)),
                Onward::Nowhere(_) => Owner::Here,
            };
            match owner {
                Owner::Here => {
                    split.here.push(target);
                    split.here_places.push(place);
                }
                Owner::Node(server) if server.state() == NodeState::Down => {
                    let why = format!("node {} is down, by control data", server.name());
                    split.results[place] = Some(Err(TransferError::OwnerAway(why)));
                }
                Owner::Node(server) => {
                    let recipient = RemoteRecipient {
                        account: target.account,
                        address: target.address,
                    };
                    match split.there.iter_mut().find(|(known, ..)| known.name() == server.name()) {
                        Some((_, recipients, places)) => {
                            recipients.push(recipient);
                            places.push(place);
                        }
                        None => split.there.push((server, vec![recipient], vec![place])),
                    }
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
        if let (true, Some(node)) = (is_down, node()) {
            node.counters().count(Counter::OwnersDown);
        }
        is_down
    }

    fn peers(&self) -> Option<Peers> {
        match &self.onward {
            Onward::Peers(peers) => Some(peers.clone()),
            Onward::Nowhere(_) => None,
        }
    }
}

impl MailStore for Routes {
    fn accepts(&self, account: &Account, snapshot: &Snapshot) -> Result<(), RecipientRefusal> {
        // What another node forwarded is in no snapshot, but its account may be.
        let known = snapshot.account(account.id()).map(|known| &**known);
        let owner = match (&self.onward, known) {
            (Onward::Nowhere(_), None) => Owner::Here,
            (_, known) => snapshot.owner_of(known.unwrap_or(account), Some(&self.node)),
        };
        match (owner, &self.onward) {
            (Owner::Here, _) => Ok(()),
            (Owner::Node(server), Onward::Peers(peers)) => match self.is_down(&server) || peers.is_away(&server) {
                true => Err(RecipientRefusal::OwnerAway),
                false => Ok(()),
            },
            (Owner::Nowhere(why), Onward::Peers(_)) => {
                tracing::error!(dn = account.dn(), %why, "mail for this account waits at the sender");
                Err(RecipientRefusal::NoOwner)
            }
            (owner, Onward::Nowhere(count)) => {
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
        let split = self.split(recipients);
        if split.here.len() == split.results.len() {
            return self.local.begin(envelope, split.here);
        }
        let (local, peers, envelope) = (self.local.clone(), self.peers(), envelope.clone());
        Box::pin(async move {
            let routed = Routed::open(local, peers, &envelope, split).await;
            match routed.is_in_vain() {
                true => Err(routed.why().await),
                false => Ok(Box::new(routed) as Box<dyn Transfer>),
            }
        })
    }

    fn deliver(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
        message: Bytes,
    ) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        let split = self.split(recipients);
        let count = split.results.len();
        if split.here.len() == count {
            return self.local.deliver(envelope, split.here, message);
        }
        let (local, peers, envelope) = (self.local.clone(), self.peers(), envelope.clone());
        Box::pin(async move {
            let routed = Routed::open(local, peers, &envelope, split).await;
            match routed.all_or_nobody && routed.is_in_vain() {
                true => vec![Err(routed.why().await); count],
                false => routed.commit_with(message).await,
            }
        })
    }
}

fn result(result: Result<(), RemoteError>) -> Result<(), TransferError> {
    result.map_err(|error| match error {
        RemoteError::Answered(reply) => TransferError::Answered(reply),
        RemoteError::OutOfReach(why) => TransferError::OwnerAway(why),
        RemoteError::Denied(why) => TransferError::Unavailable(why),
    })
}

/// A message that goes to several places.
struct Routed {
    /// Those of other nodes first.
    legs: Vec<Leg>,
    results: Vec<Option<Result<(), TransferError>>>,
    /// The sender gets one answer: when some cannot have it now, it brings the message again for all.
    all_or_nobody: bool,
}

struct Leg {
    /// Of its recipients, among all.
    places: Vec<usize>,
    way: Way,
}

enum Way {
    Here(Box<dyn Transfer>),
    There(Box<RemoteTransfer>),
    Failed(TransferError),
}

type Results = Vec<Result<(), TransferError>>;

impl Leg {
    async fn write(&mut self, chunk: Bytes) {
        match &mut self.way {
            Way::Here(transfer) => {
                if let Err(error) = transfer.write(chunk).await {
                    self.way = Way::Failed(error);
                }
            }
            Way::There(transfer) => transfer.write(&chunk).await,
            Way::Failed(_) => {}
        }
    }

    /// With the last piece of the message, which may be empty.
    async fn commit(mut self, last: Bytes) -> (Vec<usize>, Results) {
        if matches!(self.way, Way::Here(_)) && !last.is_empty() {
            self.write(last.clone()).await;
        }
        let results = match self.way {
            Way::Here(transfer) => transfer.commit().await,
            Way::There(transfer) => transfer.commit_with(last).await.into_iter().map(result).collect(),
            Way::Failed(error) => vec![Err(error); self.places.len()],
        };
        (self.places, results)
    }

    fn is_lost(&self) -> bool {
        match &self.way {
            Way::Here(_) => false,
            Way::There(transfer) => transfer.is_over(),
            Way::Failed(_) => true,
        }
    }

    fn is_here(&self) -> bool {
        matches!(self.way, Way::Here(_))
    }
}

impl Routed {
    /// Asks everybody who keeps mail of a recipient.
    async fn open(local: Rc<IntoVolumes>, peers: Option<Peers>, envelope: &Rc<EnvelopeInfo>, split: Split) -> Routed {
        let outgoing = Rc::new(RemoteEnvelope {
            reverse_path: envelope.reverse_path.clone(),
            parameters: envelope.parameters.clone(),
            key: MessageKey(*uuid::Uuid::new_v4().as_bytes()),
        });
        let there = split.there.into_iter().map(|(server, recipients, places)| {
            let (peers, outgoing) = (peers.as_ref(), outgoing.clone());
            async move {
                let way = match peers {
                    Some(peers) => Way::There(Box::new(peers.begin(&server, outgoing, recipients).await)),
                    None => Way::Failed(TransferError::Moved("it came from another node".to_owned())),
                };
                Leg { places, way }
            }
        });
        let mut legs = join_all(there).await;
        if !split.here.is_empty() {
            let begun = local.begin(envelope, split.here).await;
            legs.push(Leg {
                places: split.here_places,
                way: begun.map_or_else(Way::Failed, Way::Here),
            });
        }
        Routed {
            legs,
            results: split.results,
            all_or_nobody: !envelope.answered_singly,
        }
    }

    /// Nobody gets it, or nobody should because somebody does not.
    fn is_in_vain(&self) -> bool {
        let unplaced = self.results.iter().any(Option::is_some);
        match self.all_or_nobody {
            true => unplaced || self.legs.iter().any(Leg::is_lost),
            false => self.legs.iter().all(Leg::is_lost),
        }
    }

    /// What failed, in a message that is given up.
    async fn why(self) -> TransferError {
        let lost: Vec<Leg> = self.legs.into_iter().filter(Leg::is_lost).collect();
        let results = join_all(lost.into_iter().map(|leg| leg.commit(Bytes::new()))).await;
        let results = results.into_iter().flat_map(|(_, results)| results);
        let all = self.results.into_iter().flatten().chain(results);
        let mut errors: Vec<TransferError> = all.filter_map(Result::err).collect();
        // What is for now comes before what is for good.
        errors.sort_by_key(|error| !error.is_temporary());
        let error = errors.into_iter().next();
        error.unwrap_or_else(|| TransferError::Unavailable("nobody gets it".to_owned()))
    }

    /// The last piece, and the results. Where there is one answer for all, other nodes have theirs before anything is stored
    /// here: what fails for now there is brought again, and would be here twice.
    async fn commit_with(self, last: Bytes) -> Results {
        let Routed {
            legs,
            mut results,
            all_or_nobody,
        } = self;
        let (here, there): (Vec<Leg>, Vec<Leg>) = legs.into_iter().partition(Leg::is_here);
        let ends = |legs: Vec<Leg>| {
            let last = last.clone();
            join_all(legs.into_iter().map(move |leg| leg.commit(last.clone())))
        };
        let mut ended;
        if all_or_nobody {
            ended = ends(there).await;
            let failed = ended.iter().flat_map(|(_, results)| results);
            let fails = |result: &&Result<(), TransferError>| result.as_ref().is_err_and(TransferError::is_temporary);
            match failed.into_iter().find(fails).cloned() {
                Some(failure) => ended.extend(here.into_iter().map(|leg| {
                    let results = vec![failure.clone(); leg.places.len()];
                    (leg.places, results)
                })),
                None => ended.extend(ends(here).await),
            }
        } else {
            let (remote, local) = futures_util::future::join(ends(there), ends(here)).await;
            ended = remote;
            ended.extend(local);
        }
        for (places, delivered) in ended {
            for (place, result) in places.into_iter().zip(delivered) {
                results[place] = Some(result);
            }
        }
        let missing = || Err(TransferError::Unavailable("no result".to_owned()));
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(missing))
            .collect()
    }
}

impl Transfer for Routed {
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move {
            join_all(self.legs.iter_mut().map(|leg| leg.write(chunk.clone()))).await;
            if !self.is_in_vain() {
                return Ok(());
            }
            let given_up = Routed {
                legs: std::mem::take(&mut self.legs),
                results: std::mem::take(&mut self.results),
                all_or_nobody: self.all_or_nobody,
            };
            Err(given_up.why().await)
        })
    }

    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Results> {
        Box::pin(async move { self.commit_with(Bytes::new()).await })
    }
}
