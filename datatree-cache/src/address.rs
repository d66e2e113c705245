//! Mail addresses and domain names in the one form in which they are compared.
//!
//! Local parts are compared without regard to case (Unicode lower case, NFC), domains in lower case A-label form, so
//! that `Alice@BÜCHER.example` and `alice@xn--bcher-kva.example` are one address. A local part is held without quotes.

use std::fmt;

/// Octets of a local part (RFC 5321, 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Octets of a mailbox: 64 + `@` + 255 (RFC 5321, 4.5.3.1.1 and .2).
pub const MAILBOX_BYTES_MAX: usize = 320;

/// A canonical address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Box<str>,
    at: u16,
}

/// Why a text is no address: a sentence that says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// Byte of the text at which it goes wrong.
    pub at: usize,
    /// What was found and expected.
    pub message: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Reads `local@domain`; the local part may be a quoted string (RFC 5321, 4.1.2).
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err(AddressError {
                at: text.len(),
                message: "expected local@domain",
            });
        };
        let domain = canonical_domain(domain).ok_or(AddressError {
            at: local.len() + 1,
            message: "expected a domain name after the @",
        })?;
        let text = format!("{}@{domain}", local.to_lowercase());
        let at = u16::try_from(text.len() - domain.len() - 1).map_err(|_| AddressError {
            at: 0,
            message: "expected a local part of at most 64 octets",
        })?;
        Ok(Address { text: text.into(), at })
    }

    /// `local@domain`, the local part without quotes.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part, without quotes.
    pub fn local(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.text[usize::from(self.at) + 1..]
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A domain name in lower case A-label form, or `None` if it is not one. Allocates.
pub fn canonical_domain(name: &str) -> Option<String> {
    let name = idna::domain_to_ascii(name).ok()?;
    (!name.is_empty() && name.len() <= 255).then_some(name)
}
