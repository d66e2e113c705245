//! Control data: who exists, where their mail lives, what they asked for.
//!
//! A source ([`source::DataTree`]: an LDIF file, or an LDAP directory) gives entries; the schema turns them into typed,
//! immutable [`record`]s; a [`Snapshot`] is one coherent copy of all of them, published to the cores through
//! [`Copy`](struct@Copy) and read there through [`CoreCopy`] with no lock and no allocation.
//!
//! Invariants: a record never changes once it is published; generations only grow; a lookup never waits.
//! What this crate does not do: it never writes control data and it knows nothing of mail data or sockets.

mod address;
mod bulk;
mod copy;
mod dn;
mod entry;
pub mod generalized_time;
mod keyed;
pub mod ldap;
pub mod ldif;
mod mistake;
pub mod password;
pub mod record;
mod schema;
mod slowing;
mod snapshot;
pub mod source;

pub use address::{Address, AddressError, LOCAL_PART_BYTES_MAX, MAILBOX_BYTES_MAX, canonical_domain};
pub use copy::{Copy, CoreCopy, Current};
pub use dn::{DnError, canonical_dn};
pub use entry::{Attribute, Entry};
pub use mistake::{Mistake, Mistakes, Position};
pub use record::{Account, AccountStatus, AccountUuid, DeliveryMode, Domain, Group, Quota, Service, ServiceSet, Value};
pub use record::{FORWARDED_BYTES_MAX, ForwardedError};
pub use schema::{AttributeMap, AttributeMapError, Kind, Purpose, kind};
pub use slowing::{FailureSlowing, SlowingOptions};
pub use snapshot::{
    Changed, Changes, CopyState, Difference, Expansion, GROUP_DEPTH_MAX, GROUP_MEMBERS_MAX, MemoryBytes, NoOwner,
    Owner, Recipient, Snapshot,
};
