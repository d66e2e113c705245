//! What a quickstart tells the person at the terminal: how to send a first mail, and how to read it.

use super::{ACCOUNTS, CERTIFICATE_FILE, DOMAIN, PASSWORD};
use crate::config::{Config, Service};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Lines to be printed once the node serves. Each command works as it is printed.
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
    let user = format!("{reader}@{DOMAIN}:{PASSWORD}");
    if let Some(imap) = address(Service::Imap) {
        let _ = write!(
            text,
            "\nRead it by IMAP:\n\n  curl -sS 'imap://{imap}/INBOX;MAILINDEX=1' -u {user}\n"
        );
    }
    if let Some(pop3) = address(Service::Pop3) {
        let _ = write!(text, "\nOr by POP3:\n\n  curl -sS pop3://{pop3}/1 -u {user}\n");
    }
    if let Some(imaps) = address(Service::Imaps) {
        let certificate = shell_word(&directory.join(CERTIFICATE_FILE).to_string_lossy());
        let _ = write!(
            text,
            "\nOr over TLS:\n\n  curl -sS 'imaps://{imaps}/INBOX;MAILINDEX=1' -u {user} --cacert {certificate}\n"
        );
    }
    for listener in &config.listeners {
        let lead = if listener.address == config.listeners[0].address {
            "\nListening: "
        } else {
            ", "
        };
        let _ = write!(text, "{lead}{} {}", listener.service, listener.address.port());
    }
    let accounts: Vec<String> = ACCOUNTS.iter().map(|account| format!("{account}@{DOMAIN}")).collect();
    let _ = write!(text, "\nAccounts: {}, password {PASSWORD}\n", accounts.join(", "));
    if let Some(status) = config.status {
        let _ = writeln!(text, "Status: http://{}/", loopback_url(status.address));
    }
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

/// A word as a shell takes it.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (text, expected) in [
            ("pigeon-data/certificate.pem", "pigeon-data/certificate.pem"),
            ("my data/c.pem", "'my data/c.pem'"),
            ("it's/c.pem", "'it'\\''s/c.pem'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(text), expected);
        }
    }
}
