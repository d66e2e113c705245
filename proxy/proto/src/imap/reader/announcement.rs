//! Framing at the level of bytes: where a line ends, and whether it announces a literal (RFC 3501 section 4.3, RFC 7888).

/// A literal's announcement at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) size: u64,
    pub(super) synchronising: bool,
    /// Bytes from `{` to `}`.
    pub(super) length: usize,
}

/// Digits of an announced size: those of 2^64.
const SIZE_DIGITS_MAX: usize = 20;
/// The longest announcement with its line break.
pub(super) const ANNOUNCEMENT_BYTES_MAX: usize = SIZE_DIGITS_MAX + 5;

/// The announcement at the end of `line`, which has no line break.
pub(super) fn announcement(line: &[u8]) -> Option<Announcement> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, synchronising) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, false),
        None => (inner, true),
    };
    let digits = inner
        .iter()
        .rev()
        .take(SIZE_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == 0 || digits > SIZE_DIGITS_MAX {
        return None;
    }
    let (before, digits) = inner.split_at(inner.len() - digits);
    let before = before.strip_suffix(b"{")?;
    let size = digits.iter().fold(0u64, |size, digit| {
        size.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(Announcement {
        size,
        synchronising,
        length: line.len() - before.len(),
    })
}

/// `line` without its line break.
pub(super) fn without_line_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Up to and with the next LF, and whether there was one.
pub(super) fn take_line<'a>(input: &mut &'a [u8]) -> (&'a [u8], bool) {
    let end = memchr::memchr(b'\n', input);
    let (piece, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
    *input = rest;
    (piece, end.is_some())
}

/// At most `remaining` bytes off the front of `input`.
pub(super) fn take<'a>(input: &mut &'a [u8], remaining: u64) -> &'a [u8] {
    let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
    let (data, rest) = input.split_at(length);
    *input = rest;
    data
}
