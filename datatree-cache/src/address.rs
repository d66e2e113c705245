//! Mail addresses and domain names in the one form in which they are compared.
//!
//! Local parts are compared without regard to case (Unicode lower case, NFC), domains in lower case A-label form
//! (RFC 5891), so that `Alice@BÜCHER.example` and `alice@xn--bcher-kva.example` are one address. A local part is held
//! without quotes. Address literals (`[192.0.2.1]`) are no addresses of control data.

use icu_normalizer::ComposingNormalizerBorrowed;
use std::borrow::Cow;
use std::fmt;

/// Octets of a local part (RFC 5321, 4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Octets of a domain name in text form (RFC 1035, 2.3.4: 255 on the wire).
pub(crate) const DOMAIN_BYTES_MAX: usize = 253;
/// Octets of a mailbox: 64 + `@` + 255 (RFC 5321, 4.5.3.1.1 and .2).
pub const MAILBOX_BYTES_MAX: usize = 320;
/// Octets of one label of a domain (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

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
    /// What was expected.
    pub message: &'static str,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Reads `local@domain`; the local part may be a quoted string (RFC 5321, 4.1.2) or hold UTF-8 (RFC 6531, 3.3).
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let (local, domain_at) = if text.starts_with('"') {
            quoted_local(text)?
        } else {
            dotted_local(text)?
        };
        let folded = fold_local(&local);
        if folded.len() > LOCAL_PART_BYTES_MAX || local.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError {
                at: 0,
                message: "expected a local part of at most 64 octets",
            });
        }
        let domain = canonical_domain(&text[domain_at..]).ok_or(AddressError {
            at: domain_at,
            message: "expected a domain name after the @",
        })?;
        let at = u16::try_from(folded.len()).expect("a local part has at most 64 octets");
        let text = [&folded, "@", &domain].concat().into_boxed_str();
        Ok(Address { text, at })
    }

    /// The same as text.
    pub(crate) fn into_text(self) -> String {
        self.text.into_string()
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

/// Splits what is in canonical form already: the last `@` ends the local part, because a domain holds none.
pub(crate) fn split_canonical(address: &str) -> (&str, &str) {
    address.rsplit_once('@').unwrap_or((address, ""))
}

/// Dot-string of RFC 5321, 4.1.2: atoms joined by single dots. Returns it and where the domain begins.
fn dotted_local(text: &str) -> Result<(Cow<'_, str>, usize), AddressError> {
    let Some(at) = text.find('@') else {
        return Err(AddressError {
            at: text.len(),
            message: "expected local@domain, found no @",
        });
    };
    let local = &text[..at];
    let mut after_dot = true;
    for (index, character) in local.char_indices() {
        match character {
            '.' if after_dot => {
                return Err(AddressError {
                    at: index,
                    message: "expected no dot here",
                });
            }
            '.' => after_dot = true,
            _ if is_atom(character) => after_dot = false,
            _ => {
                return Err(AddressError {
                    at: index,
                    message: "expected no such character outside of quotes",
                });
            }
        }
    }
    if after_dot {
        return Err(AddressError {
            at,
            message: "expected a local part that does not end here",
        });
    }
    Ok((Cow::Borrowed(local), at + 1))
}

/// atext of RFC 5322, 3.2.3, and what RFC 6531 adds to it.
fn is_atom(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(character)
        || (!character.is_ascii() && !character.is_control() && !character.is_whitespace())
}

/// Quoted-string of RFC 5321, 4.1.2. Returns what is inside it and where the domain begins.
fn quoted_local(text: &str) -> Result<(Cow<'_, str>, usize), AddressError> {
    let mut local = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => {
                return match characters.next() {
                    Some((_, '@')) if !local.is_empty() => Ok((Cow::Owned(local), index + 2)),
                    Some((_, '@')) => Err(AddressError {
                        at: index,
                        message: "expected something between the quotes",
                    }),
                    _ => Err(AddressError {
                        at: index + 1,
                        message: "expected @ after the closing quote",
                    }),
                };
            }
            '\\' => match characters.next() {
                Some((_, escaped @ ' '..='~')) => local.push(escaped),
                _ => {
                    return Err(AddressError {
                        at: index,
                        message: "expected a printable character after \\",
                    });
                }
            },
            _ if character.is_control() => {
                return Err(AddressError {
                    at: index,
                    message: "expected no control character",
                });
            }
            _ => local.push(character),
        }
    }
    Err(AddressError {
        at: text.len(),
        message: "expected a closing quote",
    })
}

