//! The directory as what is read and written.
//!
//! Invariants: a value is never pasted into a filter or a DN as it is; a change of an entry that was read carries an
//! assertion (RFC 4528) that it is in the version that was read, so that nobody's change is undone; each operation is one
//! request, and a request that failed ends the list, with a word of what was done before it.

use crate::change::{Change, Step};
use crate::entry::{Found, Owned, empty, naming, push, values_of};
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::controls::{Assertion, MakeCritical};
use ldap3::{Ldap, LdapError, LdapResult, Mod, Scope, SearchEntry, SearchOptions, ldap_escape};
use pigeon_datatree_cache::ldap::{Connection, LdapOptions, connect_to};
use pigeon_datatree_cache::{Address, AttributeMap, Purpose};
use std::collections::HashSet;
use tokio::runtime::{Builder, Runtime};

/// Entries that an administrator's search is asked for at a time.
const PAGE: i32 = 1000;
/// Values that are put in an order; slapd keeps the order in which they came.
const ORDERED_MAX: usize = 64;

/// What has to be read.
#[derive(Clone, Debug)]
pub(crate) enum Need {
    Everything,
    /// Domains, nodes, modules and volumes: what others name.
    Components,
    /// Whoever has this address or login name.
    Name(String),
    /// The entry of this DN.
    Dn(String),
    /// Everybody with an address in this domain.
    InDomain(String),
    /// One of them, whoever it is: others go where that one is.
    SomebodyIn(String),
    /// Entries with this value for one of these purposes.
    Value(&'static [Purpose], String),
}

/// A connection, bound.
pub(crate) struct Directory {
    runtime: Runtime,
    connection: Connection,
    options: LdapOptions,
}

impl Directory {
    /// Asks one server after the other.
    pub(crate) fn open(options: LdapOptions) -> Result<Directory, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("the LDAP client cannot start: {error}"))?;
        let mut refused = Vec::new();
        for server in &options.servers {
            match runtime.block_on(connect_to(server, &options)) {
                Ok(connection) => {
                    return Ok(Directory {
                        runtime,
                        connection,
                        options,
                    });
                }
                Err(why) => refused.push(why),
            }
        }
        Err(refused.join("\n"))
    }

    /// DN below which everything is.
    pub(crate) fn base(&self) -> &str {
        &self.options.base
    }

    pub(crate) fn read(&mut self, need: &Need) -> Result<Vec<Found>, String> {
        let map = &self.options.attributes;
        let (base, scope, filter) = match need {
            Need::Dn(dn) => (dn.clone(), Scope::Base, "(objectClass=*)".to_owned()),
            need => (self.options.base.clone(), Scope::Subtree, filter(need, map)),
        };
        let filter = format!("(&{}{filter})", self.options.filter);
        let whole = self.options.answer_timeout * if matches!(need, Need::Everything) { 60 } else { 6 };
        let ldap = &mut self.connection.ldap;
        let is_one = matches!(need, Need::SomebodyIn(_));
        let reading = async {
            let mut adapters: Vec<Box<dyn Adapter<'_, String, Vec<String>>>> = vec![Box::new(EntriesOnly::new())];
            if is_one {
                ldap.with_search_options(SearchOptions::new().sizelimit(1));
            } else {
                adapters.push(Box::new(PagedResults::new(PAGE)));
            }
            let wanted = ["*", "entryUUID", "entryCSN"].map(str::to_owned).to_vec();
            let mut stream = ldap
                .streaming_search_with(adapters, &base, scope, &filter, wanted)
                .await?;
            let mut found = Vec::new();
            while let Some(entry) = stream.next().await? {
                found.push(SearchEntry::construct(entry));
            }
            Ok::<_, LdapError>((found, stream.finish().await))
        };
        let answered = self
            .runtime
            .block_on(async { tokio::time::timeout(whole, reading).await });
        let (entries, result) = answered
            .map_err(|_| "the directory did not answer in time".to_owned())?
            .map_err(|error| format!("searching {base:?}: {error}"))?;
        match result.rc {
            0 => Ok(entries.into_iter().map(found).collect()),
            // sizeLimitExceeded: there are more, and one was asked for.
            4 if is_one => Ok(entries.into_iter().map(found).collect()),
            32 if matches!(need, Need::Dn(_)) => Ok(Vec::new()),
            _ => Err(format!("searching {base:?}: {}", said(&result))),
        }
    }

    /// One after the other, up to the first that fails.
    pub(crate) fn write(&mut self, changes: &[Change]) -> Result<(), String> {
        for (count, change) in changes.iter().enumerate() {
            let patience = self.options.answer_timeout;
            let ldap = &mut self.connection.ldap;
            ldap.with_timeout(patience);
            let answered = self.runtime.block_on(request(ldap, change));
            let refused = match answered {
                Ok(result) if result.rc == 0 => continue,
                Ok(result) => refusal(change, &result),
                Err(error) => format!(
                    "{}: {error}; whether the change was made is not known: look before trying again",
                    change.dn()
                ),
            };
            let done: Vec<&str> = changes[..count].iter().map(Change::dn).collect();
            return Err(if done.is_empty() {
                refused
            } else {
                format!(
                    "{refused}\nmade before that, and still so: the change of {}",
                    done.join(" and of ")
                )
            });
        }
        Ok(())
    }
}

