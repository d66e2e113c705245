//! An LDAP directory as a source: RFC 4533 content synchronisation (refreshAndPersist), with several servers to choose from.
//!
//! [`Directory`] is the source. `sync` decides what to take, `message` reads what a server sends, `connect` opens
//! connections, `link` holds the one that is followed, `pace` keeps the library from reading ahead, `servers` chooses the
//! server, `attempt` tries them all, `saved` keeps the copy on disk that a node starts from when no server answers.
//! [`Inquiries`] is what logins ask the directory, on connections of its own.
//!
//! The LDAP library's parsers panic on some malformed bytes. They run in a task of their own, and its panic is a
//! connection that was lost.

mod attempt;
mod ber;
mod connect;
mod directory;
mod inquiry;
mod link;
mod message;
mod options;
mod pace;
mod saved;
mod servers;
mod sync;

pub use attempt::try_servers;
pub use connect::{Connection, connect_to};
pub use directory::Directory;
pub use inquiry::{Bound, Inquiries, InquiryLimits, Reread};
pub use options::{Bind, LdapOptions, ServerUri, TlsOptions, UriError};
pub use saved::export;
