//! What a quickstart tells the person at the terminal: how to send a first mail, and how to read it.

use super::{ACCOUNTS, CERTIFICATE_FILE, DOMAIN, PASSWORD};
use crate::config::{Config, Service};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Lines to be printed once the node serves. The two commands work as they are printed, the second after the first.
pub(super) fn text(directory: &Path, config: &Config) -> String {
    let address = |service: Service| {
        config
            .listeners
            .iter()
            .find(|listener| listener.service == service)
            .map(|listener| listener.address)
    };
    let [reader, sender] = ACCOUNTS;
    let mut text = format!("\nThe node in {} serves {DOMAIN}.\n", directory.display());
    // Writing to a string cannot fail, so the results are dropped throughout.
    if let Some(smtp) = address(Service::Smtp) {
        let _ = write!(
            text,
            "\nSend a first mail from {sender} to {reader}:\n\n  \
             printf 'From: {sender}@{DOMAIN}\\r\\nTo: {reader}@{DOMAIN}\\r\\nSubject: A first mail\\r\\n\\r\\nHello!\\r\\n' | \
             curl -sS smtp://{smtp} --mail-from {sender}@{DOMAIN} --mail-rcpt {reader}@{DOMAIN} -T -\n"
        );
    }
    if let Some(imap) = address(Service::Imap) {
        let _ = write!(
            text,
            "\nRead it:\n\n  curl -sS 'imap://{imap}/INBOX;MAILINDEX=1' -u {reader}@{DOMAIN}:{PASSWORD}\n"
        );
    }
    let ports: Vec<String> = config
        .listeners
        .iter()
        .map(|listener| format!("{} {}", listener.service, listener.address.port()))
        .collect();
    let accounts = ACCOUNTS.map(|account| format!("{account}@{DOMAIN}"));
    let _ = write!(
        text,
        "\nAccounts: {}, password {PASSWORD}\nPorts: {}\nCertificate, to be trusted by clients: {}\n",
        accounts.join(", "),
        ports.join(", "),
        directory.join(CERTIFICATE_FILE).display()
    );
    if let Some(status) = config.status {
        let _ = writeln!(text, "Status: http://{}/", loopback_url(status.address));
    }
    text.push_str("Ctrl-C ends the node; the same command goes on with what is there.\n");
    text
}

/// As a browser on this machine reaches it.
fn loopback_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("127.0.0.1:{}", address.port())
    } else {
        address.to_string()
    }
}
