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
