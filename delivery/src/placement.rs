//! Where an account's mail lives on this node: the table of volumes and their cores, and the rule that picks one.
//!
//! Invariant: an account that has mail in a volume of this node is never placed in another one unless its record names
//! it, whatever volumes are added, reordered or out of reach: while a volume is not open, an account that nothing ties to
//! an open one may have its mail there, and has to wait.

use crate::queue::QUEUE_ACCOUNT;
use pigeon_engine::CoreId;
use std::collections::HashMap;

/// One volume of this node and the core that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSeat {
    /// Its id in configuration and control data.
    pub name: String,
    /// The core that has it open.
    pub core: CoreId,
}

/// A volume chosen for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index in the table.
    pub volume: usize,
    /// Its owner.
    pub core: CoreId,
}

/// Why no volume could be chosen. The sender gets a temporary failure: the record is wrong, or the volume is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacementError {
    /// The record names a volume that this node does not have.
    UnknownVolume(String),
    /// The volume is not open, or may be the one that is not open.
    NotOpen(String),
    /// The node has no volume.
    NoVolume,
    /// The id is the queue's own account.
    Reserved,
}

impl std::fmt::Display for PlacementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownVolume(name) => {
                write!(f, "the record names the volume {name:?}, which this node does not have")
            }
            Self::NotOpen(name) => write!(f, "its mail may be in the volume {name:?}, which is not open"),
            Self::NoVolume => f.write_str("this node has no volume"),
            Self::Reserved => f.write_str("its entryUUID is reserved for the queue"),
        }
    }
}

/// All volumes of the node. Built once when they have been opened; shared by the cores.
#[derive(Clone, Debug, Default)]
pub struct VolumeTable {
    seats: Vec<VolumeSeat>,
    /// The first volume that is not open.
    missing: Option<usize>,
    /// Accounts with mail in a volume that the hash would not choose; while a volume is missing, all with mail in the others.
    settled: HashMap<[u8; 16], usize>,
}

impl VolumeTable {
    /// `accounts` gives, volume by volume, the accounts that already have mail there; `None` for one that is not open.
    pub fn new(seats: Vec<VolumeSeat>, accounts: &[Option<Vec<[u8; 16]>>]) -> Self {
        let missing = accounts.iter().position(Option::is_none);
        let mut table = Self {
            seats,
            missing,
            settled: HashMap::new(),
        };
        for (volume, ids) in accounts.iter().enumerate() {
            for id in ids.iter().flatten().filter(|id| **id != QUEUE_ACCOUNT.0) {
                if missing.is_some() || table.hashed(id) != Some(volume) {
                    table.settled.insert(*id, volume);
                }
            }
        }
        table
    }

    /// The volumes, by index.
    pub fn seats(&self) -> &[VolumeSeat] {
        &self.seats
    }

    /// The volume of `account`: the one that its record names, else the one where it already has mail, else a stable hash.
    pub fn place(&self, account: &[u8; 16], named: Option<&str>) -> Result<Place, PlacementError> {
        if *account == QUEUE_ACCOUNT.0 {
            return Err(PlacementError::Reserved);
        }
        let volume = match named {
            Some(name) => self
                .seats
                .iter()
                .position(|seat| seat.name == name)
                .ok_or_else(|| PlacementError::UnknownVolume(name.to_owned()))?,
            None => match (self.settled.get(account), self.missing) {
                (Some(volume), _) => *volume,
                (None, Some(missing)) => return Err(PlacementError::NotOpen(self.seats[missing].name.clone())),
                (None, None) => self.hashed(account).ok_or(PlacementError::NoVolume)?,
            },
        };
        Ok(Place {
            volume,
            core: self.seats[volume].core,
        })
    }

    /// The volumes in an order that is a fixed function of `what`, the preferred one first.
    pub(crate) fn preferred(&self, what: &[u8; 16]) -> Vec<Place> {
        let mut volumes: Vec<usize> = (0..self.seats.len()).collect();
        volumes.sort_by_key(|volume| std::cmp::Reverse(weight(&self.seats[*volume].name, what)));
        let place = |volume: usize| Place {
            volume,
            core: self.seats[volume].core,
        };
        volumes.into_iter().map(place).collect()
    }

