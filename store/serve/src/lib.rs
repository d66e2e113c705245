//! The backend servers over the store: POP3 and IMAP sessions after login.

pub mod imap;
pub mod pop3;
