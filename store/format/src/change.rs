//! The records that change an account. Each is a link of the account's chain: it names the account and the link before.
//!
//! A change says what was decided, not what was asked: applying the links in order gives the same state every time. Some
//! changes (copies, moves, flags) refer to the state that the links before them made.

use std::borrow::Cow;

use crate::cursor::{Malformed, Put, Reader};
use crate::item::{
    decode_bytes, decode_keywords, decode_messages, decode_starts, encode_bytes, encode_keywords, encode_messages,
    encode_starts,
};
use crate::{
    AccountId, Flags, KeyUse, LogPosition, MailboxDefinition, MailboxId, Message, ModSeq, NewKeyword, RecordKind,
    SegmentBytes, SnapshotEnd, SnapshotPlace, Standing, StreamedStart, Uid, UidRanges,
};

/// Bytes in front of every link's own fields.
pub const LINK_BYTES: usize = 24;

/// What every link of an account's chain begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whose chain it is.
    pub account: AccountId,
    /// The link before, `NONE` for the first.
    pub previous: LogPosition,
}

impl Link {
    /// From a payload; gives what is behind it too.
    pub fn decode(payload: &[u8]) -> Result<(Link, &[u8]), Malformed> {
        let mut reader = Reader::new(payload);
        let link = Link {
            account: AccountId(reader.array("link account")?),
            previous: LogPosition(reader.u64("link previous")?),
        };
        Ok((link, reader.rest()))
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; LINK_BYTES] {
        let mut bytes = [0; LINK_BYTES];
        bytes[..16].copy_from_slice(&self.account.0);
        bytes[16..].copy_from_slice(&self.previous.0.to_le_bytes());
        bytes
    }

    /// Writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.to_bytes());
    }
}

/// Messages whose flags change in the same way: `new = old & !clear | set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagGroup {
    /// Flags added.
    pub set: Flags,
    /// Flags taken away first.
    pub clear: Flags,
    /// Of these messages.
    pub uids: UidRanges,
}

/// Messages that go to another mailbox of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where they are.
    pub source: MailboxId,
    /// Where they go.
    pub target: MailboxId,
    /// Which.
    pub uids: UidRanges,
    /// The first one's UID there; the others follow without gaps.
    pub first_uid: Uid,
    /// All of them there.
    pub mod_seq: ModSeq,
    /// What the target's table gets first.
    pub keywords: Vec<NewKeyword>,
    /// Keyword index in the source, and in the target.
    pub keyword_map: Vec<(u8, u8)>,
}

/// A change of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Messages put into a mailbox.
    Append {
        /// Which.
        mailbox: MailboxId,
        /// What its table gets first.
        keywords: Vec<NewKeyword>,
        /// The messages, ascending, above all that were ever there.
        messages: Cow<'a, [Message]>,
        /// One for each streamed body among them.
        starts: Vec<StreamedStart>,
        /// The key under which they came, if any: then it is a record of its own kind.
        key: Option<KeyUse>,
    },
    /// Flags changed.
    Flags {
        /// Which mailbox's.
        mailbox: MailboxId,
        /// Of every message named.
        mod_seq: ModSeq,
        /// What the table gets first.
        keywords: Vec<NewKeyword>,
        /// What changes how.
        groups: Vec<FlagGroup>,
    },
    /// Messages removed.
    Expunge {
        /// Which mailbox's.
        mailbox: MailboxId,
        /// The mailbox's new highest.
        mod_seq: ModSeq,
        /// Which messages.
        uids: UidRanges,
        /// Space to be given back.
        dead: Vec<SegmentBytes>,
    },
    /// Messages copied.
    Copy(Transfer),
    /// Messages moved.
    Move {
        /// From where to where.
        transfer: Transfer,
        /// The source's new highest.
        source_mod_seq: ModSeq,
    },
    /// Mailboxes made, parents first. One that has the name of a mailbox that cannot be selected takes its place.
    MailboxCreate {
        /// Which.
        mailboxes: Vec<MailboxDefinition>,
    },
    /// A mailbox deleted.
    MailboxDelete {
        /// Which.
        mailbox: MailboxId,
        /// The name stays, for its children.
        keep_name: bool,
        /// Space to be given back.
        dead: Vec<SegmentBytes>,
    },
    /// Mailboxes renamed, after missing parents were made.
    MailboxRename {
        /// Parents.
        created: Vec<MailboxDefinition>,
        /// Mailbox and new name.
        renamed: Vec<(MailboxId, String)>,
    },
    /// INBOX renamed: the last of `created` takes all messages of INBOX, with their UIDs, flags and keywords.
    InboxRename {
        /// Parents, and the mailbox itself at the end.
        created: Vec<MailboxDefinition>,
        /// INBOX's new highest.
        inbox_mod_seq: ModSeq,
    },
    /// A name subscribed to, or no longer.
    Subscribe {
        /// Which.
        subscribed: bool,
        /// The name.
        name: String,
    },
    /// Messages below `first` are no longer recent.
    Recent {
        /// Which mailbox's.
        mailbox: MailboxId,
        /// The first that still is, or will be.
        first: Uid,
    },
    /// Bodies moved by compaction: every message that refers to the old position refers to the new one.
    Moved {
        /// Which bodies.
        bodies: Vec<MovedBody>,
        /// Space to be given back.
        dead: Vec<SegmentBytes>,
        /// Space taken instead.
        live: Vec<SegmentBytes>,
    },
    /// The account's whole state as of some link before.
    Snapshot(SnapshotEnd<'a>),
    /// A step of a move. With [`Standing::Moved`] and [`Standing::GivenUp`] everything in the account goes.
    Handover {
        /// Whose it is from here on.
        standing: Standing,
        /// Space to be given back.
        dead: Vec<SegmentBytes>,
    },
}

