//! The volumes that this core owns, by their index in the node's `VolumeTable`. A registry of the thread, because work
//! that comes from another core carries an index, never a volume: volumes are not `Send`.

use pigeon_store::Volume;
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static VOLUMES: RefCell<BTreeMap<usize, Volume>> = const { RefCell::new(BTreeMap::new()) };
}

/// Registers an open volume of this core.
pub fn add_volume(index: usize, volume: Volume) {
    VOLUMES.with_borrow_mut(|volumes| volumes.insert(index, volume));
}

/// The volume with this index, when this core owns it.
pub fn volume(index: usize) -> Option<Volume> {
    VOLUMES.with_borrow(|volumes| volumes.get(&index).cloned())
}

/// All volumes of this core with their indices.
pub fn own_volumes() -> Vec<(usize, Volume)> {
    VOLUMES.with_borrow(|volumes| volumes.iter().map(|(index, volume)| (*index, volume.clone())).collect())
}

/// Takes all volumes out, to close them: work that comes later finds none and fails as temporary.
pub fn take_volumes() -> Vec<(usize, Volume)> {
    VOLUMES.with_borrow_mut(std::mem::take).into_iter().collect()
}
