//! Parts that serve one after another: what a request waits for others, and when it is done.

use std::collections::VecDeque;

/// Picoseconds of a microsecond.
const MICROSECOND_PS: u64 = 1_000_000;
/// Length of a pool's slice of time.
const SLICE_PS: u64 = 250_000;

/// Time that `bytes` take at a rate in bytes a microsecond.
pub(crate) fn duration(bytes: u64, rate: u64) -> u64 {
    bytes * MICROSECOND_PS / rate
}

/// Serves requests in the order in which they come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Line {
    free_ps: u64,
}

impl Line {
    /// A request that comes at `from_ps` and takes `work_ps`: its beginning and its end.
    pub fn serve(&mut self, from_ps: u64, work_ps: u64) -> (u64, u64) {
        let begin = self.free_ps.max(from_ps);
        self.free_ps = begin + work_ps;
        (begin, self.free_ps)
    }
}

/// Serves requests that are told in any order, each from its own time on: time is cut into slices, and a request takes
/// what the slices from its time on have left. So a request for later does not hold up one that is told after it for
/// sooner, and no more work is done in any time than there is time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool {
    /// Work in each slice, from slice `first` on.
    used: VecDeque<u64>,
    first: u64,
    /// All slices before this one are full, or gone.
    full: u64,
    /// Work of its life.
    pub busy_ps: u64,
}

impl Pool {
    /// A request from `from_ps` on that takes `work_ps`; its end. Nothing is asked for any more from before `now_ps`.
    pub fn serve(&mut self, now_ps: u64, from_ps: u64, work_ps: u64) -> u64 {
        self.forget(now_ps / SLICE_PS);
        self.busy_ps += work_ps;
        let mut slice = (from_ps / SLICE_PS).max(self.full);
        let mut left = work_ps;
        loop {
            let index = (slice - self.first) as usize;
            while self.used.len() <= index {
                self.used.push_back(0);
            }
            let used = &mut self.used[index];
            let taken = left.min(SLICE_PS - *used);
            *used += taken;
            left -= taken;
            if left == 0 {
                return (slice * SLICE_PS + *used).max(from_ps + work_ps);
            }
            if slice == self.full {
                self.full += 1;
            }
            slice += 1;
        }
    }

    /// Slices before `slice` are over.
    fn forget(&mut self, slice: u64) {
        while self.first < slice && self.used.pop_front().is_some() {
            self.first += 1;
        }
        if self.used.is_empty() {
            self.first = self.first.max(slice);
        }
        self.full = self.full.max(self.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_serves_in_order() {
        let mut line = Line::default();
        assert_eq!(line.serve(10, 5), (10, 15));
        assert_eq!(line.serve(12, 5), (15, 20));
        assert_eq!(line.serve(40, 1), (40, 41));
    }

    #[test]
    fn a_pool_gives_later_requests_what_is_left_before() {
        let mut pool = Pool::default();
        let late = pool.serve(0, 10 * SLICE_PS, 3 * SLICE_PS);
        assert_eq!(late, 13 * SLICE_PS);
        assert_eq!(pool.serve(0, 0, SLICE_PS / 2), SLICE_PS / 2, "what was told first does not hold it up");
        // Ten slices of work find room around the three that are taken.
        assert_eq!(pool.serve(0, SLICE_PS, 10 * SLICE_PS), 14 * SLICE_PS);
    }

    /// Over many requests at one time the pool is as fast as its rate, and never faster.
    #[test]
    fn a_pool_never_does_more_than_there_is_time_for() {
        let mut pool = Pool::default();
        let mut state = 7;
        let (mut work, mut end) = (0, 0);
        for _ in 0..10_000 {
            let request = crate::choice::splitmix(&mut state) % (2 * SLICE_PS);
            let from = crate::choice::splitmix(&mut state) % (100 * SLICE_PS);
            work += request;
            end = end.max(pool.serve(0, from, request));
        }
        assert!(end >= work, "{work} ps of work were done in {end} ps");
        assert!(end <= work + 101 * SLICE_PS);
        assert_eq!(pool.busy_ps, work);
    }

    #[test]
    fn time_that_is_over_is_forgotten() {
        let mut pool = Pool::default();
        for step in 0..1000 {
            let now = step * SLICE_PS;
            assert_eq!(pool.serve(now, now, SLICE_PS / 4), now + SLICE_PS / 4);
            assert!(pool.used.len() < 4);
        }
        assert_eq!(pool.serve(1 << 40, 1 << 40, 8), (1 << 40) + 8);
    }
}
