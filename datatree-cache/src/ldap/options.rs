//! How a directory is reached, and what of it is followed.

use crate::schema::AttributeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A server: `ldap://host[:389]`, `ldaps://host[:636]` or `ldapi://%2Fpath%2Fof%2Fsocket`.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUri {
    text: String,
    pub(super) place: Place,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// What is wrong with a URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriError(pub String);

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UriError {}

impl ServerUri {
    /// Whether what is said to it stays between the two without StartTLS: a socket, LDAPS, or loopback.
    pub fn is_private(&self) -> bool {
        match &self.place {
            Place::Unix(_) => true,
            Place::Tcp { tls: true, .. } => true,
            Place::Tcp { host, .. } => {
                let address = host.parse::<std::net::IpAddr>();
                host == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for ServerUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<ServerUri, UriError> {
        let wrong = || {
            UriError(format!(
                "expected ldap://host[:port], ldaps://host[:port] or ldapi://%2Fpath, found {text:?}"
            ))
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let place = match scheme.to_ascii_lowercase().as_str() {
            "ldapi" => Place::Unix(PathBuf::from(percent_decoded(rest).ok_or_else(wrong)?)),
            "ldap" => tcp(rest, false).ok_or_else(wrong)?,
            "ldaps" => tcp(rest, true).ok_or_else(wrong)?,
            _ => return Err(wrong()),
        };
        Ok(ServerUri {
            text: text.to_owned(),
            place,
        })
    }
}

fn tcp(rest: &str, tls: bool) -> Option<Place> {
    let standard = if tls { 636 } else { 389 };
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, behind) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, behind.strip_prefix(':').or(behind.is_empty().then_some(""))?)
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    let port = if port.is_empty() { standard } else { port.parse().ok()? };
    Some(Place::Tcp {
        host: host.to_owned(),
        port,
        tls,
    })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|path| path.starts_with('/'))
}

/// As whom the node reads the directory.
#[derive(Clone, PartialEq, Eq)]
pub enum Bind {
    /// Nobody.
    Anonymous,
    /// A DN and its password (RFC 4513, 5.1.3). The password is not empty: that would be an unauthenticated bind.
    Simple {
        /// Distinguished name.
        dn: String,
        /// Password.
        password: String,
    },
    /// SASL EXTERNAL: who the socket or the client certificate says.
    External,
}

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Anonymous => f.write_str("anonymous"),
            Bind::Simple { dn, .. } => f.write_str(dn),
            Bind::External => f.write_str("EXTERNAL"),
        }
    }
}

/// TLS towards the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// `ldap://` servers: StartTLS before anything else (RFC 4511, 4.14), and no word without it.
    pub start: bool,
    /// Authorities that the server's certificate has to come from, in PEM. Without, those of the system.
    pub authorities: Option<PathBuf>,
}

/// See [`super::Directory`].
#[derive(Clone, Debug)]
pub struct LdapOptions {
    /// The servers, the preferred one first. At least one.
    pub servers: Vec<ServerUri>,
    /// As whom.
    pub bind: Bind,
    /// TLS.
    pub tls: TlsOptions,
    /// DN below which everything is read.
    pub base: String,
    /// What is read there (RFC 4515).
    pub filter: String,
    /// Which attributes hold what.
    pub attributes: AttributeMap,
    /// Where the copy is kept between starts. A directory, made when it is not there; one node writes it.
    pub copy: Option<PathBuf>,
    /// How long opening a connection, a bind, or the answer to a probe may take.
    pub answer_timeout: Duration,
    /// A connection that said nothing for so long is asked whether it is alive.
    pub probe_after: Duration,
    /// The first pause after a failure; it doubles with each further one of the same server, less up to a half by chance.
    pub pause: Duration,
    /// The longest pause before a server that does not answer is tried again. With [`LdapOptions::answer_timeout`] it
    /// bounds how long a server is back before it is noticed.
    pub pause_max: Duration,
    /// The longest pause before one that answered with a refusal is: a wrong password, an unknown authority, a wrong base.
    pub pause_refused_max: Duration,
    /// How often the directory is asked for what it may have dropped.
    pub repair_every: Duration,
    /// After so long without a current copy an alarm is raised, once until it is current again.
    pub alarm_after: Duration,
    /// How often the copy on disk is made to outlast a power cut, and one that could not be written is tried again.
    pub copy_sync_every: Duration,
    /// Entries of one refresh at most: a server that sends more is not believed.
    pub entries_max: usize,
}

impl LdapOptions {
    /// With everything but the servers and the base at its default.
    pub fn new(servers: Vec<ServerUri>, base: impl Into<String>) -> LdapOptions {
        LdapOptions {
            servers,
            bind: Bind::Anonymous,
            tls: TlsOptions::default(),
            base: base.into(),
            filter: "(objectClass=*)".to_owned(),
            attributes: AttributeMap::default(),
            copy: None,
            answer_timeout: Duration::from_secs(3),
            probe_after: Duration::from_secs(5),
            pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(1),
            pause_refused_max: Duration::from_secs(30),
            repair_every: Duration::from_secs(300),
            alarm_after: Duration::from_secs(300),
            copy_sync_every: Duration::from_secs(60),
            entries_max: 10_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let place = |text: &str| text.parse::<ServerUri>().map(|uri| uri.place);
        let tcp = |host: &str, port, tls| {
            Ok(Place::Tcp {
                host: host.to_owned(),
                port,
                tls,
            })
        };
        for (text, expected) in [
            ("ldap://ldap.example.org", tcp("ldap.example.org", 389, false)),
            ("ldap://127.0.0.1:3389/", tcp("127.0.0.1", 3389, false)),
            ("LDAPS://a", tcp("a", 636, true)),
            ("ldaps://[::1]:7", tcp("::1", 7, true)),
            ("ldap://[::1]", tcp("::1", 389, false)),
            ("ldapi://%2Frun%2Fldapi", Ok(Place::Unix("/run/ldapi".into()))),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
        for text in [
            "",
            "ldap",
            "http://a",
            "ldap://",
            "ldap://a:b",
            "ldap://a:99999",
            "ldap://[::1",
            "ldap://[x]",
            "ldap://a b",
            "ldapi://run",
            "ldapi://%2",
            "ldapi://%zz",
            "ldap://a/dc=x",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
