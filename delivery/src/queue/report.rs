//! What a sender reads about mail that could not be delivered (RFC 3464): the text, and whom it goes to.

use super::envelope::{QueuedEnvelope, QueuedRecipient};
use super::telling::REPORT_SUFFIX;
use pigeon_datatree_cache::{Account, Recipient, Snapshot};
use pigeon_proto::address::Address;
use pigeon_proto::message::DateTime;
use pigeon_proto::smtp::{Enhanced, Reply};
use std::fmt;
use std::sync::Arc;

/// Bytes of the message's header section that a report returns; a longer one is cut at a line.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Somebody who does not get a message, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Among the envelope's recipients.
    pub(super) place: usize,
    pub(super) reason: Reason,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The node that keeps the account, or this one, has refused it for good.
    Refused(Reply),
    /// There is no such account any more.
    Unknown,
    /// The time is over; what was heard last.
    Expired(String),
}

impl Reason {
    fn status(&self) -> Enhanced {
        match self {
            Reason::Refused(reply) => reply.enhanced().unwrap_or(Enhanced(5, 0, 0)),
            Reason::Unknown => Enhanced(5, 1, 1),
            Reason::Expired(_) => Enhanced(4, 4, 7),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Refused(reply) => write!(f, "{reply}"),
            Reason::Unknown => f.write_str("the address does not exist any more"),
            Reason::Expired(last) => write!(f, "delivery time expired; last: {last}"),
        }
    }
}

/// Whom a report goes to.
pub(super) type Addressee = (Arc<Account>, Address);

/// Whom a report goes to, the first who takes it: the sender when it is an account of the tree, the postmaster of the
/// recipient's domain, the postmaster of the first domain that has one. Nobody is told of his own failure, and what becomes
/// of a report about a report is told to nobody: so it comes to an end.
pub(super) fn addressees(snapshot: &Snapshot, envelope: &QueuedEnvelope, failed: &QueuedRecipient) -> Vec<Addressee> {
    if envelope.id.ends_with(&REPORT_SUFFIX.repeat(2)) {
        return Vec::new();
    }
    let sender = envelope
        .reverse_path
        .as_ref()
        .and_then(|path| account(snapshot, path.clone()));
    let mut to: Vec<Addressee> = Vec::new();
    for (account, address) in sender.into_iter().chain(postmasters(snapshot, &failed.address)) {
        let is_known = to.iter().any(|(known, _)| known.id() == account.id());
        if !is_known && account.id().0 != failed.account {
            to.push((account, address));
        }
    }
    to
}

/// Who looks after an address: the postmaster of its domain, and that of the first domain that has one.
pub(super) fn postmasters(snapshot: &Snapshot, of: &Address) -> impl Iterator<Item = Addressee> {
    let own = Address::from_parts("postmaster", of.domain()).ok();
    let own = own.and_then(|address| account(snapshot, address));
    let any = match snapshot.recipient("postmaster", "") {
        Recipient::Account { account, .. } => Some(account),
        _ => None,
    };
    let any = any.and_then(|account| {
        let address = account.main_address()?.parse().ok()?;
        Some((account.clone(), address))
    });
    own.into_iter().chain(any)
}

fn account(snapshot: &Snapshot, address: Address) -> Option<Addressee> {
    match snapshot.recipient(address.local(), address.domain()) {
        Recipient::Account { account, .. } => Some((account.clone(), address)),
        _ => None,
    }
}

/// The report as a message.
pub(super) struct Report<'a> {
    pub(super) envelope: &'a QueuedEnvelope,
    pub(super) failures: &'a [Failure],
    pub(super) to: &'a Address,
    pub(super) host_name: &'a str,
    /// The front of the message.
    pub(super) front: &'a [u8],
    /// Seconds since the Unix epoch.
    pub(super) now: i64,
}

