//! SEARCH (RFC 3501 section 6.4.4) and its answers: `* SEARCH`, `* ESEARCH` (RFC 4731), with the highest mod-sequence where a
//! key asked for mod-sequences (RFC 7162 section 3.1.5).
//!
//! A message is asked in the order of cost: the index, then its header, then its text; most are decided by the index. Other
//! sessions get their turns in between.

use super::body::{OpenMessage, Unreadable};
use super::selected::{Selected, system_bits};
use super::session::{NOT_SELECTED, Reply, Session};
use super::targets::{BATCH, Target, Targets};
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::runtime::yield_now;
use pigeon_proto::imap::search::SearchReturn;
use pigeon_proto::imap::write::SequenceSetWriter;
use pigeon_proto::imap::{Search, Tag, write};
use pigeon_proto::message::{MessageFacts, Outcome as Known, SearchPlan};
use pigeon_store::ReadAhead;

/// What was found: runs of numbers, ascending, both ends included.
#[derive(Default)]
struct Found {
    runs: Vec<(u32, u32)>,
    count: u64,
    /// Mod-sequences of the first, the last, and the highest.
    mod_seq_first: u64,
    mod_seq_last: u64,
    mod_seq_highest: u64,
}

/// What the index and this session know of a message.
struct Facts<'a> {
    target: &'a Target,
    selected: &'a Selected,
    keywords: &'a [String],
}

impl MessageFacts for Facts<'_> {
    fn sequence(&self) -> u32 {
        self.target.sequence
    }

    fn uid(&self) -> u32 {
        self.target.message.uid.0
    }

    fn has_flag(&self, bit: u8) -> bool {
        system_bits(self.target.message.flags) & bit != 0
    }

    fn is_recent(&self) -> bool {
        self.selected.is_recent(self.target.message.uid)
    }

    fn has_keyword(&self, keyword: &str) -> bool {
        let mut indices = self.target.message.flags.keyword_indices();
        indices.any(|index| {
            self.keywords
                .get(index)
                .is_some_and(|name| name.eq_ignore_ascii_case(keyword))
        })
    }

    fn internal_date(&self) -> i64 {
        self.target.message.internal_date
    }

    fn size(&self) -> u64 {
        u64::from(self.target.message.size)
    }

    fn mod_seq(&self) -> u64 {
        self.target.message.mod_seq.0
    }
}

impl Found {
    fn add(&mut self, number: u32, mod_seq: u64) {
        match self.runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => self.runs.push((number, number)),
        }
        if self.count == 0 {
            self.mod_seq_first = mod_seq;
        }
        self.count += 1;
        self.mod_seq_last = mod_seq;
        self.mod_seq_highest = self.mod_seq_highest.max(mod_seq);
    }
}

impl<S: ByteStream> Session<S> {
    pub(super) async fn search(&mut self, tag: &Tag, uid: bool, search: Search) -> Outcome<Reply> {
        let uses_mod_seq = search.uses_mod_seq();
        let Search { returns, keys } = search;
        let Ok(keys) = keys else {
            return Ok(Reply::no("[BADCHARSET (US-ASCII UTF-8)] Charset not supported"));
        };
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        // A message number that does not exist matches nothing, also `*` in an empty mailbox: clients search `1:*` there, and
        // no answer could be mistaken.
        let count = selected.view.count();
        let plan = SearchPlan::new(&keys, count, selected.view.last_uid().0);
        drop(keys);
        let keywords = selected.mailbox().keywords();
        if uses_mod_seq {
            self.enable_condstore();
        }
        let first_is_enough = returns
            == Some(SearchReturn {
                min: true,
                ..SearchReturn::default()
            });
        let mut found = Found::default();
        let Some(selected) = &self.selected else {
            return Ok(NOT_SELECTED);
        };
        let mut targets = Targets::all(selected);
        let mut ahead: Option<Box<ReadAhead>> = None;
        while !(targets.is_done() || first_is_enough && found.count > 0) {
            let Some(selected) = &self.selected else {
                return Ok(NOT_SELECTED);
            };
            let batch = targets.batch(selected, BATCH);
            for (index, target) in batch.iter().enumerate() {
                if self.matches(&plan, &batch[index..], &keywords, &mut ahead).await {
                    found.add(
                        if uid { target.message.uid.0 } else { target.sequence },
                        target.message.mod_seq.0,
                    );
                    if first_is_enough {
                        break;
                    }
                }
            }
            yield_now().await;
        }
        match returns {
            None => self.answer_search(&found, uses_mod_seq).await?,
            Some(returns) => self.answer_extended(tag, uid, returns, &found, uses_mod_seq).await?,
        }
        Ok(Reply::ok("SEARCH completed"))
    }

