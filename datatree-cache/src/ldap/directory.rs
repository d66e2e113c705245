//! The source: follows one server after the other. [`taking`] turns what they say into snapshots.

mod taking;

use super::link::{Heard, Link};
use super::options::LdapOptions;
use super::saved::Saved;
use super::sync::ContentSync;
use crate::entry::Entry;
use crate::mistake::{Mistake, Mistakes};
use crate::record::AccountUuid;
use crate::snapshot::{CopyState, Snapshot};
use crate::source::{DataTree, Event, Handle, Health, LoadError, Loaded};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use taking::Gathered;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// Messages taken into one snapshot at most, when they come faster than snapshots are made.
const MESSAGES_AT_ONCE: usize = 1000;

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
            warnings.push(note_of(&format!(
                "the directory is lost, its last state stays in force: {why}"
            )));
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
}

/// A warning that is about no entry.
fn note_of(message: &str) -> Mistake {
    Mistake {
        position: None,
        dn: None,
        attribute: None,
        message: message.to_owned(),
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
            warnings.push(note_of(&format!("{why}; nobody is known until it answers")));
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
