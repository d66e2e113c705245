//! Reads one table of the configuration field by field, noting every mistake with its place instead of stopping at the
//! first. serde would stop there, which is why the tree is walked by hand.

use super::mistake::Collector;
use super::period::Period;
use super::size::Size;
use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A place in the text, bytes.
pub(super) type Place = Range<usize>;

/// What is wrong with a value, and where.
pub(super) struct Fault {
    place: Place,
    message: String,
}

type Node<'i> = Spanned<DeValue<'i>>;

/// What a reader of values gives. A list may have several faults.
pub(super) type Read<T> = Result<T, Vec<Fault>>;

/// A table and what has been read of it.
pub(super) struct Section<'a, 'i, 't> {
    /// As in `limits`; empty for the top.
    name: &'static str,
    table: Option<&'a DeTable<'i>>,
    place: Place,
    /// What is there is no table, which has been said: that its fields are missing need not be.
    broken: bool,
    known: Vec<&'static str>,
    mistakes: &'a RefCell<Collector<'t>>,
}

impl<'a, 'i, 't> Section<'a, 'i, 't> {
    pub(super) fn top(tree: &'a Spanned<DeTable<'i>>, mistakes: &'a RefCell<Collector<'t>>) -> Section<'a, 'i, 't> {
        Section {
            name: "",
            table: Some(tree.get_ref()),
            place: 0..0,
            broken: false,
            known: Vec::new(),
            mistakes,
        }
    }

    /// Where the section is.
    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(super) fn mistake(&self, place: &Place, message: impl Into<String>) {
        self.mistakes.borrow_mut().add(place, message);
    }

    /// A field that may be missing, with its place.
    pub(super) fn located<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Option<(T, Place)> {
        let node = self.node(key)?;
        match read(node) {
            Ok(value) => Some((value, node.span())),
            Err(faults) => {
                let mut mistakes = self.mistakes.borrow_mut();
                faults
                    .into_iter()
                    .for_each(|fault| mistakes.add(&fault.place, format!("{key}: {}", fault.message)));
                None
            }
        }
    }

    /// A field that may be missing.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(&Node<'_>) -> Read<T>) -> Option<T> {
        self.located(key, read).map(|(value, _)| value)
    }

    /// A field with a default. A mistaken one reads as its default, so that reading goes on.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Node<'_>) -> Read<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// A field that must be there, with its place; `example` shows how it is written.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Node<'_>) -> Read<T>,
    ) -> Option<(T, Place)> {
        if self.node(key).is_none() && !self.broken {
            let whose = if self.name.is_empty() {
                String::new()
            } else {
                format!(" in [{}]", self.name)
            };
            self.mistake(&self.place(), format!("expected {key}{whose}, as in {key} = {example}"));
        }
        self.located(key, read)
    }

    /// A table inside this one; one that is missing reads as empty. Also whether it is there.
    pub(super) fn section(&mut self, name: &'static str) -> (Section<'a, 'i, 't>, bool) {
        self.subsection(name, name)
    }

    /// The same for a table whose whole name is `name`.
    pub(super) fn subsection(&mut self, key: &'static str, name: &'static str) -> (Section<'a, 'i, 't>, bool) {
        let (known, mistakes) = (Vec::new(), self.mistakes);
        let mut inner = Section {
            name,
            table: None,
            place: self.place(),
            broken: false,
            known,
            mistakes,
        };
        let Some(node) = self.node(key) else {
            return (inner, false);
        };
        inner.place = node.span();
        match node.get_ref().as_table() {
            Some(table) => inner.table = Some(table),
            None => {
                inner.broken = true;
                self.mistake(
                    &node.span(),
                    format!("expected a section [{name}], found {}", described(node)),
                );
            }
        }
        (inner, true)
    }

    /// Whether there is such a key, or that cannot be told.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.broken || self.node(key).is_some()
    }

    /// The tables of a list, each written under `[[name]]`. Also whether anything of that name is there.
    pub(super) fn sections(&mut self, name: &'static str) -> (Vec<Section<'a, 'i, 't>>, bool) {
        let Some(node) = self.node(name) else {
            return (Vec::new(), false);
        };
        let Some(array) = node.get_ref().as_array() else {
            let found = described(node);
            self.mistake(
                &node.span(),
                format!("expected sections [[{name}]] in double brackets, found {found}"),
            );
            return (Vec::new(), true);
        };
        let mut sections = Vec::new();
        for node in array {
            match node.get_ref().as_table() {
                Some(table) => sections.push(Section {
                    name,
                    table: Some(table),
                    place: node.span(),
                    broken: false,
                    known: Vec::new(),
                    mistakes: self.mistakes,
                }),
                None => self.mistake(
                    &node.span(),
                    format!("expected a section [[{name}]], found {}", described(node)),
                ),
            }
        }
        (sections, !array.is_empty())
    }

    /// Every key that nothing has asked for is a mistake. Call it last.
    pub(super) fn finish(self) {
        for key in self.table.into_iter().flat_map(DeTable::keys) {
            let name = key.get_ref().as_ref();
            if !self.known.contains(&name) {
                let whose = if self.name.is_empty() {
                    "at the top".to_owned()
                } else {
                    format!("in [{}]", self.name)
                };
                let known = self.known.join(", ");
                self.mistake(
                    &key.span(),
                    format!("unknown key \"{name}\" {whose}, expected one of: {known}"),
                );
            }
        }
    }

    fn node(&mut self, key: &'static str) -> Option<&'a Node<'i>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, node)| node)
    }
}

