//! A small node in one directory: configuration, two accounts, a self-signed certificate and a volume, on loopback.
//!
//! The configuration is written last, so its presence says that the directory is whole: a first start that was cut off is
//! taken up again, and a later start goes on with whatever is there, changes of the user's included. Nothing that exists
//! is ever written over.

mod announcement;
mod certificate;
mod content;
mod ports;

use crate::Start;
use crate::config::{Config, Service, Volume};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Added to the standard ports unless told otherwise: SMTP at 2025.
pub const PORT_OFFSET_DEFAULT: u16 = 2000;

/// The highest offset that leaves room for the highest standard port.
pub const PORT_OFFSET_MAX: u16 = u16::MAX - Service::Pop3s.standard_port();

/// The status port without the offset.
const STATUS_PORT: u16 = 80;

const CONFIG_FILE: &str = "pigeon.toml";
const LDIF_FILE: &str = "users.ldif";
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "private-key.pem";
const VOLUME_ID: &str = "main";
const VOLUME_DIRECTORY: &str = "volumes/main";

/// The accounts, all in `DOMAIN`, and the password of each.
const ACCOUNTS: [&str; 2] = ["alice", "bob"];
const DOMAIN: &str = "example.org";
const PASSWORD: &str = "pigeon";

/// Makes what is missing in `directory`, and gives what the node is started with. `port_offset` counts when the
/// configuration is made; without it the ports are those of `ports::choose`. `Err` is a sentence for the user.
pub fn prepare(directory: &Path, port_offset: Option<u16>) -> Result<Start, String> {
    let config_file = directory.join(CONFIG_FILE);
    let failed = |path: &Path, error: io::Error| format!("{}: cannot be made: {error}", path.display());
    if !config_file.exists() {
        make_directory(directory).map_err(|error| failed(directory, error))?;
        let volume = directory.join(VOLUME_DIRECTORY);
        make_directory(&volume).map_err(|error| failed(&volume, error))?;
        certificate::make(directory)?;
        let ldif = directory.join(LDIF_FILE);
        if !ldif.exists() {
            write_new(&ldif, content::ldif().as_bytes(), Secrecy::OwnerOnly).map_err(|error| failed(&ldif, error))?;
        }
        let config = content::config(port_offset.unwrap_or_else(ports::choose));
        write_new(&config_file, config.as_bytes(), Secrecy::Readable).map_err(|error| failed(&config_file, error))?;
    }
    let config = Config::load(&config_file).map_err(|error| error.to_string())?;
    let announcement = announcement::text(directory, &config);
    // Only here is an empty directory known to be a new volume and not an unmounted disk: this command makes no others.
    let create_volumes = config.volumes.iter().all(|volume| is_own_and_unused(directory, volume));
    Ok(Start {
        config,
        config_file,
        create_volumes,
        announcement: Some(announcement),
    })
}

/// Prints an announcement to stdout. Nobody has to be there to read it.
pub fn announce(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Whether the volume is the one made here, with nothing in it yet.
fn is_own_and_unused(directory: &Path, volume: &Volume) -> bool {
    let own = std::path::absolute(directory.join(VOLUME_DIRECTORY)).is_ok_and(|path| path == volume.path);
    own && std::fs::read_dir(&volume.path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    OwnerOnly,
    Readable,
}

/// A directory and its parents; one that is there is left as it is.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a file whole or not at all. It must not be there.
fn write_new(path: &Path, content: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let mode = if secrecy == Secrecy::OwnerOnly { 0o600 } else { 0o644 };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    // One may be left from a start that was cut off.
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    // A link, unlike a rename, fails when somebody has made the file meanwhile.
    std::fs::hard_link(&temporary, path)?;
    std::fs::remove_file(&temporary)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
