//! What a claim takes: finding a stream, its words, the rows through the stages, the end that publishes.
//!
//! Counts are of the pages `worker.ptxh`, `mover.ptxh`, `summer.ptxh` and of the claims in `dispatch.ptx` and `combine.ptx`.

use super::acts::{Acts, Code, Work, PLAIN};

/// Stages of a mover less the one that is stored from: loads that are under way at once.
const LOADS_AHEAD: f64 = 3.0;
/// Bytes that a warp adds in a turn: 16 a lane.
const TURN_BYTES: u32 = 512;
/// Most bytes of a sum's piece.
const SUM_PIECE_BYTES: u32 = 1024;

/// Looking for a stream, taking it, and handing it back.
const LOOK: Code = Code { instructions: 110.0, exchanges: 8.0, shared: 4.0, atomics: 3.0, ..PLAIN };
/// A piece through the mover: load, wait, store.
const PIECE: Code = Code { instructions: 63.0, exchanges: 3.0, atomics: 2.0, copies: 2.0, ..PLAIN };
/// A piece of a sum without its columns: loads of terms, wait, store.
const SUM_PIECE: Code = Code { instructions: 81.0, exchanges: 4.0, atomics: 2.0, copies: 2.0, ..PLAIN };
/// A turn over columns without its terms.
const SUM_TURN: Code = Code { instructions: 32.0, ..PLAIN };
/// Rounding the own node's sum, and taking it into the total.
const SUM_HOME: Code = Code { instructions: 33.0, ..PLAIN };
/// A term of the own node, and another one.
const SUM_TERM: Code = Code { instructions: 37.0, shared: 1.0, ..PLAIN };

/// Messages of a claim of a stream that has so many, at most `most`; one at least.
pub(super) fn chunk(most: f64, messages: f64) -> f64 {
    most.min(messages.max(1.0))
}

/// Rows that a mover carries from one place to some others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// Bytes of a row and its header.
    pub bytes: f64,
    /// Bytes of a piece.
    pub piece_bytes: f64,
    /// Places that each row is stored to.
    pub copies: f64,
    /// What a row takes beside its pieces.
    pub header: Work,
    /// Whether rows are read from device memory, not from L2.
    pub of_hbm: bool,
}

impl Rows {
    /// One row, while loads are ahead: the warp's own work; no faster than loads come and the SM's unit takes the copies.
    pub fn row(&self, acts: &Acts<'_>) -> Work {
        let pieces = (self.bytes / self.piece_bytes).ceil().max(1.0);
        let loads_ns = pieces * self.first_load_ns(acts) / LOADS_AHEAD;
        let stores_ns = Acts::at_rate_ns(self.bytes * self.copies, acts.timing().gpu.sm_store_rate);
        (acts.code(PIECE).times(pieces) + self.header).at_least(loads_ns).at_least(stores_ns)
    }

    /// What the first piece of a claim is waited for.
    pub fn first_load_ns(&self, acts: &Acts<'_>) -> f64 {
        acts.load_ns(self.bytes.min(self.piece_bytes), self.of_hbm)
    }
}

/// A claim of a moving stream: `begin` before the first load, `end` behind the last store.
pub(super) fn moving(acts: &Acts<'_>, begin: Code, rows: &Rows, count: f64, end: Work) -> Work {
    acts.code(LOOK) + acts.code(begin).wait(rows.first_load_ns(acts)) + rows.row(acts).times(count) + end
}

/// A claim of a summing stream.
pub(super) fn summing(acts: &Acts<'_>, begin: Code, message: Work, count: f64, end: Work) -> Work {
    acts.code(LOOK) + acts.code(begin) + message.times(count) + end
}

/// The sum of so many terms of `bytes` bytes, in stages of `stage_bytes`. `home`: some are of the own node and rounded apart.
pub(super) fn sum(acts: &Acts<'_>, terms: f64, bytes: u32, stage_bytes: u32) -> Work {
    let terms = terms.max(1.0);
    let fits = (f64::from(stage_bytes / 2) / terms) as u32 & !15;
    let piece = fits.clamp(16, SUM_PIECE_BYTES);
    let (pieces, rest) = (bytes / piece, bytes % piece);
    let turns = f64::from(pieces * piece.div_ceil(TURN_BYTES) + rest.div_ceil(TURN_BYTES));
    let pieces = f64::from(pieces + u32::from(rest > 0));
    let turn = acts.code(SUM_TURN) + acts.code(SUM_HOME) + acts.code(SUM_TERM).times(terms);
    let work = acts.code(SUM_PIECE).times(pieces) + turn.times(turns);
    work.wait(acts.load_ns(f64::from(piece) * terms, false))
}

/// How long the scout takes to look once at everything that its CTA waits for; a wait ends half of that late, and a word
/// that came is taken by the next look of a worker.
pub(super) fn scan_ns(acts: &Acts<'_>, words: f64, queues: f64) -> f64 {
    /// The sleep between two looks.
    const SLEEP_NS: f64 = 100.0;
    let queue_turns = (queues / 32.0).ceil();
    let queue = Code { instructions: 30.0, exchanges: 1.0, shared: 1.0, loads: 4.0, ..PLAIN };
    let word = Code { instructions: 30.0, exchanges: 4.0, shared: 2.0, loads: 1.0, ..PLAIN };
    let rest = Code { instructions: 30.0, exchanges: 5.0, shared: 3.0, loads: 3.0, ..PLAIN };
    (acts.code(queue).times(queue_turns) + acts.code(word).times(words) + acts.code(rest)).ns + SLEEP_NS
}
