//! Brings what waits in one volume: a task for each node that mail waits for, from the volume's opening to its end.
//!
//! A node that does not answer is looked for by a connection now and then, not by messages. A message that has been brought is
//! taken out of the queue without waiting for that: after a crash it is brought again under its key, and suppressed. While
//! that cannot be noted, nothing is tried (`notes`).

use super::attempt::{Attempt, Ending, Outcome};
use super::index::{QueueGauge, QueueIndex, Sender, sender};
use super::kept::Kept;
use super::notes::Notes;
use super::schedule::{Schedule, probe_pause};
use super::stored::{Stored, Unreadable};
use super::{MAILBOX_PREFIX, QUEUE_ACCOUNT, QueueParts, UNDELIVERABLE, is_up};
use crate::queue::envelope::text_of;
use futures_util::future::select;
use pigeon_engine::sync::Notify;
use pigeon_store::{Account, Mailbox, StoreError, Uid, Volume};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of one queue that are tried at a time.
const TRIES_AT_ONCE: usize = 8;
/// At least so often is looked whose time is over.
const LOOK: Duration = Duration::from_secs(10);

/// The queue of one volume; see the module.
pub struct Runner {
    volume: usize,
    of: Volume,
    account: Account,
    index: Arc<QueueIndex>,
    /// For each node that mail waits for at the start.
    before: HashMap<String, Before>,
}

/// What was there at the start, of an earlier life.
#[derive(Clone, Copy)]
struct Before {
    /// Messages below.
    below: Uid,
    /// So many of them nobody has looked at. Counted with `below`: what comes before the queue runs is not of an earlier life.
    unread: u64,
}

impl Runner {
    /// Looks what waits in a volume that has just been opened. Newer mail of all its senders waits from here on, until each
    /// message was looked at.
    pub async fn open(volume: usize, of: &Volume, index: Arc<QueueIndex>) -> Result<Runner, StoreError> {
        let account = of.account(QUEUE_ACCOUNT).await?;
        let mut before = HashMap::new();
        for mailbox in account.mailboxes() {
            let name = mailbox.name();
            if let Some(destination) = name.strip_prefix(MAILBOX_PREFIX) {
                let status = mailbox.status();
                let unread = u64::from(status.messages);
                index.set_unread(volume, destination, unread);
                index.publish(volume, destination, gauge(&mailbox, None));
                if status.messages > 0 {
                    tracing::info!(volume, destination, messages = status.messages, "mail waits");
                }
                let below = status.uid_next;
                before.insert(destination.to_owned(), Before { below, unread });
            } else if name == UNDELIVERABLE {
                index.publish(volume, UNDELIVERABLE, gauge(&mailbox, None));
            }
        }
        Ok(Runner {
            volume,
            of: of.clone(),
            account,
            index,
            before,
        })
    }

    /// Brings mail until the volume is closed or `stop` says so; what is under way then is waited for.
    pub async fn run(mut self, parts: QueueParts, stop: Rc<Stop>) {
        let mut running = BTreeMap::new();
        let changed = self.account.changed();
        loop {
            let (change, stopped) = (changed.notified(), stop.changed.notified());
            if stop.is_set() {
                break;
            }
            for mailbox in self.account.mailboxes() {
                let name = mailbox.name();
                if !mailbox.is_selectable() || running.contains_key(&name) {
                    continue;
                }
                let task = if let Some(destination) = name.strip_prefix(MAILBOX_PREFIX) {
                    let queue = self.queue(destination, mailbox, &parts);
                    pigeon_engine::spawn(queue.run(stop.clone()))
                } else if name == UNDELIVERABLE {
                    let kept = Kept::new(self.volume, mailbox, self.index.clone(), parts.clone());
                    pigeon_engine::spawn(kept.run(self.of.clone(), stop.clone()))
                } else {
                    continue;
                };
                running.insert(name, task);
            }
            select(pin!(change), pin!(stopped)).await;
        }
        for task in running.into_values() {
            // A panic in it was logged and counted where it happened.
            let _ = task.await;
        }
    }

    fn queue(&mut self, destination: &str, mailbox: Mailbox, parts: &QueueParts) -> Queue {
        let nothing = Before {
            below: Uid(1),
            unread: 0,
        };
        let ended: Rc<Ended> = Rc::default();
        Queue {
            volume: self.volume,
            destination: destination.into(),
            before: self.before.remove(destination).unwrap_or(nothing),
            notes: Notes::new(self.of.clone(), mailbox.clone(), ended.wake.clone()),
            held: None,
            mailbox,
            index: self.index.clone(),
            parts: parts.clone(),
            schedule: Schedule::default(),
            read_to: Uid(0),
            tries: 0,
            ended,
            away: None,
            looked_at: None,
        }
    }
}

/// Asks runners to end.
#[derive(Default)]
pub struct Stop {
    set: Cell<bool>,
    changed: Notify,
}

impl Stop {
    /// No more is tried from here on.
    pub fn set(&self) {
        self.set.set(true);
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Ends when it is set after this call.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }
}

