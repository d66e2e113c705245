//! FETCH (RFC 3501 section 6.4.5): which messages, `\Seen`, and what the index knows. What has to be read is `fetch_body`'s.

use super::body::{OpenMessage, Unreadable};
use super::changes::told_keywords;
use super::refusal::Refusal;
use super::select::OUT_OF_RANGE;
use super::session::{NOT_SELECTED, Reply, Session};
use super::targets::{BATCH, Target, Targets};
use super::wire::{Outcome, Stop};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::runtime::yield_now;
use pigeon_proto::imap::{FetchItem, SequenceSet, date, write};
use pigeon_store::{FlagChange, FlagOperation, FlagOutcome, Flags, ReadAhead};

/// Messages at a time when their bytes are asked for: as many are marked `\Seen` in one durable write, before they are sent.
const BODY_BATCH: usize = 64;

/// Why a message's response was not written whole.
pub(super) enum Broken {
    /// The message cannot be read: the others can.
    Unreadable(Unreadable),
    /// The session cannot go on.
    Stop(Stop),
}

impl From<Unreadable> for Broken {
    fn from(unreadable: Unreadable) -> Self {
        Broken::Unreadable(unreadable)
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        Broken::Stop(stop)
    }
}

/// What to tell of each message.
struct Wanted {
    items: Vec<FetchItem>,
    /// Of all messages of the mailbox.
    keywords: Vec<String>,
    /// Bytes of messages are sent that are seen thereby.
    sets_seen: bool,
    reads: bool,
}

impl<S: ByteStream> Session<S> {
    pub(super) async fn fetch(
        &mut self,
        uid: bool,
        set: &SequenceSet,
        items: Vec<FetchItem>,
        changed_since: Option<u64>,
    ) -> Outcome<Reply> {
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        let Ok(mut targets) = Targets::new(selected, set, uid) else {
            return Ok(OUT_OF_RANGE);
        };
        let read_only = selected.read_only;
        let mut items = items;
        if uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if changed_since.is_some() && !items.contains(&FetchItem::ModSeq) {
            items.push(FetchItem::ModSeq);
        }
        if items.contains(&FetchItem::ModSeq) {
            self.enable_condstore();
        }
        let is_read = |item: &FetchItem| {
            matches!(
                item,
                FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure | FetchItem::Section(_)
            )
        };
        let mut wanted = Wanted {
            sets_seen: !read_only
                && items
                    .iter()
                    .any(|item| matches!(item, FetchItem::Section(section) if !section.peek)),
            reads: items.iter().any(is_read),
            items,
            keywords: Vec::new(),
        };
        let mut failure: Option<Refusal> = None;
        // In a box: most commands have none.
        let mut ahead: Option<Box<ReadAhead>> = None;
        while !targets.is_done() {
            let Some(selected) = &mut self.selected else {
                return Ok(NOT_SELECTED);
            };
            let mut batch = targets.batch(selected, if wanted.reads { BODY_BATCH } else { BATCH });
            batch.retain(|target| changed_since.is_none_or(|since| target.message.mod_seq.0 > since));
            wanted.keywords = told_keywords(selected, &mut self.wire.out);
            let seen = if wanted.sets_seen {
                self.set_seen(&mut batch).await
            } else {
                Vec::new()
            };
            if ahead.is_none() && wanted.reads && batch.len() > 1 {
                ahead = Some(Box::new(self.volume.read_ahead()));
            }
            for (index, target) in batch.iter().enumerate() {
                let newly_seen = seen.binary_search(&target.message.uid).is_ok();
                let fetched = self.fetch_message(&batch[index..], &wanted, newly_seen, ahead.as_deref_mut());
                if let Some(refusal) = fetched.await? {
                    failure.get_or_insert(refusal);
                }
                self.wire.flush_if_full().await?;
            }
            yield_now().await;
        }
        if targets.some_gone {
            failure.get_or_insert(super::refusal::SOME_GONE);
        }
        Ok(match failure {
            Some(failure) => Reply::No(failure),
            None => Reply::ok("FETCH completed"),
        })
    }

    /// Marks messages `\Seen`, durably, and gives the UIDs, ascending, of those that were not. When it cannot be kept, the
    /// client gets its messages all the same.
    async fn set_seen(&mut self, batch: &mut [Target]) -> Vec<pigeon_store::Uid> {
        let unseen = batch
            .iter()
            .filter(|target| !target.message.flags.contains(Flags::SEEN));
        let changes: Vec<FlagChange> = unseen
            .map(|target| FlagChange {
                uid: target.message.uid,
                operation: FlagOperation::Add,
                flags: Flags::SEEN,
                keywords: Vec::new(),
                unchanged_since: None,
            })
            .collect();
        if changes.is_empty() {
            return Vec::new();
        }
        let Some(selected) = &mut self.selected else {
            return Vec::new();
        };
        let results = match selected.mailbox().store_flags(&changes).await {
            Ok(results) => results,
            Err(error) => {
                self.warn("seen flags were not kept", &error);
                return Vec::new();
            }
        };
        let mut seen = Vec::new();
        let mut own = Vec::new();
        for result in results.iter().filter(|result| result.outcome == FlagOutcome::Changed) {
            seen.push(result.uid);
            own.push((result.uid, result.mod_seq));
            if let Some(target) = batch.iter_mut().find(|target| target.message.uid == result.uid) {
                target.message.flags = result.flags;
                target.message.mod_seq = result.mod_seq;
            }
        }
        selected.view.ignore_own(&own);
        seen
    }

