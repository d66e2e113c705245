//! Looks into the files that a configuration names: certificates, keys, control data, volumes. What stands in control data is
//! looked into by [`contents`].
//!
//! Blocking, for the start, for `check`, and for a reload on the control thread's side; never on a core.

mod contents;

use super::mistake::Position;
use super::{Config, Volume};
use pigeon_engine::tls::{PemIdentity, TlsAcceptor};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest certificate chain or key, bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Where the files are named, so that a mistake in them can say so. No part of what a configuration means: two
/// configurations are equal whatever it holds.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The configuration's own file, as it was named.
    pub(super) file: PathBuf,
    /// Of the LDIF file, or of the directory's section.
    pub(super) control_data: Position,
    /// Of the node's key.
    pub(super) cluster_key: Position,
    /// Of each certificate, its chain and its key.
    pub(super) certificates: Vec<(Position, Position)>,
    /// Of each volume, its path.
    pub(super) volumes: Vec<Position>,
}

impl PartialEq for Written {
    fn eq(&self, _: &Written) -> bool {
        true
    }
}

/// Something wrong with a file that the configuration names; prints as `FILE:LINE:COLUMN: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMistake {
    /// The configuration, or the file that it names where that one has lines.
    pub file: PathBuf,
    /// Where in it.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl Config {
    fn named_here(&self, position: Option<&Position>, message: String) -> FileMistake {
        FileMistake {
            file: self.written.file.clone(),
            position: position.copied(),
            message,
        }
    }
}

/// What is found in the files that a configuration names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// With one of these no node starts.
    pub mistakes: Vec<FileMistake>,
    /// What a person should look at though it does no harm.
    pub warnings: Vec<FileMistake>,
}

/// Everything in the files that `config` names, for `check`.
pub fn check_files(config: &Config) -> Findings {
    let mut findings = Findings {
        mistakes: check_certificates(config),
        warnings: Vec::new(),
    };
    contents::check(config, &mut findings);
    if let Some(cluster) = &config.cluster {
        let here = Some(&config.written.cluster_key);
        if let Err(why) = super::read_key(&cluster.key_file) {
            findings
                .mistakes
                .push(config.named_here(here, format!("key_file: {why}")));
        } else if is_open_to_others(&cluster.key_file) {
            let why = format!(
                "key_file: {} may be read by others than the node",
                cluster.key_file.display()
            );
            findings.warnings.push(config.named_here(here, why));
        }
    }
    let mut seen = HashMap::new();
    for (volume, place) in config.volumes.iter().zip(&config.written.volumes) {
        let message = match directory(volume) {
            Ok(metadata) => seen
                .insert((metadata.dev(), metadata.ino()), &volume.id)
                .map(|other| format!("path: the volume \"{other}\" above is the same directory")),
            Err(message) => Some(message),
        };
        let mistake = message.map(|message| config.named_here(Some(place), message));
        findings.mistakes.extend(mistake);
    }
    findings
}

/// Whether more than its owner and group may read a file.
fn is_open_to_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o004 != 0)
}

/// Every mistake in certificates and keys.
pub fn check_certificates(config: &Config) -> Vec<FileMistake> {
    let identities = match read_identities(config) {
        Err(mistakes) => return mistakes,
        Ok(identities) if identities.is_empty() => return Vec::new(),
        Ok(identities) => identities,
    };
    let Err(error) = TlsAcceptor::new(&identities) else {
        return Vec::new();
    };
    // The engine says which pair it is; whether the chain or the key is wrong is in the sentence.
    let place = error
        .identity
        .and_then(|index| config.written.certificates.get(index))
        .map(|(chain, _)| chain);
    let named = error.identity.and_then(|index| config.certificates.get(index));
    let files = named.map(|pair| format!("{} with {}: ", pair.chain.display(), pair.key.display()));
    vec![config.named_here(place, format!("{}{}", files.unwrap_or_default(), error.message))]
}

/// The certificates and keys, in the order of the configuration; or what could not be read.
pub fn read_identities(config: &Config) -> Result<Vec<PemIdentity>, Vec<FileMistake>> {
    let mut identities = Vec::new();
    let mut mistakes = Vec::new();
    for (index, pair) in config.certificates.iter().enumerate() {
        let places = config.written.certificates.get(index);
        let mut read = |key: &str, path: &Path, place: Option<&Position>| match read_bounded(path, PEM_BYTES_MAX) {
            Ok(content) => Some(content),
            Err(error) => {
                let message = format!("{key}: {} cannot be read: {error}", path.display());
                mistakes.push(config.named_here(place, message));
                None
            }
        };
        let chain = read("chain", &pair.chain, places.map(|(chain, _)| chain));
        let key = read("key", &pair.key, places.map(|(_, key)| key));
        if let (Some(certificate_chain), Some(private_key)) = (chain, key) {
            identities.push(PemIdentity {
                certificate_chain,
                private_key,
            });
        }
    }
    if mistakes.is_empty() {
        Ok(identities)
    } else {
        Err(mistakes)
    }
}

fn directory(volume: &Volume) -> Result<Metadata, String> {
    match std::fs::metadata(&volume.path) {
        Ok(metadata) if metadata.is_dir() => Ok(metadata),
        Ok(_) => Err(format!("path: {} is not a directory", volume.path.display())),
        Err(error) => Err(format!("path: {} cannot be opened: {error}", volume.path.display())),
    }
}

/// A regular file whole, or an error when it is longer than `bytes_max`. Anything else might never end, or never begin: the
/// control thread reads these files again on a reload.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Of a pipe that nobody writes to, an open without this flag waits; for a regular file it means nothing.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("expected a regular file"));
    }
    let mut content = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it is longer than {bytes_max} bytes")));
    }
    Ok(content)
}
