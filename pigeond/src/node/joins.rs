//! The joints between crates that do not know each other: what faces clients asks through its traits, delivery and the
//! backend servers answer.

use super::core::{SessionKey, node};
use super::moves::{self, Located, Way};
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
use pigeon_store::{Account, AccountId, Limits, MessageKey};
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
        let (received_at, answered_singly) = (envelope.received_at, envelope.answered_singly);
        Box::pin(async move {
            let (recipients, refused) = recipients_of(recipients).await;
            if let (true, Some(error)) = (recipients.is_empty(), refused.iter().flatten().next()) {
                return Err(error.clone());
            }
            // One answer for all: nobody has it before everybody can be found.
            if !answered_singly && refused.contains(&Some(TransferError::Elsewhere)) {
                return Err(TransferError::Elsewhere);
            }
            let transfer = volumes?.begin(received_at, recipients).await.map_err(transfer_error)?;
            Ok(Box::new(VolumeTransfer { transfer, refused }) as Box<dyn Transfer>)
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
            let (recipients, refused) = recipients_of(recipients).await;
            let results = match recipients.is_empty() {
                true => Vec::new(),
                false => volumes.deliver(received_at, recipients, message).await,
            };
            all_results(results, refused)
        })
    }
}

/// Recipients with their places, and for each target why it is none, if it is none.
async fn recipients_of(targets: Vec<Target>) -> (Vec<Recipient>, Vec<Option<TransferError>>) {
    let mut recipients = Vec::with_capacity(targets.len());
    let mut refused = Vec::with_capacity(targets.len());
    // Nearly always nobody has moved.
    let mut located = Vec::new();
    if targets.iter().any(|target| target.account.was_elsewhere()) {
        located = moves::at_once(targets.iter().map(|target| moves::locate(&target.account))).await;
    }
    let mut located = located.into_iter();
    for target in targets {
        let place = match located.next().flatten() {
            None => None,
            Some(Located::Volume(place)) => Some(place),
            // Whoever routes mail asks before; between that and now it has begun to move.
            Some(Located::Node(_)) => {
                refused.push(Some(TransferError::Elsewhere));
                continue;
            }
            Some(Located::Nowhere(why)) => {
                tracing::error!(dn = target.account.dn(), account = %target.account.id(), why, "mail for an account on its way");
                refused.push(Some(TransferError::Moved(why)));
                continue;
            }
        };
        refused.push(None);
        recipients.push(Recipient {
            account: target.account,
            place,
            prepend: target.prepend,
            key: target.key.map(MessageKey),
        });
    }
    (recipients, refused)
}

/// The results in the order of the targets.
fn all_results(
    results: Vec<Result<(), DeliveryError>>,
    refused: Vec<Option<TransferError>>,
) -> Vec<Result<(), TransferError>> {
    let mut results = results.into_iter();
    let missing = || Err(DeliveryError::Unavailable("no result".to_owned()));
    refused
        .into_iter()
        .map(|refused| match refused {
            Some(error) => Err(error),
            None => results.next().unwrap_or_else(missing).map_err(transfer_error),
        })
        .collect()
}

struct VolumeTransfer {
    transfer: pigeon_delivery::Transfer,
    /// For each target why it is left out.
    refused: Vec<Option<TransferError>>,
}

impl Transfer for VolumeTransfer {
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move { self.transfer.write(chunk).await.map_err(transfer_error) })
    }

    fn commit(self: Box<Self>) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        Box::pin(async move { all_results(self.transfer.commit().await, self.refused) })
    }
}

fn transfer_error(error: DeliveryError) -> TransferError {
    match error {
        DeliveryError::OverQuota => TransferError::OverQuota,
        DeliveryError::TooLarge => TransferError::TooLarge,
        DeliveryError::NoSpace => TransferError::NoSpace,
        DeliveryError::Elsewhere => TransferError::Elsewhere,
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
            let volume = moves::volume_of(record);
            let place = match table.as_ref().map(|table| table.place(&record.id().0, volume)) {
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
            let going = Going {
                service,
                unlimited,
                hops_left: HOPS_MAX,
            };
            go(place, going, login, stream).await;
        })
    }
}

/// Volumes of this node that a session looks for its account in, one after the other.
const HOPS_MAX: u8 = 3;

/// A session on its way to a volume.
#[derive(Clone, Copy)]
struct Going {
    service: Service,
    unlimited: bool,
    hops_left: u8,
}

/// To the core that owns the volume.
async fn go(place: Place, going: Going, login: Login, stream: Stream) {
    let session = login.session;
    let detached = match stream.detach().await {
        Ok(detached) => detached,
        Err(error) => {
            tracing::debug!(%session, %error, "connection lost at login");
            return;
        }
    };
    let arrived = on_core(place.core, move || async move { arrive(place, going, login, detached) }).await;
    if arrived.is_err() {
        tracing::warn!(%session, "the core of the account has ended");
    }
}

/// A session arrives on the core that owns its volume.
fn arrive(place: Place, going: Going, login: Login, stream: DetachedStream) {
    let Some(node) = node() else { return };
    let session = login.session;
    let Going { service, unlimited, .. } = going;
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
        if let Some(taker) = login.taker.clone() {
            return Box::pin(give(stream, login, account, place, taker)).await;
        }
        let stream = match moves::way(record, &account, place).await {
            Way::Here => stream,
            elsewhere => return Box::pin(go_elsewhere(elsewhere, going, key, login, stream)).await,
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

/// The session is a node that fetches the account.
async fn give(mut stream: Stream, login: Login, account: Account, place: Place, taker: Arc<str>) {
    let Opening::Imap { tag } = &login.opening else {
        return refuse(stream, &login.opening).await;
    };
    stream.set_deadline(Some(pigeon_engine::now() + REFUSAL_TIME));
    let answer = Bytes::from(format!("{tag} OK Ask for what you want\r\n"));
    if stream.send(answer).await.is_ok() {
        moves::give(stream, account, place, &taker).await;
    }
}

/// The account is at another place than control data says, as long as it moves.
async fn go_elsewhere(way: Way, going: Going, key: SessionKey, login: Login, stream: Stream) {
    match way {
        Way::Volume(place) if going.hops_left > 0 => {
            let going = Going {
                hops_left: going.hops_left - 1,
                ..going
            };
            go(place, going, login, stream).await;
        }
        Way::Node(server) if going.service.is_backend() => redirects::refer(&server, &login, stream).await,
        Way::Node(server) => redirects::redirect_here(going.service, key, login, stream, server).await,
        Way::Volume(_) | Way::Here => {
            tracing::error!(session = %login.session, dn = login.account.dn(), "each volume says that the account is in another");
            refuse(stream, &login.opening).await;
        }
        Way::Nowhere(why) => {
            tracing::error!(session = %login.session, dn = login.account.dn(), account = %login.account.id(), why, "login to an account on its way");
            refuse(stream, &login.opening).await;
        }
    }
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
