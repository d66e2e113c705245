//! COPY and MOVE (RFC 3501 section 6.4.7, RFC 6851), with COPYUID (RFC 4315). Both are atomic.

use super::changes::Tell;
use super::refusal::{self, Refusal, target_refusal};
use super::session::{NOT_SELECTED, Reply, Session};
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{MailboxName, SequenceSet, write};
use pigeon_store::{Mailbox, StoreError, Uid};

impl<S: ByteStream> Session<S> {
    pub(super) async fn copy(&mut self, uid: bool, set: &SequenceSet, to: &MailboxName) -> Outcome<Reply> {
        let (uids, some_gone) = match self.uids_of(set, uid).await {
            Ok(found) => found,
            Err(reply) => return Ok(reply),
        };
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        let target = match self.target(to) {
            Ok(target) => target,
            Err(reply) => return Ok(reply),
        };
        if some_gone {
            // All or nothing: the client names messages that it believes to exist.
            return Ok(Reply::No(refusal::SOME_GONE));
        }
        if uids.is_empty() {
            return Ok(Reply::ok("No matching messages, nothing copied"));
        }
        match selected.mailbox().copy(&uids, &target).await {
            Ok(pairs) if pairs.is_empty() => Ok(Reply::ok("No matching messages, nothing copied")),
            Ok(pairs) => Ok(Reply::Ok(
                format!("{} COPY completed", copy_uid(&target, &pairs)).into(),
            )),
            Err(error) => Ok(self.copy_refused("copy failed", &error)),
        }
    }

    pub(super) async fn move_messages(&mut self, uid: bool, set: &SequenceSet, to: &MailboxName) -> Outcome<Reply> {
        let (uids, some_gone) = match self.uids_of(set, uid).await {
            Ok(found) => found,
            Err(reply) => return Ok(reply),
        };
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        if selected.read_only {
            return Ok(Reply::No(refusal::READ_ONLY));
        }
        let target = match self.target(to) {
            Ok(target) => target,
            Err(reply) => return Ok(reply),
        };
        let mut text: Refusal = "No matching messages, nothing moved".into();
        if !uids.is_empty() {
            match selected.mailbox().move_messages(&uids, &target).await {
                Ok(pairs) if pairs.is_empty() => {}
                Ok(pairs) => {
                    // Before the EXPUNGEs, so that a client knows where its messages went (RFC 6851 section 4.3).
                    write::untagged(
                        &mut self.wire.out,
                        "OK",
                        &format!("{} Moved", copy_uid(&target, &pairs)),
                    );
                    text = "MOVE completed".into();
                }
                Err(error) => return Ok(self.copy_refused("move failed", &error)),
            }
        }
        self.tell_changes(Tell::All, uid).await?;
        Ok(if some_gone {
            Reply::No(refusal::SOME_GONE)
        } else {
            Reply::Ok(text)
        })
    }

    fn copy_refused(&self, what: &str, error: &StoreError) -> Reply {
        if !matches!(error, StoreError::OverQuota { .. }) {
            self.warn(what, error);
        }
        Reply::No(target_refusal(error))
    }

    /// The mailbox that messages go to.
    pub(super) fn target(&self, name: &MailboxName) -> Result<Mailbox, Reply> {
        match self.account.mailbox(name.as_str()) {
            Some(mailbox) if mailbox.is_selectable() => Ok(mailbox),
            _ => Err(Reply::No(target_refusal(&StoreError::NoSuchMailbox))),
        }
    }
}

/// `[COPYUID validity old new]`.
fn copy_uid(target: &Mailbox, pairs: &[(Uid, Uid)]) -> String {
    let mut text = format!("[COPYUID {} ", target.uid_validity().0).into_bytes();
    write::sequence_set(&mut text, pairs.iter().map(|(old, _)| old.0));
    text.push(b' ');
    write::sequence_set(&mut text, pairs.iter().map(|(_, new)| new.0));
    text.push(b']');
    String::from_utf8(text).expect("numbers are ASCII")
}
