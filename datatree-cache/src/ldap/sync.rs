//! Content synchronisation (RFC 4533) without a connection: which entries to take, which to drop, which cookie to keep.
//!
//! A refresh has up to two phases. In the present phase the server names what is still there, and whatever it did not
//! name is gone; in the delete phase it names what is gone. Asked without a cookie it sends everything, whatever phase it
//! calls that. The cookie of a refresh counts when the refresh is over, not before.

use super::message::{Cookie, EntryState, Message};
use crate::entry::Entry;
use crate::record::AccountUuid;
use std::collections::HashSet;

/// Where a search stands, and the cookie to ask with next time.
#[derive(Debug)]
pub(crate) struct ContentSync {
    /// Of the last state that is held whole.
    cookie: Option<Cookie>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// No search.
    Idle,
    Refresh(Refresh),
    Persist,
}

#[derive(Debug)]
struct Refresh {
    /// Everything that is not named is gone: asked without a cookie, or there was a present phase.
    sweeps: bool,
    named: HashSet<AccountUuid>,
    entries: usize,
    cookie: Option<Cookie>,
}

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// The entry is so now.
    Put(AccountUuid, Entry<'static>),
    /// These are gone.
    Remove(Vec<AccountUuid>),
    /// The refresh is over: everything is as the server has it, once what is not in the set (if there is one) is removed.
    Refreshed(Option<HashSet<AccountUuid>>),
}

impl ContentSync {
    pub(crate) fn new(cookie: Option<Cookie>) -> ContentSync {
        ContentSync {
            cookie,
            phase: Phase::Idle,
        }
    }

    /// What to ask with, and what to save beside the entries.
    pub(crate) fn cookie(&self) -> Option<&Cookie> {
        self.cookie.as_ref()
    }

    /// The next search asks for everything.
    pub(crate) fn forget(&mut self) {
        self.cookie = None;
        self.phase = Phase::Idle;
    }

    /// A search was sent with the cookie.
    pub(crate) fn begin(&mut self) {
        self.phase = Phase::Refresh(Refresh {
            sweeps: self.cookie.is_none(),
            named: HashSet::new(),
            entries: 0,
            cookie: None,
        });
    }

