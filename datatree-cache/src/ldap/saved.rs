//! The copy on disk: what the directory said, entry by entry, and the cookie that goes with it.
//!
//! One file, only ever appended to: a change costs its own bytes, not those of the copy. A commit record says that all
//! before it belongs to its cookie; what is behind the last whole commit is cut off, so a crash costs a little asking. A
//! refused version of an entry stays in the file beside its last good one, and is tried again after a start.
//!
//! ```text
//! file    "PIGEONDC" version:u32 identity:u64 record*
//! record  length:u32 crc32c(kind payload):u32 kind:u8 payload
//! kind 1  put      uuid:16 dn:text32 (name:text32 value:bytes32)*
//! kind 2  remove   uuid:16
//! kind 3  commit   cookie
//! kind 4  refuse   uuid:16   the last put of it before this, in the same commit, was not taken
//! ```
//! All numbers little-endian; text32 and bytes32 are a u32 length and bytes.

mod compact;
mod export;
mod load;
mod read;

pub use export::export;
pub(super) use load::{Held, load};
pub(super) use read::{Found, scan};

use super::message::Cookie;
use crate::entry::Entry;
use crate::record::AccountUuid;
use compact::Compaction;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

pub(super) const MAGIC: &[u8; 8] = b"PIGEONDC";
pub(super) const VERSION: u32 = 2;
/// Bytes of the file's header.
pub(super) const HEADER_BYTES: u64 = 20;
/// Bytes of a record's frame, the kind counted.
pub(super) const FRAME_BYTES: usize = 9;
/// Larger records are damage. An entry is far below: servers limit what they take.
pub(super) const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) const PUT: u8 = 1;
pub(super) const REMOVE: u8 = 2;
pub(super) const COMMIT: u8 = 3;
pub(super) const REFUSE: u8 = 4;

const NAME: &str = "directory.copy";
const NEW_NAME: &str = "directory.copy.new";
const ASIDE_NAME: &str = "directory.copy.damaged";

/// The copy, open for appending. Blocking: for the follower's thread.
pub(super) struct Saved {
    directory: PathBuf,
    identity: u64,
    writer: Writer,
    /// Behind the last commit.
    committed: u64,
    synced: u64,
    compaction: Option<Compaction>,
    _claim: Claim,
}

/// The right to write in a copy directory: a name in the abstract socket space, which the kernel frees with the process. Two
/// nodes that append to one file would leave a copy of neither.
pub(super) struct Claim {
    _name: UnixDatagram,
}

impl Claim {
    /// Makes the directory, if it is not there, and claims it.
    pub(super) fn of(directory: &Path) -> io::Result<Claim> {
        std::fs::create_dir_all(directory)?;
        let found = std::fs::metadata(directory)?;
        let name = format!("pigeonair-copy/{}/{}", found.dev(), found.ino());
        let claimed = SocketAddr::from_abstract_name(name).and_then(|name| UnixDatagram::bind_addr(&name));
        claimed
            .map(|_name| Claim { _name })
            .map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => {
                    let what = format!("{}: another process writes there", directory.display());
                    io::Error::new(io::ErrorKind::AddrInUse, what)
                }
                _ => error,
            })
    }
}

/// The file of a copy directory.
pub(super) fn path_in(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Moves a copy that cannot be read out of the way. Returns where it is then.
pub(super) fn put_aside(directory: &Path) -> io::Result<PathBuf> {
    let aside = directory.join(ASIDE_NAME);
    std::fs::rename(path_in(directory), &aside)?;
    Ok(aside)
}

/// What the copy is of: a cookie is good for the same search only.
pub(super) fn identity(base: &str, filter: &str) -> u64 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(base.as_bytes());
    digest.update(&[0]);
    digest.update(filter.as_bytes());
    digest.finalize()
}

pub(super) fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&[kind]);
    digest.update(payload);
    // The crate gives 32-bit checksums in the low half of 64 bits.
    (digest.finalize() & u64::from(u32::MAX)) as u32
}

impl Saved {
    /// Opens the copy behind its last commit, or makes an empty one.
    pub(super) fn open(directory: &Path, identity: u64, found: Option<&Found>) -> io::Result<Saved> {
        let claim = Claim::of(directory)?;
        let path = path_in(directory);
        let writer = match found {
            Some(_) => Writer::of(File::options().read(true).write(true).open(&path)?),
            None => Writer::create(&path, identity)?,
        };
        let mut saved = Saved {
            directory: directory.to_owned(),
            identity,
            writer,
            committed: found.map_or(HEADER_BYTES, |found| found.committed),
            synced: HEADER_BYTES,
            compaction: None,
            _claim: claim,
        };
        match found {
            Some(found) => {
                saved.synced = found.committed;
                saved.rollback()?;
                if found.foreign {
                    saved.claim()?;
                }
            }
            None => {
                saved.writer.sync()?;
                File::open(directory)?.sync_all()?;
            }
        }
        Ok(saved)
    }

