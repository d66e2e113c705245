//! A mailbox's state, shared by all sessions of its account.
//!
//! What stands here is durable, but for the `pushed_` counters, which run ahead for messages that are on their way to the
//! disk, so that two appends in flight never get the same UID. Changes come from `account::apply` alone.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use pigeon_engine::sync::Notify;
use pigeon_store_format::{
    FlagGroup, Flags, MailboxDefinition, MailboxId, MailboxImage, Malformed, Message, ModSeq, NewKeyword, SpecialUse,
    Uid, UidRanges, UidValidity,
};

use crate::view::ViewCell;

/// Flag changes remembered for the sessions, each mailbox. Beyond it a session looks at every message once.
const FLAG_LOG_MAX: usize = 512;

/// A mailbox as its handles share it.
pub(crate) struct MailboxCell {
    pub(crate) id: MailboxId,
    pub(crate) uid_validity: UidValidity,
    pub(crate) state: RefCell<MailboxState>,
    pub(crate) changed: Notify,
}

pub(crate) struct MailboxState {
    pub(crate) name: String,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) selectable: bool,
    pub(crate) deleted: bool,
    pub(crate) uid_next: Uid,
    pub(crate) highest_mod_seq: ModSeq,
    pub(crate) first_recent: Uid,
    pub(crate) keywords: Vec<String>,
    /// Ascending by UID.
    pub(crate) messages: Vec<Message>,
    pub(crate) size: u64,
    pub(crate) unseen: u32,
    pub(crate) marked_deleted: u32,
    pub(crate) pushed_uid_next: Uid,
    pub(crate) pushed_mod_seq: ModSeq,
    pub(crate) views: Vec<Weak<ViewCell>>,
    flag_log: VecDeque<(ModSeq, Uid)>,
    /// Every flag change after this is in the log.
    flag_log_from: ModSeq,
}

impl MailboxCell {
    /// A new, empty mailbox.
    pub(crate) fn new(definition: &MailboxDefinition) -> Rc<MailboxCell> {
        Self::with_messages(definition, Vec::new(), Uid(1), ModSeq(1))
    }

    pub(crate) fn with_messages(
        definition: &MailboxDefinition,
        messages: Vec<Message>,
        uid_next: Uid,
        highest_mod_seq: ModSeq,
    ) -> Rc<MailboxCell> {
        let mut state = MailboxState {
            name: definition.name.clone(),
            special_use: definition.special_use,
            selectable: definition.selectable,
            deleted: false,
            uid_next,
            highest_mod_seq,
            first_recent: Uid(1),
            keywords: Vec::new(),
            messages: Vec::new(),
            size: 0,
            unseen: 0,
            marked_deleted: 0,
            pushed_uid_next: uid_next,
            pushed_mod_seq: highest_mod_seq,
            views: Vec::new(),
            flag_log: VecDeque::new(),
            flag_log_from: highest_mod_seq,
        };
        messages.iter().for_each(|message| state.count(message));
        state.messages = messages;
        Rc::new(MailboxCell {
            id: definition.id,
            uid_validity: definition.uid_validity,
            state: RefCell::new(state),
            changed: Notify::new(),
        })
    }

    pub(crate) fn from_image(image: MailboxImage<'_>) -> Rc<MailboxCell> {
        let cell = Self::with_messages(
            &image.definition,
            image.messages.into_owned(),
            image.uid_next,
            image.highest_mod_seq,
        );
        {
            let mut state = cell.state.borrow_mut();
            state.first_recent = image.first_recent;
            state.keywords = image.keywords;
        }
        cell
    }

    pub(crate) fn definition(&self) -> MailboxDefinition {
        let state = self.state.borrow();
        MailboxDefinition {
            id: self.id,
            uid_validity: self.uid_validity,
            special_use: state.special_use,
            selectable: state.selectable,
            name: state.name.clone(),
        }
    }
}

impl MailboxState {
    fn count(&mut self, message: &Message) {
        self.size += u64::from(message.size);
        self.unseen += u32::from(!message.flags.contains(Flags::SEEN));
        self.marked_deleted += u32::from(message.flags.contains(Flags::DELETED));
    }

    fn uncount(&mut self, message: &Message) {
        self.size -= u64::from(message.size);
        self.unseen -= u32::from(!message.flags.contains(Flags::SEEN));
        self.marked_deleted -= u32::from(message.flags.contains(Flags::DELETED));
    }

    /// Index of the first message whose UID is not below `uid`.
    pub(crate) fn rank(&self, uid: Uid) -> usize {
        self.messages.partition_point(|message| message.uid < uid)
    }

    pub(crate) fn message(&self, uid: Uid) -> Option<&Message> {
        self.messages.get(self.rank(uid)).filter(|message| message.uid == uid)
    }

