//! POP3 after the login, beside the volume that holds the mail.
//!
//! A session sees the INBOX as it was at its login; what others do to it meanwhile shows as `-ERR` for messages that are
//! gone. DELE marks, and only QUIT deletes. One POP3 session an account at a time ([IN-USE]); IMAP sessions do not mind.
//! RETR leaves flags alone: fetching mail is not reading it, and a client that leaves mail on the server would otherwise
//! mark it read for all others, at the price of a durable write a message.
//!
//! A message passes in pieces and is never in memory whole. While the client is silent the session is the snapshot (eight
//! octets a message) and the stream.

mod session;

pub use session::{Pop3Limits, Pop3Login, run};

#[cfg(test)]
mod tests;
