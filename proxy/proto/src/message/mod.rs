//! Messages (RFC 5322) and MIME (RFC 2045 to 2049) as IMAP needs them: where each part lies, what ENVELOPE and
//! BODYSTRUCTURE say, and whether a SEARCH key is found.
//!
//! A message is read in chunks of any cut and never held: [`StructureScanner`] gives a [`Structure`] whose parts are byte
//! ranges, so that every IMAP section is one range of the stored bytes; [`TextMatcher`] reads the message a second time
//! for SEARCH. Memory is bounded by the constants of each module, whatever the message's size and shape.
//!
//! Invariants: no input panics; the result is the same however the input is cut; nothing is changed, only described.
//! Deliberately absent: composing messages, HTML, and S/MIME or PGP beyond their outer structure.

pub mod addresses;
pub mod charset;
pub mod content;
pub mod date;
pub mod encoded_word;
pub mod envelope;
pub mod field;
mod field_collector;
pub mod fold;
mod haystack;
mod header_search;
mod lexer;
pub mod matcher;
pub mod render;
pub mod scanner;
pub mod search_plan;
pub mod section;
mod serialise;
pub mod structure;
pub mod transfer;

pub use addresses::Address;
pub use content::{Content, ContentType, Disposition, Parameter};
pub use date::{CivilDate, DateTime};
pub use envelope::{Envelope, EnvelopeScanner};
pub use field::{Field, FieldFilter, fields, filter_fields};
pub use matcher::{HeaderMatcher, SearchKey, SearchKeys, SearchScope, TextMatcher};
pub use render::{write_body, write_body_structure, write_envelope, write_nstring, write_string};
pub use scanner::StructureScanner;
pub use search_plan::{MessageFacts, Outcome, SearchPlan};
pub use section::{SectionPath, SectionText, partial};
pub use structure::{Part, PartKind, Structure};

/// Text as a message carries it: any bytes, usually ASCII, sometimes UTF-8 or an unlabelled charset.
pub type Text = Box<[u8]>;
