//! The reference agrees with itself: counts, base rows and row order say the same thing in different ways, and sums
//! do not depend on what they should not depend on.
//!
//! Method: drawn worlds and choices; proptest prints the smallest case that fails.

use proptest::collection::vec;
use proptest::prelude::*;
use warpferry::reference::{self, bf16, channel_tokens, CombineInput, DispatchInput, Exchange, Layout};
use warpferry::{Shape, Topology};

/// A world with the choices of every rank.
#[derive(Debug, Clone)]
struct Case {
    topology: Topology,
    shape: Shape,
    channels: u32,
    topk_idx: Vec<Vec<i32>>,
}

impl Case {
    fn layouts(&self) -> Vec<Layout> {
        let layout = |idx: &Vec<i32>| Layout::new(self.topology, self.shape, idx).expect("choices are drawn in range");
        self.topk_idx.iter().map(layout).collect()
    }

    /// Rows whose elements name rank, token and column.
    fn x(&self) -> Vec<Vec<u8>> {
        let row = self.shape.dispatch_row_bytes() as usize;
        let topk = self.shape.topk() as usize;
        let rows = |rank: usize| (0..self.topk_idx[rank].len() / topk * row).map(move |at| (rank * 251 + at * 7) as u8);
        (0..self.topk_idx.len()).map(|rank| rows(rank).collect()).collect()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    (1..4_u32, 1..5_u32, 1..5_u32, 1..5_u32, 1..6_u32).prop_flat_map(|(nodes, gpus, per_rank, topk, channels)| {
        let topology = Topology::new(nodes, gpus).expect("a small world");
        let experts = topology.ranks() * per_rank;
        let topk = topk.min(experts);
        let shape = Shape::new(8, experts, topk, 16).expect("a small shape");
        let token = vec(-1..experts as i32, topk as usize);
        let rank = vec(token, 0..12).prop_map(|tokens| tokens.concat());
        vec(rank, topology.ranks() as usize).prop_map(move |topk_idx| Case { topology, shape, channels, topk_idx })
    })
}

proptest! {
    #[test]
    fn flows_tile_the_rows(case in cases()) {
        let layouts = case.layouts();
        let ranks = case.topology.ranks();
        for rank in 0..ranks {
            let rows = reference::rows(rank, &layouts);
            let exchange = Exchange::new(rank, case.channels, &layouts);
            prop_assert_eq!(exchange.rows as usize, rows.len());
            prop_assert!(rows.is_sorted());
            let mut covered = 0;
            for channel in 0..case.channels {
                for source in 0..ranks {
                    let flow = (channel * ranks + source) as usize;
                    let base = exchange.receive_base[flow] as usize;
                    let part = &rows[base..base + exchange.receive_rows[flow] as usize];
                    let tokens = channel_tokens(layouts[source as usize].tokens(), channel, case.channels);
                    prop_assert!(part.iter().all(|row| row.rank == source && tokens.contains(&row.token)));
                    covered += part.len();
                }
            }
            prop_assert_eq!(covered, rows.len());
        }
    }

    #[test]
    fn messages_and_masks_agree(case in cases()) {
        let layouts = case.layouts();
        let (topology, words) = (case.topology, case.topology.mask_words());
        for (rank, layout) in (0..).zip(&layouts) {
            let masks = layout.token_masks();
            for token in 0..layout.tokens() {
                for node in 0..topology.nodes() {
                    let at = ((token * topology.nodes() + node) * words) as usize;
                    let bits: u32 = masks[at..at + words as usize].iter().map(|word| word.count_ones()).sum();
                    let ranks = layout.destinations(token).iter().filter(|&&to| topology.node(to) == node).count();
                    prop_assert_eq!(bits as usize, ranks);
                    prop_assert_eq!(layout.node_tokens(node).contains(&token), ranks > 0);
                }
            }
            // What a rank sends to a node is what its rail peer there expects.
            for node in 0..topology.nodes() {
                let peer = Exchange::new(topology.rank(node, topology.local(rank)), case.channels, &layouts);
                let flow = |channel: u32| (channel * topology.nodes() + topology.node(rank)) as usize;
                let mut before = 0;
                for channel in 0..case.channels {
                    let messages = layout.messages(channel, case.channels, node);
                    prop_assert_eq!(peer.forward_messages[flow(channel)], messages);
                    prop_assert_eq!(peer.forward_base[flow(channel)], before);
                    before += messages;
                }
                prop_assert_eq!(before as usize, layout.node_tokens(node).len());
            }
        }
    }

    #[test]
    fn rows_carry_their_token(case in cases()) {
        let x = case.x();
        let inputs: Vec<DispatchInput> = x
            .iter()
            .zip(&case.topk_idx)
            .map(|(x, topk_idx)| DispatchInput { x, topk_idx, ..DispatchInput::default() })
            .collect();
        let outputs = reference::dispatch(case.topology, case.shape, &inputs).expect("the inputs fit");
        let (row, topk) = (case.shape.dispatch_row_bytes() as usize, case.shape.topk() as usize);
        let per_rank = case.shape.experts_per_rank(case.topology) as i32;
        for (rank, output) in (0..).zip(&outputs) {
            for (index, from) in output.source.iter().enumerate() {
                let (source, token) = (from.rank as usize, from.token as usize);
                prop_assert_eq!(&output.x[index * row..][..row], &x[source][token * row..][..row]);
                for choice in 0..topk {
                    let expert = case.topk_idx[source][token * topk + choice];
                    let here = expert >= 0 && expert / per_rank == rank;
                    let local = output.topk_idx[index * topk + choice];
                    prop_assert_eq!(local, if here { expert % per_rank } else { -1 });
                }
            }
            let pairs = output.topk_idx.iter().filter(|&&local| local >= 0).count();
            prop_assert_eq!(output.expert_counts.iter().sum::<u32>() as usize, pairs);
        }
    }

    /// Rows of small integers add without rounding, so a token's sum is its row times its ranks, in any order.
    #[test]
    fn exact_sums_count_the_ranks(case in cases()) {
        let layouts = case.layouts();
        let hidden = case.shape.hidden() as usize;
        let value = |rank: u32, token: u32| bf16::from_f32((rank % 3 + token % 3 + 1) as f32);
        let rows: Vec<Vec<u8>> = (0..case.topology.ranks())
            .map(|rank| {
                let rows = reference::rows(rank, &layouts);
                let numbers = rows.iter().flat_map(|row| vec![value(row.rank, row.token); hidden]);
                numbers.flat_map(u16::to_le_bytes).collect()
            })
            .collect();
        let rows: Vec<CombineInput> = rows.iter().map(|rows| CombineInput { rows, ..CombineInput::default() }).collect();
        let outputs = reference::combine(case.topology, case.shape, &layouts, &rows).expect("the rows fit");
        for ((rank, layout), output) in (0..).zip(&layouts).zip(&outputs) {
            for token in 0..layout.tokens() {
                let count = layout.destinations(token).len() as f32;
                let want = bf16::from_f32(bf16::to_f32(value(rank, token)) * count);
                let row = &output.x[token as usize * 2 * hidden..][..2 * hidden];
                prop_assert!(row.chunks_exact(2).all(|have| have == want.to_le_bytes()));
            }
        }
    }
}
