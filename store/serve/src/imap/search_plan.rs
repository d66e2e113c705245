//! A search made ready: sets resolved, keywords looked up, texts gathered, so that each message is decided with what is
//! known so far, and read only when that does not suffice. Three values: yes, no, and not known yet.

use super::selected::Selected;
use super::targets::Target;
use pigeon_proto::imap::SearchKey as ImapKey;
use pigeon_proto::imap::date::DAY_SECONDS;
use pigeon_proto::imap::sequence::Ranges;
use pigeon_proto::message::{SearchKey, SearchKeys, SearchScope};
use pigeon_store::Flags;

/// A condition on a message.
enum Condition {
    Constant(bool),
    And(Vec<Condition>),
    Or(Box<(Condition, Condition)>),
    Not(Box<Condition>),
    Sequence(Ranges),
    Uid(Ranges),
    Flag(Flags),
    Recent,
    /// Internal date, in days: from the first on, before the second.
    Day(i64, i64),
    /// The same of the Date field.
    SentDay(i64, i64),
    /// Bytes: more than the first, fewer than the second.
    Size(Option<u32>, Option<u32>),
    /// Mod-sequence is at least this.
    ModSeq(u64),
    /// The text of this number is found.
    Text(usize),
}

/// See the module's documentation.
pub(super) struct Plan {
    condition: Condition,
    /// All texts to be looked for.
    pub(super) texts: SearchKeys,
    /// Of each text, whether only the message's header can hold it.
    in_header: Vec<bool>,
    /// The Date field is asked for.
    pub(super) reads_date: bool,
}

/// What the index knows of a message.
pub(super) struct Facts<'a> {
    pub(super) target: &'a Target,
    pub(super) is_recent: bool,
}

/// What reading a message has shown so far.
pub(super) struct Content {
    /// The day of the Date field: not known yet, none, or days since the Unix epoch.
    sent_day: Option<Option<i64>>,
    /// Of each text.
    found: Vec<Option<bool>>,
}

impl Content {
    pub(super) fn unknown(plan: &Plan) -> Self {
        Self {
            sent_day: None,
            found: vec![None; plan.in_header.len()],
        }
    }

    /// The header has been read.
    pub(super) fn header_read(&mut self, plan: &Plan, found: &[bool]) {
        for ((known, in_header), found) in self.found.iter_mut().zip(&plan.in_header).zip(found) {
            if *in_header {
                *known = Some(*found);
            }
        }
    }

    pub(super) fn sent_day(&mut self, day: Option<i64>) {
        self.sent_day = Some(day);
    }

    /// All has been read.
    pub(super) fn text_read(&mut self, found: Vec<bool>) {
        self.found = found.into_iter().map(Some).collect();
    }
}

/// Gathers the texts while conditions are built.
struct Builder<'a> {
    selected: &'a Selected,
    keywords: Vec<String>,
    texts: Vec<SearchKey>,
    reads_date: bool,
}

impl Plan {
    /// `None` when a message sequence number does not exist.
    pub(super) fn new(selected: &Selected, keys: Vec<ImapKey>) -> Option<Self> {
        let mut builder = Builder {
            selected,
            keywords: selected.mailbox().keywords(),
            texts: Vec::new(),
            reads_date: false,
        };
        let conditions = keys
            .into_iter()
            .map(|key| builder.condition(key))
            .collect::<Option<Vec<_>>>()?;
        let in_header = builder
            .texts
            .iter()
            .map(|key| matches!(key.scope, SearchScope::Header(_)))
            .collect();
        Some(Self {
            condition: Condition::And(conditions),
            texts: SearchKeys::new(builder.texts),
            in_header,
            reads_date: builder.reads_date,
        })
    }

    /// Whether the header alone can decide something.
    pub(super) fn reads_header(&self) -> bool {
        self.reads_date || self.in_header.contains(&true)
    }

    /// Yes, no, or `None`: more has to be read.
    pub(super) fn decide(&self, facts: &Facts<'_>, content: Option<&Content>) -> Option<bool> {
        self.condition.decide(facts, content)
    }
}

