//! What all ranks of a world must agree on, item by item, and its hash.
//!
//! The hash travels in the exchange boxes, so kernels can tell that a rank differs, but not in what. The list travels in the
//! offers by which ranks join: there the host names the setting.

use std::fmt;

use super::Plan;

/// Version of the wire format.
const WIRE_FORMAT: u64 = 4;
/// Items of an agreement.
const ITEMS: usize = 16;

/// Names of the items, in the order of the hash.
const NAMES: [&str; ITEMS] = [
    "wire format",
    "nodes",
    "gpus_per_node",
    "payload",
    "bytes of a dispatch row",
    "sum",
    "bytes of a combine row",
    "alignment of experts",
    "experts",
    "topk",
    "max_tokens",
    "channels",
    "depth_ib",
    "depth_nv",
    "landing rows",
    "fabric",
];

/// Values of all that must be the same on every rank. SM counts, chunks, workers, roles and stages are not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    values: [u64; ITEMS],
}

/// An item of which two ranks have different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagreement {
    /// The item.
    pub name: &'static str,
    /// Value here.
    pub here: u64,
    /// Value there.
    pub there: u64,
}

impl Agreement {
    pub(super) fn of(plan: &Plan) -> Agreement {
        let (t, s) = (&plan.tuning, &plan.shape);
        Agreement {
            values: [
                WIRE_FORMAT,
                u64::from(plan.topology.nodes()),
                u64::from(plan.topology.gpus_per_node()),
                s.payload().code(),
                u64::from(s.dispatch_row_bytes()),
                s.sum() as u64,
                u64::from(s.combine_row_bytes()),
                u64::from(s.layout().expert_align()),
                u64::from(s.experts()),
                u64::from(s.topk()),
                u64::from(s.max_tokens()),
                u64::from(t.channels),
                u64::from(t.depth_ib),
                u64::from(t.depth_nv),
                u64::from(plan.landing().rows()),
                plan.fabric as u64,
            ],
        }
    }

    /// FNV-1a, 64 bits.
    pub fn hash(&self) -> u64 {
        let bytes = self.values.iter().flat_map(|value| value.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Items in which `there` differs from this.
    pub fn differences(&self, there: &Agreement) -> Vec<Disagreement> {
        let items = NAMES.iter().zip(self.values.iter().zip(&there.values));
        let differ = items.filter(|(_, (here, there))| here != there);
        differ.map(|(&name, (&here, &there))| Disagreement { name, here, there }).collect()
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} there and {} here", self.name, self.there, self.here)
    }
}
