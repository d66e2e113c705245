//! The words of the store as types: identities, counters and flags that appear both in the journal and in the API.
//!
//! An index, a count, a position and an identity are different things and have different types here. None of these
//! types knows how it is stored; the record modules do.

use std::fmt;

/// An account's key: the entryUUID of its entry in the control data, so that a rename never moves mail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AccountId(pub [u8; 16]);

/// A volume's identity, written in its marker when it is made and never changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct VolumeId(pub [u8; 16]);

/// Names one copy of one message for one account: a delivery that comes twice with the same key is stored once. Random bytes of
/// whoever took the message first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MessageKey(pub [u8; 16]);

fn write_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

/// Reads the text form of a UUID: 32 hexadecimal digits, with hyphens anywhere between bytes or none.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0u8; 16];
    let mut digits = text.bytes().filter(|byte| *byte != b'-');
    for byte in &mut bytes {
        let high = char::from(digits.next()?).to_digit(16)?;
        let low = char::from(digits.next()?).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

macro_rules! uuid_text {
    ($name:ident) => {
        impl $name {
            /// Reads the text form of a UUID; `None` when it is not one.
            pub fn parse(text: &str) -> Option<Self> {
                parse_uuid(text).map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(&self.0, f)
            }
        }
    };
}
uuid_text!(AccountId);
uuid_text!(VolumeId);
uuid_text!(MessageKey);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
number!(
    /// A mailbox within its account; never used again after the mailbox is deleted. INBOX has a number of its own too.
    MailboxId(u32)
);
number!(
    /// A message's unique identifier within its mailbox (RFC 9051 section 2.3.1.1); 0 is none.
    Uid(u32)
);
number!(
    /// A mailbox's unique identifier validity value (RFC 9051 section 2.3.1.1).
    UidValidity(u32)
);
number!(
    /// A modification sequence (RFC 7162), strictly rising within a mailbox.
    ModSeq(u64)
);
number!(
    /// A byte offset in the volume's journal, counted from the volume's making over all segments. Never used twice:
    /// what was at a position once is there, or gone.
    LogPosition(u64)
);

impl LogPosition {
    /// No position: nothing is ever recorded at 0, where the first batch's header is.
    pub const NONE: LogPosition = LogPosition(0);
}

/// System flags and keywords of a message. Bits 0 to 4 are the system flags, bits 8 to 63 index the keyword table of
/// the mailbox that the message is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u64);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// `\Seen`
    pub const SEEN: Flags = Flags(1);
    /// `\Answered`
    pub const ANSWERED: Flags = Flags(1 << 1);
    /// `\Flagged`
    pub const FLAGGED: Flags = Flags(1 << 2);
    /// `\Deleted`
    pub const DELETED: Flags = Flags(1 << 3);
    /// `\Draft`
    pub const DRAFT: Flags = Flags(1 << 4);
    /// All five system flags.
    pub const SYSTEM: Flags = Flags(0b1_1111);
    /// The most keywords a mailbox can have: bits 8 to 63.
    pub const KEYWORDS_MAX: usize = 56;

    const KEYWORD_SHIFT: u32 = 8;

    /// The flag of keyword `index` of the mailbox's table; `None` from `KEYWORDS_MAX` on.
    pub fn keyword(index: usize) -> Option<Flags> {
        if index >= Self::KEYWORDS_MAX {
            return None;
        }
        Some(Flags(1u64 << (Self::KEYWORD_SHIFT + index as u32)))
    }

    /// Whether every flag of `other` is here.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    pub fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// These without those.
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Only those that are in both.
    pub fn intersection(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }

    /// Only the system flags.
    pub fn system(self) -> Flags {
        self.intersection(Self::SYSTEM)
    }

    /// Indices into the mailbox's keyword table, ascending.
    pub fn keyword_indices(self) -> impl Iterator<Item = usize> {
        let mut bits = self.0 >> Self::KEYWORD_SHIFT;
        std::iter::from_fn(move || {
            if bits == 0 {
                return None;
            }
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            Some(index)
        })
    }

    /// No flag at all.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.union(other)
    }
}

/// What a mailbox is for (RFC 6154). At most one a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
    /// `\Important` (RFC 8457)
    Important,
}

