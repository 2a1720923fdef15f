//! Counting: which token goes where, and how many messages and rows follow from it.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// Tokens that `channel` of `channels` carries: a contiguous part of every rank's tokens.
pub fn channel_tokens(tokens: u32, channel: u32, channels: u32) -> Range<u32> {
    let start = |channel: u32| (u64::from(tokens) * u64::from(channel) / u64::from(channels)) as u32;
    start(channel)..start(channel + 1)
}

/// Where the tokens of one rank go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    topology: Topology,
    shape: Shape,
    tokens: u32,
    /// For each token, its destination ranks, ascending and without repeats.
    destinations: Vec<Vec<u32>>,
    /// (token, choice) pairs of each expert of the world.
    expert_rows: Vec<u32>,
}

impl Layout {
    /// Reads `topk_idx [tokens, topk]`: experts of the world, -1 for a masked choice.
    ///
    /// # Errors
    /// [`Error::Argument`] when the length is no multiple of top-k, or a value is no expert.
    pub fn new(topology: Topology, shape: Shape, topk_idx: &[i32]) -> Result<Layout> {
        shape.check(topology)?;
        let topk = shape.topk() as usize;
        if !topk_idx.len().is_multiple_of(topk) {
            return Err(Error::argument(
                "topk_idx",
                format!("{} values", topk_idx.len()),
                format!("a multiple of top-{topk}"),
            ));
        }
        let mut expert_rows = vec![0; shape.experts() as usize];
        let mut destinations = Vec::with_capacity(topk_idx.len() / topk);
        for (token, choices) in topk_idx.chunks_exact(topk).enumerate() {
            let mut ranks = Vec::new();
            for &choice in choices.iter().filter(|&&choice| choice != -1) {
                let expert =
                    u32::try_from(choice).ok().filter(|&expert| expert < shape.experts()).ok_or_else(|| {
                        let valid = format!("-1 to {}", shape.experts() - 1);
                        Error::argument(format!("topk_idx of token {token}"), choice, valid)
                    })?;
                expert_rows[expert as usize] += 1;
                ranks.push(expert / shape.experts_per_rank(topology));
            }
            ranks.sort_unstable();
            ranks.dedup();
            destinations.push(ranks);
        }
        let tokens = destinations.len() as u32;
        Ok(Layout { topology, shape, tokens, destinations, expert_rows })
    }

    /// Tokens of this rank.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Destination ranks of `token`, ascending.
    pub fn destinations(&self, token: u32) -> &[u32] {
        &self.destinations[token as usize]
    }

    /// (token, choice) pairs of each expert of the world.
    pub fn expert_rows(&self) -> &[u32] {
        &self.expert_rows
    }

    /// `[tokens][N][W]`: local ranks of each node that each token goes to, a bit each.
    pub fn token_masks(&self) -> Vec<u32> {
        let (nodes, words) = (self.topology.nodes() as usize, self.topology.mask_words() as usize);
        let mut masks = vec![0; self.tokens as usize * nodes * words];
        for (token, ranks) in self.destinations.iter().enumerate() {
            for &rank in ranks {
                let (node, local) = (self.topology.node(rank) as usize, self.topology.local(rank));
                masks[(token * nodes + node) * words + local as usize / 32] |= 1 << (local % 32);
            }
        }
        masks
    }

    /// Tokens with a destination on `node`, ascending.
    pub fn node_tokens(&self, node: u32) -> Vec<u32> {
        (0..self.tokens).filter(|&token| self.goes_to_node(token, node)).collect()
    }

    /// Messages of a channel's tokens to `node`.
    pub fn messages(&self, channel: u32, channels: u32, node: u32) -> u32 {
        channel_tokens(self.tokens, channel, channels).filter(|&token| self.goes_to_node(token, node)).count() as u32
    }

    /// Rows of a channel's tokens to `rank`.
    pub fn rows(&self, channel: u32, channels: u32, rank: u32) -> u32 {
        let tokens = channel_tokens(self.tokens, channel, channels);
        tokens.filter(|&token| self.destinations(token).contains(&rank)).count() as u32
    }

    fn goes_to_node(&self, token: u32, node: u32) -> bool {
        self.destinations(token).iter().any(|&rank| self.topology.node(rank) == node)
    }
}

