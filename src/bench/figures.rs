//! The figures of a run: what times and bytes amount to.

use serde::{Deserialize, Serialize};

use super::workload::{Moved, OpMoved};
use crate::plan::Plan;

/// Nanoseconds in a microsecond.
const NS_PER_US: f64 = 1e3;
/// Microseconds in a millisecond.
const US_PER_MS: f64 = 1e3;

/// Times of a run in microseconds, one a repeat, each of the slowest rank.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Samples {
    /// Dispatch with layout and exchange, from the start of the first kernel to the end of the last.
    pub dispatch_us: Vec<f64>,
    /// Combine.
    pub combine_us: Vec<f64>,
    /// Dispatch along the handle of an earlier one; none where it was not asked for.
    pub dispatch_cached_us: Vec<f64>,
    /// Layout kernel of a dispatch.
    pub layout_us: Vec<f64>,
    /// Exchange kernel of a dispatch, which waits for other ranks.
    pub exchange_us: Vec<f64>,
    /// Dispatch kernel of a dispatch, rows of zeros by expert included.
    pub dispatch_kernel_us: Vec<f64>,
}

impl Samples {
    /// All times, longer or shorter by a factor.
    #[cfg(feature = "emu")]
    pub(crate) fn scale(&mut self, factor: f64) {
        let all = [
            &mut self.dispatch_us,
            &mut self.combine_us,
            &mut self.dispatch_cached_us,
            &mut self.layout_us,
            &mut self.exchange_us,
            &mut self.dispatch_kernel_us,
        ];
        all.into_iter().flatten().for_each(|time| *time *= factor);
    }
}

/// What times and bytes amount to.
///
/// Times are end to end on the slowest rank, medians over repeats; operations leave results where the caller reads them, so no
/// copy is left out. *Logical* bandwidth is bytes of one payload copy for each (token, destination node), the own node
/// included, on one node for each (token, destination rank), as the mean over ranks, over that time. *Wire* bandwidth is bytes
/// with headers that the busiest rank sends or gets, whichever is more, over the same time. A GB is 10^9 bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Dispatch, layout and exchange included.
    pub dispatch_us: f64,
    /// Its fastest repeat.
    pub dispatch_us_least: f64,
    /// Its slowest repeat.
    pub dispatch_us_most: f64,
    /// Share of the layout kernel, on the rank where it takes longest.
    pub layout_us: Option<f64>,
    /// Share of the exchange kernel, likewise.
    pub exchange_us: Option<f64>,
    /// Share of the dispatch kernel, likewise.
    pub dispatch_kernel_us: Option<f64>,
    /// Dispatch along the handle of an earlier one.
    pub dispatch_cached_us: Option<f64>,
    /// Combine.
    pub combine_us: f64,
    /// Its fastest repeat.
    pub combine_us_least: f64,
    /// Its slowest repeat.
    pub combine_us_most: f64,
    /// Logical bandwidth of dispatch.
    pub dispatch_gbs_logical: f64,
    /// Logical bandwidth of combine.
    pub combine_gbs_logical: f64,
    /// Wire bandwidth between nodes of a GPU in dispatch.
    pub ib_gbs_wire: f64,
    /// Wire bandwidth within a node of a GPU in dispatch.
    pub nvlink_gbs: f64,
    /// As `ib_gbs_wire`.
    pub dispatch_ib_gbs_wire: f64,
    /// As `nvlink_gbs`.
    pub dispatch_nvlink_gbs: f64,
    /// Wire bandwidth between nodes of a GPU in combine.
    pub combine_ib_gbs_wire: f64,
    /// Wire bandwidth within a node of a GPU in combine.
    pub combine_nvlink_gbs: f64,
    /// SMs of the operation that takes more.
    pub sms: u32,
    /// SMs times milliseconds, of both operations.
    pub sm_ms: f64,
    /// Of dispatch.
    pub dispatch_sm_ms: f64,
    /// Of combine.
    pub combine_sm_ms: f64,
    /// Rings of a rank's window, of both operations.
    pub buffer_bytes: u64,
    /// Landing zone of a rank's window.
    pub landing_bytes: u64,
    /// Bytes between nodes in dispatch, of all ranks, with headers.
    pub dispatch_ib_bytes: u64,
    /// The least possible.
    pub dispatch_ib_bytes_min: u64,
    /// Bytes within nodes in dispatch, of all ranks, with headers.
    pub dispatch_nvlink_bytes: u64,
    /// The least possible.
    pub dispatch_nvlink_bytes_min: u64,
    /// Bytes between nodes in combine, of all ranks, with headers.
    pub combine_ib_bytes: u64,
    /// The least possible.
    pub combine_ib_bytes_min: u64,
    /// Bytes within nodes in combine, of all ranks, with headers.
    pub combine_nvlink_bytes: u64,
    /// The least possible.
    pub combine_nvlink_bytes_min: u64,
}

