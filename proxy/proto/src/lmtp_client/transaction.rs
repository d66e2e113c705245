//! One message: what is written for it, which answers are owed, and what became of each recipient.
//!
//! Answers come in the order of what was written: MAIL, each RCPT, each chunk but the last, and then one for each recipient
//! that was accepted (RFC 2033 section 4.2, RFC 3030 section 2), or one where there is none.

use super::{Capabilities, Unfit};
use crate::address::Address;
use crate::smtp::{BodyType, Enhanced, Reply};
use std::collections::VecDeque;

/// What is known of a message beside its bytes.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The sender; `None` is the null sender.
    pub reverse_path: Option<&'a Address>,
    /// Bytes of the message, where they are known.
    pub size: Option<u64>,
    /// What was promised about its bytes.
    pub body: BodyType,
    /// Addresses and header may be UTF-8.
    pub smtp_utf8: bool,
}

/// Somebody to whom it goes.
#[derive(Clone, Debug)]
pub struct Recipient<'a> {
    /// In RCPT.
    pub address: &'a Address,
    /// The value of XPIGEON, sent where records are forwarded; no spaces, no control characters, no `=`.
    pub record: Option<&'a str>,
}

/// What an answer was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// MAIL: for all recipients.
    Mail,
    /// RCPT.
    Recipient,
    /// The message.
    Message,
}

/// What became of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The server has taken it over.
    Delivered,
    /// Refused for good.
    Refused(Stage, Reply),
    /// Refused for now.
    Deferred(Stage, Reply),
    /// There was no answer, and the server had not been given all of the message: it does not have it.
    NotSent,
    /// There was no answer, but the server had been given all of the message: it may have it.
    Unknown,
}

/// What an answer brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Go,
    Answered,
}

/// Which answer comes next.
#[derive(Debug)]
enum Next {
    Mail,
    Recipient(usize),
    /// To DATA.
    Go,
    /// To a chunk or to the whole.
    Message,
    /// None: all is known.
    Over,
}

#[derive(Debug)]
enum Framing {
    /// Chunks that have been written and not been answered, the last one aside.
    Chunks { unanswered: usize },
    /// DATA; whether the last byte written ended a line, which at first it did.
    Lines { at_start: bool },
}

#[derive(Debug)]
pub(super) struct Transaction {
    next: Next,
    framing: Framing,
    /// The last piece has been written.
    whole: bool,
    /// In the order of the recipients; `None` as long as there is no answer that decides.
    deliveries: Vec<Option<Delivery>>,
    /// Accepted, and not answered yet for the message.
    waiting: VecDeque<usize>,
    /// Everything went as it does when nothing is wrong: what the server expects next is certain.
    in_step: bool,
}

