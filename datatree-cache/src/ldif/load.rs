//! From LDIF text to a snapshot, whole or not at all.

use super::parse::Parser;
use crate::mistake::{Mistake, Mistakes, Position};
use crate::schema::convert::{self, Record};
use crate::schema::{AttributeMap, values};
use crate::snapshot::{Problem, Snapshot, whole};
use crate::source::Loaded;

/// Where an entry begins in the text.
#[derive(Clone, Copy)]
struct Origin {
    at: usize,
    line: u32,
}

/// The snapshot of an LDIF text, state `Live`, in the generation after `previous`, whose unchanged records it shares.
/// Any mistake refuses the text; all of them are returned in its order.
pub fn snapshot(text: &[u8], map: &AttributeMap, previous: &Snapshot) -> Result<Loaded, Mistakes> {
    let (mut mistakes, mut warnings) = (Mistakes::default(), Mistakes::default());
    let mut records: Vec<Option<Record>> = Vec::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut parser = Parser::new(text, &mut mistakes);
    let mut entry_count = 0_u64;
    let mut incomplete = false;
    while let Some(placed) = parser.next(&mut mistakes) {
        entry_count += 1;
        incomplete |= !placed.complete;
        if let (_, Some(record)) = convert::record(&placed.entry, map, &mut mistakes, &mut warnings) {
            records.push(Some(record));
            origins.push(Origin {
                at: placed.at,
                line: placed.line,
            });
        } else if placed.complete && mistakes.is_empty() {
            continue;
        } else {
            incomplete = true;
        }
    }
    if entry_count == 0 && mistakes.is_empty() {
        // An editor that has just emptied the file must not delete every account.
        mistakes.push(Mistake::at(
            Position { line: 1, column: 1 },
            "expected at least one entry (dn: ...), found none",
        ));
    }
    let (snapshot, problems) = whole(records, previous);
    for problem in problems {
        let mistake = placed(text, map, &origins, &problem);
        if problem.harmless {
            warnings.push(mistake);
        } else if !(incomplete && is_consequence(&problem)) {
            mistakes.push(mistake);
        }
    }
    mistakes.sort();
    warnings.sort();
    if mistakes.is_empty() {
        Ok(Loaded { snapshot, warnings })
    } else {
        Err(mistakes)
    }
}

/// What may be missing only because the entry that has it could not be read.
fn is_consequence(problem: &Problem) -> bool {
    use crate::schema::Purpose;
    !matches!(
        problem.purpose,
        None | Some(
            Purpose::Address | Purpose::LoginName | Purpose::Uuid | Purpose::DomainName | Purpose::ComponentName
        )
    )
}

/// The mistake with its place, which is found by reading the entry again.
fn placed(text: &[u8], map: &AttributeMap, origins: &[Origin], problem: &Problem) -> Mistake {
    let mut mistake = Mistake {
        position: None,
        dn: Some(problem.dn.clone()),
        attribute: None,
        message: problem.message.clone(),
    };
    let Some(origin) = origins.get(problem.ordinal) else {
        return mistake;
    };
    let mut ignored = Mistakes::default();
    let Some(placed) = Parser::again(text, origin.at, origin.line).next(&mut ignored) else {
        return mistake;
    };
    mistake.position = placed.entry.dn_position;
    let Some(purpose) = problem.purpose else { return mistake };
    let of_purpose = map.attributes(purpose).iter().flat_map(|name| {
        placed
            .entry
            .attributes
            .iter()
            .filter(move |attribute| attribute.name.eq_ignore_ascii_case(name))
    });
    for attribute in of_purpose {
        let Ok(found) = values::text(&attribute.value) else {
            continue;
        };
        let is_it = found == problem.value
            || values::address(found).is_ok_and(|canonical| canonical == problem.value)
            || values::domain(found).is_ok_and(|canonical| canonical == problem.value)
            || values::login_name(found).is_ok_and(|canonical| canonical == problem.value)
            || crate::dn::canonical_dn(found).is_ok_and(|canonical| canonical == problem.value)
            || found.eq_ignore_ascii_case(&problem.value);
        if is_it {
            mistake.position = attribute.position;
            mistake.attribute = Some(attribute.name.to_string());
            return mistake;
        }
    }
    mistake
}