/// A value as a person would name it.
fn described(node: &Node<'_>) -> String {
    match node.get_ref() {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

fn fault<T>(node: &Node<'_>, message: impl Into<String>) -> Read<T> {
    Err(vec![Fault {
        place: node.span(),
        message: message.into(),
    }])
}

/// A string.
fn text(node: &Node<'_>) -> Read<String> {
    match node.get_ref().as_str() {
        Some(text) => Ok(text.to_owned()),
        None => fault(node, format!("expected text in quotes, found {}", described(node))),
    }
}

/// A path; a relative one is in `directory`.
pub(super) fn path_in(directory: &Path) -> impl Fn(&Node<'_>) -> Read<PathBuf> {
    move |node| {
        let text = text(node)?;
        if text.trim().is_empty() {
            return fault(node, "expected a path, found nothing between the quotes");
        }
        Ok(directory.join(text))
    }
}

/// A string that `convert` understands.
pub(super) fn converted<T>(convert: impl Fn(&str) -> Result<T, String>) -> impl Fn(&Node<'_>) -> Read<T> {
    move |node| {
        let text = text(node)?;
        convert(&text).or_else(|message| fault(node, message))
    }
}

/// A string that `T` understands.
pub(super) fn parsed<T: FromStr>(node: &Node<'_>) -> Read<T>
where
    T::Err: std::fmt::Display,
{
    let text = text(node)?;
    text.parse().or_else(|error: T::Err| fault(node, error.to_string()))
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node<'_>) -> Read<bool> {
    match node.get_ref().as_bool() {
        Some(value) => Ok(value),
        None => fault(node, format!("expected true or false, found {}", described(node))),
    }
}

/// One of some words.
pub(super) fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node<'_>) -> Read<T> {
    converted(move |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            Err(format!("expected one of {}, found \"{text}\"", list.join(", ")))
        }
    })
}

/// A whole number within bounds.
pub(super) fn number<T>(bounds: RangeInclusive<T>) -> impl Fn(&Node<'_>) -> Read<T>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |node| {
        let (low, high) = (bounds.start(), bounds.end());
        let value = node.get_ref().as_integer().and_then(|number| {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).ok()
        });
        match value.and_then(|value| T::try_from(value).ok()) {
            Some(value) if bounds.contains(&value) => Ok(value),
            _ => fault(
                node,
                format!(
                    "expected a whole number from {low} to {high}, found {}",
                    described(node)
                ),
            ),
        }
    }
}

/// A size within bounds, as text with a unit or as a number of bytes.
pub(super) fn size(bounds: RangeInclusive<Size>) -> impl Fn(&Node<'_>) -> Read<Size> {
    move |node| {
        let size = match node.get_ref() {
            DeValue::Integer(number) => match number.as_str().parse() {
                Ok(size) => size,
                Err(_) => {
                    return fault(
                        node,
                        format!("expected a size such as \"50 MiB\", found {}", described(node)),
                    );
                }
            },
            DeValue::String(_) => parsed(node)?,
            _ => {
                return fault(
                    node,
                    format!("expected a size such as \"50 MiB\", found {}", described(node)),
                );
            }
        };
        if bounds.contains(&size) {
            Ok(size)
        } else {
            fault(
                node,
                format!(
                    "expected a size from {} to {}, found {size}",
                    bounds.start(),
                    bounds.end()
                ),
            )
        }
    }
}

/// A time within bounds.
pub(super) fn period(bounds: RangeInclusive<Period>) -> impl Fn(&Node<'_>) -> Read<Period> {
    move |node| {
        if node.get_ref().is_integer() {
            return fault(
                node,
                format!(
                    "expected a time with its unit, such as \"30s\" or \"5m\", found {}",
                    described(node)
                ),
            );
        }
        let period: Period = parsed(node)?;
        if bounds.contains(&period) {
            Ok(period)
        } else {
            fault(
                node,
                format!(
                    "expected a time from {} to {}, found {period}",
                    bounds.start(),
                    bounds.end()
                ),
            )
        }
    }
}

/// A list of what `read` understands; the faults of all its elements.
pub(super) fn list<T>(read: impl Fn(&Node<'_>) -> Read<T>) -> impl Fn(&Node<'_>) -> Read<Vec<T>> {
    move |node| {
        let Some(array) = node.get_ref().as_array() else {
            return fault(node, format!("expected a list in brackets, found {}", described(node)));
        };
        let mut values = Vec::new();
        let mut faults = Vec::new();
        for element in array {
            match read(element) {
                Ok(value) => values.push(value),
                Err(more) => faults.extend(more),
            }
        }
        if faults.is_empty() { Ok(values) } else { Err(faults) }
    }
}
