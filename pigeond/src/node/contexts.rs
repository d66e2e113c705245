//! What the sessions of one core share, by service: built from the configuration once, when the core starts.

use super::joins::{CountedLogins, HandOver, IntoVolumes};
use super::mail::{self, Elsewhere};
use super::queue;
use super::redirects::redirector;
use super::shared::Shared;
use crate::config::{BareNewline, Config, Listener, OverQuota, Service};
use crate::status::Counter;
use bytes::Bytes;
use pigeon_datatree_cache::{CoreCopy, SlowingOptions};
use pigeon_delivery::remote::Peers;
use pigeon_delivery::remote::keys_of;
use pigeon_engine::current_core;
use pigeon_engine::names::Names;
use pigeon_engine::reach::Reach;
use pigeon_proto::network::NetworkSet;
use pigeon_proto::sasl::Mechanisms;
use pigeon_proto::smtp::{self, Authentication, BareLineEnds, Mode};
use pigeon_proxy::accept::AcceptPolicy;
use pigeon_proxy::drain::Drain;
use pigeon_proxy::login::{self, LoginContext};
use pigeon_proxy::redirect::Redirector;
use pigeon_proxy::smtp::{Policy, SmtpContext, SmtpCounters};
use pigeon_proxy::{Authenticator, CheckCredentials, MailStore, NodeAuthenticator, Redirected};
use pigeon_serve::imap::{ImapConfig, SummaryCache};
use pigeon_serve::pop3::Pop3Limits;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Memory for what is known of messages that IMAP has read: parts, sizes. A guess.
const SUMMARY_BYTES: usize = 8 << 20;

/// See the module.
pub(super) struct Contexts {
    shared: Arc<Shared>,
    copy: Rc<CoreCopy>,
    drain: Drain,
    authenticate: Rc<dyn CheckCredentials>,
    pub(super) smtp_counters: Rc<SmtpCounters>,
    pub(super) imap: Rc<ImapConfig>,
    pub(super) pop3: Pop3Limits,
    /// Of a node among others.
    pub(super) redirector: Option<Rc<Redirector>>,
    /// For mail.
    pub(super) peers: Option<Peers>,
}

impl Contexts {
    pub(super) fn new(shared: Arc<Shared>, copy: Rc<CoreCopy>, drain: Drain) -> Contexts {
        let timeouts = &shared.config.timeouts;
        let imap = ImapConfig {
            message_bytes_max: shared.config.limits.message_size_max.bytes(),
            line_bytes_max: usize::try_from(shared.config.limits.imap_line_bytes_max.bytes()).unwrap_or(usize::MAX),
            idle_timeout: timeouts.imap_idle.duration(),
            literal_timeout: timeouts.smtp_data.duration(),
            send_timeout: timeouts.send.duration(),
            bad_commands_max: shared.config.limits.errors_max,
            summaries: SummaryCache::new(SUMMARY_BYTES),
            ..ImapConfig::default()
        };
        let pop3 = Pop3Limits {
            idle_timeout: timeouts.pop3_idle.duration(),
            send_timeout: timeouts.send.duration(),
            bad_commands_max: shared.config.limits.errors_max,
            mechanisms: mechanisms(&shared.config),
        };
        let check = Authenticator::sharing(copy.clone(), shared.verification.clone(), SlowingOptions::default());
        // One memory of derived keys, and of who answers where, for sessions and for mail.
        let others = shared.cluster.as_ref().map(|cluster| {
            let keys = keys_of(cluster.key.clone(), cluster.pool.clone());
            (keys, Reach::new(Names::new(cluster.names.clone())))
        });
        Contexts {
            authenticate: Rc::new(CountedLogins {
                check,
                shared: shared.clone(),
            }),
            redirector: others
                .clone()
                .and_then(|(keys, reach)| redirector(&shared, &copy, keys, reach)),
            peers: others.and_then(|(keys, reach)| mail::peers(&shared, &copy, keys, reach)),
            shared,
            copy,
            drain,
            smtp_counters: Rc::default(),
            imap: Rc::new(imap),
            pop3,
        }
    }

    /// The other nodes, for mail.
    pub(super) fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// How a listener takes connections.
    pub(super) fn accept_policy(&self, listener: &Listener) -> AcceptPolicy {
        AcceptPolicy {
            admitted: listener.service.is_backend().then(|| listener.redirectors.clone()),
            balancers: listener.proxy_protocol_from.clone(),
            header_required: true,
            unlimited: match listener.service.is_backend() {
                true => listener.redirectors.clone(),
                false => listener.trusted_networks.clone(),
            },
            implicit_tls: listener.service.implicit_tls().then(|| self.shared.tls.clone()),
            header_time_out: self.shared.config.timeouts.proxy_header.duration(),
            time_out: self.shared.config.timeouts.tls_handshake.duration(),
            crowded: crowded(listener.service),
        }
    }

