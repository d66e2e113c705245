//! What a server announces in its answer to LHLO, as far as this client makes use of it.

/// See the module. A keyword that is not known changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// CHUNKING (RFC 3030): BDAT.
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtp_utf8: bool,
    /// SIZE (RFC 1870): the parameter is known.
    pub size: bool,
    /// The most bytes of a message, where SIZE says a bound.
    pub size_max: Option<u64>,
    /// AUTH SCRAM-SHA-256 (RFC 4954, RFC 7677).
    pub scram_sha_256: bool,
    /// XPIGEON, our own: records of recipients may come with them.
    pub forwards: bool,
}

impl Capabilities {
    /// From the lines of the reply; the first is the server's name.
    pub(super) fn read(lines: &[String]) -> Capabilities {
        let mut found = Capabilities::default();
        for line in lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "CHUNKING" => found.chunking = true,
                "BINARYMIME" => found.binary_mime = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "SIZE" => {
                    found.size = true;
                    // RFC 1870 section 4: zero is no bound.
                    let bound = words.next().and_then(|word| word.parse().ok());
                    found.size_max = bound.filter(|bound| *bound > 0);
                }
                "AUTH" => {
                    found.scram_sha_256 |= words.any(|word| word.eq_ignore_ascii_case("SCRAM-SHA-256"));
                }
                "XPIGEON" => found.forwards = true,
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_announce() {
        let read = |text: &str| Capabilities::read(&text.lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("CHUNKING"), Capabilities::default());
        let cyrus = read("cyrus\n8BITMIME\nENHANCEDSTATUSCODES\nPIPELINING\nSIZE\nAUTH EXTERNAL\nIGNOREQUOTA");
        assert!(cyrus.eight_bit_mime && cyrus.size && cyrus.size_max.is_none());
        assert!(!cyrus.chunking && !cyrus.scram_sha_256);
        let ours = read("n2\nsize 1000\nchunking\nBINARYMIME\nSMTPUTF8\nAUTH PLAIN scram-sha-256\nXPIGEON");
        assert_eq!(ours.size_max, Some(1000));
        assert!(ours.chunking && ours.binary_mime && ours.smtp_utf8 && ours.scram_sha_256 && ours.forwards);
        assert_eq!(read("x\nSIZE 0").size_max, None);
        assert_eq!(read("x\nSIZE 99999999999999999999999").size_max, None);
    }
}