/// The form in which local parts and login names are compared.
pub(crate) fn fold_local(local: &str) -> Cow<'_, str> {
    if local.is_ascii() {
        if local.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(local.to_ascii_lowercase())
        } else {
            Cow::Borrowed(local)
        }
    } else {
        // Composed before and after, so that folding what is folded changes nothing (checked by a property test).
        let nfc = ComposingNormalizerBorrowed::new_nfc();
        Cow::Owned(nfc.normalize(&nfc.normalize(local).to_lowercase()).into_owned())
    }
}

/// A domain name in lower case A-label form, or `None` if it is not one. Allocates.
pub fn canonical_domain(name: &str) -> Option<String> {
    if name.is_ascii() && !has_a_label(name.as_bytes()) {
        return is_host_name(name.as_bytes()).then(|| name.to_ascii_lowercase());
    }
    let ascii = idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::STD3).ok()?;
    is_host_name(ascii.as_bytes()).then(|| ascii.into_owned())
}

/// The U-label form of a canonical name, where it differs.
pub(crate) fn unicode_domain(canonical: &str) -> Option<String> {
    if !has_a_label(canonical.as_bytes()) {
        return None;
    }
    let (unicode, result) = idna::domain_to_unicode(canonical);
    (result.is_ok() && unicode != canonical).then_some(unicode)
}

fn has_a_label(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'.')
        .any(|label| label.len() >= 4 && label[..4].eq_ignore_ascii_case(b"xn--"))
}

/// Letters, digits and hyphens in labels of at most 63 octets (RFC 5321, 4.1.2; RFC 1123, 2.1).
fn is_host_name(name: &[u8]) -> bool {
    name.len() <= DOMAIN_BYTES_MAX
        && name.split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                && label.first() != Some(&b'-')
                && label.last() != Some(&b'-')
        })
}

/// A lookup key on the stack: `local@domain`, folded. This is what keeps lookups free of allocation. It is filled where
/// it stands, because moving it about would cost more than the lookup.
pub(crate) struct AddressKey {
    bytes: [u8; MAILBOX_BYTES_MAX],
    at: usize,
    len: usize,
}

impl AddressKey {
    #[inline]
    pub(crate) fn empty() -> AddressKey {
        AddressKey {
            bytes: [0; MAILBOX_BYTES_MAX],
            at: 0,
            len: 0,
        }
    }

    /// Folds both parts; `false` for what cannot be an address of control data. ASCII does not allocate.
    #[inline]
    pub(crate) fn fill(&mut self, local: &str, domain: &str) -> bool {
        if !self.copy(local.as_bytes(), domain.as_bytes()) {
            return false;
        }
        self.lower_case() || self.fill_international(local, domain)
    }

    #[inline]
    fn copy(&mut self, local: &[u8], domain: &[u8]) -> bool {
        if local.is_empty() || local.len() > LOCAL_PART_BYTES_MAX || domain.len() > DOMAIN_BYTES_MAX {
            return false;
        }
        self.at = local.len();
        self.len = self.at + 1 + domain.len();
        self.bytes[..self.at].copy_from_slice(local);
        self.bytes[self.at] = b'@';
        self.bytes[self.at + 1..self.len].copy_from_slice(domain);
        true
    }

