//! What devices and queue pairs did, for reports of bytes on the wire.

/// Counts since creation, of a queue pair or of all queue pairs of a device. A reset keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Doorbells that were accepted.
    pub doorbells: u64,
    /// Entries fetched, flushed ones too.
    pub entries_fetched: u64,
    /// Writes placed to the last byte.
    pub writes: u64,
    /// Bytes of writes placed, of unfinished ones too.
    pub write_bytes: u64,
    /// Of `writes`, those that carried some payload in the entry.
    pub inline_writes: u64,
    /// Pieces in which writes were placed.
    pub write_pieces: u64,
    /// Atomics performed.
    pub atomics: u64,
    /// Reads placed to the last byte.
    pub reads: u64,
    /// Bytes of reads placed.
    pub read_bytes: u64,
    /// Completion entries without an error.
    pub completions: u64,
    /// Completion entries with an error, flushes too.
    pub errors: u64,
}

impl Counters {
    /// Adds another count to this one.
    pub fn add(&mut self, other: &Counters) {
        let Counters {
            doorbells,
            entries_fetched,
            writes,
            write_bytes,
            inline_writes,
            write_pieces,
            atomics,
            reads,
            read_bytes,
            completions,
            errors,
        } = other;
        self.doorbells += doorbells;
        self.entries_fetched += entries_fetched;
        self.writes += writes;
        self.write_bytes += write_bytes;
        self.inline_writes += inline_writes;
        self.write_pieces += write_pieces;
        self.atomics += atomics;
        self.reads += reads;
        self.read_bytes += read_bytes;
        self.completions += completions;
        self.errors += errors;
    }
}
