//! The volume's bytes: pure functions between bytes and types, with no input or output. `docs/format.md` is the norm.

mod types;

pub use types::{
    AccountId, BodyReference, BodyTraits, Flags, LogPosition, MailboxId, Message, ModSeq, SpecialUse, Uid, UidValidity,
    VolumeId,
};