    /// For SMTP, LMTP and submission.
    pub(super) fn smtp(&self, listener: &Listener) -> Rc<SmtpContext> {
        let volumes = IntoVolumes::new(self.shared.clone());
        let store: Rc<dyn MailStore> = match (&self.shared.cluster, self.elsewhere()) {
            (Some(cluster), Some(elsewhere)) => {
                let copy = self.copy.clone();
                Rc::new(mail::from_clients(volumes, copy, &cluster.node, elsewhere))
            }
            _ => Rc::new(volumes),
        };
        Rc::new(self.smtp_into(listener, store))
    }

    /// How mail gets to other nodes; of a node in a cluster.
    fn elsewhere(&self) -> Option<Elsewhere> {
        Some(Elsewhere {
            peers: self.peers.clone()?,
            queues: queue::queues(&self.shared)?,
            count: queue::count(&self.shared),
        })
    }

    /// For mail that other nodes bring.
    pub(super) fn backend_lmtp(&self, listener: &Listener) -> Rc<SmtpContext> {
        let volumes = IntoVolumes::new(self.shared.clone());
        let node = self.this_node();
        let store = mail::from_nodes(
            volumes,
            self.copy.clone(),
            node,
            self.elsewhere(),
            self.count_redirects(),
        );
        let mut context = self.smtp_into(listener, Rc::new(store));
        context.nodes = Some(NodeAuthenticator::new(self.copy.clone(), node, self.count_redirects()));
        Rc::new(context)
    }

    fn smtp_into(&self, listener: &Listener, store: Rc<dyn MailStore>) -> SmtpContext {
        let config = &self.shared.config;
        let mode = match listener.service {
            Service::Lmtp | Service::BackendLmtp => Mode::Lmtp,
            Service::Submission | Service::Submissions => Mode::Submission,
            _ => Mode::Smtp,
        };
        let mut options = smtp::Options::new(mode, &config.hostname);
        options.bare_line_ends = match config.policy.bare_newline {
            BareNewline::Refuse => BareLineEnds::Refuse,
            BareNewline::Normalise => BareLineEnds::Normalise,
        };
        options.limits.message_bytes_max = config.limits.message_size_max.bytes();
        options.limits.recipients_max = config.limits.recipients_max;
        options.limits.errors_max = config.limits.errors_max;
        options.limits.authentication_failures_max = config.limits.login_failures_max;
        options.limits.transactions_max = config.limits.messages_per_session_max;
        options.mechanisms = mechanisms(config);
        options.time_outs.command = config.timeouts.smtp_command.duration();
        options.limits.refused_recipients_max = config.limits.refused_recipients_max;
        options.limits.idle_commands_max = config.limits.idle_commands_max;
        options.time_outs.data = config.timeouts.smtp_data.duration();
        options.time_outs.data_total = config.timeouts.smtp_message.duration();
        let mut tls = Some(self.shared.tls.clone());
        if listener.service.is_backend() {
            (options, tls) = (for_nodes(options, config), None);
        }
        let mut context = SmtpContext::new(options, self.copy.clone(), store, tls);
        context.policy = Policy {
            trusted: match listener.service.is_backend() {
                true => listener.redirectors.clone(),
                false => listener.trusted_networks.clone(),
            },
            over_quota: match config.policy.over_quota {
                OverQuota::Reject => pigeon_proxy::smtp::OverQuota::Refuse,
                OverQuota::Defer => pigeon_proxy::smtp::OverQuota::Defer,
            },
            received_max: config.limits.hops_max,
            // Whoever logs in or is an MTA of ours has no need to be watched.
            greeting_delay: match mode {
                Mode::Smtp => config.policy.greeting_delay.duration(),
                Mode::Lmtp | Mode::Submission => Duration::ZERO,
            },
            delivered_to: config.policy.delivered_to,
            accounts_max: config.limits.accounts_per_message_max as usize,
            sender_must_match: config.policy.sender_must_match,
        };
        context.authenticate = Some(self.authenticate.clone());
        context.counters = self.smtp_counters.clone();
        context.drain = self.drain.clone();
        context
    }

    /// Its id; the configuration has no backends without one.
    fn this_node(&self) -> &str {
        self.shared.cluster.as_ref().map_or("", |cluster| &cluster.node)
    }

