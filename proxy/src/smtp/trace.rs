//! The lines that are put in front of a message: Return-Path, which is the first (RFC 5321 section 4.4), Delivered-To,
//! Received, and in submission Date and Message-ID where they are missing (RFC 6409 section 8). The first two are each
//! recipient's own. Nothing that a client said gets into them without being checked or made harmless.

use crate::mail_store::MessageId;
use bytes::Bytes;
use pigeon_engine::stream::TlsInfo;
use pigeon_proto::address::{Address, check_domain};
use pigeon_proto::message::DateTime;
use pigeon_proto::smtp::Mode;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// What a Received line says of the session.
pub(super) struct Hop<'a> {
    pub(super) mode: Mode,
    pub(super) extended: bool,
    pub(super) client_name: &'a str,
    pub(super) host_name: &'a str,
    pub(super) tls: Option<&'a TlsInfo>,
    /// A node of ours brings it, and has written the line of a sender whose path is long.
    pub(super) from_node: bool,
}

/// What it says of the message beside that.
pub(super) struct Received<'a> {
    pub(super) hop: &'a Hop<'a>,
    pub(super) smtp_utf8: bool,
    pub(super) authenticated: bool,
    pub(super) client: IpAddr,
    pub(super) id: MessageId,
    /// The recipient, when there is one only: nobody reads here who else got it.
    pub(super) recipient: Option<&'a Address>,
    /// Seconds since the Unix epoch.
    pub(super) time: i64,
}

impl Received<'_> {
    /// RFC 3848, and RFC 6531 section 4.3.
    fn protocol(&self) -> &'static str {
        if !self.hop.extended {
            return "SMTP";
        }
        let names = match (self.hop.mode, self.smtp_utf8) {
            (Mode::Lmtp, false) => ["LMTP", "LMTPA", "LMTPS", "LMTPSA"],
            (Mode::Lmtp, true) => ["UTF8LMTP", "UTF8LMTPA", "UTF8LMTPS", "UTF8LMTPSA"],
            (_, false) => ["ESMTP", "ESMTPA", "ESMTPS", "ESMTPSA"],
            (_, true) => ["UTF8SMTP", "UTF8SMTPA", "UTF8SMTPS", "UTF8SMTPSA"],
        };
        names[usize::from(self.authenticated) + 2 * usize::from(self.hop.tls.is_some())]
    }
}

impl fmt::Display for Received<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = Literal(self.client);
        if self.hop.client_name.is_ascii() && check_domain(self.hop.client_name).is_ok() {
            write!(f, "Received: from {} ({client})", self.hop.client_name)?;
        } else {
            write!(f, "Received: from {client} (said ")?;
            for byte in self.hop.client_name.bytes() {
                let harmless = byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
                f.write_char(if harmless { char::from(byte) } else { '?' })?;
            }
            f.write_str(")")?;
        }
        write!(
            f,
            "\r\n\tby {} (PigeonAir) with {}",
            self.hop.host_name,
            self.protocol()
        )?;
        if let Some(tls) = self.hop.tls {
            write!(f, "\r\n\t({} {})", tls.version, tls.cipher)?;
        }
        write!(f, "\r\n\tid {}", self.id)?;
        if let Some(recipient) = self.recipient {
            write!(f, "\r\n\tfor <{recipient}>")?;
        }
        write!(f, "; {}\r\n", Date(self.time))
    }
}

/// What all recipients have in front of the message: Received, and before it a Return-Path that is not their own.
pub(super) fn lines(buffer: &mut String, reverse_path: Option<&Address>, received: &Received<'_>) {
    if !is_short(reverse_path) && !received.hop.from_node {
        write_return_path(buffer, reverse_path);
    }
    write!(buffer, "{received}").expect("writing to a string does not fail");
}

