//! That no two processes serve the same volume or the same port. Both would work for a while, and then lose mail.
//!
//! A volume is claimed by a name in the abstract socket space, which the kernel frees with the process, however that ends:
//! no lock on a file, nothing to clean up.

use crate::config::{Config, Volume};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::DirBuilder;
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// For how long a port may be in use before that is an error: the kernel takes a process's rings apart after the process has
/// ended, and with them its listeners, so that a node that was killed and started again finds its own ports for a moment.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PORT_LOOK: Duration = Duration::from_millis(20);

/// Claims of this process, for as long as they are kept.
pub(super) struct Claims {
    _volumes: Vec<UnixDatagram>,
}

/// Claims all volumes, and sees that all ports are free. With `create`, directories of volumes that are not there are made
/// first, so that a volume that is about to be made is claimed as well. Without it a volume whose directory is not there
/// needs no claim: it stays closed.
pub(super) async fn claim(config: &Config, create: bool) -> Result<Claims, String> {
    let until = Instant::now() + PORT_PATIENCE;
    for listener in config.all_listeners() {
        // Our own cores share their ports (SO_REUSEPORT), so that the kernel would let a second node share them as well.
        while let Err(error) = TcpListener::bind(listener.address) {
            if error.kind() != io::ErrorKind::AddrInUse || Instant::now() >= until {
                return Err(format!("listener {} {}: {error}", listener.service, listener.address));
            }
            tokio::time::sleep(PORT_LOOK).await;
        }
    }
    claim_volumes(&config.volumes, create)
}

fn claim_volumes(volumes: &[Volume], create: bool) -> Result<Claims, String> {
    let mut claims = Vec::with_capacity(volumes.len());
    let mut own: HashMap<Identity, &str> = HashMap::new();
    for volume in volumes {
        let failed = |why: &dyn Display| Err(format!("volume {:?} at {}: {why}", volume.id, volume.path.display()));
        let identity = match identity(volume, create) {
            Ok(None) => continue,
            Ok(Some(identity)) => identity,
            Err(error) => return failed(&error),
        };
        if let Some(other) = own.insert(identity, &volume.id) {
            return failed(&format!("the volume {other:?} is the same directory"));
        }
        match claim_identity(identity) {
            Ok(claim) => claims.push(claim),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return failed(&"another process has it open"),
            Err(error) => return failed(&error),
        }
    }
    Ok(Claims { _volumes: claims })
}

/// Device and inode of a volume's directory, which are the same by every path.
type Identity = (u64, u64);

fn identity(volume: &Volume, create: bool) -> io::Result<Option<Identity>> {
    if create {
        DirBuilder::new().recursive(true).mode(0o700).create(&volume.path)?;
    }
    match std::fs::metadata(&volume.path) {
        Ok(directory) => Ok(Some((directory.dev(), directory.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn claim_identity((device, inode): Identity) -> io::Result<UnixDatagram> {
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!(
        "pigeonair-volume/{device}/{inode}"
    ))?)
}

#[cfg(test)]
mod tests {
    use super::claim_volumes;
    use crate::config::{Size, Volume};
    use crate::scratch::Directory;
    use std::path::PathBuf;

    fn volume(id: &str, path: PathBuf) -> Volume {
        Volume {
            id: id.to_owned(),
            path,
            core: None,
            segment_bytes: Size::mib(8),
            bytes_max: None,
            reserve_bytes: Size::mib(1),
        }
    }

    #[test]
    fn a_volume_is_claimed_once_at_a_time() {
        let scratch = Directory::new("occupancy");
        let here = [volume("main", scratch.path().to_owned())];
        let first = claim_volumes(&here, false).expect("nobody has it");
        let again = claim_volumes(&[volume("other", scratch.path().join("."))], false).err();
        assert_eq!(
            again,
            Some(format!(
                "volume \"other\" at {}/.: another process has it open",
                scratch.path().display()
            ))
        );
        drop(first);
        assert!(claim_volumes(&here, false).is_ok());
    }

    #[test]
    fn a_volume_that_is_about_to_be_made_is_claimed_too() {
        let scratch = Directory::new("occupancy");
        let new = [volume("main", scratch.path().join("deep/new"))];
        // Not there and not to be made: it stays closed, and there is nothing to claim.
        let _left = claim_volumes(&new, false).expect("nothing is claimed");
        let _claimed = claim_volumes(&new, true).expect("nobody has it");
        let again = claim_volumes(&new, true).err().expect("it is claimed");
        assert!(again.ends_with("another process has it open"), "{again}");
    }

    #[test]
    fn one_directory_is_not_two_volumes() {
        let scratch = Directory::new("occupancy");
        let twice = [
            volume("main", scratch.path().to_owned()),
            volume("other", scratch.path().join(".")),
        ];
        let why = claim_volumes(&twice, false).err().expect("they are one");
        assert!(why.ends_with("the volume \"main\" is the same directory"), "{why}");
    }
}
