//! The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of haproxy): who the client of a balancer is.
//!
//! `parse` takes what was received so far from the connection's first byte and says how much of it is the header. It is
//! bounded, keeps nothing, and skips the type-length-values of version 2. Whether a peer may send a header at all is the
//! caller's decision.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, in bytes. Version 1 has at most 107; for version 2, 16 bytes, the longest address block
/// (216, UNIX) and as many type-length-values (TLS names, certificates' subjects) as fit: a guess.
pub const HEADER_BYTES_MAX: usize = 4096;

const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is the balancer's own (a health check) or its origin is unknown: the socket's addresses count.
    Local,
    /// A TCP connection of this client to this address of the balancer.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// What the client connected to.
        destination: SocketAddr,
    },
    /// A connection over a UNIX socket of the balancer's machine: there is no address.
    Unix,
}

/// Why what was received is no header; all of them are reasons to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The first bytes belong to no version of the protocol.
    NotAHeader,
    /// It begins as a header, and then breaks the grammar.
    Malformed,
    /// Over `HEADER_BYTES_MAX`, or over 107 bytes for version 1.
    TooLong,
    /// A version, command, address family or transport that is not known here (UDP, for one).
    Unsupported,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyError::NotAHeader => "no PROXY header",
            ProxyError::Malformed => "malformed PROXY header",
            ProxyError::TooLong => "PROXY header too long",
            ProxyError::Unsupported => "unsupported PROXY version, command or address family",
        })
    }
}

impl std::error::Error for ProxyError {}

/// The header at the front of `received` and its length in bytes; `None` while it is not complete.
pub fn parse(received: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    if starts_alike(received, V2_SIGNATURE) {
        return version_2(received);
    }
    if starts_alike(received, b"PROXY ") {
        return version_1(received);
    }
    Err(ProxyError::NotAHeader)
}

/// Whether the shorter of the two is the other's beginning.
fn starts_alike(received: &[u8], pattern: &[u8]) -> bool {
    received.iter().zip(pattern).all(|(left, right)| left == right)
}

