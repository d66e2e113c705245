//! Sets of networks in CIDR notation (RFC 4632, RFC 4291 section 2.3): who is trusted, who may send a PROXY header.
//!
//! IPv4 addresses mapped into IPv6 (`::ffff:192.0.2.1`) count as IPv4, on both sides. No names, no look-ups.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// What is wrong with a written network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    /// What was expected, in one sentence.
    pub message: String,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NetworkError {}

impl Network {
    /// All addresses that share the first `prefix_bits` bits with `address`; bits beyond must be zero.
    pub fn new(address: IpAddr, prefix_bits: u8) -> Result<Network, NetworkError> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if prefix_bits > width {
            return Err(NetworkError {
                message: format!("expected a prefix of at most {width} bits, not {prefix_bits}"),
            });
        }
        let network = Network { address, prefix_bits };
        if network.masked(address) != address {
            return Err(NetworkError {
                message: format!(
                    "expected the network {}/{prefix_bits}: bits behind the prefix are set",
                    network.masked(address)
                ),
            });
        }
        Ok(network)
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.masked(address) == self.address
    }

    fn masked(&self, address: IpAddr) -> IpAddr {
        let cut = |bits: u32| bits.saturating_sub(u32::from(self.prefix_bits));
        match address {
            IpAddr::V4(address) => {
                Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(cut(32)).unwrap_or(0)).into()
            }
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(cut(128)).unwrap_or(0)).into()
            }
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `192.0.2.0/24`, `2001:db8::/32`, or a single address.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let expected = || NetworkError {
            message: format!("expected a network like 192.0.2.0/24 or 2001:db8::/32, not {text:?}"),
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => width,
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| expected())?
            }
            Some(_) => return Err(expected()),
        };
        // A mapped network is the IPv4 network: what `contains` compares with is canonical.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if prefix_bits >= 96 => {
                Network::new(canonical, prefix_bits - 96)
            }
            _ => Network::new(address, prefix_bits),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Any number of networks; empty contains nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet {
    networks: Box<[Network]>,
}

impl NetworkSet {
    /// Of these.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> NetworkSet {
        NetworkSet {
            networks: networks.into_iter().collect(),
        }
    }

    /// 127.0.0.0/8 and ::1.
    pub fn loopback() -> NetworkSet {
        NetworkSet::new([
            Network {
                address: Ipv4Addr::new(127, 0, 0, 0).into(),
                prefix_bits: 8,
            },
            Network {
                address: Ipv6Addr::LOCALHOST.into(),
                prefix_bits: 128,
            },
        ])
    }

    /// Every address.
    pub fn everything() -> NetworkSet {
        let of = |address: IpAddr| Network {
            address,
            prefix_bits: 0,
        };
        NetworkSet::new([of(Ipv4Addr::UNSPECIFIED.into()), of(Ipv6Addr::UNSPECIFIED.into())])
    }

    /// Whether one of them contains `address`. Linear: meant for the few that a person writes into a configuration.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The networks, as they were given.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> NetworkSet {
        NetworkSet::new(networks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_what_shares_the_prefix() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.0/25", "::ffff:192.0.2.127", true),
            ("::ffff:192.0.2.0/121", "192.0.2.127", true),
            ("::ffff:192.0.2.0/121", "192.0.2.128", false),
            ("2001:db8::1", "2001:db8::1", true),
        ];
        for (network, address, expected) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in [
            "",
            "192.0.2.0/33",
            "192.0.2.1/24",
            "192.0.2/24",
            "2001:db8::/129",
            "::1/64",
            "a/8",
            "192.0.2.0/+8",
            "192.0.2.0/",
            "/8",
            "10.0.0.0/0008",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        assert!(
            "192.0.2.1/24"
                .parse::<Network>()
                .unwrap_err()
                .message
                .contains("192.0.2.0/24")
        );
    }

    #[test]
    fn loopback_is_loopback() {
        let set = NetworkSet::loopback();
        for (address, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::2", false),
            ("128.0.0.1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!NetworkSet::default().contains("127.0.0.1".parse().unwrap()));
    }
}
