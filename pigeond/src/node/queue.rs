//! The queue of one core: what waits in its volumes for other nodes, from their opening to the end.

use super::core::CoreNode;
use super::moves;
use super::shared::Shared;
use crate::config::OverQuota;
use crate::status::{Counter, WaitingMessage};
use pigeon_datatree_cache::CoreCopy;
use pigeon_delivery::MailStore;
use pigeon_delivery::queue::{
    CountQueued, Listed, Located, QUEUE_ACCOUNT, QueueEvent, QueueParts, Queues, Room, Runner, Stop, list,
};
use pigeon_delivery::remote::Peers;
use pigeon_engine::{Task, current_core};
use pigeon_store::{KEY_LIFE_SECONDS, Volume, VolumeState};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Another node has the same software, or a newer one that keeps them for no less.
const KEY_LIFE: Duration = Duration::from_secs(KEY_LIFE_SECONDS.unsigned_abs());

thread_local! {
    /// Of this core, opened before there are listeners and started with them.
    static OPENED: RefCell<Vec<Runner>> = const { RefCell::new(Vec::new()) };
}

/// Looks what waits in a volume of this core, which has just been opened and has mail of these accounts.
pub(super) async fn open(shared: &Shared, index: usize, volume: &Volume, accounts: &[[u8; 16]]) {
    if shared.cluster.is_none() {
        if accounts.contains(&QUEUE_ACCOUNT.0) {
            let volume = &shared.config.volumes[index].id;
            tracing::warn!(
                volume,
                "mail may wait for other nodes, and without [cluster] nobody brings it"
            );
        }
        return;
    }
    match Runner::open(index, volume, shared.queue.clone()).await {
        Ok(runner) => OPENED.with_borrow_mut(|opened| opened.push(runner)),
        Err(error) => {
            let volume = &shared.config.volumes[index].id;
            tracing::error!(volume, %error, "what waits for other nodes in this volume cannot be read");
        }
    }
}

/// The queue, where the volumes have been opened.
pub(super) fn queues(shared: &Arc<Shared>) -> Option<Queues> {
    let table = shared.table.get()?.clone();
    let looked = shared.clone();
    let has_room = move |volume: usize| room(&looked, volume);
    Some(Queues::new(table, shared.queue.clone(), Rc::new(has_room)))
}

/// Whether a volume has room for mail that waits. What is on its way meanwhile may go a little beyond.
pub(super) fn room(shared: &Shared, volume: usize) -> Room {
    let configured = shared.config.queue;
    let size = {
        let volumes = shared.volumes();
        match volumes.get(volume) {
            Some(status) if status.state == Ok(VolumeState::Writable) => status.total_bytes,
            _ => return Room::No,
        }
    };
    let (here, all) = shared.queue.bytes(volume);
    let own = shared.config.volumes[volume].bytes_max.map(|size| size.bytes());
    // Not looked at yet: zero.
    let size = own.unwrap_or(u64::MAX).min(if size == 0 { u64::MAX } else { size });
    let share = size / 100 * u64::from(configured.share_max);
    let is_full = here >= share || configured.bytes_max.is_some_and(|most| all >= most.bytes());
    if is_full { Room::Full } else { Room::Yes }
}

/// What waits in the volumes of this core, message by message: the oldest of each.
pub(super) async fn list_own(shared: &Shared, most: usize) -> (Vec<WaitingMessage>, bool) {
    let (mut listed, mut complete) = (Vec::new(), true);
    for (index, volume) in pigeon_delivery::own_volumes() {
        let id = &shared.config.volumes[index].id;
        let room = most.saturating_sub(listed.len());
        match list(&volume, room).await {
            Ok(messages) => {
                complete &= messages.len() < room;
                listed.extend(messages.into_iter().map(|message| shown(id, message)));
            }
            Err(error) => {
                tracing::warn!(volume = id, %error, "what waits in this volume cannot be listed");
                complete = false;
            }
        }
    }
    (listed, complete)
}

