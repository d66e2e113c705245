//! Addresses to listen on, and what is spoken there.

use super::checks::socket_address;
use super::section::{Place, Section, choice, converted, list, parsed};
use pigeon_proto::network::{Network, NetworkSet};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Address and port, as in `"0.0.0.0:25"` or `"[::]:25"`. Every core listens on it. Required.
    pub address: SocketAddr,
    /// What is spoken: `"smtp"` (mail from other servers, port 25), `"lmtp"` (24), `"submission"` (587, with STARTTLS) or
    /// `"submissions"` (465, TLS first), `"pop3"` (110) or `"pop3s"` (995), `"imap"` (143) or `"imaps"` (993). Or what other
    /// nodes redirect to this one, on an address of the private network: `"backend-imap"` (2143), `"backend-pop3"` (2110) or
    /// `"backend-lmtp"` (2024); for proxies that cannot log in by SCRAM, `"backend-imaps"` (2993) and `"backend-pop3s"` (2995), TLS
    /// first, where PLAIN is taken as well. Required.
    pub service: Service,
    /// Networks of balancers, as in `["10.0.0.0/8"]`. A connection from there must begin with a PROXY protocol header
    /// (version 1 or 2), which then tells who the client is; from elsewhere one is refused. Default none.
    #[serde(serialize_with = "written")]
    pub proxy_protocol_from: NetworkSet,
    /// Of a backend's listener: the networks from which nodes may redirect to it, as in `["10.0.0.0/24"]`; from elsewhere
    /// connections are closed at once. Required there, and refused elsewhere.
    #[serde(serialize_with = "written", skip_serializing_if = "NetworkSet::is_empty")]
    pub redirectors: NetworkSet,
    /// Networks whose clients may log in without TLS, and whose addresses do not count against
    /// `limits.sessions_per_address_max`, nor for the slowing of failed logins. Default none.
    #[serde(serialize_with = "written")]
    pub trusted_networks: NetworkSet,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// RFC 5321, from other servers.
    Smtp,
    /// RFC 2033, from a mail server in front.
    Lmtp,
    /// RFC 6409, with STARTTLS.
    Submission,
    /// RFC 8314, TLS first.
    Submissions,
    /// RFC 1939, with STLS.
    Pop3,
    /// RFC 8314, TLS first.
    Pop3s,
    /// RFC 3501, with STARTTLS.
    Imap,
    /// RFC 8314, TLS first.
    Imaps,
    /// RFC 3501, from nodes that have authenticated the user.
    BackendImap,
    /// RFC 1939, from nodes that have authenticated the user.
    BackendPop3,
    /// RFC 2033, from nodes that have accepted the message.
    BackendLmtp,
    /// As `BackendImap`, TLS first, and PLAIN is taken for a key as well.
    BackendImaps,
    /// As `BackendPop3`, likewise.
    BackendPop3s,
}

impl Service {
    /// All of them, in the order of their discriminants: `service as usize` is the index.
    pub const ALL: [Service; 13] = [
        Service::Smtp,
        Service::Lmtp,
        Service::Submission,
        Service::Submissions,
        Service::Pop3,
        Service::Pop3s,
        Service::Imap,
        Service::Imaps,
        Service::BackendImap,
        Service::BackendPop3,
        Service::BackendLmtp,
        Service::BackendImaps,
        Service::BackendPop3s,
    ];

    /// As the configuration, the log and the metrics spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Service::Smtp => "smtp",
            Service::Lmtp => "lmtp",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Pop3 => "pop3",
            Service::Pop3s => "pop3s",
            Service::Imap => "imap",
            Service::Imaps => "imaps",
            Service::BackendImap => "backend-imap",
            Service::BackendPop3 => "backend-pop3",
            Service::BackendLmtp => "backend-lmtp",
            Service::BackendImaps => "backend-imaps",
            Service::BackendPop3s => "backend-pop3s",
        }
    }

    /// Those that clients speak.
    pub fn of_clients() -> impl Iterator<Item = Service> {
        Service::ALL.into_iter().filter(|service| !service.is_backend())
    }

    /// Whether other nodes are the clients there.
    pub const fn is_backend(self) -> bool {
        matches!(self, Service::BackendImap | Service::BackendPop3 | Service::BackendLmtp)
            || self.is_backend_under_tls()
    }

    const fn is_backend_under_tls(self) -> bool {
        matches!(self, Service::BackendImaps | Service::BackendPop3s)
    }

    /// Whether TLS comes first there.
    pub const fn implicit_tls(self) -> bool {
        matches!(self, Service::Submissions | Service::Pop3s | Service::Imaps) || self.is_backend_under_tls()
    }

    /// Whether nothing can be done there without a login.
    pub const fn needs_login(self) -> bool {
        !matches!(self, Service::Smtp | Service::Lmtp)
    }

    /// The port that the service has by its standard, or by ours.
    pub const fn standard_port(self) -> u16 {
        match self {
            Service::Smtp => 25,
            Service::Lmtp => 24,
            Service::Submission => 587,
            Service::Submissions => 465,
            Service::Pop3 => 110,
            Service::Pop3s => 995,
            Service::Imap => 143,
            Service::Imaps => 993,
            Service::BackendImap => 2143,
            Service::BackendPop3 => 2110,
            Service::BackendLmtp => 2024,
            Service::BackendImaps => 2993,
            Service::BackendPop3s => 2995,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const SERVICES: &[(&str, Service)] = &[
    ("smtp", Service::Smtp),
    ("lmtp", Service::Lmtp),
    ("submission", Service::Submission),
    ("submissions", Service::Submissions),
    ("pop3", Service::Pop3),
    ("pop3s", Service::Pop3s),
    ("imap", Service::Imap),
    ("imaps", Service::Imaps),
    ("backend-imap", Service::BackendImap),
    ("backend-pop3", Service::BackendPop3),
    ("backend-lmtp", Service::BackendLmtp),
    ("backend-imaps", Service::BackendImaps),
    ("backend-pop3s", Service::BackendPop3s),
];

/// A listener and where its address is written.
pub(super) type Placed = (Listener, Place);

impl Listener {
    pub(super) fn read(mut section: Section<'_, '_, '_>) -> Option<Placed> {
        let address = section.required("address", "\"0.0.0.0:25\"", converted(socket_address));
        let service = section.required("service", "\"smtp\"", choice(SERVICES));
        let networks = |found: Option<Vec<Network>>| found.unwrap_or_default().into_iter().collect();
        let proxy_protocol_from = networks(section.optional("proxy_protocol_from", list(parsed)));
        let redirectors = networks(section.optional("redirectors", list(parsed)));
        let trusted_networks = networks(section.optional("trusted_networks", list(parsed)));
        section.finish();
        let ((address, place), (service, _)) = (address?, service?);
        Some((
            Listener {
                address,
                service,
                proxy_protocol_from,
                redirectors,
                trusted_networks,
            },
            place,
        ))
    }
}

/// A set of networks as a list of texts.
pub(super) fn written<S: Serializer>(set: &NetworkSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.networks().iter().map(Network::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_services_agree() {
        for (index, service) in Service::ALL.into_iter().enumerate() {
            assert_eq!(service as usize, index);
            assert!(SERVICES.contains(&(service.name(), service)));
        }
        assert_eq!(SERVICES.len(), Service::ALL.len());
    }
}
