//! What must hold between the parts of a configuration.

use super::section::{Place, Section};
use super::{listener, volume};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// A host name: labels of letters, digits and hyphens (RFC 1123 section 2.1), not an address.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label_fits) && text.parse::<IpAddr>().is_err() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!(
            "expected a host name such as \"mail.example.org\", found \"{text}\""
        ))
    }
}

/// An address with a port that clients can know.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(address),
        // Each core would get a port of its own.
        Ok(_) => Err(format!("expected a port from 1 to 65535, found \"{text}\"")),
        Err(_) => Err(format!(
            "expected an address and a port, such as \"192.0.2.1:25\", \"0.0.0.0:25\" or \"[::]:25\", found \"{text}\""
        )),
    }
}

/// Any text but none.
pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("expected a value, found nothing between the quotes".to_owned());
    }
    Ok(text.to_owned())
}

/// No address twice, and certificates where TLS is spoken or a login needs it.
pub(super) fn addresses(
    top: &Section<'_, '_, '_>,
    listeners: &[listener::Placed],
    certificates: bool,
    status: Option<&(SocketAddr, Place)>,
) {
    let mut addresses: HashMap<SocketAddr, &str> = HashMap::new();
    for (listener, place) in listeners {
        let name = listener.service.name();
        if let Some(other) = addresses.insert(listener.address, name) {
            top.mistake(
                place,
                format!(
                    "address: {} is taken by the listener for {other} above",
                    listener.address
                ),
            );
        }
        if !certificates && listener.service.implicit_tls() {
            top.mistake(
                place,
                format!("{name} is spoken over TLS: expected a [[certificate]] section"),
            );
        } else if !certificates
            && listener.service.needs_login()
            && !listener.service.is_backend()
            && listener.trusted_networks.is_empty()
        {
            let message = format!(
                "nobody could log in to {name} here: expected a [[certificate]] section for STARTTLS, or trusted_networks"
            );
            top.mistake(place, message);
        }
    }
    // Of listeners, the one of a single address comes before the one of all; the status port shares with nobody.
    if let Some((address, place)) = status
        && let Some((listener, _)) = listeners
            .iter()
            .find(|(listener, _)| overlap(*address, listener.address))
    {
        let name = listener.service.name();
        top.mistake(
            place,
            format!(
                "address: {address} is taken by the listener for {name} at {}",
                listener.address
            ),
        );
    }
}

/// Backends are for other nodes, and out of everybody else's reach.
pub(super) fn backends(top: &Section<'_, '_, '_>, listeners: &[listener::Placed], in_cluster: bool) {
    for (listener, place) in listeners {
        let (name, address) = (listener.service.name(), listener.address);
        let mistake = match (listener.service.is_backend(), listener.redirectors.is_empty()) {
            (false, true) => continue,
            (false, false) => format!("redirectors are for a backend's listener, not for {name}"),
            (true, _) if !in_cluster => format!("{name} is for other nodes: expected a [cluster] section"),
            (true, true) => format!("{name}: expected redirectors, the networks of the other nodes"),
            (true, false) if address.ip().is_unspecified() => {
                format!("{name}: expected an address of the private network, found {address}, which is every one")
            }
            (true, false) if !is_private(address.ip()) => {
                format!("{name}: expected an address of the private network, found {address}, which anybody may reach")
            }
            (true, false) => continue,
        };
        top.mistake(place, mistake);
    }
}

/// Addresses that the Internet does not route: loopback, RFC 1918, RFC 6598, link-local, unique local (RFC 4193).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Whether the status port at `status` and a listener would take the same connections. `[::]` of the status port takes
/// IPv4 as well; a listener's does not.
fn overlap(status: SocketAddr, listener: SocketAddr) -> bool {
    let (all, same_family) = (status.ip().is_unspecified(), status.is_ipv4() == listener.is_ipv4());
    status.port() == listener.port()
        && (status.ip() == listener.ip()
            || (all && (same_family || status.is_ipv6()))
            || (listener.ip().is_unspecified() && same_family))
}

/// No volume twice.
pub(super) fn volumes(top: &Section<'_, '_, '_>, volumes: &[volume::Placed]) {
    let mut ids = HashMap::new();
    let mut paths = HashMap::new();
    for (volume, (id_place, path_place)) in volumes {
        if let Some(other) = ids.insert(volume.volume_id().0, &volume.id) {
            top.mistake(id_place, format!("id: the volume \"{other}\" above is the same"));
        }
        if let Some(other) = paths.insert(&volume.path, &volume.id) {
            top.mistake(path_place, format!("path: the volume \"{other}\" above has the same"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_port_shares_with_no_listener() {
        for (status, listener, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", false),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
        ] {
            let address = |text: &str| text.parse().expect("the table holds addresses");
            assert_eq!(
                overlap(address(status), address(listener)),
                expected,
                "{status} {listener}"
            );
        }
    }

    #[test]
    fn private_addresses_are_told_from_others() {
        for address in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.2",
            "100.64.0.1",
            "169.254.1.1",
            "fd00::1",
            "::1",
            "fe80::1",
        ] {
            assert!(is_private(address.parse().expect(address)), "{address}");
        }
        for address in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "0.0.0.0",
        ] {
            assert!(!is_private(address.parse().expect(address)), "{address}");
        }
    }

    #[test]
    fn host_names_are_told_from_what_is_none() {
        for name in [
            "mail.example.org",
            "localhost",
            "MX1.Example.ORG",
            "a-b.c",
            "1.example.org",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(host_name(name), Ok(name.to_ascii_lowercase()));
        }
        let long = format!("{}.org", "a".repeat(64));
        let longer = "a.".repeat(130);
        for name in [
            "",
            ".",
            "mail..org",
            "mail.example.org.",
            "-a.org",
            "a-.org",
            "a_b.org",
            "bücher.example",
            "192.0.2.1",
            "a b",
            &long,
            &longer,
        ] {
            assert!(host_name(name).is_err(), "{name}");
        }
    }
}
