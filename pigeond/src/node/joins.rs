//! The joints between crates that do not know each other: what faces clients asks through its traits, delivery and the
//! backend servers answer.

use super::core::node;
use super::redirects;
use super::shared::Shared;
use crate::config::Service;
use crate::status::Counter;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::{Account as Record, Owner};
use pigeon_delivery::{DeliveryError, MailStore as Volumes, Place, Recipient};
use pigeon_engine::stream::{DetachedStream, Stream};
use pigeon_engine::{current_core, on_core};
use pigeon_proto::network::NetworkSet;
use pigeon_proto::sasl::Exchange;
use pigeon_proto::sasl::scram::ClientFirst;
use pigeon_proxy::{
    Attempt, Authenticator, Backend, CheckCredentials, EnvelopeInfo, Login, MailStore, Opening, Outcome, ProofAttempt,
    Target, Transfer, TransferError,
};
use pigeon_serve::{imap, pop3};
use pigeon_store::{AccountId, Limits, MessageKey};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// For a client that does not read the answer to its login; a guess.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

/// Mail that was accepted goes into the node's volumes.
pub(super) struct IntoVolumes {
    shared: Arc<Shared>,
}

impl IntoVolumes {
    /// Into the volumes of the node's table, which is there before the first listener.
    pub(super) fn new(shared: Arc<Shared>) -> IntoVolumes {
        IntoVolumes { shared }
    }

    fn volumes(&self) -> Result<Volumes, TransferError> {
        let table = self.shared.table.get().cloned();
        let table = table.ok_or_else(|| TransferError::Unavailable("the volumes are not open yet".to_owned()))?;
        Ok(Volumes::new(table))
    }
}

impl MailStore for IntoVolumes {
    fn begin(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>> {
        let volumes = self.volumes();
        let received_at = envelope.received_at;
        Box::pin(async move {
            let transfer = volumes?
                .begin(received_at, recipients_of(recipients))
                .await
                .map_err(transfer_error)?;
            Ok(Box::new(VolumeTransfer { transfer }) as Box<dyn Transfer>)
        })
    }

    fn deliver(
        &self,
        envelope: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
        message: Bytes,
    ) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        let volumes = self.volumes();
        let received_at = envelope.received_at;
        Box::pin(async move {
            let volumes = match volumes {
                Ok(volumes) => volumes,
                Err(error) => return vec![Err(error); recipients.len()],
            };
            transfer_results(volumes.deliver(received_at, recipients_of(recipients), message).await)
        })
    }
}

fn recipients_of(targets: Vec<Target>) -> Vec<Recipient> {
    let recipient = |target: Target| Recipient {
        account: target.account,
        prepend: target.prepend,
        key: target.key.map(MessageKey),
    };
    targets.into_iter().map(recipient).collect()
}

fn transfer_results(results: Vec<Result<(), DeliveryError>>) -> Vec<Result<(), TransferError>> {
    results
        .into_iter()
        .map(|result| result.map_err(transfer_error))
        .collect()
}

struct VolumeTransfer {
    transfer: pigeon_delivery::Transfer,
}

impl Transfer for VolumeTransfer {
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { self.transfer.write(chunk).await.map_err(transfer_error) })
    }

    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        Box::pin(async move { transfer_results(self.transfer.commit().await) })
    }
}

fn transfer_error(error: DeliveryError) -> TransferError {
    match error {
        DeliveryError::OverQuota => TransferError::OverQuota,
        DeliveryError::TooLarge => TransferError::TooLarge,
        DeliveryError::NoSpace => TransferError::NoSpace,
        DeliveryError::Unavailable(why) => TransferError::Unavailable(why),
    }
}

/// Counts logins of all services.
pub(super) struct CountedLogins {
    pub(super) check: Authenticator,
    pub(super) shared: Arc<Shared>,
}

impl CheckCredentials for CountedLogins {
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome> {
        let (check, shared) = (self.check.clone(), self.shared.clone());
        Box::pin(async move { counted(&shared, check.check(attempt).await) })
    }

    fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        self.check.challenge(first)
    }

    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome> {
        let (check, shared) = (self.check.clone(), self.shared.clone());
        Box::pin(async move { counted(&shared, check.check_proof(attempt).await) })
    }
}

