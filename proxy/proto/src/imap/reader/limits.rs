//! How much of a command is read, collected and thrown away.

/// How much a client may send in one command.
#[derive(Debug)]
pub struct ReaderLimits {
    /// Bytes of a command's lines, literals not counted.
    pub line_bytes_max: usize,
    /// The same for commands that carry sequence sets or searches, which are long by nature.
    pub long_line_bytes_max: usize,
    /// Bytes of one collected literal.
    pub literal_bytes_max: u64,
    /// Bytes of all collected literals of a command.
    pub literals_bytes_max: u64,
    /// Collected literals of a command.
    pub literals_max: u16,
    /// Bytes of a literal that is sent without waiting: 4096 where LITERAL- is announced (RFC 7888).
    pub non_synchronising_bytes_max: u64,
    /// Bytes thrown away behind refused literals, and of a line that is too long, before the connection is given up.
    pub drain_bytes_max: u64,
    /// Whether APPEND makes sense.
    pub append: bool,
}

impl ReaderLimits {
    /// Before the login: enough for names, passwords and SASL responses.
    pub const BEFORE_LOGIN: ReaderLimits = ReaderLimits {
        line_bytes_max: 8 << 10,
        long_line_bytes_max: 8 << 10,
        literal_bytes_max: 1 << 10,
        literals_bytes_max: 4 << 10,
        literals_max: 8,
        non_synchronising_bytes_max: 4 << 10,
        drain_bytes_max: 64 << 10,
        append: false,
    };

    /// After the login.
    pub const AFTER_LOGIN: ReaderLimits = ReaderLimits {
        line_bytes_max: 8 << 10,
        long_line_bytes_max: 64 << 10,
        literal_bytes_max: 16 << 10,
        literals_bytes_max: 64 << 10,
        literals_max: 256,
        non_synchronising_bytes_max: u64::MAX,
        drain_bytes_max: 64 << 20,
        append: true,
    };
}
