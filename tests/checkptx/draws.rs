//! Inputs of a case, from its seed.

use crate::draw::Draw;

/// Bytes.
pub fn bytes(seed: u64, purpose: u64, count: usize) -> Vec<u8> {
    let mut draw = Draw::new(seed, &[purpose]);
    let mut all: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| draw.next().to_le_bytes()).collect();
    all.truncate(count);
    all
}

/// 64-bit words.
pub fn words(seed: u64, purpose: u64, count: usize) -> Vec<u64> {
    let mut draw = Draw::new(seed, &[purpose]);
    (0..count).map(|_| draw.next()).collect()
}

/// Little-endian bytes of 64-bit words.
pub fn bytes_of(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Little-endian bytes of 32-bit words.
pub fn bytes_of32(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// bf16 values at the edges: zeros, subnormals, largest and smallest, infinities, quiet and signalling NaN.
const EDGES: [u16; 16] = [
    0x0000, 0x8000, 0x0001, 0x8001, 0x007f, 0x807f, 0x0080, 0x8080, 0x7f7f, 0xff7f, 0x7f80, 0xff80, 0x7fc0, 0xffc1,
    0x7f81, 0xffff,
];

/// bf16 bits: half of like size so that sums round, a quarter at the edges, a quarter anything.
pub fn bf16s(seed: u64, purpose: u64, count: usize) -> Vec<u16> {
    let mut draw = Draw::new(seed, &[purpose]);
    (0..count)
        .map(|_| {
            let bits = draw.next();
            match (bits >> 32) % 4 {
                0 | 1 => (bits as u16 & 0x807f) | ((119 + (bits >> 16) as u16 % 16) << 7),
                2 => EDGES[(bits >> 40) as usize % EDGES.len()],
                _ => (bits >> 48) as u16,
            }
        })
        .collect()
}

/// Little-endian bytes of bf16 bits.
pub fn bytes_of16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
