//! What the files of a quickstart hold.

use super::{
    ACCOUNTS, CERTIFICATE_FILE, DOMAIN, KEY_FILE, LDIF_FILE, PASSWORD, STATUS_PORT, VOLUME_DIRECTORY, VOLUME_ID,
};
use crate::config::Service;
use pigeon_datatree_cache::password;
use std::fmt::Write;
use uuid::Uuid;

/// The configuration, with the ports moved by `port_offset`, at most `PORT_OFFSET_MAX`.
pub(super) fn config(port_offset: u16) -> String {
    let port = |standard: u16| port_offset.saturating_add(standard);
    let mut text = format!(
        "# A node for trying things out, on loopback only. `pigeond check --config FILE` prints every setting there is.\n\
         # Paths are relative to this file.\n\
         hostname = \"localhost\"\n\n\
         [control_data]\nldif = \"{LDIF_FILE}\"\n\n\
         [[certificate]]\nchain = \"{CERTIFICATE_FILE}\"\nkey = \"{KEY_FILE}\"\n\n\
         [[volume]]\nid = \"{VOLUME_ID}\"\npath = \"{VOLUME_DIRECTORY}\"\n\
         # Small, because the disk may be: one segment is always kept ahead.\n\
         segment_bytes = \"64 MiB\"\nreserve_bytes = \"256 MiB\"\n\n\
         [status]\naddress = \"127.0.0.1:{}\"\n",
        port(STATUS_PORT)
    );
    for service in Service::of_clients() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[listener]]\naddress = \"127.0.0.1:{}\"\nservice = \"{service}\"\n\
             # Whoever is on this machine may log in without TLS.\n\
             trusted_networks = [\"127.0.0.0/8\"]\n",
            port(service.standard_port())
        );
    }
    text
}

/// The accounts, each with a salt of its own.
pub(super) fn ldif() -> String {
    let suffix = DOMAIN
        .split('.')
        .map(|label| format!("dc={label}"))
        .collect::<Vec<_>>()
        .join(",");
    let mut text = format!(
        "# Who exists. Change it while the node runs: it is taken over whole as soon as it is saved.\n\
         version: 1\n\n\
         dn: associatedDomain={DOMAIN},ou=domains,{suffix}\n\
         objectClass: domainRelatedObject\nobjectClass: pigeonDomain\n\
         associatedDomain: {DOMAIN}\n\
         # Who reads what is sent to postmaster, which every domain has (RFC 5321 section 4.5.1).\n\
         pigeonPostmaster: {}@{DOMAIN}\n",
        ACCOUNTS[0]
    );
    for account in ACCOUNTS {
        let mut name = account.to_owned();
        if let Some(first) = name.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let _ = write!(
            text,
            "\ndn: uid={account},ou=people,{suffix}\n\
             objectClass: inetOrgPerson\n\
             entryUUID: {}\n\
             uid: {account}\ncn: {name}\nsn: {name}\n\
             mail: {account}@{DOMAIN}\n\
             userPassword: {}\n",
            Uuid::new_v4(),
            // Everybody knows this password, so a dear hash protects nothing, and a load test logs in often.
            password::hash(PASSWORD, password::Scheme::SaltedSha512)
        );
    }
    text
}
