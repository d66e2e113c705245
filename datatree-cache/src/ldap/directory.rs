//! The source: follows one server after the other. [`taking`] turns what they say into snapshots.

mod taking;

use super::link::{Heard, Link};
use super::options::{LdapOptions, ServerUri};
use super::saved::Saved;
use super::servers::{Servers, Trouble};
use super::sync::ContentSync;
use crate::entry::Entry;
use crate::mistake::{Mistake, Mistakes};
use crate::record::AccountUuid;
use crate::snapshot::{CopyState, Snapshot};
use crate::source::{DataTree, Event, Handle, Health, LoadError, Loaded, Report};
use std::collections::{HashMap, HashSet};
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
    servers: Servers,
    /// What was told of each server since it worked last.
    told: Vec<Option<String>>,
    sync: ContentSync,
    gathered: Gathered,
    /// Latest versions that were not taken.
    refused: HashMap<AccountUuid, Entry<'static>>,
    /// Further ones, of which only this is known: see `REFUSED_MAX`.
    refused_beyond: HashSet<AccountUuid>,
    /// What is wrong with those that were not taken, by DN.
    why_refused: Mistakes,
    saved: Option<Saved>,
    /// What a copy holds that was taken up again behind the times, and the next refresh may not name any more.
    unswept: HashSet<AccountUuid>,
    synced_at: Instant,
    compacted_bytes: u64,
    /// Of the server tried last.
    trouble: Option<String>,
    /// Of the copy on disk; it stays.
    copy_trouble: Option<String>,
    /// Since when the copy in force has not been current.
    stale_since: Option<Instant>,
    alarmed: bool,
    report: Report,
    // Last: what is above belongs to it.
    runtime: Option<Runtime>,
}

