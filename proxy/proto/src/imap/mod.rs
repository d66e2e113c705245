//! IMAP4rev1 (RFC 3501) and its extensions as values: a reader that frames and parses what a client sends, and writers of
//! what a server answers. No IO, no clock; the same events however the input is cut.
//!
//! - `reader` frames lines and literals within bounds and gives whole commands; an APPEND's messages pass by as a stream.
//! - `command` and the files beside it are what was asked, as types that cannot hold a malformed value.
//! - `write` and `capability` render answers.
//!
//! The same reader serves before and after the login; which command is allowed when is the driver's to say.

pub mod capability;
pub mod command;
pub mod date;
pub mod fetch;
pub mod flags;
pub mod list;
pub mod mailbox_name;
pub mod pattern;
pub mod reader;
pub mod search;
pub mod sequence;
pub mod write;

mod cursor;
mod parse;

pub use command::{Command, Secret, Tag};
pub use fetch::{FetchItem, Section, SectionFetch, SectionText};
pub use flags::FlagList;
pub use mailbox_name::MailboxName;
pub use reader::{AppendMessage, CommandReader, Event, ReaderLimits};
pub use search::{Search, SearchKey};
pub use sequence::SequenceSet;