fn counted(shared: &Shared, outcome: Outcome) -> Outcome {
    let counters = &shared.counters[usize::from(current_core().0)];
    match &outcome {
        Outcome::Accepted(_) => counters.count(Counter::Logins),
        Outcome::Refused | Outcome::NotAllowed | Outcome::Elsewhere(_) | Outcome::Unavailable => {
            counters.count(Counter::LoginFailures)
        }
    }
    outcome
}

/// Sessions that have logged in go to the core that owns their volume.
pub(super) struct HandOver {
    pub(super) shared: Arc<Shared>,
    /// Of the listener.
    pub(super) service: Service,
    /// Of the listener: clients that are not bound by the number of their sessions.
    pub(super) unlimited: NetworkSet,
}

impl Backend for HandOver {
    fn hand_over(&self, login: Login, stream: Stream) -> LocalBoxFuture<'static, ()> {
        let (service, table) = (self.service, self.shared.table.get().cloned());
        let unlimited = self.unlimited.contains(stream.peer_address().ip());
        Box::pin(async move {
            match redirects::owner(service, &login) {
                Some(Owner::Here) => {}
                Some(Owner::Node(server)) => {
                    return redirects::redirect(service, unlimited, login, stream, server).await;
                }
                Some(Owner::Nowhere(_)) | None => return refuse(stream, &login.opening).await,
            }
            let record = &login.account;
            let place = match table.as_ref().map(|table| table.place(&record.id().0, record.volume())) {
                Some(Ok(place)) => place,
                failed => {
                    let why = failed.map(|place| place.map_err(|error| error.to_string()).err());
                    let why = why
                        .flatten()
                        .unwrap_or_else(|| "the volumes are not open yet".to_owned());
                    tracing::error!(session = %login.session, dn = record.dn(), why, "login without a place");
                    return refuse(stream, &login.opening).await;
                }
            };
            let session = login.session;
            let detached = match stream.detach().await {
                Ok(detached) => detached,
                Err(error) => {
                    tracing::debug!(%session, %error, "connection lost at login");
                    return;
                }
            };
            let arrived = on_core(place.core, move || async move {
                arrive(place, service, unlimited, login, detached)
            })
            .await;
            if arrived.is_err() {
                tracing::warn!(%session, "the core of the account has ended");
            }
        })
    }
}

/// A session arrives on the core that owns its volume.
fn arrive(place: Place, service: Service, unlimited: bool, login: Login, stream: DetachedStream) {
    let Some(node) = node() else { return };
    let session = login.session;
    node.clone().run_session(service, |key| async move {
        let stream = stream.attach();
        let record = &login.account;
        let client = stream.peer_address().ip();
        // It counted on the core that it came from; from here on it counts here.
        let Ok(_permit) = node.limits.admit(client, unlimited) else {
            node.counters().count(Counter::SessionsRefused);
            return refuse(stream, &login.opening).await;
        };
        let Some(volume) = pigeon_delivery::volume(place.volume) else {
            return refuse(stream, &login.opening).await;
        };
        let account = match volume.account(AccountId(record.id().0)).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(%session, account = %record.id(), %error, "account cannot be opened");
                return refuse(stream, &login.opening).await;
            }
        };
        let (session_id, end) = (session.0, node.session_end(key, service, record));
        node.note(key, session, stream.peer_address(), None);
        match login.opening {
            Opening::Pop3 { utf8: _ } => {
                Box::pin(pop3::run(
                    stream,
                    pop3::Pop3Login {
                        account,
                        volume,
                        session_id,
                        limits: node.contexts.pop3,
                        end,
                    },
                ))
                .await;
            }
            Opening::Imap { tag } => {
                let user = record.main_address().unwrap_or_default().to_owned();
                let login = imap::ImapLogin {
                    account,
                    volume,
                    user,
                    session_id,
                    tag,
                    limits: limits(record),
                    message_bytes_max: record.message_size_max(),
                    end,
                };
                Box::pin(imap::run(stream, login, node.contexts.imap.clone())).await;
            }
        }
    });
}

fn limits(record: &Record) -> Limits {
    let quota = record.quota();
    Limits {
        bytes: quota.bytes,
        messages: quota.messages,
    }
}

/// The login was right, but the mail is out of reach.
pub(super) async fn refuse(mut stream: Stream, opening: &Opening) {
    stream.set_deadline(Some(pigeon_engine::now() + REFUSAL_TIME));
    if stream.send(opening.unavailable()).await.is_ok() {
        stream.close().await;
    }
}