impl Transaction {
    pub(super) fn begin(
        known: &Capabilities,
        forwards: bool,
        envelope: &Envelope<'_>,
        recipients: &[Recipient<'_>],
        out: &mut Vec<u8>,
    ) -> Result<Transaction, Unfit> {
        check(known, envelope, recipients)?;
        out.extend_from_slice(b"MAIL FROM:<");
        if let Some(address) = envelope.reverse_path {
            out.extend_from_slice(address.to_string().as_bytes());
        }
        out.push(b'>');
        if let Some(size) = envelope.size.filter(|_| known.size) {
            out.extend_from_slice(format!(" SIZE={size}").as_bytes());
        }
        out.extend_from_slice(match envelope.body {
            BodyType::SevenBit => b"",
            BodyType::EightBitMime => b" BODY=8BITMIME",
            BodyType::BinaryMime => b" BODY=BINARYMIME",
        });
        if envelope.smtp_utf8 {
            out.extend_from_slice(b" SMTPUTF8");
        }
        out.extend_from_slice(b"\r\n");
        for recipient in recipients {
            out.extend_from_slice(format!("RCPT TO:<{}>", recipient.address).as_bytes());
            if let Some(record) = recipient.record.filter(|_| forwards) {
                out.extend_from_slice(b" XPIGEON=");
                out.extend_from_slice(record.as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        let framing = match known.chunking {
            true => Framing::Chunks { unanswered: 0 },
            false => {
                out.extend_from_slice(b"DATA\r\n");
                Framing::Lines { at_start: true }
            }
        };
        Ok(Transaction {
            next: Next::Mail,
            framing,
            whole: false,
            deliveries: vec![None; recipients.len()],
            waiting: VecDeque::new(),
            in_step: true,
        })
    }

    pub(super) fn waits_for_go(&self) -> bool {
        let before = matches!(self.next, Next::Mail | Next::Recipient(_) | Next::Go);
        before && matches!(self.framing, Framing::Lines { .. })
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.next, Next::Over)
    }

    pub(super) fn in_step(&self) -> bool {
        self.in_step
    }

    pub(super) fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.framing {
            // A chunk of nothing would only cost an answer.
            Framing::Chunks { .. } if piece.is_empty() => {}
            Framing::Chunks { unanswered } => {
                *unanswered += 1;
                out.extend_from_slice(format!("BDAT {}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
            }
            Framing::Lines { at_start } => stuff(piece, at_start, out),
        }
    }

    pub(super) fn last_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.whole = true;
        match &mut self.framing {
            Framing::Chunks { .. } => {
                out.extend_from_slice(format!("BDAT {} LAST\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
            }
            Framing::Lines { at_start } => {
                stuff(piece, at_start, out);
                if !*at_start {
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b".\r\n");
            }
        }
    }

    /// Takes the next answer. An error is one that nobody can have sent who understood what was written.
    pub(super) fn reply(&mut self, reply: Reply) -> Result<Progress, String> {
        let is_right = match (&self.next, reply.code()) {
            (_, 400..600) => true,
            (Next::Go, code) => code == 354,
            (_, code) => (200..300).contains(&code),
        };
        if !is_right {
            return Err(format!("out of place: {reply}"));
        }
        match self.next {
            Next::Mail => {
                if !reply.is_positive() {
                    self.in_step = false;
                    self.decide_all(Stage::Mail, &reply);
                }
                self.next = Next::Recipient(0);
            }
            Next::Recipient(index) => {
                if reply.is_positive() {
                    // After a refused MAIL nobody can be accepted; then that is the answer.
                    if self.deliveries[index].is_none() {
                        self.waiting.push_back(index);
                    }
                } else if self.deliveries[index].is_none() {
                    self.deliveries[index] = Some(refusal(Stage::Recipient, reply));
                }
                self.next = match (index + 1 < self.deliveries.len(), &self.framing) {
                    (true, _) => Next::Recipient(index + 1),
                    (false, Framing::Chunks { .. }) => Next::Message,
                    (false, Framing::Lines { .. }) => Next::Go,
                };
                // Without anybody the message need not be sent: what is under way is not waited for.
                if matches!(self.next, Next::Message | Next::Go) && self.waiting.is_empty() {
                    return Ok(self.end(false));
                }
            }
            Next::Go => {
                if !reply.is_positive() {
                    return Ok(self.refused_for_all(&reply));
                }
                self.next = Next::Message;
                return Ok(Progress::Go);
            }
            Next::Message => match &mut self.framing {
                Framing::Chunks { unanswered } if *unanswered > 0 => {
                    *unanswered -= 1;
                    if !reply.is_positive() {
                        return Ok(self.refused_for_all(&reply));
                    }
                }
                _ if !self.whole => return Err(format!("an answer that nobody asked for: {reply}")),
                _ => {
                    let Some(index) = self.waiting.pop_front() else {
                        return Err(format!("an answer that nobody asked for: {reply}"));
                    };
                    self.deliveries[index] = Some(match reply.is_positive() {
                        true => Delivery::Delivered,
                        false => refusal(Stage::Message, reply),
                    });
                    if self.waiting.is_empty() {
                        return Ok(self.end(self.in_step));
                    }
                }
            },
            Next::Over => return Err(format!("an answer that nobody asked for: {reply}")),
        }
        Ok(Progress::More)
    }

    fn refused_for_all(&mut self, reply: &Reply) -> Progress {
        self.decide_all(Stage::Message, reply);
        self.end(false)
    }

    fn decide_all(&mut self, stage: Stage, reply: &Reply) {
        for delivery in &mut self.deliveries {
            delivery.get_or_insert_with(|| refusal(stage, reply.clone()));
        }
    }

    fn end(&mut self, in_step: bool) -> Progress {
        (self.next, self.in_step) = (Next::Over, in_step);
        Progress::Answered
    }

    /// No answer will come any more.
    pub(super) fn close(&mut self) {
        self.next = Next::Over;
        // Also who was not known to be accepted yet: the answer may have been under way.
        let unanswered = if self.whole {
            Delivery::Unknown
        } else {
            Delivery::NotSent
        };
        for delivery in &mut self.deliveries {
            delivery.get_or_insert_with(|| unanswered.clone());
        }
    }

    pub(super) fn into_deliveries(mut self) -> Vec<Delivery> {
        self.close();
        self.deliveries.into_iter().flatten().collect()
    }
}

fn refusal(stage: Stage, reply: Reply) -> Delivery {
    match reply.is_temporary() {
        true => Delivery::Deferred(stage, reply),
        false => Delivery::Refused(stage, reply),
    }
}

fn check(known: &Capabilities, envelope: &Envelope<'_>, recipients: &[Recipient<'_>]) -> Result<(), Unfit> {
    match envelope.body {
        // RFC 3030 section 3: to be converted, or returned.
        BodyType::BinaryMime if !(known.binary_mime && known.chunking) => return Err(Unfit::Binary),
        BodyType::EightBitMime if !known.eight_bit_mime => return Err(Unfit::EightBit),
        _ => {}
    }
    let sender_is_utf8 = envelope.reverse_path.is_some_and(|address| !address.is_ascii());
    let is_utf8 = sender_is_utf8 || recipients.iter().any(|recipient| !recipient.address.is_ascii());
    if is_utf8 && !envelope.smtp_utf8 || envelope.smtp_utf8 && !known.smtp_utf8 {
        return Err(Unfit::Utf8);
    }
    match (envelope.size, known.size_max) {
        (Some(size), Some(size_max)) if size > size_max => Err(Unfit::TooLarge),
        _ => Ok(()),
    }
}

/// A dot at the start of a line is doubled (RFC 5321 section 4.5.2).
fn stuff(piece: &[u8], at_start: &mut bool, out: &mut Vec<u8>) {
    let mut rest = piece;
    while let Some(first) = rest.first() {
        if *at_start && *first == b'.' {
            out.push(b'.');
        }
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        out.extend_from_slice(&rest[..end]);
        *at_start = rest[end - 1] == b'\n';
        rest = &rest[end..];
    }
}

impl Unfit {
    /// What the sender is told.
    pub fn reply(self) -> Reply {
        match self {
            Unfit::Binary => Reply::new(
                554,
                Enhanced(5, 6, 1),
                "the server of this mailbox takes no binary messages",
            ),
            Unfit::Utf8 => Reply::new(
                550,
                Enhanced(5, 6, 7),
                "the server of this mailbox takes no UTF-8 addresses",
            ),
            Unfit::EightBit => Reply::new(
                554,
                Enhanced(5, 6, 3),
                "the server of this mailbox takes no 8-bit messages",
            ),
            Unfit::TooLarge => Reply::new(552, Enhanced(5, 3, 4), "message too large"),
        }
    }
}
