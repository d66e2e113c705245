//! What the SMTP sessions of one listener on one core share.

use super::counters::SmtpCounters;
use crate::authenticate::{CheckCredentials, NodeAuthenticator};
use crate::drain::Drain;
use crate::mail_store::MailStore;
use pigeon_datatree_cache::CoreCopy;
use pigeon_engine::tls::TlsAcceptor;
use pigeon_proto::network::NetworkSet;
use pigeon_proto::smtp::Options;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What is answered for an account that is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverQuota {
    /// 552 5.2.2: the sender is told.
    #[default]
    Refuse,
    /// 452 4.2.2: the sender keeps the message and comes again.
    Defer,
}

/// What a listener decides beyond the protocol.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Clients that may send passwords without TLS.
    pub trusted: NetworkSet,
    /// For full accounts.
    pub over_quota: OverQuota,
    /// More Received lines than this are a loop (554 5.4.6). RFC 5321 section 6.3 wants at least 100 in general; mail
    /// that went through 50 hops has not been seen outside of loops.
    pub received_max: u32,
    /// How long a client is watched before it is greeted; one that speaks is sent away. Zero looks once.
    pub greeting_delay: Duration,
    /// Each recipient's copy begins with the address that it was sent to (Delivered-To).
    pub delivered_to: bool,
    /// Accounts that one transaction may reach, groups expanded.
    pub accounts_max: usize,
    /// In submission: MAIL must name an address of whoever authenticated (553 5.7.1).
    pub sender_must_match: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            trusted: NetworkSet::default(),
            over_quota: OverQuota::default(),
            received_max: 50,
            greeting_delay: Duration::ZERO,
            delivered_to: true,
            accounts_max: 10_000,
            sender_must_match: false,
        }
    }
}

/// Everything that a session needs beside its stream.
pub struct SmtpContext {
    /// The protocol and its bounds; `start_tls` follows `tls`.
    pub options: Arc<Options>,
    /// What the listener decides.
    pub policy: Policy,
    /// The core's own copy of control data.
    pub copy: Rc<CoreCopy>,
    /// Where messages go.
    pub store: Rc<dyn MailStore>,
    /// Checks passwords; without it AUTH is answered with 454.
    pub authenticate: Option<Rc<dyn CheckCredentials>>,
    /// Checks nodes of ours, where they come: instead of `authenticate`.
    pub nodes: Option<NodeAuthenticator>,
    /// For STARTTLS; without it, and as long as it has no certificate, that is not offered.
    pub tls: Option<TlsAcceptor>,
    /// `options` while there is no certificate.
    pub(super) options_without_tls: Arc<Options>,
    /// Counts.
    pub counters: Rc<SmtpCounters>,
    /// The node's wish to stop.
    pub drain: Drain,
}

impl SmtpContext {
    /// With the default policy; STARTTLS is offered when there is a certificate.
    pub fn new(
        mut options: Options,
        copy: Rc<CoreCopy>,
        store: Rc<dyn MailStore>,
        tls: Option<TlsAcceptor>,
    ) -> SmtpContext {
        options.start_tls = false;
        let options_without_tls = Arc::new(options.clone());
        options.start_tls = tls.is_some();
        SmtpContext {
            options: Arc::new(options),
            options_without_tls,
            policy: Policy::default(),
            copy,
            store,
            authenticate: None,
            nodes: None,
            tls,
            counters: Rc::default(),
            drain: Drain::new(),
        }
    }

    /// What a session that begins now speaks: a first certificate may have come since the start.
    pub(super) fn session_options(&self) -> Arc<Options> {
        match &self.tls {
            Some(tls) if tls.has_certificate() => self.options.clone(),
            _ => self.options_without_tls.clone(),
        }
    }
}
