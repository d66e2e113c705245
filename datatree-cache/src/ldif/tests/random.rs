//! Arbitrary bytes and arbitrary trees.

use super::*;

/// Everything that a mistake says about its place must be true of the text.
fn places_are_in(text: &[u8], mistakes: &Mistakes) -> Result<(), TestCaseError> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for mistake in &mistakes.list {
        let position = mistake.position.expect("a file has places");
        let line = lines.get(position.line as usize - 1);
        prop_assert!(line.is_some(), "{mistake} in a text of {} lines", lines.len());
        let length = line.map_or(0, |line| line.len());
        prop_assert!(
            position.column as usize <= length + 1,
            "{mistake} in a line of {length} bytes"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(mistakes) = snapshot(&bytes, &AttributeMap::default(), &Snapshot::empty()) {
            places_are_in(&bytes, &mistakes)?;
        }
    }

    #[test]
    fn almost_ldif_never_panics(lines in prop::collection::vec("(dn: uid=[ab],dc=x|dn:: [a-zA-Z=]{0,9}|mail: [ab\"@ .+]{0,9}@x.example|mail:: [A-Za-z+/=]{0,12}|uid: [ab]| [a-z:@]{0,5}|#x|mailQuota(Size)?: [-0-9SC,]{0,4}|userPassword: (\\{[A-Z]{0,5}\\})?[$a-z=]{0,9}|objectClass: pigeon(Domain|Volume)|associatedDomain: [ab]\\.example|pigeonAliasOf: [ab]\\.example|rfc822member: [ab]@x|cn: .{0,5}||\r|-|changetype: add|x:< y)", 0..40), cut in 0..2000_usize) {
        let text = lines.join("\n");
        let text = &text.as_bytes()[..cut.min(text.len())];
        match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
            Ok(loaded) => places_are_in(text, &loaded.warnings)?,
            Err(mistakes) => places_are_in(text, &mistakes)?,
        }
    }

    #[test]
    fn changed_golden_trees_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut text = include_bytes!("../golden/whole-schema.ldif").to_vec();
        let place = at.index(text.len());
        text[place] = byte;
        for text in [&text[..], &text[..cut.index(text.len())]] {
            match snapshot(text, &AttributeMap::default(), &Snapshot::empty()) {
                Ok(loaded) => places_are_in(text, &loaded.warnings)?,
                Err(mistakes) => places_are_in(text, &mistakes)?,
            }
        }
    }

    /// Folding and base64 change the writing, not the content.
    #[test]
    fn writing_does_not_matter(values in prop::collection::vec("[!-9;=-~][ -~]{0,40}", 1..6), width in 2..20_usize, encode in any::<u8>()) {
        use base64::Engine as _;
        let mut plain = String::from("dn: cn=a\n");
        let mut written = String::from("dn: cn=a\r\n");
        for (index, value) in values.iter().enumerate() {
            writeln!(plain, "attribute{index}: {value}").expect("a String");
            let line = if encode >> index & 1 == 1 {
                format!("attribute{index}:: {}", base64::engine::general_purpose::STANDARD.encode(value))
            } else {
                format!("attribute{index}: {value}")
            };
            for (part, bytes) in line.as_bytes().chunks(width).enumerate() {
                written.push_str(if part > 0 { "\r\n " } else { "" });
                written.push_str(std::str::from_utf8(bytes).expect("ASCII"));
            }
            written.push_str("\r\n");
        }
        let content = |text: &str| -> Vec<(String, Vec<u8>)> {
            let entries = parse(text.as_bytes()).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"));
            entries[0].attributes.iter().map(|a| (a.name.to_string(), a.value.to_vec())).collect()
        };
        prop_assert_eq!(content(&plain), content(&written));
    }
}
