//! Where sessions go, and whether TLS is on there.

use crate::client::Client;
use crate::command_line::{TlsMode, TlsOptions};
use crate::failure::Failure;
use pigeon_engine::tls::TlsConnector;
use std::net::SocketAddr;
use std::time::Duration;

/// See the module.
#[derive(Clone)]
pub(crate) struct Door {
    /// At least one.
    targets: Vec<SocketAddr>,
    tls: Option<(TlsMode, TlsConnector)>,
}

impl Door {
    pub(crate) fn new(targets: &[SocketAddr], tls: &TlsOptions) -> Result<Door, String> {
        let connector = |mode| {
            let connector = TlsConnector::unverified(&tls.tls_name);
            connector.map(|connector| (mode, connector))
        };
        match tls.tls.map(connector).transpose() {
            Ok(_) if targets.is_empty() => Err("no server is named".to_owned()),
            Ok(tls) => Ok(Door {
                targets: targets.to_vec(),
                tls,
            }),
            Err(error) => Err(format!("--tls-name: {error}")),
        }
    }

    /// A connection of session `index` of all, under TLS where that comes first.
    pub(crate) async fn connect(&self, index: u64, timeout: Duration) -> Result<Client, Failure> {
        let place = index % self.targets.len() as u64;
        let target = self.targets[usize::try_from(place).expect("below a length")];
        let client = Client::connect(target, pigeon_engine::now() + timeout).await?;
        match &self.tls {
            Some((TlsMode::Implicit, connector)) => client.secure(connector).await,
            _ => Ok(client),
        }
    }

    /// What TLS is begun with by a command of the protocol, where it is.
    pub(crate) fn starttls(&self) -> Option<&TlsConnector> {
        match &self.tls {
            Some((TlsMode::Starttls, connector)) => Some(connector),
            _ => None,
        }
    }
}