/// A body moved by compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedBody {
    /// The old position of its record.
    pub from: LogPosition,
    /// The new position.
    pub to: LogPosition,
    /// For a streamed body, the lowest position of its chunks now; else `NONE`.
    pub start: LogPosition,
}

impl Transfer {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.source.0);
        out.put_u32(self.target.0);
        out.put_u32(self.first_uid.0);
        out.put_u64(self.mod_seq.0);
        encode_keywords(out, &self.keywords);
        out.put_u16(u16::try_from(self.keyword_map.len()).expect("a mailbox has at most 56 keywords"));
        for (from, to) in &self.keyword_map {
            out.put_u8(*from);
            out.put_u8(*to);
        }
        self.uids.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let source = MailboxId(reader.u32("transfer source")?);
        let target = MailboxId(reader.u32("transfer target")?);
        let first_uid = Uid(reader.u32("transfer uid")?);
        let mod_seq = ModSeq(reader.u64("transfer mod-sequence")?);
        let keywords = decode_keywords(reader)?;
        let count = reader.u16("keyword map")?;
        let mut keyword_map = Vec::new();
        for _ in 0..count {
            let pair = (reader.u8("keyword map")?, reader.u8("keyword map")?);
            if usize::from(pair.0.max(pair.1)) >= Flags::KEYWORDS_MAX {
                return Err(Malformed("keyword map"));
            }
            keyword_map.push(pair);
        }
        let uids = UidRanges::decode(reader)?;
        Ok(Self {
            source,
            target,
            uids,
            first_uid,
            mod_seq,
            keywords,
            keyword_map,
        })
    }

    /// The flags in the target of a message that has `flags` in the source.
    pub fn map_flags(&self, flags: Flags) -> Flags {
        let mut mapped = flags.system();
        for (from, to) in &self.keyword_map {
            if let (Some(from), Some(to)) = (Flags::keyword(usize::from(*from)), Flags::keyword(usize::from(*to)))
                && flags.contains(from)
            {
                mapped = mapped | to;
            }
        }
        mapped
    }
}

