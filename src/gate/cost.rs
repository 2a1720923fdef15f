//! What choices cost on the wires: messages and bytes that each rank sends and gets, between nodes and within.

use std::fmt;
use std::time::Duration;

use super::load::ranks_of;
use super::Gate;
use crate::error::{Error, Result};
use crate::plan::Shape;
use crate::topology::Topology;

/// Messages of dispatch and combine that choices lead to, as the protocol carries them; exact, before anything runs.
///
/// Counted are rows with their headers between two GPUs. Signals, credit and boxes of counts are not: they are few and small.
/// A token goes to each other node of its experts once, to the rank with its own index in the node (its rail), which passes it
/// on to the ranks of its experts. Combine is the way back: as many messages, each the other way round. Rows that land by
/// themselves ([`Landing::Direct`](crate::plan::Landing)) leave their headers behind, which this does not take off.
///
/// ```
/// use warpferry::gate::{Cost, Gate};
/// use warpferry::{Shape, Topology};
///
/// let (topology, shape) = (Topology::new(8, 8)?, Shape::new(7168, 256, 8, 128)?);
/// let limited = Cost::of(Gate::NodeLimited { nodes: 4 }, topology, &shape, 128, 7)?; // 128 tokens a rank, seed 7
/// let unlimited = Cost::of(Gate::Uniform, topology, &shape, 128, 7)?;
/// let share = limited.share_of(&unlimited);
/// assert!(share.between < 0.75, "{share}"); // of the bytes between nodes
/// # Ok::<(), warpferry::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Rows to the experts.
    pub dispatch: OpCost,
    /// Sums back.
    pub combine: OpCost,
}

/// Messages of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpCost {
    /// Between nodes, by rails: what NICs carry.
    pub between: PathCost,
    /// Within nodes, between two GPUs: what NVLink carries. What stays on a GPU is not counted.
    pub within: PathCost,
}

/// Messages of one operation on one kind of path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCost {
    /// Bytes of a message, header and padding included.
    pub message_bytes: u64,
    /// `[ranks]`: messages that each rank sends.
    pub sent: Vec<u64>,
    /// `[ranks]`: messages that each rank gets.
    pub received: Vec<u64>,
    /// The two ranks with most messages from one to the other; of equal ones the first by number.
    pub busiest: Option<Link>,
}

/// Messages from one rank to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Rank that sends.
    pub from: u32,
    /// Rank that gets.
    pub to: u32,
    /// How many.
    pub messages: u64,
}

/// Bytes of one choice of experts over those of another; 1 where neither has any, infinite where only the other has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Between nodes, of all ranks.
    pub between: f64,
    /// Between nodes, of the rank that sends or gets most.
    pub between_most: f64,
    /// Between nodes, of the busiest link.
    pub link_most: f64,
    /// Within nodes, of all ranks.
    pub within: f64,
    /// Within nodes, of the rank that sends or gets most.
    pub within_most: f64,
}

impl Cost {
    /// Of the choices of all ranks: `[tokens, topk]` each, -1 for no choice.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expert that is none, experts that do not divide over the ranks, or choices of another number of
    /// ranks.
    pub fn new(topology: Topology, shape: &Shape, ranks: &[&[i32]]) -> Result<Cost> {
        shape.check(topology)?;
        if ranks.len() != topology.ranks() as usize {
            return Err(Error::argument(
                "ranks",
                ranks.len(),
                format!("choices of each of {} ranks", topology.ranks()),
            ));
        }
        let (mut between, mut within) = (Links::new(topology.ranks()), Links::new(topology.ranks()));
        for (source, topk_idx) in (0..).zip(ranks) {
            for choices in topk_idx.chunks(shape.topk() as usize) {
                let to = ranks_of(topology, shape, choices)?;
                // Ranks ascend, so those of a node are neighbours.
                for there in to.chunk_by(|&a, &b| topology.node(a) == topology.node(b)) {
                    let relay = topology.rank(topology.node(there[0]), topology.local(source));
                    between.count(source, relay);
                    there.iter().for_each(|&rank| within.count(relay, rank));
                }
            }
        }
        let sizes = [
            (shape.dispatch_slot_bytes(topology), shape.dispatch_header_bytes(topology) + shape.dispatch_row_bytes()),
            (shape.combine_slot_bytes(), shape.combine_header_bytes() + shape.combine_row_bytes()),
        ];
        let [dispatch, combine] =
            sizes.map(|(slot, used)| OpCost { between: between.cost(slot), within: within.cost(used) });
        Ok(Cost { dispatch, combine: combine.backwards() })
    }

