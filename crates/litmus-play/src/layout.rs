//! Where the threads and locations of a test are: its GPUs, thread blocks and warps, numbered from 0 without gaps.

use warpferry_litmus::{Place, Space, Test};

use crate::unplayed::Unplayed;

/// Bytes from one location to the next.
pub const STRIDE: u64 = 128;

/// Registers of a thread that are written out, and a word that says that it came to its end.
pub const REGISTERS: usize = 15;
pub const DONE: usize = REGISTERS;
pub const OUT: u64 = 8 * (REGISTERS as u64 + 1);

/// A thread's place on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    pub gpu: usize,
    pub cta: usize,
    pub warp: usize,
    pub lane: usize,
}

/// The places of a test.
#[derive(Debug)]
pub struct Layout {
    /// The test's numbers of its GPUs, ascending.
    gpus: Vec<u32>,
    /// Of each column.
    pub spots: Vec<Spot>,
    /// Warps of each thread block, by GPU.
    pub warps: Vec<Vec<usize>>,
}

impl Layout {
    pub fn new(test: &Test) -> Result<Self, Unplayed> {
        let columns = || test.threads.iter().filter(|thread| thread.queue.is_none());
        if let Some(thread) = columns().find(|thread| thread.registers.len() > REGISTERS) {
            return Err(Unplayed::unsuitable(format!("{} has more than {REGISTERS} registers", thread.name())));
        }
        let places: Vec<Place> = columns().map(|thread| thread.place).collect();
        let shares = |a: &Place| {
            places.iter().any(|b| a.cluster.is_some() && (a.gpu, a.cluster) == (b.gpu, b.cluster) && a.cta != b.cta)
        };
        if places.iter().any(shares) {
            return Err(Unplayed::unsuitable("thread blocks that share a cluster"));
        }
        let far = test.locations.iter().filter_map(|location| location.gpu);
        let mut gpus: Vec<u32> = places.iter().map(|place| place.gpu).chain(far).collect();
        gpus.sort_unstable();
        gpus.dedup();
        let mut layout = Self { warps: vec![Vec::new(); gpus.len()], gpus, spots: Vec::new() };
        let mut seen: Vec<Place> = Vec::new();
        for place in places {
            let spot = layout.spot(&seen, place);
            seen.push(place);
            layout.spots.push(spot);
        }
        Ok(layout)
    }

    /// The place of one more column, behind those that were seen.
    fn spot(&mut self, seen: &[Place], place: Place) -> Spot {
        let gpu = self.gpu(place.gpu);
        let mate = seen.iter().position(|other| (other.gpu, other.cta) == (place.gpu, place.cta));
        let cta = mate.map_or(self.warps[gpu].len(), |mate| self.spots[mate].cta);
        if mate.is_none() {
            self.warps[gpu].push(0);
        }
        let of_warp = |other: &Place| place.warp.is_some() && *other == place;
        let warp = match seen.iter().position(of_warp) {
            Some(mate) => self.spots[mate].warp,
            None => {
                self.warps[gpu][cta] += 1;
                self.warps[gpu][cta] - 1
            }
        };
        Spot { gpu, cta, warp, lane: seen.iter().filter(|other| of_warp(other)).count() }
    }

    /// How many GPUs.
    pub fn gpus(&self) -> usize {
        self.gpus.len()
    }

    /// The GPU that the test gives this number.
    pub fn gpu(&self, number: u32) -> usize {
        self.gpus.iter().position(|gpu| *gpu == number).unwrap_or(0)
    }

    /// The GPU in whose memory a location is.
    pub fn owner(&self, test: &Test, location: usize) -> usize {
        test.locations[location].gpu.map_or(0, |number| self.gpu(number))
    }
}

/// Whether a location is in shared memory.
pub fn is_shared(test: &Test, location: usize) -> bool {
    test.locations[location].space == Space::Shared
}

/// Where a location is in the memory that has it.
pub fn offset(test: &Test, location: usize) -> u64 {
    test.locations[location].memory as u64 * STRIDE
}
