//! A session's window on a mailbox: what that session has been told.
//!
//! A view holds no list of messages. Sequence numbers are computed from the mailbox's own sorted messages up to the last
//! UID that the session knows, and the few that are gone but not told yet.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};

use pigeon_store_format::{Message, ModSeq, Uid};

use crate::Mailbox;
use crate::mailbox::state::MailboxState;

/// What the mailbox knows of a session's view.
#[derive(Default)]
pub(crate) struct ViewCell {
    /// The last UID the session knows of.
    seen: Cell<Uid>,
    /// Known to the session and gone, ascending.
    expunged: RefCell<Vec<Uid>>,
}

impl ViewCell {
    /// Messages were removed (ascending).
    pub(crate) fn expunged(&self, gone: &[Message]) {
        let known = gone.partition_point(|message| message.uid <= self.seen.get());
        if known == 0 {
            return;
        }
        let mut expunged = self.expunged.borrow_mut();
        expunged.extend(gone[..known].iter().map(|message| message.uid));
        expunged.sort_unstable();
    }
}

/// What one session has been told of a mailbox. Sequence numbers are those of this session: a message that is gone keeps
/// its number until `take_expunges`, and a new one has none before `take_new`.
pub struct View {
    mailbox: Mailbox,
    cell: Rc<ViewCell>,
    /// Flag changes up to this are told.
    told: ModSeq,
    /// Changes that need no telling, sorted.
    own: Vec<(Uid, ModSeq)>,
}

impl View {
    pub(crate) fn new(mailbox: Mailbox) -> View {
        let cell = Rc::new(ViewCell::default());
        let told = {
            let mut state = mailbox.cell.state.borrow_mut();
            cell.seen.set(Uid(state.uid_next.0 - 1));
            state.views.push(Rc::downgrade(&cell));
            state.highest_mod_seq
        };
        View {
            mailbox,
            cell,
            told,
            own: Vec::new(),
        }
    }

    /// The mailbox it shows.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// How many of the mailbox's messages the session knows.
    fn known(&self, state: &MailboxState) -> usize {
        let seen = self.cell.seen.get();
        if state.messages.last().is_none_or(|last| last.uid <= seen) {
            return state.messages.len();
        }
        state.messages.partition_point(|message| message.uid <= seen)
    }

    fn count_of(&self, state: &MailboxState) -> u32 {
        as_count(self.known(state) + self.cell.expunged.borrow().len())
    }

    /// Messages, as the session knows: the last EXISTS less the expunges told since.
    pub fn count(&self) -> u32 {
        self.count_of(&self.mailbox.cell.state.borrow())
    }

    /// The message with this sequence number, from 1.
    pub fn uid_of(&self, sequence: u32) -> Option<Uid> {
        let state = self.mailbox.cell.state.borrow();
        if sequence == 0 || sequence > self.count_of(&state) {
            return None;
        }
        let index = sequence as usize - 1;
        let expunged = self.cell.expunged.borrow();
        // The i-th of the expunged has, in the session's numbering, as many before it as live messages below it and i more.
        let place = |i: usize| state.rank(expunged[i]) + i;
        let (mut low, mut high) = (0, expunged.len());
        while low < high {
            let middle = low.midpoint(high);
            if place(middle) < index {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low < expunged.len() && place(low) == index {
            return Some(expunged[low]);
        }
        state.messages.get(index - low).map(|message| message.uid)
    }

    /// The sequence number of this message, from 1; of one that is gone too, until it is told.
    pub fn sequence_of(&self, uid: Uid) -> Option<u32> {
        let state = self.mailbox.cell.state.borrow();
        if uid > self.cell.seen.get() {
            return None;
        }
        let live = state.rank(uid);
        let expunged = self.cell.expunged.borrow();
        let gone = expunged.partition_point(|other| *other < uid);
        let known =
            state.messages.get(live).is_some_and(|message| message.uid == uid) || expunged.get(gone) == Some(&uid);
        known.then(|| as_count(live + gone + 1))
    }

    /// The highest UID the session can know of: every message that came later is above. `Uid(0)` when none ever came.
    pub fn last_uid(&self) -> Uid {
        self.cell.seen.get()
    }

    /// Ends at the next change of this mailbox, its deletion included. Check `has_changes` after making it and before awaiting it.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.mailbox.cell.changed.notified()
    }

    /// Whether there is something to tell.
    pub fn has_changes(&self) -> bool {
        if !self.cell.expunged.borrow().is_empty() {
            return true;
        }
        let state = self.mailbox.cell.state.borrow();
        let seen = self.cell.seen.get();
        if state.messages.last().is_some_and(|last| last.uid > seen) {
            return true;
        }
        match state.flag_changes(self.told) {
            Some(mut changes) => {
                changes.any(|(mod_seq, uid)| uid <= seen && self.own.binary_search(&(uid, mod_seq)).is_err())
            }
            None => true,
        }
    }

    /// Expunges to tell, in the order to tell them: each sequence number counts after those before it were told (RFC 9051 section
    /// 7.5.1). With the UIDs.
    pub fn take_expunges(&mut self) -> Vec<(u32, Uid)> {
        let state = self.mailbox.cell.state.borrow();
        let expunged = std::mem::take(&mut *self.cell.expunged.borrow_mut());
        // When those below are told, only live messages are left below.
        expunged
            .into_iter()
            .map(|uid| (as_count(state.rank(uid) + 1), uid))
            .collect()
    }

    /// The new EXISTS when messages have come since. Call `take_expunges` first.
    pub fn take_new(&mut self) -> Option<u32> {
        let state = self.mailbox.cell.state.borrow();
        let last = Uid(state.uid_next.0 - 1);
        let came = state
            .messages
            .last()
            .is_some_and(|message| message.uid > self.cell.seen.get());
        self.cell.seen.set(last);
        came.then(|| self.count_of(&state))
    }

    /// Messages known to the session whose flags others have changed since, ascending.
    pub fn take_flag_changes(&mut self) -> Vec<Uid> {
        let state = self.mailbox.cell.state.borrow();
        let seen = self.cell.seen.get();
        let told = std::mem::replace(&mut self.told, state.highest_mod_seq);
        let own = std::mem::take(&mut self.own);
        let mut uids: Vec<Uid> = match state.flag_changes(told) {
            Some(changes) => changes
                .filter(|(mod_seq, uid)| own.binary_search(&(*uid, *mod_seq)).is_err())
                .map(|(_, uid)| uid)
                .collect(),
            None => {
                let changed = state.messages.iter().filter(|message| message.mod_seq > told);
                changed
                    .filter(|message| own.binary_search(&(message.uid, message.mod_seq)).is_err())
                    .map(|message| message.uid)
                    .collect()
            }
        };
        uids.retain(|uid| *uid <= seen && state.message(*uid).is_some());
        uids.sort_unstable();
        uids.dedup();
        uids
    }

    /// These changes were told as the answer to the session's own command: `take_flag_changes` does not give them again.
    pub fn ignore_own(&mut self, changes: &[(Uid, ModSeq)]) {
        self.own
            .extend(changes.iter().filter(|(_, mod_seq)| *mod_seq > self.told));
        self.own.sort_unstable();
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let cell = Rc::downgrade(&self.cell);
        self.mailbox
            .cell
            .state
            .borrow_mut()
            .views
            .retain(|view| !Weak::ptr_eq(view, &cell));
    }
}

fn as_count(count: usize) -> u32 {
    u32::try_from(count).expect("a mailbox has fewer messages than UIDs")
}
