//! Host memory that kernels of the machine and threads of the host use at the same time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Words of a page.
const PAGE_WORDS: usize = 512;
/// Bytes of a page.
const PAGE_BYTES: usize = PAGE_WORDS * 8;

/// Words that are aligned as a page is.
#[repr(align(4096))]
struct Page([AtomicU64; PAGE_WORDS]);

/// Memory of the host that a machine has mapped. Clones are the same memory.
///
/// It consists of 64-bit words, and every access here is made of atomic accesses to whole words: an aligned access of
/// at most 8 bytes is never torn, and accesses take effect in the order in which they are made. A thread of the host may
/// use the memory through [`SharedBytes::as_ptr`] too; it owes the same care as with memory that a device has mapped.
#[derive(Clone)]
pub struct SharedBytes {
    pages: Arc<[Page]>,
    bytes: usize,
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBytes").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl SharedBytes {
    /// Zeroed memory, aligned to 4096 bytes.
    pub fn new(bytes: usize) -> SharedBytes {
        let page = |_| Page(std::array::from_fn(|_| AtomicU64::new(0)));
        SharedBytes { pages: (0..bytes.div_ceil(PAGE_BYTES)).map(page).collect(), bytes }
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where it lies, for as long as a clone of it lives. What is there changes beneath every reader.
    pub fn as_ptr(&self) -> *mut u8 {
        self.pages.as_ptr().cast::<u8>().cast_mut()
    }

    /// The word that starts at byte `8 * index`.
    ///
    /// # Panics
    /// When it lies beyond the end.
    pub fn word(&self, index: usize) -> &AtomicU64 {
        &self.pages[index / PAGE_WORDS].0[index % PAGE_WORDS]
    }

    /// Little-endian value of `size` bytes, at most 8.
    #[cold]
    pub(crate) fn load(&self, offset: usize, size: usize) -> u64 {
        let (index, at) = (offset / 8, offset % 8);
        let mut value = self.word(index).load(Ordering::SeqCst) >> (8 * at);
        if at + size > 8 {
            value |= self.word(index + 1).load(Ordering::SeqCst) << (64 - 8 * at);
        }
        value & mask(size)
    }

    /// Stores the low `size` bytes of `value`, at most 8.
    #[cold]
    pub(crate) fn store(&self, offset: usize, size: usize, value: u64) {
        let (index, at) = (offset / 8, offset % 8);
        let first = size.min(8 - at);
        self.put(index, at, first, value);
        if first < size {
            self.put(index + 1, 0, size - first, value >> (8 * first));
        }
    }

    /// Stores `size` bytes at byte `at` of a word.
    fn put(&self, index: usize, at: usize, size: usize, value: u64) {
        let word = self.word(index);
        if size == 8 {
            return word.store(value, Ordering::SeqCst);
        }
        let (keep, bits) = (!(mask(size) << (8 * at)), (value & mask(size)) << (8 * at));
        let new = |old: u64| Some(old & keep | bits);
        let done = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, new);
        done.expect("the function always gives a value");
    }

    /// Changes an aligned value of `size` bytes in one act; the old and the new value.
    pub(crate) fn update(&self, offset: usize, size: usize, new: impl Fn(u64) -> u64) -> (u64, u64) {
        let (word, shift) = (self.word(offset / 8), 8 * (offset % 8) as u32);
        let mut old = word.load(Ordering::SeqCst);
        loop {
            let part = old >> shift & mask(size);
            let next = new(part) & mask(size);
            let whole = old & !(mask(size) << shift) | next << shift;
            match word.compare_exchange(old, whole, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return (part, next),
                Err(seen) => old = seen,
            }
        }
    }

    /// Copies out, word by word in ascending order.
    ///
    /// # Panics
    /// When the range goes beyond the end.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.bytes, "a range within the memory");
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let size = (8 - at % 8).min(rest.len());
            let (piece, more) = rest.split_at_mut(size);
            piece.copy_from_slice(&self.load(at, size).to_le_bytes()[..size]);
            (at, rest) = (at + size, more);
        }
    }

    /// Copies in, word by word in ascending order.
    ///
    /// # Panics
    /// When the range goes beyond the end.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.bytes, "a range within the memory");
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((8 - at % 8).min(rest.len()));
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.store(at, piece.len(), u64::from_le_bytes(word));
            (at, rest) = (at + piece.len(), more);
        }
    }
}

/// Ones for `size` bytes, 1 to 8.
fn mask(size: usize) -> u64 {
    u64::MAX >> (64 - 8 * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads, writes, loads, stores and updates equal those of plain bytes, at every alignment and size.
    #[test]
    fn equals_plain_bytes() {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut draw = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n as u64) as usize
        };
        let shared = SharedBytes::new(2 * PAGE_BYTES);
        let mut model = vec![0u8; 2 * PAGE_BYTES];
        assert_eq!(shared.as_ptr() as usize % PAGE_BYTES, 0);
        for case in 0..5000 {
            // Around the border of two pages.
            let at = PAGE_BYTES - 40 + draw(60);
            let size = 1 << draw(4);
            let value = (draw(1 << 32) as u64) << 32 | draw(1 << 32) as u64;
            match draw(3) {
                0 => {
                    shared.store(at, size, value);
                    model[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
                }
                1 => {
                    let bytes: Vec<u8> = (0..draw(40)).map(|_| draw(256) as u8).collect();
                    shared.write(at, &bytes);
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                }
                _ => {
                    let at = at & !(size - 1);
                    let (old, new) = shared.update(at, size, |old| old.wrapping_add(value));
                    let mut word = [0; 8];
                    word[..size].copy_from_slice(&model[at..at + size]);
                    assert_eq!(old, u64::from_le_bytes(word), "case {case}");
                    assert_eq!(new, old.wrapping_add(value) & mask(size), "case {case}");
                    model[at..at + size].copy_from_slice(&new.to_le_bytes()[..size]);
                }
            }
            let (from, bytes) = (PAGE_BYTES - 60 + draw(60), draw(60));
            let mut seen = vec![0; bytes];
            shared.read(from, &mut seen);
            assert_eq!(seen, model[from..from + bytes], "case {case}");
            let mut word = [0; 8];
            word[..size].copy_from_slice(&model[at..at + size]);
            assert_eq!(shared.load(at, size), u64::from_le_bytes(word), "case {case}");
        }
    }

    /// A change between an update's load and its store is not lost.
    #[test]
    fn updates_lose_nothing() {
        let shared = SharedBytes::new(8);
        let meddled = std::cell::Cell::new(false);
        let (old, new) = shared.update(4, 4, |old| {
            if !meddled.replace(true) {
                shared.word(0).fetch_add(10 << 32 | 7, Ordering::Relaxed);
            }
            old + 1
        });
        assert_eq!((old, new, shared.word(0).load(Ordering::Relaxed)), (10, 11, 11 << 32 | 7));
    }
}