    /// Of the choices that `gate` draws for `tokens` tokens a rank.
    ///
    /// # Errors
    /// As [`Gate::draw`].
    pub fn of(gate: Gate, topology: Topology, shape: &Shape, tokens: u32, seed: u64) -> Result<Cost> {
        let drawn = gate.draw(topology, shape, tokens, seed)?;
        Cost::new(topology, shape, &drawn.iter().map(|rank| &rank.topk_idx[..]).collect::<Vec<&[i32]>>())
    }

    /// What this is of `other`: what a node limit leaves of the traffic, if that is the cost without one. Of dispatch, and of
    /// combine just the same.
    pub fn share_of(&self, other: &Cost) -> Share {
        let (mine, its) = (&self.dispatch, &other.dispatch);
        let share = |what: fn(&OpCost) -> u64| match (what(mine), what(its)) {
            (0, 0) => 1.0,
            (have, of) => have as f64 / of as f64,
        };
        Share {
            between: share(|op| op.between.bytes()),
            between_most: share(|op| op.between.most().1),
            link_most: share(|op| op.between.link_bytes()),
            within: share(|op| op.within.bytes()),
            within_most: share(|op| op.within.most().1),
        }
    }
}

impl OpCost {
    /// Least time that the wires need, if each rank sends and gets so many bytes a second between nodes and within: that of the
    /// busiest rank and direction. A bound from below, no forecast: latencies and SMs are not in it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a bandwidth that is not above zero.
    pub fn least_time(&self, between_bytes_per_s: f64, within_bytes_per_s: f64) -> Result<Duration> {
        let time = |name: &str, path: &PathCost, bytes_per_s: f64| {
            let seconds = path.most().1 as f64 / bytes_per_s;
            let known = Some(bytes_per_s).filter(|&rate| rate.is_finite() && rate > 0.0);
            let time = known.and_then(|_| Duration::try_from_secs_f64(seconds).ok());
            time.ok_or_else(|| Error::argument(name, bytes_per_s, "bytes a second, above zero"))
        };
        let between = time("between_bytes_per_s", &self.between, between_bytes_per_s)?;
        Ok(between.max(time("within_bytes_per_s", &self.within, within_bytes_per_s)?))
    }

    fn backwards(self) -> OpCost {
        OpCost { between: self.between.backwards(), within: self.within.backwards() }
    }
}

impl PathCost {
    /// Messages of all ranks.
    pub fn messages(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Bytes of all ranks.
    pub fn bytes(&self) -> u64 {
        self.messages() * self.message_bytes
    }

    /// The rank that sends or gets most, and those bytes; of equal ones the first.
    pub fn most(&self) -> (u32, u64) {
        let busy = |rank: usize| self.sent[rank].max(self.received[rank]);
        let rank = (0..self.sent.len()).min_by_key(|&rank| (std::cmp::Reverse(busy(rank)), rank)).unwrap_or_default();
        (rank as u32, self.sent.get(rank).map_or(0, |_| busy(rank)) * self.message_bytes)
    }

    /// Bytes on the busiest link.
    pub fn link_bytes(&self) -> u64 {
        self.busiest.map_or(0, |link| link.messages * self.message_bytes)
    }

    fn backwards(self) -> PathCost {
        let busiest = self.busiest.map(|link| Link { from: link.to, to: link.from, ..link });
        PathCost { sent: self.received, received: self.sent, busiest, ..self }
    }
}

/// Messages between any two ranks.
struct Links {
    ranks: u32,
    messages: Vec<u64>,
}

impl Links {
    fn new(ranks: u32) -> Links {
        Links { ranks, messages: vec![0; (ranks * ranks) as usize] }
    }

    /// What a rank gives itself is no message.
    fn count(&mut self, from: u32, to: u32) {
        self.messages[(from * self.ranks + to) as usize] += u64::from(from != to);
    }

