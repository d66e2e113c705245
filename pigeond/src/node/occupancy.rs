//! That no two processes serve the same volume or the same port. Both would work for a while, and then lose mail.
//!
//! A volume is claimed by a name in the abstract socket space, which the kernel frees with the process, however that ends:
//! no lock on a file, nothing to clean up.

use crate::config::{Config, Volume};
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
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

/// Claims all volumes, and sees that all ports are free. A volume whose directory is not there is left to those who open it.
pub(super) async fn claim(config: &Config) -> Result<Claims, String> {
    let until = Instant::now() + PORT_PATIENCE;
    for listener in &config.listeners {
        // Our own cores share their ports (SO_REUSEPORT), so that the kernel would let a second node share them as well.
        while let Err(error) = TcpListener::bind(listener.address) {
            if error.kind() != io::ErrorKind::AddrInUse || Instant::now() >= until {
                return Err(format!("listener {} {}: {error}", listener.service, listener.address));
            }
            tokio::time::sleep(PORT_LOOK).await;
        }
    }
    let mut claims = Vec::with_capacity(config.volumes.len());
    for volume in &config.volumes {
        match claim_volume(volume) {
            Ok(claim) => claims.extend(claim),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let (id, path) = (&volume.id, volume.path.display());
                return Err(format!("volume {id:?} at {path}: another process has it open"));
            }
            Err(error) => return Err(format!("volume {:?} at {}: {error}", volume.id, volume.path.display())),
        }
    }
    Ok(Claims { _volumes: claims })
}

fn claim_volume(volume: &Volume) -> io::Result<Option<UnixDatagram>> {
    let directory = match std::fs::metadata(&volume.path) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = format!("pigeonair-volume/{}/{}", directory.dev(), directory.ino());
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::claim_volume;
    use crate::config::{Size, Volume};
    use crate::scratch::Directory;

    #[test]
    fn a_volume_is_claimed_once_at_a_time() {
        let scratch = Directory::new("occupancy");
        let volume = |path| Volume {
            id: "main".to_owned(),
            path,
            core: None,
            segment_bytes: Size::mib(8),
            bytes_max: None,
            reserve_bytes: Size::mib(1),
        };
        let here = volume(scratch.path().to_owned());
        let first = claim_volume(&here).expect("nobody has it").expect("it is there");
        let again = claim_volume(&volume(scratch.path().join("."))).expect_err("it is claimed, by any path");
        assert_eq!(again.kind(), std::io::ErrorKind::AddrInUse);
        drop(first);
        assert!(claim_volume(&here).is_ok_and(|claim| claim.is_some()));
        assert!(claim_volume(&volume(scratch.path().join("none"))).is_ok_and(|claim| claim.is_none()));
    }
}
