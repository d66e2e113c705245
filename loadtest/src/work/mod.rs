//! What one session does, unit by unit.

pub(crate) mod hold;
pub(crate) mod imap;
mod mail;
mod pop3;
pub(crate) mod verify;

use crate::command_line::WorkCommand;
use crate::failure::Failure;
use crate::plan::Plan;
use std::sync::Arc;

/// A session's state between its units. Dropping it drops its connection.
pub(crate) enum Worker {
    Mail(mail::Mail),
    Imap(imap::Imap),
    Pop3(pop3::Pop3),
}

impl Worker {
    /// Session `index` of all. `None`: this work has no units.
    pub(crate) fn new(plan: &Arc<Plan>, index: u64) -> Option<Worker> {
        match &plan.work {
            WorkCommand::Smtp(mail) => Some(Worker::Mail(mail::Mail::new(plan, &mail.message, false, index))),
            WorkCommand::Lmtp(mail) => Some(Worker::Mail(mail::Mail::new(plan, &mail.message, true, index))),
            WorkCommand::Verify(verify) => Some(Worker::Mail(mail::Mail::new(
                plan,
                &verify.mail.message,
                verify.lmtp,
                index,
            ))),
            WorkCommand::Imap(imap) => Some(Worker::Imap(imap::Imap::new(plan, imap, index))),
            WorkCommand::Pop3(read) => Some(Worker::Pop3(pop3::Pop3::new(plan, read, index))),
            WorkCommand::Idle(_) | WorkCommand::Storm(_) => None,
        }
    }

    /// One unit: octets of messages that it carried. After a failure the connection is given up, and the next unit makes
    /// a new one.
    pub(crate) async fn unit(&mut self) -> Result<u64, Failure> {
        match self {
            Worker::Mail(mail) => mail.unit().await,
            Worker::Imap(imap) => imap.unit().await,
            Worker::Pop3(pop3) => pop3.unit().await,
        }
    }

    /// Ends the session in order.
    pub(crate) async fn end(self) -> Vec<u64> {
        match self {
            Worker::Mail(mail) => mail.end().await,
            Worker::Imap(imap) => {
                imap.end().await;
                Vec::new()
            }
            Worker::Pop3(_) => Vec::new(),
        }
    }
}
