//! The words that probes store and expect: `PATTERN` of ptx/probes/probe.ptxh.

/// Word `index` of pattern `seed`.
pub fn pattern(index: u32, seed: u32) -> u32 {
    let mixed = (index ^ seed).wrapping_mul(0x9e37_79b1);
    mixed ^ mixed >> 15
}

/// Words of little-endian bytes.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("chunks of four bytes")))
}
