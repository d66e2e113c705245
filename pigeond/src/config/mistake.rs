//! Mistakes in a configuration: file, line, column, and what was expected. All of them at once, in the order of the file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub position: Position,
    /// What was expected, and what was found.
    pub message: String,
}

/// The mistakes of one file; prints as a line each: `FILE:LINE:COLUMN: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The file as it was named on the command line.
    pub file: PathBuf,
    /// At least one.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (
            index,
            Mistake {
                position: Position { line, column },
                message,
            },
        ) in self.list.iter().enumerate()
        {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}:{line}:{column}: {message}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Collects mistakes by their place in the text, while the text is read.
pub(super) struct Collector<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl<'t> Collector<'t> {
    pub(super) fn new(text: &'t str) -> Collector<'t> {
        Collector {
            text,
            found: Vec::new(),
        }
    }

    /// A mistake at the start of `place`.
    pub(super) fn add(&mut self, place: &Range<usize>, message: impl Into<String>) {
        self.found.push((place.start, message.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, in order.
    pub(super) fn into_mistakes(mut self, file: &Path) -> Mistakes {
        self.found.sort();
        self.found.dedup();
        let text = self.text;
        let list = self
            .found
            .into_iter()
            .map(|(offset, message)| Mistake {
                position: position(text, offset),
                message,
            })
            .collect();
        Mistakes {
            file: file.to_owned(),
            list,
        }
    }
}

/// Where the byte `offset` of `text` is.
pub(super) fn position(text: &str, offset: usize) -> Position {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_from_one_in_characters() {
        let text = "a = 1\nümläut = 2\n";
        for (offset, expected) in [
            (0, (1, 1)),
            (4, (1, 5)),
            (6, (2, 1)),
            (8, (2, 2)),
            (7, (2, 1)),
            (17, (2, 10)),
            (99, (3, 1)),
        ] {
            let Position { line, column } = position(text, offset);
            assert_eq!((line, column), expected, "{offset}");
        }
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_file_and_once() {
        let mut collector = Collector::new("one\ntwo\n");
        collector.add(&(5..6), "second");
        collector.add(&(0..1), "first");
        collector.add(&(5..9), "second");
        let mistakes = collector.into_mistakes(Path::new("pigeon.toml"));
        assert_eq!(mistakes.to_string(), "pigeon.toml:1:1: first\npigeon.toml:2:2: second");
    }
}