/// What the tasks of a queue leave behind for it.
#[derive(Default)]
struct Ended {
    outcomes: RefCell<Vec<(Uid, Ending)>>,
    /// What the look for the node found.
    found: Cell<Option<bool>>,
    wake: Rc<Notify>,
}

/// The node does not answer.
struct Away {
    looks: u32,
    next: Instant,
    /// A look is under way.
    looking: bool,
    /// Of control data, when it was found to be away: another may have other owners or addresses.
    generation: u64,
}

/// What waits in one volume for one node.
struct Queue {
    volume: usize,
    destination: Rc<str>,
    mailbox: Mailbox,
    before: Before,
    notes: Notes,
    /// Why nothing is tried, as it was told last.
    held: Option<Arc<str>>,
    index: Arc<QueueIndex>,
    parts: QueueParts,
    schedule: Schedule,
    read_to: Uid,
    tries: usize,
    ended: Rc<Ended>,
    away: Option<Away>,
    looked_at: Option<Instant>,
}

impl Queue {
    async fn run(mut self, stop: Rc<Stop>) {
        let (ended, changed) = (self.ended.clone(), self.mailbox.account().changed());
        loop {
            let woken = (ended.wake.notified(), changed.notified(), stop.changed.notified());
            let mut closed = self.load().await.is_err();
            let now = pigeon_engine::now();
            for (uid, ending) in ended.outcomes.take() {
                self.tries -= 1;
                closed |= ending.outcome == Outcome::Closed;
                self.take(uid, ending, now);
            }
            self.notes.write(now);
            self.look_whether_held();
            let ends = stop.is_set() || closed;
            if !ends {
                self.try_more(now);
                self.look_for_it(now);
            }
            let gauge = gauge(&self.mailbox, self.held.clone());
            self.index.publish(self.volume, &self.destination, gauge);
            if ends && self.tries == 0 && !self.notes.is_writing() {
                return;
            }
            let until = self.wakes_at(now).unwrap_or(now + LOOK).min(now + LOOK);
            let woken = async move {
                let other = async move {
                    select(pin!(woken.1), pin!(woken.2)).await;
                };
                select(pin!(woken.0), pin!(other)).await;
            };
            // Nobody woke it: then it is time for something.
            let _ = pigeon_engine::timeout(until.saturating_duration_since(now), woken).await;
        }
    }

    /// Whether a message could be tried now, if the node were there.
    fn has_work(&self, now: Instant) -> bool {
        self.schedule.has_ready() || self.schedule.due().is_some_and(|due| due <= now)
    }

    /// Says when nothing can be noted any more, and when it can again.
    fn look_whether_held(&mut self) {
        let held = self.notes.held();
        if held == self.held {
            return;
        }
        let (destination, volume) = (&*self.destination, self.volume);
        match &held {
            Some(why) => tracing::error!(
                destination,
                volume,
                why = &**why,
                "queued mail is not brought: it could not be noted, and would be brought twice"
            ),
            None => tracing::info!(destination, volume, "queued mail is brought again"),
        }
        self.held = held;
    }

