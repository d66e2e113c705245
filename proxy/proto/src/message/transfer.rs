//! Content transfer encodings (RFC 2045 6), decoded as they stream by. Decoding is lenient, for searching: bytes that base64
//! does not know are left out, and what is no escape in quoted-printable stands for itself. Encodings that are not known
//! (uuencode among them) pass unchanged.

/// Decodes a body in pieces of any cut; holds a few bytes at most.
#[derive(Debug, Clone)]
pub enum TransferDecoder {
    /// 7bit, 8bit, binary, and everything unknown.
    Identity,
    /// base64
    Base64(Base64Decoder),
    /// quoted-printable
    QuotedPrintable(QuotedPrintableDecoder),
}

impl TransferDecoder {
    /// For the name in Content-Transfer-Encoding.
    pub fn for_encoding(name: Option<&[u8]>) -> Self {
        match name {
            Some(name) if name.eq_ignore_ascii_case(b"base64") => Self::Base64(Base64Decoder::default()),
            Some(name) if name.eq_ignore_ascii_case(b"quoted-printable") => {
                Self::QuotedPrintable(QuotedPrintableDecoder::default())
            }
            _ => Self::Identity,
        }
    }

    /// Adds what `chunk` decodes to.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Identity => out.extend_from_slice(chunk),
            Self::Base64(decoder) => decoder.push(chunk, out),
            Self::QuotedPrintable(decoder) => decoder.push(chunk, out),
        }
    }

    /// Adds what is left at the end of the body.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Identity => {}
            Self::Base64(decoder) => *decoder = Base64Decoder::default(),
            Self::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// Of each byte: its six bits, or one of the two below.
