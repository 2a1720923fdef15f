//! Columns of a function's registers: few, so that a warp takes little memory.

use super::lower::Reason;
use std::collections::HashMap;
use std::ops::Range;

/// Columns of registers whose blocks have ended serve those of later blocks, so that a warp's registers take little memory.
#[derive(Debug, Default)]
pub(super) struct BlockColumns {
    /// Columns of open blocks: where the block ends, the width in bytes, the column.
    used: Vec<(usize, u8, u16)>,
    /// Where the first of these blocks ends.
    first_end: usize,
    /// Columns of ended blocks and where these ended, by width: what is above a register's width stays zero.
    free: HashMap<u8, Vec<(usize, u16)>>,
}

impl BlockColumns {
    /// A column for the next register, in the order of declaration.
    pub fn column(
        &mut self,
        bytes: u8,
        block: &Range<usize>,
        new: impl FnOnce() -> Result<u16, Reason>,
    ) -> Result<u16, Reason> {
        if self.first_end <= block.start {
            let (ended, open): (Vec<_>, Vec<_>) = self.used.drain(..).partition(|&(end, ..)| end <= block.start);
            self.used = open;
            self.first_end = self.used.iter().map(|&(end, ..)| end).min().unwrap_or(usize::MAX);
            for (end, bytes, column) in ended {
                self.free.entry(bytes).or_default().push((end, column));
            }
        }
        let free = self.free.entry(bytes).or_default();
        let column = match free.iter().rposition(|&(end, _)| end <= block.start) {
            Some(at) => free.remove(at).1,
            None => new()?,
        };
        self.used.push((block.end, bytes, column));
        self.first_end = self.first_end.min(block.end);
        Ok(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of registers that are declared in this order: width in bytes, block.
    fn columns(registers: &[(u8, Range<usize>)]) -> Vec<u16> {
        let (mut given, mut next) = (BlockColumns::default(), 0..);
        let mut column = |(bytes, block): &(u8, Range<usize>)| {
            given
                .column(*bytes, block, || Ok(next.next().unwrap_or_default()))
                .unwrap_or_else(|error| panic!("{error}"))
        };
        registers.iter().map(&mut column).collect()
    }

    #[test]
    fn blocks_behind_each_other_share() {
        assert_eq!(columns(&[(8, 0..9), (4, 1..3), (4, 3..5), (4, 5..9)]), [0, 1, 1, 1]);
    }

    #[test]
    fn blocks_within_each_other_do_not() {
        assert_eq!(columns(&[(4, 0..9), (4, 1..8), (4, 2..3), (4, 1..8), (4, 4..5)]), [0, 1, 2, 3, 2]);
    }

    /// What is declared last may be named in all of its block, so also in blocks that were over by then.
    #[test]
    fn a_block_that_began_before_does_not() {
        assert_eq!(columns(&[(4, 1..3), (8, 3..5), (4, 0..9), (4, 5..7)]), [0, 1, 2, 0]);
    }

    #[test]
    fn other_widths_do_not() {
        assert_eq!(columns(&[(8, 0..2), (4, 2..4), (8, 4..6)]), [0, 1, 0]);
    }
}
