//! What of a GPU's memory L2 holds: pages by when they were last used.

use std::collections::HashMap;

/// Bytes that come and go together.
const PAGE_BYTES: u64 = 4096;

/// L2 of a GPU. A page is held until as many bytes as fit have come after it was last used.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Bytes that had come when a page, by storage and number, was last used.
    pages: HashMap<(usize, u64), u64>,
    came: u64,
}

impl Cache {
    /// Bytes of a range that L2 does not hold; it does from now on.
    pub fn miss(&mut self, held_bytes: u64, storage: usize, offset: u64, bytes: u64) -> u64 {
        let mut missed = 0;
        for page in offset / PAGE_BYTES..(offset + bytes).div_ceil(PAGE_BYTES) {
            let came = self.came;
            let last = self.pages.insert((storage, page), came);
            if last.is_none_or(|last| came - last > held_bytes) {
                self.came += PAGE_BYTES;
                missed += PAGE_BYTES;
            }
        }
        missed.min(bytes)
    }
}

#[test]
fn pages_are_held_until_others_have_come() {
    let mut cache = Cache::default();
    let held = 4 * PAGE_BYTES;
    assert_eq!(cache.miss(held, 0, 0, 100), 100);
    assert_eq!(cache.miss(held, 0, 0, 2 * PAGE_BYTES), PAGE_BYTES);
    assert_eq!(cache.miss(held, 1, 0, 3 * PAGE_BYTES), 3 * PAGE_BYTES, "of another storage");
    assert_eq!(cache.miss(held, 0, PAGE_BYTES, 16), 0);
    assert_eq!(cache.miss(held, 1, 8 * PAGE_BYTES, 4 * PAGE_BYTES), 4 * PAGE_BYTES);
    assert_eq!(cache.miss(held, 1, 0, 16), 16, "gone");
}