fn version_1(received: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let window = &received[..received.len().min(V1_BYTES_MAX)];
    let Some(line_feed) = memchr::memchr(b'\n', window) else {
        return if window.len() == V1_BYTES_MAX {
            Err(ProxyError::TooLong)
        } else {
            Ok(None)
        };
    };
    let line = window[..line_feed].strip_suffix(b"\r").ok_or(ProxyError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let header = match words.next() {
        // What follows UNKNOWN must be ignored up to the line's end.
        Some("UNKNOWN") => Header::Local,
        Some(family @ ("TCP4" | "TCP6")) => {
            let (source, destination) = (words.next(), words.next());
            let (source_port, destination_port) = (words.next(), words.next());
            if words.next().is_some() {
                return Err(ProxyError::Malformed);
            }
            let endpoint = |address: Option<&str>, port: Option<&str>| -> Result<SocketAddr, ProxyError> {
                let address = address.ok_or(ProxyError::Malformed)?;
                let address: IpAddr = match family {
                    "TCP4" => address.parse::<Ipv4Addr>().map_err(|_| ProxyError::Malformed)?.into(),
                    _ => address.parse::<Ipv6Addr>().map_err(|_| ProxyError::Malformed)?.into(),
                };
                let port = port.filter(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
                let port = port.and_then(|port| port.parse().ok()).ok_or(ProxyError::Malformed)?;
                Ok(SocketAddr::new(address.to_canonical(), port))
            };
            Header::Tcp {
                source: endpoint(source, source_port)?,
                destination: endpoint(destination, destination_port)?,
            }
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some((header, line_feed + 1)))
}

fn version_2(received: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some((fixed, rest)) = received.split_at_checked(V2_FIXED_BYTES) else {
        // The version is refused as soon as it is there.
        return match received.get(V2_SIGNATURE.len()) {
            Some(byte) if byte >> 4 != 2 => Err(ProxyError::Unsupported),
            _ => Ok(None),
        };
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0x0f);
    if version != 2 || command > 1 {
        return Err(ProxyError::Unsupported);
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if V2_FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(None);
    };
    let header = match (command, fixed[13]) {
        // LOCAL: the address block must be ignored, whatever it says. UNSPEC: the receiver uses the socket's addresses.
        (0, _) | (_, 0x00) => Header::Local,
        (_, 0x11) => {
            let (source, rest) = split_array::<4>(block)?;
            let (destination, rest) = split_array::<4>(rest)?;
            let (ports, _) = split_array::<4>(rest)?;
            tcp(Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into(), ports)
        }
        (_, 0x21) => {
            let (source, rest) = split_array::<16>(block)?;
            let (destination, rest) = split_array::<16>(rest)?;
            let (ports, _) = split_array::<4>(rest)?;
            tcp(Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into(), ports)
        }
        (_, 0x31) => {
            split_array::<216>(block)?;
            Header::Unix
        }
        _ => return Err(ProxyError::Unsupported),
    };
    Ok(Some((header, V2_FIXED_BYTES + length)))
}

fn split_array<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), ProxyError> {
    let (array, rest) = bytes.split_first_chunk::<N>().ok_or(ProxyError::Malformed)?;
    Ok((*array, rest))
}

fn tcp(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Header {
    let [source_high, source_low, destination_high, destination_low] = ports;
    Header::Tcp {
        source: SocketAddr::new(source.to_canonical(), u16::from_be_bytes([source_high, source_low])),
        destination: SocketAddr::new(
            destination.to_canonical(),
            u16::from_be_bytes([destination_high, destination_low]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_header(source: &str, destination: &str) -> Header {
        Header::Tcp {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend_from_slice(&[command, family]);
        bytes.extend_from_slice(&u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(block);
        bytes
    }

    /// Whole, followed by other bytes, and at every cut: incomplete until the last byte is there.
    fn check(bytes: &[u8], expected: Header) {
        assert_eq!(parse(bytes), Ok(Some((expected, bytes.len()))));
        let mut followed = bytes.to_vec();
        followed.extend_from_slice(b"EHLO client\r\n");
        assert_eq!(parse(&followed), Ok(Some((expected, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
    }

    #[test]
    fn version_1_headers() {
        check(
            b"PROXY TCP4 203.0.113.7 192.0.2.10 51234 25\r\n",
            tcp_header("203.0.113.7:51234", "192.0.2.10:25"),
        );
        check(
            b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 993\r\n",
            tcp_header("[2001:db8::7]:51234", "[2001:db8::1]:993"),
        );
        check(
            b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n",
            tcp_header("192.0.2.1:1", "192.0.2.2:2"),
        );
        check(b"PROXY UNKNOWN\r\n", Header::Local);
        check(
            b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            Header::Local,
        );
    }

    #[test]
    fn version_2_headers() {
        let ipv4 = [203, 0, 113, 7, 192, 0, 2, 10, 0xc8, 0x22, 0, 25];
        check(&v2(0x21, 0x11, &ipv4), tcp_header("203.0.113.7:51234", "192.0.2.10:25"));
        let mut with_values = ipv4.to_vec();
        with_values.extend_from_slice(&[0x02, 0, 3, b'a', b'b', b'c', 0x20, 0, 1, 0]);
        check(
            &v2(0x21, 0x11, &with_values),
            tcp_header("203.0.113.7:51234", "192.0.2.10:25"),
        );
        let mut ipv6 = vec![0x20, 0x01, 0x0d, 0xb8];
        ipv6.extend_from_slice(&[0; 11]);
        ipv6.push(7);
        ipv6.extend_from_slice(&[0; 15]);
        ipv6.push(1);
        ipv6.extend_from_slice(&[0xc8, 0x22, 3, 0xe1]);
        check(&v2(0x21, 0x21, &ipv6), tcp_header("[2001:db8::7]:51234", "[::1]:993"));
        check(&v2(0x21, 0x31, &[b'/'; 216]), Header::Unix);
        check(&v2(0x20, 0x00, &[]), Header::Local);
        check(&v2(0x20, 0x11, &ipv4), Header::Local);
        check(&v2(0x21, 0x00, b"anything"), Header::Local);
    }

    #[test]
    fn what_is_no_header() {
        let mut version_3 = v2(0x21, 0x00, &[]);
        version_3[12] = 0x31;
        let mut endless = b"PROXY UNKNOWN ".to_vec();
        endless.resize(200, b'x');
        let cases: &[(&[u8], ProxyError)] = &[
            (b"EHLO client\r\n", ProxyError::NotAHeader),
            (b"X", ProxyError::NotAHeader),
            (b"PROXZ", ProxyError::NotAHeader),
            (b"\r\n\r\n\0\r\nQUIX", ProxyError::NotAHeader),
            (b"PROXY TCP4 203.0.113.7 192.0.2.10 51234 25\n", ProxyError::Malformed),
            (b"PROXY TCP4 203.0.113.7 192.0.2.10 51234\r\n", ProxyError::Malformed),
            (
                b"PROXY TCP4 203.0.113.7 192.0.2.10 51234 25 9\r\n",
                ProxyError::Malformed,
            ),
            (b"PROXY TCP4 203.0.113.7 192.0.2.10 65536 25\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 203.0.113.7 192.0.2.10 +1 25\r\n", ProxyError::Malformed),
            (b"PROXY TCP4 2001:db8::7 192.0.2.10 1 25\r\n", ProxyError::Malformed),
            (b"PROXY TCP6 203.0.113.7 2001:db8::1 1 25\r\n", ProxyError::Malformed),
            (b"PROXY TCP4  203.0.113.7 192.0.2.10 1 25\r\n", ProxyError::Malformed),
            (b"PROXY UDP4 203.0.113.7 192.0.2.10 1 25\r\n", ProxyError::Malformed),
            (b"PROXY \xff\r\n", ProxyError::Malformed),
            (&endless, ProxyError::TooLong),
            (&version_3, ProxyError::Unsupported),
            (&version_3[..13], ProxyError::Unsupported),
            (&v2(0x22, 0x11, &[0; 12]), ProxyError::Unsupported),
            (&v2(0x21, 0x12, &[0; 12]), ProxyError::Unsupported),
            (&v2(0x21, 0x11, &[0; 11]), ProxyError::Malformed),
            (&v2(0x21, 0x21, &[0; 35]), ProxyError::Malformed),
            (&v2(0x21, 0x31, &[0; 215]), ProxyError::Malformed),
            (&v2(0x21, 0x11, &[0; 5000]), ProxyError::TooLong),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes), Err(*expected), "{}", bytes.escape_ascii());
        }
    }
}
