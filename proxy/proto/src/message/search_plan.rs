//! SEARCH (RFC 3501 6.4.4) against one message after the other, reading of each only what the answer hangs on.
//!
//! A plan is made once for a command. For each message: ask [`SearchPlan::by_facts`], which mostly knows the answer from
//! what the mailbox holds; else read the header through [`SearchPlan::read_header`]; and if that does not decide it, the
//! message through [`HeaderRead::read_body`] with its structure. Each step says whether the next is needed at all.

use std::ops::Range;

use crate::imap::search::SearchKey as Key;
use crate::imap::sequence::Ranges;

use super::date::DateTime;
use super::envelope::EnvelopeScanner;
use super::matcher::{HeaderMatcher, SearchKey, SearchKeys, SearchScope, TextMatcher};
use super::structure::Structure;

/// What the mailbox knows of a message.
pub trait MessageFacts {
    /// Its sequence number in the session.
    fn sequence(&self) -> u32;
    /// Its UID.
    fn uid(&self) -> u32;
    /// Whether it has this bit of `imap::flags::system`.
    fn has_flag(&self, bit: u8) -> bool;
    /// Whether it is recent in the session.
    fn is_recent(&self) -> bool;
    /// Whether it has this keyword, compared without case.
    fn has_keyword(&self, keyword: &str) -> bool;
    /// Unix time of its arrival.
    fn internal_date(&self) -> i64;
    /// Octets.
    fn size(&self) -> u64;
    /// Its mod-sequence.
    fn mod_seq(&self) -> u64;
}

/// What is known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message matches, or does not.
    Known(bool),
    /// Its header has to be read.
    NeedsHeader,
    /// Its body has to be read, after the header.
    NeedsBody,
}

/// A search, made ready.
#[derive(Debug, Clone)]
pub struct SearchPlan {
    root: Node,
    keys: SearchKeys,
    reads_date: bool,
}

#[derive(Debug, Clone)]
enum Node {
    /// All of these; none: always true.
    And(Vec<Node>),
    Or(Box<(Node, Node)>),
    Not(Box<Node>),
    Sequence(Ranges),
    Uid(Ranges),
    Fact(Key),
    /// The index of a text key, and whether it looks at the header only.
    Text(usize, bool),
    Sent(Sent, i64),
}

#[derive(Debug, Clone, Copy)]
enum Sent {
    Before,
    On,
    Since,
}

/// What was read of a message.
#[derive(Default)]
struct Content {
    /// Of each text key; none while it is not known.
    found: Vec<Option<bool>>,
    /// The day of the Date field, none when it has none; none while it is not known.
    sent_day: Option<Option<i64>>,
}

impl SearchPlan {
    /// A plan for keys that must all match. `last_sequence` and `last_uid` are what `*` stands for; 0 in an empty mailbox.
    pub fn new(keys: &[Key], last_sequence: u32, last_uid: u32) -> Self {
        let mut builder = Builder {
            texts: Vec::new(),
            last_sequence,
            last_uid,
            reads_date: false,
        };
        let root = Node::And(keys.iter().map(|key| builder.node(key)).collect());
        Self {
            root,
            keys: SearchKeys::new(builder.texts),
            reads_date: builder.reads_date,
        }
    }

    /// What the mailbox's knowledge alone decides.
    pub fn by_facts(&self, facts: &impl MessageFacts) -> Outcome {
        match self.root.value(facts, &Content::default()) {
            Some(value) => Outcome::Known(value),
            None if self.root.needs_header() => Outcome::NeedsHeader,
            None => Outcome::NeedsBody,
        }
    }

    /// Whether any message may have to be read.
    pub fn reads_messages(&self) -> bool {
        self.reads_date || !self.keys.is_empty()
    }

