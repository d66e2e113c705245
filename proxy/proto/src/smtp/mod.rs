//! The SMTP core: RFC 5321 and its extensions, LMTP (RFC 2033) and submission (RFC 6409), from the server's side.

pub mod parameters;

pub use parameters::{BodyType, MailParameters, Notify, OriginalRecipient, RecipientParameters, Return};
