//! What dispatches count at each rank.

use super::layout::Layout;
use crate::load::LoadStatistics;
use crate::plan::Shape;
use crate::topology::Topology;

/// Load statistics of `rank` after `calls`: the layouts of all ranks, call by call. Every pair counts once for its expert, every
/// token once for each of its ranks.
pub fn load_statistics(topology: Topology, shape: Shape, rank: u32, calls: &[Vec<Layout>]) -> LoadStatistics {
    let own = (rank * shape.experts_per_rank(topology)) as usize;
    let mut load = LoadStatistics {
        calls: calls.len() as u64,
        sent_pairs: vec![0; shape.experts() as usize],
        received_pairs: vec![0; shape.experts_per_rank(topology) as usize],
        sent_rows: vec![0; topology.ranks() as usize],
        received_rows: vec![0; topology.ranks() as usize],
    };
    for layouts in calls {
        for (source, layout) in layouts.iter().enumerate() {
            for (expert, &pairs) in layout.expert_rows().iter().enumerate() {
                if source == rank as usize {
                    load.sent_pairs[expert] += u64::from(pairs);
                }
                if let Some(local) = expert.checked_sub(own).filter(|&local| local < load.received_pairs.len()) {
                    load.received_pairs[local] += u64::from(pairs);
                }
            }
            for to in (0..layout.tokens()).flat_map(|token| layout.destinations(token)) {
                if source == rank as usize {
                    load.sent_rows[*to as usize] += 1;
                }
                if *to == rank {
                    load.received_rows[source] += 1;
                }
            }
        }
    }
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ranks with two experts each; a token that chooses an expert twice, one that chooses none, a rank without tokens.
    #[test]
    fn counts_by_hand() {
        let topology = Topology::new(1, 2).expect("valid");
        let shape = Shape::new(8, 4, 2, 4).expect("valid");
        let layout = |idx: &[i32]| Layout::new(topology, shape, idx).expect("valid");
        let calls = [vec![layout(&[3, 3, -1, -1, 0, 2]), layout(&[])], vec![layout(&[1, 2]), layout(&[0, -1])]];
        let load = load_statistics(topology, shape, 0, &calls);
        assert_eq!((load.calls, &load.sent_pairs[..]), (2, &[1, 1, 2, 2][..]));
        assert_eq!(load.received_pairs, [2, 1]);
        assert_eq!((&load.sent_rows[..], &load.received_rows[..]), (&[2, 3][..], &[2, 1][..]));
        let load = load_statistics(topology, shape, 1, &calls);
        assert_eq!((&load.sent_pairs[..], &load.received_pairs[..]), (&[1, 0, 0, 0][..], &[2, 2][..]));
        assert_eq!((&load.sent_rows[..], &load.received_rows[..]), (&[1, 0][..], &[3, 0][..]));
    }
}