    /// Starts to read a message for which [`Outcome::NeedsHeader`] was said.
    pub fn read_header(&self) -> HeaderReading<'_> {
        HeaderReading {
            plan: self,
            matcher: HeaderMatcher::new(&self.keys),
            date: self.reads_date.then(EnvelopeScanner::new),
        }
    }

    /// Starts to read a message for which [`Outcome::NeedsBody`] was said without its header having been read.
    pub fn read_body(&self, structure: &Structure) -> BodyReading<'_> {
        BodyReading {
            plan: self,
            sent_day: None,
            matcher: TextMatcher::new(&self.keys, structure),
        }
    }
}

impl Node {
    /// Three-valued: none while it hangs on what was not read.
    fn value(&self, facts: &impl MessageFacts, content: &Content) -> Option<bool> {
        match self {
            Node::And(nodes) => {
                let mut all = Some(true);
                for node in nodes {
                    match node.value(facts, content) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
            Node::Or(both) => match (both.0.value(facts, content), both.1.value(facts, content)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Not(node) => node.value(facts, content).map(|value| !value),
            Node::Sequence(ranges) => Some(ranges.contains(facts.sequence())),
            Node::Uid(ranges) => Some(ranges.contains(facts.uid())),
            Node::Fact(key) => Some(fact(key, facts)),
            Node::Text(index, _) => content.found.get(*index).copied().flatten(),
            Node::Sent(sent, day) => content.sent_day.map(|sent_day| {
                sent_day.is_some_and(|sent_day| match sent {
                    Sent::Before => sent_day < *day,
                    Sent::On => sent_day == *day,
                    Sent::Since => sent_day >= *day,
                })
            }),
        }
    }

    /// Whether it looks at a header field.
    fn needs_header(&self) -> bool {
        match self {
            Node::And(nodes) => nodes.iter().any(Node::needs_header),
            Node::Or(both) => both.0.needs_header() || both.1.needs_header(),
            Node::Not(node) => node.needs_header(),
            Node::Text(_, in_header) => *in_header,
            Node::Sent(..) => true,
            Node::Sequence(_) | Node::Uid(_) | Node::Fact(_) => false,
        }
    }
}

fn fact(key: &Key, facts: &impl MessageFacts) -> bool {
    let internal_day = || facts.internal_date().div_euclid(86_400);
    match key {
        Key::Flag(bit) => facts.has_flag(*bit),
        Key::Recent => facts.is_recent(),
        Key::Keyword(keyword) => facts.has_keyword(keyword),
        Key::Before(day) => internal_day() < *day,
        Key::On(day) => internal_day() == *day,
        Key::Since(day) => internal_day() >= *day,
        Key::Larger(size) => facts.size() > u64::from(*size),
        Key::Smaller(size) => facts.size() < u64::from(*size),
        Key::ModSeq(mod_seq) => facts.mod_seq() >= *mod_seq,
        // Every other key has a node of its own.
        _ => true,
    }
}

struct Builder {
    texts: Vec<SearchKey>,
    last_sequence: u32,
    last_uid: u32,
    reads_date: bool,
}

impl Builder {
    /// As deep as the command nests, which its parser bounds.
    fn node(&mut self, key: &Key) -> Node {
        match key {
            Key::All => Node::And(Vec::new()),
            Key::And(keys) => Node::And(keys.iter().map(|key| self.node(key)).collect()),
            Key::Or(both) => Node::Or(Box::new((self.node(&both.0), self.node(&both.1)))),
            Key::Not(key) => Node::Not(Box::new(self.node(key))),
            Key::Sequence(set) => Node::Sequence(set.resolve(self.last_sequence)),
            Key::Uid(set) => Node::Uid(set.resolve(self.last_uid)),
            Key::SentBefore(day) => self.sent(Sent::Before, *day),
            Key::SentOn(day) => self.sent(Sent::On, *day),
            Key::SentSince(day) => self.sent(Sent::Since, *day),
            Key::Header { name, text } => self.text(SearchScope::Header(name.clone()), text),
            Key::Body(text) => self.text(SearchScope::Body, text),
            Key::Text(text) => self.text(SearchScope::Text, text),
            fact => Node::Fact(fact.clone()),
        }
    }

    fn sent(&mut self, sent: Sent, day: i64) -> Node {
        self.reads_date = true;
        Node::Sent(sent, day)
    }

    fn text(&mut self, scope: SearchScope, text: &str) -> Node {
        let in_header = matches!(scope, SearchScope::Header(_));
        let key = SearchKey {
            scope,
            text: text.to_owned(),
        };
        let index = self.texts.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.texts.push(key);
            self.texts.len() - 1
        });
        Node::Text(index, in_header)
    }
}

/// Reads a message's header for a plan.
pub struct HeaderReading<'p> {
    plan: &'p SearchPlan,
    matcher: HeaderMatcher<'p>,
    date: Option<EnvelopeScanner>,
}

