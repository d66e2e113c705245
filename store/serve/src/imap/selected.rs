//! The selected mailbox of a session: its window on it, which messages are recent in this session alone, and how flags of
//! its messages are written.

use pigeon_proto::imap::write;
use pigeon_store::{Flags, Mailbox, Message, Uid, View};

/// Ranges of recent messages that are kept apart. More can only come from many deliveries between commands of one session,
/// which are ranges that touch; then the last grows.
const RECENT_RANGES_MAX: usize = 64;

/// A mailbox as this session has it open.
pub(super) struct Selected {
    pub(super) view: View,
    pub(super) read_only: bool,
    /// Ascending `(first, last)` UIDs that are `\Recent` in this session.
    recent: Vec<(Uid, Uid)>,
    /// How many keywords of the mailbox the client has been told.
    pub(super) keywords_told: usize,
}

impl Selected {
    /// The window on `mailbox` as it is now. Not read-only, it takes what is recent (RFC 3501 section 2.3.2).
    pub(super) fn new(mailbox: &Mailbox, read_only: bool) -> Self {
        let mut selected = Self {
            view: mailbox.view(),
            read_only,
            recent: Vec::new(),
            keywords_told: 0,
        };
        if read_only {
            // EXAMINE shows what is recent and leaves it so: the last of the mailbox.
            let count = mailbox.status().recent as usize;
            let first = mailbox.with_messages(|messages| {
                messages
                    .len()
                    .checked_sub(count.max(1))
                    .and_then(|index| messages.get(index))
                    .map(|message| message.uid)
            });
            if let (Some(first), true) = (first, count > 0) {
                selected.recent.push((first, selected.view.last_uid()));
            }
        } else {
            selected.take_recent();
        }
        selected
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        self.view.mailbox()
    }

    /// Takes messages that no session has had as recent yet.
    pub(super) fn take_recent(&mut self) {
        if self.read_only {
            return;
        }
        let Some(first) = self.mailbox().take_recent() else {
            return;
        };
        let last = self.view.last_uid();
        if last < first {
            return;
        }
        match self.recent.last_mut() {
            Some(range) if range.1.0.saturating_add(1) >= first.0 => range.1 = last,
            _ => self.recent.push((first, last)),
        }
        if self.recent.len() > RECENT_RANGES_MAX {
            self.recent.remove(0);
        }
    }

    pub(super) fn is_recent(&self, uid: Uid) -> bool {
        self.recent.iter().any(|(first, last)| (*first..=*last).contains(&uid))
    }

    /// How many messages are recent in this session.
    pub(super) fn recent_count(&self) -> usize {
        self.mailbox().with_messages(|messages| {
            let position = |uid: Uid, inclusive: bool| {
                messages.partition_point(|message| message.uid < uid || (inclusive && message.uid == uid))
            };
            self.recent
                .iter()
                .map(|(first, last)| position(*last, true).saturating_sub(position(*first, false)))
                .sum()
        })
    }

    /// `(\Seen ...)` of a message. `keywords` is the mailbox's table.
    pub(super) fn write_flags(&self, out: &mut Vec<u8>, uid: Uid, flags: Flags, keywords: &[String]) {
        let names = flags
            .keyword_indices()
            .filter_map(|index| keywords.get(index))
            .map(String::as_str);
        write::flags(out, system_bits(flags), self.is_recent(uid), names);
    }

    /// The messages known to this session that have `flag`, ascending.
    pub(super) fn uids_with(&self, flag: Flags) -> Vec<Uid> {
        let last = self.view.last_uid();
        self.mailbox().with_messages(|messages| {
            known(messages, last)
                .iter()
                .filter(|message| message.flags.contains(flag))
                .map(|message| message.uid)
                .collect()
        })
    }
}

/// Those of a mailbox's messages that a session knows which was told all up to `last`.
pub(super) fn known(messages: &[Message], last: Uid) -> &[Message] {
    &messages[..messages.partition_point(|message| message.uid <= last)]
}

/// The system flags as the grammar's bits, which are the store's.
pub(super) fn system_bits(flags: Flags) -> u8 {
    (flags.system().0 & 0xff) as u8
}

const _: () = {
    use pigeon_proto::imap::flags::system;
    assert!(Flags::SEEN.0 == system::SEEN as u64);
    assert!(Flags::ANSWERED.0 == system::ANSWERED as u64);
    assert!(Flags::FLAGGED.0 == system::FLAGGED as u64);
    assert!(Flags::DELETED.0 == system::DELETED as u64);
    assert!(Flags::DRAFT.0 == system::DRAFT as u64);
};
