//! SEARCH (RFC 3501 section 6.4.4) and its answers: `* SEARCH`, `* ESEARCH` (RFC 4731), with the highest mod-sequence where a
//! key asked for mod-sequences (RFC 7162 section 3.1.5).
//!
//! A message is asked in the order of cost: the index, then its header, then its text; most are decided by the index. Other
//! sessions get their turns in between.

use super::body::{OpenMessage, Unreadable};
use super::search_plan::{Content, Facts, Plan};
use super::select::OUT_OF_RANGE;
use super::session::{NOT_SELECTED, Reply, Session};
use super::targets::{BATCH, Target, Targets, pause};
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::search::SearchReturn;
use pigeon_proto::imap::write::SequenceSetWriter;
use pigeon_proto::imap::{Search, Tag, write};
use pigeon_proto::message::{DateTime, EnvelopeScanner, HeaderMatcher, TextMatcher};

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
        let Some(plan) = Plan::new(selected, keys) else {
            return Ok(OUT_OF_RANGE);
        };
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
        while !(targets.is_done() || first_is_enough && found.count > 0) {
            let Some(selected) = &self.selected else {
                return Ok(NOT_SELECTED);
            };
            for target in targets.batch(selected, BATCH) {
                if self.matches(&plan, &target).await? {
                    found.add(
                        if uid { target.message.uid.0 } else { target.sequence },
                        target.message.mod_seq.0,
                    );
                    if first_is_enough {
                        break;
                    }
                }
            }
            pause().await;
        }
        match returns {
            None => self.answer_search(&found, uses_mod_seq).await?,
            Some(returns) => self.answer_extended(tag, uid, returns, &found, uses_mod_seq).await?,
        }
        Ok(Reply::ok("SEARCH completed"))
    }

    async fn matches(&self, plan: &Plan, target: &Target) -> Outcome<bool> {
        let Some(selected) = &self.selected else {
            return Ok(false);
        };
        let facts = Facts {
            target,
            is_recent: selected.is_recent(target.message.uid),
        };
        if let Some(decided) = plan.decide(&facts, None) {
            return Ok(decided);
        }
        match Box::pin(self.read_and_decide(plan, &facts)).await {
            Ok(decided) => Ok(decided),
            Err(Unreadable::Gone) => Ok(false),
            Err(Unreadable::Failed(error)) => {
                self.warn("message cannot be searched", &error);
                Ok(false)
            }
        }
    }

    async fn read_and_decide(&self, plan: &Plan, facts: &Facts<'_>) -> Result<bool, Unreadable> {
        let Some(selected) = &self.selected else {
            return Ok(false);
        };
        let cache = &self.config.summaries;
        let mut open = OpenMessage::open(&self.volume, selected.mailbox(), &facts.target.message, cache).await?;
        let mut content = Content::unknown(plan);
        if plan.reads_header() {
            let mut matcher = HeaderMatcher::new(&plan.texts);
            let mut envelope = plan.reads_date.then(|| Box::new(EnvelopeScanner::new()));
            open.scan(open.header(), |piece| {
                let matched = matcher.push(piece);
                let read = envelope.as_mut().is_none_or(|envelope| envelope.push(piece));
                matched && read
            })
            .await?;
            content.header_read(plan, &matcher.finish());
            if let Some(envelope) = envelope {
                let date = envelope.finish().date;
                content.sent_day(
                    date.and_then(|date| DateTime::parse_rfc5322(&date))
                        .map(|date| date.date.days()),
                );
            }
            if let Some(decided) = plan.decide(facts, Some(&content)) {
                return Ok(decided);
            }
        }
        let structure = open.structure(cache).await?;
        let mut matcher = TextMatcher::new(&plan.texts, &structure);
        while let Some(range) = matcher.wanted() {
            let piece = open.read(&range).await?;
            if piece.is_empty() {
                break;
            }
            matcher.push(range.start, &piece);
            pause().await;
        }
        content.text_read(matcher.finish());
        Ok(plan.decide(facts, Some(&content)).unwrap_or(false))
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
