//! Incremental builds against whole ones, over random trees.

use super::*;

/// A small world in which everything collides: 4 domains, 12 accounts, 4 groups.
fn entry(kind: u8, id: u8, variant: u8) -> (AccountUuid, String) {
    let uuid = uuid::Uuid::from_bytes([kind, id, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let text = match kind {
        0 => {
            let status = ["active", "noaccess", "disabled"][usize::from(variant) % 3];
            format!(
                "dn: dc=d{id}\nentryUUID: {uuid}\nobjectClass: pigeonDomain\nassociatedDomain: d{id}.example\npigeonDomainStatus: {status}\npigeonDefaultQuotaSize: {variant}\n"
            )
        }
        1 => format!(
            "dn: uid=u{},dc=x\nentryUUID: {uuid}\nuid: u{}\nmail: m{}@d{}.example\nmailAlternateAddress: n{id}@d{}.example\nuserPassword: {{SHA}}h0Vy56WuaklGamrFeLmK26eMaqY=\nmailQuotaCount: {variant}\n",
            variant % 13,
            variant % 5,
            variant % 7,
            variant % 4,
            variant % 3
        ),
        _ => format!(
            "dn: cn=g{id}\nentryUUID: {uuid}\nmail: m{}@d{}.example\nrfc822member: n{id}@d1.example\n",
            variant % 9,
            variant % 4
        ),
    };
    (AccountUuid(uuid.into_bytes()), text)
}

/// Everything that can be asked of the small world.
fn answers(snapshot: &Snapshot) -> Vec<String> {
    let mut answers = Vec::new();
    for domain in 0..4 {
        for local in (0..9).map(|m| format!("m{m}")).chain((0..12).map(|n| format!("n{n}"))) {
            answers.push(show(snapshot.recipient(&local, &format!("d{domain}.example"))));
        }
    }
    for uid in 0..5 {
        answers.push(format!(
            "{:?}",
            snapshot
                .login(&format!("u{uid}"))
                .map(|a| (a.name(), a.quota(), a.status()))
        ));
    }
    for dn in (0..13).map(|u| format!("uid=u{u},dc=x")) {
        answers.push(format!("{:?}", snapshot.account_by_dn(&dn).map(|a| a.id())));
    }
    answers
}

proptest! {
    #[test]
    fn many_at_once_are_one_by_one(before in prop::collection::vec((0..3_u8, 0..12_u8, any::<u8>()), 0..30), after in prop::collection::vec((0..3_u8, 0..12_u8, any::<u8>()), 1..30), removed in prop::collection::vec((0..3_u8, 0..12_u8), 0..8)) {
        let map = AttributeMap::default();
        let changes = |batch: &[(u8, u8, u8)], removed: &[(u8, u8)]| {
            let mut changes = Changes::new();
            for (kind, id) in removed {
                changes.remove(entry(*kind, *id, 0).0);
            }
            for (kind, id, variant) in batch {
                let text = entry(*kind, *id, *variant).1;
                changes.put(&crate::ldif::parse(text.as_bytes()).unwrap()[0], &map);
            }
            changes
        };
        let first = Snapshot::empty().changed_as(changes(&before, &[]), &map, CopyState::Live, false).snapshot;
        let one = first.changed_as(changes(&after, &removed), &map, CopyState::Live, false);
        let all = first.changed_as(changes(&after, &removed), &map, CopyState::Live, true);
        prop_assert_eq!(answers(&all.snapshot), answers(&one.snapshot));
        prop_assert_eq!(all.snapshot.account_count(), one.snapshot.account_count());
        prop_assert_eq!(&all.refused, &one.refused);
        // About the same records; one that is put behind the others may collide with more of them.
        let said = |mistakes: &Mistakes| { let mut said: Vec<_> = mistakes.list.iter().map(|mistake| mistake.dn.clone()).collect(); said.sort(); said.dedup(); said };
        prop_assert_eq!(said(&all.mistakes), said(&one.mistakes));
        prop_assert_eq!(said(&all.warnings), said(&one.warnings));
        let ids = |accounts: &[Arc<Account>]| { let mut ids: Vec<_> = accounts.iter().map(|a| a.id()).collect(); ids.sort_unstable(); ids };
        let (all, one) = (all.snapshot.difference(&first), one.snapshot.difference(&first));
        prop_assert_eq!((ids(&all.changed), ids(&all.removed)), (ids(&one.changed), ids(&one.removed)));
    }

    #[test]
    fn changes_one_by_one_are_a_whole_build(steps in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..3_u8, 0..12_u8, any::<u8>()), 1..4), 1..30)) {
        let map = AttributeMap::default();
        let mut model: std::collections::BTreeMap<AccountUuid, String> = std::collections::BTreeMap::new();
        let mut snapshot = Snapshot::empty().in_state(CopyState::Live);
        for step in steps {
            let mut changed = std::collections::BTreeMap::new();
            let mut removed = Vec::new();
            for (add, kind, id, variant) in step {
                let (uuid, text) = entry(kind, if kind == 1 { id } else { id % 4 }, variant);
                if changed.contains_key(&uuid) || removed.contains(&uuid) {
                    continue;
                }
                if add {
                    changed.insert(uuid, text);
                } else {
                    removed.push(uuid);
                }
            }
            let text: String = changed.values().map(|text| format!("{text}\n")).collect();
            let entries = crate::ldif::parse(text.as_bytes()).unwrap();
            let before = answers(&snapshot);
            let next = snapshot.with_changes(&entries, &removed, &map, CopyState::Live);
            prop_assert_eq!(answers(&snapshot), before, "the one before stays as it was");
            for mistake in &next.mistakes.list {
                prop_assert!(mistake.message.contains("own") || mistake.message.contains("second entry"), "{}", mistake);
            }
            // What was not taken keeps its old version; ask the snapshot which it was.
            if next.mistakes.is_empty() {
                removed.iter().for_each(|uuid| drop(model.remove(uuid)));
                model.extend(changed);
                let whole: String = model.values().map(|text| format!("{text}\n")).collect();
                let whole = if whole.is_empty() { "dn: ou=none\nou: none\n".to_owned() } else { whole };
                let whole = reload(&whole, &Snapshot::empty());
                prop_assert_eq!(answers(&next.snapshot), answers(&whole));
                prop_assert_eq!(next.snapshot.account_count(), whole.account_count());
                prop_assert_eq!(next.snapshot.groups().count(), whole.groups().count());
                // A difference taken cheaply is the one taken dearly.
                let cheap = next.snapshot.difference(&snapshot);
                let ids = |accounts: &[Arc<Account>]| { let mut ids: Vec<_> = accounts.iter().map(|a| a.id()).collect(); ids.sort_unstable(); ids };
                let gone: Vec<_> = snapshot.accounts().filter(|a| next.snapshot.account(a.id()).is_none()).cloned().collect();
                prop_assert_eq!(ids(&cheap.removed), ids(&gone));
                let changed: Vec<_> = next.snapshot.accounts().filter(|a| a.generation() == next.snapshot.generation()).cloned().collect();
                prop_assert_eq!(ids(&cheap.changed), ids(&changed));
                snapshot = next.snapshot;
            }
        }
    }

    #[test]
    fn a_record_that_is_not_taken_keeps_its_last_good_version(variant in any::<u8>(), other in any::<u8>()) {
        let map = AttributeMap::default();
        let first = format!("{}\n{}\n{}", entry(0, 0, 0).1, entry(1, 0, variant).1, entry(1, 1, other).1);
        if let Ok(snapshot) = Snapshot::from_ldif(&first) {
            // Account 1 wants what account 0 has.
            let (id, text) = entry(1, 1, variant);
            let text = format!("{text}accountStatus: disabled\n");
            let next = snapshot.with_changes(&crate::ldif::parse(text.as_bytes()).unwrap(), &[], &map, CopyState::Live);
            prop_assert!(!next.mistakes.is_empty());
            prop_assert_eq!(answers(&next.snapshot), answers(&snapshot));
            prop_assert!(Arc::ptr_eq(next.snapshot.account(id).unwrap(), snapshot.account(id).unwrap()));
            // So does one that cannot be read.
            let broken = format!("{}mailQuotaSize: -1\n", entry(1, 1, other).1);
            let next = snapshot.with_changes(&crate::ldif::parse(broken.as_bytes()).unwrap(), &[], &map, CopyState::Live);
            prop_assert_eq!(next.mistakes.list.len(), 1);
            prop_assert_eq!(next.mistakes.list[0].attribute.as_deref(), Some("mailQuotaSize"));
            prop_assert_eq!(answers(&next.snapshot), answers(&snapshot));
        }
    }
}
