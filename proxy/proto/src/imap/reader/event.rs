//! What the reader tells its driver.

use crate::imap::command::{Command, Tag};
use crate::imap::flags::FlagList;
use crate::imap::mailbox_name::MailboxName;

/// What the reader found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is consumed; come back with more.
    NeedMore,
    /// Send a command continuation request (`write::CONTINUE`): the client waits with a literal.
    Continue,
    /// A whole command.
    Command(Tag, Command),
    /// The line that `expect_line` announced, without its line break.
    Line(Vec<u8>),
    /// A message of an APPEND is about to come: answer with `accept_literal` (after sending `write::CONTINUE` when it is
    /// synchronising) or `refuse_literal`.
    Append(Box<AppendMessage>),
    /// The next bytes of the message.
    AppendData(&'a [u8]),
    /// The message is complete; another may follow.
    AppendMessageEnd,
    /// The APPEND is complete: commit and answer.
    AppendEnd(Tag),
    /// Answer BAD. When an APPEND was under way, it is over and nothing of it may be kept.
    Bad {
        /// `None`: untagged.
        tag: Option<Tag>,
        /// For the client.
        reason: &'static str,
    },
    /// Too much to skip: say BYE with this text and close. The reader gives nothing else from here on.
    Close(&'static str),
}

/// One message of an APPEND, before its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendMessage {
    /// The command's tag.
    pub tag: Tag,
    /// Where to.
    pub mailbox: MailboxName,
    /// Flags to set.
    pub flags: FlagList,
    /// Seconds since the Unix epoch, when given.
    pub internal_date: Option<i64>,
    /// Bytes of the message.
    pub size: u64,
    /// The client waits for a go-ahead.
    pub synchronising: bool,
    /// 0 for the first of the command, counting up (MULTIAPPEND, RFC 3502).
    pub index: u32,
}
