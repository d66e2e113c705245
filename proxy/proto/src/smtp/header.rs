//! A look at the header section of a message while it passes: how many Received lines it has (loops, RFC 5321 section 6.3)
//! and whether Date and Message-ID are there (RFC 6409 section 8). It parses nothing else, and stops at the empty line.

/// The longest name that is looked for is `Message-ID`; one byte more tells a longer name from it.
const NAME_BYTES: usize = 11;

/// What the header section has had so far.
#[derive(Clone, Debug)]
pub struct HeaderScan {
    received: u32,
    message_id: bool,
    date: bool,
    place: Place,
    name: [u8; NAME_BYTES],
    name_bytes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the name of a field, or before its first byte.
    Name,
    /// Behind the name.
    Line,
    /// Behind the header section.
    Over,
}

impl Default for HeaderScan {
    fn default() -> HeaderScan {
        HeaderScan {
            received: 0,
            message_id: false,
            date: false,
            place: Place::Name,
            name: [0; NAME_BYTES],
            name_bytes: 0,
        }
    }
}

impl HeaderScan {
    /// Received lines.
    pub fn received_count(&self) -> u32 {
        self.received
    }

    /// A Message-ID was there.
    pub fn has_message_id(&self) -> bool {
        self.message_id
    }

    /// A Date was there.
    pub fn has_date(&self) -> bool {
        self.date
    }

    /// The empty line has been seen.
    pub fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Takes the next bytes of the message.
    pub fn scan(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            match self.place {
                Place::Over => return,
                Place::Line => match memchr::memchr(b'\n', rest) {
                    Some(line_feed) => {
                        self.place = Place::Name;
                        self.name_bytes = 0;
                        rest = &rest[line_feed + 1..];
                    }
                    None => return,
                },
                Place::Name => {
                    rest = behind;
                    self.name_byte(*first);
                }
            }
        }
    }

    fn name_byte(&mut self, byte: u8) {
        let name = &self.name[..usize::from(self.name_bytes)];
        match byte {
            b'\n' if name.is_empty() || name == b"\r" => self.place = Place::Over,
            b'\n' => self.name_bytes = 0,
            b':' => {
                let name = name.trim_ascii_end();
                if name.eq_ignore_ascii_case(b"Received") {
                    self.received = self.received.saturating_add(1);
                } else if name.eq_ignore_ascii_case(b"Message-ID") {
                    self.message_id = true;
                } else if name.eq_ignore_ascii_case(b"Date") {
                    self.date = true;
                }
                self.place = Place::Line;
            }
            // A folded line belongs to the field before.
            b' ' | b'\t' if name.is_empty() => self.place = Place::Line,
            _ if name.len() == NAME_BYTES => self.place = Place::Line,
            _ => {
                self.name[usize::from(self.name_bytes)] = byte;
                self.name_bytes += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Received lines, Message-ID, Date, over.
    type Seen = (u32, bool, bool, bool);

    #[test]
    fn fields_are_seen_at_every_cut() {
        let cases: &[(&str, Seen)] = &[
            ("", (0, false, false, false)),
            ("\r\n", (0, false, false, true)),
            ("\n", (0, false, false, true)),
            (
                "Received: a\r\n by b\r\nRECEIVED : c\r\nDate: x\r\n\r\nReceived: d\r\n",
                (2, false, true, true),
            ),
            ("message-id: <x>\r\nX-Date: y\r\n", (0, true, false, false)),
            (
                "Message-IDs: x\r\nReceivedX: y\r\n Date: z\r\n\r\n",
                (0, false, false, true),
            ),
            (
                "no header\r\nat all\r\nDate:\r\n\r\nMessage-ID: x",
                (0, false, true, true),
            ),
            ("X: \r\nReceived\r\n: y\r\n", (0, false, false, false)),
            ("Received:", (1, false, false, false)),
            ("\rDate: x\r\n", (0, false, false, false)),
        ];
        for (text, expected) in cases {
            for cut in 0..=text.len() {
                let mut scan = HeaderScan::default();
                scan.scan(&text.as_bytes()[..cut]);
                scan.scan(&text.as_bytes()[cut..]);
                let seen = (
                    scan.received_count(),
                    scan.has_message_id(),
                    scan.has_date(),
                    scan.is_over(),
                );
                assert_eq!(seen, *expected, "{text:?} cut at {cut}");
            }
        }
    }
}