impl<'a> Change<'a> {
    /// The kind of record that it is.
    pub fn kind(&self) -> RecordKind {
        match self {
            Change::Append { key: None, .. } => RecordKind::Append,
            Change::Append { key: Some(_), .. } => RecordKind::AppendKeyed,
            Change::Flags { .. } => RecordKind::Flags,
            Change::Expunge { .. } => RecordKind::Expunge,
            Change::Copy(_) => RecordKind::Copy,
            Change::Move { .. } => RecordKind::Move,
            Change::MailboxCreate { .. } => RecordKind::MailboxCreate,
            Change::MailboxDelete { .. } => RecordKind::MailboxDelete,
            Change::MailboxRename { .. } => RecordKind::MailboxRename,
            Change::InboxRename { .. } => RecordKind::InboxRename,
            Change::Subscribe { .. } => RecordKind::Subscribe,
            Change::Recent { .. } => RecordKind::Recent,
            Change::Moved { .. } => RecordKind::Moved,
            Change::Snapshot(_) => RecordKind::Snapshot,
            Change::Handover { .. } => RecordKind::Handover,
        }
    }

    /// Writes the fields behind the link.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Change::Append {
                mailbox,
                keywords,
                messages,
                starts,
                key,
            } => {
                if let Some(key) = key {
                    key.encode(out);
                }
                out.put_u32(mailbox.0);
                encode_keywords(out, keywords);
                encode_messages(out, messages);
                encode_starts(out, starts);
            }
            Change::Flags {
                mailbox,
                mod_seq,
                keywords,
                groups,
            } => {
                out.put_u32(mailbox.0);
                out.put_u64(mod_seq.0);
                encode_keywords(out, keywords);
                out.put_count(groups.len());
                for group in groups {
                    out.put_u64(group.set.0);
                    out.put_u64(group.clear.0);
                    group.uids.encode(out);
                }
            }
            Change::Expunge {
                mailbox,
                mod_seq,
                uids,
                dead,
            } => {
                out.put_u32(mailbox.0);
                out.put_u64(mod_seq.0);
                uids.encode(out);
                encode_bytes(out, dead);
            }
            Change::Copy(transfer) => transfer.encode(out),
            Change::Move {
                transfer,
                source_mod_seq,
            } => {
                transfer.encode(out);
                out.put_u64(source_mod_seq.0);
            }
            Change::MailboxCreate { mailboxes } => MailboxDefinition::encode_all(out, mailboxes),
            Change::MailboxDelete {
                mailbox,
                keep_name,
                dead,
            } => {
                out.put_u32(mailbox.0);
                out.put_u8(u8::from(*keep_name));
                encode_bytes(out, dead);
            }
            Change::MailboxRename { created, renamed } => {
                MailboxDefinition::encode_all(out, created);
                out.put_count(renamed.len());
                for (mailbox, name) in renamed {
                    out.put_u32(mailbox.0);
                    out.put_text(name);
                }
            }
            Change::InboxRename { created, inbox_mod_seq } => {
                MailboxDefinition::encode_all(out, created);
                out.put_u64(inbox_mod_seq.0);
            }
            Change::Subscribe { subscribed, name } => {
                out.put_u8(u8::from(*subscribed));
                out.put_text(name);
            }
            Change::Recent { mailbox, first } => {
                out.put_u32(mailbox.0);
                out.put_u32(first.0);
            }
            Change::Moved { bodies, dead, live } => {
                out.put_count(bodies.len());
                for body in bodies {
                    out.put_u64(body.from.0);
                    out.put_u64(body.to.0);
                    out.put_u64(body.start.0);
                }
                encode_bytes(out, dead);
                encode_bytes(out, live);
            }
            Change::Snapshot(end) => {
                let SnapshotEnd {
                    covers,
                    base,
                    parts,
                    last_part,
                    image_bytes,
                    ..
                } = *end;
                let place = SnapshotPlace {
                    covers,
                    base,
                    parts,
                    last_part,
                    image_bytes,
                };
                SnapshotEnd::encode_fields(out, place, &end.dead(), &end.live(), end.image);
            }
            Change::Handover { standing, dead } => {
                standing.encode(out);
                encode_bytes(out, dead);
            }
        }
    }

    /// From the fields behind the link.
    pub fn decode(kind: RecordKind, fields: &'a [u8]) -> Result<Change<'a>, Malformed> {
        let mut reader = Reader::new(fields);
        let change = match kind {
            RecordKind::Append | RecordKind::AppendKeyed => {
                let keyed = kind == RecordKind::AppendKeyed;
                let key = keyed.then(|| KeyUse::decode(&mut reader)).transpose()?;
                let mailbox = MailboxId(reader.u32("append mailbox")?);
                let keywords = decode_keywords(&mut reader)?;
                let messages = decode_messages(&mut reader)?;
                let starts = decode_starts(&mut reader)?;
                Change::Append {
                    mailbox,
                    keywords,
                    messages: Cow::Owned(messages),
                    starts,
                    key,
                }
            }
            RecordKind::Flags => {
                let mailbox = MailboxId(reader.u32("flags mailbox")?);
                let mod_seq = ModSeq(reader.u64("flags mod-sequence")?);
                let keywords = decode_keywords(&mut reader)?;
                let count = reader.u32("flag groups")?;
                let mut groups = Vec::new();
                for _ in 0..count {
                    let set = Flags(reader.u64("flags set")?);
                    let clear = Flags(reader.u64("flags clear")?);
                    groups.push(FlagGroup {
                        set,
                        clear,
                        uids: UidRanges::decode(&mut reader)?,
                    });
                }
                Change::Flags {
                    mailbox,
                    mod_seq,
                    keywords,
                    groups,
                }
            }
            RecordKind::Expunge => Change::Expunge {
                mailbox: MailboxId(reader.u32("expunge mailbox")?),
                mod_seq: ModSeq(reader.u64("expunge mod-sequence")?),
                uids: UidRanges::decode(&mut reader)?,
                dead: decode_bytes(&mut reader)?,
            },
            RecordKind::Copy => Change::Copy(Transfer::decode(&mut reader)?),
            RecordKind::Move => Change::Move {
                transfer: Transfer::decode(&mut reader)?,
                source_mod_seq: ModSeq(reader.u64("move mod-sequence")?),
            },
            RecordKind::MailboxCreate => Change::MailboxCreate {
                mailboxes: MailboxDefinition::decode_all(&mut reader)?,
            },
            RecordKind::MailboxDelete => Change::MailboxDelete {
                mailbox: MailboxId(reader.u32("delete mailbox")?),
                keep_name: reader.u8("delete flags")? & 1 != 0,
                dead: decode_bytes(&mut reader)?,
            },
            RecordKind::MailboxRename => {
                let created = MailboxDefinition::decode_all(&mut reader)?;
                let count = reader.u32("renames")?;
                let mut renamed = Vec::new();
                for _ in 0..count {
                    let mailbox = MailboxId(reader.u32("rename mailbox")?);
                    renamed.push((mailbox, reader.text("rename name")?.to_owned()));
                }
                Change::MailboxRename { created, renamed }
            }
            RecordKind::InboxRename => Change::InboxRename {
                created: MailboxDefinition::decode_all(&mut reader)?,
                inbox_mod_seq: ModSeq(reader.u64("rename mod-sequence")?),
            },
            RecordKind::Subscribe => Change::Subscribe {
                subscribed: reader.u8("subscribe flags")? & 1 != 0,
                name: reader.text("subscribe name")?.to_owned(),
            },
            RecordKind::Recent => Change::Recent {
                mailbox: MailboxId(reader.u32("recent mailbox")?),
                first: Uid(reader.u32("recent uid")?),
            },
            RecordKind::Moved => {
                let count = reader.u32("moved bodies")?;
                let mut items = Reader::new(reader.items(count, 24, "moved bodies")?);
                let mut bodies = Vec::with_capacity(items.remaining() / 24);
                for _ in 0..count {
                    bodies.push(MovedBody {
                        from: LogPosition(items.u64("moved from")?),
                        to: LogPosition(items.u64("moved to")?),
                        start: LogPosition(items.u64("moved start")?),
                    });
                }
                Change::Moved {
                    bodies,
                    dead: decode_bytes(&mut reader)?,
                    live: decode_bytes(&mut reader)?,
                }
            }
            RecordKind::Handover => Change::Handover {
                standing: Standing::decode(&mut reader)?,
                dead: decode_bytes(&mut reader)?,
            },
            RecordKind::Snapshot => return SnapshotEnd::decode(reader).map(Change::Snapshot),
            RecordKind::Body
            | RecordKind::BodyChunk
            | RecordKind::BodyEnd
            | RecordKind::SnapshotPart
            | RecordKind::AccountTable => return Err(Malformed("account change")),
        };
        reader.end("account change")?;
        Ok(change)
    }
}
