//! An LDAP directory as a source, against a real slapd.

mod copy;
mod fake;
mod following;
mod holding;
mod random;
mod slapd;
mod tls;

use pigeon_datatree_cache::ldap::{Bind, Directory, LdapOptions};
use pigeon_datatree_cache::source::{DataTree, Event, Loaded};
use pigeon_datatree_cache::{CopyState, Snapshot};
use slapd::{ENGINE, SECRET, SUFFIX, Slapd};
use std::path::Path;
use std::time::Duration;

/// As a node follows a server.
pub(crate) fn options(servers: &[String], copy: Option<&Path>) -> LdapOptions {
    let servers = servers.iter().map(|uri| uri.parse().expect("a good URI")).collect();
    LdapOptions {
        bind: Bind::Simple {
            dn: ENGINE.to_owned(),
            password: SECRET.to_owned(),
        },
        copy: copy.map(Path::to_owned),
        answer_timeout: Duration::from_secs(2),
        probe_after: Duration::from_millis(500),
        pause: Duration::from_millis(50),
        pause_max: Duration::from_millis(500),
        pause_refused_max: Duration::from_millis(500),
        ..LdapOptions::new(servers, SUFFIX)
    }
}

/// A source, and the snapshot in force.
pub(crate) struct Following {
    pub(crate) source: Directory,
    pub(crate) current: Snapshot,
    /// What was told beside snapshots, in its order.
    pub(crate) told: Vec<String>,
}

impl Following {
    pub(crate) fn start(options: LdapOptions) -> Following {
        let mut source = Directory::new(options).expect("a runtime");
        let Loaded { snapshot, warnings } = source.load(&Snapshot::empty()).expect("loading always gives something");
        Following {
            source,
            current: snapshot,
            told: warnings.list.iter().map(ToString::to_string).collect(),
        }
    }

    /// Waits until the snapshot in force is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Snapshot) -> bool) {
        for _ in 0..60 {
            if is_so(&self.current) {
                return;
            }
            self.step(Duration::from_secs(1));
        }
        panic!("{what} was not seen: {:?}, told {:?}", self.current, self.told);
    }

    pub(crate) fn step(&mut self, patience: Duration) {
        match self.source.watch(&self.current, patience) {
            Event::Changed(loaded) => {
                assert!(loaded.snapshot.generation() > self.current.generation());
                self.told.extend(loaded.warnings.list.iter().map(ToString::to_string));
                self.current = loaded.snapshot;
            }
            Event::Refused(error) => self.told.push(error.to_string()),
            Event::Quiet => {}
            Event::Stopped => panic!("nobody stops it"),
        }
    }

    pub(crate) fn until_live(&mut self) {
        self.until("the live state", |now| now.state() == CopyState::Live);
    }

    pub(crate) fn has(&self, login: &str) -> bool {
        self.current.login(login).is_some()
    }
}

/// A person with a mailbox.
pub(crate) fn person(name: &str, more: &str) -> String {
    format!(
        "dn: uid={name},{SUFFIX}\nchangetype: add\nobjectClass: inetOrgPerson\nobjectClass: pigeonAccount\ncn: {name}\n\
         sn: {name}\nuid: {name}\nmail: {name}@example.org\n{more}\n"
    )
}

/// The domain of them all.
pub(crate) fn domain() -> String {
    format!(
        "dn: dc=mail,{SUFFIX}\nchangetype: add\nobjectClass: domain\nobjectClass: pigeonDomain\ndc: mail\n\
         associatedDomain: example.org\n\n"
    )
}

/// A server with a domain and these people.
pub(crate) fn provider(names: &[&str]) -> Slapd {
    let slapd = Slapd::start();
    let people: String = names.iter().map(|name| person(name, "")).collect();
    slapd.change(&(domain() + &people));
    slapd
}