impl Report<'_> {
    fn recipients(&self) -> impl Iterator<Item = (&Address, &Reason)> {
        self.failures.iter().filter_map(|failure| {
            let recipient = self.envelope.recipients.get(failure.place)?;
            Some((&recipient.address, &failure.reason))
        })
    }

    /// Whether addresses in it need RFC 6533's forms.
    fn is_international(&self) -> bool {
        let sender = self.envelope.reverse_path.as_ref();
        let id = self.envelope.parameters.envelope_id.as_deref();
        let mut addresses = self.recipients().map(|(address, _)| address).chain(sender);
        addresses.any(|address| !address.is_ascii()) || id.is_some_and(|id| !id.is_ascii())
    }

    /// The header section, cut at a line where it is too long.
    fn header(&self) -> Option<&str> {
        let front = &self.front[..self.front.len().min(HEADER_BYTES_MAX)];
        let end = match front.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => end + 2,
            None => front.windows(2).rposition(|two| two == b"\r\n")? + 2,
        };
        std::str::from_utf8(&front[..end]).ok()
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, host, to) = (&self.envelope.id, self.host_name, self.to);
        let boundary = format!("report-{id}");
        f.write_str("Date: ")?;
        DateTime::from_unix(self.now, 0).write_rfc5322(f)?;
        write!(
            f,
            "\r\nFrom: Mail Delivery System <postmaster@{host}>\r\nTo: <{to}>\r\nSubject: Undelivered: your message\r\n\
             Message-ID: <undelivered.{id}.{}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n",
            self.failures.first().map_or(0, |failure| failure.place)
        )?;
        write!(
            f,
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nYour message \
             could not be delivered to:\r\n\r\n"
        )?;
        for (address, reason) in self.recipients() {
            write!(f, "<{address}>: {reason}\r\n")?;
        }
        let (kind, address_type) = match self.is_international() {
            true => ("global-delivery-status\r\nContent-Transfer-Encoding: 8bit", "utf-8"),
            false => ("delivery-status", "rfc822"),
        };
        write!(f, "\r\n--{boundary}\r\nContent-Type: message/{kind}\r\n\r\n")?;
        if let Some(id) = &self.envelope.parameters.envelope_id {
            write!(f, "Original-Envelope-Id: {id}\r\n")?;
        }
        write!(f, "Reporting-MTA: dns; {host}\r\nArrival-Date: ")?;
        DateTime::from_unix(self.envelope.received_at, 0).write_rfc5322(f)?;
        f.write_str("\r\n")?;
        for (address, reason) in self.recipients() {
            let Enhanced(class, subject, detail) = reason.status();
            write!(
                f,
                "\r\nFinal-Recipient: {address_type};{address}\r\nAction: failed\r\nStatus: {class}.{subject}.{detail}\r\n"
            )?;
            if let Reason::Refused(reply) = reason {
                write!(f, "Diagnostic-Code: smtp; {reply}\r\n")?;
            }
        }
        if let Some(header) = self.header() {
            let kind = match header.is_ascii() {
                true => "text/rfc822-headers",
                false => "message/global-headers\r\nContent-Transfer-Encoding: 8bit",
            };
            write!(f, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n{header}")?;
        }
        write!(f, "\r\n--{boundary}--\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pigeon_store::MessageKey;

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    fn envelope() -> QueuedEnvelope {
        let recipient = |text| QueuedRecipient {
            account: [1; 16],
            address: address(text),
            prepend: Default::default(),
        };
        QueuedEnvelope {
            reverse_path: Some(address("bob@example.org")),
            parameters: Default::default(),
            received_at: 0,
            key: MessageKey([0; 16]),
            id: "0007.1".to_owned(),
            recipients: vec![recipient("alice@example.org"), recipient("eve@example.org")],
        }
    }

    #[test]
    fn a_report_says_who_and_why() {
        let envelope = envelope();
        let failures = [
            Failure {
                place: 1,
                reason: Reason::Refused(Reply::new(552, Enhanced(5, 2, 2), "mailbox full")),
            },
            Failure {
                place: 0,
                reason: Reason::Expired("out of reach".to_owned()),
            },
        ];
        let to = address("bob@example.org");
        let report = Report {
            envelope: &envelope,
            failures: &failures,
            to: &to,
            host_name: "mx.example.org",
            front: b"Subject: x\r\nTo: y\r\n\r\nbody",
            now: 60,
        };
        let text = report.to_string();
        for part in [
            "Date: Thu, 1 Jan 1970 00:01:00 +0000\r\nFrom: Mail Delivery System <postmaster@mx.example.org>\r\nTo: <bob@example.org>\r\n",
            "\r\n<eve@example.org>: 552 5.2.2 mailbox full\r\n<alice@example.org>: delivery time expired; last: out of reach\r\n",
            "\r\nReporting-MTA: dns; mx.example.org\r\nArrival-Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\nFinal-Recipient: \
             rfc822;eve@example.org\r\nAction: failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 mailbox full\r\n",
            "Final-Recipient: rfc822;alice@example.org\r\nAction: failed\r\nStatus: 4.4.7\r\n",
            "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\nTo: y\r\n\r\n--report-0007.1--\r\n",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains("body"));
    }

    #[test]
    fn it_goes_to_whoever_is_here() {
        let snapshot = Snapshot::from_ldif(
            "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n\
             dn: uid=bob,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: bob\nmail: bob@example.org\n\n\
             dn: uid=root,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: root\nmail: postmaster@example.org\n",
        )
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let to = |sender: Option<&str>, failed: &str, id: &str| -> Vec<String> {
            let failed = QueuedRecipient {
                account: snapshot.login(failed).map_or([1; 16], |account| account.id().0),
                address: address(failed),
                prepend: Default::default(),
            };
            let envelope = QueuedEnvelope {
                reverse_path: sender.map(address),
                id: id.to_owned(),
                ..envelope()
            };
            let to = addressees(&snapshot, &envelope, &failed);
            to.iter().map(|(_, address)| address.to_string()).collect()
        };
        let (bob, root) = ("bob@example.org", "postmaster@example.org");
        assert_eq!(to(Some(bob), "alice@example.org", "1"), [bob, root]);
        assert_eq!(to(Some("x@example.net"), "alice@example.org", "1"), [root]);
        assert_eq!(to(None, "alice@example.org", "1"), [root]);
        // Of a domain that is not there any more, somebody is told all the same.
        assert_eq!(to(Some("x@example.net"), "a@elsewhere.example", "1"), [root]);
        // Nobody is told of his own.
        assert!(to(None, root, "1").is_empty());
        assert_eq!(to(Some(bob), bob, "1"), [root]);
        assert_eq!(to(None, bob, "1.report"), [root]);
        assert!(to(None, bob, "1.report.report").is_empty());
    }
}
