//! The mbarrier object: all its state lies in its 8 bytes of shared memory.
//!
//! From bit 0: expected arrivals (20), pending arrivals (20), tx-count (21, signed), phase parity (1), and the mark
//! `10` of a valid object. The layout is ours; programs may only use what the instructions give.

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const TX_SHIFT: u32 = 40;
const TX_MASK: u64 = (1 << 21) - 1;
const PHASE_SHIFT: u32 = 61;
const MARK: u64 = 0b10 << 62;

/// Greatest number of arrivals, and the bound of the tx-count.
pub(crate) const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;

/// A decoded mbarrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub expected: u32,
    pub pending: u32,
    pub tx_count: i32,
    /// Parity of the open phase.
    pub phase: u32,
}

impl State {
    pub fn new(count: u32) -> Result<State, String> {
        if count == 0 || count > MAX_COUNT {
            return Err(format!("count {count}: must be in 1..={MAX_COUNT}"));
        }
        Ok(State { expected: count, pending: count, tx_count: 0, phase: 0 })
    }

    /// The object in `word`, if one is there.
    pub fn decode(word: u64) -> Option<State> {
        let state = State {
            expected: (word & COUNT_MASK) as u32,
            pending: (word >> COUNT_BITS & COUNT_MASK) as u32,
            tx_count: ((word >> TX_SHIFT & TX_MASK) as i32) << 11 >> 11,
            phase: (word >> PHASE_SHIFT & 1) as u32,
        };
        (word >> 62 == MARK >> 62 && state.pending <= state.expected.max(1)).then_some(state)
    }

    pub fn encode(self) -> u64 {
        MARK | self.expected as u64
            | (self.pending as u64) << COUNT_BITS
            | (self.tx_count as u64 & TX_MASK) << TX_SHIFT
            | (self.phase as u64) << PHASE_SHIFT
    }

    /// More bytes are expected (or fewer, for negative `bytes`) in the open phase.
    pub fn expect(&mut self, bytes: i64) -> Result<(), String> {
        let sum = self.tx_count as i64 + bytes;
        if sum.unsigned_abs() > MAX_COUNT as u64 {
            return Err(format!("tx-count {sum} is outside -{MAX_COUNT}..={MAX_COUNT}"));
        }
        self.tx_count = sum as i32;
        Ok(())
    }

    /// `count` threads arrive.
    pub fn arrive(&mut self, count: u32) -> Result<(), String> {
        if count == 0 || count > self.pending {
            return Err(format!("{count} arrivals when {} are pending of {}", self.pending, self.expected));
        }
        self.pending -= count;
        Ok(())
    }

    /// Ends the phase when nothing is pending; true when it ended.
    pub fn complete(&mut self) -> bool {
        if self.pending != 0 || self.tx_count != 0 {
            return false;
        }
        self.phase ^= 1;
        self.pending = self.expected;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_holds_the_whole_state() {
        for expected in [1, 2, 77, MAX_COUNT] {
            for pending in [0, 1, expected / 2, expected] {
                for tx_count in [0, 1, -1, 4096, MAX_COUNT as i32, -(MAX_COUNT as i32)] {
                    for phase in [0, 1] {
                        let state = State { expected, pending, tx_count, phase };
                        assert_eq!(State::decode(state.encode()), Some(state));
                    }
                }
            }
        }
        assert_eq!(State::decode(0), None);
    }
}
