//! The messages that a command names, in batches: memory does not grow with the mailbox, and other sessions get their
//! turns in between.

use super::selected::{Selected, known};
use pigeon_engine::runtime::yield_now;
use pigeon_proto::imap::SequenceSet;
use pigeon_store::{Message, Uid};

/// Messages looked at in one turn.
pub(super) const BATCH: usize = 512;

/// A message that a command names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// Its number in this session.
    pub(super) sequence: u32,
    /// As it is now.
    pub(super) message: Message,
}

/// Goes through a set in ascending order.
pub(super) struct Targets {
    ranges: Vec<(u32, u32)>,
    index: usize,
    /// The next number of the range, when it has been entered.
    next: u32,
    uid: bool,
    /// A message number of the set belongs to a message that is gone.
    pub(super) some_gone: bool,
}

/// The set names a message number that does not exist: BAD.
pub(super) struct OutOfRange;

impl Targets {
    /// The messages of `set`, which are UIDs or message sequence numbers of this session.
    pub(super) fn new(selected: &Selected, set: &SequenceSet, uid: bool) -> Result<Self, OutOfRange> {
        let last = if uid {
            selected.view.last_uid().0
        } else {
            selected.view.count()
        };
        if !uid && set.exceeds(last) {
            return Err(OutOfRange);
        }
        let ranges = set.resolve(last).iter().collect();
        Ok(Self {
            ranges,
            index: 0,
            next: 0,
            uid,
            some_gone: false,
        })
    }

    /// All messages that the session knows.
    pub(super) fn all(selected: &Selected) -> Self {
        let last = selected.view.last_uid().0;
        Self {
            ranges: if last == 0 { Vec::new() } else { vec![(1, last)] },
            index: 0,
            next: 0,
            uid: true,
            some_gone: false,
        }
    }

    /// Up to `count_max` more; none at the end.
    pub(super) fn batch(&mut self, selected: &Selected, count_max: usize) -> Vec<Target> {
        let mut batch = Vec::new();
        while let Some(&(first, last)) = self.ranges.get(self.index) {
            let from = self.next.max(first);
            let room = count_max - batch.len();
            if room == 0 {
                return batch;
            }
            let after = if self.uid {
                self.take_uids(selected, from, last, room, &mut batch)
            } else {
                self.take_sequences(selected, from, last, room, &mut batch)
            };
            match after {
                Some(next) => self.next = next,
                None => (self.index, self.next) = (self.index + 1, 0),
            }
        }
        batch
    }

    /// Gives where to go on; `None` when the range is done.
    fn take_uids(
        &self,
        selected: &Selected,
        from: u32,
        last: u32,
        room: usize,
        batch: &mut Vec<Target>,
    ) -> Option<u32> {
        let start = batch.len();
        let more = selected.mailbox().with_messages(|messages| {
            let messages = known(messages, selected.view.last_uid());
            let messages = &messages[messages.partition_point(|message| message.uid.0 < from)..];
            let within = messages.partition_point(|message| message.uid.0 <= last);
            batch.extend(messages[..within.min(room)].iter().map(|message| Target {
                sequence: 0,
                message: *message,
            }));
            within > room
        });
        for target in &mut batch[start..] {
            target.sequence = selected
                .view
                .sequence_of(target.message.uid)
                .expect("the session knows all up to its last UID");
        }
        let next = batch.last().map_or(from, |target| target.message.uid.0).checked_add(1);
        if more { next } else { None }
    }

    fn take_sequences(
        &mut self,
        selected: &Selected,
        from: u32,
        last: u32,
        room: usize,
        batch: &mut Vec<Target>,
    ) -> Option<u32> {
        // A turn is bounded by numbers looked at, not by messages found.
        let to = last.min(from.saturating_add(room as u32 - 1));
        for sequence in from..=to {
            let message = selected
                .view
                .uid_of(sequence)
                .and_then(|uid| selected.mailbox().message(uid));
            match message {
                Some(message) => batch.push(Target { sequence, message }),
                None => self.some_gone = true,
            }
        }
        if to < last { Some(to + 1) } else { None }
    }

    /// The UIDs of all that are left.
    pub(super) async fn uids(mut self, selected: &Selected) -> (Vec<Uid>, bool) {
        let mut uids = Vec::new();
        loop {
            let done = self.index >= self.ranges.len();
            uids.extend(self.batch(selected, BATCH).iter().map(|target| target.message.uid));
            if done {
                return (uids, self.some_gone);
            }
            yield_now().await;
        }
    }

    /// Whether the end has been reached.
    pub(super) fn is_done(&self) -> bool {
        self.index >= self.ranges.len()
    }
}
