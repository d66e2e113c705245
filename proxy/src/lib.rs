//! What faces clients: SMTP and LMTP ingestion, POP3 and IMAP up to the login.

pub mod accept;
pub mod authenticate;
pub mod backend;
pub mod connections;
pub mod drain;
pub mod login;
pub mod mail_store;
pub mod redirect;
pub mod session_id;
pub mod smtp;

pub use authenticate::{
    Attempt, Authenticator, CheckCredentials, NodeAuthenticator, Outcome, ProofAttempt, Redirected, Verification,
    Verify,
};
pub use backend::{Backend, Login, Opening, Place};
pub use mail_store::{EnvelopeInfo, MailStore, MessageId, Target, Transfer, TransferError};
pub use session_id::{SessionId, SessionIds};
