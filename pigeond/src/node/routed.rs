//! One message that goes to several places: this node's volumes, and other nodes or the queue for them.
//!
//! Invariant: where the sender gets one answer for all, nobody elsewhere gets the message before everybody here has it: what fails
//! here for now is brought again for all. What fails elsewhere waits here instead, and is brought by this node.

use super::joins::IntoVolumes;
use super::mail::{Elsewhere, Split, count};
use crate::status::Counter;
use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join, join_all};
use pigeon_delivery::queue::{Forward, QueuedEnvelope};
use pigeon_delivery::remote::RemoteError;
use pigeon_proxy::{EnvelopeInfo, MailStore, Transfer, TransferError};
use pigeon_store::MessageKey;
use std::rc::Rc;

pub(super) type Results = Vec<Result<(), TransferError>>;

/// See the module.
pub(super) struct Routed {
    legs: Vec<Leg>,
    results: Vec<Option<Result<(), TransferError>>>,
    /// The sender gets one answer: when some cannot have it now, it brings the message again for all.
    pub(super) all_or_nobody: bool,
}

struct Leg {
    /// Of its recipients, among all.
    places: Vec<usize>,
    way: Way,
    /// Who is told by another node to come later waits here: others have the message.
    queue_deferred: bool,
}

enum Way {
    Here(Box<dyn Transfer>),
    There(Box<Forward>),
    Failed(TransferError),
}

fn result(result: Result<(), RemoteError>) -> Result<(), TransferError> {
    result.map_err(|error| match error {
        RemoteError::Answered(reply) | RemoteError::TooMany(reply) => TransferError::Answered(reply),
        RemoteError::OutOfReach(why) | RemoteError::BrokeOff(why) | RemoteError::Unsure(why) => {
            TransferError::OwnerAway(why)
        }
        RemoteError::NoRoom => {
            count(Counter::QueueFull);
            TransferError::NoSpace
        }
        RemoteError::Denied(why) => TransferError::Unavailable(why),
    })
}

impl Leg {
    async fn write(&mut self, chunk: Bytes) {
        match &mut self.way {
            Way::Here(transfer) => {
                if let Err(error) = transfer.write(chunk).await {
                    self.way = Way::Failed(error);
                }
            }
            Way::There(forward) => forward.write(&chunk).await,
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
            Way::There(forward) => {
                let results = forward.commit_with(last, self.queue_deferred).await;
                results.into_iter().map(result).collect()
            }
            Way::Failed(error) => vec![Err(error); self.places.len()],
        };
        (self.places, results)
    }

    /// Of a message that is given up: what failed.
    fn failures(self) -> Results {
        match self.way {
            Way::Here(_) => Vec::new(),
            Way::There(forward) => forward.give_up().into_iter().map(result).collect(),
            Way::Failed(error) => vec![Err(error)],
        }
    }

    async fn prepare(&mut self) {
        if let Way::There(forward) = &mut self.way {
            forward.prepare().await;
        }
    }

    fn is_lost(&self) -> bool {
        match &self.way {
            Way::Here(_) => false,
            Way::There(forward) => forward.is_in_vain(self.queue_deferred),
            Way::Failed(_) => true,
        }
    }

    fn is_elsewhere(&self) -> bool {
        matches!(self.way, Way::There(_))
    }
}

impl Routed {
    /// Asks everybody who keeps mail of a recipient.
    pub(super) async fn open(
        local: Rc<IntoVolumes>,
        elsewhere: Option<Elsewhere>,
        envelope: &Rc<EnvelopeInfo>,
        split: Split,
    ) -> Routed {
        // Whoever passes a message on passes its key on, so that it is one message wherever it is brought twice.
        let key = MessageKey(split.key.unwrap_or_else(|| *uuid::Uuid::new_v4().as_bytes()));
        let all_or_nobody = !envelope.answered_singly;
        let queue_deferred = all_or_nobody && split.results.len() > 1;
        let there = split.there.into_iter().map(|there| {
            let elsewhere = elsewhere.as_ref();
            let waiting = QueuedEnvelope {
                reverse_path: envelope.reverse_path.clone(),
                parameters: envelope.parameters.clone(),
                received_at: envelope.received_at,
                key,
                id: envelope.id().to_string(),
                recipients: there.queued,
            };
            async move {
                let way = match elsewhere {
                    Some(Elsewhere {
                        peers,
                        queues,
                        count: counted,
                    }) => {
                        let (server, recipients) = (&there.server, there.recipients);
                        let forward = Forward::begin(peers, queues, counted, server, waiting, recipients).await;
                        Way::There(Box::new(forward))
                    }
                    None => Way::Failed(TransferError::Moved("it came from another node".to_owned())),
                };
                Leg {
                    places: there.places,
                    way,
                    queue_deferred,
                }
            }
        });
        let mut legs = join_all(there).await;
        if !split.here.is_empty() {
            let begun = local.begin(envelope, split.here).await;
            legs.push(Leg {
                places: split.here_places,
                way: begun.map_or_else(Way::Failed, Way::Here),
                queue_deferred,
            });
        }
        Routed {
            legs,
            results: split.results,
            all_or_nobody,
        }
    }

    /// Nobody gets it, or nobody should because somebody does not.
    pub(super) fn is_in_vain(&self) -> bool {
        let unplaced = self.results.iter().any(Option::is_some);
        match self.all_or_nobody {
            true => unplaced || self.legs.iter().any(Leg::is_lost),
            false => self.legs.iter().all(Leg::is_lost),
        }
    }

    /// What failed, in a message that is given up.
    pub(super) fn why(self) -> TransferError {
        let lost = self.legs.into_iter().filter(Leg::is_lost).flat_map(Leg::failures);
        let all = self.results.into_iter().flatten().chain(lost);
        let mut errors: Vec<TransferError> = all.filter_map(Result::err).collect();
        // What is for now comes before what is for good.
        errors.sort_by_key(|error| !error.is_temporary());
        let error = errors.into_iter().next();
        error.unwrap_or_else(|| TransferError::Unavailable("nobody gets it".to_owned()))
    }

    /// The last piece, and the results.
    pub(super) async fn commit_with(mut self, last: Bytes) -> Results {
        if self.all_or_nobody && self.results.len() > 1 {
            // Who has to wait here has a place before anybody has the message.
            join_all(self.legs.iter_mut().map(Leg::prepare)).await;
            if self.is_in_vain() {
                let count = self.results.len();
                return vec![Err(self.why()); count];
            }
        }
        let Routed {
            legs,
            mut results,
            all_or_nobody,
        } = self;
        let (there, here): (Vec<Leg>, Vec<Leg>) = legs.into_iter().partition(Leg::is_elsewhere);
        let ends = |legs: Vec<Leg>| {
            let last = last.clone();
            join_all(legs.into_iter().map(move |leg| leg.commit(last.clone())))
        };
        let mut ended;
        if all_or_nobody {
            ended = ends(here).await;
            let failed = ended.iter().flat_map(|(_, results)| results);
            let fails = |result: &&Result<(), TransferError>| result.as_ref().is_err_and(TransferError::is_temporary);
            match failed.into_iter().find(fails).cloned() {
                Some(failure) => ended.extend(there.into_iter().map(|leg| {
                    let results = vec![failure.clone(); leg.places.len()];
                    (leg.places, results)
                })),
                None => ended.extend(ends(there).await),
            }
        } else {
            let (local, remote) = join(ends(here), ends(there)).await;
            ended = local;
            ended.extend(remote);
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
            Err(given_up.why())
        })
    }

    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Results> {
        Box::pin(async move { self.commit_with(Bytes::new()).await })
    }
}