impl Figures {
    /// Of a run of `plan` that moved `moved` in these times.
    pub fn new(plan: &Plan, moved: &Moved, samples: &Samples) -> Figures {
        let (dispatch_us, combine_us) = (median(&samples.dispatch_us), median(&samples.combine_us));
        let (there, back) = (Rates::new(&moved.dispatch, dispatch_us), Rates::new(&moved.combine, combine_us));
        let sm_ms = |sms: u32, time_us: f64| f64::from(sms) * time_us / US_PER_MS;
        let dispatch_sm_ms = sm_ms(plan.dispatch.sms, dispatch_us);
        let combine_sm_ms = sm_ms(plan.combine.sms, combine_us);
        let share = |samples: &[f64]| (!samples.is_empty()).then(|| median(samples));
        let window = &plan.window;
        Figures {
            dispatch_us,
            dispatch_us_least: least(&samples.dispatch_us),
            dispatch_us_most: most(&samples.dispatch_us),
            layout_us: share(&samples.layout_us),
            exchange_us: share(&samples.exchange_us),
            dispatch_kernel_us: share(&samples.dispatch_kernel_us),
            dispatch_cached_us: share(&samples.dispatch_cached_us),
            combine_us,
            combine_us_least: least(&samples.combine_us),
            combine_us_most: most(&samples.combine_us),
            dispatch_gbs_logical: there.logical_gbs,
            combine_gbs_logical: back.logical_gbs,
            ib_gbs_wire: there.ib_gbs,
            nvlink_gbs: there.nvlink_gbs,
            dispatch_ib_gbs_wire: there.ib_gbs,
            dispatch_nvlink_gbs: there.nvlink_gbs,
            combine_ib_gbs_wire: back.ib_gbs,
            combine_nvlink_gbs: back.nvlink_gbs,
            sms: plan.dispatch.sms.max(plan.combine.sms),
            sm_ms: dispatch_sm_ms + combine_sm_ms,
            dispatch_sm_ms,
            combine_sm_ms,
            buffer_bytes: window.landing_x - window.dispatch_send_ring,
            landing_bytes: window.bytes - window.landing_x,
            dispatch_ib_bytes: moved.dispatch.ib.bytes,
            dispatch_ib_bytes_min: moved.dispatch.ib.bytes_min,
            dispatch_nvlink_bytes: moved.dispatch.nvlink.bytes,
            dispatch_nvlink_bytes_min: moved.dispatch.nvlink.bytes_min,
            combine_ib_bytes: moved.combine.ib.bytes,
            combine_ib_bytes_min: moved.combine.ib.bytes_min,
            combine_nvlink_bytes: moved.combine.nvlink.bytes,
            combine_nvlink_bytes_min: moved.combine.nvlink.bytes_min,
        }
    }
}

/// Bandwidths of an operation in GB/s.
struct Rates {
    logical_gbs: f64,
    ib_gbs: f64,
    nvlink_gbs: f64,
}

impl Rates {
    fn new(moved: &OpMoved, time_us: f64) -> Rates {
        let gbs = |bytes: f64| if time_us > 0.0 { bytes / (time_us * NS_PER_US) } else { 0.0 };
        Rates {
            logical_gbs: gbs(moved.logical_bytes),
            ib_gbs: gbs(moved.ib.busiest_bytes as f64),
            nvlink_gbs: gbs(moved.nvlink.busiest_bytes as f64),
        }
    }
}

/// The middle one, of an even number the mean of the two in the middle; 0 without any.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

