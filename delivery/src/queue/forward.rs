//! One message on its way to one other node: there while it comes in, and into the queue when that node cannot have it now.
//!
//! A message that is whole in memory goes to the queue only when it must. A longer one is written to the node and, beside that,
//! into a volume, where it is dead space when the node has taken it.

use super::enqueue::{Entry, Queues};
use super::envelope::QueuedEnvelope;
use super::{CountQueued, QueueEvent, is_up};
use crate::mail_store::DeliveryError;
use crate::remote::{Peers, RemoteEnvelope, RemoteError, RemoteRecipient, RemoteTransfer};
use bytes::Bytes;
use futures_util::future::join;
use pigeon_datatree_cache::record::Server;
use std::rc::Rc;
use std::sync::Arc;

/// See the module. Dropped without `commit_with`, nobody has the message.
pub struct Forward {
    queues: Queues,
    count: CountQueued,
    destination: String,
    envelope: QueuedEnvelope,
    /// `None`: not asked, because it is down, away, or has to wait for older mail of the sender.
    remote: Option<Box<RemoteTransfer>>,
    beside: Beside,
}

enum Beside {
    NotBegun,
    Open(Box<Entry>),
    Failed(DeliveryError),
}

impl Forward {
    /// To accounts of `server`, in the order of the envelope's recipients. Never fails here.
    pub async fn begin(
        peers: &Peers,
        queues: &Queues,
        count: &CountQueued,
        server: &Arc<Server>,
        envelope: QueuedEnvelope,
        recipients: Vec<RemoteRecipient>,
    ) -> Forward {
        let waits = queues.holds_up(server.name(), envelope.reverse_path.as_ref());
        let remote = if waits || !is_up(server) || peers.is_away(server) {
            None
        } else {
            let outgoing = Rc::new(RemoteEnvelope {
                reverse_path: envelope.reverse_path.clone(),
                parameters: envelope.parameters.clone(),
                key: envelope.key,
            });
            Some(Box::new(peers.begin(server, outgoing, recipients).await))
        };
        Forward {
            queues: queues.clone(),
            count: count.clone(),
            destination: server.name().to_owned(),
            envelope,
            remote,
            beside: Beside::NotBegun,
        }
    }

    /// The next piece of a message that does not fit into one.
    pub async fn write(&mut self, piece: &Bytes) {
        if matches!(self.beside, Beside::NotBegun) {
            self.beside = self.begin_beside().await;
        }
        let there = async {
            if let Some(remote) = &mut self.remote {
                remote.write(piece).await;
            }
        };
        let here = async {
            match &mut self.beside {
                Beside::Open(entry) => entry.write(piece.clone()).await.err(),
                Beside::NotBegun | Beside::Failed(_) => None,
            }
        };
        if let ((), Some(error)) = join(there, here).await {
            self.beside = Beside::Failed(error);
        }
    }

    async fn begin_beside(&self) -> Beside {
        match self.queues.begin(&self.envelope, &self.destination).await {
            Ok(entry) => Beside::Open(Box::new(entry)),
            Err(error) => Beside::Failed(error),
        }
    }

    /// Before anything is durable elsewhere: a place to wait for a node that is not asked at all.
    pub async fn prepare(&mut self) {
        if self.remote.is_none() && matches!(self.beside, Beside::NotBegun) {
            self.beside = self.begin_beside().await;
        }
    }

    /// Whether nobody is going to have it, so that the rest need not come. `queue_deferred` as in `commit_with`.
    pub fn is_in_vain(&self, queue_deferred: bool) -> bool {
        let cannot_wait = matches!(self.beside, Beside::Failed(_));
        let Some(remote) = &self.remote else {
            return cannot_wait;
        };
        match remote.results_so_far() {
            None => false,
            Some(results) if results.iter().any(|result| waits(result, queue_deferred)) => cannot_wait,
            Some(results) => results.iter().all(Result::is_err),
        }
    }

    /// The message is not brought: what recipients were told until now.
    pub fn give_up(self) -> Vec<Result<(), RemoteError>> {
        let told = self.remote.as_ref().and_then(|remote| remote.results_so_far());
        match told {
            Some(results) => results.to_vec(),
            None => self.not_asked(),
        }
    }

    fn not_asked(&self) -> Vec<Result<(), RemoteError>> {
        let why = match &self.beside {
            Beside::Failed(DeliveryError::NoSpace) => RemoteError::NoRoom,
            _ => RemoteError::OutOfReach("it is known to be away, or older mail waits for it".to_owned()),
        };
        vec![Err(why); self.envelope.recipients.len()]
    }

    /// Ends the message with its last piece, which may be empty. One result for each recipient: `Ok` when it is durable at the
    /// node or in the queue. `queue_deferred`: also who is told to come later waits here, because others have it.
    pub async fn commit_with(mut self, last: Bytes, queue_deferred: bool) -> Vec<Result<(), RemoteError>> {
        let mut results = match self.remote.take() {
            Some(remote) => remote.commit_with(last.clone()).await,
            None => self.not_asked(),
        };
        let done: Vec<bool> = results.iter().map(|result| !waits(result, queue_deferred)).collect();
        if done.iter().all(|done| *done) {
            return results;
        }
        let unsure =
            |(result, done): (&Result<(), RemoteError>, &bool)| !done && matches!(result, Err(RemoteError::Unsure(_)));
        let unsure = results.iter().zip(&done).any(unsure);
        match self.wait_here(last, &done, unsure, queue_deferred).await {
            Ok(()) => {
                for (result, done) in results.iter_mut().zip(&done) {
                    if !done {
                        (self.count)(QueueEvent::Queued);
                        *result = Ok(());
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    destination = self.destination,
                    id = self.envelope.id,
                    ?error,
                    "mail cannot wait here"
                );
                if error == DeliveryError::NoSpace {
                    let waiting = results.iter_mut().zip(&done).filter(|(_, done)| !**done);
                    waiting.for_each(|(result, _)| *result = Err(RemoteError::NoRoom));
                }
            }
        }
        results
    }

    /// `has_others`: others have the message already, and would get it twice if the sender brought it again: it waits although as
    /// much waits as may.
    async fn wait_here(
        &mut self,
        last: Bytes,
        done: &[bool],
        unsure: bool,
        has_others: bool,
    ) -> Result<(), DeliveryError> {
        let beside = match std::mem::replace(&mut self.beside, Beside::NotBegun) {
            Beside::NotBegun if has_others => {
                let entry = self.queues.begin_own(&self.envelope, &self.destination).await?;
                Beside::Open(Box::new(entry))
            }
            Beside::NotBegun => self.begin_beside().await,
            begun => begun,
        };
        match beside {
            Beside::Open(mut entry) => {
                entry.write(last).await?;
                entry.commit(done, unsure).await
            }
            Beside::Failed(error) => Err(error),
            Beside::NotBegun => Err(DeliveryError::Unavailable("the queue was not asked".to_owned())),
        }
    }
}

/// Whether a recipient with this result waits in the queue.
fn waits(result: &Result<(), RemoteError>, queue_deferred: bool) -> bool {
    match result {
        Ok(()) => false,
        Err(
            RemoteError::OutOfReach(_)
            | RemoteError::BrokeOff(_)
            | RemoteError::Unsure(_)
            | RemoteError::NoRoom
            | RemoteError::TooMany(_),
        ) => true,
        Err(RemoteError::Answered(reply)) => queue_deferred && reply.is_temporary(),
        Err(RemoteError::Denied(_)) => queue_deferred,
    }
}
