//! Load statistics: what the exchanges of a communicator told and heard, added up on the device.
//!
//! Each dispatch that counts (one that is not [`cached`](crate::Dispatch::cached)) adds its routing to 64-bit counters of the
//! rank, by the kernel that exchanges the counts and as its last act: no launch, no argument and no host wait is spent on them,
//! so dispatches with a bound are counted as others are. Balancers read them to place and replicate experts.
//!
//! - [`LoadStatistics`]: a copy on the host, from [`Communicator::load_statistics`](crate::Communicator::load_statistics).
//! - [`LoadTensors`]: the counters themselves, for balancers on the GPU.
//!
//! What is counted is the routing, whole: a pair is a token and one of its choices, a token that chooses an expert twice counts
//! twice, masked choices count nothing, and rows that a bound had no room for count like others. An exchange that gives up
//! counts nothing at its rank, though ranks that had come further may have counted it.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::mem::tensor::Owner;
use crate::mem::{Buffer, DType, Tensor};
use crate::plan::state::LoadLayout;
use crate::plan::Plan;

/// What one rank counted since its communicator was made, or since the last reset.
///
/// Of ranks that counted the same calls, the sums of `sent_pairs` over all ranks are the `received_pairs` of the experts'
/// ranks: an all-reduce of the one and a gather of the other give every rank the load of every expert ([`experts`]).
///
/// [`experts`]: LoadStatistics::experts
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadStatistics {
    /// Dispatches counted.
    pub calls: u64,
    /// `[experts]`: (token, choice) pairs of this rank's tokens for each expert of the world.
    pub sent_pairs: Vec<u64>,
    /// `[experts of the rank]`: (token, choice) pairs for each local expert, from all ranks.
    pub received_pairs: Vec<u64>,
    /// `[ranks]`: tokens that went to each rank, each once a call; this rank among them.
    pub sent_rows: Vec<u64>,
    /// `[ranks]`: tokens that came from each rank.
    pub received_rows: Vec<u64>,
}

impl LoadStatistics {
    /// Load of every expert of the world, `[experts]`: pairs from all ranks, of whose statistics `ranks` are all, in order.
    ///
    /// # Errors
    /// [`Error::Argument`] when a rank is missing, or ranks have counted other numbers of calls.
    ///
    /// ```
    /// use warpferry::load::LoadStatistics;
    ///
    /// let rank = |received_pairs| LoadStatistics { calls: 1, received_pairs, sent_rows: vec![0; 2], ..Default::default() };
    /// assert_eq!(LoadStatistics::experts(&[rank(vec![3, 0]), rank(vec![1, 4])])?, [3, 0, 1, 4]);
    /// # Ok::<(), warpferry::Error>(())
    /// ```
    pub fn experts(ranks: &[LoadStatistics]) -> Result<Vec<u64>> {
        if let Some(odd) = ranks.iter().find(|rank| rank.sent_rows.len() != ranks.len()) {
            let valid = format!("statistics of all {} ranks", odd.sent_rows.len());
            return Err(Error::argument("ranks", ranks.len(), valid));
        }
        if let Some(odd) = ranks.iter().find(|rank| rank.calls != ranks[0].calls) {
            let valid = format!("{}, the calls of rank 0", ranks[0].calls);
            return Err(Error::argument("ranks", format!("a rank with {} calls", odd.calls), valid));
        }
        Ok(ranks.iter().flat_map(|rank| rank.received_pairs.iter().copied()).collect())
    }

    /// Reads the counters' bytes, those from the first offset of the layout on.
    pub(crate) fn parse(plan: &Plan, bytes: &[u8]) -> Result<LoadStatistics> {
        let LoadLayout { calls, sent_pairs, received_pairs, sent_rows, received_rows, .. } = plan.state.load;
        let [experts, own, ranks] = lengths(plan);
        let words = |offset: u64, count: usize| -> Result<Vec<u64>> {
            let at = (offset - calls) as usize;
            let part = bytes.get(at..at + 8 * count);
            let part = part.ok_or_else(|| Error::Bug("load statistics are cut short".into()))?;
            let word = |word: &[u8]| u64::from_le_bytes(*word.first_chunk().expect("chunks of eight"));
            Ok(part.chunks_exact(8).map(word).collect())
        };
        Ok(LoadStatistics {
            calls: words(calls, 1)?[0],
            sent_pairs: words(sent_pairs, experts)?,
            received_pairs: words(received_pairs, own)?,
            sent_rows: words(sent_rows, ranks)?,
            received_rows: words(received_rows, ranks)?,
        })
    }
}

/// The counters on the device: what [`LoadStatistics`] copies, field by field, as i64 tensors over the communicator's own
/// memory. Kernels of later dispatches go on adding to them, and a reset clears them, in the order of the communicator's stream:
/// who reads them in another stream orders it behind that ([`Communicator::release_to`](crate::Communicator::release_to)) and
/// lets the communicator wait for the reading ([`Communicator::wait_for`](crate::Communicator::wait_for)). They are to be read
/// only.
#[derive(Debug, Clone)]
pub struct LoadTensors {
    /// i64 `[1]`: dispatches counted.
    pub calls: Tensor,
    /// i64 `[experts]`.
    pub sent_pairs: Tensor,
    /// i64 `[experts of the rank]`.
    pub received_pairs: Tensor,
    /// i64 `[ranks]`.
    pub sent_rows: Tensor,
    /// i64 `[ranks]`.
    pub received_rows: Tensor,
}

impl LoadTensors {
    pub(crate) fn new(owner: &Owner, state: &Arc<Buffer>, plan: &Plan) -> LoadTensors {
        let load = &plan.state.load;
        let [experts, own, ranks] = lengths(plan);
        let counters = |offset, count| Tensor::part(owner, state, offset, DType::I64, &[count]);
        LoadTensors {
            calls: counters(load.calls, 1),
            sent_pairs: counters(load.sent_pairs, experts),
            received_pairs: counters(load.received_pairs, own),
            sent_rows: counters(load.sent_rows, ranks),
            received_rows: counters(load.received_rows, ranks),
        }
    }
}

/// Experts of the world and of a rank, and ranks.
fn lengths(plan: &Plan) -> [usize; 3] {
    let (topology, shape) = (plan.topology, &plan.shape);
    [shape.experts(), shape.experts_per_rank(topology), topology.ranks()].map(|count| count as usize)
}