impl<'p> HeaderReading<'p> {
    /// Takes the next bytes of the message, from its start on; true when no more are needed.
    pub fn push(&mut self, chunk: &[u8]) -> bool {
        let texts_done = self.matcher.push(chunk);
        let date_done = self.date.as_mut().is_none_or(|date| date.push(chunk));
        texts_done && date_done
    }

    /// What the header decides.
    pub fn finish(self) -> HeaderRead<'p> {
        let found = self.matcher.finish();
        let found = found.into_iter().zip(self.plan.keys.in_header());
        let found = found
            .map(|(found, in_header)| (found || in_header).then_some(found))
            .collect();
        let sent_day = self.date.map(|date| {
            let date = date.finish().date;
            date.and_then(|date| DateTime::parse_rfc5322(&date))
                .map(|sent| sent.date.days())
        });
        HeaderRead {
            plan: self.plan,
            content: Content { found, sent_day },
        }
    }
}

/// A message whose header was read.
pub struct HeaderRead<'p> {
    plan: &'p SearchPlan,
    content: Content,
}

impl<'p> HeaderRead<'p> {
    /// What is known now: the answer, or that the body is needed.
    pub fn outcome(&self, facts: &impl MessageFacts) -> Outcome {
        match self.plan.root.value(facts, &self.content) {
            Some(value) => Outcome::Known(value),
            None => Outcome::NeedsBody,
        }
    }

    /// Starts to read the body.
    pub fn read_body(self, structure: &Structure) -> BodyReading<'p> {
        BodyReading {
            plan: self.plan,
            sent_day: self.content.sent_day,
            matcher: TextMatcher::new(&self.plan.keys, structure),
        }
    }
}

/// Reads a message's text for a plan.
pub struct BodyReading<'p> {
    plan: &'p SearchPlan,
    sent_day: Option<Option<i64>>,
    matcher: TextMatcher<'p>,
}

