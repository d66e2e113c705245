//! What can go wrong in the store, and whose fault it is.
//!
//! `StoreError` is what an operation gives; its text may be shown in logs, not to mail clients. `OpenError` says why a
//! volume did not open, always with the volume's name, its path, what was expected and what was found.

use std::fmt;

use pigeon_store_format::{LogPosition, VolumeId};

/// Why an operation on a volume was not done. Nothing was changed when an operation gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The account's limit would be passed. The person's; retry when mail was deleted.
    OverQuota {
        /// Which limit.
        resource: QuotaResource,
        /// Its value: bytes or messages.
        limit: u64,
    },
    /// There is no mailbox of that name (any more).
    NoSuchMailbox,
    /// There is one of that name already.
    MailboxExists,
    /// The name, or the operation on that name, is not allowed; the text says why in words for a person.
    BadName(&'static str),
    /// The account has as many mailboxes as it can have (`MAILBOXES_MAX`).
    TooManyMailboxes,
    /// The mailbox has as many keywords as it can have (`Flags::KEYWORDS_MAX`), or a keyword is too long.
    TooManyKeywords,
    /// One operation names more accounts or messages than fit into one atomic record.
    TooMany,
    /// The message has been expunged, or its body moved while nobody held it open: look the message up again.
    MessageGone,
    /// Disk nearly full: no new mail for now, other changes still work.
    NearlyFull,
    /// The volume is open for reading only; the text says why.
    ReadOnly(String),
    /// A write failed: no change is taken until the volume is opened again. Reads go on.
    Poisoned(String),
    /// Bytes on the disk are not what was written; the text names what is damaged.
    Damaged {
        /// The message, account or position that is damaged.
        what: String,
    },
    /// A read failed in the operating system: operation, object, offset, error.
    Io(String),
    /// The message is bigger than a message can be (`MESSAGE_BYTES_MAX`).
    TooLarge,
    /// The volume has been closed.
    Closed,
    /// The account is somewhere else, or on its way: `Account::standing` says where.
    Elsewhere,
}

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaResource {
    /// Bytes of all messages (`STORAGE`).
    Bytes,
    /// Count of all messages (`MESSAGE`).
    Messages,
}

impl StoreError {
    /// Whether the same operation may work later without anyone changing the request.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            StoreError::OverQuota { .. }
                | StoreError::NearlyFull
                | StoreError::ReadOnly(_)
                | StoreError::Poisoned(_)
                | StoreError::Io(_)
                | StoreError::Closed
                | StoreError::Elsewhere
        )
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::OverQuota {
                resource: QuotaResource::Bytes,
                limit,
            } => {
                write!(f, "over quota: the account may hold {limit} bytes")
            }
            StoreError::OverQuota {
                resource: QuotaResource::Messages,
                limit,
            } => {
                write!(f, "over quota: the account may hold {limit} messages")
            }
            StoreError::NoSuchMailbox => f.write_str("no such mailbox"),
            StoreError::MailboxExists => f.write_str("a mailbox of that name exists"),
            StoreError::BadName(why) => f.write_str(why),
            StoreError::TooManyMailboxes => f.write_str("the account has too many mailboxes"),
            StoreError::TooManyKeywords => f.write_str("the mailbox has too many keywords, or a keyword is too long"),
            StoreError::TooMany => f.write_str("too many accounts or messages for one operation"),
            StoreError::MessageGone => f.write_str("the message is gone"),
            StoreError::NearlyFull => f.write_str("the volume is nearly full"),
            StoreError::ReadOnly(why) => write!(f, "the volume is read-only: {why}"),
            StoreError::Poisoned(why) => write!(f, "the volume takes no changes until it is opened again: {why}"),
            StoreError::Damaged { what } => write!(f, "damaged: {what}"),
            StoreError::Io(what) => f.write_str(what),
            StoreError::TooLarge => f.write_str("the message is too large"),
            StoreError::Closed => f.write_str("the volume is closed"),
            StoreError::Elsewhere => f.write_str("the account is somewhere else, or on its way"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Why a volume did not open. It was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// The volume that was expected.
    pub volume: VolumeId,
    /// Where it was looked for.
    pub path: String,
    /// What is wrong there.
    pub reason: OpenReason,
}

/// What is wrong with a volume that did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenReason {
    /// No marker: not a volume, or its file system is not mounted.
    NoMarker,
    /// The marker's bytes are not a marker's, or its checksum is wrong.
    BadMarker(String),
    /// Another volume is there.
    OtherVolume(VolumeId),
    /// Written by a newer program: the version found, and the newest that this program reads.
    NewerFormat {
        /// In the marker.
        found: u16,
        /// `FORMAT_VERSION` of this program.
        readable: u16,
    },
    /// Written by a program older than the first release: the version found, and the only one that this program reads.
    OlderFormat {
        /// In the marker.
        found: u16,
        /// `FORMAT_VERSION` of this program.
        readable: u16,
    },
    /// A checkpoint file of another version than the marker's goes with.
    OtherCheckpoint {
        /// The file.
        name: String,
        /// In the file.
        found: u16,
        /// `CHECKPOINT_VERSION` of this program.
        readable: u16,
    },
    /// Not a volume of kind "log".
    OtherKind(u16),
    /// The options cannot go together; the text says which.
    BadOptions(String),
    /// The operating system refused: operation, object, error.
    Io(String),
    /// The journal's beginning is missing at this position.
    MissingSegment(LogPosition),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "volume {} at {}: ", self.volume, self.path)?;
        match &self.reason {
            OpenReason::NoMarker => f.write_str(
                "expected the marker file `pigeonair-volume`, found none: is the file system mounted? was the volume made?",
            ),
            OpenReason::BadMarker(what) => write!(f, "expected a valid marker, found {what}"),
            OpenReason::OtherVolume(found) => write!(f, "expected this volume, found volume {found}"),
            OpenReason::NewerFormat { found, readable } => {
                write!(f, "expected format version {readable} or older, found {found}: use a newer program")
            }
            OpenReason::OlderFormat { found, readable } => {
                write!(f, "expected format version {readable}, found {found}, which no release wrote")
            }
            OpenReason::OtherCheckpoint { name, found, readable } => {
                write!(f, "expected version {readable} in {name}, found {found}: use the program that wrote it")
            }
            OpenReason::OtherKind(found) => write!(f, "expected a volume of kind log (1), found kind {found}"),
            OpenReason::BadOptions(what) => f.write_str(what),
            OpenReason::Io(what) => f.write_str(what),
            OpenReason::MissingSegment(position) => {
                write!(f, "expected a journal segment that holds position {position}, found none")
            }
        }
    }
}

impl std::error::Error for OpenError {}