    /// Folds ASCII in place, eight bytes at a time; `false` if there is anything else. What is behind the end may be
    /// folded too and does not matter.
    #[inline]
    fn lower_case(&mut self) -> bool {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let mut high_bits = 0;
        for word in self.bytes[..self.len.next_multiple_of(8)].chunks_exact_mut(8) {
            let bytes = u64::from_le_bytes((&*word).try_into().expect("chunks of eight"));
            high_bits |= bytes;
            // Without their high bits the sums stay within each byte: 0x80 is set from 'A' on, and from behind 'Z' on.
            let low = bytes & (0x7F * ONES);
            let from_a = low.wrapping_add((0x80 - b'A' as u64) * ONES);
            let behind_z = low.wrapping_add((0x80 - b'Z' as u64 - 1) * ONES);
            let upper = (from_a & !behind_z) & (0x80 * ONES);
            word.copy_from_slice(&(bytes | upper >> 2).to_le_bytes());
        }
        high_bits & (0x80 * ONES) == 0
    }

    #[cold]
    fn fill_international(&mut self, local: &str, domain: &str) -> bool {
        let local = fold_local(local);
        canonical_domain(domain).is_some_and(|domain| self.copy(local.as_bytes(), domain.as_bytes()))
    }

    /// `local@domain`.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The local part.
    #[inline]
    pub(crate) fn local(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// The domain.
    #[inline]
    pub(crate) fn domain(&self) -> &[u8] {
        &self.bytes[self.at + 1..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, canonical) in [
            ("alice@example.org", "alice@example.org"),
            ("Alice@EXAMPLE.org", "alice@example.org"),
            ("a.l+x@example.org", "a.l+x@example.org"),
            ("\"alice\"@example.org", "alice@example.org"),
            ("\"john doe\"@example.org", "john doe@example.org"),
            ("\"a\\\"b@c\"@example.org", "a\"b@c@example.org"),
            ("alice@bücher.example", "alice@xn--bcher-kva.example"),
            ("alice@XN--BCHER-KVA.example", "alice@xn--bcher-kva.example"),
            ("BÜRO@example.org", "büro@example.org"),
            ("bu\u{308}ro@example.org", "büro@example.org"),
            ("a@localhost", "a@localhost"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.as_str(), canonical);
            assert_eq!(format!("{}@{}", address.local(), address.domain()), canonical);
        }
    }

    #[test]
    fn what_is_no_address_says_where() {
        for (text, at) in [
            ("", 0),
            ("alice", 5),
            ("@example.org", 0),
            ("al ice@example.org", 2),
            (".alice@example.org", 0),
            ("al..ice@example.org", 3),
            ("alice.@example.org", 6),
            ("alice@", 6),
            ("alice@example..org", 6),
            ("alice@-example.org", 6),
            ("alice@exam ple.org", 6),
            ("alice@exam_ple.org", 6),
            ("alice@[192.0.2.1]", 6),
            ("a@b@example.org", 2),
            ("\"\"@example.org", 1),
            ("\"a@example.org", 14),
            ("\"a\"x@example.org", 3),
            ("\"a\\\n\"@example.org", 2),
            ("a\u{7f}@example.org", 1),
            ("a\u{a0}b@example.org", 1),
            (
                "0123456789012345678901234567890123456789012345678901234567890123x@example.org",
                0,
            ),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert_eq!(error.at, at, "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_folding_is_stable(text in "\\PC{0,40}", any in any::<String>()) {
            let _ = Address::parse(&any);
            let once = fold_local(&text).into_owned();
            prop_assert_eq!(&fold_local(&once), &once);
            if let Some(domain) = canonical_domain(&text) {
                prop_assert_eq!(canonical_domain(&domain), Some(domain.clone()));
                if let Some(unicode) = unicode_domain(&domain) {
                    prop_assert_eq!(canonical_domain(&unicode), Some(domain));
                }
            }
        }

        #[test]
        fn keys_are_what_parsing_gives(local in "[a-zA-Z0-9üÄß]{1,20}", domain in "[a-zA-Z0-9]{1,20}\\.(org|BÜCHER)") {
            let parsed = Address::parse(&format!("{local}@{domain}")).unwrap();
            let mut key = AddressKey::empty();
            prop_assert!(key.fill(&local, &domain));
            prop_assert_eq!(key.bytes(), parsed.as_str().as_bytes());
            prop_assert_eq!(key.local(), parsed.local().as_bytes());
            prop_assert_eq!(key.domain(), parsed.domain().as_bytes());
        }
    }
}
