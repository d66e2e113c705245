//! SELECT, EXAMINE, CLOSE, UNSELECT and EXPUNGE.

use super::changes::{Tell, numbered, write_flags_lists};
use super::refusal::{self, refusal};
use super::selected::{Selected, known};
use super::session::{NOT_SELECTED, Reply, Session};
use super::targets::{OutOfRange, Targets};
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{MailboxName, SequenceSet, write};
use pigeon_store::{Flags, Uid};

/// Messages of one durable change. Bounds what others wait for, and fits one record of the store.
const EXPUNGE_BATCH: usize = 10_000;

impl<S: ByteStream> Session<S> {
    /// SELECT and EXAMINE (RFC 3501 section 6.3.1). Whatever was selected is not any more, also when this fails.
    pub(super) fn select(&mut self, name: &MailboxName, read_only: bool, condstore: bool) -> Reply {
        if self.selected.take().is_some() {
            write::untagged(&mut self.wire.out, "OK", "[CLOSED] Previous mailbox closed");
        }
        self.condstore |= condstore;
        let mailbox = match self.account.mailbox(name.as_str()) {
            Some(mailbox) if mailbox.is_selectable() => mailbox,
            Some(_) => return Reply::no("[NONEXISTENT] Mailbox cannot be selected"),
            None => return Reply::No(refusal::NO_SUCH_MAILBOX),
        };
        let mut selected = Box::new(Selected::new(&mailbox, read_only));
        let keywords = mailbox.keywords();
        selected.keywords_told = keywords.len();
        let out = &mut self.wire.out;
        write_flags_lists(out, &selected, &keywords);
        numbered(out, selected.view.count(), "EXISTS");
        numbered(out, selected.recent_count().try_into().unwrap_or(u32::MAX), "RECENT");
        if let Some(unseen) = first_unseen(&selected) {
            write::untagged(out, "OK", &format!("[UNSEEN {unseen}] First unseen"));
        }
        write::untagged(
            out,
            "OK",
            &format!("[UIDVALIDITY {}] UIDs valid", mailbox.uid_validity().0),
        );
        write::untagged(
            out,
            "OK",
            &format!("[UIDNEXT {}] Predicted next UID", mailbox.uid_next().0),
        );
        // A mod-sequence is at least 1 on the wire (RFC 7162 section 7).
        write::untagged(
            out,
            "OK",
            &format!("[HIGHESTMODSEQ {}] Highest", mailbox.highest_mod_seq().0.max(1)),
        );
        self.selected = Some(selected);
        if read_only {
            Reply::ok("[READ-ONLY] EXAMINE completed")
        } else {
            Reply::ok("[READ-WRITE] SELECT completed")
        }
    }

    /// UNSELECT (RFC 3691).
    pub(super) fn unselect(&mut self) -> Reply {
        match self.selected.take() {
            Some(_) => Reply::ok("UNSELECT completed"),
            None => NOT_SELECTED,
        }
    }

    /// CLOSE: removes what is `\Deleted` without a word, unless opened by EXAMINE (RFC 3501 section 6.4.2).
    pub(super) async fn close_mailbox(&mut self) -> Outcome<Reply> {
        let Some(selected) = self.selected.take() else {
            return Ok(NOT_SELECTED);
        };
        if !selected.read_only {
            let uids = selected.uids_with(Flags::DELETED);
            for batch in uids.chunks(EXPUNGE_BATCH) {
                if let Err(error) = selected.mailbox().expunge(batch).await {
                    self.warn("close did not expunge", &error);
                    return Ok(Reply::No(refusal(&error)));
                }
            }
        }
        Ok(Reply::ok("CLOSE completed"))
    }

    /// EXPUNGE, and UID EXPUNGE with its set (RFC 4315 section 2.1).
    pub(super) async fn expunge(&mut self, set: Option<SequenceSet>) -> Outcome<Reply> {
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        if selected.read_only {
            return Ok(Reply::No(refusal::READ_ONLY));
        }
        let mut uids = selected.uids_with(Flags::DELETED);
        if let Some(set) = set {
            let ranges = set.resolve(selected.view.last_uid().0);
            uids.retain(|uid| ranges.contains(uid.0));
        }
        let mut failure = None;
        for batch in uids.chunks(EXPUNGE_BATCH) {
            if let Err(error) = selected.mailbox().expunge(batch).await {
                self.warn("expunge failed", &error);
                failure = Some(refusal(&error));
                break;
            }
        }
        self.tell_changes(Tell::All, true).await?;
        if let Some(failure) = failure {
            return Ok(Reply::No(failure));
        }
        Ok(match (&self.selected, self.condstore && !uids.is_empty()) {
            (Some(selected), true) => Reply::Ok(
                format!(
                    "[HIGHESTMODSEQ {}] EXPUNGE completed",
                    selected.mailbox().highest_mod_seq().0
                )
                .into(),
            ),
            _ => Reply::ok("EXPUNGE completed"),
        })
    }

    /// The UIDs that a set names, for the commands that take all at once; `Err` is the answer.
    pub(super) async fn uids_of(&self, set: &SequenceSet, uid: bool) -> Result<(Vec<Uid>, bool), Reply> {
        let Some(selected) = &self.selected else {
            return Err(NOT_SELECTED);
        };
        let targets = Targets::new(selected, set, uid).map_err(|OutOfRange| OUT_OF_RANGE)?;
        Ok(targets.uids(selected).await)
    }
}

/// A message sequence number that does not exist is a mistake of the client's (RFC 9051 section 9, `seq-number`).
pub(super) const OUT_OF_RANGE: Reply = Reply::Bad("Message number out of range");

/// The sequence number of the first message without `\Seen`.
fn first_unseen(selected: &Selected) -> Option<u32> {
    let mailbox = selected.mailbox();
    if mailbox.status().unseen == 0 {
        return None;
    }
    let last = selected.view.last_uid();
    let uid = mailbox.with_messages(|messages| {
        known(messages, last)
            .iter()
            .find(|message| !message.flags.contains(Flags::SEEN))
            .map(|message| message.uid)
    })?;
    selected.view.sequence_of(uid)
}
