//! What a server sends on the persistent search, as values that cannot be wrong: RFC 4533, 2.2 to 2.5.

use super::ber::{BOOLEAN, ENUMERATED, Elements, Malformed, OCTET_STRING, SEQUENCE, SET};
use crate::entry::{Attribute, Entry};
use crate::record::AccountUuid;
use ldap3::ResultEntry;
use ldap3::asn1::{PL, StructureTag};
use std::borrow::Cow;

const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";

/// Opaque to all but the server that gave it. Never empty: an empty one would be taken for "send all", and be kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Cookie(Vec<u8>);

impl Cookie {
    pub(crate) fn new(bytes: &[u8]) -> Option<Cookie> {
        (!bytes.is_empty()).then(|| Cookie(bytes.to_vec()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The state that an entry came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    Present,
    Add,
    Modify,
    Delete,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Entry {
        state: EntryState,
        id: AccountUuid,
        cookie: Option<Cookie>,
        entry: Entry<'static>,
    },
    NewCookie(Option<Cookie>),
    RefreshDelete {
        cookie: Option<Cookie>,
        done: bool,
    },
    RefreshPresent {
        cookie: Option<Cookie>,
        done: bool,
    },
    IdSet {
        cookie: Option<Cookie>,
        deletes: bool,
        ids: Vec<AccountUuid>,
    },
    /// Nothing of ours: a referral.
    Other,
}

/// What the end of the search says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) cookie: Option<Cookie>,
    pub(crate) refresh_deletes: bool,
}

/// A response of the search.
pub(crate) fn message(response: ResultEntry) -> Result<Message, Malformed> {
    if response.is_ref() {
        return Ok(Message::Other);
    }
    if response.is_intermediate() {
        return intermediate(response.0);
    }
    let value = response
        .1
        .iter()
        .find(|control| control.1.ctype == SYNC_STATE)
        .and_then(|control| control.1.val.as_deref())
        .ok_or(Malformed(
            "expected a sync state control at each entry: is syncprov loaded?",
        ))?;
    let (state, id, cookie) = sync_state(value)?;
    Ok(Message::Entry {
        state,
        id,
        cookie,
        entry: entry(response.0)?,
    })
}

/// The controls of the search's end.
pub(crate) fn done(controls: &[ldap3::controls::Control]) -> Result<Done, Malformed> {
    let value = controls
        .iter()
        .find(|control| control.1.ctype == SYNC_DONE)
        .and_then(|control| control.1.val.as_deref());
    let Some(value) = value else {
        return Ok(Done {
            cookie: None,
            refresh_deletes: false,
        });
    };
    let mut parts = Elements::new(Elements::new(value).expect(SEQUENCE, "expected syncDoneValue")?);
    Ok(Done {
        cookie: parts.optional(OCTET_STRING)?.and_then(Cookie::new),
        refresh_deletes: parts.boolean(false)?,
    })
}

fn sync_state(value: &[u8]) -> Result<(EntryState, AccountUuid, Option<Cookie>), Malformed> {
    let mut parts = Elements::new(Elements::new(value).expect(SEQUENCE, "expected syncStateValue")?);
    let state = match parts.expect(ENUMERATED, "expected a state")? {
        [0] => EntryState::Present,
        [1] => EntryState::Add,
        [2] => EntryState::Modify,
        [3] => EntryState::Delete,
        _ => return Err(Malformed("expected a state from 0 to 3")),
    };
    let id = uuid(parts.expect(OCTET_STRING, "expected an entryUUID")?)?;
    let cookie = parts.optional(OCTET_STRING)?.and_then(Cookie::new);
    Ok((state, id, cookie))
}

fn uuid(bytes: &[u8]) -> Result<AccountUuid, Malformed> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Malformed("expected an entryUUID of 16 bytes"))?;
    Ok(AccountUuid(bytes))
}

fn intermediate(tag: StructureTag) -> Result<Message, Malformed> {
    let (mut name, mut value) = (None, None);
    for part in constructed(tag, "expected an intermediate response")? {
        match part.id {
            0 => name = Some(primitive(part, "expected a response name")?),
            1 => value = Some(primitive(part, "expected a response value")?),
            _ => {}
        }
    }
    if name.as_deref() != Some(SYNC_INFO.as_bytes()) {
        return Ok(Message::Other);
    }
    sync_info(&value.ok_or(Malformed("expected syncInfoValue"))?)
}

/// syncInfoValue: a choice of context tags.
fn sync_info(value: &[u8]) -> Result<Message, Malformed> {
    let what = Malformed("expected syncInfoValue");
    let (tag, contents) = Elements::new(value).next()?.ok_or(what)?;
    let mut parts = Elements::new(contents);
    match tag {
        0x80 => Ok(Message::NewCookie(Cookie::new(contents))),
        0xa1 => Ok(Message::RefreshDelete {
            cookie: parts.optional(OCTET_STRING)?.and_then(Cookie::new),
            done: parts.boolean(true)?,
        }),
        0xa2 => Ok(Message::RefreshPresent {
            cookie: parts.optional(OCTET_STRING)?.and_then(Cookie::new),
            done: parts.boolean(true)?,
        }),
        0xa3 => {
            let cookie = parts.optional(OCTET_STRING)?.and_then(Cookie::new);
            let deletes = parts.peek() == Some(BOOLEAN) && parts.boolean(false)?;
            let mut set = Elements::new(parts.expect(SET, "expected a set of entryUUIDs")?);
            let mut ids = Vec::new();
            while let Some((tag, bytes)) = set.next()? {
                if tag != OCTET_STRING {
                    return Err(Malformed("expected an entryUUID"));
                }
                ids.push(uuid(bytes)?);
            }
            Ok(Message::IdSet { cookie, deletes, ids })
        }
        _ => Err(what),
    }
}

