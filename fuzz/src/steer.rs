//! Options and cuts from the last bytes of an input.

/// Bytes at the end of an input that steer.
const BYTES: usize = 4;

/// A small generator; the same input gives the same run.
pub(crate) struct Steer(u32);

/// Takes an input apart.
pub(crate) fn split(input: &[u8]) -> (&[u8], Steer) {
    let (data, tail) = input.split_at(input.len().saturating_sub(BYTES));
    (
        data,
        Steer(tail.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))),
    )
}

impl Steer {
    /// One of `count` options.
    pub(crate) fn option(&mut self, count: u32) -> u32 {
        let option = self.0 % count;
        self.0 /= count;
        option
    }

    /// The data whole, as one piece.
    pub(crate) fn whole(data: &[u8]) -> Vec<&[u8]> {
        vec![data]
    }

    /// The data in pieces of sizes that vary: byte by byte, a few bytes, or one cut.
    pub(crate) fn pieces<'a>(&mut self, data: &'a [u8]) -> Vec<&'a [u8]> {
        let mut state = self.0 | 1;
        let largest = match self.option(4) {
            0 => 1,
            1 => 3,
            2 => 40,
            _ => {
                let (start, end) = data.split_at(self.0 as usize % (data.len() + 1));
                return vec![start, end];
            }
        };
        let mut pieces = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = 1 + (state >> 16) as usize % largest;
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}