const BASE64: [u8; 256] = {
    let mut table = [IGNORED; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut index = 0;
    while index < alphabet.len() {
        table[alphabet[index] as usize] = index as u8;
        index += 1;
    }
    table[b'=' as usize] = PADDING;
    table
};
const IGNORED: u8 = 255;
const PADDING: u8 = 254;

/// Base64; padding ends a group, and another stream may follow it.
#[derive(Debug, Clone, Default)]
pub struct Base64Decoder {
    bits: u32,
    /// Characters in `bits`, 0 to 3.
    count: u8,
}

impl Base64Decoder {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        out.reserve(chunk.len() / 4 * 3 + 3);
        let mut rest = chunk;
        while !rest.is_empty() {
            // Whole groups, which is nearly everything; then byte by byte up to the next group.
            while let (0, Some(&[a, b, c, d])) = (self.count, rest.first_chunk::<4>()) {
                let [a, b, c, d] = [a, b, c, d].map(|byte| BASE64[usize::from(byte)]);
                if a | b | c | d >= 64 {
                    break;
                }
                out.extend_from_slice(&[a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d]);
                rest = &rest[4..];
            }
            let Some((byte, after)) = rest.split_first() else { break };
            rest = after;
            match BASE64[usize::from(*byte)] {
                IGNORED => {}
                PADDING => (self.bits, self.count) = (0, 0),
                value => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.count += 1;
                    // Bytes come out as soon as they are whole, so that a stream that is cut off loses none.
                    match self.count {
                        2 => out.push((self.bits >> 4) as u8),
                        3 => out.push((self.bits >> 2) as u8),
                        4 => {
                            out.push(self.bits as u8);
                            (self.bits, self.count) = (0, 0);
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Most blanks held before it is known whether they end a line; RFC 2045 allows lines of 76 characters.
const BLANKS_MAX: usize = 256;

/// Quoted-printable; blanks at the ends of lines are transport padding and left out.
#[derive(Debug, Clone, Default)]
pub struct QuotedPrintableDecoder {
    /// An escape that is not whole (`=`, `=4`, `= \t`), or blanks that may end a line.
    held: Vec<u8>,
}

impl QuotedPrintableDecoder {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for byte in chunk {
            self.byte(*byte, out);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.held.first(), byte) {
            (None, b'=' | b' ' | b'\t') => self.held.push(byte),
            (None, _) => out.push(byte),
            (Some(b'='), _) => self.escaped(byte, out),
            // Blanks are held, and perhaps a CR behind them.
            (Some(_), b' ' | b'\t' | b'\r') if self.held.len() < BLANKS_MAX && self.held.last() != Some(&b'\r') => {
                self.held.push(byte)
            }
            (Some(_), b'\n') => {
                let has_cr = self.held.last() == Some(&b'\r');
                self.held.clear();
                out.extend_from_slice(if has_cr { b"\r\n" } else { b"\n" });
            }
            (Some(_), _) => {
                self.finish(out);
                self.byte(byte, out);
            }
        }
    }

    /// A byte behind `=`.
    fn escaped(&mut self, byte: u8, out: &mut Vec<u8>) {
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        match (&self.held[1..], byte) {
            (_, b'\n') if !matches!(self.held.get(1), Some(byte) if byte.is_ascii_hexdigit()) => self.held.clear(),
            ([], byte) if byte.is_ascii_hexdigit() => self.held.push(byte),
            ([first], byte) if first.is_ascii_hexdigit() && byte.is_ascii_hexdigit() => {
                if let (Some(high), Some(low)) = (digit(*first), digit(byte)) {
                    out.push(high << 4 | low);
                }
                self.held.clear();
            }
            // A soft line break, with padding behind the equals sign.
            ([] | [b' ' | b'\t', ..], b' ' | b'\t' | b'\r')
                if self.held.len() < BLANKS_MAX && self.held.last() != Some(&b'\r') =>
            {
                self.held.push(byte);
            }
            ([], b'\r') => self.held.push(byte),
            _ => {
                self.finish(out);
                self.byte(byte, out);
            }
        }
    }

    /// What is held means nothing.
    fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str, pieces: &[&[u8]]) -> String {
        let mut decoder = TransferDecoder::for_encoding(Some(encoding.as_bytes()));
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn bodies() {
        for (encoding, body, expected) in [
            ("Base64", "aGVsbG8gd29ybGQ=", "hello world"),
            ("base64", "aGVs\r\nbG8g d29y\tbGQ", "hello world"),
            ("base64", "aGVsbG8=\r\nd29ybGQ=\r\n", "helloworld"),
            ("base64", "a*G-V.sbG8", "hello"),
            ("base64", "a", ""),
            ("base64", "====", ""),
            ("QUOTED-PRINTABLE", "caf=C3=A9 =3D=3d", "café =="),
            ("quoted-printable", "soft=\r\n break= \t\r\ned=\n.", "soft breaked."),
            ("quoted-printable", "pad  \t\r\nnext \n end ", "pad\r\nnext\n end "),
            ("quoted-printable", "no =escape =4 =\r =", "no =escape =4 =\r ="),
            ("quoted-printable", "a=4\r\nb=\rc==41= =41", "a=4\r\nb=\rc=A= A"),
            ("quoted-printable", " \r x", " \r x"),
            ("quoted-printable", "x=", "x="),
            ("x-uuencode", "begin", "begin"),
            ("7bit", "a=41 \r\n", "a=41 \r\n"),
        ] {
            assert_eq!(decode(encoding, &[body.as_bytes()]), expected, "{body:?}");
            for cut in 0..=body.len() {
                let (start, end) = body.as_bytes().split_at(cut);
                assert_eq!(decode(encoding, &[start, end]), expected, "{body:?} cut at {cut}");
            }
            let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            assert_eq!(decode(encoding, &bytes), expected, "{body:?} byte by byte");
        }
    }

    #[test]
    fn blanks_are_bounded() {
        let body = format!("a{}\r\nb", " ".repeat(10_000));
        let decoded = decode("quoted-printable", &[body.as_bytes()]);
        assert!(decoded.starts_with("a ") && decoded.ends_with("\r\nb"));
        assert!(decode("quoted-printable", &[format!("={}", "\t".repeat(10_000)).as_bytes()]).len() > 9_000);
    }
}