    /// Whether the first of these messages does; the others are next.
    async fn matches(
        &self,
        plan: &SearchPlan,
        targets: &[Target],
        keywords: &[String],
        ahead: &mut Option<Box<ReadAhead>>,
    ) -> bool {
        let (Some(selected), Some((target, following))) = (&self.selected, targets.split_first()) else {
            return false;
        };
        let facts = Facts {
            target,
            selected,
            keywords,
        };
        let known = plan.by_facts(&facts);
        if let Known::Known(matches) = known {
            return matches;
        }
        let ahead = ahead.get_or_insert_with(|| Box::new(self.volume.read_ahead()));
        match Box::pin(self.read_and_match(plan, &facts, known, following, ahead)).await {
            Ok(matches) => matches,
            Err(Unreadable::Gone) => false,
            Err(Unreadable::Failed(error)) => {
                self.warn("message cannot be searched", &error);
                false
            }
        }
    }

    async fn read_and_match(
        &self,
        plan: &SearchPlan,
        facts: &Facts<'_>,
        known: Known,
        following: &[Target],
        ahead: &mut ReadAhead,
    ) -> Result<bool, Unreadable> {
        let cache = &self.config.summaries;
        let (mailbox, message) = (facts.selected.mailbox(), &facts.target.message);
        let wanted = following.iter().filter(|target| {
            let facts = Facts { target, ..*facts };
            !matches!(plan.by_facts(&facts), Known::Known(_))
        });
        let following = wanted.map(|target| target.message);
        let opened = OpenMessage::open(self.volume.id(), mailbox, message, Some(ahead), following, cache);
        let mut open = opened.await?;
        let mut header_read = None;
        if known == Known::NeedsHeader {
            let mut reading = plan.read_header();
            open.scan(open.header(), |piece| reading.push(piece)).await?;
            let read = reading.finish();
            if let Known::Known(matches) = read.outcome(facts) {
                return Ok(matches);
            }
            header_read = Some(read);
        }
        let structure = open.structure(cache).await?;
        let mut reading = match header_read {
            Some(read) => read.read_body(&structure),
            None => plan.read_body(&structure),
        };
        while let Some(range) = reading.wanted() {
            let piece = open.read(&range).await?;
            reading.push(range.start, &piece);
            yield_now().await;
        }
        Ok(reading.finish(facts))
    }

    /// `* SEARCH 1 2 3 (MODSEQ 4)`.
    async fn answer_search(&mut self, found: &Found, mod_seq: bool) -> Outcome {
        self.wire.out.extend_from_slice(b"* SEARCH");
        for (first, last) in &found.runs {
            for number in *first..=*last {
                self.wire.out.push(b' ');
                write::number(&mut self.wire.out, u64::from(number));
                self.wire.flush_if_full().await?;
            }
        }
        if mod_seq && found.count > 0 {
            self.wire.out.extend_from_slice(b" (MODSEQ ");
            write::number(&mut self.wire.out, found.mod_seq_highest);
            self.wire.out.push(b')');
        }
        self.wire.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// `* ESEARCH (TAG "a") UID MIN 1 MAX 9 ALL 1:3,9 COUNT 4 MODSEQ 5`.
    async fn answer_extended(
        &mut self,
        tag: &Tag,
        uid: bool,
        returns: SearchReturn,
        found: &Found,
        mod_seq: bool,
    ) -> Outcome {
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* ESEARCH (TAG ");
        write::string(out, tag.as_str().as_bytes());
        out.push(b')');
        if uid {
            out.extend_from_slice(b" UID");
        }
        if let (Some((first, _)), Some((_, last))) = (found.runs.first(), found.runs.last()) {
            for (on, name, number) in [(returns.min, " MIN ", first), (returns.max, " MAX ", last)] {
                if on {
                    out.extend_from_slice(name.as_bytes());
                    write::number(out, u64::from(*number));
                }
            }
        }
        if returns.all && found.count > 0 {
            self.wire.out.extend_from_slice(b" ALL ");
            let mut writer = SequenceSetWriter::default();
            for run in &found.runs {
                writer.push_range(&mut self.wire.out, *run);
                self.wire.flush_if_full().await?;
            }
            writer.finish(&mut self.wire.out);
        }
        let out = &mut self.wire.out;
        if returns.count {
            out.extend_from_slice(b" COUNT ");
            write::number(out, found.count);
        }
        if mod_seq && found.count > 0 {
            // Only of what is told (RFC 7162 section 3.1.10).
            let highest = match returns {
                SearchReturn { all: true, .. } | SearchReturn { count: true, .. } => found.mod_seq_highest,
                SearchReturn {
                    min: true, max: false, ..
                } => found.mod_seq_first,
                SearchReturn {
                    min: false, max: true, ..
                } => found.mod_seq_last,
                SearchReturn { .. } => found.mod_seq_first.max(found.mod_seq_last),
            };
            out.extend_from_slice(b" MODSEQ ");
            write::number(out, highest);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}
