//! The commands of a client, as types.

use super::cursor::Cursor;
use super::fetch::FetchItem;
use super::flags::FlagList;
use super::list::{List, StatusItem};
use super::mailbox_name::MailboxName;
use super::pattern::Pattern;
use super::search::Search;
use super::sequence::SequenceSet;
use std::fmt;

/// What a client put in front of its command: 1 to `TAG_BYTES_MAX` printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(pub(super) Box<str>);

/// Bytes of a tag. A guess: clients use fewer than 20.
pub const TAG_BYTES_MAX: usize = 128;

impl Tag {
    /// A tag by itself; `None` when it is none.
    pub fn parse(text: &str) -> Option<Tag> {
        let mut cursor = Cursor::new(text.as_bytes());
        super::parse::tag(&mut cursor).filter(|_| cursor.is_at_end())
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that never show in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Hides `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What is hidden.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Field names and values of ID (RFC 2971), at most 30 pairs of 30 and 1024 bytes; values may be NIL.
pub type IdParameters = Vec<(String, Option<String>)>;

/// One command. APPEND is not among them: it arrives as events of the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `ID` (RFC 2971); empty for NIL
    Id(IdParameters),
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE`; the client's answers come as `Event::Line`
    Authenticate {
        /// The mechanism's name in upper case.
        mechanism: String,
        /// The initial response as it stood there: base64, or `=` for an empty one (RFC 4959).
        initial_response: Option<Secret>,
    },
    /// `LOGIN`
    Login {
        /// Bytes as given.
        user: Vec<u8>,
        /// Bytes as given.
        password: Secret,
    },
    /// `ENABLE` (RFC 5161), names in upper case
    Enable(Vec<String>),
    /// `SELECT` or `EXAMINE`
    Select {
        /// Which mailbox.
        mailbox: MailboxName,
        /// It was EXAMINE.
        read_only: bool,
        /// The parameter CONDSTORE was given (RFC 7162).
        condstore: bool,
    },
    /// `CREATE`, with `USE` (RFC 6154); a trailing separator has been taken off
    Create {
        /// The new mailbox.
        mailbox: MailboxName,
        /// Its special-use attributes, with their backslash, as written, known or not.
        special_uses: Vec<String>,
    },
    /// `DELETE`
    Delete(MailboxName),
    /// `RENAME`
    Rename {
        /// The name now.
        from: MailboxName,
        /// The name then.
        to: MailboxName,
    },
    /// `SUBSCRIBE`
    Subscribe(MailboxName),
    /// `UNSUBSCRIBE`
    Unsubscribe(MailboxName),
    /// `LIST`
    List(List),
    /// `LSUB`
    Lsub {
        /// The pattern was the empty string.
        root_only: bool,
        /// Reference and pattern.
        pattern: Pattern,
    },
    /// `NAMESPACE` (RFC 2342)
    Namespace,
    /// `STATUS`
    Status {
        /// Which mailbox.
        mailbox: MailboxName,
        /// What to tell.
        items: Vec<StatusItem>,
    },
    /// `IDLE` (RFC 2177); its end comes as `Event::Line`
    Idle,
    /// `GETQUOTA` (RFC 9208), the root as given
    GetQuota(Vec<u8>),
    /// `GETQUOTAROOT`
    GetQuotaRoot(MailboxName),
    /// `SETQUOTA`: always refused, limits are control data
    SetQuota,
    /// `CHECK`
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT` (RFC 3691)
    Unselect,
    /// `EXPUNGE`, or `UID EXPUNGE` (RFC 4315) with a set
    Expunge(Option<SequenceSet>),
    /// `SEARCH` or `UID SEARCH`
    Search {
        /// Answer in UIDs.
        uid: bool,
        /// What to search.
        search: Search,
    },
    /// `FETCH` or `UID FETCH`
    Fetch {
        /// The set is of UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// What of each.
        items: Vec<FetchItem>,
        /// Only those with a higher mod-sequence (RFC 7162).
        changed_since: Option<u64>,
    },
    /// `STORE` or `UID STORE`
    Store(Store),
    /// `COPY` or `UID COPY`
    Copy {
        /// The set is of UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        to: MailboxName,
    },
    /// `MOVE` or `UID MOVE` (RFC 6851)
    Move {
        /// The set is of UIDs.
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        to: MailboxName,
    },
}

/// A STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The set is of UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// Change only those whose mod-sequence is not higher (RFC 7162).
    pub unchanged_since: Option<u64>,
    /// What to do with `flags`.
    pub operation: StoreOperation,
    /// Do not tell the new flags.
    pub silent: bool,
    /// The flags.
    pub flags: FlagList,
}

/// What a STORE does with its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}
