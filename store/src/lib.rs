//! mailStore: volumes of many accounts, each a journal that is the database.
//!
//! One core owns a volume; everything here is `Rc`, single-core and without locks. An operation that changes something
//! returns when the change is durable. Nothing here knows a protocol, control data, a clock or the engine's runtime: the
//! disk is behind `disk::Disk`, the journal's writer is the future `Volume::drive`, and housekeeping is the future
//! `Volume::maintain`; the owner of the volume spawns both.

mod account;
mod body;
mod delivery;
pub mod disk;
mod error;
mod housekeeping;
mod journal;
mod mailbox;
pub mod options;
mod recovery;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;
mod transfer;
mod view;
mod volume;

pub use account::{Account, Limits, Pop3Lock, Usage};
pub use body::{BodyInfo, BodyReader, BodyWriter, FinishedBody, ReadAhead};
pub use delivery::{Appended, Delivered, Delivery};
pub use error::{OpenError, OpenReason, QuotaResource, StoreError};
pub use mailbox::{FlagChange, FlagOperation, FlagOutcome, FlagResult, Mailbox, MailboxStatus, NewMessage};
pub use options::{MESSAGE_BYTES_MAX, READ_MAX, VolumeOptions};
pub use pigeon_store_format::{
    AccountId, BodyReference, BodyTraits, Counterpart, Flags, KEY_LIFE_SECONDS, LogPosition, MailboxId, Message,
    MessageKey, ModSeq, MoveId, SpecialUse, Standing, Uid, UidValidity, VolumeId,
};
pub use recovery::Damage;
pub use transfer::{Import, Wanted};
pub use view::View;
pub use volume::{Volume, VolumeState, VolumeStats};
