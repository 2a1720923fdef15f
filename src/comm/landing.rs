//! The landing zone of a rank's window, and who has which of its rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::{EventId, StreamId};
use crate::error::Result;
use crate::mem::tensor::Owner;
use crate::mem::{Buffer, DType, Tensor};
use crate::plan::tuning::LANDING_GRANULE;

/// Rows of a window that outputs are made of.
#[derive(Debug)]
pub(crate) struct Zone {
    window: Arc<Buffer>,
    /// The communicator's: what is next in it comes behind all that is in it.
    stream: StreamId,
    rows: u32,
    ranges: Mutex<Ranges>,
}

#[derive(Debug, Default)]
struct Ranges {
    /// First row and end of what is taken, ascending.
    taken: Vec<(u32, u32)>,
    /// First rows of ranges that nobody owns any more, and marks in the streams that may still work on them; none while a
    /// stream is captured, which takes no mark.
    leaving: Vec<(u32, Option<Vec<EventId>>)>,
}

impl Zone {
    /// All `rows` of the zone in `window`, free.
    pub fn new(window: &Arc<Buffer>, stream: StreamId, rows: u32) -> Arc<Zone> {
        Arc::new(Zone { window: Arc::clone(window), stream, rows, ranges: Mutex::default() })
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `rows` rows beside each other, the first that are free; `None` when there are not so many.
    pub fn take(self: &Arc<Zone>, rows: usize) -> Option<Arc<Range>> {
        let rows = u32::try_from(rows.max(1)).ok()?.checked_next_multiple_of(LANDING_GRANULE)?;
        let mut ranges = self.ranges();
        self.free(&mut ranges);
        let taken = &mut ranges.taken;
        let ends = std::iter::once(0).chain(taken.iter().map(|&(_, end)| end));
        let starts = taken.iter().map(|&(first, _)| first).chain([self.rows]);
        let gap = ends.zip(starts).position(|(first, end)| end - first >= rows)?;
        let first = gap.checked_sub(1).map_or(0, |before| taken[before].1);
        taken.insert(gap, (first, first + rows));
        Some(Arc::new(Range { zone: Arc::clone(self), first }))
    }

    /// Rows that were given back are free when every stream of the driver is past what it held then: tensors may go while work
    /// of the caller's is still to read them, as with any memory of the driver's.
    fn free(&self, ranges: &mut Ranges) {
        let driver = self.window.driver();
        let Ranges { taken, leaving } = ranges;
        leaving.retain_mut(|(first, marks)| {
            if marks.is_none() {
                *marks = self.marks().ok().flatten();
            }
            let passed = |mark: &EventId| driver.is_reached(*mark).unwrap_or(false);
            let is_free = marks.as_ref().is_some_and(|marks| marks.iter().all(passed));
            if is_free {
                for mark in marks.take().into_iter().flatten() {
                    if let Err(error) = driver.destroy_event(mark) {
                        tracing::warn!(event = mark.0, %error, "an event could not be ended");
                    }
                }
                taken.retain(|(taken, _)| taken != first);
            }
            !is_free
        });
    }

    /// Marks behind all that other streams hold; `None` while one is captured.
    fn marks(&self) -> Result<Option<Vec<EventId>>> {
        let driver = self.window.driver();
        let streams = driver.streams();
        // Nothing else may be asked while a stream is captured.
        for &stream in &streams {
            if driver.is_capturing(stream)? {
                return Ok(None);
            }
        }
        let mut marks = Vec::new();
        for stream in streams.into_iter().filter(|&stream| stream != self.stream) {
            if !driver.is_idle(stream)? {
                let mark = driver.create_event()?;
                driver.record_event(mark, stream)?;
                marks.push(mark);
            }
        }
        Ok(Some(marks))
    }
}

/// Rows of a zone, given back when the last tensor over them goes.
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
        let mut ranges = self.zone.ranges();
        let marks = self.zone.marks().ok().flatten();
        ranges.leaving.push((self.first, marks));
        self.zone.free(&mut ranges);
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
        Zone::new(&Arc::new(Buffer::new(&driver, 64).unwrap_or_else(|error| panic!("{error}"))), StreamId(0), rows)
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
