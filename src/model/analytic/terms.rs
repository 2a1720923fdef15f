//! What bounds an operation: times that each part of the machine would need alone, and what comes before and after them.

use std::fmt;

/// Exponent that joins parts, fitted: two that are equally busy hold each other up by a sixth.
pub(super) const SHARPNESS: f64 = 4.5;
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

    /// Whether a message goes through it, one part behind another.
    pub fn is_chain(self) -> bool {
        self.is_wire() || matches!(self, Part::Stream | Part::NodeStream)
    }

    fn is_wire(self) -> bool {
        self.is_nic() || self.is_nvlink()
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
    /// Exponent that joins the parts of the chain ([`Part::is_chain`]). At 1 they take turns and their times add up, at infinity
    /// the slowest alone would count.
    pub coupling: f64,
    /// The first message's way through all stages, and the start and end of the kernel, in microseconds.
    pub fill_us: f64,
}

impl Terms {
    /// From nanoseconds.
    pub(super) fn new(parts_ns: Vec<(Part, f64)>, coupling: f64, fill_ns: f64) -> Terms {
        let parts = parts_ns.into_iter().map(|(part, ns)| (part, ns / NS_PER_US)).collect();
        Terms { parts, coupling, fill_us: fill_ns / NS_PER_US }
    }

    /// Time of the kernel, behind the fill: the chain's parts joined by `coupling`, and that joined with all others. A join is
    /// `(sum of t^p)^(1/p)`.
    pub fn us(&self) -> f64 {
        let chain = join(self.wires().chain(self.chosen(|part| part.is_chain() && !part.is_wire())), self.coupling);
        self.fill_us + join(std::iter::once(chain).chain(self.chosen(|part| !part.is_chain())), SHARPNESS)
    }

    /// Of each kind of wire the busier direction: what holds up one holds up the other.
    fn wires(&self) -> impl Iterator<Item = f64> + '_ {
        let most = |is: fn(Part) -> bool| self.chosen(is).fold(0.0, f64::max);
        [most(Part::is_nic), most(Part::is_nvlink)].into_iter()
    }

    fn chosen<'t>(&'t self, is: impl Fn(Part) -> bool + 't) -> impl Iterator<Item = f64> + 't {
        self.parts.iter().filter(move |(part, _)| is(*part)).map(|(_, us)| *us)
    }

    /// The part that would need most, and its microseconds.
    pub fn bound(&self) -> (Part, f64) {
        self.parts.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((Part::Stream, 0.0))
    }
}

/// Several times as one: no less than the longest, no more than the sum.
fn join(times: impl Iterator<Item = f64>, exponent: f64) -> f64 {
    let times: Vec<f64> = times.collect();
    let most = times.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return 0.0;
    }
    most * times.iter().map(|us| (us / most).powf(exponent)).sum::<f64>().powf(1.0 / exponent)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_join_between_the_longest_and_the_sum() {
        let join = |times: &[f64], exponent| super::join(times.iter().copied(), exponent);
        assert_eq!((join(&[], 2.0), join(&[0.0], 2.0)), (0.0, 0.0));
        assert!((join(&[3.0, 4.0], 1.0) - 7.0).abs() < 1e-9 && (join(&[3.0, 4.0], 2.0) - 5.0).abs() < 1e-9);
        assert!((join(&[3.0, 4.0], 50.0) - 4.0).abs() < 1e-3);
    }

    #[test]
    fn directions_of_a_wire_count_once() {
        let terms = |parts| Terms { parts, coupling: 2.0, fill_us: 1.0 };
        let both = terms(vec![(Part::NicOut, 3.0), (Part::NicIn, 5.0)]);
        assert!((both.us() - 6.0).abs() < 1e-9);
        assert_eq!(both.bound(), (Part::NicIn, 5.0));
        assert_eq!(both.to_string(), "NIC in 5 us, NIC out 3 us; fill 1 us");
    }
}