impl Builder<'_> {
    fn condition(&mut self, key: ImapKey) -> Option<Condition> {
        Some(match key {
            ImapKey::All => Condition::Constant(true),
            ImapKey::And(keys) => {
                Condition::And(keys.into_iter().map(|key| self.condition(key)).collect::<Option<_>>()?)
            }
            ImapKey::Or(both) => Condition::Or(Box::new((self.condition(both.0)?, self.condition(both.1)?))),
            ImapKey::Not(key) => Condition::Not(Box::new(self.condition(*key)?)),
            ImapKey::Sequence(set) => {
                let count = self.selected.view.count();
                if set.exceeds(count) {
                    return None;
                }
                Condition::Sequence(set.resolve(count))
            }
            ImapKey::Uid(set) => Condition::Uid(set.resolve(self.selected.view.last_uid().0)),
            ImapKey::Flag(bit) => Condition::Flag(Flags(u64::from(bit))),
            ImapKey::Recent => Condition::Recent,
            ImapKey::Keyword(name) => {
                let index = self
                    .keywords
                    .iter()
                    .position(|keyword| keyword.eq_ignore_ascii_case(&name));
                index
                    .and_then(Flags::keyword)
                    .map_or(Condition::Constant(false), Condition::Flag)
            }
            ImapKey::Before(day) => Condition::Day(i64::MIN, day),
            ImapKey::On(day) => Condition::Day(day, day.saturating_add(1)),
            ImapKey::Since(day) => Condition::Day(day, i64::MAX),
            ImapKey::SentBefore(day) => self.sent_day(i64::MIN, day),
            ImapKey::SentOn(day) => self.sent_day(day, day.saturating_add(1)),
            ImapKey::SentSince(day) => self.sent_day(day, i64::MAX),
            ImapKey::Larger(bytes) => Condition::Size(Some(bytes), None),
            ImapKey::Smaller(bytes) => Condition::Size(None, Some(bytes)),
            ImapKey::ModSeq(mod_seq) => Condition::ModSeq(mod_seq),
            ImapKey::Header { name, text } => self.text(SearchScope::Header(name), text),
            ImapKey::Body(text) => self.text(SearchScope::Body, text),
            ImapKey::Text(text) => self.text(SearchScope::Text, text),
        })
    }

    fn sent_day(&mut self, from: i64, before: i64) -> Condition {
        self.reads_date = true;
        Condition::SentDay(from, before)
    }

    fn text(&mut self, scope: SearchScope, text: String) -> Condition {
        self.texts.push(SearchKey { scope, text });
        Condition::Text(self.texts.len() - 1)
    }
}

impl Condition {
    fn decide(&self, facts: &Facts<'_>, content: Option<&Content>) -> Option<bool> {
        let message = &facts.target.message;
        Some(match self {
            Condition::Constant(value) => *value,
            Condition::And(conditions) => {
                let mut known = true;
                for condition in conditions {
                    match condition.decide(facts, content) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => known = false,
                    }
                }
                return known.then_some(true);
            }
            Condition::Or(both) => match (both.0.decide(facts, content), both.1.decide(facts, content)) {
                (Some(true), _) | (_, Some(true)) => true,
                (Some(false), Some(false)) => false,
                _ => return None,
            },
            Condition::Not(condition) => !condition.decide(facts, content)?,
            Condition::Sequence(ranges) => ranges.contains(facts.target.sequence),
            Condition::Uid(ranges) => ranges.contains(message.uid.0),
            Condition::Flag(flag) => message.flags.contains(*flag),
            Condition::Recent => facts.is_recent,
            Condition::Day(from, before) => (*from..*before).contains(&message.internal_date.div_euclid(DAY_SECONDS)),
            Condition::SentDay(from, before) => content?.sent_day?.is_some_and(|day| (*from..*before).contains(&day)),
            Condition::Size(more, fewer) => {
                more.is_none_or(|more| message.size > more) && fewer.is_none_or(|fewer| message.size < fewer)
            }
            Condition::ModSeq(mod_seq) => message.mod_seq.0 >= *mod_seq,
            Condition::Text(index) => (*content?.found.get(*index)?)?,
        })
    }
}
