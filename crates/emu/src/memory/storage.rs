//! Bytes with a shadow bit each, and watchers of words.

use super::{SharedBytes, WarpRef};
use std::collections::BTreeMap;

/// Backing bytes of an allocation or of a CTA's shared memory.
///
/// Memory is zeroed by the allocator, so pages nobody touches cost nothing. The shadow has one bit a byte: set when
/// the byte was written. It is empty when uninitialized reads are not checked.
///
/// Memory that threads of the host use too has no `bytes` and no shadow, but words: what looks for bytes does not find
/// them and goes there, so that ordinary memory pays nothing for it.
#[derive(Debug)]
pub(crate) struct Storage {
    pub bytes: Vec<u8>,
    words: Option<SharedBytes>,
    shadow: Vec<u64>,
    /// Watched 8-byte words and who waits for a change. `None` when nobody does, which is what stores test.
    watch: Option<BTreeMap<u64, Vec<WarpRef>>>,
    /// Stores here must be made visible to the bus (a NIC reads this memory).
    pub tracked: bool,
}

/// A piece of memory taken out of a storage, with its shadow.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub bytes: Vec<u8>,
    /// Shadow bits, bit 0 for the first byte; `None` when every byte is initialized or nothing is checked.
    shadow: Option<Vec<u64>>,
}

impl Storage {
    pub fn new(bytes: usize, shadowed: bool) -> Storage {
        Storage {
            bytes: vec![0; bytes],
            words: None,
            shadow: if shadowed { vec![0; bytes.div_ceil(64)] } else { Vec::new() },
            watch: None,
            tracked: false,
        }
    }

    /// Memory that threads of the host use too.
    pub fn shared(words: SharedBytes) -> Storage {
        Storage { bytes: Vec::new(), words: Some(words), shadow: Vec::new(), watch: None, tracked: false }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.words.as_ref().map_or(self.bytes.len(), SharedBytes::len)
    }

    /// The words of memory that threads of the host use too.
    #[inline(always)]
    pub fn words(&self) -> Option<&SharedBytes> {
        self.words.as_ref()
    }

    #[cold]
    fn must_be_shared(&self) -> &SharedBytes {
        self.words.as_ref().expect("an access is within the storage")
    }

    /// Little-endian value of `size` bytes, `size` 1, 2, 4 or 8. The caller has checked the bounds.
    #[inline(always)]
    pub fn load(&self, offset: usize, size: usize) -> u64 {
        let Some(bytes) = self.bytes.get(offset..offset + size) else {
            return self.must_be_shared().load(offset, size);
        };
        match size {
            8 => u64::from_le_bytes(bytes.try_into().expect("slice of 8")),
            4 => u32::from_le_bytes(bytes.try_into().expect("slice of 4")) as u64,
            2 => u16::from_le_bytes(bytes.try_into().expect("slice of 2")) as u64,
            _ => bytes[0] as u64,
        }
    }

    /// Stores the low `size` bytes of `value` and marks them written.
    #[inline(always)]
    pub fn store(&mut self, offset: usize, size: usize, value: u64) {
        let Some(bytes) = self.bytes.get_mut(offset..offset + size) else {
            return self.must_be_shared().store(offset, size, value);
        };
        match size {
            8 => bytes.copy_from_slice(&value.to_le_bytes()),
            4 => bytes.copy_from_slice(&(value as u32).to_le_bytes()),
            2 => bytes.copy_from_slice(&(value as u16).to_le_bytes()),
            _ => bytes[0] = value as u8,
        }
        if !self.shadow.is_empty() {
            self.mark(offset, size);
        }
    }

    /// Changes an aligned value in one act, when it changes; the old and the new value.
    pub fn update(&mut self, offset: usize, size: usize, new: impl Fn(u64) -> u64) -> (u64, u64) {
        if let Some(words) = &self.words {
            return words.update(offset, size, new);
        }
        let old = self.load(offset, size);
        let next = new(old);
        if next != old {
            self.store(offset, size, next);
        }
        (old, next)
    }

