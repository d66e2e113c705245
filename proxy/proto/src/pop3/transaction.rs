//! The TRANSACTION state (RFC 1939 section 5): commands on a maildrop, up to `QUIT`, which asks the driver for the UPDATE
//! state. Any other end of the session leaves all mail as it was.

use super::authorization::{Offer, error_line};
use super::capability::write_capabilities;
use super::command::{Command, MessageNumber};
use super::line::{Line, LineBuffer};
use super::maildrop::{Kept, Listing, Maildrop};
use super::{COMMAND_LINE_MAX, OUTPUT_FLUSH_BYTES};
use crate::sasl::Mechanisms;
use std::io::Write as _;

/// What the driver has to do. Output written before the event is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEvent {
    /// Send the output, then go on with the rest of the input.
    Flush,
    /// Send the listing: `Listing::fill` again and again.
    List(Listing),
    /// Send the message. Nothing has been written for it: `+OK` and the text, or `message_gone`.
    Retrieve {
        /// Of the message.
        uid: u32,
        /// Its octets, as `LIST` says.
        bytes: u32,
        /// How many lines of the body `TOP` asks for; `None`: everything.
        body_lines: Option<u64>,
    },
    /// Delete `Maildrop::deleted_uids` for good, then call `updated`, send the output and close.
    Update,
    /// Send the output and close. Delete nothing.
    Close,
}

/// A POP3 session after the login.
#[derive(Debug)]
pub struct Transaction {
    lines: LineBuffer,
    maildrop: Maildrop,
    bad_commands: u32,
    bad_commands_max: u32,
    mechanisms: Mechanisms,
    closing: bool,
}

impl Transaction {
    /// A session over `maildrop`, closed after so many bad commands; writes the answer to the login. `mechanisms` are those
    /// that were on offer before it: `CAPA` names them still.
    pub fn new(maildrop: Maildrop, bad_commands_max: u32, mechanisms: Mechanisms, out: &mut Vec<u8>) -> Self {
        let (count, bytes) = maildrop.status();
        write!(out, "+OK {count} messages ({bytes} octets)\r\n").expect("writing to memory");
        Self {
            lines: LineBuffer::new(COMMAND_LINE_MAX),
            maildrop,
            bad_commands: 0,
            bad_commands_max,
            mechanisms,
            closing: false,
        }
    }

    /// The snapshot and its marks.
    pub fn maildrop(&self) -> &Maildrop {
        &self.maildrop
    }

    /// Takes bytes off the front of `input` and writes replies, up to the next event; `None` when the input is used up.
    pub fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<TransactionEvent> {
        loop {
            if self.closing {
                return Some(TransactionEvent::Close);
            }
            if out.len() > OUTPUT_FLUSH_BYTES {
                return Some(TransactionEvent::Flush);
            }
            let event = match self.lines.next_line(input)? {
                Line::Complete(line) => match Command::parse(&line) {
                    Ok(command) => self.command(command, out),
                    Err(error) => self.bad_command(error.text(), out),
                },
                Line::TooLong => self.bad_command("Line too long", out),
                Line::Endless => self.close("Line too long", out),
            };
            if event.is_some() {
                return event;
            }
        }
    }

    /// Another session took the message away meanwhile; writes the answer.
    pub fn message_gone(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR The message has been deleted by another session\r\n");
    }

    /// The message cannot be read now; writes the answer.
    pub fn message_unreadable(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR [SYS/TEMP] The message cannot be read now\r\n");
    }

    /// The UPDATE state is over; writes the answer. `deleted` is whether all marked messages are gone for good (RFC 1939
    /// section 6: a failure is `-ERR`, and messages that were not deleted stay).
    pub fn updated(&mut self, deleted: bool, out: &mut Vec<u8>) {
        self.closing = true;
        out.extend_from_slice(match deleted {
            true => &b"+OK Bye\r\n"[..],
            false => b"-ERR [SYS/TEMP] Some deleted messages were not removed\r\n",
        });
    }

    fn command(&mut self, command: Command<'_>, out: &mut Vec<u8>) -> Option<TransactionEvent> {
        match command {
            Command::Capa => {
                let offer = Offer {
                    stls: false,
                    passwords: true,
                    mechanisms: self.mechanisms,
                    redirectors: false,
                };
                write_capabilities(out, offer);
            }
            Command::Noop => out.extend_from_slice(b"+OK\r\n"),
            Command::Quit => return Some(TransactionEvent::Update),
            Command::Rset => {
                self.maildrop.reset();
                out.extend_from_slice(b"+OK\r\n");
            }
            Command::Stat => {
                let (count, bytes) = self.maildrop.status();
                write!(out, "+OK {count} {bytes}\r\n").expect("writing to memory");
            }
            Command::List(None) => {
                let (count, bytes) = self.maildrop.status();
                write!(out, "+OK {count} messages ({bytes} octets)\r\n").expect("writing to memory");
                return Some(TransactionEvent::List(Listing::new(false)));
            }
            Command::Uidl(None) => {
                out.extend_from_slice(b"+OK\r\n");
                return Some(TransactionEvent::List(Listing::new(true)));
            }
            Command::List(Some(number)) => self.one_line(number, out, Maildrop::write_size),
            Command::Uidl(Some(number)) => self.one_line(number, out, Maildrop::write_unique_id),
            Command::Dele(number) => match self.maildrop.delete(number) {
                Some(()) => out.extend_from_slice(b"+OK Marked to be deleted\r\n"),
                None => no_such_message(out),
            },
            Command::Retr(number) => return self.retrieve(number, None, out),
            Command::Top(number, lines) => return self.retrieve(number, Some(lines), out),
            Command::Auth { .. } | Command::Pass(_) | Command::User(_) => {
                return self.bad_command("Already logged in", out);
            }
            // RFC 6856 section 2.1 and RFC 2595 section 4: before the login only.
            Command::Utf8 | Command::Stls | Command::Xclient(_) => {
                return self.bad_command("Only before the login", out);
            }
        }
        None
    }

    fn one_line(
        &self,
        number: MessageNumber,
        out: &mut Vec<u8>,
        write: fn(&Maildrop, MessageNumber, Kept, &mut Vec<u8>),
    ) {
        match self.maildrop.message(number) {
            Some(kept) => {
                out.extend_from_slice(b"+OK ");
                write(&self.maildrop, number, kept, out);
                out.extend_from_slice(b"\r\n");
            }
            None => no_such_message(out),
        }
    }

    fn retrieve(&self, number: MessageNumber, body_lines: Option<u64>, out: &mut Vec<u8>) -> Option<TransactionEvent> {
        match self.maildrop.message(number) {
            Some(Kept { uid, bytes }) => Some(TransactionEvent::Retrieve { uid, bytes, body_lines }),
            None => {
                no_such_message(out);
                None
            }
        }
    }

    fn bad_command(&mut self, text: &str, out: &mut Vec<u8>) -> Option<TransactionEvent> {
        self.bad_commands = self.bad_commands.saturating_add(1);
        if self.bad_commands >= self.bad_commands_max {
            return self.close("Too many bad commands", out);
        }
        error_line(text, out);
        None
    }

    fn close(&mut self, text: &str, out: &mut Vec<u8>) -> Option<TransactionEvent> {
        error_line(text, out);
        self.closing = true;
        Some(TransactionEvent::Close)
    }
}

fn no_such_message(out: &mut Vec<u8>) {
    out.extend_from_slice(b"-ERR No such message\r\n");
}

#[cfg(test)]
mod tests;
