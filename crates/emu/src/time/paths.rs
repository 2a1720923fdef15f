//! Bulk copies through the machine's parts.

use super::server::duration;
use super::Clock;
use crate::memory::{Kind, Memory, Reach};

/// One end of a bulk copy in global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// GPU that has the memory; none for a host's.
    pub owner: Option<usize>,
    pub storage: usize,
    pub offset: u64,
}

impl Place {
    /// Of an address in device or host memory.
    pub fn of(memory: &Memory, address: u64, bytes: u64) -> Option<Place> {
        let region = memory.find(address, bytes).ok()?;
        let owner = match (region.kind, region.reach) {
            (Kind::Peer { owner }, _) => Some(owner),
            (Kind::Host { .. }, _) => None,
            (_, Reach::Gpu(gpu)) => Some(gpu),
            (_, Reach::Node(_)) => None,
        };
        Some(Place { owner, storage: region.storage, offset: address - region.base })
    }
}

impl Clock {
    /// A bulk load of `bytes` into an SM's shared memory, issued at a time; when it lands.
    pub fn bulk_load(&mut self, gpu: usize, sm: usize, from: Place, bytes: u64, issued_ps: u64) -> u64 {
        let (timing, now_ps) = (&self.timing, self.now_ps);
        let work = duration(bytes, timing.gpu.sm_load_rate);
        let (began, through) = self.gpus[gpu].sms[sm].bulk_loads.serve(issued_ps, work);
        let began = began + timing.gpu.bulk_ps;
        let answered = match from.owner {
            None => {
                let end = self.gpus[gpu].pcie_in.serve(now_ps, began, duration(bytes, timing.links.pcie_rate));
                end + timing.links.host_load_ps
            }
            Some(owner) => {
                let mut end = self.memory(owner, from, bytes, began);
                if owner != gpu {
                    let (rate, extra) = (self.timing.links.nvlink_rate, self.timing.links.nvlink_load_ps);
                    let work = duration(bytes, rate);
                    let sent = self.gpus[owner].nvlink_out.serve(now_ps, began, work);
                    end = end.max(sent).max(self.gpus[gpu].nvlink_in.serve(now_ps, began, work)) + extra;
                }
                end
            }
        };
        answered.max(through + self.timing.gpu.bulk_ps)
    }

    /// Bytes that memory is asked for; when it has answered.
    fn memory(&mut self, owner: usize, at: Place, bytes: u64, from_ps: u64) -> u64 {
        let (timing, now_ps) = (&self.timing.gpu, self.now_ps);
        let parts = &mut self.gpus[owner];
        let missed = parts.cache.miss(timing.l2_bytes, at.storage, at.offset, bytes);
        let near = parts.l2.serve(now_ps, from_ps, duration(bytes, timing.l2_rate)) + timing.l2_load_ps;
        if missed == 0 {
            return near;
        }
        near.max(parts.hbm.serve(now_ps, from_ps, duration(missed, timing.hbm_rate)) + timing.hbm_load_ps)
    }

    /// A bulk store of `bytes` out of an SM's shared memory, issued at a time; when it has read, and when it is there and
    /// whoever waits for it knows.
    pub fn bulk_store(&mut self, gpu: usize, sm: usize, to: Place, bytes: u64, issued_ps: u64) -> (u64, u64) {
        let (timing, now_ps) = (&self.timing, self.now_ps);
        let work = duration(bytes, timing.gpu.sm_store_rate);
        let (began, read) = self.gpus[gpu].sms[sm].bulk_stores.serve(issued_ps, work);
        let read = read + timing.gpu.bulk_ps;
        let (links, store_ps) = (timing.links.clone(), timing.gpu.store_ps);
        let there = match to.owner {
            None => {
                let end = self.gpus[gpu].pcie_out.serve(now_ps, began, duration(bytes, links.pcie_rate));
                end + 2 * links.host_store_ps
            }
            Some(owner) if owner == gpu => self.written(owner, to, bytes, began) + store_ps,
            Some(owner) => {
                let (work, one_way) = (duration(bytes, links.nvlink_rate), links.nvlink_ps);
                let sent = self.gpus[gpu].nvlink_out.serve(now_ps, began, work);
                let came = self.gpus[owner].nvlink_in.serve(now_ps, began + one_way, work).max(sent + one_way);
                self.written(owner, to, bytes, came).max(came) + one_way
            }
        };
        (read, there.max(read))
    }

    /// Bytes that are written to memory, and in time from L2 to device memory; when L2 has taken them.
    pub(super) fn written(&mut self, owner: usize, at: Place, bytes: u64, from_ps: u64) -> u64 {
        let (timing, now_ps) = (&self.timing.gpu, self.now_ps);
        let parts = &mut self.gpus[owner];
        let missed = parts.cache.miss(timing.l2_bytes, at.storage, at.offset, bytes);
        if missed > 0 {
            parts.hbm.serve(now_ps, from_ps, duration(missed, timing.hbm_rate));
        }
        parts.l2.serve(now_ps, from_ps, duration(bytes, timing.l2_rate))
    }
}
