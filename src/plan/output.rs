//! How output rows are ordered.

use std::fmt;

/// Most rows that an expert's part may be rounded up to.
pub const MAX_ALIGN: u32 = 1 << 12;

/// Order of the rows that dispatch delivers and combine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OutputLayout {
    /// One row for each token that comes to the rank, by (source rank, token).
    #[default]
    Rows,
    /// One row for each pair, a token and one of its choices of a local expert: by expert, then (source rank, token, choice).
    /// A token that chooses an expert twice has two rows there. Each expert's part begins at a multiple of `align` rows; zero
    /// rows fill it up.
    Experts {
        /// Rows: 1 to [`MAX_ALIGN`].
        align: u32,
    },
}

impl OutputLayout {
    /// Rows that parts are aligned to; 0 where rows are not ordered by expert.
    pub fn expert_align(self) -> u32 {
        match self {
            OutputLayout::Rows => 0,
            OutputLayout::Experts { align } => align,
        }
    }

    /// First row of each expert's part, and the number of all rows, for experts with so many pairs.
    ///
    /// ```
    /// use warpferry::plan::OutputLayout;
    ///
    /// let layout = OutputLayout::Experts { align: 16 };
    /// assert_eq!(layout.offsets(&[17, 0, 16]), [0, 32, 32, 48]); // 15 rows of zeros behind the first expert's 17
    /// ```
    pub fn offsets(self, counts: &[u32]) -> Vec<u32> {
        let align = self.expert_align().max(1);
        let mut offsets = vec![0];
        for count in counts {
            offsets.push(offsets[offsets.len() - 1] + count.next_multiple_of(align));
        }
        offsets
    }
}

impl fmt::Display for OutputLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutputLayout::Rows => f.write_str("by source"),
            OutputLayout::Experts { align } => write!(f, "by expert, aligned to {align}"),
        }
    }
}
