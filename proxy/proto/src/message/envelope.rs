//! ENVELOPE (RFC 3501 7.4.2): the fields of a message's header in parsed form.
//!
//! Bounds: 256 KiB of field values and [`ADDRESSES_MAX`] addresses a message; what is beyond is left out.

use memchr::memchr;

use super::Text;
use super::addresses::Address;
use super::field_collector::{FieldCollector, Wanted};

/// Most addresses of one envelope, all lists together; group starts and ends count.
pub const ADDRESSES_MAX: usize = 4096;

/// The values of the fields; a field that is absent is none, or an empty list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Date, as it stands.
    pub date: Option<Text>,
    /// Subject, unfolded, its encoded words kept.
    pub subject: Option<Text>,
    /// From.
    pub from: Vec<Address>,
    /// Sender as it stands; see [`Envelope::sender_or_from`].
    pub sender: Vec<Address>,
    /// Reply-To as it stands; see [`Envelope::reply_to_or_from`].
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To, as it stands.
    pub in_reply_to: Option<Text>,
    /// Message-ID, as it stands.
    pub message_id: Option<Text>,
}

impl Envelope {
    /// Reads a header that is in memory, up to its blank line.
    pub fn parse(header: &[u8]) -> Self {
        let mut scanner = EnvelopeScanner::new();
        scanner.push(header);
        scanner.finish()
    }

    /// IMAP's sender: that of From when there is none (RFC 3501 7.4.2).
    pub fn sender_or_from(&self) -> &[Address] {
        if self.sender.is_empty() {
            &self.from
        } else {
            &self.sender
        }
    }

    /// IMAP's reply-to: that of From when there is none (RFC 3501 7.4.2).
    pub fn reply_to_or_from(&self) -> &[Address] {
        if self.reply_to.is_empty() {
            &self.from
        } else {
            &self.reply_to
        }
    }

    /// The six lists in IMAP's order, as they stand.
    pub(crate) fn lists(&self) -> [&Vec<Address>; 6] {
        [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc]
    }

    pub(crate) fn text_bytes(&self) -> usize {
        let texts = [&self.date, &self.subject, &self.in_reply_to, &self.message_id];
        texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
            + self
                .lists()
                .into_iter()
                .flatten()
                .map(Address::text_bytes)
                .sum::<usize>()
    }
}

/// Reads a message's header in chunks of any cut, for FETCH ENVELOPE and SENTSINCE without a scan of the body.
#[derive(Debug, Clone)]
pub struct EnvelopeScanner {
    collector: FieldCollector,
    at_line_start: bool,
    /// The line is a CR so far.
    held_cr: bool,
    is_done: bool,
}

impl Default for EnvelopeScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl EnvelopeScanner {
    /// At the first byte of a message.
    pub fn new() -> Self {
        Self {
            collector: FieldCollector::new(Wanted::Envelope),
            at_line_start: true,
            held_cr: false,
            is_done: false,
        }
    }

    /// Takes the next bytes; true once the blank line was seen and no more are needed.
    pub fn push(&mut self, chunk: &[u8]) -> bool {
        let mut rest = chunk;
        while !self.is_done && !rest.is_empty() {
            if std::mem::take(&mut self.held_cr) {
                if rest[0] == b'\n' {
                    self.is_done = true;
                    break;
                }
                self.collector.push(b"\r", true);
                self.at_line_start = false;
            }
            if self.at_line_start && rest[0] == b'\n' {
                self.is_done = true;
                break;
            }
            if self.at_line_start && rest[0] == b'\r' {
                self.held_cr = true;
                rest = &rest[1..];
                continue;
            }
            let end = memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            let (line, after) = rest.split_at(end);
            rest = after;
            self.collector.push(line, self.at_line_start);
            self.at_line_start = line.ends_with(b"\n");
        }
        self.is_done
    }

    /// The envelope of what was read.
    pub fn finish(self) -> Envelope {
        self.collector.envelope()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_gives_the_same() {
        let header = b"Subject: a\r\n b\r\nFROM : x@y (Z),\r\n <q@r>\nDate:\r\nTo: a@b\r\nTo: c@d\r\nSubject: second\r\nnone\r\n more\r\n\rX: y\r\nMessage-ID:\r\n <1>\r\n\r\nCc: body@x\r\n";
        let whole = Envelope::parse(header);
        assert_eq!(whole.subject.as_deref(), Some(b"second".as_slice()));
        assert_eq!(whole.date.as_deref(), Some(b"".as_slice()));
        assert_eq!(whole.message_id.as_deref(), Some(b"<1>".as_slice()));
        assert_eq!((whole.from.len(), whole.to.len(), whole.cc.len()), (2, 2, 0));
        assert_eq!(whole.in_reply_to, None);
        assert_eq!(whole.reply_to_or_from(), &whole.from[..]);
        for cut in 0..=header.len() {
            let mut scanner = EnvelopeScanner::new();
            scanner.push(&header[..cut]);
            assert!(scanner.push(&header[cut..]) || cut == header.len());
            assert_eq!(scanner.finish(), whole, "cut at {cut}");
        }
        let mut scanner = EnvelopeScanner::new();
        for byte in header {
            scanner.push(&[*byte]);
        }
        assert_eq!(scanner.finish(), whole);
    }

    #[test]
    fn a_huge_header_is_cut_off() {
        let mut scanner = EnvelopeScanner::new();
        scanner.push(b"To: ");
        for _ in 0..100_000 {
            scanner.push(b"someone@example.org,\r\n ");
        }
        scanner.push(b"\r\nSubject: late\r\n\r\n");
        let envelope = scanner.finish();
        assert_eq!(envelope.to.len(), ADDRESSES_MAX);
        assert_eq!(envelope.subject.as_deref(), Some(b"".as_slice()));
    }
}
