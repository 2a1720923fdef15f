//! What bounds an operation: times that each part of the machine would need alone, and what comes before and after them.

use std::fmt;

/// Nanoseconds in a microsecond.
const NS_PER_US: f64 = 1e3;

/// A part of the machine or of the protocol that takes its time for all that an operation moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The NIC, sending.
    NicOut,
    /// The NIC, receiving.
    NicIn,
    /// The NIC's rate of messages.
    NicMessages,
    /// NVLink, out of the GPU.
    NvlinkOut,
    /// NVLink, into the GPU.
    NvlinkIn,
    /// Bulk loads of an SM.
    SmLoads,
    /// Bulk stores of an SM.
    SmStores,
    /// Instructions that an SM issues.
    Issue,
    /// Worker warps of an SM.
    Workers,
    /// The slowest stream, which one warp at a time moves.
    Stream,
    /// The slowest stream of a node's sums, which one warp at a time adds.
    NodeStream,
    /// Rings between nodes: their slots, each of which is away for a round.
    RingsBetween,
    /// Rings within a node, likewise.
    RingsWithin,
    /// L2.
    L2,
    /// Device memory.
    Hbm,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::NicOut => "NIC out",
            Part::NicIn => "NIC in",
            Part::NicMessages => "NIC messages",
            Part::NvlinkOut => "NVLink out",
            Part::NvlinkIn => "NVLink in",
            Part::SmLoads => "SM loads",
            Part::SmStores => "SM stores",
            Part::Issue => "SM issue",
            Part::Workers => "workers",
            Part::Stream => "streams",
            Part::NodeStream => "streams of sums",
            Part::RingsBetween => "rings between nodes",
            Part::RingsWithin => "rings within nodes",
            Part::L2 => "L2",
            Part::Hbm => "device memory",
        })
    }
}

impl Part {
    /// Whether it is of the NIC.
    pub fn is_nic(self) -> bool {
        matches!(self, Part::NicOut | Part::NicIn | Part::NicMessages)
    }

    /// Whether it is NVLink.
    pub fn is_nvlink(self) -> bool {
        matches!(self, Part::NvlinkOut | Part::NvlinkIn)
    }
}

/// The breakdown of one kernel's time.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// What each part would need alone, in microseconds.
    pub parts: Vec<(Part, f64)>,
    /// How sharply the slowest part decides: the exponent p of [`Terms::us`]. At 1 parts take turns and their times add up, at
    /// infinity the slowest alone would count.
    pub sharpness: f64,
    /// The first message's way through all stages, and the start and end of the kernel, in microseconds.
    pub fill_us: f64,
}

impl Terms {
    /// From nanoseconds.
    pub(super) fn new(parts_ns: Vec<(Part, f64)>, sharpness: f64, fill_ns: f64) -> Terms {
        let parts = parts_ns.into_iter().map(|(part, ns)| (part, ns / NS_PER_US)).collect();
        Terms { parts, sharpness, fill_us: fill_ns / NS_PER_US }
    }

    /// Time of the kernel: the parts' times joined, `(sum of t^p)^(1/p)`, behind the fill.
    pub fn us(&self) -> f64 {
        let most = self.bound().1;
        if most <= 0.0 {
            return self.fill_us;
        }
        // Both directions of a wire are one part here: what holds up one holds up the other.
        let joined = |pair: [Part; 2]| {
            let least = self.parts.iter().filter(|(part, _)| pair.contains(part)).map(|(_, us)| *us);
            (least.fold(f64::INFINITY, f64::min) / most).powf(self.sharpness)
        };
        let sum: f64 = self.parts.iter().map(|(_, us)| (us / most).powf(self.sharpness)).sum();
        let twice = joined([Part::NicOut, Part::NicIn]) + joined([Part::NvlinkOut, Part::NvlinkIn]);
        let twice = if twice.is_finite() { twice } else { 0.0 };
        self.fill_us + most * (sum - twice).max(1.0).powf(1.0 / self.sharpness)
    }

    /// The part that would need most, and its microseconds.
    pub fn bound(&self) -> (Part, f64) {
        self.parts.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((Part::Stream, 0.0))
    }
}

impl fmt::Display for Terms {
    /// The slowest three.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.parts.clone();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let slowest: Vec<String> = parts.iter().take(3).map(|(part, us)| format!("{part} {us:.0} us")).collect();
        write!(f, "{}; fill {:.0} us", slowest.join(", "), self.fill_us)
    }
}
