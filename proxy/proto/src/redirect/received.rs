//! What a backend is told of a redirected session, and how the two protocols carry it: fields of ID in IMAP, XCLIENT in POP3.
//!
//! It counts only after the node that said it has authenticated; until then it is words of a stranger. Everything is bounded,
//! and what is not understood is left alone: other redirectors say other things.

use super::FORWARDED_BYTES_MAX;
use crate::imap::command::IdParameters;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};

/// A redirected session, as far as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The session's name on the node where it began.
    pub session: Option<String>,
    /// The client, when address and port were said.
    pub client: Option<SocketAddr>,
    /// Where the client connected to.
    pub connected: Option<SocketAddr>,
    /// How many redirects more are allowed.
    pub hops_left: Option<u8>,
    /// What was forwarded of the record.
    pub forwarded: Vec<(String, String)>,
}

/// Most bytes of a session's name; ours have 16.
const SESSION_BYTES_MAX: usize = 64;

impl Received {
    /// From the fields of an ID command.
    pub fn of_id(parameters: &IdParameters) -> Received {
        let mut received = Received::default();
        let (mut client, mut connected) = (Place::default(), Place::default());
        for (name, value) in parameters {
            let Some(value) = value else { continue };
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "x-session-id" => received.session = session(value),
                "x-originating-ip" => client.ip = value.parse().ok(),
                "x-originating-port" => client.port = value.parse().ok(),
                "x-connected-ip" => connected.ip = value.parse().ok(),
                "x-connected-port" => connected.port = value.parse().ok(),
                "x-proxy-ttl" => received.hops_left = value.parse().ok(),
                _ => {
                    if let Some(name) = name.strip_prefix("x-forward-") {
                        received.forward(name, value);
                    }
                }
            }
        }
        received.client = client.address();
        received.connected = connected.address();
        received
    }

    /// From the arguments of an XCLIENT command. `None`: they are not of the form NAME=value.
    pub fn of_xclient(arguments: &[u8]) -> Option<Received> {
        let text = std::str::from_utf8(arguments).ok()?;
        let mut received = Received::default();
        let (mut client, mut connected) = (Place::default(), Place::default());
        for argument in text.split(' ').filter(|argument| !argument.is_empty()) {
            let (name, value) = argument.split_once('=')?;
            match name.to_ascii_uppercase().as_str() {
                "SESSION" => received.session = session(value),
                "ADDR" => client.ip = value.parse().ok(),
                "PORT" => client.port = value.parse().ok(),
                "DESTADDR" => connected.ip = value.parse().ok(),
                "DESTPORT" => connected.port = value.parse().ok(),
                "TTL" => received.hops_left = value.parse().ok(),
                "FORWARD" => {
                    let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
                    for pair in decoded.split('\t').filter(|pair| !pair.is_empty()) {
                        let (name, value) = pair.split_once('=')?;
                        received.forward(name, value);
                    }
                }
                _ => {}
            }
        }
        received.client = client.address();
        received.connected = connected.address();
        Some(received)
    }

    /// Keeps a pair while there is room: what is cut off is missed where it is needed.
    fn forward(&mut self, name: &str, value: &str) {
        let held: usize = self
            .forwarded
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if held + name.len() + value.len() <= FORWARDED_BYTES_MAX {
            self.forwarded.push((name.to_owned(), value.to_owned()));
        }
    }
}

#[derive(Default)]
struct Place {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

impl Place {
    fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip?, self.port?))
    }
}

/// It is written to logs.
fn session(text: &str) -> Option<String> {
    let fits = (1..=SESSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(pairs: &[(&str, &str)]) -> Received {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        Received::of_id(&pairs.iter().map(pair).collect())
    }

    #[test]
    fn what_our_own_redirector_says() {
        let expected = Received {
            session: Some("7".to_owned()),
            client: Some("203.0.113.7:51234".parse().unwrap()),
            connected: Some("192.0.2.10:993".parse().unwrap()),
            hops_left: Some(4),
            forwarded: vec![("quota".to_owned(), "5".to_owned())],
        };
        let received = id(&[
            ("x-session-id", "7"),
            ("X-Originating-IP", "203.0.113.7"),
            ("x-originating-port", "51234"),
            ("x-connected-ip", "192.0.2.10"),
            ("x-connected-port", "993"),
            ("x-proxy-ttl", "4"),
            ("x-forward-quota", "5"),
            ("name", "somebody"),
        ]);
        assert_eq!(received, expected);
        let line =
            b"ADDR=203.0.113.7 PORT=51234 DESTADDR=192.0.2.10 DESTPORT=993 SESSION=7 TTL=4 FORWARD=cXVvdGE9NQ== NEW=x";
        assert_eq!(Received::of_xclient(line), Some(expected));
    }

    #[test]
    fn what_is_not_understood_is_left_alone_or_refused() {
        let received = id(&[
            ("x-session-id", "two words"),
            ("x-originating-ip", "nowhere"),
            ("x-originating-port", "51234"),
            ("x-proxy-ttl", "1000"),
            ("x-forward-long", &"v".repeat(FORWARDED_BYTES_MAX)),
        ]);
        assert_eq!(received, Received::default());
        for line in [&b"ADDR"[..], b"FORWARD=!", b"FORWARD=cXVvdGE=", b"\xff=\xff"] {
            assert_eq!(Received::of_xclient(line), None, "{line:?}");
        }
        assert_eq!(Received::of_xclient(b""), Some(Received::default()));
    }
}
