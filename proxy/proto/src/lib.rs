//! Pure protocol cores: bytes and events in, bytes and events out. No IO, no clock, no executor; the same result however
//! the input is cut.

pub mod address;
pub mod imap;
pub mod lmtp_client;
pub mod message;
pub mod network;
pub mod pop3;
pub mod proxy_protocol;
pub mod redirect;
pub mod sasl;
pub mod smtp;
pub mod transfer;
