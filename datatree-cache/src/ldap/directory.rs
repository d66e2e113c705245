//! The source: follows one server after the other, and turns what they say into snapshots.

use super::link::{Heard, Link};
use super::message::Message;
use super::options::LdapOptions;
use super::saved::{self, Saved, Saying};
use super::sync::{ContentSync, Step};
use crate::entry::{Attribute, Entry};
use crate::mistake::{Mistake, Mistakes};
use crate::record::AccountUuid;
use crate::schema::Purpose;
use crate::snapshot::{Changed, Changes, CopyState, Snapshot};
use crate::source::{DataTree, Event, Handle, Health, LoadError, Loaded};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Messages taken into one snapshot at most, when they come faster than snapshots are made.
const MESSAGES_AT_ONCE: usize = 1000;
/// How often the copy on disk is made to outlast a power cut.
const SYNC_EVERY: Duration = Duration::from_secs(60);
/// Entries that were not taken and are tried again with every change, at most. More are tried again after a start.
const REFUSED_MAX: usize = 10_000;
/// From so many bytes on the copy is written anew once it has doubled.
const COMPACT_FROM: u64 = 256 * 1024 * 1024;

/// An LDAP directory. See [`super`].
pub struct Directory {
    options: LdapOptions,
    handle: Handle,
    wishes: Arc<Notify>,
    link: Option<Link>,
    /// What was heard behind changes that had to be told first.
    heard: Option<Heard>,
    /// Which server is used, or tried next.
    server: usize,
    /// Since the last success.
    failures: u32,
    try_at: Instant,
    sync: ContentSync,
    gathered: Gathered,
    /// Latest versions that were not taken.
    refused: HashMap<AccountUuid, Entry<'static>>,
    saved: Option<Saved>,
    synced_at: Instant,
    compacted_bytes: u64,
    trouble: Option<String>,
    // Last: what is above belongs to it.
    runtime: Option<Runtime>,
}

/// What came since the last snapshot.
#[derive(Default)]
struct Gathered {
    changes: Changes,
    /// Where the entries stand in the copy on disk.
    places: Vec<(AccountUuid, Option<u64>)>,
    removed: Vec<AccountUuid>,
}

