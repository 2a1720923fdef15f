//! The landing zone of a rank's window, and who has which of its rows.

use std::sync::{Arc, Mutex, PoisonError};

use crate::mem::tensor::Owner;
use crate::mem::{Buffer, DType, Tensor};
use crate::plan::tuning::LANDING_GRANULE;

/// Rows of a window that outputs are made of.
#[derive(Debug)]
pub(crate) struct Zone {
    window: Arc<Buffer>,
    rows: u32,
    /// First row and end of what is taken, ascending.
    taken: Mutex<Vec<(u32, u32)>>,
}

impl Zone {
    /// All `rows` of the zone in `window`, free.
    pub fn new(window: &Arc<Buffer>, rows: u32) -> Arc<Zone> {
        Arc::new(Zone { window: Arc::clone(window), rows, taken: Mutex::new(Vec::new()) })
    }

    /// `rows` rows beside each other, the first that are free; `None` when there are not so many.
    pub fn take(self: &Arc<Zone>, rows: usize) -> Option<Arc<Range>> {
        let rows = u32::try_from(rows.max(1)).ok()?.checked_next_multiple_of(LANDING_GRANULE)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = std::iter::once(0).chain(taken.iter().map(|&(_, end)| end));
        let starts = taken.iter().map(|&(first, _)| first).chain([self.rows]);
        let gap = ends.zip(starts).position(|(first, end)| end - first >= rows)?;
        let first = gap.checked_sub(1).map_or(0, |before| taken[before].1);
        taken.insert(gap, (first, first + rows));
        Some(Arc::new(Range { zone: Arc::clone(self), first }))
    }
}

/// Rows of a zone, free again when the last tensor over them goes.
#[derive(Debug)]
pub(crate) struct Range {
    zone: Arc<Zone>,
    first: u32,
}

impl Range {
    /// First row in the zone.
    #[cfg(test)]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The part of the array at window offset `array` that belongs to `shape[0]` of these rows.
    pub fn tensor(self: &Arc<Range>, owner: &Owner, array: u64, dtype: DType, shape: [usize; 2]) -> Tensor {
        let row_bytes = shape[1] as u64 * dtype.bytes();
        let (offset, bytes) = (array + u64::from(self.first) * row_bytes, shape[0] as u64 * row_bytes);
        Tensor::of(owner, self.zone.window.part(offset, bytes, Box::new(Arc::clone(self))), dtype, &shape)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let mut taken = self.zone.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|&(first, _)| first != self.first);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::driver::null::NullDriver;
    use crate::driver::Driver;

    fn zone(rows: u32) -> Arc<Zone> {
        let driver: Arc<dyn Driver> = Arc::new(NullDriver::new());
        Zone::new(&Arc::new(Buffer::new(&driver, 64).unwrap_or_else(|error| panic!("{error}"))), rows)
    }

    #[test]
    fn the_first_gap_that_is_large_enough_is_taken() {
        let zone = zone(160);
        let [one, two, three] = [1, 40, 64].map(|rows| zone.take(rows).expect("there is room"));
        assert_eq!([one.first(), two.first(), three.first()], [0, 16, 64]);
        assert!(zone.take(33).is_none() && zone.take(usize::MAX).is_none());
        drop(two);
        assert!(zone.take(49).is_none());
        assert_eq!(zone.take(48).expect("there is a gap").first(), 16);
        assert_eq!(zone.take(0).expect("no rows have a place too").first(), 16, "what went is free");
        drop((one, three));
        assert_eq!(zone.take(160).expect("all is free").first(), 0);
    }

    proptest! {
        /// Against a list of rows: no row has two owners, and what is refused has no gap.
        #[test]
        fn ranges_never_meet(steps in prop::collection::vec((0..70usize, any::<prop::sample::Index>(), any::<bool>()), 1..60)) {
            let rows = 256;
            let zone = zone(rows);
            let mut alive: Vec<(Arc<Range>, u32)> = Vec::new();
            for (wanted, which, drops) in steps {
                if drops && !alive.is_empty() {
                    alive.remove(which.index(alive.len()));
                    continue;
                }
                let need = (wanted.max(1) as u32).next_multiple_of(LANDING_GRANULE);
                let mut used = vec![false; rows as usize];
                for (range, rows) in &alive {
                    used[range.first() as usize..(range.first() + rows) as usize].fill(true);
                }
                let free = used.windows(need as usize).position(|rows| rows.iter().all(|used| !used));
                let taken = zone.take(wanted);
                prop_assert_eq!(taken.as_ref().map(|range| range.first() as usize), free);
                alive.extend(taken.map(|range| (range, need)));
            }
        }
    }
}
