//! Mistakes in control data: where, what was found, what was expected. Read by a person, so they are sentences.

use std::fmt::{self, Write};

/// A place in a text: both counted from 1, the column in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub column: u32,
}

impl Position {
    /// The position `bytes` further on the same line.
    #[must_use]
    pub fn after(self, bytes: usize) -> Position {
        Position {
            column: self.column.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)),
            ..self
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One mistake, or one warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the file, if it came from one.
    pub position: Option<Position>,
    /// DN of the entry, if it is known.
    pub dn: Option<String>,
    /// Attribute, if it is about one.
    pub attribute: Option<String>,
    /// What was found and what was expected.
    pub message: String,
}

impl Mistake {
    /// A mistake of syntax at a place.
    pub(crate) fn at(position: Position, message: impl Into<String>) -> Mistake {
        Mistake {
            position: Some(position),
            dn: None,
            attribute: None,
            message: message.into(),
        }
    }
}

/// One line, whatever a name or a server's words hold: control characters would be lines of their own, or commands of a
/// terminal.
fn visible(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| match character.is_control() {
        true => write!(f, "{}", character.escape_default()),
        false => f.write_char(character),
    })
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(dn) = &self.dn {
            visible(f, dn)?;
            f.write_str(": ")?;
        }
        if let Some(attribute) = &self.attribute {
            visible(f, attribute)?;
            f.write_str(": ")?;
        }
        visible(f, &self.message)
    }
}

/// All mistakes that were found (bounded), in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    /// The first of them, at most [`Mistakes::KEPT_MAX`].
    pub list: Vec<Mistake>,
    /// How many more there were.
    pub left_out: u64,
}

impl Mistakes {
    /// How many mistakes are kept; a person mends these first. A guess that fills a few screens.
    pub const KEPT_MAX: usize = 100;

    /// No mistake.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there were, those left out counted.
    pub fn count(&self) -> u64 {
        self.list.len() as u64 + self.left_out
    }

    pub(crate) fn push(&mut self, mistake: Mistake) {
        if self.list.len() < Self::KEPT_MAX {
            self.list.push(mistake);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn extend(&mut self, others: Mistakes) {
        others.list.into_iter().for_each(|mistake| self.push(mistake));
        self.left_out += others.left_out;
    }

    /// Puts them in the order of the file, those without a place last.
    pub(crate) fn sort(&mut self) {
        self.list
            .sort_by_key(|mistake| (mistake.position.is_none(), mistake.position));
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            mistake.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line() {
        let mistake = Mistake {
            dn: Some("cn=a\nb,dc=b\u{fc}cher".to_owned()),
            attribute: Some("mail".to_owned()),
            ..Mistake::at(Position { line: 1, column: 2 }, "found \u{1b}[2J\u{7f}\u{9b} \"x\"")
        };
        assert_eq!(
            mistake.to_string(),
            "1:2: cn=a\\nb,dc=b\u{fc}cher: mail: found \\u{1b}[2J\\u{7f}\\u{9b} \"x\""
        );
    }
}
