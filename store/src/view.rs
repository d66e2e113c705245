//! A session's window on a mailbox: what that session has been told.

use std::future::Future;

use pigeon_store_format::{ModSeq, Uid};

use crate::Mailbox;

/// What one session has been told of a mailbox. Sequence numbers are those of this session: a message that is gone keeps
/// its number until `take_expunges`, and a new one has none before `take_new`.
pub struct View {
    _private: (),
}

impl View {
    /// The mailbox it shows.
    pub fn mailbox(&self) -> &Mailbox {
        unimplemented!()
    }

    /// Messages, as the session knows: the last EXISTS less the expunges told since.
    pub fn count(&self) -> u32 {
        unimplemented!()
    }

    /// The message with this sequence number, from 1.
    pub fn uid_of(&self, sequence: u32) -> Option<Uid> {
        let _ = sequence;
        unimplemented!()
    }

    /// The sequence number of this message, from 1; of one that is gone too, until it is told.
    pub fn sequence_of(&self, uid: Uid) -> Option<u32> {
        let _ = uid;
        unimplemented!()
    }

    /// The highest UID the session knows of; `Uid(0)` when it has seen none.
    pub fn last_uid(&self) -> Uid {
        unimplemented!()
    }

    /// Ends at the next change of this mailbox, its deletion included. Check `has_changes` after making it and before awaiting it.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        async {}
    }

    /// Whether there is something to tell.
    pub fn has_changes(&self) -> bool {
        unimplemented!()
    }

    /// Expunges to tell, in the order to tell them: each sequence number counts after those before it were told (RFC 9051 section
    /// 7.5.1). With the UIDs.
    pub fn take_expunges(&mut self) -> Vec<(u32, Uid)> {
        unimplemented!()
    }

    /// The new EXISTS when messages have come since. Call `take_expunges` first.
    pub fn take_new(&mut self) -> Option<u32> {
        unimplemented!()
    }

    /// Messages known to the session whose flags others have changed since, ascending.
    pub fn take_flag_changes(&mut self) -> Vec<Uid> {
        unimplemented!()
    }

    /// These changes were told as the answer to the session's own command: `take_flag_changes` does not give them again.
    pub fn ignore_own(&mut self, changes: &[(Uid, ModSeq)]) {
        let _ = changes;
        unimplemented!()
    }
}
