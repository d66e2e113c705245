//! Where sessions go, and whether TLS is on there.

use crate::client::Client;
use crate::command_line::{TlsMode, TlsOptions};
use crate::content::mixed;
use crate::failure::Failure;
use pigeon_engine::tls::TlsConnector;
use std::net::SocketAddr;
use std::time::Duration;

/// The host name that is asked for, where nobody says.
const TLS_NAME: &str = "mail.example.org";

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
            let connector = TlsConnector::unverified(tls.tls_name.as_deref().unwrap_or(TLS_NAME));
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

    /// Connection `number`, under TLS where that comes first. As many numbers in a row as there are servers go to each of them
    /// once, in an order without a period: accounts go round by the same numbers, and are not to come to the same server
    /// always.
    pub(crate) async fn connect(&self, number: u64, timeout: Duration) -> Result<Client, Failure> {
        let client = self.connect_in_the_clear(number, timeout).await?;
        match &self.tls {
            Some((TlsMode::Implicit, connector)) => client.secure(connector).await,
            _ => Ok(client),
        }
    }

    /// The same without TLS, whatever is to come.
    pub(crate) async fn connect_in_the_clear(&self, number: u64, timeout: Duration) -> Result<Client, Failure> {
        let target = self.targets[place(number, self.targets.len())];
        Client::connect(target, pigeon_engine::now() + timeout).await
    }

    /// Whether TLS comes first or by a command, and how it is begun.
    pub(crate) fn tls(&self) -> Option<(TlsMode, &TlsConnector)> {
        self.tls.as_ref().map(|(mode, connector)| (*mode, connector))
    }

    /// What TLS is begun with by a command of the protocol, where it is.
    pub(crate) fn starttls(&self) -> Option<&TlsConnector> {
        match &self.tls {
            Some((TlsMode::Starttls, connector)) => Some(connector),
            _ => None,
        }
    }
}

fn place(number: u64, servers: usize) -> usize {
    let servers = servers as u64;
    let round = mixed(number / servers) % servers;
    usize::try_from((number % servers + round) % servers).expect("below a length")
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn each_server_is_met_as_often_and_by_each_account() {
        for servers in 1..=4 {
            for accounts in [1, 2, 3, 4, 16, 100] {
                let mut met = vec![vec![0; servers]; accounts];
                for number in 0..60_000 {
                    met[number % accounts][place(number as u64, servers)] += 1;
                }
                let of_all = |server: usize| met.iter().map(|account| account[server]).sum::<usize>();
                assert!((0..servers).all(|server| of_all(server) == 60_000 / servers));
                let even = 60_000 / accounts / servers;
                let far = met.iter().flatten().find(|&&count| count.abs_diff(even) > even / 2);
                assert_eq!(far, None, "{accounts} accounts, {servers} servers");
            }
        }
        assert!(place(u64::MAX, 3) < 3);
    }
}