/// What one recipient has before that: Return-Path (`None` is the null sender), and Delivered-To where an address is given.
/// At most `OWN_LINES_BYTES_MAX`: a path that nobody has in earnest stays with the lines of all.
pub(super) fn own_lines(reverse_path: Option<&Address>, delivered_to: Option<&Address>) -> Bytes {
    // Quotes may make it longer; usually this is all that is allocated.
    let bytes = |address: &Address| "Delivered-To: @\r\n".len() + address.local().len() + address.domain().len();
    let mut lines = String::with_capacity(reverse_path.map_or(18, bytes) + delivered_to.map_or(0, bytes));
    if is_short(reverse_path) {
        write_return_path(&mut lines, reverse_path);
    }
    if let Some(address) = delivered_to {
        let before = lines.len();
        write!(lines, "Delivered-To: {address}\r\n").expect("writing to a string does not fail");
        if lines.len() > OWN_LINES_BYTES_MAX {
            lines.truncate(before);
        }
    }
    Bytes::from(lines)
}

/// What the store takes in front of a message for one recipient.
const OWN_LINES_BYTES_MAX: usize = 512;

/// Whether the path fits into a recipient's own lines, with room for Delivered-To. RFC 5321 section 4.5.3.1.3 has 256 bytes
/// for a path.
fn is_short(reverse_path: Option<&Address>) -> bool {
    // Each byte of a quoted local part may need a backslash.
    reverse_path.is_none_or(|address| 2 * address.local().len() + address.domain().len() <= 230)
}

fn write_return_path(buffer: &mut String, reverse_path: Option<&Address>) {
    let written = match reverse_path {
        Some(address) => write!(buffer, "Return-Path: <{address}>\r\n"),
        None => write!(buffer, "Return-Path: <>\r\n"),
    };
    written.expect("writing to a string does not fail");
}

/// Date and Message-ID, as far as they are missing.
pub(super) fn completion(has_date: bool, has_message_id: bool, id: MessageId, host_name: &str, time: i64) -> String {
    let mut lines = String::new();
    if !has_date {
        lines.push_str(&format!("Date: {}\r\n", Date(time)));
    }
    if !has_message_id {
        lines.push_str(&format!("Message-ID: <{id}@{host_name}>\r\n"));
    }
    lines
}

/// An address literal (RFC 5321 section 4.1.3).
struct Literal(IpAddr);

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_canonical() {
            IpAddr::V4(address) => write!(f, "[{address}]"),
            IpAddr::V6(address) => write!(f, "[IPv6:{address}]"),
        }
    }
}