impl SpecialUse {
    /// As IMAP spells it, with the backslash.
    pub fn as_str(self) -> &'static str {
        match self {
            SpecialUse::All => "\\All",
            SpecialUse::Archive => "\\Archive",
            SpecialUse::Drafts => "\\Drafts",
            SpecialUse::Flagged => "\\Flagged",
            SpecialUse::Junk => "\\Junk",
            SpecialUse::Sent => "\\Sent",
            SpecialUse::Trash => "\\Trash",
            SpecialUse::Important => "\\Important",
        }
    }

    /// From its IMAP spelling, without regard to case.
    pub fn parse(text: &str) -> Option<SpecialUse> {
        Self::ALL
            .into_iter()
            .find(|use_| use_.as_str().eq_ignore_ascii_case(text))
    }

    /// Every special use.
    pub const ALL: [SpecialUse; 8] = [
        SpecialUse::All,
        SpecialUse::Archive,
        SpecialUse::Drafts,
        SpecialUse::Flagged,
        SpecialUse::Junk,
        SpecialUse::Sent,
        SpecialUse::Trash,
        SpecialUse::Important,
    ];
}

/// What ingestion found out about a body's bytes, so that no reader has to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BodyTraits(pub u8);

impl BodyTraits {
    /// Some line begins with a dot: POP3 has to stuff it (RFC 1939 section 3).
    pub const DOT_LINE: BodyTraits = BodyTraits(1);
    /// Some byte is above 127.
    pub const EIGHT_BIT: BodyTraits = BodyTraits(1 << 1);
    /// Some byte is NUL.
    pub const NUL: BodyTraits = BodyTraits(1 << 2);
    /// The last two bytes are CR LF.
    pub const ENDS_WITH_CRLF: BodyTraits = BodyTraits(1 << 3);

    /// Whether every trait of `other` is here.
    pub fn contains(self, other: BodyTraits) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of `other` added.
    pub fn union(self, other: BodyTraits) -> BodyTraits {
        BodyTraits(self.0 | other.0)
    }
}

/// Where a message's bytes are: the body's record, and the recipient's entry in it (which holds what is put in front of
/// the shared bytes for that recipient).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct BodyReference {
    /// Of the body's record (whole bodies) or of the record that ends it (streamed ones).
    pub position: LogPosition,
    /// Index in the record's list of accounts.
    pub entry: u16,
    /// How many entries the record has: the space of a body is given back in so many shares.
    pub sharers: u16,
    /// Streamed in chunks, not whole in one record.
    pub streamed: bool,
    /// Of the shared bytes and those in front together.
    pub traits: BodyTraits,
}

/// One message of a mailbox, as the index holds it: 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Within the mailbox.
    pub uid: Uid,
    /// Bytes as on the wire, with what is put in front for this recipient.
    pub size: u32,
    /// Of its last change, its arrival included.
    pub mod_seq: ModSeq,
    /// System flags and keywords of this mailbox.
    pub flags: Flags,
    /// INTERNALDATE, seconds since the Unix epoch, UTC.
    pub internal_date: i64,
    /// Where its bytes are.
    pub body: BodyReference,
}

// The memory budget of the index counts on it.
const _: () = assert!(size_of::<Message>() == 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_goes_there_and_back() {
        let id = AccountId::parse("12345678-9abc-def0-1122-334455667788").expect("it is a UUID");
        assert_eq!(id.to_string(), "12345678-9abc-def0-1122-334455667788");
        for bad in [
            "",
            "1234",
            "12345678-9abc-def0-1122-33445566778g",
            "12345678-9abc-def0-1122-33445566778899",
        ] {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keywords_sit_above_the_system_flags() {
        assert_eq!(Flags::keyword(0), Some(Flags(1 << 8)));
        assert_eq!(Flags::keyword(55), Some(Flags(1 << 63)));
        assert_eq!(Flags::keyword(56), None);
        let flags = Flags::SEEN | Flags(1 << 8) | Flags(1 << 63);
        assert_eq!(flags.keyword_indices().collect::<Vec<_>>(), [0, 55]);
        assert_eq!(flags.system(), Flags::SEEN);
    }
}
