//! Trying servers without following them: for a check of the configuration, before a node depends on it.

use super::link::{Heard, Link};
use super::options::{LdapOptions, ServerUri};
use crate::source::Report;
use std::io;
use std::time::Duration;
use tokio::time::timeout;

/// How long the first entry may take, beyond what the bind may.
const FIRST_ENTRY_PATIENCE: Duration = Duration::from_secs(30);

/// Connects to every server, binds, and begins the search that a node would follow, up to the first thing that it brings.
/// Says of each server what is wrong, in one sentence: the connection, the certificate, the bind, the base, the filter, or
/// content synchronisation. Blocks.
pub fn try_servers(options: &LdapOptions) -> io::Result<Vec<(ServerUri, Result<(), String>)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = options.servers.iter().map(|server| {
        let outcome = runtime.block_on(try_server(server, options));
        (server.clone(), outcome)
    });
    Ok(outcomes.collect())
}

async fn try_server(server: &ServerUri, options: &LdapOptions) -> Result<(), String> {
    let report = Report::new(server.to_string());
    let opened = Link::open(server, options, None, report).await;
    let mut link = opened.map_err(|trouble| trouble.why)?;
    let patience = options.answer_timeout + FIRST_ENTRY_PATIENCE;
    match timeout(patience, link.next(options, false)).await {
        Ok(Heard::Message(_)) => Ok(()),
        Ok(Heard::Lost(trouble)) => Err(trouble.at(server).why),
        Ok(Heard::Behind | Heard::Again { .. }) => Err(format!("{server}: a refused cookie, though none was sent")),
        Err(_) => Err(format!(
            "{server}: no entry below {} within {} s",
            options.base,
            patience.as_secs_f64()
        )),
    }
}
