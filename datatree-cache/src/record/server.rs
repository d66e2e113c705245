//! A node, as the server_map has it: where it is, what it is there for, whether it is in use.

use super::{AccountUuid, BackendProtocol, PrivateAddress};
use std::fmt;

/// What a node is there for (pigeonRole).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes mail from the Internet, by SMTP and LMTP.
    Mx,
    /// Takes mail from users.
    Submission,
    /// Takes POP3 and IMAP sessions of users.
    Proxy,
    /// Keeps mail: it can own accounts.
    Store,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Mx, Role::Submission, Role::Proxy, Role::Store];

    /// The value of pigeonRole that names it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Mx => "mx",
            Role::Submission => "submission",
            Role::Proxy => "proxy",
            Role::Store => "store",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoleSet(u8);

impl RoleSet {
    /// Every role: what an entry without pigeonRole has.
    pub const ALL: RoleSet = RoleSet(0b1111);
    /// No role.
    pub const NONE: RoleSet = RoleSet(0);

    /// Whether `role` is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The set with `role` in it.
    #[must_use]
    pub const fn with(self, role: Role) -> RoleSet {
        RoleSet(self.0 | role.bit())
    }

    /// Those in it.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Role::name)).finish()
    }
}

/// Whether a node is in use (pigeonNodeState).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// It is.
    #[default]
    Up,
    /// It goes on with what it has; balancers send it nothing new, and it gets no new accounts.
    Draining,
    /// Nobody uses it: other nodes do not try it, and it turns clients away.
    Down,
}

impl NodeState {
    /// All of them.
    pub const ALL: [NodeState; 3] = [NodeState::Up, NodeState::Draining, NodeState::Down];

    /// The value of pigeonNodeState that names it.
    pub const fn name(self) -> &'static str {
        match self {
            NodeState::Up => "up",
            NodeState::Draining => "draining",
            NodeState::Down => "down",
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
    pub(crate) roles: RoleSet,
    pub(crate) state: NodeState,
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
    /// Whether it is there for that.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(role)
    }
    /// What it is there for.
    pub fn roles(&self) -> RoleSet {
        self.roles
    }
    /// Whether it is in use.
    pub fn state(&self) -> NodeState {
        self.state
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
            roles: RoleSet::ALL,
            state: NodeState::Up,
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
        assert_eq!(
            of(&["status://10.0.0.2:3080", "10.0.0.2"], BackendProtocol::Status),
            ["10.0.0.2 3080", "10.0.0.2 2080"]
        );
        for text in [
            "imap://n2.example.org:3143",
            "pop3://[fd00::2]:3110",
            "status://[fd00::2]:2080",
            "10.0.0.2",
        ] {
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
