//! Reading the copy back: record by record, and what of it is of use.

use super::super::message::Cookie;
use super::{COMMIT, FRAME_BYTES, HEADER_BYTES, MAGIC, PUT, RECORD_BYTES_MAX, REFUSE, REMOVE, VERSION, checksum};
use crate::bulk;
use crate::entry::{Attribute, Entry};
use crate::record::AccountUuid;
use foldhash::quality::RandomState;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the file that are held at a time, unless a record is larger.
const BUFFER_BYTES: usize = 256 * 1024;
/// The file is cut into parts of about so many bytes, which can be read side by side.
const PART_BYTES: u64 = 1024 * 1024;

/// Bytes of most records, about: for the room that is made.
const RECORD_BYTES_USUAL: u64 = 400;

/// Places of puts, by entry.
pub(super) type Places = HashMap<AccountUuid, u64, RandomState>;

/// What a first look at a copy found. It counts what was committed, and nothing behind.
#[derive(Default)]
pub(in crate::ldap) struct Found {
    /// Behind the last commit.
    pub(in crate::ldap) committed: u64,
    /// Bytes behind that: what a crash cut off, or damage and all that follows it.
    pub(in crate::ldap) lost_bytes: u64,
    pub(in crate::ldap) cookie: Option<Cookie>,
    /// Of another search: its entries are good for a start, its cookie is not.
    pub(in crate::ldap) foreign: bool,
    /// The last good put of each entry.
    pub(super) good: Places,
    /// Puts behind it that were not taken.
    pub(super) pending: Places,
    /// Puts that are of no use, sorted.
    pub(super) dead: Vec<u64>,
    pub(super) parts: Vec<Part>,
    records: u64,
}

/// A part of the file.
pub(super) struct Part {
    pub(super) begin: u64,
    /// How many puts stand in it.
    pub(super) puts: usize,
}

impl Found {
    /// Of everything in it.
    pub(in crate::ldap) fn ids(&self) -> impl Iterator<Item = AccountUuid> {
        self.good.keys().chain(self.pending.keys()).copied()
    }

    /// Whether more than half of the records are of no use.
    pub(in crate::ldap) fn is_wasteful(&self) -> bool {
        let used = self.good.len() + self.pending.len();
        self.records > 2 * used as u64 + 1000
    }

    /// Applies what belongs to a commit. A refused put is the last one before that says so.
    fn commit(&mut self, said: &mut Vec<(u8, AccountUuid, u64)>) {
        let mut refused: HashSet<AccountUuid> = HashSet::new();
        for (kind, id, _) in said.iter_mut().rev() {
            match *kind {
                REFUSE => drop(refused.insert(*id)),
                PUT if !refused.is_empty() && refused.remove(id) => *kind = REFUSE,
                _ => {}
            }
        }
        self.records += said.len() as u64;
        // What is marked as refused is a put by now, or says so of one and has no place.
        let mut part = 0;
        for (kind, id, at) in said.drain(..) {
            if at > 0 {
                part += self.parts[part..]
                    .partition_point(|part| part.begin <= at)
                    .saturating_sub(1);
                self.parts[part].puts += 1;
            }
            if kind == REFUSE && at == 0 {
                continue;
            }
            if !self.pending.is_empty() {
                self.dead.extend(self.pending.remove(&id));
            }
            match kind {
                PUT => self.dead.extend(self.good.insert(id, at)),
                REFUSE => drop(self.pending.insert(id, at)),
                _ => self.dead.extend(self.good.remove(&id)),
            }
        }
    }

    /// The puts of no use from a place on.
    pub(super) fn dead_from(&self, begin: u64) -> &[u64] {
        &self.dead[self.dead.partition_point(|at| *at < begin)..]
    }
}

/// Checks all records, finds the last commit and what of the records before it is of use. `until`: no further than there.
/// `NotFound` when there is no copy; `InvalidData` when the file is none, or of another version.
pub(in crate::ldap) fn scan(path: &Path, identity: u64, until: Option<u64>) -> io::Result<Found> {
    let file = File::open(path)?;
    let mut header = [0; HEADER_BYTES as usize];
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    file.read_exact_at(&mut header, 0)
        .map_err(|_| wrong("no copy of a directory"))?;
    let (magic, rest) = header.split_at(8);
    let (version, found_identity) = rest.split_at(4);
    if magic != MAGIC {
        return Err(wrong("no copy of a directory"));
    }
    let version = u32::from_le_bytes(version.try_into().expect("it was split off with 4 bytes"));
    if version != VERSION {
        return Err(wrong(&format!(
            "a copy of format version {version}, this program reads {VERSION}"
        )));
    }
    let mut found = Found {
        committed: HEADER_BYTES,
        foreign: found_identity != identity.to_le_bytes(),
        parts: vec![Part {
            begin: HEADER_BYTES,
            puts: 0,
        }],
        ..Found::default()
    };
    let end = until.map_or_else(|| file.metadata().map(|file| file.len()), Ok)?;
    let expected = usize::try_from(end / RECORD_BYTES_USUAL).unwrap_or(0);
    found.good = bulk::map(expected);
    let mut said = bulk::vector(expected);
    let mut frames = Frames::of(file, HEADER_BYTES, end);
    while let Some(frame) = frames.next()? {
        let behind = frame.at + frame.bytes();
        match frame.kind {
            COMMIT => {
                found.cookie = Cookie::new(frame.payload);
                found.commit(&mut said);
                found.committed = behind;
            }
            PUT => said.extend(frame.id().map(|id| (PUT, id, frame.at))),
            kind @ (REMOVE | REFUSE) => said.extend(frame.id().map(|id| (kind, id, 0))),
            _ => {}
        }
        if found.parts.last().is_some_and(|part| behind - part.begin >= PART_BYTES) {
            found.parts.push(Part { begin: behind, puts: 0 });
        }
    }
    found.parts.retain(|part| part.begin < found.committed);
    found.dead.sort_unstable();
    found.lost_bytes = end.saturating_sub(found.committed);
    if found.foreign {
        found.cookie = None;
    }
    Ok(found)
}