    /// The search is over, or its connection.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Whether everything was sent and changes come as they are made.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Persist)
    }

    /// How many entries came in a refresh that goes on, those that came twice counted twice.
    pub(crate) fn entry_count(&self) -> usize {
        match &self.phase {
            Phase::Refresh(refresh) => refresh.entries,
            Phase::Idle | Phase::Persist => 0,
        }
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, message: Message) -> Step {
        match message {
            Message::Entry {
                state,
                id,
                cookie,
                entry,
            } => {
                self.note(cookie);
                if let Phase::Refresh(refresh) = &mut self.phase {
                    refresh.entries += 1;
                }
                match (state, &mut self.phase) {
                    (EntryState::Delete, _) => Step::Remove(vec![id]),
                    (EntryState::Present, Phase::Refresh(refresh)) => {
                        refresh.named.insert(id);
                        Step::Nothing
                    }
                    (EntryState::Present, _) => Step::Nothing,
                    (EntryState::Add | EntryState::Modify, phase) => {
                        if let Phase::Refresh(refresh) = phase {
                            refresh.named.insert(id);
                        }
                        Step::Put(id, entry)
                    }
                }
            }
            Message::NewCookie(cookie) => {
                self.note(cookie);
                Step::Nothing
            }
            Message::IdSet { cookie, deletes, ids } => {
                self.note(cookie);
                match (deletes, &mut self.phase) {
                    (true, _) => Step::Remove(ids),
                    (false, Phase::Refresh(refresh)) => {
                        refresh.entries += ids.len();
                        refresh.named.extend(ids);
                        Step::Nothing
                    }
                    // Outside a refresh nothing is swept, so there is nothing to keep.
                    (false, _) => Step::Nothing,
                }
            }
            Message::RefreshPresent { cookie, done } => {
                self.note(cookie);
                if let Phase::Refresh(refresh) = &mut self.phase {
                    refresh.sweeps = true;
                }
                if done { self.refreshed() } else { Step::Nothing }
            }
            Message::RefreshDelete { cookie, done } => {
                self.note(cookie);
                if done { self.refreshed() } else { Step::Nothing }
            }
            Message::Other => Step::Nothing,
        }
    }

    fn note(&mut self, cookie: Option<Cookie>) {
        let Some(cookie) = cookie else { return };
        match &mut self.phase {
            Phase::Refresh(refresh) => refresh.cookie = Some(cookie),
            Phase::Persist => self.cookie = Some(cookie),
            Phase::Idle => {}
        }
    }

    fn refreshed(&mut self) -> Step {
        match std::mem::replace(&mut self.phase, Phase::Persist) {
            Phase::Refresh(refresh) => {
                // None was sent: what was asked with is still right.
                if refresh.cookie.is_some() {
                    self.cookie = refresh.cookie;
                }
                Step::Refreshed(refresh.sweeps.then_some(refresh.named))
            }
            phase => {
                self.phase = phase;
                Step::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn id(number: u8) -> AccountUuid {
        AccountUuid([number; 16])
    }

    fn cookie(text: &str) -> Option<Cookie> {
        Cookie::new(text.as_bytes())
    }

    fn entry(state: EntryState, number: u8) -> Message {
        Message::Entry {
            state,
            id: id(number),
            cookie: None,
            entry: Entry {
                dn: Cow::Owned(format!("uid={number}")),
                dn_position: None,
                attributes: Vec::new(),
            },
        }
    }

    fn begun(with: &str) -> ContentSync {
        let mut sync = ContentSync::new(cookie(with));
        sync.begin();
        sync
    }

    fn set(numbers: &[u8]) -> Option<HashSet<AccountUuid>> {
        Some(numbers.iter().map(|number| id(*number)).collect())
    }

    fn refresh_delete(with: &str) -> Message {
        Message::RefreshDelete {
            cookie: cookie(with),
            done: true,
        }
    }

    #[test]
    fn without_a_cookie_everything_comes_and_the_rest_is_swept() {
        let mut sync = begun("");
        assert!(matches!(sync.take(entry(EntryState::Add, 1)), Step::Put(found, _) if found == id(1)));
        assert!(matches!(sync.take(entry(EntryState::Add, 2)), Step::Put(..)));
        assert!(!sync.is_live());
        assert_eq!(sync.take(refresh_delete("c1")), Step::Refreshed(set(&[1, 2])));
        assert!(sync.is_live());
        assert_eq!(sync.cookie(), cookie("c1").as_ref());
    }

    #[test]
    fn a_current_cookie_is_kept() {
        let mut sync = begun("c1");
        assert_eq!(sync.take(refresh_delete("")), Step::Refreshed(None));
        assert_eq!(sync.cookie(), cookie("c1").as_ref());
    }

    #[test]
    fn within_the_session_log_deletions_are_named() {
        let mut sync = begun("c1");
        assert!(matches!(sync.take(entry(EntryState::Add, 1)), Step::Put(..)));
        let ids = Message::IdSet {
            cookie: None,
            deletes: true,
            ids: vec![id(8), id(9)],
        };
        assert_eq!(sync.take(ids), Step::Remove(vec![id(8), id(9)]));
        assert_eq!(sync.take(refresh_delete("c2")), Step::Refreshed(None));
        assert_eq!(sync.cookie(), cookie("c2").as_ref());
    }

    #[test]
    fn behind_the_session_log_what_is_there_is_named() {
        let mut sync = begun("c1");
        for ids in [vec![id(1)], vec![id(2), id(3)]] {
            let named = Message::IdSet {
                cookie: None,
                deletes: false,
                ids,
            };
            assert_eq!(sync.take(named), Step::Nothing);
        }
        assert_eq!(sync.take(entry(EntryState::Present, 4)), Step::Nothing);
        assert!(matches!(sync.take(entry(EntryState::Add, 5)), Step::Put(..)));
        let present = |done| Message::RefreshPresent {
            cookie: cookie("c2"),
            done,
        };
        assert_eq!(sync.take(present(true)), Step::Refreshed(set(&[1, 2, 3, 4, 5])));
        assert_eq!(sync.cookie(), cookie("c2").as_ref());

        // Both phases, one after the other.
        let mut sync = begun("c1");
        assert!(matches!(sync.take(entry(EntryState::Add, 5)), Step::Put(..)));
        assert_eq!(sync.take(present(false)), Step::Nothing);
        assert_eq!(sync.cookie(), cookie("c1").as_ref(), "a cookie counts at the end");
        assert_eq!(sync.take(entry(EntryState::Delete, 6)), Step::Remove(vec![id(6)]));
        assert_eq!(sync.take(refresh_delete("c3")), Step::Refreshed(set(&[5])));
        assert_eq!(sync.cookie(), cookie("c3").as_ref());
    }

    #[test]
    fn changes_come_as_they_are_made() {
        let mut sync = begun("");
        sync.take(refresh_delete("c1"));
        assert!(matches!(sync.take(entry(EntryState::Modify, 1)), Step::Put(..)));
        assert_eq!(sync.take(entry(EntryState::Delete, 1)), Step::Remove(vec![id(1)]));
        assert_eq!(sync.take(Message::NewCookie(cookie("c2"))), Step::Nothing);
        assert_eq!(sync.take(Message::NewCookie(None)), Step::Nothing);
        assert_eq!(sync.cookie(), cookie("c2").as_ref());
        // A second end of a refresh sweeps nothing.
        assert_eq!(sync.take(refresh_delete("c4")), Step::Nothing);
        let kept = Message::IdSet {
            cookie: None,
            deletes: false,
            ids: vec![id(1)],
        };
        assert_eq!(sync.take(kept), Step::Nothing);
    }

    #[test]
    fn a_refresh_that_was_cut_off_leaves_the_old_cookie() {
        let mut sync = begun("c1");
        sync.take(Message::NewCookie(cookie("c9")));
        sync.end();
        assert_eq!(sync.cookie(), cookie("c1").as_ref());
        sync.forget();
        assert_eq!(sync.cookie(), None);
    }
}
