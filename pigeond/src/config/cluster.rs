//! The node among others.

use super::checks::is_private;
use super::files::Written;
use super::listener::{self, Listener, Service, written};
use super::mistake::position;
use super::section::{Place, Section, converted, list, parsed, path_in};
use pigeon_proto::network::NetworkSet;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The node as one of several. Without this section it is alone: whatever accounts say of nodes, their mail is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The id of this node: the `cn` of its entry (`pigeonServer`) in control data, which `mailHost` of accounts names.
    /// Required in this section.
    pub node: String,
    /// A file with this node's key, one line, with which it logs in at other nodes; its verifier is `pigeonKey` in the node's
    /// entry. To be readable by the node alone. Required in this section.
    pub key_file: PathBuf,
    /// The address of this node on the private network, as in `"10.0.0.1"`. With it, backends for IMAP, POP3 and mail listen
    /// there at ports 2143, 2110 and 2024, the same as a `[[listener]]` of each would, and so does the status port of a
    /// `[status]` section without an address. Not set: only what `[[listener]]` sections say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_address: Option<IpAddr>,
    /// The networks from which nodes may redirect to the backends at `private_address`, as in `["10.0.0.0/24"]`; from
    /// elsewhere connections are closed at once. Required with it.
    #[serde(serialize_with = "written", skip_serializing_if = "NetworkSet::is_empty")]
    pub redirectors: NetworkSet,
}

impl Cluster {
    pub(super) fn read(
        mut section: Section<'_, '_, '_>,
        directory: &Path,
        content: &str,
        written: &mut Written,
    ) -> Option<Placed> {
        let node = section.required("node", "\"n1\"", converted(check_node));
        let key_file = section.required("key_file", "\"cluster-key\"", path_in(directory));
        let private_address = section.located("private_address", converted(check_private_address));
        let redirectors = section.located("redirectors", list(parsed));
        match (&private_address, &redirectors) {
            (Some((_, place)), None) if !section.has("redirectors") => section.mistake(
                place,
                "private_address: expected redirectors beside it, the networks of the other nodes",
            ),
            (None, Some((_, place))) if !section.has("private_address") => section.mistake(
                place,
                "redirectors: expected private_address beside it, the address of the backends",
            ),
            _ => {}
        }
        section.finish();
        let (key_file, place) = key_file?;
        written.cluster_key = position(content, place.start);
        let (private_address, private_place) = private_address.unzip();
        Some(Placed {
            cluster: Cluster {
                node: node?.0,
                key_file,
                private_address,
                redirectors: redirectors
                    .map(|(networks, _)| networks)
                    .unwrap_or_default()
                    .into_iter()
                    .collect(),
            },
            private_place,
        })
    }

    /// The listeners that `private_address` makes.
    pub(super) fn backends(&self) -> impl Iterator<Item = Listener> {
        self.private_address.into_iter().flat_map(|address| {
            BACKENDS.map(|service| Listener {
                address: SocketAddr::new(address, service.standard_port()),
                service,
                proxy_protocol_from: NetworkSet::default(),
                redirectors: self.redirectors.clone(),
                trusted_networks: NetworkSet::default(),
            })
        })
    }
}

/// The section, and where its private address is written.
pub(super) struct Placed {
    pub(super) cluster: Cluster,
    pub(super) private_place: Option<Place>,
}

impl Placed {
    /// The listeners of the private address, placed there. A service that has a listener of its own is a mistake there.
    pub(super) fn backends(&self, top: &Section<'_, '_, '_>, listeners: &[listener::Placed]) -> Vec<listener::Placed> {
        let Some(place) = &self.private_place else {
            return Vec::new();
        };
        let mut backends = Vec::new();
        for backend in self.cluster.backends() {
            let explicit = listeners
                .iter()
                .find(|(listener, _)| listener.service == backend.service);
            match explicit {
                Some((listener, place)) => top.mistake(
                    place,
                    format!(
                        "{} is at private_address of [cluster] already: expected one of the two",
                        listener.service
                    ),
                ),
                None => backends.push((backend, place.clone())),
            }
        }
        backends
    }
}

/// What other nodes find at a private address.
const BACKENDS: [Service; 3] = [Service::BackendImap, Service::BackendPop3, Service::BackendLmtp];

/// An address that other nodes reach, and nobody else.
fn check_private_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Err(format!(
            "expected an address of the private network, found {address}, which is every one"
        )),
        Ok(address) if !is_private(address) => Err(format!(
            "expected an address of the private network, found {address}, which anybody may reach"
        )),
        Ok(address) => Ok(address),
        Err(_) => Err(format!("expected an IP address such as \"10.0.0.1\", found \"{text}\"")),
    }
}

/// Most bytes of a key, and least: one that can be guessed lets everybody read all mail.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=1024;

/// Reads a node's key: the file's first line. Blocking.
pub fn read_key(file: &Path) -> Result<Vec<u8>, String> {
    let said = |what: &str| format!("{}: {what}", file.display());
    let content = super::files::read_bounded(file, 4096).map_err(|error| said(&error.to_string()))?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let key = line.strip_suffix(b"\r").unwrap_or(line);
    if !KEY_BYTES.contains(&key.len()) {
        return Err(said(&format!(
            "expected a key of {} to {} bytes in one line, found {} bytes",
            KEY_BYTES.start(),
            KEY_BYTES.end(),
            key.len()
        )));
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(said("expected a key of printable ASCII characters without spaces"));
    }
    Ok(key.to_vec())
}

/// As control data has ids.
fn check_node(text: &str) -> Result<String, String> {
    let fits = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected the id of a node, of 1 to 64 letters, digits, \"-\", \"_\" and \".\", found \"{text}\""
        ))
    }
}