/// Seconds since the Unix epoch as RFC 5322 section 3.3 writes them, in UTC.
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DateTime::from_unix(self.0, 0).write_rfc5322(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_id::SessionId;

    #[test]
    fn dates_of_all_times() {
        // The expectations are those of `date -u -R -d @...`.
        for (time, expected) in [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (1_763_773_251, "Sat, 22 Nov 2025 01:00:51 +0000"),
            (4_102_444_800, "Fri, 1 Jan 2100 00:00:00 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (i64::MIN, "Sat, 1 Jan 0000 00:00:00 +0000"),
        ] {
            assert_eq!(Date(time).to_string(), expected);
        }
    }

    fn hop<'a>(client_name: &'a str, tls: Option<&'a TlsInfo>) -> Hop<'a> {
        Hop {
            mode: Mode::Smtp,
            extended: true,
            client_name,
            host_name: "mx.example.org",
            tls,
            from_node: false,
        }
    }

    fn received<'a>(hop: &'a Hop<'a>, recipient: Option<&'a Address>) -> Received<'a> {
        Received {
            hop,
            smtp_utf8: false,
            authenticated: false,
            client: "203.0.113.7".parse().unwrap(),
            id: MessageId {
                session: SessionId(0x1234),
                transaction: 2,
            },
            recipient,
            time: 0,
        }
    }

    fn tls() -> TlsInfo {
        TlsInfo {
            version: "TLSv1.3".to_owned(),
            cipher: "TLS_AES_128_GCM_SHA256".to_owned(),
            server_name: None,
        }
    }

    #[test]
    fn the_lines_say_how_it_came() {
        let recipient: Address = "\"a b\"@example.org".parse().unwrap();
        let tls = tls();
        let hop = hop("client.example.net", Some(&tls));
        let mut buffer = String::new();
        lines(&mut buffer, None, &received(&hop, Some(&recipient)));
        assert_eq!(
            buffer,
            "Received: from client.example.net ([203.0.113.7])\r\n\tby mx.example.org (PigeonAir) \
             with ESMTPS\r\n\t(TLSv1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 0000000000001234.2\r\n\tfor <\"a b\"@example.org>; \
             Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
    }

    #[test]
    fn each_recipient_reads_the_sender_first() {
        let sender: Address = "a@example.net".parse().unwrap();
        let recipient: Address = "\"a b\"@example.org".parse().unwrap();
        assert_eq!(
            own_lines(Some(&sender), Some(&recipient)),
            "Return-Path: <a@example.net>\r\nDelivered-To: \"a b\"@example.org\r\n"
        );
        assert_eq!(own_lines(None, None), "Return-Path: <>\r\n");
        // What would not fit goes before Received, or is left out.
        let long: Address = format!("{}@example.net", "x".repeat(250)).parse().unwrap();
        assert_eq!(own_lines(Some(&long), None), "");
        let hop = hop("client.example.net", None);
        let mut buffer = String::new();
        lines(&mut buffer, Some(&long), &received(&hop, None));
        assert!(
            buffer.starts_with(&format!("Return-Path: <{long}>\r\nReceived: ")),
            "{buffer}"
        );
        let brought = Hop { from_node: true, ..hop };
        let mut buffer = String::new();
        lines(&mut buffer, Some(&long), &received(&brought, None));
        assert!(
            buffer.starts_with("Received: "),
            "the node that took it has written it: {buffer}"
        );
        let quoted: Address = format!("\"{}\"@example.net", "\\\"".repeat(240)).parse().unwrap();
        assert_eq!(own_lines(None, Some(&quoted)), "Return-Path: <>\r\n");
        let both = own_lines(Some(&sender), Some(&long));
        assert!(both.ends_with(b"@example.net\r\n") && both.len() <= OWN_LINES_BYTES_MAX);
    }

    #[test]
    fn a_name_that_is_none_does_no_harm() {
        for (name, from) in [
            ("[192.0.2.1]", "from [192.0.2.1] ([203.0.113.7])"),
            ("a b\"(\\)", "from [203.0.113.7] (said a?b????)"),
            ("bücher.example", "from [203.0.113.7] (said b??cher.example)"),
            ("x)\tby evil", "from [203.0.113.7] (said x??by?evil)"),
        ] {
            let hop = hop(name, None);
            let line = received(&hop, None).to_string();
            assert!(
                line.starts_with(&format!("Received: {from}\r\n\tby mx.example.org")),
                "{line}"
            );
        }
        let hop = hop("x", None);
        let mut line = received(&hop, None);
        line.client = "2001:db8::7".parse().unwrap();
        assert!(line.to_string().contains("x ([IPv6:2001:db8::7])"));
    }

    #[test]
    fn protocols_have_their_registered_names() {
        let tls = tls();
        for (mode, extended, utf8, authenticated, encrypted, expected) in [
            (Mode::Smtp, false, false, false, false, "SMTP"),
            (Mode::Smtp, true, false, false, false, "ESMTP"),
            (Mode::Submission, true, false, true, true, "ESMTPSA"),
            (Mode::Submission, true, true, true, false, "UTF8SMTPA"),
            (Mode::Smtp, true, true, false, true, "UTF8SMTPS"),
            (Mode::Lmtp, true, false, false, false, "LMTP"),
            (Mode::Lmtp, true, true, false, true, "UTF8LMTPS"),
        ] {
            let mut hop = hop("x", encrypted.then_some(&tls));
            (hop.mode, hop.extended) = (mode, extended);
            let mut line = received(&hop, None);
            (line.smtp_utf8, line.authenticated) = (utf8, authenticated);
            assert_eq!(line.protocol(), expected);
        }
    }
}
