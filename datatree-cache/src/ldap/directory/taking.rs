//! From what was heard to snapshots, and to the copy on disk beside them.

use super::super::message::Message;
use super::super::saved::{self, Claim, Found, Held, Saved};
use super::super::sync::{ContentSync, Step};
use super::{Directory, note_of};
use crate::entry::{Attribute, Entry};
use crate::mistake::Mistakes;
use crate::record::AccountUuid;
use crate::schema::Purpose;
use crate::snapshot::{Changed, Changes, CopyState, Pending, Snapshot};
use crate::source::{Event, Loaded};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Entries that were not taken and are tried again with every change, at most. Of more than that only the UUIDs are kept, and
/// while there are such, every address that is not known is 451: it may be one of theirs. They are tried again when
/// they change, and after a start.
const REFUSED_MAX: usize = 10_000;
/// From so many bytes on the copy is written anew once it has doubled.
const COMPACT_FROM: u64 = 256 * 1024 * 1024;

/// What came since the last snapshot.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) changes: Changes,
    /// Where the entries stand in the copy on disk.
    places: Vec<(AccountUuid, Option<u64>)>,
    removed: Vec<AccountUuid>,
}

/// Whether a file is no copy, for whatever reason, and not only out of reach.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Moves a file that is no copy away: a person may still want it, and the directory has everything.
fn put_aside(directory: &Path) -> io::Result<PathBuf> {
    let _claim = Claim::of(directory)?;
    saved::put_aside(directory)
}