    /// Makes the copy of another search one of this search. Its cookie goes first, so that it never counts for this one.
    fn claim(&mut self) -> io::Result<()> {
        self.commit(None)?;
        self.sync()?;
        self.writer.identify(self.identity)
    }

    /// An entry is so. Returns where it stands, for [`Saved::entry_at`].
    pub(super) fn put(&mut self, id: AccountUuid, entry: &Entry<'_>) -> io::Result<u64> {
        let mut payload = id.0.to_vec();
        let mut field = |bytes: &[u8]| {
            // Servers do not send values of 4 GiB; one that does is cut, and the record is refused as it is.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            payload.extend(length.to_le_bytes());
            payload.extend(&bytes[..length as usize]);
        };
        field(entry.dn.as_bytes());
        for attribute in &entry.attributes {
            field(attribute.name.as_bytes());
            field(&attribute.value);
        }
        self.writer.record(PUT, &payload)
    }

    /// An entry is gone.
    pub(super) fn remove(&mut self, id: AccountUuid) -> io::Result<()> {
        self.writer.record(REMOVE, &id.0).map(drop)
    }

    /// The last put of this entry since the last commit was not taken.
    pub(super) fn refuse(&mut self, id: AccountUuid) -> io::Result<()> {
        self.writer.record(REFUSE, &id.0).map(drop)
    }

    /// All before belongs to `cookie`. Without one, the next start asks for everything, and has the entries meanwhile.
    pub(super) fn commit(&mut self, cookie: Option<&Cookie>) -> io::Result<()> {
        self.writer.record(COMMIT, cookie.map_or(&[], Cookie::bytes))?;
        self.writer.flush()?;
        self.committed = self.writer.end;
        Ok(())
    }

    /// Makes what was committed outlast a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced != self.committed {
            self.writer.sync()?;
            self.synced = self.committed;
        }
        Ok(())
    }

    /// Takes back what was not committed.
    pub(super) fn rollback(&mut self) -> io::Result<()> {
        self.writer.cut(self.committed)
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.writer.end
    }

    /// The entry that was put at a place since the last commit.
    pub(super) fn entry_at(&mut self, at: u64) -> io::Result<Entry<'static>> {
        self.writer.flush()?;
        read::entry_at(self.writer.file.get_ref(), at)
    }
}

/// A file of records that is appended to.
struct Writer {
    file: BufWriter<File>,
    /// Where the next record goes.
    end: u64,
}

impl Writer {
    fn of(file: File) -> Writer {
        Writer {
            file: BufWriter::with_capacity(256 * 1024, file),
            end: HEADER_BYTES,
        }
    }

    /// A new file with its header, in the place of whatever has the name.
    fn create(path: &Path, identity: u64) -> io::Result<Writer> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = File::options();
        // It holds password hashes.
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut writer = Writer::of(options.open(path)?);
        writer.file.write_all(MAGIC)?;
        writer.file.write_all(&VERSION.to_le_bytes())?;
        writer.file.write_all(&identity.to_le_bytes())?;
        Ok(writer)
    }

    fn identify(&mut self, identity: u64) -> io::Result<()> {
        self.flush()?;
        let at = HEADER_BYTES - size_of::<u64>() as u64;
        self.file.get_ref().write_all_at(&identity.to_le_bytes(), at)?;
        self.sync()
    }

    /// Appends a record. Returns where it stands.
    fn record(&mut self, kind: u8, payload: &[u8]) -> io::Result<u64> {
        let at = self.end;
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|length| *length as usize <= RECORD_BYTES_MAX)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an entry beyond 64 MiB"))?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&checksum(kind, payload).to_le_bytes())?;
        self.file.write_all(&[kind])?;
        self.file.write_all(payload)?;
        self.end += FRAME_BYTES as u64 + u64::from(length);
        Ok(at)
    }

    /// Appends whole records as they stand elsewhere.
    fn raw(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all(records)?;
        self.end += records.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().sync_data()
    }

    fn cut(&mut self, end: u64) -> io::Result<()> {
        self.flush()?;
        self.file.get_ref().set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