/// SearchResultEntry (RFC 4511, 4.5.2): the name, and attributes with their values.
pub(crate) fn entry(tag: StructureTag) -> Result<Entry<'static>, Malformed> {
    let mut parts = constructed(tag, "expected an entry")?.into_iter();
    let mut part = || parts.next().ok_or(Malformed("expected a name and attributes"));
    let dn = text(primitive(part()?, "expected a name")?, "expected a name in UTF-8")?;
    let mut attributes = Vec::new();
    for attribute in constructed(part()?, "expected attributes")? {
        let mut parts = constructed(attribute, "expected an attribute")?.into_iter();
        let mut part = || parts.next().ok_or(Malformed("expected a type and values"));
        let name = text(primitive(part()?, "expected a type")?, "expected a type in UTF-8")?;
        for value in constructed(part()?, "expected values")? {
            attributes.push(Attribute {
                name: Cow::Owned(name.clone()),
                value: Cow::Owned(primitive(value, "expected a value")?),
                position: None,
            });
        }
    }
    Ok(Entry {
        dn: Cow::Owned(dn),
        dn_position: None,
        attributes,
    })
}

fn constructed(tag: StructureTag, what: &'static str) -> Result<Vec<StructureTag>, Malformed> {
    match tag.payload {
        PL::C(parts) => Ok(parts),
        // An empty sequence looks like either.
        PL::P(bytes) if bytes.is_empty() => Ok(Vec::new()),
        PL::P(_) => Err(Malformed(what)),
    }
}

fn primitive(tag: StructureTag, what: &'static str) -> Result<Vec<u8>, Malformed> {
    match tag.payload {
        PL::P(bytes) => Ok(bytes),
        PL::C(_) => Err(Malformed(what)),
    }
}

fn text(bytes: Vec<u8>, what: &'static str) -> Result<String, Malformed> {
    String::from_utf8(bytes).map_err(|_| Malformed(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AccountUuid = AccountUuid([7; 16]);

    fn state_value(state: u8, cookie: Option<&[u8]>) -> Vec<u8> {
        let mut parts = vec![ENUMERATED, 1, state, OCTET_STRING, 16];
        parts.extend(ID.0);
        if let Some(cookie) = cookie {
            parts.extend([OCTET_STRING, cookie.len() as u8]);
            parts.extend(cookie);
        }
        let mut value = vec![SEQUENCE, parts.len() as u8];
        value.extend(parts);
        value
    }

    #[test]
    fn states_of_entries() {
        for (code, state) in [
            (0, EntryState::Present),
            (1, EntryState::Add),
            (2, EntryState::Modify),
            (3, EntryState::Delete),
        ] {
            assert_eq!(sync_state(&state_value(code, None)), Ok((state, ID, None)));
        }
        assert_eq!(
            sync_state(&state_value(1, Some(b"rid=1"))),
            Ok((EntryState::Add, ID, Cookie::new(b"rid=1")))
        );
        // The empty cookie is none.
        assert_eq!(sync_state(&state_value(1, Some(b""))), Ok((EntryState::Add, ID, None)));
        assert!(sync_state(&state_value(4, None)).is_err());
    }

    #[test]
    fn infos() {
        assert_eq!(sync_info(&[0x80, 1, b'c']), Ok(Message::NewCookie(Cookie::new(b"c"))));
        assert_eq!(
            sync_info(&[0xa1, 0]),
            Ok(Message::RefreshDelete {
                cookie: None,
                done: true
            })
        );
        assert_eq!(
            sync_info(&[0xa2, 6, OCTET_STRING, 1, b'c', BOOLEAN, 1, 0]),
            Ok(Message::RefreshPresent {
                cookie: Cookie::new(b"c"),
                done: false
            })
        );
        let mut set = vec![0xa3, 23, BOOLEAN, 1, 0xff, SET, 18, OCTET_STRING, 16];
        set.extend(ID.0);
        assert_eq!(
            sync_info(&set),
            Ok(Message::IdSet {
                cookie: None,
                deletes: true,
                ids: vec![ID]
            })
        );
    }

    #[test]
    fn no_bytes_panic() {
        let mut set = vec![0xa3, 23, BOOLEAN, 1, 0xff, SET, 18, OCTET_STRING, 16];
        set.extend(ID.0);
        for good in [set, state_value(1, Some(b"rid=1"))] {
            for cut in 0..good.len() {
                let _ = (sync_info(&good[..cut]), sync_state(&good[..cut]));
                for bit in 0..8 {
                    let mut bad = good.clone();
                    bad[cut] ^= 1 << bit;
                    let _ = (sync_info(&bad), sync_state(&bad));
                }
            }
        }
    }
}