impl Directory {
    /// Reads the copy on disk, if there is one, and keeps it from now on. One that cannot be written is good for a start.
    pub(super) fn load_saved(&mut self, previous: &Snapshot, warnings: &mut Mistakes) -> Option<Snapshot> {
        let directory = self.options.copy.clone()?;
        let identity = self.identity();
        let path = saved::path_in(&directory);
        let read = saved::scan(&path, identity, None)
            .and_then(|found| Ok((saved::load(&path, &found, &self.options.attributes, previous)?, found)));
        let mut loaded = None;
        let opened = match read {
            Ok((held, found)) => {
                if found.lost_bytes > 0 {
                    warnings.push(note_of(&format!(
                        "the copy on disk: the last {} bytes are cut off or damaged, and are asked for again",
                        found.lost_bytes
                    )));
                }
                loaded = self.take_held(held, &found, previous, warnings);
                Saved::open(&directory, identity, Some(&found)).map(|mut saved| {
                    if found.is_wasteful()
                        && let Err(error) = saved.begin_compaction()
                    {
                        self.copy_trouble = Some(format!("the copy on disk cannot be written anew: {error}"));
                    }
                    saved
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::open(&directory, identity, None),
            Err(error) if is_damage(&error) => put_aside(&directory).and_then(|aside| {
                let what = format!("the copy on disk is not used, and kept as {}: {error}", aside.display());
                warnings.push(note_of(&what));
                Saved::open(&directory, identity, None)
            }),
            Err(error) => Err(error),
        };
        match opened {
            Ok(saved) => {
                self.compacted_bytes = saved.length();
                self.saved = Some(saved);
            }
            Err(error) => {
                self.copy_failed(&error);
                self.copy_trouble.iter().for_each(|why| warnings.push(note_of(why)));
            }
        }
        loaded
    }

    fn identity(&self) -> u64 {
        saved::identity(&self.options.base, &self.options.filter)
    }

    /// The snapshot of what a copy holds, if that is anything.
    fn take_held(
        &mut self,
        held: Held,
        found: &Found,
        previous: &Snapshot,
        warnings: &mut Mistakes,
    ) -> Option<Snapshot> {
        for (id, entry) in held.refused {
            if self.refused.len() < REFUSED_MAX {
                self.refused.insert(id, entry);
            } else {
                self.refused_beyond.insert(id);
            }
        }
        self.sync = ContentSync::new(found.cookie.clone());
        if held.changes.is_empty() {
            return None;
        }
        let changed = previous.changed_by(held.changes, &self.options.attributes, CopyState::Boot);
        warnings.extend(changed.mistakes);
        let mut snapshot = changed.snapshot;
        self.tell_refused(&mut snapshot);
        Some(snapshot)
    }

    /// After a failure: goes on with the copy that is there. It is behind, so the directory is asked once more from where it
    /// stands.
    fn take_copy_up_again(&mut self) {
        let Some(directory) = self.options.copy.clone() else {
            return;
        };
        let (path, identity) = (saved::path_in(&directory), self.identity());
        let opened = match saved::scan(&path, identity, None) {
            Ok(found) => Saved::open(&directory, identity, Some(&found)).map(|saved| (saved, found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Saved::open(&directory, identity, None).map(|saved| (saved, Found::default()))
            }
            Err(error) if is_damage(&error) => {
                put_aside(&directory).and_then(|_| Ok((Saved::open(&directory, identity, None)?, Found::default())))
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok((saved, found)) => {
                self.drop_link();
                self.compacted_bytes = saved.length();
                self.saved = Some(saved);
                self.unswept = found.ids().collect();
                self.sync = ContentSync::new(found.cookie);
                self.copy_trouble = None;
                self.tell_trouble();
            }
            Err(error) => self.copy_failed(&error),
        }
    }

    /// True when the refresh is over.
    pub(super) fn take_message(&mut self, message: Message, current: &Snapshot) -> bool {
        match self.sync.take(message) {
            Step::Nothing => false,
            Step::Put(id, entry) => {
                self.put(id, entry, current);
                false
            }
            Step::Remove(ids) => {
                ids.into_iter().for_each(|id| self.remove(id));
                false
            }
            Step::Refreshed(named) => {
                if let Some(named) = named {
                    let refused = self.refused.keys().chain(&self.refused_beyond).copied();
                    let known = current.ids().chain(refused).chain(self.unswept.iter().copied());
                    let gone: Vec<_> = known.filter(|id| !named.contains(id)).collect();
                    gone.into_iter().for_each(|id| self.remove(id));
                }
                self.unswept = HashSet::new();
                true
            }
        }
    }

    fn put(&mut self, id: AccountUuid, mut entry: Entry<'static>, current: &Snapshot) {
        let map = &self.options.attributes;
        let names = map.attributes(Purpose::Uuid);
        // The identity is the one by which the server will say that it is gone, whatever the entry holds.
        entry
            .attributes
            .retain(|attribute| !names.iter().any(|name| attribute.name.eq_ignore_ascii_case(name)));
        let name = names.first().map_or("entryUUID", String::as_str).to_owned();
        entry.attributes.push(Attribute {
            name: Cow::Owned(name),
            value: Cow::Owned(id.to_string().into_bytes()),
            position: None,
        });
        let place = self.saved.as_mut().map(|saved| saved.put(id, &entry)).transpose();
        if self.sync.is_live() {
            self.gathered.changes.put(&entry, map);
        } else {
            // A refresh names much that is in force already.
            self.gathered.changes.put_after(&entry, map, current);
        }
        match place {
            Ok(place) => self.gathered.places.push((id, place)),
            Err(error) => {
                self.copy_failed(&error);
                self.gathered.places.push((id, None));
            }
        }
    }

    fn remove(&mut self, id: AccountUuid) {
        self.gathered.changes.remove(id);
        self.gathered.removed.push(id);
        if let Some(saved) = &mut self.saved
            && let Err(error) = saved.remove(id)
        {
            self.copy_failed(&error);
        }
    }

    /// The snapshot with what was gathered, and the copy on disk with it.
    pub(super) fn publish(&mut self, current: &Snapshot) -> Event {
        let Gathered {
            mut changes,
            places,
            removed,
        } = std::mem::take(&mut self.gathered);
        for id in removed.iter().chain(places.iter().map(|(id, _)| id)) {
            self.refused.remove(id);
            self.refused_beyond.remove(id);
        }
        // What stood in the way of an entry may be gone with this change.
        for entry in self.refused.values() {
            changes.put(entry, &self.options.attributes);
        }
        let Changed {
            mut snapshot,
            mistakes,
            mut warnings,
            refused,
        } = current.changed_by(changes, &self.options.attributes, CopyState::Live);
        // Those that were refused before are told of on the status page alone.
        let known: HashSet<String> = self.refused.values().map(|entry| entry.dn.to_string()).collect();
        self.why_refused = mistakes.clone();
        for mistake in mistakes.list {
            if !mistake.dn.as_ref().is_some_and(|dn| known.contains(dn)) {
                warnings.push(mistake);
            }
        }
        if let Err(error) = self.write_outcome(&places, &refused) {
            self.copy_failed(&error);
            let unkept = refused.iter().filter(|id| !self.refused.contains_key(id));
            self.refused_beyond.extend(unkept);
            warnings.push(note_of(&format!("the copy on disk is not kept: {error}")));
        }
        self.tell_refused(&mut snapshot);
        Event::Changed(Box::new(Loaded { snapshot, warnings }))
    }

    /// Nobody who was refused is unknown, and the status page names them.
    fn tell_refused(&self, snapshot: &mut Snapshot) {
        let more = !self.refused_beyond.is_empty();
        let pending = Pending::of(self.refused.values(), &self.options.attributes, more);
        snapshot.set_pending(Arc::new(pending));
        let count = (self.refused.len() + self.refused_beyond.len()) as u64;
        self.tell_cookie();
        self.report.change(|following| {
            following.refused_count = count;
            following.refused.clone_from(&self.why_refused);
        });
    }

    fn write_outcome(
        &mut self,
        places: &[(AccountUuid, Option<u64>)],
        refused: &HashSet<AccountUuid>,
    ) -> io::Result<()> {
        let taken: Vec<AccountUuid> = self
            .refused
            .keys()
            .filter(|id| !refused.contains(id))
            .copied()
            .collect();
        let Some(saved) = &mut self.saved else {
            taken.iter().for_each(|id| drop(self.refused.remove(id)));
            let unkept = refused.iter().filter(|id| !self.refused.contains_key(id));
            self.refused_beyond.extend(unkept);
            return Ok(());
        };
        for id in taken {
            if let Some(entry) = self.refused.remove(&id) {
                saved.put(id, &entry)?;
            }
        }
        // The last place of each is the version that counted.
        let mut last: HashMap<AccountUuid, u64> = HashMap::new();
        if !refused.is_empty() {
            let refused_now = places.iter().filter(|(id, _)| refused.contains(id));
            last.extend(refused_now.filter_map(|(id, place)| Some((*id, (*place)?))));
        }
        for (id, place) in last {
            saved.refuse(id)?;
            if self.refused.len() < REFUSED_MAX {
                let entry = saved.entry_at(place)?;
                self.refused.insert(id, entry);
            } else {
                self.refused_beyond.insert(id);
            }
        }
        saved.commit(self.sync.cookie())
    }

    /// Does what is due for the copy on disk. `now`: it is the end.
    pub(super) fn keep_copy(&mut self, now: bool) {
        if !now && self.synced_at.elapsed() < self.options.copy_sync_every {
            return;
        }
        self.synced_at = Instant::now();
        let Some(saved) = &mut self.saved else {
            if self.copy_trouble.is_some() && self.sync.is_live() && !now {
                self.take_copy_up_again();
            }
            return;
        };
        if now {
            saved.cancel_compaction();
        }
        if let Err(error) = saved.sync() {
            self.copy_failed(&error);
            return;
        }
        let is_big = saved.length() > COMPACT_FROM.max(2 * self.compacted_bytes);
        let compacted = saved.adopt().and_then(|adopted| {
            if adopted {
                self.compacted_bytes = saved.length();
            } else if is_big && self.sync.is_live() && !now {
                saved.begin_compaction()?;
            }
            Ok(())
        });
        if let Err(error) = compacted {
            // Not before it has doubled again.
            self.compacted_bytes = saved.length();
            self.copy_trouble = Some(format!("the copy on disk grows, it cannot be written anew: {error}"));
            self.tell_trouble();
        }
    }

    /// A copy that cannot be written is let alone for a while: what stands there stays good.
    pub(super) fn copy_failed(&mut self, error: &io::Error) {
        self.saved = None;
        self.copy_trouble = Some(format!("the copy on disk is not kept: {error}"));
        self.tell_trouble();
    }
}