fn least(samples: &[f64]) -> f64 {
    samples.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

fn most(samples: &[f64]) -> f64 {
    samples.iter().copied().reduce(f64::max).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::workload::PathMoved;
    use super::*;
    use crate::plan::{Fabric, Landing, Shape, Tuning};
    use crate::Topology;

    fn plan(landing: Landing) -> Plan {
        let topology = Topology::new(2, 4).expect("valid");
        let shape = Shape::new(64, 8, 2, 16).expect("valid");
        let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes());
        (tuning.channels, tuning.dispatch_sms, tuning.combine_sms, tuning.landing) = (8, 4, 6, landing);
        (tuning.depth_ib, tuning.depth_nv, tuning.chunk_ib, tuning.chunk_nv) = (16, 8, 4, 4);
        Plan::new(topology, shape, tuning, Fabric::Mlx5).expect("valid")
    }

    #[test]
    fn medians_by_hand() {
        for (samples, want) in [(&[][..], 0.0), (&[3.0], 3.0), (&[5.0, 1.0], 3.0), (&[9.0, 1.0, 2.0], 2.0)] {
            assert_eq!(median(samples), want, "{samples:?}");
        }
    }

    #[test]
    fn figures_by_hand() {
        let path = |bytes, bytes_min, busiest_bytes| PathMoved { bytes, bytes_min, busiest_bytes };
        let op = |logical_bytes, ib, nvlink| OpMoved { logical_bytes, ib, nvlink };
        let moved = Moved {
            dispatch: op(4e6, path(90, 80, 1_000_000), path(70, 60, 3_000_000)),
            combine: op(8e6, path(50, 40, 2_000_000), path(30, 20, 500_000)),
        };
        let samples = Samples {
            dispatch_us: vec![100.0, 90.0, 130.0],
            combine_us: vec![200.0, 220.0, 180.0, 200.0],
            layout_us: vec![7.0],
            ..Samples::default()
        };
        let figures = Figures::new(&plan(Landing::Staged), &moved, &samples);
        assert_eq!((figures.dispatch_us, figures.dispatch_us_least, figures.dispatch_us_most), (100.0, 90.0, 130.0));
        assert_eq!((figures.combine_us, figures.combine_us_least, figures.combine_us_most), (200.0, 180.0, 220.0));
        assert_eq!((figures.dispatch_gbs_logical, figures.combine_gbs_logical), (40.0, 40.0));
        assert_eq!((figures.ib_gbs_wire, figures.nvlink_gbs), (10.0, 30.0));
        assert_eq!((figures.combine_ib_gbs_wire, figures.combine_nvlink_gbs), (10.0, 2.5));
        assert_eq!((figures.sms, figures.dispatch_sm_ms, figures.combine_sm_ms), (6, 0.4, 1.2));
        assert!((figures.sm_ms - 1.6).abs() < 1e-12);
        assert_eq!((figures.layout_us, figures.exchange_us, figures.dispatch_cached_us), (Some(7.0), None, None));
        assert_eq!((figures.dispatch_ib_bytes, figures.dispatch_ib_bytes_min), (90, 80));
    }

    /// Two rings to and from the other node, and one from every rank, for each channel and operation.
    #[test]
    fn buffer_bytes_are_those_of_the_rings() {
        let plan = plan(Landing::Direct { rows: 32 });
        let figures = Figures::new(&plan, &moved_nothing(), &Samples::default());
        let (topology, shape) = (plan.topology, plan.shape);
        let slots = 8 * (2 * 16 + 8 * 8);
        let slot_bytes = shape.dispatch_slot_bytes(topology) + shape.combine_slot_bytes();
        assert_eq!(figures.buffer_bytes, slots * u64::from(slot_bytes));
        assert!(figures.landing_bytes >= 32 * u64::from(shape.dispatch_row_bytes()));
    }

    fn moved_nothing() -> Moved {
        Moved { dispatch: OpMoved::default(), combine: OpMoved::default() }
    }

    #[test]
    fn no_time_gives_no_bandwidth() {
        let figures = Figures::new(&plan(Landing::Staged), &moved_nothing(), &Samples::default());
        assert_eq!((figures.dispatch_us, figures.dispatch_gbs_logical, figures.sm_ms), (0.0, 0.0, 0.0));
    }
}
