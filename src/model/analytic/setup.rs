//! Layout and exchange: what a dispatch takes before rows move.

use super::acts::{Acts, Code, PLAIN};
use super::settings::Settings;

/// The layout kernel without a token.
const LAYOUT: Code = Code { instructions: 250.0, exchanges: 20.0, loads: 20.0, ..PLAIN };
/// 32 tokens of a channel, and of each choice and node.
const LAYOUT_TURN: Code = Code { instructions: 90.0, exchanges: 6.0, loads: 4.0, ..PLAIN };
/// The exchange kernel without a channel: boxes written, told, awaited and read.
const EXCHANGE: Code = Code { instructions: 900.0, exchanges: 40.0, loads: 90.0, ..PLAIN };
/// A channel in its running sums.
const EXCHANGE_CHANNEL: Code = Code { instructions: 60.0, loads: 8.0, ..PLAIN };
/// A turn of its threads over (channel, rank) or (node, channel, rank) counts.
const EXCHANGE_TURN: Code = Code { instructions: 60.0, loads: 5.0, ..PLAIN };
/// Warps of the layout kernel, and threads of the exchange kernel.
const LAYOUT_WARPS: f64 = 32.0;
const EXCHANGE_THREADS: f64 = 512.0;

/// Layout in microseconds: its warps take channels by turns, each 32 tokens at once.
pub(super) fn layout_us(acts: &Acts<'_>, settings: &Settings) -> f64 {
    let channels = (settings.channels / LAYOUT_WARPS).ceil();
    let turns = channels * (settings.channel_tokens / 32.0).ceil();
    let nodes = (settings.nodes / 32.0).ceil();
    (acts.launch_ns() + acts.code(LAYOUT).ns + acts.code(LAYOUT_TURN).times(turns * nodes).ns) / 1e3
}

/// Exchange in microseconds: a box to every rail peer, rows of counts within the node, sums over channels.
pub(super) fn exchange_us(acts: &Acts<'_>, settings: &Settings) -> f64 {
    let counts = settings.channels * settings.ranks;
    let turns = (counts / EXCHANGE_THREADS).ceil();
    let others = settings.nodes - 1.0;
    // One warp posts a box after another; the wire carries them meanwhile.
    let away_ns = if others > 0.0 { acts.message_ns(settings.crosses_leaves) + acts.doorbell_ns() } else { 0.0 };
    let box_bytes = 4.0 * settings.channels * (settings.gpus + 1.0) * others;
    let wire_ns = Acts::at_rate_ns(box_bytes, acts.timing().nic.rate);
    let code = acts.code(EXCHANGE)
        + acts.code(EXCHANGE_CHANNEL).times(settings.channels)
        + acts.code(EXCHANGE_TURN).times(turns);
    (acts.launch_ns() + code.ns + away_ns + wire_ns + 2.0 * (acts.one_way_ns() + acts.fence_ns())) / 1e3
}