    /// Messages in the ranges, ascending. Takes time by messages, not by the width of the ranges.
    pub(crate) fn indices_in<'s>(&'s self, uids: &'s UidRanges) -> impl Iterator<Item = usize> + 's {
        uids.ranges().iter().flat_map(|(first, last)| {
            let start = self.rank(*first);
            let end = self.messages.partition_point(|message| message.uid <= *last);
            start..end.max(start)
        })
    }

    fn raise(&mut self, mod_seq: ModSeq) {
        self.highest_mod_seq = self.highest_mod_seq.max(mod_seq);
        self.pushed_mod_seq = self.pushed_mod_seq.max(mod_seq);
    }

    pub(crate) fn add_keywords(&mut self, keywords: &[NewKeyword]) -> Result<(), Malformed> {
        for keyword in keywords {
            if usize::from(keyword.index) != self.keywords.len() || self.keywords.len() >= Flags::KEYWORDS_MAX {
                return Err(Malformed("keyword index"));
            }
            self.keywords.push(keyword.name.clone());
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, messages: &[Message]) -> Result<(), Malformed> {
        for message in messages {
            let next = message.uid.0.checked_add(1).ok_or(Malformed("message uid"))?;
            if message.uid < self.uid_next {
                return Err(Malformed("message uid"));
            }
            self.uid_next = Uid(next);
            self.raise(message.mod_seq);
            self.count(message);
            self.messages.push(*message);
        }
        self.pushed_uid_next = self.pushed_uid_next.max(self.uid_next);
        Ok(())
    }

    pub(crate) fn change_flags(&mut self, mod_seq: ModSeq, groups: &[FlagGroup]) {
        let watched = !self.views.is_empty();
        for group in groups {
            let indices: Vec<usize> = self.indices_in(&group.uids).collect();
            for index in indices {
                let mut message = self.messages[index];
                self.uncount(&message);
                message.flags = message.flags.without(group.clear) | group.set;
                message.mod_seq = mod_seq;
                self.count(&message);
                self.messages[index] = message;
                if watched {
                    self.log_flag_change(mod_seq, message.uid);
                }
            }
        }
        if !watched {
            self.flag_log = VecDeque::new();
            self.flag_log_from = mod_seq;
        }
        self.raise(mod_seq);
    }

    fn log_flag_change(&mut self, mod_seq: ModSeq, uid: Uid) {
        if self.flag_log.len() >= FLAG_LOG_MAX
            && let Some((dropped, _)) = self.flag_log.pop_front()
        {
            self.flag_log_from = self.flag_log_from.max(dropped);
        }
        self.flag_log.push_back((mod_seq, uid));
    }

    /// Removes messages, gives them, and tells the sessions.
    pub(crate) fn remove(&mut self, mod_seq: ModSeq, uids: &UidRanges) -> Vec<Message> {
        let mut gone = Vec::new();
        let mut ranges = uids.ranges().iter().copied().peekable();
        self.messages.retain(|message| {
            while ranges.next_if(|(_, last)| *last < message.uid).is_some() {}
            let hit = ranges
                .peek()
                .is_some_and(|(first, last)| *first <= message.uid && message.uid <= *last);
            if hit {
                gone.push(*message);
            }
            !hit
        });
        if self.messages.len() < self.messages.capacity() / 4 {
            self.messages.shrink_to_fit();
        }
        gone.iter().for_each(|message| self.uncount(message));
        self.raise(mod_seq);
        for view in self.views.iter().filter_map(Weak::upgrade) {
            view.expunged(&gone);
        }
        gone
    }

    /// Removes all messages and gives them.
    pub(crate) fn remove_all(&mut self, mod_seq: ModSeq) -> Vec<Message> {
        let gone = std::mem::take(&mut self.messages);
        gone.iter().for_each(|message| self.uncount(message));
        self.raise(mod_seq);
        for view in self.views.iter().filter_map(Weak::upgrade) {
            view.expunged(&gone);
        }
        gone
    }

    /// Changes of flags after `told`, oldest first; `None` when the log does not reach back so far.
    pub(crate) fn flag_changes(&self, told: ModSeq) -> Option<impl Iterator<Item = (ModSeq, Uid)> + '_> {
        if told < self.flag_log_from {
            return None;
        }
        let start = self.flag_log.partition_point(|(mod_seq, _)| *mod_seq <= told);
        Some(self.flag_log.range(start..).copied())
    }

    /// Memory it takes, bytes, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let words: usize = self
            .keywords
            .iter()
            .map(|keyword| keyword.capacity() + size_of::<String>())
            .sum();
        size_of::<MailboxCell>()
            + self.name.capacity()
            + words
            + self.messages.capacity() * size_of::<Message>()
            + self.flag_log.capacity() * size_of::<(ModSeq, Uid)>()
            + self.views.capacity() * size_of::<Weak<ViewCell>>()
    }
}