async fn request(ldap: &mut Ldap, change: &Change) -> Result<LdapResult, LdapError> {
    match change {
        Change::Add(entry) => ldap.add(&entry.dn, sets(entry)).await,
        Change::Modify { dn, steps, version } => {
            only_if(ldap, dn, "entryCSN", version.as_deref());
            ldap.modify(dn, steps.iter().flat_map(modifications).collect()).await
        }
        Change::Rename { dn, rdn, uuid } => {
            only_if(ldap, dn, "entryUUID", uuid.as_deref());
            ldap.modifydn(dn, rdn, true, None).await
        }
        Change::Delete { dn, version } => {
            only_if(ldap, dn, "entryCSN", version.as_deref());
            ldap.delete(dn).await
        }
    }
}

/// Has the next request refused where the entry's attribute has not this value.
fn only_if(ldap: &mut Ldap, dn: &str, attribute: &str, value: Option<&str>) {
    if let Some(value) = value {
        let filter = assertion(dn, attribute, value);
        ldap.with_controls(Assertion { filter }.critical());
    }
}

/// slapd's overlay unique (2.5) carries an assertion over to a search of its own, where it has to hold for the base. So it
/// is made of the entry with this DN alone, which always has the value that it is named by.
fn assertion(dn: &str, attribute: &str, value: &str) -> String {
    let holds = equals(attribute, value);
    match naming(dn) {
        Some((named_by, name)) => format!("(|{holds}(!{}))", equals(&named_by, &name)),
        None => holds,
    }
}

/// Attributes with their values, for an entry that is added.
fn sets(entry: &Owned) -> Vec<(Vec<u8>, HashSet<Vec<u8>>)> {
    let mut names: Vec<&str> = Vec::new();
    for attribute in &entry.attributes {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&attribute.name)) {
            names.push(&attribute.name);
        }
    }
    let set = |name: &&str| (name.as_bytes().to_vec(), values_of(entry, name).into_iter().collect());
    names.iter().map(set).collect()
}

/// Replaces the values, and keeps their order where there are few: the first address is the main one.
fn modifications(step: &Step) -> Vec<Mod<Vec<u8>>> {
    let name = || step.attribute.as_bytes().to_vec();
    if step.values.len() > ORDERED_MAX {
        return vec![Mod::Replace(name(), step.values.iter().cloned().collect())];
    }
    let first = step.values.first().cloned().into_iter().collect();
    let more = step.values.iter().skip(1);
    std::iter::once(Mod::Replace(name(), first))
        .chain(more.map(|value| Mod::Add(name(), HashSet::from([value.clone()]))))
        .collect()
}

fn found(entry: SearchEntry) -> Found {
    let mut copy = empty(&entry.dn);
    let mut version = None;
    let text = entry.attrs.into_iter().map(|(name, values)| {
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        (name, values)
    });
    let mut attributes: Vec<(String, Vec<Vec<u8>>)> = text.chain(entry.bin_attrs).collect();
    attributes.sort();
    for (name, values) in attributes {
        if name.eq_ignore_ascii_case("entryCSN") {
            version = values.first().map(|value| String::from_utf8_lossy(value).into_owned());
            continue;
        }
        values.into_iter().for_each(|value| push(&mut copy, &name, value));
    }
    Found { entry: copy, version }
}

/// `(attribute=value)` with the value escaped (RFC 4515, 3).
fn equals(attribute: &str, value: &str) -> String {
    format!("({attribute}={})", ldap_escape(value))
}