impl Directory {
    /// For these servers. Nothing is opened yet.
    pub fn new(options: LdapOptions) -> io::Result<Directory> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let wishes = Arc::new(Notify::new());
        let handle = Handle::notifying(wishes.clone())?;
        Ok(Directory {
            options,
            handle,
            wishes,
            link: None,
            heard: None,
            server: 0,
            failures: 0,
            try_at: Instant::now(),
            sync: ContentSync::new(None),
            gathered: Gathered::default(),
            refused: HashMap::new(),
            saved: None,
            synced_at: Instant::now(),
            compacted_bytes: 0,
            trouble: None,
            runtime: Some(runtime),
        })
    }

    /// Runs a future of this source on its runtime.
    fn block_on<T>(&mut self, work: impl AsyncFnOnce(&mut Directory) -> T) -> T {
        let runtime = self.runtime.take().expect("it is put back below");
        let output = runtime.block_on(work(self));
        self.runtime = Some(runtime);
        output
    }

    /// Reads the copy on disk, if there is one.
    fn load_saved(&mut self, previous: &Snapshot, warnings: &mut Mistakes) -> Option<Snapshot> {
        let directory = self.options.copy.clone()?;
        let identity = saved::identity(&self.options.base, &self.options.filter);
        let path = saved::path_in(&directory);
        let mut loaded = None;
        let opened = match saved::scan(&path, identity) {
            Ok(found) => {
                let mut changes = Changes::new();
                let refused = &mut self.refused;
                let map = &self.options.attributes;
                let replayed = saved::replay(&path, &found, |saying| match saying {
                    Saying::Put(id, entry) => {
                        refused.remove(&id);
                        changes.put(&entry, map);
                    }
                    Saying::Refused(id, entry) => {
                        refused.insert(id, entry);
                    }
                    Saying::Remove(id) => {
                        refused.remove(&id);
                        changes.remove(id);
                    }
                });
                replayed.and_then(|()| {
                    let mut saved = Saved::open(&directory, identity, Some(found.committed))?;
                    if !changes.is_empty() {
                        let changed = previous.changed_by(changes, map, CopyState::Boot);
                        warnings.extend(changed.mistakes);
                        loaded = Some(changed.snapshot);
                        saved.compact()?;
                    }
                    self.sync = ContentSync::new(found.cookie);
                    Ok(saved)
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::open(&directory, identity, None),
            Err(error) => Err(error),
        };
        match opened {
            Ok(saved) => {
                self.compacted_bytes = saved.length();
                self.saved = Some(saved);
            }
            Err(error) => warnings.push(self.note_of(&format!("the copy on disk is not used: {error}"))),
        }
        loaded
    }

    fn note_of(&self, message: &str) -> Mistake {
        Mistake {
            position: None,
            dn: None,
            attribute: None,
            message: message.to_owned(),
        }
    }

    /// Follows until there is something to tell.
    async fn follow(&mut self, current: &Snapshot, patience: Duration) -> Event {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let wishes = self.handle.take();
            if wishes.stop {
                self.keep_copy(true);
                return Event::Stopped;
            }
            if wishes.reload {
                // Everything is read again; what is there stays in force meanwhile.
                self.drop_link();
                self.sync.forget();
                self.try_at = Instant::now();
            }
            self.keep_copy(false);
            if self.link.is_none() {
                if let Some(event) = self.connect(current, end).await {
                    return event;
                }
                continue;
            }
            let live = self.sync.is_live();
            let link = self.link.as_mut().expect("it is there: asked above");
            let heard = match self.heard.take() {
                Some(heard) => heard,
                None => tokio::select! {
                    biased;
                    () = self.wishes.notified() => continue,
                    heard = link.next(&self.options, live) => heard,
                    () = tokio::time::sleep_until(end) => return Event::Quiet,
                },
            };
            if let Some(event) = self.take(heard, current).await {
                return event;
            }
        }
    }

    /// Tries the next server, when it is time. Tells what is new about failing.
    async fn connect(&mut self, current: &Snapshot, end: tokio::time::Instant) -> Option<Event> {
        let due = tokio::time::Instant::from_std(self.try_at);
        tokio::select! {
            biased;
            () = self.wishes.notified() => return None,
            () = tokio::time::sleep_until(end), if end < due => return Some(Event::Quiet),
            () = tokio::time::sleep_until(due) => {}
        }
        let server = self.options.servers[self.server % self.options.servers.len()].clone();
        let opening = Link::open(&server, &self.options, self.sync.cookie());
        match opening.await {
            Ok(link) => {
                self.link = Some(link);
                self.sync.begin();
                None
            }
            Err(why) => self.lost(why, current),
        }
    }

    /// Goes to the next server, after a pause once all have failed.
    fn lost(&mut self, why: String, current: &Snapshot) -> Option<Event> {
        self.drop_link();
        self.server = (self.server + 1) % self.options.servers.len();
        self.failures = self.failures.saturating_add(1);
        let rounds = self.failures / u32::try_from(self.options.servers.len()).unwrap_or(u32::MAX);
        if rounds > 0 {
            let factor = 1_u32 << (rounds - 1).min(16);
            let pause = self.options.pause.saturating_mul(factor).min(self.options.pause_max);
            self.try_at = Instant::now() + jittered(pause);
        }
        let news = self.trouble.as_ref() != Some(&why);
        self.trouble = Some(why.clone());
        if matches!(current.state(), CopyState::Live) {
            let mut warnings = Mistakes::default();
            warnings.push(self.note_of(&format!("the directory is lost, its last state stays in force: {why}")));
            return Some(Event::Changed(Box::new(Loaded {
                snapshot: current.in_state(CopyState::Lost),
                warnings,
            })));
        }
        news.then(|| Event::Refused(LoadError::Unreadable(why)))
    }

    fn drop_link(&mut self) {
        self.link = None;
        self.heard = None;
        self.sync.end();
        self.gathered = Gathered::default();
        if let Some(saved) = &mut self.saved
            && let Err(error) = saved.rollback()
        {
            self.copy_failed(&error);
        }
    }

    /// Takes what was heard, and what came with it.
    async fn take(&mut self, heard: Heard, current: &Snapshot) -> Option<Event> {
        let mut heard = Some(heard);
        let mut count = 0;
        while let Some(next) = heard.take() {
            match next {
                Heard::Message(message) => {
                    count += 1;
                    if self.take_message(message, current) {
                        self.failures = 0;
                        self.trouble = None;
                        return Some(self.publish(current));
                    }
                }
                Heard::Again { forget } => {
                    if forget {
                        self.sync.forget();
                    }
                    self.drop_link();
                    return None;
                }
                Heard::Lost(why) => {
                    let why = format!("{}: {why}", self.options.servers[self.server]);
                    return self.lost(why, current);
                }
            }
            if count < MESSAGES_AT_ONCE
                && let Some(link) = &mut self.link
            {
                heard = link.next_now(&self.options).await;
                if let Some(Heard::Lost(_) | Heard::Again { .. }) = heard
                    && self.sync.is_live()
                    && !self.gathered.changes.is_empty()
                {
                    self.heard = heard.take();
                }
            }
        }
        (self.sync.is_live() && !self.gathered.changes.is_empty()).then(|| self.publish(current))
    }

    /// True when the refresh is over.
    fn take_message(&mut self, message: Message, current: &Snapshot) -> bool {
        match self.sync.take(message) {
            Step::Nothing => false,
            Step::Put(id, entry) => {
                self.put(id, entry);
                false
            }
            Step::Remove(ids) => {
                ids.into_iter().for_each(|id| self.remove(id));
                false
            }
            Step::Refreshed(named) => {
                if let Some(named) = named {
                    let known = current.ids().chain(self.refused.keys().copied());
                    let gone: Vec<_> = known.filter(|id| !named.contains(id)).collect();
                    gone.into_iter().for_each(|id| self.remove(id));
                }
                true
            }
        }
    }

    fn put(&mut self, id: AccountUuid, mut entry: Entry<'static>) {
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
        self.gathered.changes.put(&entry, map);
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
    fn publish(&mut self, current: &Snapshot) -> Event {
        let Gathered {
            mut changes,
            places,
            removed,
        } = std::mem::take(&mut self.gathered);
        for id in removed.iter().chain(places.iter().map(|(id, _)| id)) {
            self.refused.remove(id);
        }
        // What stood in the way of an entry may be gone with this change.
        for entry in self.refused.values() {
            changes.put(entry, &self.options.attributes);
        }
        let Changed {
            snapshot,
            mistakes,
            mut warnings,
            refused,
        } = current.changed_by(changes, &self.options.attributes, CopyState::Live);
        let known: Vec<String> = self.refused.values().map(|entry| entry.dn.to_string()).collect();
        for mistake in mistakes.list {
            if !mistake.dn.as_ref().is_some_and(|dn| known.contains(dn)) {
                warnings.push(mistake);
            }
        }
        if let Err(error) = self.write_outcome(&places, &refused) {
            self.copy_failed(&error);
            warnings.push(self.note_of(&format!("the copy on disk is not kept: {error}")));
        }
        Event::Changed(Box::new(Loaded { snapshot, warnings }))
    }

    fn write_outcome(
        &mut self,
        places: &[(AccountUuid, Option<u64>)],
        refused: &std::collections::HashSet<AccountUuid>,
    ) -> io::Result<()> {
        let taken: Vec<AccountUuid> = self
            .refused
            .keys()
            .filter(|id| !refused.contains(id))
            .copied()
            .collect();
        let Some(saved) = &mut self.saved else {
            taken.iter().for_each(|id| drop(self.refused.remove(id)));
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
            saved.refuse(place)?;
            if self.refused.len() < REFUSED_MAX {
                let entry = saved.entry_at(place)?;
                self.refused.insert(id, entry);
            }
        }
        saved.commit(self.sync.cookie())
    }

    fn keep_copy(&mut self, now: bool) {
        if !now && self.synced_at.elapsed() < SYNC_EVERY {
            return;
        }
        self.synced_at = Instant::now();
        let Some(saved) = &mut self.saved else { return };
        let mut result = saved.sync();
        let is_big = saved.length() > COMPACT_FROM.max(2 * self.compacted_bytes);
        if result.is_ok() && is_big && self.sync.is_live() && !now {
            result = saved.compact();
            self.compacted_bytes = saved.length();
        }
        if let Err(error) = result {
            self.copy_failed(&error);
        }
    }

    /// A copy that cannot be written is not written any more: what stands there stays good.
    fn copy_failed(&mut self, error: &io::Error) {
        self.saved = None;
        self.trouble = Some(format!("the copy on disk is not kept: {error}"));
    }
}

/// Less up to a half, so that the nodes of a cluster do not come back together.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let chance = RandomState::new().build_hasher().finish() % 512;
    pause - pause.mul_f64(chance as f64 / 1024.0)
}

impl DataTree for Directory {
    fn describe(&self) -> String {
        let servers: Vec<String> = self.options.servers.iter().map(ToString::to_string).collect();
        servers.join(" ")
    }

    fn load(&mut self, previous: &Snapshot) -> Result<Loaded, LoadError> {
        let mut warnings = Mistakes::default();
        if let Some(snapshot) = self.load_saved(previous, &mut warnings) {
            return Ok(Loaded { snapshot, warnings });
        }
        // Nothing to start from: every server gets its chance.
        let mut current = previous.in_state(CopyState::Boot);
        let mut why = None;
        for _ in 0..self.options.servers.len() {
            self.try_at = Instant::now();
            loop {
                match self.block_on(async |source| source.follow(&current, Duration::from_secs(1)).await) {
                    Event::Changed(mut loaded) => {
                        warnings.extend(std::mem::take(&mut loaded.warnings));
                        loaded.warnings = warnings;
                        return Ok(*loaded);
                    }
                    Event::Refused(error) => {
                        why = Some(error);
                        break;
                    }
                    Event::Stopped => return Err(LoadError::Unreadable("stopped".to_owned())),
                    Event::Quiet if self.link.is_none() => break,
                    Event::Quiet => {}
                }
            }
        }
        if let Some(why) = why {
            warnings.push(self.note_of(&format!("{why}; nobody is known until it answers")));
        }
        current = previous.in_state(CopyState::Boot);
        Ok(Loaded {
            snapshot: current,
            warnings,
        })
    }

    fn watch(&mut self, current: &Snapshot, patience: Duration) -> Event {
        self.block_on(async |source| source.follow(current, patience).await)
    }

    fn health(&self) -> Health {
        match &self.trouble {
            Some(why) => Health::Bad(why.clone()),
            None if !self.refused.is_empty() => Health::Bad(format!(
                "{} entries are not taken, their last good versions are in force",
                self.refused.len()
            )),
            None if self.link.is_none() || !self.sync.is_live() => Health::Bad("not connected yet".to_owned()),
            None => Health::Good,
        }
    }

    fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
