//! Mail for an account whose place changes while the message comes: looked for again where it is by now, before the client
//! is told to come later.
//!
//! Two things pass by themselves. The volume that the record named does not have the account any more, or not yet: the record
//! is older than the move. Or the node that control data names here has not heard of it: a change reaches each node in its own
//! time, within a second.

use super::mail::Routes;
use super::moves::{self, Located};
use bytes::Bytes;
use pigeon_datatree_cache::record::Server;
use pigeon_proto::smtp::RecipientRefusal;
use pigeon_proxy::{EnvelopeInfo, Target, Transfer, TransferError};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Before each further try, in milliseconds. Together as long as nodes may differ about whose an account is; an account that is
/// about to arrive is waited for where it is looked for.
const PAUSES: [u64; 5] = [50, 200, 400, 800, 1000];

/// Whether it may be otherwise in a moment. A message that went in circles is not asked about again: each time it would go around.
fn may_pass(error: &TransferError) -> bool {
    let astray = RecipientRefusal::Astray.reply();
    match error {
        TransferError::Elsewhere => true,
        TransferError::Answered(reply) => reply.code() == astray.code() && reply.enhanced() == astray.enhanced(),
        _ => false,
    }
}

impl Routes {
    /// Whether a transfer that failed so is to be tried again. What another node brought is not: that node does it.
    pub(super) fn tries_again(&self, error: &TransferError) -> bool {
        may_pass(error) && (self.is_from_clients() || *error == TransferError::Elsewhere)
    }

    /// After `failed`, the beginning of a message's transfer.
    pub(super) async fn begin_again(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
        mut failed: TransferError,
    ) -> Result<Box<dyn Transfer>, TransferError> {
        for pause in PAUSES {
            pigeon_engine::sleep(Duration::from_millis(pause)).await;
            let (targets, still_at) = self.located_anew(recipients.clone()).await;
            match self.begin_split(envelope, self.split(targets, &still_at)).await {
                Err(error) if self.tries_again(&error) => failed = error,
                begun => return begun,
            }
        }
        Err(failed)
    }

    /// The same for a whole message, for those recipients whose results say so.
    pub(super) async fn deliver_again(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: &[Target],
        message: Bytes,
        results: &mut [Result<(), TransferError>],
    ) {
        for pause in PAUSES {
            let again =
                |result: &Result<(), TransferError>| result.as_ref().is_err_and(|error| self.tries_again(error));
            let places: Vec<usize> = (0..results.len()).filter(|place| again(&results[*place])).collect();
            let targets: Vec<Target> = places
                .iter()
                .filter_map(|place| recipients.get(*place).cloned())
                .collect();
            if targets.is_empty() {
                return;
            }
            pigeon_engine::sleep(Duration::from_millis(pause)).await;
            let (targets, still_at) = self.located_anew(targets).await;
            let split = self.split(targets, &still_at);
            let delivered = self.deliver_split(envelope, split, message.clone()).await;
            for (place, result) in places.into_iter().zip(delivered) {
                results[place] = result;
            }
        }
    }

    /// With the newest records, and where a volume of this node says that they are: see `Routes::split`.
    async fn located_anew(&self, mut targets: Vec<Target>) -> (Vec<Target>, Vec<Option<Arc<Server>>>) {
        let records: Vec<_> = targets.iter().map(|target| self.newest(&target.account)).collect();
        let located = records.iter().map(|record| async move {
            if self.is_from_clients() && !self.owns(record) {
                return None;
            }
            match moves::locate_anew(record).await {
                Located::Node(server) => Some(server),
                // What is not known now is asked again where it is stored.
                Located::Volume(_) | Located::Nowhere(_) => None,
            }
        });
        let still_at = moves::at_once(located).await;
        if self.is_from_clients() {
            for (target, record) in targets.iter_mut().zip(records) {
                target.account = record;
            }
        }
        (targets, still_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pigeon_proto::smtp::NODE_CIRCLE;

    #[test]
    fn nodes_that_differ_are_asked_again_and_a_circle_is_not() {
        assert!(may_pass(&TransferError::Elsewhere));
        assert!(may_pass(&TransferError::Answered(RecipientRefusal::Astray.reply())));
        assert!(!may_pass(&TransferError::Answered(NODE_CIRCLE)));
        assert!(!may_pass(&TransferError::Answered(RecipientRefusal::NoOwner.reply())));
    }
}
