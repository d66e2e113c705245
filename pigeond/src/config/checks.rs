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
        } else if !certificates && listener.service.needs_login() && listener.trusted_networks.is_empty() {
            let message = format!(
                "nobody could log in to {name} here: expected a [[certificate]] section for STARTTLS, or trusted_networks"
            );
            top.mistake(place, message);
        }
    }
    if let Some((address, place)) = status
        && let Some(name) = addresses.get(address)
    {
        top.mistake(place, format!("address: {address} is taken by the listener for {name}"));
    }
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
