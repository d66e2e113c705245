//! Changes of LDIF text that leave every byte of all other entries, and of all other attributes, as it is.
//!
//! The text is cut where the node's own reader cuts it, and the result is read again with that reader: an edit that came
//! out as anything but what was asked for is refused. Comments are nobody's and stay, but for those inside an entry that
//! is removed. What this deliberately does not do: it opens no file.

use crate::change::{Change, applied, rename};
use crate::entry::{Owned, owned, place_of, values_of};
use pigeon_datatree_cache::ldif::{parse, write_entry, write_value};
use std::ops::Range;

/// Where an entry stands.
struct Span {
    /// Its first line to the empty line behind it, that one included.
    whole: Range<usize>,
    /// Its `dn:` line, continuations and line end included.
    name: Range<usize>,
    /// Those of its attributes, likewise.
    attributes: Vec<Range<usize>>,
}

/// Bytes to put in the place of others.
struct Edit {
    place: Range<usize>,
    text: Vec<u8>,
}

/// The text after the changes. `text` has to be good LDIF; else the sentence says what is wrong with it.
pub(crate) fn edited(text: &[u8], changes: &[Change]) -> Result<Vec<u8>, String> {
    let before = entries(text)?;
    let mut current = text.to_vec();
    let mut now = Vec::new();
    for (count, change) in changes.iter().enumerate() {
        let parsed = if count == 0 { &before } else { &now };
        current = one(&current, parsed, change)?;
        now = entries(&current)?;
    }
    let now = if changes.is_empty() { &before } else { &now };
    let wanted = applied(&before, changes);
    if !same(now, &wanted) {
        return Err("this file cannot be edited without changing more than was asked for; nothing was written".into());
    }
    Ok(current)
}

/// All entries, in their order.
pub(crate) fn entries(text: &[u8]) -> Result<Vec<Owned>, String> {
    let parsed = parse(text).map_err(|mistakes| mistakes.to_string())?;
    Ok(parsed.iter().map(owned).collect())
}

/// Whether two trees hold the same: entries in one order, the values of each attribute in one order.
fn same(one: &[Owned], other: &[Owned]) -> bool {
    let same_entry = |(one, other): (&Owned, &Owned)| {
        let pairs = one.attributes.iter().zip(&other.attributes);
        let is_equal = one.attributes.len() == other.attributes.len()
            && pairs
                .into_iter()
                .all(|(one, other)| one.name == other.name && one.value == other.value);
        if is_equal {
            return one.dn == other.dn;
        }
        let names = one.attributes.iter().chain(&other.attributes);
        one.dn == other.dn
            && one.attributes.len() == other.attributes.len()
            && names
                .into_iter()
                .all(|named| values_of(one, &named.name) == values_of(other, &named.name))
    };
    one.len() == other.len() && one.iter().zip(other).all(same_entry)
}

fn one(text: &[u8], entries: &[Owned], change: &Change) -> Result<Vec<u8>, String> {
    if let Change::Add(entry) = change {
        return Ok(with_entry(text, entry));
    }
    let spans = spans(text);
    let place = place_of(entries, change.dn());
    let (Some((entry, span)), true) = (
        place.and_then(|at| entries.get(at).zip(spans.get(at))),
        entries.len() == spans.len(),
    ) else {
        return Err(format!("{}: there is no such entry", change.dn()));
    };
    let mut edits = Vec::new();
    match change {
        Change::Add(_) => unreachable!("returned above"),
        Change::Delete { .. } => edits.push(Edit {
            place: span.whole.clone(),
            text: Vec::new(),
        }),
        Change::Modify { steps, .. } => {
            for step in steps {
                replace(text, entry, span, &step.attribute, &step.values, &mut edits);
            }
        }
        Change::Rename { dn, rdn, .. } => {
            let (steps, renamed) = rename(entry, dn, rdn);
            edits.push(Edit {
                place: span.name.clone(),
                text: line(text, span, "dn", renamed.as_bytes()),
            });
            for step in steps {
                replace(text, entry, span, &step.attribute, &step.values, &mut edits);
            }
        }
    }
    Ok(with_edits(text, edits))
}

