//! Lookups as tables (`lookup`), groups (`groups`), what a reload keeps (`reload`), names that several want (`contested`),
//! and incremental against whole builds (`random`).

mod contested;
mod groups;
mod lookup;
mod random;
mod reload;

use super::*;
use crate::record::AccountStatus;
use crate::schema::AttributeMap;
use proptest::prelude::*;

const TREE: &str = "\
version: 1

dn: dc=example,dc=org
objectClass: domain
objectClass: pigeonDomain
associatedDomain: example.org
pigeonPostmaster: alice@example.org

dn: dc=net
objectClass: pigeonDomain
associatedDomain: alias.example
pigeonAliasOf: example.org

dn: dc=catch
objectClass: pigeonDomain
associatedDomain: catch.example
pigeonCatchAll: bob@example.org
pigeonAddressDelimiter: -

dn: dc=international
objectClass: pigeonDomain
associatedDomain: b\u{fc}cher.example
pigeonAddressDelimiter: none

dn: dc=off
objectClass: pigeonDomain
associatedDomain: off.example
pigeonDomainStatus: disabled

dn: dc=gone
objectClass: pigeonDomain
associatedDomain: gone.example
pigeonDomainStatus: deleted

dn: dc=quiet
objectClass: pigeonDomain
associatedDomain: quiet.example
pigeonDomainStatus: noaccess
pigeonDefaultQuotaSize: 1000
pigeonDefaultService: imap
pigeonDefaultService: smtp

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
mail: Alice@Example.org
mailAlternateAddress: a.liddell@example.org
mailAlternateAddress: \"alice liddell\"@example.org
mailAlternateAddress: alice+special@example.org
mailAlternateAddress: only@alias.example
userPassword: {SSHA}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh

dn: uid=bob,dc=example,dc=org
uid: bob
mail: bob@example.org
mailAlternateAddress: x@catch.example
mailAlternateAddress: bob@off.example
userPassword: {SSHA}zkwLLyYId1HRZ5BIFC2IY2aowXluqINh

dn: uid=carol,dc=example,dc=org
mail: b\u{fc}ro@b\u{fc}cher.example
accountStatus: noaccess

dn: uid=dave,dc=example,dc=org
mail: dave@example.org
accountStatus: disabled

dn: uid=erin,dc=example,dc=org
mail: erin@example.org
uid: erin
userPassword: {PLAIN}x
accountStatus: deleted

dn: uid=frank,dc=example,dc=org
mail: frank@catch.example
accountStatus: deleted

dn: uid=grace,dc=example,dc=org
mail: grace@quiet.example

dn: uid=heidi,dc=example,dc=org
mail: heidi@example.org
enabledService: pop3

dn: cn=staff,dc=example,dc=org
mail: staff@example.org
rfc822member: alice@alias.example
rfc822member: dave@example.org
rfc822member: someone@elsewhere.example
rfc822member: inner@example.org
dnmember: UID=Bob, DC=example, DC=org
dnmember: uid=nobody,dc=example,dc=org

dn: cn=inner,dc=example,dc=org
mail: inner@example.org
rfc822member: staff@example.org
rfc822member: bob+list@example.org
rfc822member: Grace@QUIET.example
";

fn tree() -> Snapshot {
    Snapshot::from_ldif(TREE).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn show(recipient: Recipient<'_>) -> String {
    match recipient {
        Recipient::Account { account, detail: None } => account.name().to_owned(),
        Recipient::Account {
            account,
            detail: Some(detail),
        } => format!("{} ({detail})", account.name()),
        Recipient::Group(group) => format!("group {}", group.addresses().next().unwrap_or_default()),
        other => format!("{other:?}"),
    }
}

fn reload(text: &str, previous: &Snapshot) -> Snapshot {
    crate::ldif::snapshot(text.as_bytes(), &AttributeMap::default(), previous)
        .unwrap_or_else(|mistakes| panic!("{mistakes}"))
        .snapshot
}
