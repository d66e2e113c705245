//! How long the node waits for a peer.

use super::period::Period;
use super::section::{Section, period};
use serde::Serialize;

/// How long the node waits for a peer. The defaults are what the RFCs ask for at least; each from 1s to 1d.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// For a PROXY protocol header, on listeners that expect one. Default 10s.
    pub proxy_header: Period,
    /// For a whole TLS handshake. Default 1m.
    pub tls_handshake: Period,
    /// For the next SMTP or LMTP command. Default 5m (RFC 5321 section 4.5.3.2.7).
    pub smtp_command: Period,
    /// For the next piece of a message. Default 5m (RFC 5321 section 4.5.3.2.5 has 3 minutes for the sender).
    pub smtp_data: Period,
    /// For a whole message, beside one second for each 500 bytes of it, so that nobody holds a session by sending a byte now
    /// and then. Default 10m.
    pub smtp_message: Period,
    /// For a POP3 or IMAP login, from the connection on. Default 3m.
    pub login: Period,
    /// For the next POP3 command. Default 10m (RFC 1939 section 3).
    pub pop3_idle: Period,
    /// For the next IMAP command, or within IDLE. Default 30m (RFC 3501 section 5.4).
    pub imap_idle: Period,
    /// For a POP3 or IMAP client that does not read what it asked for; one of SMTP has the time of `smtp_command`. Default
    /// 5m.
    pub send: Period,
    /// After SIGTERM: how long connections are still taken while `/ready` says draining, so that balancers see it and send
    /// nobody any more; two or three times the interval of their check. Default 0s.
    pub drain_notice: Period,
    /// After that: for sessions to end by themselves before they are closed. Default 20s.
    pub drain: Period,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            proxy_header: Period::seconds(10),
            tls_handshake: Period::minutes(1),
            smtp_command: Period::minutes(5),
            smtp_data: Period::minutes(5),
            smtp_message: Period::minutes(10),
            login: Period::minutes(3),
            pop3_idle: Period::minutes(10),
            imap_idle: Period::minutes(30),
            send: Period::minutes(5),
            drain_notice: Period::seconds(0),
            drain: Period::seconds(20),
        }
    }
}

impl Timeouts {
    pub(super) fn read(mut section: Section<'_, '_, '_>) -> Timeouts {
        let default = Timeouts::default();
        let mut wait = |key, default| section.or(key, default, period(Period::seconds(1)..=Period::minutes(24 * 60)));
        let mut timeouts = Timeouts {
            proxy_header: wait("proxy_header", default.proxy_header),
            tls_handshake: wait("tls_handshake", default.tls_handshake),
            smtp_command: wait("smtp_command", default.smtp_command),
            smtp_data: wait("smtp_data", default.smtp_data),
            smtp_message: wait("smtp_message", default.smtp_message),
            login: wait("login", default.login),
            pop3_idle: wait("pop3_idle", default.pop3_idle),
            imap_idle: wait("imap_idle", default.imap_idle),
            send: wait("send", default.send),
            drain_notice: default.drain_notice,
            drain: wait("drain", default.drain),
        };
        let notice = period(Period::seconds(0)..=Period::minutes(60));
        timeouts.drain_notice = section.or("drain_notice", default.drain_notice, notice);
        section.finish();
        timeouts
    }
}