/// Lines that already say what they should stay; the rest of the attribute's lines are taken from its first difference to
/// its last, one by one.
fn replace(text: &[u8], entry: &Owned, span: &Span, attribute: &str, values: &[Vec<u8>], edits: &mut Vec<Edit>) {
    let is_it = |index: &usize| entry.attributes[*index].name.eq_ignore_ascii_case(attribute);
    let there: Vec<usize> = (0..entry.attributes.len().min(span.attributes.len()))
        .filter(is_it)
        .collect();
    let value = |index: usize| entry.attributes[index].value.as_ref();
    let pairs = there.iter().zip(values);
    let kept_first = pairs
        .take_while(|(index, new)| value(**index) == new.as_slice())
        .count();
    let (there, values) = (&there[..], &values[kept_first..]);
    let open = &there[kept_first..];
    let pairs = open.iter().rev().zip(values.iter().rev());
    let kept_last = pairs
        .take_while(|(index, new)| value(**index) == new.as_slice())
        .count();
    let (open, values) = (&open[..open.len() - kept_last], &values[..values.len() - kept_last]);
    for (number, index) in open.iter().enumerate() {
        let name = &entry.attributes[*index].name;
        edits.push(Edit {
            place: span.attributes[*index].clone(),
            text: values
                .get(number)
                .map_or(Vec::new(), |value| line(text, span, name, value)),
        });
    }
    let more = values.get(open.len()..).unwrap_or_default();
    if more.is_empty() {
        return;
    }
    // Behind the line before them in order, else where the entry's attributes end.
    let before = open
        .last()
        .or_else(|| kept_first.checked_sub(1).and_then(|at| there.get(at)));
    let spelled = there.first().map_or(attribute, |index| &entry.attributes[*index].name);
    let lines = more.iter().flat_map(|value| line(text, span, spelled, value)).collect();
    let end = match (before, there.first()) {
        (Some(index), _) => span.attributes[*index].end,
        (None, Some(first)) => span.attributes[*first].start,
        (None, None) => span.attributes.last().map_or(span.name.end, |last| last.end),
    };
    edits.push(Edit {
        place: end..end,
        text: lines,
    });
}

/// A line with the line end that the entry has.
fn line(text: &[u8], span: &Span, name: &str, value: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    write_value(&mut line, name, value).expect("writing to memory cannot fail");
    with_line_ends(line, text[span.name.clone()].ends_with(b"\r\n"))
}

fn with_line_ends(text: Vec<u8>, carriage_returns: bool) -> Vec<u8> {
    if !carriage_returns {
        return text;
    }
    text.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| [line.strip_suffix(b"\n").unwrap_or(line), b"\r\n"].concat())
        .collect()
}

/// The entry at the end, behind an empty line.
fn with_entry(text: &[u8], entry: &Owned) -> Vec<u8> {
    let mut whole = text.to_vec();
    let carriage_returns = text.windows(2).any(|pair| pair == b"\r\n");
    let end: &[u8] = if carriage_returns { b"\r\n" } else { b"\n" };
    if !whole.is_empty() && !whole.ends_with(b"\n") {
        whole.extend_from_slice(end);
    }
    let mut added = Vec::new();
    write_entry(&mut added, entry).expect("writing to memory cannot fail");
    let is_separate = whole.is_empty() || whole.ends_with(b"\n\n") || whole.ends_with(b"\n\r\n");
    let added = if is_separate { added.split_off(1) } else { added };
    whole.extend(with_line_ends(added, carriage_returns));
    whole
}

/// Edits do not overlap; of two at one place, the earlier in the list comes first.
fn with_edits(text: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| (edit.place.start, edit.place.end));
    let mut whole = Vec::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        whole.extend_from_slice(&text[at..edit.place.start]);
        // The last line of a file may have no end.
        if !edit.text.is_empty() && !whole.is_empty() && !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        whole.extend_from_slice(&edit.text);
        at = edit.place.end;
    }
    whole.extend_from_slice(&text[at..]);
    whole
}

/// Where the entries of good LDIF stand, in their order.
fn spans(text: &[u8]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut inside = false;
    let start = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    for range in logical_lines(text, start) {
        let content = &text[range.clone()];
        let is_empty = content.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        let is_comment = content.starts_with(b"#");
        let is_name = content.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"dn:"));
        match (inside, spans.last_mut()) {
            (false, _) if is_name => {
                inside = true;
                spans.push(Span {
                    whole: range.clone(),
                    name: range,
                    attributes: Vec::new(),
                });
            }
            (true, Some(span)) => {
                span.whole.end = range.end;
                inside = !is_empty;
                if inside && !is_comment {
                    span.attributes.push(range);
                }
            }
            _ => {}
        }
    }
    spans
}

/// Lines with what continues them.
fn logical_lines(text: &[u8], mut at: usize) -> Vec<Range<usize>> {
    let mut lines: Vec<Range<usize>> = Vec::new();
    let mut may_continue = false;
    while at < text.len() {
        let rest = &text[at..];
        let taken = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        match lines.last_mut() {
            Some(line) if may_continue && rest[0] == b' ' => line.end = at + taken,
            _ => {
                lines.push(at..at + taken);
                may_continue = !matches!(rest[0], b'\n') && !rest.starts_with(b"\r\n");
            }
        }
        at += taken;
    }
    lines
}

#[cfg(test)]
mod tests;
