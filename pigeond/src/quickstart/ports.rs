//! The ports of a quickstart for which none were asked: the default ones, or the next ones that are free. The choice is made
//! once, stands in the configuration, and is told.

use super::{PORT_OFFSET_DEFAULT, PORT_OFFSET_MAX, STATUS_PORT};
use crate::config::Service;
use std::net::{Ipv4Addr, TcpListener};

/// Between two offsets that are tried, so that the standard port can still be read in the number.
const STEP: u16 = 1000;

/// The first of 2000, 3000, 4000 and so on with all ports free on loopback; 2000 when there is none.
pub(super) fn choose() -> u16 {
    let mut taken = None;
    for offset in (PORT_OFFSET_DEFAULT..=PORT_OFFSET_MAX).step_by(usize::from(STEP)) {
        match first_taken(offset) {
            None => {
                if let Some(port) = taken {
                    eprintln!("Port {port} is in use: the ports begin at {offset} and not at {PORT_OFFSET_DEFAULT}.");
                }
                return offset;
            }
            Some(port) => taken = taken.or(Some(port)),
        }
    }
    PORT_OFFSET_DEFAULT
}

fn first_taken(offset: u16) -> Option<u16> {
    Service::of_clients()
        .map(Service::standard_port)
        .chain([STATUS_PORT])
        .map(|port| offset + port)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over() {
        let chosen = choose();
        assert_eq!(first_taken(chosen), None);
        let Ok(_taken) = TcpListener::bind((Ipv4Addr::LOCALHOST, chosen + Service::Imap.standard_port())) else {
            return; // Somebody else was faster: the next assertion would be about them.
        };
        assert_eq!(first_taken(chosen), Some(chosen + Service::Imap.standard_port()));
        assert_ne!(choose(), chosen);
    }
}
