//! Records that describe the cluster itself: nodes, modules, volumes.

use super::AccountUuid;
use std::fmt;
use std::str::FromStr;

/// What nodes speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// For redirected sessions.
    Imap,
    /// For redirected sessions.
    Pop3,
    /// For messages.
    Lmtp,
}

impl BackendProtocol {
    /// Its port, where an address says none. Ours: no standard has ports for backends.
    pub const fn port(self) -> u16 {
        match self {
            BackendProtocol::Imap => 2143,
            BackendProtocol::Pop3 => 2110,
            BackendProtocol::Lmtp => 2024,
        }
    }

    /// As the scheme of an address.
    pub const fn name(self) -> &'static str {
        match self {
            BackendProtocol::Imap => "imap",
            BackendProtocol::Pop3 => "pop3",
            BackendProtocol::Lmtp => "lmtp",
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
        const FORM: &str = "a host name or an IP address, or imap://, pop3:// or lmtp:// with a host and a port";
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
        let protocols = [BackendProtocol::Imap, BackendProtocol::Pop3, BackendProtocol::Lmtp];
        let protocol = protocols
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

/// An entry of the server_map (pigeonServer): a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) name: String,
    pub(crate) public_addresses: Vec<String>,
    pub(crate) private_addresses: Vec<PrivateAddress>,
    pub(crate) keys: Vec<String>,
    pub(crate) weight: u32,
}

impl Server {
    /// entryUUID.
    pub fn id(&self) -> AccountUuid {
        self.id
    }
    /// The generation in which this record last changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Distinguished name of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }
    /// The node's id, which mailHost names.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Addresses that clients reach.
    pub fn public_addresses(&self) -> impl Iterator<Item = &str> {
        self.public_addresses.iter().map(String::as_str)
    }
    /// Addresses on the private network.
    pub fn private_addresses(&self) -> impl Iterator<Item = &PrivateAddress> {
        self.private_addresses.iter()
    }
    /// Where its backends for a protocol are: host and port, the preferred one first.
    pub fn backends(&self, protocol: BackendProtocol) -> impl Iterator<Item = (&str, u16)> {
        self.private_addresses
            .iter()
            .filter_map(move |address| match address.only {
                None => Some((address.host.as_str(), protocol.port())),
                Some((only, port)) => (only == protocol).then_some((address.host.as_str(), port)),
            })
    }
    /// Verifiers of the node's key (SCRAM, RFC 5803 form).
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }
    /// Its share of new accounts against the other nodes' shares.
    pub fn weight(&self) -> u32 {
        self.weight
    }
}

/// An entry of the service_map (pigeonService): where a module runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleService {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) name: String,
    pub(crate) locations: Vec<String>,
}

impl ModuleService {
    /// entryUUID.
    pub fn id(&self) -> AccountUuid {
        self.id
    }
    /// The generation in which this record last changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Distinguished name of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }
    /// The module's name (mailAntivirus, mailFilter, mailForward, mailStore, or an own one).
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Where it runs: `here`, a node's id, or `host:port` of an outside server.
    pub fn locations(&self) -> impl Iterator<Item = &str> {
        self.locations.iter().map(String::as_str)
    }
}

/// A volume (pigeonVolume): a directory on one file system, owned by one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub(crate) id: AccountUuid,
    pub(crate) generation: u64,
    pub(crate) dn: String,
    pub(crate) name: String,
    pub(crate) node: Option<String>,
    pub(crate) path: Option<String>,
}

impl Volume {
    /// entryUUID.
    pub fn id(&self) -> AccountUuid {
        self.id
    }
    /// The generation in which this record last changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }
    /// Distinguished name of the entry.
    pub fn dn(&self) -> &str {
        &self.dn
    }
    /// The volume's id, which mailMessageStore names.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The node that owns it.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
    /// Its directory on the owning node, where the node's configuration does not say it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses() {
        let server = |addresses: &[&str]| Server {
            id: AccountUuid::default(),
            generation: 0,
            dn: String::new(),
            name: "n1".to_owned(),
            public_addresses: Vec::new(),
            private_addresses: addresses
                .iter()
                .map(|address| address.parse().expect(address))
                .collect(),
            keys: Vec::new(),
            weight: 1,
        };
        let of = |addresses: &[&str], protocol| {
            let server = server(addresses);
            let backends = server.backends(protocol).map(|(host, port)| format!("{host} {port}"));
            backends.collect::<Vec<_>>()
        };
        assert_eq!(of(&["10.0.0.2"], BackendProtocol::Imap), ["10.0.0.2 2143"]);
        assert_eq!(of(&["fd00::2"], BackendProtocol::Lmtp), ["fd00::2 2024"]);
        let mixed = ["imap://n2.example.org:3143", "pop3://[fd00::2]:3110", "10.0.0.2"];
        assert_eq!(
            of(&mixed, BackendProtocol::Imap),
            ["n2.example.org 3143", "10.0.0.2 2143"]
        );
        assert_eq!(of(&mixed, BackendProtocol::Pop3), ["fd00::2 3110", "10.0.0.2 2110"]);
        assert_eq!(of(&["lmtp://a"], BackendProtocol::Lmtp), ["a 2024"]);
        assert_eq!(of(&["lmtp://a"], BackendProtocol::Imap), [""; 0]);
        for text in ["imap://n2.example.org:3143", "pop3://[fd00::2]:3110", "10.0.0.2"] {
            assert_eq!(text.parse::<PrivateAddress>().expect(text).to_string(), text);
        }
        for text in [
            "",
            "a b",
            "10.0.0.2:24",
            "imaps://a",
            "imap://",
            "imap://a:0",
            "imap://a:x",
            "imap://[a]",
            "imap://[::1]x",
        ] {
            assert!(text.parse::<PrivateAddress>().is_err(), "{text}");
        }
    }
}
