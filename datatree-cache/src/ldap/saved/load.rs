//! From the copy to records, on several threads: each takes the next part of the file and writes the records of that part
//! into their places.

use super::PUT;
use super::read::{self, Found, Frames, entry};
use crate::bulk;
use crate::entry::Entry;
use crate::mistake::Mistakes;
use crate::record::AccountUuid;
use crate::schema::AttributeMap;
use crate::schema::convert::{self, Record};
use crate::snapshot::{Changes, Snapshot, threads};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What a copy holds.
pub(in crate::ldap) struct Held {
    /// The last good version of every entry.
    pub(in crate::ldap) changes: Changes,
    /// Later versions, which were not taken when they came, and what can be read no longer.
    pub(in crate::ldap) refused: Vec<(AccountUuid, Entry<'static>)>,
}

/// A part of the file, and the places for its records.
struct Part<'a> {
    number: usize,
    begin: u64,
    end: u64,
    records: &'a mut [Option<Record>],
}

/// What is found in a part beside records.
#[derive(Default)]
struct Aside {
    number: usize,
    without: Vec<AccountUuid>,
    refused: Vec<(AccountUuid, Entry<'static>)>,
    mistakes: Mistakes,
    warnings: Mistakes,
}

/// Reads what [`super::read::scan`] found.
pub(in crate::ldap) fn load(path: &Path, found: &Found, map: &AttributeMap, previous: &Snapshot) -> io::Result<Held> {
    // Those that were refused leave theirs empty.
    let places = found.good.len() + found.pending.len();
    let mut records: Vec<Option<Record>> = bulk::vector(places);
    records.resize_with(places, || None);
    let parts = Mutex::new(parts(found, &mut records).into_iter());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || -> io::Result<Vec<Aside>> {
        let mut asides = Vec::new();
        while let Some(part) = next() {
            asides.push(read_part(path, found, map, part)?);
        }
        Ok(asides)
    };
    let asides: io::Result<Vec<Vec<Aside>>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads()).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = others
            .into_iter()
            .map(|other| other.join().expect("it panics for nothing that a file holds"));
        std::iter::once(own).chain(others).collect()
    });
    let mut asides: Vec<Aside> = asides?.into_iter().flatten().collect();
    drop(parts);
    asides.sort_unstable_by_key(|aside| aside.number);
    let (mut without, mut refused) = (Vec::new(), Vec::new());
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    for aside in asides {
        without.extend(aside.without);
        refused.extend(aside.refused);
        mistakes.extend(aside.mistakes);
        warnings.extend(aside.warnings);
    }
    Ok(Held {
        changes: Changes::all(records, without.into_iter(), mistakes, warnings, previous),
        refused,
    })
}

/// The parts of the file, each with as many places as it has puts that are of use.
fn parts<'a>(found: &Found, mut records: &'a mut [Option<Record>]) -> Vec<Part<'a>> {
    let ends = found
        .parts
        .iter()
        .skip(1)
        .map(|part| part.begin)
        .chain([found.committed]);
    let part = |(number, (part, end)): (usize, (&read::Part, u64))| {
        let dead = found.dead_from(part.begin).partition_point(|at| *at < end);
        let (own, rest) = std::mem::take(&mut records).split_at_mut(part.puts - dead);
        records = rest;
        Part {
            number,
            begin: part.begin,
            end,
            records: own,
        }
    };
    found.parts.iter().zip(ends).enumerate().map(part).collect()
}

fn read_part(path: &Path, found: &Found, map: &AttributeMap, part: Part<'_>) -> io::Result<Aside> {
    let mut frames = Frames::of(File::open(path)?, part.begin, part.end);
    let mut places = part.records.iter_mut();
    let mut dead = found.dead_from(part.begin).iter().peekable();
    let mut aside = Aside {
        number: part.number,
        ..Aside::default()
    };
    let mut at = part.begin;
    while let Some(frame) = frames.next()? {
        at = frame.at + frame.whole.len() as u64;
        let Some(id) = frame.id().filter(|_| frame.kind == PUT) else {
            continue;
        };
        if dead.next_if_eq(&&frame.at).is_some() {
            continue;
        }
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let place = places.next().ok_or_else(damaged)?;
        let entry = entry(frame.payload).ok_or_else(damaged)?;
        if !found.pending.is_empty() && found.pending.get(&id) == Some(&frame.at) {
            aside.refused.push((id, entry.into_owned()));
        } else {
            let mut own = Mistakes::default();
            let (_, record) = convert::record(&entry, map, &mut own, &mut aside.warnings);
            if !own.is_empty() {
                // Names mean something else than when it was taken.
                aside.mistakes.extend(own);
                aside.refused.push((id, entry.into_owned()));
            } else if record.is_none() {
                aside.without.push(id);
            } else {
                *place = record;
            }
        }
    }
    // It was whole a moment ago.
    (at == part.end)
        .then_some(aside)
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
