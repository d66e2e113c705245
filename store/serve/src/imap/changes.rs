//! Telling the client what changed in the selected mailbox: by others, and by its own commands where their answer is these
//! untagged responses.

use super::selected::Selected;
use super::session::Session;
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::write;
use pigeon_store::{Message, Uid};

/// What may be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// Everything, expunges too: message numbers change.
    All,
    /// What leaves message numbers alone: within FETCH, STORE and SEARCH (RFC 3501 section 7.4.1).
    FlagsOnly,
}

impl<S: ByteStream> Session<S> {
    /// Tells what is new. `uid`: the command was a UID command, so that FETCH responses carry the UID.
    pub(super) async fn tell_changes(&mut self, tell: Tell, uid: bool) -> Outcome {
        let Some(selected) = &mut self.selected else {
            return Ok(());
        };
        if !selected.view.has_changes() {
            return Ok(());
        }
        if tell == Tell::All {
            let expunges = selected.view.take_expunges();
            for batch in expunges.chunks(1024) {
                for (sequence, _) in batch {
                    numbered(&mut self.wire.out, *sequence, "EXPUNGE");
                }
                self.wire.flush_if_full().await?;
            }
            if let Some(exists) = selected.view.take_new() {
                selected.take_recent();
                let recent = selected.recent_count();
                numbered(&mut self.wire.out, exists, "EXISTS");
                numbered(&mut self.wire.out, recent.try_into().unwrap_or(u32::MAX), "RECENT");
            }
        }
        let changed = selected.view.take_flag_changes();
        self.tell_flags(&changed, uid).await
    }

    /// The flags of messages as they are now.
    async fn tell_flags(&mut self, changed: &[Uid], uid: bool) -> Outcome {
        for batch in changed.chunks(256) {
            let Some(selected) = &mut self.selected else {
                return Ok(());
            };
            let keywords = told_keywords(selected, &mut self.wire.out);
            for changed in batch {
                let Some(message) = selected.mailbox().message(*changed) else {
                    continue;
                };
                let Some(sequence) = selected.view.sequence_of(*changed) else {
                    continue;
                };
                let what = FlagsResponse {
                    flags: true,
                    uid,
                    mod_seq: self.condstore,
                };
                write_flags_response(&mut self.wire.out, selected, sequence, &message, &keywords, what);
            }
            self.wire.flush_if_full().await?;
        }
        Ok(())
    }
}

/// What a FETCH response about flags carries.
#[derive(Clone, Copy)]
pub(super) struct FlagsResponse {
    pub(super) flags: bool,
    pub(super) uid: bool,
    pub(super) mod_seq: bool,
}

/// `* n FETCH (UID u FLAGS (...) MODSEQ (m))`.
pub(super) fn write_flags_response(
    out: &mut Vec<u8>,
    selected: &Selected,
    sequence: u32,
    message: &Message,
    keywords: &[String],
    what: FlagsResponse,
) {
    out.extend_from_slice(b"* ");
    write::number(out, u64::from(sequence));
    out.extend_from_slice(b" FETCH (");
    let mut separator: &[u8] = b"";
    if what.uid {
        out.extend_from_slice(b"UID ");
        write::number(out, u64::from(message.uid.0));
        separator = b" ";
    }
    if what.flags {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"FLAGS ");
        selected.write_flags(out, message.uid, message.flags, keywords);
        separator = b" ";
    }
    if what.mod_seq {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"MODSEQ (");
        write::number(out, message.mod_seq.0);
        out.push(b')');
    }
    out.extend_from_slice(b")\r\n");
}

/// The mailbox's keyword table; when it has grown, the client is told the flags there are now, before it sees one.
pub(super) fn told_keywords(selected: &mut Selected, out: &mut Vec<u8>) -> Vec<String> {
    let keywords = selected.mailbox().keywords();
    if keywords.len() > selected.keywords_told {
        write_flags_lists(out, selected, &keywords);
        selected.keywords_told = keywords.len();
    }
    keywords
}

/// `* FLAGS (...)` and PERMANENTFLAGS.
pub(super) fn write_flags_lists(out: &mut Vec<u8>, selected: &Selected, keywords: &[String]) {
    const SYSTEM: u8 = 0b1_1111;
    let names = || keywords.iter().map(String::as_str);
    out.extend_from_slice(b"* FLAGS ");
    write::flags(out, SYSTEM, false, names());
    out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
    if selected.read_only {
        out.extend_from_slice(b"()] No flag can be changed\r\n");
    } else {
        let more = (keywords.len() < pigeon_store::Flags::KEYWORDS_MAX).then_some("\\*");
        write::flags(out, SYSTEM, false, names().chain(more));
        out.extend_from_slice(b"] Flags that can be changed\r\n");
    }
}

/// `* n NAME`.
pub(super) fn numbered(out: &mut Vec<u8>, value: u32, name: &str) {
    out.extend_from_slice(b"* ");
    write::number(out, u64::from(value));
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\r\n");
}
