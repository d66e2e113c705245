//! Where a node is on the private network.

use std::fmt;
use std::str::FromStr;

/// What is spoken on the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// For redirected sessions.
    Imap,
    /// For redirected sessions.
    Pop3,
    /// For messages.
    Lmtp,
    /// HTTP: what `pigeonctl` asks nodes how they are.
    Status,
}

impl BackendProtocol {
    /// All of them.
    pub const ALL: [BackendProtocol; 4] = [
        BackendProtocol::Imap,
        BackendProtocol::Pop3,
        BackendProtocol::Lmtp,
        BackendProtocol::Status,
    ];

    /// Its port, where an address says none. Ours: no standard has ports for backends.
    pub const fn port(self) -> u16 {
        match self {
            BackendProtocol::Imap => 2143,
            BackendProtocol::Pop3 => 2110,
            BackendProtocol::Lmtp => 2024,
            BackendProtocol::Status => 2080,
        }
    }

    /// As the scheme of an address.
    pub const fn name(self) -> &'static str {
        match self {
            BackendProtocol::Imap => "imap",
            BackendProtocol::Pop3 => "pop3",
            BackendProtocol::Lmtp => "lmtp",
            BackendProtocol::Status => "status",
        }
    }
}

/// A value of pigeonPrivateAddress: `HOST` is for all protocols at their ports, `PROTOCOL://HOST[:PORT]` for one. IPv6
/// addresses stand in brackets where a protocol or a port does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateAddress {
    /// A host name or an IP address.
    pub host: String,
    /// The one protocol and its port.
    pub only: Option<(BackendProtocol, u16)>,
}

impl FromStr for PrivateAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<PrivateAddress, &'static str> {
        const FORM: &str =
            "a host name or an IP address, or imap://, pop3://, lmtp:// or status:// with a host and a port";
        let is_host =
            |text: &str| text.parse::<std::net::IpAddr>().is_ok() || crate::address::canonical_domain(text).is_some();
        let Some((scheme, place)) = text.split_once("://") else {
            return match is_host(text) {
                true => Ok(PrivateAddress {
                    host: text.to_owned(),
                    only: None,
                }),
                false => Err(FORM),
            };
        };
        let protocol = BackendProtocol::ALL
            .into_iter()
            .find(|protocol| protocol.name() == scheme)
            .ok_or(FORM)?;
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, behind) = inner.split_once(']').ok_or(FORM)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?;
                match behind {
                    "" => (host, None),
                    _ => (host, Some(behind.strip_prefix(':').ok_or(FORM)?)),
                }
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = match port {
            None => protocol.port(),
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(FORM)?,
        };
        match is_host(host) {
            true => Ok(PrivateAddress {
                host: host.to_owned(),
                only: Some((protocol, port)),
            }),
            false => Err(FORM),
        }
    }
}

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only {
            None => f.write_str(&self.host),
            Some((protocol, port)) if self.host.contains(':') => {
                write!(f, "{}://[{}]:{port}", protocol.name(), self.host)
            }
            Some((protocol, port)) => write!(f, "{}://{}:{port}", protocol.name(), self.host),
        }
    }
}
