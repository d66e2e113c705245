//! What NOTIFY=SUCCESS asks for (RFC 3461): a report (RFC 3464) to the sender that the message is in the mailboxes here.
//!
//! Reports go to senders that this node delivers to itself, in the same way as every message. For senders elsewhere a report
//! needs the outgoing queue; until there is one it is logged that none was sent. Failures need no report: they are answered
//! in the session, and whoever brought the message tells the sender.
//!
//! A report is made after the message is durable and before it is answered; whether the report itself could be kept changes
//! nothing about the answer.

use super::context::SmtpContext;
use super::recipients::Confirm;
use super::trace::{self, Date};
use crate::mail_store::{EnvelopeInfo, Target};
use bytes::Bytes;
use pigeon_datatree_cache::{Recipient, Snapshot};
use pigeon_proto::address::Address;
use std::fmt;
use std::rc::Rc;

/// Bytes of one piece that the store is given.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of the message's header section that a report returns; a longer one is not returned.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Sends the sender of `envelope` a report about `delivered`. `header` is the message's header section with its trace
/// lines, where it was at hand.
pub(super) async fn report(
    envelope: &EnvelopeInfo,
    delivered: &[Confirm],
    header: Option<Bytes>,
    snapshot: &Snapshot,
    context: &SmtpContext,
) {
    // A report has the null sender, and so is never reported on (RFC 3461 section 6.1).
    let Some(sender) = &envelope.reverse_path else { return };
    let (session, message_id) = (envelope.session, envelope.id());
    let Recipient::Account { account, detail } = snapshot.recipient(sender.local(), sender.domain()) else {
        tracing::info!(%session, %message_id, "no report of delivery: there is no queue for senders elsewhere");
        return;
    };
    let report = Report {
        envelope,
        sender,
        delivered,
        header: header.as_deref(),
        host_name: &context.options.host_name,
    };
    let text = Bytes::from(report.to_string());
    let delivered_to = context.policy.delivered_to.then_some(sender);
    let target = Target {
        account: account.clone(),
        address: sender.clone(),
        detail: detail.map(Box::from),
        prepend: trace::own_lines(None, delivered_to),
        key: None,
    };
    let own = Rc::new(EnvelopeInfo {
        reverse_path: None,
        parameters: Default::default(),
        submitter: None,
        ..envelope.clone()
    });
    let stored = async {
        let mut transfer = context.store.begin(&own, vec![target]).await?;
        for start in (0..text.len()).step_by(PIECE_BYTES) {
            let piece = text.slice(start..text.len().min(start + PIECE_BYTES));
            transfer.write(piece).await?;
        }
        transfer.commit().await.pop().unwrap_or(Ok(()))
    };
    match stored.await {
        Ok(()) => tracing::info!(%session, %message_id, "delivery reported to the sender"),
        Err(error) => tracing::info!(%session, %message_id, %error, "delivery could not be reported to the sender"),
    }
}

/// The report as a message.
struct Report<'a> {
    envelope: &'a EnvelopeInfo,
    sender: &'a Address,
    delivered: &'a [Confirm],
    header: Option<&'a [u8]>,
    host_name: &'a str,
}

impl Report<'_> {
    /// Addresses in it need RFC 6533's forms.
    fn is_international(&self) -> bool {
        let envelope_id = self.envelope.parameters.envelope_id.as_deref();
        let id_is_ascii = envelope_id.is_none_or(str::is_ascii);
        !id_is_ascii
            || self.delivered.iter().any(|confirm| {
                let original = confirm.original.as_ref();
                !confirm.address.is_ascii() || original.is_some_and(|original| !original.address.is_ascii())
            })
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, host, sender) = (self.envelope.id(), self.host_name, self.sender);
        let date = Date(self.envelope.received_at);
        // Whoever guesses the session's id and writes this line confuses only the report to themselves.
        let boundary = format!("report-{id}");
        let header = self.header.and_then(|header| std::str::from_utf8(header).ok());
        write!(
            f,
            "Date: {date}\r\nFrom: Mail Delivery System <postmaster@{host}>\r\nTo: <{sender}>\r\nSubject: Delivered: your \
             message\r\nMessage-ID: <report.{id}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\r\n"
        )?;
        write!(
            f,
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nYour message \
             has been delivered to:\r\n\r\n"
        )?;
        for confirm in self.delivered {
            write!(f, "<{}>\r\n", confirm.address)?;
        }
        // The usual one is of seven bits (RFC 3464 section 2.1), the other is not (RFC 6533 section 3).
        let (kind, address_type) = match self.is_international() {
            true => ("global-delivery-status\r\nContent-Transfer-Encoding: 8bit", "utf-8"),
            false => ("delivery-status", "rfc822"),
        };
        write!(f, "\r\n--{boundary}\r\nContent-Type: message/{kind}\r\n\r\n")?;
        if let Some(id) = &self.envelope.parameters.envelope_id {
            write!(f, "Original-Envelope-Id: {id}\r\n")?;
        }
        write!(f, "Reporting-MTA: dns; {host}\r\nArrival-Date: {date}\r\n")?;
        for confirm in self.delivered {
            f.write_str("\r\n")?;
            if let Some(original) = &confirm.original {
                write!(
                    f,
                    "Original-Recipient: {};{}\r\n",
                    original.address_type, original.address
                )?;
            }
            // What became of a group's members is theirs (RFC 3461 section 5.2.7.3).
            let action = if confirm.expanded { "expanded" } else { "delivered" };
            write!(
                f,
                "Final-Recipient: {address_type};{}\r\nAction: {action}\r\nStatus: 2.0.0\r\n",
                confirm.address
            )?;
        }
        if let Some(header) = header {
            let kind = match header.is_ascii() {
                true => "text/rfc822-headers",
                false => "message/global-headers\r\nContent-Transfer-Encoding: 8bit",
            };
            write!(f, "\r\n--{boundary}\r\nContent-Type: {kind}\r\n\r\n{header}")?;
        }
        write!(f, "\r\n--{boundary}--\r\n")
    }
}

/// The header section at the front of `message`, with its last line end; `None` when it is longer than a report returns.
pub(super) fn header_section(message: &[u8]) -> Option<Bytes> {
    let window = &message[..message.len().min(HEADER_BYTES_MAX)];
    let end = window.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(Bytes::copy_from_slice(&window[..end + 2]))
}
