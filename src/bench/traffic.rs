//! Payload between GPUs: the least possible, and what was counted.

use crate::error::Result;
use crate::fabric::NicCounters;
use crate::plan::{Fabric, Op, Plan};
use crate::reference::Layout;
use crate::{Topology, World};

/// Rows that cross a fabric once each. Dispatch and combine have the same least: combine is dispatch backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Least {
    /// Rows that dispatch delivers: one for each (token, destination rank).
    pub rows: u64,
    /// Between nodes: one for each (token, other node with a destination).
    pub between: u64,
    /// Within a node, between two GPUs: one for each (token, destination rank) but where the destination is the GPU
    /// that the token starts from or arrives at (the one with the source's local index).
    pub within: u64,
}

impl Least {
    /// Counts the tokens of all ranks.
    pub fn new(topology: Topology, layouts: &[Layout]) -> Least {
        let mut least = Least::default();
        for (source, layout) in (0..).zip(layouts) {
            for token in 0..layout.tokens() {
                let ranks = layout.destinations(token);
                let mut nodes: Vec<u32> = ranks.iter().map(|&rank| topology.node(rank)).collect();
                nodes.dedup(); // ranks ascend, so equal nodes are neighbours
                least.rows += ranks.len() as u64;
                least.between += nodes.iter().filter(|&&node| node != topology.node(source)).count() as u64;
                least.within +=
                    ranks.iter().filter(|&&rank| topology.local(rank) != topology.local(source)).count() as u64;
            }
        }
        least
    }
}

impl std::iter::Sum for Least {
    fn sum<I: Iterator<Item = Least>>(all: I) -> Least {
        all.fold(Least::default(), |sum, one| Least {
            rows: sum.rows + one.rows,
            between: sum.between + one.between,
            within: sum.within + one.within,
        })
    }
}

/// What NICs and emulator counted, of all ranks, since the world was made or between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Slots and their signals.
    pub payload: Wire,
    /// Credit and boxes of counts.
    pub control: Wire,
    /// Bytes that bulk copies stored into the memory of other GPUs; only the emulator counts them.
    pub peer_bytes: Option<u64>,
    /// Bytes that SMs wrote to device and host memory, near and far; only the emulator counts them.
    pub written_bytes: Option<u64>,
    /// Warp instructions; only the emulator counts them.
    pub warp_instructions: Option<u64>,
}

/// What queue pairs did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wire {
    /// RDMA writes.
    pub writes: u64,
    /// Bytes of RDMA writes.
    pub write_bytes: u64,
    /// Fetch-and-adds.
    pub atomics: u64,
    /// Doorbells.
    pub doorbells: u64,
}

impl Counted {
    /// What the world counted since it was made.
    ///
    /// # Errors
    /// What NICs say.
    pub fn of(world: &mut World) -> Result<Counted> {
        let mut counted = Counted::default();
        for communicator in world.communicators() {
            let traffic = communicator.traffic()?;
            counted.payload.add(&traffic.payload);
            counted.control.add(&traffic.credit);
            counted.control.add(&traffic.exchange);
        }
        #[cfg(feature = "emu")]
        counted.of_machine(world);
        Ok(counted)
    }

    #[cfg(feature = "emu")]
    fn of_machine(&mut self, world: &World) {
        let Some(machine) = world.machine() else { return };
        let statistics = machine.with(|machine| machine.statistics().clone());
        let written = |gpu: &warpferry_emu::GpuStatistics| {
            gpu.bulk_store_bytes + gpu.bulk_store_peer_bytes + gpu.store_bytes + gpu.store_peer_bytes
        };
        self.peer_bytes = Some(statistics.gpus.iter().map(|gpu| gpu.bulk_store_peer_bytes).sum());
        self.written_bytes = Some(statistics.gpus.iter().map(written).sum());
        self.warp_instructions = Some(statistics.warp_instructions());
    }

    /// What was counted since `earlier`.
    pub fn since(self, earlier: Counted) -> Counted {
        let less = |now: Option<u64>, then: Option<u64>| now.zip(then).map(|(now, then)| now - then);
        Counted {
            payload: self.payload.since(earlier.payload),
            control: self.control.since(earlier.control),
            peer_bytes: less(self.peer_bytes, earlier.peer_bytes),
            written_bytes: less(self.written_bytes, earlier.written_bytes),
            warp_instructions: less(self.warp_instructions, earlier.warp_instructions),
        }
    }
}

impl Wire {
    /// Adds what more queue pairs did.
    pub fn add(&mut self, counters: &NicCounters) {
        self.writes += counters.writes;
        self.write_bytes += counters.write_bytes;
        self.atomics += counters.atomics;
        self.doorbells += counters.doorbells;
    }

    fn since(self, earlier: Wire) -> Wire {
        Wire {
            writes: self.writes - earlier.writes,
            write_bytes: self.write_bytes - earlier.write_bytes,
            atomics: self.atomics - earlier.atomics,
            doorbells: self.doorbells - earlier.doorbells,
        }
    }
}

/// How many of a world's outputs forwarders wrote straight to their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Landed {
    /// Outputs that rows landed in.
    pub outputs: u64,
    /// All outputs: one a rank and dispatch.
    pub of: u64,
}

