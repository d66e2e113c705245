//! The one command that is not collected: APPEND. Its mailbox and options are parsed at the announcement of each message,
//! the driver says whether the message may come, and its bytes pass by as events.

use super::announcement::Announcement;
use super::event::{AppendMessage, Event};
use super::{CommandReader, State};
use crate::imap::command::Tag;
use crate::imap::cursor::Cursor;
use crate::imap::mailbox_name::MailboxName;
use crate::imap::parse;

/// An APPEND of which a message has been announced.
#[derive(Debug)]
pub(super) struct AppendCommand {
    pub(super) tag: Tag,
    mailbox: MailboxName,
    messages: u32,
}

impl CommandReader {
    /// Whether a message of an APPEND is on its way: silence is not idleness then.
    pub fn is_in_message(&self) -> bool {
        self.append.is_some()
    }

    /// Takes the announced message: its bytes come as events.
    pub fn accept_literal(&mut self) {
        let State::Undecided { size, .. } = self.state else {
            panic!("accept_literal without Event::Append")
        };
        self.state = State::Message { remaining: size };
    }

    /// Refuses the announced message, or the rest of one being taken. The driver answers the command; whatever of it
    /// still comes is skipped.
    pub fn refuse_literal(&mut self) {
        match self.state {
            State::Undecided {
                synchronising: true, ..
            } => self.finish(),
            State::Undecided { size, .. } => self.skip_literal(size),
            // It was within the driver's bounds when it began: not counted as drained.
            State::Message { remaining } => {
                self.append = None;
                self.state = State::SkipLiteral { remaining };
            }
            // Between two messages of a command.
            State::Line if self.append.is_some() => {
                self.append = None;
                self.state = State::SkipLine;
            }
            _ => panic!("refuse_literal without Event::Append"),
        }
    }

    /// `Ok(None)`: the literal is no message of an APPEND.
    pub(super) fn append_announced<'a>(
        &mut self,
        before: &[u8],
        announced: Announcement,
    ) -> Result<Option<Event<'a>>, (Option<Tag>, &'static str)> {
        let mut cursor = Cursor::new(before);
        let append = match self.append.take() {
            Some(append) => append,
            None => {
                let Some(tag) = parse::tag(&mut cursor) else {
                    return Ok(None);
                };
                if cursor.space().is_err() || !cursor.word("APPEND") {
                    return Ok(None);
                }
                if !self.limits.append {
                    return Err((Some(tag), "APPEND needs a login"));
                }
                if cursor.rest().iter().all(|byte| *byte == b' ') {
                    // The mailbox's name is the literal.
                    return Ok(None);
                }
                match parse::append_mailbox(&mut cursor) {
                    Ok(mailbox) => Box::new(AppendCommand {
                        tag,
                        mailbox,
                        messages: 0,
                    }),
                    Err(syntax) => return Err((Some(tag), syntax.0)),
                }
            }
        };
        let options = match parse::append_options(&mut cursor) {
            Ok(options) => options,
            Err(syntax) => return Err((Some(append.tag), syntax.0)),
        };
        if self.is_too_large_without_waiting(announced) {
            return Err((Some(append.tag), "Literal too large"));
        }
        let message = AppendMessage {
            tag: append.tag.clone(),
            mailbox: append.mailbox.clone(),
            flags: options.flags,
            internal_date: options.internal_date,
            size: announced.size,
            synchronising: announced.synchronising,
            index: append.messages,
        };
        self.finish();
        self.append = Some(Box::new(AppendCommand {
            messages: append.messages.saturating_add(1),
            ..*append
        }));
        self.state = State::Undecided {
            size: announced.size,
            synchronising: announced.synchronising,
        };
        Ok(Some(Event::Append(Box::new(message))))
    }
}
