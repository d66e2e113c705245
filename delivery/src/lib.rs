//! What happens to an accepted message. Today the module chain has one module, mailStore: it finds the volume of each
//! recipient and moves the body to the core that owns it, or to another node by LMTP ([`remote`]); what another node cannot take
//! now waits here ([`queue`]). It knows the store and
//! the records of control data, and no protocol of clients.

mod mail_store;
mod placement;
pub mod queue;
pub mod remote;
mod transfers;
mod volumes;

pub use mail_store::{DeliveryError, MailStore, Recipient, Transfer};
pub use placement::{Place, PlacementError, VolumeSeat, VolumeTable};
pub use volumes::{add_volume, own_volumes, take_volumes, volume};
