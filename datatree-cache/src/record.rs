//! Records: the entries of control data as the rest of the program sees them, typed and immutable.
//!
//! A record is shared by `Arc`: whoever took one keeps it whole, from the first line of a delivery or login to the
//! last, whatever is published meanwhile. Its generation is the one in which its content last changed.

mod account;
mod cluster;
mod domain;
mod forwarded;
mod group;
mod packed;
mod private_address;
mod server;

pub use account::{Account, Previous};
pub(crate) use account::{AccountFields, LOST};
pub use cluster::{ModuleService, Volume};
pub use domain::Domain;
pub use forwarded::{FORWARDED_BYTES_MAX, ForwardedError};
pub use group::{Group, Member};
pub use private_address::{BackendProtocol, PrivateAddress};
pub use server::{NodeState, Role, RoleSet, Server};

use std::fmt;

/// The entryUUID (RFC 4530) of a record: the key of an account's mail, so that a rename never moves mail.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountUuid(pub [u8; 16]);

impl fmt::Display for AccountUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for AccountUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an account may hold. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of messages.
    pub bytes: Option<u64>,
    /// Number of messages.
    pub messages: Option<u64>,
}

/// The status of an account or of a domain (accountStatus). The order is from most to least allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountStatus {
    /// Receives mail and may log in.
    #[default]
    Active,
    /// Receives mail, may not log in.
    NoAccess,
    /// Neither receives mail nor may log in; the mail that is there stays.
    Disabled,
    /// As if it did not exist; its mail is purged later.
    Deleted,
}

/// What an account can be allowed to use (enabledService).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Receives mail by SMTP.
    Smtp,
    /// May send mail by submission.
    Submission,
    /// May log in by POP3.
    Pop3,
    /// May log in by IMAP.
    Imap,
    /// Receives mail by LMTP.
    Lmtp,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] = [
        Service::Smtp,
        Service::Submission,
        Service::Pop3,
        Service::Imap,
        Service::Lmtp,
    ];

    /// The value of enabledService that names it.
    pub const fn name(self) -> &'static str {
        match self {
            Service::Smtp => "smtp",
            Service::Submission => "submission",
            Service::Pop3 => "pop3",
            Service::Imap => "imap",
            Service::Lmtp => "lmtp",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of services.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceSet(u8);

impl ServiceSet {
    /// Every service: what an entry without enabledService has.
    pub const ALL: ServiceSet = ServiceSet(0b1_1111);
    /// No service.
    pub const NONE: ServiceSet = ServiceSet(0);

    /// Whether `service` is in the set.
    pub const fn contains(self, service: Service) -> bool {
        self.0 & service.bit() != 0
    }

    /// The set with `service` in it.
    #[must_use]
    pub const fn with(self, service: Service) -> ServiceSet {
        ServiceSet(self.0 | service.bit())
    }
}

impl fmt::Debug for ServiceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(
                Service::ALL
                    .iter()
                    .filter(|service| self.contains(**service))
                    .map(|s| s.name()),
            )
            .finish()
    }
}

/// How mail for an account is delivered (deliveryMode). Kept for the delivery modules; the store delivers whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryMode {
    /// `noforward`: forwarding addresses are ignored.
    pub no_forward: bool,
    /// `nolocal` or `forwardonly`: nothing is stored here.
    pub no_local: bool,
    /// `noprogram`: no programs are run.
    pub no_program: bool,
    /// `reply`: an automatic answer (mailReplyText) is sent.
    pub reply: bool,
}

/// One value of an attribute that the schema does not know, kept for modules that come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Valid UTF-8 without control characters other than tab and line ends.
    Text(&'a str),
    /// Anything else.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    fn of(bytes: &[u8]) -> Value<'_> {
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) => Value::Text(text),
            _ => Value::Bytes(bytes),
        }
    }
}