    /// Rendezvous hashing: adding a volume changes the choice of as few accounts as possible, reordering of none.
    fn hashed(&self, account: &[u8; 16]) -> Option<usize> {
        (0..self.seats.len()).max_by_key(|volume| weight(&self.seats[*volume].name, account))
    }
}

/// A fixed function (FNV-1a, then the finalizer of splitmix64): the choice must be the same on every start and version.
fn weight(volume: &str, account: &[u8; 16]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in volume.as_bytes().iter().chain(account) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(names: &[&str]) -> Vec<VolumeSeat> {
        names
            .iter()
            .enumerate()
            .map(|(index, name)| VolumeSeat {
                name: (*name).to_owned(),
                core: CoreId(index as u16),
            })
            .collect()
    }

    fn id(number: u32) -> [u8; 16] {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn accounts_spread_evenly_and_reordering_moves_nobody() {
        let forward = VolumeTable::new(seats(&["a", "b", "c"]), &[const { Some(Vec::new()) }; 3]);
        let backward = VolumeTable::new(seats(&["c", "b", "a"]), &[const { Some(Vec::new()) }; 3]);
        let mut counts = [0; 3];
        for number in 0..30_000 {
            let there = forward.place(&id(number), None).unwrap().volume;
            let back = backward.place(&id(number), None).unwrap().volume;
            assert_eq!(forward.seats()[there].name, backward.seats()[back].name);
            counts[there] += 1;
        }
        assert!(counts.iter().all(|count| (9_700..10_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_account_stays_where_its_mail_is_when_a_volume_is_added() {
        let before = VolumeTable::new(seats(&["a"]), &[Some(Vec::new())]);
        let settled: Vec<_> = (0..1000).map(id).collect();
        let after = VolumeTable::new(seats(&["a", "b"]), &[Some(settled.clone()), Some(Vec::new())]);
        for account in &settled {
            assert_eq!(before.place(account, None), after.place(account, None));
        }
        assert!((1000..2000).any(|number| after.place(&id(number), None).unwrap().volume == 1));
    }

    #[test]
    fn the_queue_is_nobodys_mailbox() {
        let queue = QUEUE_ACCOUNT.0;
        let table = VolumeTable::new(seats(&["a", "b"]), &[Some(vec![queue, id(1)]), Some(vec![queue])]);
        assert_eq!(table.place(&queue, None), Err(PlacementError::Reserved));
        assert_eq!(table.place(&queue, Some("a")), Err(PlacementError::Reserved));
        assert!(!table.settled.contains_key(&queue));
        let order = |number| table.preferred(&id(number));
        assert_eq!(order(3).len(), 2);
        assert_eq!(order(3), order(3));
        assert!((0..100).any(|number| order(number) != order(3)));
    }

    #[test]
    fn the_record_decides_first() {
        let table = VolumeTable::new(seats(&["a", "b"]), &[Some(vec![id(1)]), Some(vec![id(2)])]);
        assert_eq!(
            table.place(&id(1), Some("b")).unwrap(),
            Place {
                volume: 1,
                core: CoreId(1)
            }
        );
        assert_eq!(
            table.place(&id(2), Some("x")),
            Err(PlacementError::UnknownVolume("x".into()))
        );
        assert_eq!(
            VolumeTable::default().place(&id(1), None),
            Err(PlacementError::NoVolume)
        );
    }

    #[test]
    fn nobody_gets_an_empty_mailbox_while_a_volume_is_missing() {
        let table = VolumeTable::new(seats(&["a", "b"]), &[Some(vec![id(1)]), None]);
        assert_eq!(table.place(&id(1), None).unwrap().volume, 0);
        assert_eq!(table.place(&id(2), Some("a")).unwrap().volume, 0);
        for unknown in 2..100 {
            assert_eq!(
                table.place(&id(unknown), None),
                Err(PlacementError::NotOpen("b".into()))
            );
        }
    }
}