impl Directory {
    /// For these servers. Nothing is opened yet.
    pub fn new(options: LdapOptions) -> io::Result<Directory> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let wishes = Arc::new(Notify::new());
        let handle = Handle::notifying(wishes.clone())?;
        let first = options.servers.first().map(ToString::to_string).unwrap_or_default();
        Ok(Directory {
            servers: Servers::new(options.servers.len(), Instant::now()),
            told: vec![None; options.servers.len()],
            options,
            handle,
            wishes,
            link: None,
            heard: None,
            sync: ContentSync::new(None),
            gathered: Gathered::default(),
            refused: HashMap::new(),
            refused_beyond: HashSet::new(),
            why_refused: Mistakes::default(),
            saved: None,
            unswept: HashSet::new(),
            synced_at: Instant::now(),
            compacted_bytes: 0,
            trouble: None,
            copy_trouble: None,
            stale_since: Some(Instant::now()),
            alarmed: false,
            report: Report::new(first),
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
        let end = match (self.stale_since, self.alarmed) {
            (Some(since), false) => end.min((since + self.options.alarm_after).into()),
            _ => end,
        };
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
                self.servers.try_now(Instant::now());
            }
            if let Some(event) = self.alarm() {
                return event;
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
        let due = tokio::time::Instant::from_std(self.servers.due());
        tokio::select! {
            biased;
            () = self.wishes.notified() => return None,
            () = tokio::time::sleep_until(end), if end < due => return Some(Event::Quiet),
            () = tokio::time::sleep_until(due) => {}
        }
        let server = self.server().clone();
        self.report.change(|following| following.server = server.to_string());
        let opening = Link::open(&server, &self.options, self.sync.cookie(), self.report.clone());
        match opening.await {
            Ok(link) => {
                self.link = Some(link);
                self.sync.begin();
                if current.state() != CopyState::Live {
                    self.report.enter(CopyState::Refresh);
                }
                None
            }
            Err(trouble) => self.lost(trouble, current),
        }
    }

    /// The server in use, or tried last or next.
    fn server(&self) -> &ServerUri {
        &self.options.servers[self.servers.at()]
    }

    /// Goes to the next server. Tells what is new: the same reason of the same server is told once.
    fn lost(&mut self, trouble: Trouble, current: &Snapshot) -> Option<Event> {
        self.drop_link();
        let Trouble { failure, why } = trouble;
        let told = &mut self.told[self.servers.at()];
        let news = told.as_ref() != Some(&why);
        *told = Some(why.clone());
        self.servers.failed(failure, &self.options, Instant::now());
        self.trouble = Some(why.clone());
        self.tell_trouble();
        let was_current = matches!(current.state(), CopyState::Live | CopyState::Lost);
        self.report
            .enter(if was_current { CopyState::Lost } else { CopyState::Boot });
        if matches!(current.state(), CopyState::Live) {
            self.stale_since = Some(Instant::now());
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

    /// Told once when the copy has not been current for too long.
    fn alarm(&mut self) -> Option<Event> {
        let stale = self.stale_since?.elapsed();
        if self.alarmed || stale < self.options.alarm_after {
            return None;
        }
        self.alarmed = true;
        self.report.change(|following| following.alarm = true);
        let why = self.trouble.as_deref().unwrap_or("the refresh is not over");
        Some(Event::Refused(LoadError::Unreadable(format!(
            "alarm: the directory has been out of reach for {} s, an old state is in force: {why}",
            stale.as_secs()
        ))))
    }

    /// The copy is as the server has it.
    fn is_current(&mut self) {
        self.servers.succeeded();
        self.told.fill(None);
        self.trouble = None;
        self.stale_since = None;
        self.alarmed = false;
        self.report.enter(CopyState::Live);
        self.report.change(|following| following.alarm = false);
        self.tell_cookie();
        self.report.heard();
        self.tell_trouble();
    }

    fn tell_cookie(&self) {
        let cookie = self.sync.cookie().map(|cookie| format!("{cookie:?}"));
        self.report.change(|following| following.cookie = cookie);
    }

    fn tell_trouble(&self) {
        let trouble = self.trouble.clone().or_else(|| self.copy_trouble.clone());
        self.report.change(|following| following.trouble = trouble);
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
                        self.is_current();
                        return Some(self.publish(current));
                    }
                    if self.sync.entry_count() > self.options.entries_max {
                        let why = format!("{}: more than {} entries", self.server(), self.options.entries_max);
                        return self.lost(Trouble::refused(why), current);
                    }
                }
                Heard::Again { forget } => {
                    if forget {
                        self.sync.forget();
                    }
                    self.drop_link();
                    return None;
                }
                Heard::Behind if self.servers.is_behind(Instant::now()) => {
                    self.sync.forget();
                    self.drop_link();
                    return None;
                }
                Heard::Behind => {
                    let why = "the server has less than this node has seen (53), and is given time to catch up";
                    let trouble = Trouble::unreachable(why).at(self.server());
                    return self.lost(trouble, current);
                }
                Heard::Lost(trouble) => {
                    let trouble = trouble.at(self.server());
                    return self.lost(trouble, current);
                }
            }
            if count < MESSAGES_AT_ONCE
                && let Some(link) = &mut self.link
            {
                heard = link.next_now(&self.options).await;
                if let Some(Heard::Lost(_) | Heard::Behind | Heard::Again { .. }) = heard
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
        let mut unanswered = false;
        for _ in 0..self.options.servers.len() {
            self.servers.try_now(Instant::now());
            loop {
                match self.block_on(async |source| source.follow(&current, Duration::from_secs(1)).await) {
                    Event::Changed(mut loaded) => {
                        warnings.extend(std::mem::take(&mut loaded.warnings));
                        loaded.warnings = warnings;
                        return Ok(*loaded);
                    }
                    Event::Refused(error) => {
                        warnings.push(note_of(&error.to_string()));
                        unanswered = true;
                        break;
                    }
                    Event::Stopped => return Err(LoadError::Unreadable("stopped".to_owned())),
                    Event::Quiet if self.link.is_none() => break,
                    Event::Quiet => {}
                }
            }
        }
        if unanswered {
            warnings.push(note_of("nobody is known until the directory answers"));
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
        let refused = self.refused.len() + self.refused_beyond.len();
        match self.trouble.as_ref().or(self.copy_trouble.as_ref()) {
            Some(why) => Health::Bad(why.clone()),
            None if refused > 0 => Health::Bad(format!(
                "{refused} entries are not taken, their last good versions are in force"
            )),
            None if self.link.is_none() || !self.sync.is_live() => Health::Bad("not connected yet".to_owned()),
            None => Health::Good,
        }
    }

    fn report(&self) -> Option<Report> {
        Some(self.report.clone())
    }

    fn handle(&self) -> Handle {
        self.handle.clone()
    }
}