fn shown(volume: &str, message: Listed) -> WaitingMessage {
    let (envelope, why) = match message.envelope {
        Ok(envelope) => (Some(envelope), None),
        Err(why) => (None, Some(why)),
    };
    let envelope = envelope.as_ref();
    WaitingMessage {
        node: message.destination,
        volume: volume.to_owned(),
        uid: message.uid,
        received_at: message.received_at,
        bytes: message.bytes,
        id: envelope.map(|envelope| envelope.id.clone()),
        sender: envelope.map(|envelope| envelope.sender.clone()),
        recipients: envelope.map_or_else(Vec::new, |envelope| envelope.recipients.clone()),
        recipients_total: envelope.map_or(0, |envelope| envelope.waiting as u64),
        unsure: envelope.is_some_and(|envelope| envelope.unsure),
        unreadable: why,
    }
}

/// Counts for the status port.
pub(super) fn count(shared: &Arc<Shared>) -> CountQueued {
    let shared = shared.clone();
    Rc::new(move |event| {
        shared.counters[usize::from(current_core().0)].count(match event {
            QueueEvent::Queued => Counter::CopiesQueued,
            QueueEvent::Tried => Counter::QueueTries,
            QueueEvent::Delivered => Counter::QueuedCopiesDelivered,
            QueueEvent::Bounced => Counter::QueuedCopiesBounced,
            QueueEvent::Kept => Counter::QueuedCopiesKept,
            QueueEvent::PutAside => Counter::QueuedPutAside,
            QueueEvent::ToPostmaster => Counter::QueuedToPostmaster,
            QueueEvent::PerhapsTwice => Counter::QueuedPerhapsTwice,
        });
    })
}

/// What brings the mail that waits on this core.
#[derive(Default)]
pub(super) struct Running {
    stop: Rc<Stop>,
    tasks: RefCell<Vec<Task<()>>>,
}

impl Running {
    /// Starts it, once the volumes of all cores have been opened.
    pub(super) fn start(&self, shared: &Arc<Shared>, copy: &Rc<CoreCopy>, peers: Option<&Peers>) {
        let opened = OPENED.take();
        let (Some(cluster), Some(peers), Some(table), Some(queues)) =
            (&shared.cluster, peers, shared.table.get(), queues(shared))
        else {
            return;
        };
        let parts = QueueParts {
            copy: copy.clone(),
            node: cluster.node.as_str().into(),
            host_name: shared.config.hostname.as_str().into(),
            peers: peers.clone(),
            local: MailStore::new(table.clone()),
            locate: Rc::new(|account| {
                Box::pin(async move {
                    Some(match moves::locate(&account).await? {
                        moves::Located::Volume(place) => Located::Volume(place),
                        moves::Located::Node(server) => Located::Node(server),
                        moves::Located::Nowhere(why) => Located::Nowhere(why),
                    })
                })
            }),
            queues,
            count: count(shared),
            life: shared.config.queue.life.duration(),
            key_life: KEY_LIFE,
            over_quota_defers: shared.config.policy.over_quota == OverQuota::Defer,
        };
        for runner in opened {
            let task = pigeon_engine::spawn(runner.run(parts.clone(), self.stop.clone()));
            self.tasks.borrow_mut().push(task);
        }
    }

    /// Tries nothing more, and waits for what is under way, at most until `deadline`: what is cut off is brought again.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.stop.set();
        for task in self.tasks.take() {
            let left = deadline.saturating_duration_since(pigeon_engine::now());
            // Cut off or ended: both are fine, and a panic was counted where it happened.
            let _ = pigeon_engine::timeout(left, task).await;
        }
    }
}

impl CoreNode {
    /// Brings what waits.
    pub(super) fn start_queue(&self) {
        self.queue.start(&self.shared, &self.copy, self.contexts.peers());
    }
}
