//! The joints between crates that do not know each other: what faces clients asks through its traits, delivery and the
//! backend servers answer.

use super::shared::Shared;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pigeon_delivery::{DeliveryError, MailStore as Volumes, Recipient};
use pigeon_proxy::{EnvelopeInfo, MailStore, Target, Transfer, TransferError};
use std::rc::Rc;
use std::sync::Arc;

/// Mail that was accepted goes into the node's volumes.
pub(super) struct IntoVolumes {
    pub(super) volumes: Volumes,
    pub(super) shared: Arc<Shared>,
}

impl MailStore for IntoVolumes {
    fn begin(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>> {
        let volumes = self.volumes.clone();
        let envelope = envelope.clone();
        Box::pin(async move {
            let recipients = recipients
                .into_iter()
                .map(|target| Recipient { account: target.account, prepend: target.prepend })
                .collect();
            match volumes.begin(envelope.received_at, recipients).await {
                Ok(transfer) => Ok(Box::new(IntoVolumesTransfer { transfer, envelope }) as Box<dyn Transfer>),
                Err(error) => Err(told(&envelope, error)),
            }
        })
    }
}

struct IntoVolumesTransfer {
    transfer: pigeon_delivery::Transfer,
    envelope: Rc<EnvelopeInfo>,
}

impl Transfer for IntoVolumesTransfer {
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { self.transfer.write(chunk).await.map_err(|error| told(&self.envelope, error)) })
    }

    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        Box::pin(async move {
            let results = self.transfer.commit().await;
            results.into_iter().map(|result| result.map_err(|error| told(&self.envelope, error))).collect()
        })
    }
}
