//! What faces clients: SMTP and LMTP ingestion, POP3 and IMAP up to the login.

pub mod login;
pub mod smtp;