/// What the exchange of counts tells one rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `[C][N]` messages from (node, own rail) that this rank forwards or, for its own node, fans out itself.
    pub forward_messages: Vec<u32>,
    /// `[C][N]` messages of lower channels from that node.
    pub forward_base: Vec<u32>,
    /// `[C][R]` rows from each source rank.
    pub receive_rows: Vec<u32>,
    /// `[C][R]` first output row of each flow.
    pub receive_base: Vec<u32>,
    /// (token, choice) pairs of each local expert, from all ranks.
    pub expert_counts: Vec<u32>,
    /// Rows that dispatch delivers here.
    pub rows: u32,
}

impl Exchange {
    /// Counts at `rank`, from the layouts of all ranks.
    pub fn new(rank: u32, channels: u32, layouts: &[Layout]) -> Exchange {
        let (topology, shape) = (layouts[0].topology, layouts[0].shape);
        let (nodes, ranks) = (topology.nodes(), topology.ranks());
        let mut exchange = Exchange {
            forward_messages: Vec::new(),
            forward_base: Vec::new(),
            receive_rows: Vec::new(),
            receive_base: vec![0; (channels * ranks) as usize],
            expert_counts: Vec::new(),
            rows: 0,
        };
        let mut before = vec![0; nodes as usize];
        for channel in 0..channels {
            for node in 0..nodes {
                let source = &layouts[topology.rank(node, topology.local(rank)) as usize];
                let messages = source.messages(channel, channels, topology.node(rank));
                exchange.forward_messages.push(messages);
                exchange.forward_base.push(before[node as usize]);
                before[node as usize] += messages;
            }
            exchange.receive_rows.extend(layouts.iter().map(|source| source.rows(channel, channels, rank)));
        }
        for source in 0..ranks {
            for channel in 0..channels {
                let flow = (channel * ranks + source) as usize;
                exchange.receive_base[flow] = exchange.rows;
                exchange.rows += exchange.receive_rows[flow];
            }
        }
        let own = shape.experts_per_rank(topology);
        exchange.expert_counts = (rank * own..(rank + 1) * own)
            .map(|expert| layouts.iter().map(|layout| layout.expert_rows[expert as usize]).sum())
            .collect();
        exchange
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (Topology, Shape) {
        (Topology::new(2, 2).expect("valid"), Shape::new(8, 8, 2, 16).expect("valid"))
    }

    #[test]
    fn counts_a_world_by_hand() {
        let (topology, shape) = world();
        // Two experts a rank: 0 0 1 1 2 2 3 3.
        let own = Layout::new(topology, shape, &[0, 1, 7, 2, -1, 4, -1, -1]).expect("valid");
        assert_eq!(own.destinations(0), [0]);
        assert_eq!(own.destinations(1), [1, 3]);
        assert_eq!(own.destinations(2), [2]);
        assert!(own.destinations(3).is_empty());
        assert_eq!(own.token_masks(), [1, 0, 2, 2, 0, 1, 0, 0]);
        assert_eq!(own.node_tokens(1), [1, 2]);
        assert_eq!(own.expert_rows(), [1, 1, 1, 0, 1, 0, 0, 1]);
        let other = Layout::new(topology, shape, &[6, 7]).expect("valid");
        let none = Layout::new(topology, shape, &[]).expect("valid");
        let layouts = [own, other, none.clone(), none];
        let exchange = Exchange::new(3, 2, &layouts);
        assert_eq!(exchange.receive_rows, [1, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(exchange.receive_base, [0, 1, 2, 2, 1, 1, 2, 2]);
        assert_eq!(exchange.rows, 2);
        assert_eq!(exchange.expert_counts, [1, 2]);
        // Rail of rank 3 is local 1: rank 1 has one message for node 1, in its second channel (0 tokens in the first).
        assert_eq!(exchange.forward_messages, [0, 0, 1, 0]);
        assert_eq!(exchange.forward_base, [0, 0, 0, 0]);
    }

    #[test]
    fn channels_cover_all_tokens_once() {
        for tokens in [0, 1, 5, 127, 128] {
            for channels in [1, 3, 16, 32] {
                let all: Vec<u32> = (0..channels).flat_map(|c| channel_tokens(tokens, c, channels)).collect();
                assert_eq!(all, (0..tokens).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn refuses_what_is_no_expert() {
        let (topology, shape) = world();
        for bad in [8, -2, i32::MAX, i32::MIN] {
            let error = Layout::new(topology, shape, &[0, 1, 2, bad]).expect_err("not an expert");
            assert!(error.to_string().contains("token 1"), "{error}");
        }
    }
}