    fn cost(&self, message_bytes: u32) -> PathCost {
        let rows: Vec<&[u64]> = self.messages.chunks(self.ranks as usize).collect();
        let received = (0..self.ranks as usize).map(|to| rows.iter().map(|row| row[to]).sum()).collect();
        let busiest = (0..self.messages.len()).min_by_key(|&at| (std::cmp::Reverse(self.messages[at]), at));
        let busiest = busiest.filter(|&at| self.messages[at] > 0).map(|at| {
            let (from, to) = (at as u32 / self.ranks, at as u32 % self.ranks);
            Link { from, to, messages: self.messages[at] }
        });
        let sent = rows.iter().map(|row| row.iter().sum()).collect();
        PathCost { message_bytes: u64::from(message_bytes), sent, received, busiest }
    }
}

/// Bytes in the unit that leaves a number to read.
fn in_words(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|&(unit, _)| bytes >= unit) {
        Some((unit, name)) => format!("{:.2} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

impl fmt::Display for PathCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rank, most) = self.most();
        write!(f, "{}", in_words(self.bytes()))?;
        match self.busiest {
            Some(Link { from, to, .. }) => {
                let link = in_words(self.link_bytes());
                write!(f, " (busiest: rank {rank} {}, link {from} to {to} {link})", in_words(most))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for OpCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "between nodes {}; within {}", self.between, self.within)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} of the bytes between nodes (busiest rank {:.2}, link {:.2}), {:.2} of those within (busiest rank {:.2})",
            self.between, self.between_most, self.link_most, self.within, self.within_most
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Messages from `from` to `to` (between nodes, within) by their definition, one look at every token.
    fn looked_up(topology: Topology, shape: &Shape, ranks: &[&[i32]], from: u32, to: u32) -> (u64, u64) {
        let own = shape.experts_per_rank(topology) as i32;
        let mut found = (0, 0);
        for (source, topk_idx) in (0..).zip(ranks) {
            for choices in topk_idx.chunks(shape.topk() as usize) {
                let goes = |rank: u32| choices.iter().any(|&expert| expert >= 0 && expert / own == rank as i32);
                let goes_to_node = |node: u32| (0..topology.gpus_per_node()).any(|gpu| goes(topology.rank(node, gpu)));
                let same_node = topology.node(from) == topology.node(to);
                if from == source && !same_node && topology.local(from) == topology.local(to) {
                    found.0 += u64::from(goes_to_node(topology.node(to)));
                }
                if same_node && from != to && topology.local(from) == topology.local(source) {
                    found.1 += u64::from(goes(to));
                }
            }
        }
        found
    }

    proptest! {
        /// Masked choices, one expert twice, ranks without tokens; every rank and every link.
        #[test]
        fn every_link_has_the_messages_of_its_definition(
            nodes in 1_u32..4, gpus in 1_u32..4, own in 1_u32..3, topk in 1_u32..4, drawn: Vec<(u8, u16)>,
        ) {
            let topology = Topology::new(nodes, gpus).expect("valid");
            let experts = own * topology.ranks();
            prop_assume!(topk <= experts);
            let shape = Shape::new(8, experts, topk, 256).expect("valid");
            let mut ranks = vec![Vec::new(); topology.ranks() as usize];
            for (rank, bits) in drawn {
                let choice = |at: u32| (i32::from(bits >> (4 * at)) & 15) % (experts as i32 + 1) - 1;
                ranks[rank as usize % topology.ranks() as usize].extend((0..topk).map(choice));
            }
            let ranks: Vec<&[i32]> = ranks.iter().map(Vec::as_slice).collect();
            let cost = Cost::new(topology, &shape, &ranks).expect("valid");
            let all = || 0..topology.ranks();
            let link = |from, to| looked_up(topology, &shape, &ranks, from, to);
            let (there, back) = (&cost.dispatch, &cost.combine);
            for rank in all() {
                let at = rank as usize;
                let sent = all().map(|to| link(rank, to)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                let got = all().map(|from| link(from, rank)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                prop_assert_eq!((there.between.sent[at], there.within.sent[at]), sent);
                prop_assert_eq!((there.between.received[at], there.within.received[at]), got);
                prop_assert_eq!((back.between.sent[at], back.within.sent[at]), got);
                prop_assert_eq!((back.between.received[at], back.within.received[at]), sent);
            }
            let links = || all().flat_map(|from| all().map(move |to| (from, to)));
            let most = links().map(|(from, to)| link(from, to)).fold((0, 0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
            let named = |path: &PathCost| path.busiest.map_or(0, |link| link.messages);
            prop_assert_eq!((named(&there.between), named(&there.within)), most);
            if let Some(busiest) = there.between.busiest {
                prop_assert_eq!(link(busiest.from, busiest.to).0, busiest.messages);
                prop_assert_eq!(back.between.busiest, Some(Link { from: busiest.to, to: busiest.from, ..busiest }));
            }
        }
    }

    #[test]
    fn counts_a_world_by_hand() {
        let topology = Topology::new(2, 2).expect("valid");
        let shape = Shape::new(64, 4, 4, 4).expect("valid");
        // Rank 0: everywhere, itself only. Rank 3: rank 2 of its node, and rank 1 of the other.
        let cost =
            Cost::new(topology, &shape, &[&[0, 1, 2, 3, 0, -1, -1, -1], &[], &[], &[2, 1, -1, -1]]).expect("valid");
        let there = &cost.dispatch;
        assert_eq!((&there.between.sent[..], &there.between.received[..]), (&[1, 0, 0, 1][..], &[0, 1, 1, 0][..]));
        // 0 to 1, 2 to 3; 3 to 2.
        assert_eq!((&there.within.sent[..], &there.within.received[..]), (&[1, 0, 1, 1][..], &[0, 1, 1, 1][..]));
        assert_eq!(there.between.busiest, Some(Link { from: 0, to: 2, messages: 1 }));
        assert_eq!(cost.combine.between.busiest, Some(Link { from: 2, to: 0, messages: 1 }));
        assert_eq!(there.between.message_bytes, u64::from(shape.dispatch_slot_bytes(topology)));
        assert_eq!(there.between.most(), (0, there.between.message_bytes));
        // Of the busiest rank, and of the slower path.
        let bytes = there.between.message_bytes as f64;
        assert_eq!(there.least_time(bytes, bytes * 1e3).expect("valid"), Duration::from_secs(1));
        let seconds = there.within.message_bytes as f64 / 10.0;
        assert_eq!(there.least_time(bytes * 1e3, 10.0).expect("valid"), Duration::from_secs_f64(seconds));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let said = there.least_time(1.0, bad).expect_err("refused").to_string();
            assert!(said.contains("`within_bytes_per_s`") && said.contains("above zero"), "{said}");
        }
        let said = "between nodes 512 bytes (busiest: rank 0 256 bytes, link 0 to 2 256 bytes); within 528 bytes (busiest: rank 0 \
                    176 bytes, link 0 to 1 176 bytes)";
        assert_eq!(there.to_string(), said);
        let few = Cost::new(topology, &shape, &[&[0, 1, 2, 3]]).expect_err("three ranks are missing").to_string();
        assert!(few.contains("`ranks` = 1") && few.contains("each of 4 ranks"), "{few}");
    }

    /// The gate with a limit draws the scores of the one without: it never sends more between nodes, token by token.
    #[test]
    fn a_node_limit_saves_what_it_says() {
        let (topology, shape) = (Topology::new(8, 2).expect("valid"), Shape::new(64, 64, 8, 64).expect("valid"));
        let cost = |gate: Gate| Cost::of(gate, topology, &shape, 64, 5).expect("valid");
        let unlimited = cost(Gate::NodeLimited { nodes: 1 }.unlimited().expect("it has a limit"));
        assert_eq!(Gate::Uniform.unlimited(), None);
        let shares: Vec<Share> =
            [1, 2, 4, 8].map(|nodes| cost(Gate::NodeLimited { nodes }).share_of(&unlimited)).into();
        assert!(shares.windows(2).all(|pair| pair[0].between < pair[1].between), "{shares:?}");
        assert_eq!((shares[3].between, shares[3].within_most), (1.0, 1.0));
        // A token without a limit goes to 5.3 of 8 nodes in the mean, 7/8 of them others; with one of 2 to 2.
        assert!((shares[1].between - 2.0 / 5.3).abs() < 0.02, "{}", shares[1]);
        let nothing = Cost::new(topology, &shape, &[&[][..]; 16]).expect("valid");
        assert_eq!((nothing.share_of(&nothing).between, nothing.share_of(&unlimited).between), (1.0, 0.0));
    }
}
