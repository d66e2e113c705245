//! Records that describe where modules run, and volumes.

use super::AccountUuid;

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
