//! Reading the copy back.

use super::super::message::Cookie;
use super::{COMMIT, FRAME_BYTES, HEADER_BYTES, MAGIC, PUT, RECORD_BYTES_MAX, REFUSE, REMOVE, VERSION, checksum};
use crate::entry::{Attribute, Entry};
use crate::record::AccountUuid;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// What a first look at a copy found.
pub(in crate::ldap) struct Found {
    /// Behind the last commit.
    pub(in crate::ldap) committed: u64,
    pub(in crate::ldap) cookie: Option<Cookie>,
    /// Of another search: its entries are good for a start, its cookie is not.
    pub(in crate::ldap) foreign: bool,
    refused: HashSet<u64>,
}

/// Which puts are of use: the last good one of each entry, and a refused one behind it.
pub(super) struct Latest {
    good: HashMap<AccountUuid, u64>,
    pending: HashSet<u64>,
}

impl Latest {
    pub(super) fn is_wanted(&self, offset: u64, payload: &[u8]) -> bool {
        self.pending.contains(&offset) || uuid(payload).is_some_and(|id| self.good.get(&id) == Some(&offset))
    }

    pub(super) fn is_pending(&self, offset: u64) -> bool {
        self.pending.contains(&offset)
    }

    /// The offsets of the last good puts.
    pub(super) fn good(&self) -> impl Iterator<Item = u64> {
        self.good.values().copied()
    }
}

/// What reading goes through.
pub(in crate::ldap) enum Saying {
    Put(AccountUuid, Entry<'static>),
    /// The latest version of an entry, which was not taken when it came.
    Refused(AccountUuid, Entry<'static>),
    Remove(AccountUuid),
}

/// Checks all records and finds the last commit. `NotFound` when there is no copy; `InvalidData` when the file is none,
/// or of another version.
pub(in crate::ldap) fn scan(path: &Path, identity: u64) -> io::Result<Found> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut header = [0; HEADER_BYTES as usize];
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    file.read_exact(&mut header)
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
        cookie: None,
        foreign: found_identity != identity.to_le_bytes(),
        refused: HashSet::new(),
    };
    let mut refused = HashSet::new();
    let mut at = HEADER_BYTES;
    let mut payload = Vec::new();
    while let Some(kind) = next(&mut file, &mut payload)? {
        at += (FRAME_BYTES + payload.len()) as u64;
        match kind {
            COMMIT => {
                found.committed = at;
                found.cookie = Cookie::new(&payload);
                found.refused.extend(refused.drain());
            }
            REFUSE => refused.extend(payload.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))),
            _ => {}
        }
    }
    if found.foreign {
        found.cookie = None;
    }
    Ok(found)
}

/// The next whole record; `None` at the end, or where what follows is torn.
fn next(file: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Option<u8>> {
    let mut frame = [0; FRAME_BYTES];
    if !read_whole(file, &mut frame)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h, kind] = frame;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > RECORD_BYTES_MAX {
        return Ok(None);
    }
    payload.resize(length, 0);
    let whole = read_whole(file, payload)? && checksum(kind, payload) == u32::from_le_bytes([e, f, g, h]);
    Ok(whole.then_some(kind))
}

fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Calls `each` with place, kind and payload of every committed record.
pub(super) fn walk(
    path: &Path,
    found: &Found,
    mut each: impl FnMut(u64, u8, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    file.seek(SeekFrom::Start(HEADER_BYTES))?;
    let mut at = HEADER_BYTES;
    let mut payload = Vec::new();
    while at < found.committed {
        let Some(kind) = next(&mut file, &mut payload)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        each(at, kind, &payload)?;
        at += (FRAME_BYTES + payload.len()) as u64;
    }
    Ok(())
}

/// Which puts are of use.
pub(super) fn latest(path: &Path, found: &Found) -> io::Result<Latest> {
    let mut good = HashMap::new();
    let mut pending: HashMap<AccountUuid, u64> = HashMap::new();
    walk(path, found, |offset, kind, payload| {
        let Some(id) = uuid(payload) else { return Ok(()) };
        match kind {
            PUT if found.refused.contains(&offset) => {
                pending.insert(id, offset);
            }
            PUT => {
                pending.remove(&id);
                good.insert(id, offset);
            }
            REMOVE => {
                pending.remove(&id);
                good.remove(&id);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Latest {
        good,
        pending: pending.into_values().collect(),
    })
}

/// Reads what was committed, in the order in which it came.
pub(in crate::ldap) fn replay(path: &Path, found: &Found, mut each: impl FnMut(Saying)) -> io::Result<()> {
    walk(path, found, |offset, kind, payload| {
        let Some(id) = uuid(payload) else { return Ok(()) };
        match kind {
            PUT => {
                let entry = entry(payload).ok_or(io::ErrorKind::InvalidData)?;
                let refused = found.refused.contains(&offset);
                each(if refused {
                    Saying::Refused(id, entry)
                } else {
                    Saying::Put(id, entry)
                });
            }
            REMOVE => each(Saying::Remove(id)),
            _ => {}
        }
        Ok(())
    })
}

fn uuid(payload: &[u8]) -> Option<AccountUuid> {
    payload.first_chunk().map(|bytes| AccountUuid(*bytes))
}

/// The entry of a put.
pub(super) fn entry(payload: &[u8]) -> Option<Entry<'static>> {
    let mut rest = payload.get(16..)?;
    let mut field = || {
        let (length, behind) = rest.split_first_chunk()?;
        let (bytes, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        rest = behind;
        Some(bytes.to_vec())
    };
    let dn = String::from_utf8(field()?).ok()?;
    let mut attributes = Vec::new();
    while let Some(name) = field() {
        attributes.push(Attribute {
            name: Cow::Owned(String::from_utf8(name).ok()?),
            value: Cow::Owned(field()?),
            position: None,
        });
    }
    Some(Entry {
        dn: Cow::Owned(dn),
        dn_position: None,
        attributes,
    })
}

/// The entry that was put at `offset`.
pub(super) fn entry_at(path: &Path, offset: u64) -> io::Result<Entry<'static>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut payload = Vec::new();
    match next(&mut file, &mut payload)? {
        Some(PUT) => entry(&payload).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
