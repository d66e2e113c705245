//! Names of records that are in the directory but could not be taken. Somebody may have them, so nobody is told that
//! they are unknown.

use super::Snapshot;
use crate::entry::Entry;
use crate::schema::AttributeMap;
use crate::schema::convert;
use std::collections::HashSet;
use std::sync::Arc;

/// Addresses, login names and domains, in canonical form.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    names: HashSet<Box<[u8]>>,
    /// There are more such records than are kept: any name may be one of theirs.
    any: bool,
}

impl Pending {
    /// Of these refused entries; `more`: there are others that are not kept.
    pub(crate) fn of<'a>(entries: impl Iterator<Item = &'a Entry<'static>>, map: &AttributeMap, more: bool) -> Pending {
        let names = entries.flat_map(|entry| convert::names(entry, map));
        Pending {
            names: names.map(|name| name.into_bytes().into_boxed_slice()).collect(),
            any: more,
        }
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.any || (!self.names.is_empty() && self.names.contains(name))
    }
}

impl Snapshot {
    /// With other names of records that could not be taken.
    pub(crate) fn set_pending(&mut self, pending: Arc<Pending>) {
        self.pending = pending;
    }
}
