//! What became of queued messages and is still to be written into their volume: who has one, and which are over.
//!
//! Invariant: what cannot be noted stops the queue. A message that was brought and stays in the volume is brought again at the
//! next start; the other node knows it by its key for a day, and after that a second copy would be there. So nothing is tried
//! in a volume that takes no changes, and no more than [`UNNOTED_MAX`] messages are ever brought ahead of their notes.

use pigeon_engine::sync::Notify;
use pigeon_store::{FlagChange, Mailbox, StoreError, Uid, Volume, VolumeState};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages that were brought, are being brought, or are being taken out.
pub(super) const UNNOTED_MAX: usize = 32;
/// After a note that failed, before the next; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_LAST: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Notes {
    volume: Volume,
    mailbox: Mailbox,
    state: Rc<RefCell<State>>,
    /// Told when something was written, or could not be.
    wake: Rc<Notify>,
}

#[derive(Default)]
struct State {
    gone: Vec<Uid>,
    done: Vec<FlagChange>,
    /// Being written.
    under_way: usize,
    failed: Option<Failed>,
}

struct Failed {
    why: Arc<str>,
    again: Instant,
    pause: Duration,
}

impl Notes {
    pub(super) fn new(volume: Volume, mailbox: Mailbox, wake: Rc<Notify>) -> Notes {
        Notes {
            volume,
            mailbox,
            state: Rc::default(),
            wake,
        }
    }

    /// It is over with this message.
    pub(super) fn gone(&self, uid: Uid) {
        self.state.borrow_mut().gone.push(uid);
    }

    /// These have it, which could not be written at once.
    pub(super) fn done(&self, change: FlagChange) {
        self.state.borrow_mut().done.push(change);
    }

    /// Why nothing may be tried now.
    pub(super) fn held(&self) -> Option<Arc<str>> {
        match self.volume.state() {
            VolumeState::ReadOnly(why) => Some(format!("the volume is read-only: {why}").into()),
            VolumeState::Poisoned(why) => Some(format!("the volume is poisoned: {why}").into()),
            VolumeState::Writable | VolumeState::NearlyFull | VolumeState::Closed => {
                let state = self.state.borrow();
                state.failed.as_ref().map(|failed| failed.why.clone())
            }
        }
    }

    /// How many more may be tried, with so many under way.
    pub(super) fn room(&self, tries: usize) -> usize {
        let state = self.state.borrow();
        let unnoted = state.gone.len() + state.done.len() + state.under_way;
        UNNOTED_MAX.saturating_sub(unnoted.saturating_add(tries))
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.state.borrow().under_way > 0
    }

    /// When what failed is tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = self.state.borrow();
        state.failed.as_ref().map(|failed| failed.again)
    }

    /// Writes what there is to be written, many at a time, without waiting for it.
    pub(super) fn write(&self, now: Instant) {
        let (gone, done) = {
            let mut state = self.state.borrow_mut();
            let early = state.failed.as_ref().is_some_and(|failed| now < failed.again);
            if state.under_way > 0 || early || state.gone.is_empty() && state.done.is_empty() {
                return;
            }
            let (gone, done) = (std::mem::take(&mut state.gone), std::mem::take(&mut state.done));
            state.under_way = gone.len() + done.len();
            (gone, done)
        };
        let (mailbox, state, wake) = (self.mailbox.clone(), self.state.clone(), self.wake.clone());
        drop(pigeon_engine::spawn(async move {
            let written = write(&mailbox, &gone, &done).await;
            state.borrow_mut().ended(written, gone, done, now);
            wake.notify_all();
        }));
    }
}

async fn write(mailbox: &Mailbox, gone: &[Uid], done: &[FlagChange]) -> Result<(), StoreError> {
    if !gone.is_empty() {
        mailbox.expunge(gone).await?;
    }
    if !done.is_empty() {
        mailbox.store_flags(done).await?;
    }
    Ok(())
}

impl State {
    fn ended(&mut self, written: Result<(), StoreError>, gone: Vec<Uid>, done: Vec<FlagChange>, now: Instant) {
        self.under_way = 0;
        match written {
            Ok(()) => self.failed = None,
            // The volume ends; the next start brings them again, soon.
            Err(StoreError::Closed) => {}
            Err(error) => {
                let before = self.failed.take().map(|failed| failed.pause * 2);
                let pause = before.unwrap_or(PAUSE_FIRST).min(PAUSE_LAST);
                self.failed = Some(Failed {
                    why: format!("what was brought cannot be taken out: {error}").into(),
                    again: now + pause,
                    pause,
                });
                self.gone.extend(gone);
                self.done.extend(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_is_written_later_and_holds_the_queue() {
        let mut state = State::default();
        let now = Instant::now();
        let failed = || Err(StoreError::NearlyFull);
        state.ended(failed(), vec![Uid(1), Uid(2)], Vec::new(), now);
        assert_eq!(state.gone, [Uid(1), Uid(2)]);
        let again = |state: &State| state.failed.as_ref().map(|failed| failed.again);
        assert_eq!(again(&state), Some(now + PAUSE_FIRST));
        for _ in 0..20 {
            let gone = std::mem::take(&mut state.gone);
            state.ended(failed(), gone, Vec::new(), now);
        }
        assert_eq!(again(&state), Some(now + PAUSE_LAST));
        assert_eq!(state.gone.len(), 2);
        state.ended(Ok(()), Vec::new(), Vec::new(), now);
        assert_eq!(again(&state), None);
    }
}
