//! Cuts blocks of address space into pieces: what is handed out, what is free, which block each lies in.
//!
//! Only numbers: nothing here touches memory. Taking memory from the driver beside a kernel that waits for a peer may
//! block, so the context takes large blocks early and serves from them.

use std::collections::{BTreeMap, HashMap};

/// Alignment and granularity of pieces: what `cuMemAlloc` promises at least, and more than any kernel asks.
pub(super) const GRAIN: u64 = 512;

/// Blocks and their pieces.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// Start and size of each block.
    blocks: BTreeMap<u64, u64>,
    /// Start and size of free pieces; neighbours within a block are one piece.
    free: BTreeMap<u64, u64>,
    /// Start and size of pieces handed out.
    used: HashMap<u64, u64>,
}

impl Arena {
    /// Adds a block.
    pub fn add(&mut self, base: u64, bytes: u64) {
        self.blocks.insert(base, bytes);
        self.free.insert(base, bytes);
    }

    /// Hands out the smallest free piece that holds `bytes`.
    pub fn take(&mut self, bytes: u64) -> Option<u64> {
        let bytes = bytes.max(1).checked_next_multiple_of(GRAIN)?;
        let fits = self.free.iter().filter(|&(_, &size)| size >= bytes);
        let (start, size) = fits.min_by_key(|&(&start, &size)| (size, start)).map(|(&start, &size)| (start, size))?;
        self.free.remove(&start);
        if size > bytes {
            self.free.insert(start + bytes, size - bytes);
        }
        self.used.insert(start, bytes);
        Some(start)
    }

    /// Takes a piece back; `false` when it was not handed out.
    pub fn give(&mut self, start: u64) -> bool {
        let Some(mut bytes) = self.used.remove(&start) else { return false };
        let Some(block) = self.block(start) else { return false };
        let mut start = start;
        let end = start + bytes;
        if end < block.1 {
            bytes += self.free.remove(&end).unwrap_or(0);
        }
        let before = self.free.range(..start).next_back().map(|(&at, &size)| (at, size));
        if let Some((at, size)) = before.filter(|&(at, size)| at >= block.0 && at + size == start) {
            start = at;
            bytes += size;
        }
        self.free.insert(start, bytes);
        true
    }

    /// Size of a piece that is handed out.
    pub fn size(&self, start: u64) -> Option<u64> {
        self.used.get(&start).copied()
    }

    /// Start and end of the block in which `address` lies.
    pub fn block(&self, address: u64) -> Option<(u64, u64)> {
        let (&base, &bytes) = self.blocks.range(..=address).next_back()?;
        (address - base < bytes).then_some((base, base + bytes))
    }

    /// Takes out the blocks of which nothing is handed out.
    pub fn idle_blocks(&mut self) -> Vec<u64> {
        let idle = |(base, bytes): (&u64, &u64)| (self.free.get(base) == Some(bytes)).then_some(*base);
        let idle: Vec<u64> = self.blocks.iter().filter_map(idle).collect();
        for base in &idle {
            self.blocks.remove(base);
            self.free.remove(base);
        }
        idle
    }

    /// Starts of all blocks.
    pub fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.keys().copied()
    }

    /// Bytes of all free pieces.
    pub fn free_bytes(&self) -> u64 {
        self.free.values().sum()
    }

    /// Bytes of the largest free piece.
    pub fn largest_free(&self) -> u64 {
        self.free.values().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: random takes and gives; pieces never overlap, lie in one block, and at the end every block is whole.
    #[test]
    fn pieces_are_apart_and_come_together_again() {
        let mut arena = Arena::default();
        // Two blocks that touch: pieces must not grow across.
        arena.add(1 << 20, 1 << 16);
        arena.add((1 << 20) + (1 << 16), 1 << 16);
        arena.add(1 << 30, 3 * GRAIN);
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut held: Vec<(u64, u64)> = Vec::new();
        for _ in 0..4000 {
            if random() % 3 == 0 && !held.is_empty() {
                let (start, _) = held.swap_remove(random() as usize % held.len());
                assert!(arena.give(start), "{start:#x} was handed out");
                assert!(!arena.give(start), "{start:#x} is taken back once");
                continue;
            }
            let bytes = random() % 9000;
            let Some(start) = arena.take(bytes) else { continue };
            let size = arena.size(start).expect("it was just handed out");
            assert!(size >= bytes && start % GRAIN == 0);
            let block = arena.block(start).expect("pieces lie in blocks");
            assert!(start + size <= block.1, "a piece crosses its block's end");
            let clash = held.iter().find(|&&(other, length)| start < other + length && other < start + size);
            assert_eq!(clash, None, "{start:#x} + {size:#x}");
            held.push((start, size));
        }
        for (start, _) in held {
            assert!(arena.give(start));
        }
        let mut idle = arena.idle_blocks();
        idle.sort_unstable();
        assert_eq!(idle, [1 << 20, (1 << 20) + (1 << 16), 1 << 30]);
        assert_eq!(arena.take(1), None);
    }

    /// Method: what is free is used before a block is missed, and the best fit is taken.
    #[test]
    fn the_smallest_piece_that_fits_is_taken() {
        let mut arena = Arena::default();
        arena.add(0x10000, 8 * GRAIN);
        arena.add(0x40000, 2 * GRAIN);
        assert_eq!(arena.take(GRAIN + 1), Some(0x40000));
        assert_eq!(arena.take(8 * GRAIN), Some(0x10000));
        assert_eq!(arena.take(1), None);
        assert_eq!(arena.largest_free(), 0);
        assert!(!arena.give(0x10000 + GRAIN), "only starts are taken back");
    }
}
