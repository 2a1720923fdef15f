//! What must hold of every flow when no operation is under way: all its ends stand at the same position, and the head and
//! the tail that its peers were told are that position too. An end that lags by one is no wrong bit, only a slot that is
//! never used again; so it is looked for here.

use warpferry::driver::emu::EmuMachine;
use warpferry::{Communicator, Topology};

/// Ends of a rank's flows, `[C][N]` or `[C][R]` words each.
struct Ends {
    state: Vec<u64>,
    window: Vec<u64>,
    rank: u32,
    nodes: u64,
    ranks: u64,
}

impl Ends {
    fn read(rank: &Communicator, machine: &EmuMachine) -> Result<Ends, String> {
        let (plan, places) = (rank.plan(), rank.places());
        let words = |address: u64, bytes: u64| {
            let mut all = vec![0; bytes as usize];
            let read = machine.with(|machine| machine.peek(address, &mut all));
            read.map_err(|error| format!("positions of rank {}: {error}", rank.rank()))?;
            Ok::<_, String>(all.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect())
        };
        Ok(Ends {
            // Positions come first in both.
            state: words(places.state.address(), plan.state.posted)?,
            window: words(places.window.address(), plan.window.box_stamp)?,
            rank: rank.rank(),
            nodes: u64::from(plan.topology.nodes()),
            ranks: u64::from(plan.topology.ranks()),
        })
    }

    /// Word of a `[C][N]` array of the state.
    fn state_n(&self, name: &'static str, array: u64, channel: u64, node: u32) -> End {
        End { rank: self.rank, name, at: self.state[((array / 8) + channel * self.nodes) as usize + node as usize] }
    }

    fn state_r(&self, name: &'static str, array: u64, channel: u64, rank: u32) -> End {
        End { rank: self.rank, name, at: self.state[((array / 8) + channel * self.ranks) as usize + rank as usize] }
    }

    fn window_n(&self, name: &'static str, array: u64, channel: u64, node: u32) -> End {
        End { rank: self.rank, name, at: self.window[((array / 8) + channel * self.nodes) as usize + node as usize] }
    }

    fn window_r(&self, name: &'static str, array: u64, channel: u64, rank: u32) -> End {
        End { rank: self.rank, name, at: self.window[((array / 8) + channel * self.ranks) as usize + rank as usize] }
    }
}

/// Where one end of a flow stands.
#[derive(Debug, PartialEq, Eq)]
struct End {
    rank: u32,
    name: &'static str,
    at: u64,
}

/// Checks all flows of a world at rest.
pub fn check_positions(ranks: &[Communicator], machine: &EmuMachine) -> Result<(), String> {
    // Credit that went out last may still be on its way.
    machine.with(|machine| machine.run_until_idle()).map_err(|fault| format!("at rest: {fault}"))?;
    let Some(first) = ranks.first() else { return Ok(()) };
    let plan = first.plan();
    let (topology, state, window) = (plan.topology, &plan.state, &plan.window);
    let all: Vec<Ends> = ranks.iter().map(|rank| Ends::read(rank, machine)).collect::<Result<_, _>>()?;
    let of = |node: u32, local: u32| &all[topology.rank(node, local) as usize];
    for (channel, (from, to, local)) in channels_and_rails(topology, u64::from(plan.tuning.channels)) {
        let (sender, taker) = (of(from, local), of(to, local));
        same(&[
            sender.state_n("dispatch_send_position", state.dispatch_send_position, channel, to),
            taker.window_n("dispatch_forward_tail", window.dispatch_forward_tail, channel, from),
            taker.state_n("dispatch_forward_in", state.dispatch_forward_in, channel, from),
            taker.state_n("dispatch_forward_credited", state.dispatch_forward_credited, channel, from),
            sender.window_n("dispatch_send_head", window.dispatch_send_head, channel, to),
        ])?;
        same(&[
            sender.state_n("combine_forward_out", state.combine_forward_out, channel, to),
            taker.window_n("combine_sum_tail", window.combine_sum_tail, channel, from),
            taker.state_n("combine_sum_in", state.combine_sum_in, channel, from),
            taker.state_n("combine_sum_credited", state.combine_sum_credited, channel, from),
            sender.window_n("combine_send_head", window.combine_send_head, channel, to),
        ])?;
    }
    // Rows of a source go by the rank of its rail on each node, to and from every rank there.
    for (channel, (source_node, node, local)) in channels_and_pairs(topology, u64::from(plan.tuning.channels)) {
        let (source, by) = (topology.rank(source_node, local), of(node, local));
        for other in 0..topology.gpus_per_node() {
            let (end, flow) = (of(node, other), topology.rank(source_node, other));
            same(&[
                by.state_r("dispatch_forward_out", state.dispatch_forward_out, channel, flow),
                end.window_r("dispatch_receive_tail", window.dispatch_receive_tail, channel, source),
                end.state_r("dispatch_receive_position", state.dispatch_receive_position, channel, source),
                by.window_r("dispatch_receive_head", window.dispatch_receive_head, channel, flow),
            ])?;
            same(&[
                end.state_r("combine_send_position", state.combine_send_position, channel, source),
                by.window_r("combine_partial_tail", window.combine_partial_tail, channel, flow),
                by.state_r("combine_forward_in", state.combine_forward_in, channel, flow),
                end.window_r("combine_partial_head", window.combine_partial_head, channel, source),
            ])?;
        }
    }
    Ok(())
}

/// Every channel with every two nodes and index in them.
fn channels_and_pairs(topology: Topology, channels: u64) -> impl Iterator<Item = (u64, (u32, u32, u32))> {
    let (nodes, gpus) = (topology.nodes(), topology.gpus_per_node());
    let pairs = move || (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to)));
    let all = move || pairs().flat_map(move |(from, to)| (0..gpus).map(move |local| (from, to, local)));
    (0..channels).flat_map(move |channel| all().map(move |pair| (channel, pair)))
}

/// The same, of different nodes.
fn channels_and_rails(topology: Topology, channels: u64) -> impl Iterator<Item = (u64, (u32, u32, u32))> {
    channels_and_pairs(topology, channels).filter(|(_, (from, to, _))| from != to)
}

fn same(ends: &[End]) -> Result<(), String> {
    if ends.iter().all(|end| end.at == ends[0].at) {
        return Ok(());
    }
    let told: Vec<String> =
        ends.iter().map(|End { rank, name, at }| format!("{name} of rank {rank} is {at}")).collect();
    Err(format!("at rest, ends of a flow differ, expected the same: {}", told.join(", ")))
}
