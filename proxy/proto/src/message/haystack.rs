//! The text being searched: folded, kept only as far back as the longest key reaches.

use memchr::memmem::Finder;

use super::fold::fold_into;
use super::lexer::trim;

/// Text searched at a time, in bytes; the keys' tails come on top.
const BLOCK_BYTES: usize = 16 * 1024;

/// Where a key is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchScope {
    /// HEADER name, and SUBJECT, FROM, TO, CC and BCC with theirs: the fields of that name in the message's own header.
    Header(String),
    /// BODY: the bodies of all parts, and the headers of embedded messages.
    Body,
    /// TEXT: all headers, those of parts too, and all bodies.
    Text,
}

/// One key of a SEARCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchKey {
    /// Where.
    pub scope: SearchScope,
    /// What; an empty text is found in any field that exists, and in any message.
    pub text: String,
}

/// Keys made ready once and used for many messages.
#[derive(Debug, Clone)]
pub struct SearchKeys {
    keys: Vec<Prepared>,
    longest: usize,
}

#[derive(Debug, Clone)]
struct Prepared {
    scope: SearchScope,
    finder: Finder<'static>,
}

impl SearchKeys {
    /// Makes keys ready. Their number and lengths are the caller's to bound: memory and time grow with them.
    pub fn new(keys: impl IntoIterator<Item = SearchKey>) -> Self {
        let prepare = |key: SearchKey| {
            let mut needle = Vec::with_capacity(key.text.len());
            fold_into(&key.text, &mut needle);
            let scope = match key.scope {
                SearchScope::Header(name) => {
                    SearchScope::Header(String::from_utf8_lossy(trim(name.as_bytes())).into_owned())
                }
                scope => scope,
            };
            Prepared {
                scope,
                finder: Finder::new(&needle).into_owned(),
            }
        };
        let keys: Vec<Prepared> = keys.into_iter().map(prepare).collect();
        let longest = keys.iter().map(|key| key.finder.needle().len()).max().unwrap_or(0);
        Self { keys, longest }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Of each key, whether it looks at the message's own header only.
    pub(crate) fn in_header(&self) -> impl Iterator<Item = bool> + '_ {
        self.keys.iter().map(|key| matches!(key.scope, SearchScope::Header(_)))
    }

    /// Whether any looks beyond the message's header, so that a structure is needed.
    pub fn need_body(&self) -> bool {
        self.keys.iter().any(|key| !matches!(key.scope, SearchScope::Header(_)))
    }
}

/// Looks for keys in one stretch of text after the other.
pub(crate) struct Haystack<'k> {
    keys: &'k SearchKeys,
    found: Vec<bool>,
    /// The keys looked for in this stretch.
    active: Vec<usize>,
    folded: Vec<u8>,
}

impl<'k> Haystack<'k> {
    pub(crate) fn new(keys: &'k SearchKeys) -> Self {
        let found = keys.keys.iter();
        let found = found
            .map(|key| key.finder.needle().is_empty() && !matches!(key.scope, SearchScope::Header(_)))
            .collect();
        Self {
            keys,
            found,
            active: Vec::new(),
            folded: Vec::new(),
        }
    }

    /// Starts a stretch of text for the keys whose scope is accepted; says whether any is left to be looked for.
    pub(crate) fn begin(&mut self, accept: impl Fn(&SearchScope) -> bool) -> bool {
        self.active.clear();
        self.folded.clear();
        let wanted = (0..self.found.len()).filter(|index| !self.found[*index] && accept(&self.keys.keys[*index].scope));
        self.active.extend(wanted);
        !self.active.is_empty()
    }

    /// The next piece of the stretch.
    pub(crate) fn text(&mut self, text: &str) {
        if self.active.is_empty() {
            return;
        }
        fold_into(text, &mut self.folded);
        if self.folded.len() >= BLOCK_BYTES + self.keys.longest {
            self.search();
            let tail = self.folded.len() - self.keys.longest.saturating_sub(1).min(self.folded.len());
            self.folded.drain(..tail);
        }
    }

    /// Ends the stretch: nothing is found across its borders.
    pub(crate) fn end(&mut self) {
        self.search();
        self.active.clear();
        self.folded.clear();
    }

    fn search(&mut self) {
        let Self {
            keys,
            found,
            active,
            folded,
        } = self;
        active.retain(|index| {
            let is_found = keys.keys[*index].finder.find(folded).is_some();
            found[*index] |= is_found;
            !is_found
        });
    }

    /// Whether a key whose scope is accepted was not found yet.
    pub(crate) fn is_open(&self, accept: impl Fn(&SearchScope) -> bool) -> bool {
        self.keys
            .keys
            .iter()
            .zip(&self.found)
            .any(|(key, found)| !found && accept(&key.scope))
    }

    /// Of each key, in the order given, whether it was found.
    pub(crate) fn into_found(self) -> Vec<bool> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_across_pieces_and_blocks() {
        let key = |text: &str| SearchKey {
            scope: SearchScope::Text,
            text: text.to_owned(),
        };
        let keys = SearchKeys::new([key("NEEDLE in it"), key("absent"), key("")]);
        for before in [0, 1, BLOCK_BYTES - 5, BLOCK_BYTES, 3 * BLOCK_BYTES + 7] {
            for piece in [1, 2, 5, 1000] {
                let text = format!("{}Needle IN it{}", "x".repeat(before), "y".repeat(100));
                let mut haystack = Haystack::new(&keys);
                assert!(haystack.begin(|_| true));
                for chunk in text.as_bytes().chunks(piece) {
                    haystack.text(std::str::from_utf8(chunk).expect("ASCII"));
                    assert!(haystack.folded.len() <= BLOCK_BYTES + 2 * 1000);
                }
                haystack.end();
                assert_eq!(haystack.into_found(), [true, false, true], "{before} {piece}");
            }
        }
    }

    #[test]
    fn nothing_is_found_across_stretches() {
        let keys = SearchKeys::new([SearchKey {
            scope: SearchScope::Body,
            text: "ab".to_owned(),
        }]);
        let mut haystack = Haystack::new(&keys);
        for text in ["a", "b"] {
            haystack.begin(|_| true);
            haystack.text(text);
            haystack.end();
        }
        assert!(haystack.is_open(|_| true) && !haystack.begin(|scope| *scope == SearchScope::Text));
        assert_eq!(haystack.into_found(), [false]);
    }
}