    /// Copies a range out, whether written or not.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        match &self.words {
            None => into.copy_from_slice(&self.bytes[offset..offset + into.len()]),
            Some(words) => words.read(offset, into),
        }
    }

    /// Copies a range in and marks it as written; whether that changed anything.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        if let Some(words) = &self.words {
            words.write(offset, bytes);
            return true;
        }
        let target = &mut self.bytes[offset..offset + bytes.len()];
        let changed = *target != *bytes;
        if changed {
            target.copy_from_slice(bytes);
        }
        self.mark(offset, bytes.len());
        changed
    }

    /// Fills a range and marks it as written.
    pub fn fill(&mut self, offset: usize, bytes: usize, byte: u8) {
        if let Some(words) = &self.words {
            return words.write(offset, &vec![byte; bytes]);
        }
        self.bytes[offset..offset + bytes].fill(byte);
        self.mark(offset, bytes);
    }

    /// True when all bytes of the range were written (or nothing is checked).
    #[inline(always)]
    pub fn is_initialized(&self, offset: usize, bytes: usize) -> bool {
        if self.shadow.is_empty() {
            return true;
        }
        let bit = offset & 63;
        if bit + bytes <= 64 && bytes < 64 {
            let want = ((1u64 << bytes) - 1) << bit;
            return self.shadow[offset >> 6] & want == want;
        }
        self.first_uninitialized(offset, bytes).is_none()
    }

    /// Offset of the first byte in the range that nobody wrote.
    pub fn first_uninitialized(&self, offset: usize, bytes: usize) -> Option<usize> {
        if self.shadow.is_empty() {
            return None;
        }
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let bit = at & 63;
            let span = (64 - bit).min(end - at);
            let want = ones(span) << bit;
            let lacking = want & !self.shadow[at >> 6];
            if lacking != 0 {
                return Some((at & !63) + lacking.trailing_zeros() as usize);
            }
            at += span;
        }
        None
    }

    /// Marks a range as written.
    #[inline(always)]
    pub fn mark(&mut self, offset: usize, bytes: usize) {
        if self.shadow.is_empty() {
            return;
        }
        let bit = offset & 63;
        if bit + bytes <= 64 && bytes < 64 {
            self.shadow[offset >> 6] |= ((1u64 << bytes) - 1) << bit;
        } else {
            self.mark_range(offset, bytes, None);
        }
    }

    fn mark_range(&mut self, offset: usize, bytes: usize, shadow: Option<&[u64]>) {
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let bit = at & 63;
            let span = (64 - bit).min(end - at);
            let range = ones(span) << bit;
            let word = &mut self.shadow[at >> 6];
            match shadow {
                None => *word |= range,
                Some(bits) => {
                    let from = at - offset;
                    let low = bits[from >> 6] >> (from & 63);
                    let high = match from & 63 {
                        0 => 0,
                        shift => bits.get((from >> 6) + 1).map_or(0, |w| w << (64 - shift)),
                    };
                    *word = (*word & !range) | (((low | high) << bit) & range);
                }
            }
            at += span;
        }
    }

    /// Takes a copy of a range with its shadow, reusing `into`'s memory.
    pub fn take(&self, offset: usize, bytes: usize, into: &mut Snapshot) {
        into.bytes.clear();
        into.shadow = None;
        if let Some(words) = &self.words {
            into.bytes.resize(bytes, 0);
            return words.read(offset, &mut into.bytes);
        }
        into.bytes.extend_from_slice(&self.bytes[offset..offset + bytes]);
        if self.first_uninitialized(offset, bytes).is_none() {
            return;
        }
        let mut bits = vec![0u64; bytes.div_ceil(64)];
        for (index, word) in bits.iter_mut().enumerate() {
            let at = offset + index * 64;
            let low = self.shadow[at >> 6] >> (at & 63);
            let high = match at & 63 {
                0 => 0,
                shift => self.shadow.get((at >> 6) + 1).map_or(0, |w| w << (64 - shift)),
            };
            *word = low | high;
        }
        into.shadow = Some(bits);
    }

    /// Puts a copy of a range here, shadow included. The caller tells the watchers.
    pub fn put(&mut self, offset: usize, piece: &Snapshot) {
        if let Some(words) = &self.words {
            return words.write(offset, &piece.bytes);
        }
        self.bytes[offset..offset + piece.bytes.len()].copy_from_slice(&piece.bytes);
        if !self.shadow.is_empty() && !piece.bytes.is_empty() {
            self.mark_range(offset, piece.bytes.len(), piece.shadow.as_deref());
        }
    }

    /// True when written bytes are told from others.
    pub fn is_shadowed(&self) -> bool {
        !self.shadow.is_empty()
    }

    /// True when some word is watched.
    #[inline(always)]
    pub fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// `warp` wants to be woken when the range is written.
    pub fn watch(&mut self, offset: usize, bytes: usize, warp: WarpRef) {
        let map = self.watch.get_or_insert_with(Default::default);
        for word in offset as u64 / 8..=(offset + bytes - 1) as u64 / 8 {
            let waiters = map.entry(word).or_default();
            if !waiters.contains(&warp) {
                waiters.push(warp);
            }
        }
    }

    /// `warp` no longer waits for the range.
    pub fn unwatch(&mut self, offset: usize, bytes: usize, warp: WarpRef) {
        let Some(map) = &mut self.watch else { return };
        for word in offset as u64 / 8..=(offset + bytes - 1) as u64 / 8 {
            if let Some(waiters) = map.get_mut(&word) {
                waiters.retain(|w| *w != warp);
                if waiters.is_empty() {
                    map.remove(&word);
                }
            }
        }
        if map.is_empty() {
            self.watch = None;
        }
    }

    /// Everyone who watches a word.
    pub fn watchers(&self) -> impl Iterator<Item = WarpRef> + '_ {
        self.watch.iter().flat_map(|map| map.values().flatten().copied())
    }

    /// The range was written: collects who watched it.
    #[cold]
    pub fn touched(&self, offset: usize, bytes: usize, woken: &mut Vec<WarpRef>) {
        if let (Some(map), true) = (&self.watch, bytes > 0) {
            for (_, waiters) in map.range(offset as u64 / 8..=(offset + bytes - 1) as u64 / 8) {
                woken.extend_from_slice(waiters);
            }
        }
    }
}

/// `span` ones, `span` in 1..=64.
fn ones(span: usize) -> u64 {
    u64::MAX >> (64 - span)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shadow bits of `take` and `put` must equal those of a byte-wise model, at every misalignment.
    #[test]
    fn copies_carry_the_shadow_bit_for_bit() {
        let mut seed = 0x1234_5678_9abc_def1u64;
        let mut draw = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n as u64) as usize
        };
        for case in 0..2000 {
            let mut source = Storage::new(400, true);
            let mut model = vec![false; 400];
            for _ in 0..draw(12) {
                let (at, len) = (draw(300), 1 + draw(100));
                source.mark(at, len);
                model[at..at + len].fill(true);
            }
            let (from, to, len) = (draw(200), draw(200), 1 + draw(200));
            let mut target = Storage::new(400, true);
            target.mark(to, len / 2 + 1);
            let mut piece = Snapshot::default();
            source.take(from, len, &mut piece);
            target.put(to, &piece);
            for i in 0..len {
                assert_eq!(target.is_initialized(to + i, 1), model[from + i], "case {case} byte {i}");
            }
            assert_eq!(source.first_uninitialized(from, len), (from..from + len).find(|&i| !model[i]), "case {case}");
        }
    }
}