    fn count_redirects(&self) -> impl Fn(Redirected) + 'static {
        let shared = self.shared.clone();
        move |what| shared.counters[usize::from(current_core().0)].count(redirects(what))
    }

    /// For POP3 and IMAP up to the login of another node.
    pub(super) fn backend(&self, listener: &Listener) -> Rc<LoginContext> {
        let config = &self.shared.config;
        let (node, count) = (self.this_node(), self.count_redirects());
        let mut authenticate = NodeAuthenticator::new(self.copy.clone(), node, count);
        if let (true, Some(cluster)) = (listener.service.implicit_tls(), &self.shared.cluster) {
            authenticate = authenticate.with_plain(cluster.pool.clone());
        }
        Rc::new(LoginContext {
            // The private network is private; what travels there is no password. Where one does, TLS comes first.
            tls: None,
            trusted: listener.redirectors.networks().to_vec(),
            timeout: config.timeouts.login.duration(),
            mechanisms: Mechanisms {
                passwords: false,
                plain_of_nodes: listener.service.implicit_tls(),
                scram_sha_256: true,
            },
            redirectors: true,
            authenticate: Rc::new(authenticate),
            drain: self.drain.clone(),
            limits: login::Limits {
                failed_logins_max: config.limits.login_failures_max,
                bad_commands_max: config.limits.errors_max,
            },
            backend: Rc::new(HandOver {
                shared: self.shared.clone(),
                service: listener.service,
                // The node that redirected has counted the client.
                unlimited: NetworkSet::everything(),
            }),
        })
    }

    /// For POP3 and IMAP up to the login.
    pub(super) fn login(&self, listener: &Listener) -> Rc<LoginContext> {
        Rc::new(LoginContext {
            tls: Some(self.shared.tls.clone()),
            trusted: listener.trusted_networks.networks().to_vec(),
            timeout: self.shared.config.timeouts.login.duration(),
            mechanisms: mechanisms(&self.shared.config),
            redirectors: false,
            authenticate: self.authenticate.clone(),
            drain: self.drain.clone(),
            limits: login::Limits {
                failed_logins_max: self.shared.config.limits.login_failures_max,
                bad_commands_max: self.shared.config.limits.errors_max,
            },
            backend: Rc::new(HandOver {
                shared: self.shared.clone(),
                service: listener.service,
                unlimited: listener.trusted_networks.clone(),
            }),
        })
    }
}

fn redirects(what: Redirected) -> Counter {
    match what {
        Redirected::Accepted => Counter::RedirectsAccepted,
        Redirected::UnknownNode => Counter::RedirectsRefusedNode,
        Redirected::WrongKey => Counter::RedirectsRefusedKey,
        Redirected::Malformed => Counter::RedirectsMalformed,
        Redirected::Referred => Counter::RedirectsReferred,
        Redirected::Astray => Counter::RedirectsAstray,
    }
}

/// What a client added to its message on the way to the node that keeps it: trace lines. A guess, with room.
const TRACE_BYTES_MAX: u64 = 64 << 10;

/// Nodes of ours keep their connections, and have measured and counted what they bring.
fn for_nodes(mut options: smtp::Options, config: &Config) -> smtp::Options {
    options.redirectors = true;
    options.authentication = Authentication::Required;
    options.mechanisms = Mechanisms {
        passwords: false,
        plain_of_nodes: false,
        scram_sha_256: true,
    };
    let limits = &mut options.limits;
    limits.message_bytes_max = limits.message_bytes_max.saturating_add(TRACE_BYTES_MAX);
    limits.recipients_max = limits.recipients_max.max(config.limits.accounts_per_message_max);
    limits.refused_recipients_max = u32::MAX;
    limits.errors_max = u32::MAX;
    limits.transactions_max = u32::MAX;
    options
}

/// How clients log in.
fn mechanisms(config: &Config) -> Mechanisms {
    Mechanisms {
        passwords: true,
        plain_of_nodes: false,
        scram_sha_256: config.policy.scram_sha_256,
    }
}

/// What a client reads when there are too many.
fn crowded(service: Service) -> Bytes {
    Bytes::from_static(match service {
        Service::Smtp | Service::Lmtp | Service::Submission | Service::Submissions | Service::BackendLmtp => {
            b"421 4.7.0 Too many connections, try again later\r\n"
        }
        Service::Pop3 | Service::Pop3s | Service::BackendPop3 | Service::BackendPop3s => {
            b"-ERR [SYS/TEMP] Too many connections, try again later\r\n"
        }
        Service::Imap | Service::Imaps | Service::BackendImap | Service::BackendImaps => {
            b"* BYE [LIMIT] Too many connections, try again later\r\n"
        }
    })
}