fn filter(need: &Need, map: &AttributeMap) -> String {
    let addresses = map.attributes(Purpose::Address);
    let parts: Vec<String> = match need {
        Need::Everything | Need::Dn(_) => return "(objectClass=*)".to_owned(),
        Need::Components => {
            let classes = ["pigeonDomain", "pigeonServer", "pigeonService", "pigeonVolume"];
            let attributes = map.attributes(Purpose::ObjectClass).iter();
            attributes
                .flat_map(|attribute| classes.map(|class| equals(attribute, class)))
                .collect()
        }
        Need::Name(name) => {
            let canonical = Address::parse(name).ok().map(|address| address.as_str().to_owned());
            let attributes = addresses.iter().chain(map.attributes(Purpose::LoginName));
            attributes
                .flat_map(|attribute| {
                    let spelled = canonical.iter().filter(|canonical| *canonical != name);
                    spelled
                        .chain([name])
                        .map(|name| equals(attribute, name))
                        .collect::<Vec<_>>()
                })
                .collect()
        }
        Need::InDomain(domain) | Need::SomebodyIn(domain) => addresses
            .iter()
            .map(|attribute| format!("({attribute}=*@{})", ldap_escape(domain.as_str())))
            .collect(),
        Need::Value(purposes, value) => {
            let attributes = purposes.iter().flat_map(|purpose| map.attributes(*purpose));
            attributes.map(|attribute| equals(attribute, value)).collect()
        }
    };
    format!("(|{})", parts.concat())
}

/// Why the server did not do it, in words for a person.
fn refusal(change: &Change, result: &LdapResult) -> String {
    let dn = change.dn();
    match result.rc {
        10 if !result.refs.is_empty() => format!(
            "{dn}: this server takes no changes, it refers to {}; nothing was written: name that one with --uri",
            result.refs.join(" ")
        ),
        12 => format!(
            "{dn}: the server knows no assertions (RFC 4528), so that the change could undo another; nothing was written"
        ),
        32 if matches!(change, Change::Add(_)) => format!("{dn}: the entry above it is not there; nothing was written"),
        32 | 122 => super::changed_meanwhile(&dn),
        50 => format!(
            "{dn}: whom you bound as may not do this; nothing was written ({})",
            said(result)
        ),
        68 => format!("{dn}: there is such an entry already; nothing was written"),
        _ => format!("{dn}: {}; nothing was written", said(result)),
    }
}

fn said(result: &LdapResult) -> String {
    // Some servers name every value that they looked at.
    let text: String = result.text.chars().take(300).collect();
    let text = if text.is_empty() { "refused" } else { &text };
    format!("{text} ({})", result.rc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_a_value() {
        let map = AttributeMap::default();
        for name in ["*)(uid=*", "a\\", "a(b", "nul\0", "bücher@x", "a@b.example"] {
            for need in [
                Need::Name(name.into()),
                Need::InDomain(name.into()),
                Need::Value(&[Purpose::MemberDn], name.into()),
            ] {
                let filter = filter(&need, &map);
                assert!(ldap3::parse_filter(&filter).is_ok(), "{filter}");
                assert!(!filter.contains("(uid=*)"), "{filter}");
            }
        }
        assert_eq!(
            filter(&Need::Name("*)(uid=*".into()), &map),
            "(|(mail=\\2a\\29\\28uid=\\2a)(mailAlternateAddress=\\2a\\29\\28uid=\\2a)(mailLocalAddress=\\2a\\29\\28uid=\\2a)\
             (uid=\\2a\\29\\28uid=\\2a))"
        );
    }

    #[test]
    fn an_assertion_is_made_of_one_entry() {
        for (dn, expected) in [
            ("uid=a,dc=x", "(|(entryCSN=1)(!(uid=a)))"),
            ("uid=\\2a\\29,dc=x", "(|(entryCSN=1)(!(uid=\\2a\\29)))"),
            ("uid=a+cn=b,dc=x", "(entryCSN=1)"),
        ] {
            assert_eq!(assertion(dn, "entryCSN", "1"), expected);
            assert!(ldap3::parse_filter(expected).is_ok());
        }
    }

    #[test]
    fn the_first_value_comes_first() {
        let step = Step::new("mail", ["b", "a"]);
        let [Mod::Replace(_, first), Mod::Add(_, second)] = &modifications(&step)[..] else {
            panic!("two modifications");
        };
        assert!(first.contains(b"b".as_slice()) && second.contains(b"a".as_slice()));
        assert!(matches!(&modifications(&Step::new("mail", [""; 0]))[..], [Mod::Replace(_, none)] if none.is_empty()));
    }
}