    /// The response for the first of these messages; the others are next. One that cannot be read has none; the text for the client
    /// is given then.
    async fn fetch_message(
        &mut self,
        targets: &[Target],
        wanted: &Wanted,
        newly_seen: bool,
        ahead: Option<&mut ReadAhead>,
    ) -> Outcome<Option<Refusal>> {
        let mark = self.wire.mark();
        let unreadable = match self.write_message(targets, wanted, newly_seen, ahead).await {
            Ok(()) => return Ok(None),
            Err(Broken::Stop(stop)) => return Err(stop),
            Err(Broken::Unreadable(unreadable)) => unreadable,
        };
        if let Unreadable::Failed(error) = &unreadable {
            self.warn("message cannot be read", error);
        }
        if !self.wire.take_back(mark) {
            // The client has a part of the response: there is no way to say that the rest does not come.
            self.wire.literal_open = true;
            return Err(Stop::Bye("A message became unreadable"));
        }
        self.wire.literal_open = false;
        Ok(Some(unreadable.refusal()))
    }

    async fn write_message(
        &mut self,
        targets: &[Target],
        wanted: &Wanted,
        newly_seen: bool,
        mut ahead: Option<&mut ReadAhead>,
    ) -> Result<(), Broken> {
        let Some((target, following)) = targets.split_first() else {
            return Ok(());
        };
        let message = &target.message;
        let mut open: Option<OpenMessage> = None;
        self.wire.out.extend_from_slice(b"* ");
        write::number(&mut self.wire.out, u64::from(target.sequence));
        self.wire.out.extend_from_slice(b" FETCH (");
        for (index, item) in wanted.items.iter().enumerate() {
            if index > 0 {
                self.wire.out.push(b' ');
            }
            if !self.write_indexed(target, item, &wanted.keywords) {
                if open.is_none() {
                    let Some(selected) = &self.selected else {
                        return Err(Unreadable::Gone.into());
                    };
                    let following = following.iter().map(|target| target.message);
                    let (mailbox, cache) = (selected.mailbox(), &self.config.summaries);
                    let ahead = ahead.as_deref_mut();
                    let opened = OpenMessage::open(self.volume.id(), mailbox, message, ahead, following, cache);
                    open = Some(opened.await?);
                }
                let open = open.as_mut().expect("opened above");
                self.write_read(open, item).await?;
                self.wire.flush_if_large().await?;
            }
        }
        if newly_seen {
            // The client has to learn of the flag that its FETCH has set.
            for item in [FetchItem::Flags, FetchItem::ModSeq] {
                let told = wanted.items.contains(&item) || (item == FetchItem::ModSeq && !self.condstore);
                if !told {
                    self.wire.out.push(b' ');
                    self.write_indexed(target, &item, &wanted.keywords);
                }
            }
        }
        self.wire.out.extend_from_slice(b")\r\n");
        Ok(())
    }

    /// Writes an item that the index knows; `false` for the others.
    fn write_indexed(&mut self, target: &Target, item: &FetchItem, keywords: &[String]) -> bool {
        let Some(selected) = &self.selected else { return false };
        let message = &target.message;
        let out = &mut self.wire.out;
        match item {
            FetchItem::Uid => {
                out.extend_from_slice(b"UID ");
                write::number(out, u64::from(message.uid.0));
            }
            FetchItem::Flags => {
                out.extend_from_slice(b"FLAGS ");
                selected.write_flags(out, message.uid, message.flags, keywords);
            }
            FetchItem::InternalDate => {
                out.extend_from_slice(b"INTERNALDATE ");
                date::write_date_time(out, message.internal_date);
            }
            FetchItem::Size => {
                out.extend_from_slice(b"RFC822.SIZE ");
                write::number(out, u64::from(message.size));
            }
            FetchItem::ModSeq => {
                out.extend_from_slice(b"MODSEQ (");
                write::number(out, message.mod_seq.0);
                out.push(b')');
            }
            FetchItem::Envelope | FetchItem::Body | FetchItem::BodyStructure | FetchItem::Section(_) => return false,
        }
        true
    }
}