/// One record of the file.
pub(super) struct Frame<'a> {
    /// Where it stands.
    pub(super) at: u64,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
    /// With its frame, as it stands in the file.
    pub(super) whole: &'a [u8],
}

impl Frame<'_> {
    /// The entry that it is about.
    pub(super) fn id(&self) -> Option<AccountUuid> {
        self.payload.first_chunk().map(|bytes| AccountUuid(*bytes))
    }

    fn bytes(&self) -> u64 {
        self.whole.len() as u64
    }
}

/// Reads records one after the other, through a buffer.
pub(super) struct Frames {
    file: File,
    buffer: Vec<u8>,
    /// Place of the buffer in the file, and what of it was handed out.
    buffer_at: u64,
    used: usize,
    end: u64,
}

impl Frames {
    /// The records from `from` on, none beyond `end`.
    pub(super) fn of(file: File, from: u64, end: u64) -> Frames {
        Frames {
            file,
            buffer: Vec::new(),
            buffer_at: from,
            used: 0,
            end,
        }
    }

    /// The next whole record; `None` at the end, or where what follows is torn.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        let at = self.buffer_at + self.used as u64;
        let left = self.end.saturating_sub(at);
        if left < FRAME_BYTES as u64 {
            return Ok(None);
        }
        self.need(FRAME_BYTES)?;
        let frame: [u8; FRAME_BYTES] = self.buffer[self.used..self.used + FRAME_BYTES]
            .try_into()
            .expect("cut to this length");
        let [a, b, c, d, e, f, g, h, kind] = frame;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let whole = FRAME_BYTES + length;
        if length > RECORD_BYTES_MAX || whole as u64 > left {
            return Ok(None);
        }
        self.need(whole)?;
        let begin = self.used;
        self.used += whole;
        let whole = &self.buffer[begin..self.used];
        let payload = &whole[FRAME_BYTES..];
        let good = checksum(kind, payload) == u32::from_le_bytes([e, f, g, h]);
        Ok(good.then_some(Frame {
            at,
            kind,
            payload,
            whole,
        }))
    }

    /// Makes sure of so many bytes behind what was handed out. They are there: the caller looked.
    fn need(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() - self.used >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.used);
        self.buffer_at += self.used as u64;
        self.used = 0;
        let held = self.buffer.len();
        let left = self.end - self.buffer_at - held as u64;
        let more = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(bytes.max(BUFFER_BYTES) - held);
        self.buffer.resize(held + more, 0);
        self.file
            .read_exact_at(&mut self.buffer[held..], self.buffer_at + held as u64)
    }
}

/// The entry of a put.
pub(super) fn entry(payload: &[u8]) -> Option<Entry<'_>> {
    let mut rest = payload.get(16..)?;
    let mut field = || {
        let (length, behind) = rest.split_first_chunk()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = behind;
        Some(bytes)
    };
    let dn = std::str::from_utf8(field()?).ok()?;
    let mut attributes = Vec::with_capacity(16);
    while let Some(name) = field() {
        attributes.push(Attribute {
            name: Cow::Borrowed(std::str::from_utf8(name).ok()?),
            value: Cow::Borrowed(field()?),
            position: None,
        });
    }
    Some(Entry {
        dn: Cow::Borrowed(dn),
        dn_position: None,
        attributes,
    })
}

/// The entry that was put at a place.
pub(super) fn entry_at(file: &File, at: u64) -> io::Result<Entry<'static>> {
    // No more than the record: an export asks for each entry by itself.
    let mut frame = [0; FRAME_BYTES];
    file.read_exact_at(&mut frame, at)?;
    let [a, b, c, d, e, f, g, h, kind] = frame;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    if kind != PUT || length > RECORD_BYTES_MAX {
        return Err(damaged());
    }
    let mut payload = vec![0; length];
    file.read_exact_at(&mut payload, at + FRAME_BYTES as u64)?;
    if checksum(kind, &payload) != u32::from_le_bytes([e, f, g, h]) {
        return Err(damaged());
    }
    entry(&payload).map(Entry::into_owned).ok_or_else(damaged)
}