    /// When there is something to do that nobody wakes it for.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        if self.held.is_some() {
            return self.notes.due();
        }
        match &self.away {
            Some(away) if away.looking => None,
            Some(away) if self.has_work(now) => Some(away.next),
            // A try that ends wakes it.
            None if self.tries >= TRIES_AT_ONCE => None,
            Some(_) | None => self.schedule.due(),
        }
    }

    /// Looks at messages that are new, as long as there is room for them.
    async fn load(&mut self) -> Result<(), StoreError> {
        while !self.schedule.is_full() {
            let after = self.read_to;
            let next = self.mailbox.with_messages(|messages| {
                let place = messages.partition_point(|message| message.uid <= after);
                messages.get(place).map(|message| message.uid)
            });
            let Some(uid) = next else { break };
            let (of, received_at, is_read) = match Stored::open(&self.mailbox, uid).await {
                Ok(stored) => {
                    let path = text_of(stored.envelope.reverse_path.as_ref());
                    (sender(&path), stored.envelope.received_at, true)
                }
                Err(Unreadable::Store(StoreError::Closed)) => return Err(StoreError::Closed),
                // The try tells what is wrong with it. Its life counts all the same, should it be read later.
                Err(_) => {
                    let received_at = self
                        .mailbox
                        .message(uid)
                        .map_or(i64::MAX, |message| message.internal_date);
                    (None, received_at, false)
                }
            };
            self.read_to = uid;
            if uid >= self.before.below {
                match (of, is_read) {
                    (Some(_), _) => {}
                    (None, true) => self.index.leave(&self.destination, None),
                    (None, false) => self.index.lose(&self.destination),
                }
            } else {
                if of.is_some() {
                    self.index.enter(&self.destination, of);
                }
                self.before.unread = self.before.unread.saturating_sub(1);
                self.index
                    .set_unread(self.volume, &self.destination, self.before.unread);
            }
            self.schedule.add(uid, of, received_at);
        }
        Ok(())
    }

    fn take(&mut self, uid: Uid, ending: Ending, now: Instant) {
        let Ending {
            outcome,
            unsure,
            unmarked,
        } = ending;
        if let Some(change) = unmarked {
            self.notes.done(change);
        }
        if unsure {
            self.schedule.unsure(uid, unix_seconds());
        }
        match outcome {
            Outcome::Done => {
                let held = self.schedule.done(uid);
                self.leave(held);
                self.notes.gone(uid);
            }
            Outcome::Later => {
                let held = self.schedule.deferred(uid, now, chance());
                self.leave(held);
            }
            Outcome::Unreached | Outcome::BrokenOff | Outcome::Closed => {
                if outcome == Outcome::BrokenOff {
                    let held = self.schedule.broken_off(uid, now, chance());
                    self.leave(held);
                } else {
                    self.schedule.unreached(uid);
                }
                if self.away.is_none() {
                    let generation = self.parts.copy.snapshot().generation();
                    tracing::warn!(destination = &*self.destination, "mail waits: its node is away");
                    self.away = Some(Away {
                        looks: 0,
                        next: now + probe_pause(0, chance()),
                        looking: false,
                        generation,
                    });
                }
            }
        }
    }

    fn leave(&self, held: Option<Sender>) {
        if held.is_some() {
            self.index.leave(&self.destination, held);
        }
    }

    /// How many may be tried now.
    fn room(&self) -> usize {
        match self.notes.held() {
            Some(_) => 0,
            None => TRIES_AT_ONCE
                .saturating_sub(self.tries)
                .min(self.notes.room(self.tries)),
        }
    }

    fn try_more(&mut self, now: Instant) {
        if self.looked_at.is_none_or(|looked_at| now >= looked_at + LOOK) {
            let room = self.room();
            let life = i64::try_from(self.parts.life.as_secs()).unwrap_or(i64::MAX);
            let oldest = unix_seconds().saturating_sub(life);
            let expired = self.schedule.expire(oldest, room);
            if expired.len() < room {
                self.looked_at = Some(now);
            }
            for uid in expired {
                self.start(uid, true);
            }
        }
        let generation = self.parts.copy.snapshot().generation();
        self.away = self.away.take().filter(|away| away.generation == generation);
        while self.away.is_none() && self.room() > 0 {
            let Some(uid) = self.schedule.next(now) else { break };
            self.start(uid, self.schedule.is_expired(uid));
        }
    }

    fn start(&mut self, uid: Uid, expired: bool) {
        let attempt = Attempt {
            parts: self.parts.clone(),
            destination: self.destination.clone(),
            mailbox: self.mailbox.clone(),
            uid,
            expired,
            unsure_since: self.schedule.unsure_since(uid),
        };
        self.tries += 1;
        let mut end = TryEnds {
            ended: self.ended.clone(),
            uid,
            ending: Outcome::Later.into(),
        };
        drop(pigeon_engine::spawn(async move {
            end.ending = attempt.run().await;
            drop(end);
        }));
    }

    /// Connects to the node when it is time to, to see whether it is back.
    fn look_for_it(&mut self, now: Instant) {
        if let (Some(found), Some(away)) = (self.ended.found.take(), &mut self.away) {
            if found {
                tracing::info!(destination = &*self.destination, "its node is back: mail goes on");
                self.away = None;
                self.try_more(now);
            } else {
                away.looking = false;
                away.looks = away.looks.saturating_add(1);
                away.next = now + probe_pause(away.looks, chance());
            }
        }
        let has_work = self.has_work(now);
        let Some(away) = &mut self.away else { return };
        if away.looking || now < away.next || !has_work || self.held.is_some() {
            return;
        }
        away.looking = true;
        let (ended, peers) = (self.ended.clone(), self.parts.peers.clone());
        let server = self.parts.copy.snapshot().server(&self.destination).cloned();
        drop(pigeon_engine::spawn(async move {
            let found = match server.filter(is_up) {
                Some(server) => peers.look(&server).await,
                None => false,
            };
            ended.found.set(Some(found));
            ended.wake.notify_all();
        }));
    }
}

/// Says what a try came to, however it ends: a panic in it is a try that is to be made later.
struct TryEnds {
    ended: Rc<Ended>,
    uid: Uid,
    ending: Ending,
}

impl Drop for TryEnds {
    fn drop(&mut self) {
        let ending = std::mem::replace(&mut self.ending, Outcome::Later.into());
        self.ended.outcomes.borrow_mut().push((self.uid, ending));
        self.ended.wake.notify_all();
    }
}

pub(super) fn gauge(mailbox: &Mailbox, held: Option<Arc<str>>) -> QueueGauge {
    let status = mailbox.status();
    QueueGauge {
        messages: u64::from(status.messages),
        bytes: status.size,
        oldest: mailbox.with_messages(|messages| messages.first().map(|message| message.internal_date)),
        held,
    }
}

pub(super) fn unix_seconds() -> i64 {
    i64::try_from(pigeon_engine::unix_time().as_secs()).unwrap_or(i64::MAX)
}

/// A random byte.
fn chance() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}