/// Slots that one operation of all ranks moved, from what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots {
    /// Between nodes, where NICs counted them.
    pub between: Option<u64>,
    /// Within a node, between two GPUs, where the emulator counted them apart from others.
    pub within: Option<u64>,
}

impl Slots {
    /// Takes apart what an operation wrote: between nodes whole slots; within a node the used part of each, or the row alone
    /// where it landed. Where some outputs were of the one kind and some of the other, nobody counted slots within.
    ///
    /// # Errors
    /// When the bytes are no whole number of slots: something else was written.
    pub fn new(op: Op, plan: &Plan, counted: &Counted, landed: Landed) -> std::result::Result<Slots, String> {
        let (topology, shape) = (plan.topology, &plan.shape);
        let (slot, header, row) = match op {
            Op::Dispatch => {
                (shape.dispatch_slot_bytes(topology), shape.dispatch_header_bytes(topology), shape.dispatch_row_bytes())
            }
            Op::Combine => (shape.combine_slot_bytes(), shape.combine_header_bytes(), shape.combine_row_bytes()),
        };
        let whole = |bytes: u64, unit: u32, what: &str| match bytes % u64::from(unit) {
            0 => Ok(bytes / u64::from(unit)),
            _ => Err(format!("{op:?}: {bytes} bytes {what} are no multiple of {unit}, the bytes of a slot")),
        };
        if plan.fabric == Fabric::Loopback {
            // Stores between nodes and within are alike: nobody counts them apart.
            return Ok(Slots::default());
        }
        let unit = match landed {
            Landed { outputs: 0, .. } => Some(header + row),
            Landed { outputs, of } => (outputs == of).then_some(row),
        };
        let peer = counted.peer_bytes.zip(unit).map(|(bytes, unit)| whole(bytes, unit, "within nodes"));
        Ok(Slots {
            between: Some(whole(counted.payload.write_bytes, slot, "between nodes")?),
            within: peer.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{Shape, Tuning};

    use super::*;

    #[test]
    fn counts_by_hand() {
        let topology = Topology::new(2, 2).expect("valid");
        let shape = Shape::new(8, 4, 4, 4).expect("valid");
        let layout = |idx: &[i32]| Layout::new(topology, shape, idx).expect("valid");
        // Rank 0 (node 0, local 0): everywhere; itself only; rank 3 only; nowhere.
        let own = layout(&[0, 1, 2, 3, 0, 0, -1, -1, 3, -1, -1, -1, -1, -1, -1, -1]);
        // Rank 3 (node 1, local 1): rank 2, and rank 1 of the other node, which is its rail peer.
        let other = layout(&[2, 1, -1, -1]);
        let least = Least::new(topology, &[own, layout(&[]), layout(&[]), other]);
        assert_eq!(least, Least { rows: 8, between: 3, within: 4 });
    }

    #[test]
    fn takes_bytes_apart() {
        let topology = Topology::new(2, 2).expect("valid");
        let shape = Shape::new(64, 4, 2, 4).expect("valid");
        let plan = Plan::new(topology, shape, Tuning::default_for(topology, 128), Fabric::Mlx5).expect("valid");
        let slot = u64::from(shape.dispatch_slot_bytes(topology));
        let used = u64::from(shape.dispatch_header_bytes(topology)) + 128;
        let payload = Wire { write_bytes: 7 * slot, ..Wire::default() };
        let counted = Counted { payload, peer_bytes: Some(3 * used), ..Counted::default() };
        assert_eq!(
            Slots::new(Op::Dispatch, &plan, &counted, Landed::default()),
            Ok(Slots { between: Some(7), within: Some(3) })
        );
        let more = Counted { payload: Wire { write_bytes: 7 * slot + 16, ..Wire::default() }, ..counted };
        assert!(Slots::new(Op::Dispatch, &plan, &more, Landed::default())
            .expect_err("16 bytes more")
            .contains("between"));
        let odd = Counted { peer_bytes: Some(3 * used + 16), ..counted };
        assert!(Slots::new(Op::Dispatch, &plan, &odd, Landed::default())
            .expect_err("16 bytes more")
            .contains("within"));
        // A GPU counts nothing; loopback makes no difference between near and far.
        let gpu = Counted { peer_bytes: None, ..counted };
        assert_eq!(
            Slots::new(Op::Dispatch, &plan, &gpu, Landed::default()),
            Ok(Slots { between: Some(7), within: None })
        );
        // Rows that landed have no header; of a mixture nobody can tell.
        let rows = Counted { peer_bytes: Some(3 * 128), ..counted };
        let slots = |outputs| Slots::new(Op::Dispatch, &plan, &rows, Landed { outputs, of: 4 });
        assert_eq!(slots(4), Ok(Slots { between: Some(7), within: Some(3) }));
        assert_eq!(slots(2), Ok(Slots { between: Some(7), within: None }));
        let plan = Plan { fabric: Fabric::Loopback, ..plan };
        assert_eq!(Slots::new(Op::Dispatch, &plan, &odd, Landed::default()), Ok(Slots::default()));
    }
}