impl BodyReading<'_> {
    /// The bytes of the message to give next; none when no more are needed.
    pub fn wanted(&self) -> Option<Range<u64>> {
        self.matcher.wanted()
    }

    /// Takes bytes that start at this offset of the message.
    pub fn push(&mut self, offset: u64, chunk: &[u8]) {
        self.matcher.push(offset, chunk);
    }

    /// Whether the message matches.
    pub fn finish(self, facts: &impl MessageFacts) -> bool {
        let found = self.matcher.finish().into_iter().map(Some).collect();
        self.plan.root.value(
            facts,
            &Content {
                found,
                sent_day: self.sent_day,
            },
        ) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::{Command, CommandReader, Event, ReaderLimits};

    struct Facts {
        size: u64,
    }

    impl MessageFacts for Facts {
        fn sequence(&self) -> u32 {
            3
        }
        fn uid(&self) -> u32 {
            30
        }
        fn has_flag(&self, bit: u8) -> bool {
            bit == crate::imap::flags::system::SEEN
        }
        fn is_recent(&self) -> bool {
            false
        }
        fn has_keyword(&self, keyword: &str) -> bool {
            keyword.eq_ignore_ascii_case("$Junk")
        }
        fn internal_date(&self) -> i64 {
            20_759 * 86_400 + 5
        }
        fn size(&self) -> u64 {
            self.size
        }
        fn mod_seq(&self) -> u64 {
            7
        }
    }

    fn search(text: &str) -> Vec<Key> {
        let line = format!("a SEARCH CHARSET UTF-8 {text}\r\n");
        match CommandReader::new(&ReaderLimits::AFTER_LOGIN).read(&mut line.as_bytes()) {
            Event::Command(_, Command::Search { search, .. }) => search.keys.expect("a known charset"),
            other => panic!("{text}: {other:?}"),
        }
    }

    const MESSAGE: &[u8] = b"From: Ann <ann@example.org>\r\nDate: Sun, 1 Nov 2026 23:00:00 -0800\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhello world\r\n";

    /// The answer, and what had to be read: 0 nothing, 1 the header, 2 the body too.
    fn answer(text: &str) -> (bool, u8) {
        let plan = SearchPlan::new(&search(text), 5, 50);
        let facts = Facts {
            size: MESSAGE.len() as u64,
        };
        let mut read = 0;
        let mut body = match plan.by_facts(&facts) {
            Outcome::Known(value) => return (value, read),
            Outcome::NeedsBody => plan.read_body(&Structure::of(MESSAGE)),
            Outcome::NeedsHeader => {
                read += 1;
                let mut header = plan.read_header();
                MESSAGE.chunks(3).any(|chunk| header.push(chunk));
                let header = header.finish();
                match header.outcome(&facts) {
                    Outcome::Known(value) => return (value, read),
                    _ => header.read_body(&Structure::of(MESSAGE)),
                }
            }
        };
        read = 2;
        while let Some(wanted) = body.wanted() {
            let start = wanted.start as usize;
            body.push(wanted.start, &MESSAGE[start..(start + 5).min(wanted.end as usize)]);
        }
        (body.finish(&facts), read)
    }

    #[test]
    fn only_what_the_answer_hangs_on_is_read() {
        for (text, expected, read) in [
            ("ALL", true, 0),
            ("SEEN UNDELETED", true, 0),
            ("UNSEEN BODY hello", false, 0),
            ("OR SEEN BODY hello", true, 0),
            ("NOT (UNSEEN TEXT x)", true, 0),
            ("3", true, 0),
            ("1:2,4:*", false, 0),
            ("UID 30:*", true, 0),
            ("KEYWORD $junk UNKEYWORD other", true, 0),
            ("NEW", false, 0),
            ("OLD", true, 0),
            ("ON 2-Nov-2026 SINCE 2-Nov-2026 BEFORE 3-Nov-2026", true, 0),
            ("LARGER 10 SMALLER 1000 MODSEQ 7", true, 0),
            ("MODSEQ 8", false, 0),
            ("SUBJECT \"grüße\"", true, 1),
            ("NOT SUBJECT \"grüße\"", false, 1),
            ("HEADER X-None \"\"", false, 1),
            ("SENTON 1-Nov-2026", true, 1),
            ("SENTSINCE 2-Nov-2026", false, 1),
            ("SENTBEFORE 2-Nov-2026 FROM ann", true, 1),
            ("OR FROM ann BODY absent", true, 1),
            ("FROM bob BODY hello", false, 1),
            ("FROM ann BODY hello", true, 2),
            ("BODY HELLO BODY world", true, 2),
            ("BODY hello NOT BODY world", false, 2),
            ("TEXT ann", true, 2),
            ("TEXT hello SENTON 1-Nov-2026 SUBJECT gr", true, 2),
            ("OR BODY absent SENTON 1-Nov-2025", false, 2),
            ("OR (SENTON 1-Nov-2026 BODY absent) BODY hello", true, 2),
            ("BODY \"\"", true, 2),
        ] {
            assert_eq!(answer(text), (expected, read), "{text}");
        }
    }

    #[test]
    fn an_empty_mailbox_has_no_last_message() {
        let plan = SearchPlan::new(&search("1:*"), 0, 0);
        assert!(!plan.reads_messages());
    }
}
