//! Host memory that a device writes at any time: only atomic accesses, never a reference.

use std::sync::atomic::{fence, AtomicU64, AtomicU8, Ordering};

/// A range of host-mapped memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostMemory {
    address: u64,
    bytes: u64,
}

impl HostMemory {
    /// # Safety
    /// The range is host memory that stays allocated while this is used, and that everybody accesses atomically or from
    /// a device.
    pub unsafe fn new(address: u64, bytes: u64) -> HostMemory {
        HostMemory { address, bytes }
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        debug_assert!((offset as u64) < self.bytes);
        // SAFETY: inside the range, by `new`'s promise allocated and only accessed atomically.
        unsafe { AtomicU8::from_ptr((self.address as usize + offset) as *mut u8) }
    }

    /// The aligned word at `offset`.
    fn word_at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset as u64 + 8 <= self.bytes && (self.address as usize + offset).is_multiple_of(8));
        // SAFETY: as for `byte`, and the caller keeps to aligned words.
        unsafe { AtomicU64::from_ptr((self.address as usize + offset) as *mut u64) }
    }

    /// Bytes before the first aligned word, at most `length`.
    fn head(&self, length: usize) -> usize {
        ((self.address as usize).wrapping_neg() % 8).min(length)
    }

    /// The first word, with acquire order. The range starts aligned and has 8 bytes.
    pub fn word(&self) -> u64 {
        if !self.address.is_multiple_of(8) {
            let mut bytes = [0; 8];
            self.read(&mut bytes);
            return u64::from_le_bytes(bytes);
        }
        u64::from_le(self.word_at(0).load(Ordering::Acquire))
    }

    /// Copies out, words in ascending order; what was stored before a word that is seen here is seen next.
    pub fn read(&self, into: &mut [u8]) {
        let head = self.head(into.len());
        for (offset, byte) in into[..head].iter_mut().enumerate() {
            *byte = self.byte(offset).load(Ordering::Relaxed);
        }
        let mut words = into[head..].chunks_exact_mut(8);
        let mut offset = head;
        for word in &mut words {
            word.copy_from_slice(&self.word_at(offset).load(Ordering::Relaxed).to_ne_bytes());
            offset += 8;
        }
        for byte in words.into_remainder() {
            *byte = self.byte(offset).load(Ordering::Relaxed);
            offset += 1;
        }
        fence(Ordering::Acquire);
    }

    /// Copies in, words in ascending order, after everything that this thread stored before.
    pub fn write(&self, bytes: &[u8]) {
        fence(Ordering::Release);
        let head = self.head(bytes.len());
        for (offset, &byte) in bytes[..head].iter().enumerate() {
            self.byte(offset).store(byte, Ordering::Relaxed);
        }
        let words = bytes[head..].chunks_exact(8);
        let rest = words.remainder();
        let mut offset = head;
        for word in words {
            let word = u64::from_ne_bytes(*word.first_chunk().expect("chunks of 8 bytes"));
            self.word_at(offset).store(word, Ordering::Relaxed);
            offset += 8;
        }
        for &byte in rest {
            self.byte(offset).store(byte, Ordering::Relaxed);
            offset += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: every start and length within some words; what is written is read back, and nothing beside it changes.
    #[test]
    fn ranges_of_every_alignment_are_copied() {
        for start in 0..16 {
            for length in 0..40 {
                let memory = [const { AtomicU64::new(0x5555_5555_5555_5555) }; 8];
                let base = memory.as_ptr() as u64;
                // SAFETY: inside the array, which lives to the end of the loop.
                let range = unsafe { HostMemory::new(base + start as u64, length as u64) };
                let bytes: Vec<u8> = (0..length as u8).map(|byte| byte ^ 0xc3).collect();
                range.write(&bytes);
                let mut back = vec![0; length];
                range.read(&mut back);
                assert_eq!(back, bytes);
                // SAFETY: the whole array.
                let whole = unsafe { HostMemory::new(base, 64) };
                let mut all = vec![0; 64];
                whole.read(&mut all);
                let mut want: Vec<u8> = vec![0x55; 64];
                want[start..start + length].copy_from_slice(&bytes);
                assert_eq!(all, want, "start {start}, length {length}");
            }
        }
    }
}
