//! How a node ends a session from outside: it drains, or the account may not be used any more.

use pigeon_engine::sync::Notify;
use std::cell::Cell;

/// Why a session is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The node stops. The command under way is finished first.
    Draining,
    /// Disabled, deleted, moved, or with a new password: not another byte of mail.
    AccessEnded,
}

impl EndReason {
    /// The text of the BYE, with its response code (RFC 5530).
    pub(super) fn text(self) -> &'static str {
        match self {
            EndReason::Draining => "[UNAVAILABLE] Server shutting down, come again soon",
            EndReason::AccessEnded => "[UNAVAILABLE] Account changed, log in again",
        }
    }
}

/// Kept by the session and by who may end it.
#[derive(Default)]
pub struct SessionEnd {
    reason: Cell<Option<EndReason>>,
    notify: Notify,
}

impl SessionEnd {
    /// One that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the session: at once when it waits, else after the command (or, when access ended, at its next output). The
    /// first reason counts.
    pub fn end(&self, reason: EndReason) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
            self.notify.notify_all();
        }
    }

    /// The reason, when there is one.
    pub fn reason(&self) -> Option<EndReason> {
        self.reason.get()
    }

    /// Waits for the end.
    pub async fn ended(&self) -> EndReason {
        loop {
            if let Some(reason) = self.reason.get() {
                return reason;
            }
            self.notify.notified().await;
        }
    }
}
