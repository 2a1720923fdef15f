//! Combine: sending within a node, sums of a node, sums of nodes.

use super::acts::{Acts, Code, Work};
use super::claims::{moving, scan_ns, sum, summing, Rows};
use super::settings::{Moved, Settings};
use super::terms::{Part, Terms, SHARPNESS};

const PLAIN: Code = Code { instructions: 0.0, exchanges: 0.0, shared: 0.0, atomics: 0.0, loads: 0.0, copies: 0.0 };
const SEND: Code = Code { instructions: 75.0, exchanges: 3.0, loads: 8.0, ..PLAIN };
const FORWARD: Code = Code { instructions: 130.0, exchanges: 5.0, loads: 13.0, atomics: 1.0, ..PLAIN };
const RECEIVE: Code = Code { instructions: 60.0, exchanges: 2.0, loads: 4.0, ..PLAIN };
/// Positions of the sums of 32 nodes.
const RECEIVE_NODES: Code = Code { instructions: 45.0, exchanges: 1.0, loads: 7.0, ..PLAIN };
const SENT: Code = Code { instructions: 30.0, exchanges: 1.0, loads: 4.0, ..PLAIN };
const FORWARDED: Code = Code { instructions: 165.0, exchanges: 2.0, loads: 17.0, ..PLAIN };
const RECEIVED: Code = Code { instructions: 45.0, exchanges: 1.0, loads: 5.0, ..PLAIN };
/// What is told to 32 nodes, and credit over the NIC.
const RECEIVED_NODES: Code = Code { instructions: 40.0, loads: 3.0, ..PLAIN };
const CREDIT: Code = Code { instructions: 90.0, loads: 8.0, ..PLAIN };
const HEADER: Code = Code { instructions: 35.0, exchanges: 3.0, loads: 1.0, ..PLAIN };
/// Finding the terms of a message: of the own node, and of 32 others.
const TERMS: Code = Code { instructions: 75.0, exchanges: 5.0, shared: 5.0, loads: 4.0, ..PLAIN };
const TERMS_NODES: Code = Code { instructions: 55.0, exchanges: 2.0, shared: 2.0, loads: 3.0, ..PLAIN };

/// Exponent that joins the chain. Between nodes, sums of a node, NIC and sums of nodes wait for each other by the chunk: the more
/// chunks fit in a ring (`windows`) the better they overlap, and the less the more nodes a token's sum waits for. Fitted: the
/// three numbers.
fn coupling(nodes: f64, windows: f64) -> f64 {
    if nodes <= 1.0 {
        return SHARPNESS;
    }
    (1.0 + (0.35 + 1.4 / nodes) * (windows / 2.0).powf(1.4)).min(SHARPNESS)
}

/// The breakdown of the combine kernel.
pub(super) fn terms(acts: &Acts<'_>, settings: &Settings, moved: &Moved) -> Terms {
    let load = &settings.load;
    let (nodes, ranks) = (settings.nodes, settings.ranks);
    let others = nodes - 1.0;
    let node_turns = if others > 0.0 { (nodes / 32.0).ceil() } else { 0.0 };
    let tokens = settings.channel_tokens;
    let slot = settings.sum_header_bytes + settings.sum_row_bytes;
    let fence = Work::default().wait(acts.fence_ns());
    let scan = scan_ns(acts, settings.combine_words, settings.queues);
    let used_bytes = slot as u32;

    // Sending within the node.
    let rows = Rows {
        bytes: slot,
        piece_bytes: settings.sum_piece_bytes,
        copies: 1.0,
        header: acts.code(HEADER),
        of_hbm: true,
    };
    let messages = tokens * load.ranks / ranks * load.rank_most;
    let chunk_nv = settings.chunk_nv.min(messages.max(1.0));
    let send_end = fence.wait(acts.drain_peer_ns(settings.sum_piece_bytes)) + acts.code(SENT);
    let send_claim = if settings.pairs_of_row > 1.0 {
        let message = sum(acts, settings.pairs_of_row, used_bytes, settings.stage_bytes) + acts.code(TERMS);
        summing(acts, SEND, message, chunk_nv, send_end)
    } else {
        moving(acts, SEND, &rows, chunk_nv, send_end)
    };
    let send_claims = messages / chunk_nv.max(f64::MIN_POSITIVE);

    // Sums of the node for others.
    let here = load.ranks_of_node();
    let summed = tokens * load.away / others.max(1.0) * load.node_most;
    let chunk_ib = settings.chunk_ib.min(summed.max(1.0));
    let node_sum = sum(acts, here, used_bytes, settings.stage_bytes) + acts.code(TERMS);
    let forward_end = fence.wait(acts.drain_local_ns(1024.0)) + acts.code(FORWARDED).wait(acts.doorbell_ns());
    let forward_claim = summing(acts, FORWARD, node_sum, chunk_ib, forward_end);
    let forward_claims = if others > 0.0 { summed / chunk_ib.max(f64::MIN_POSITIVE) } else { 0.0 };

    // Sums of nodes.
    let terms = load.home() * here + load.away;
    let token_chunk = settings.chunk_nv.min(tokens.max(1.0));
    let token_sum = sum(acts, terms, used_bytes, settings.stage_bytes)
        + acts.code(TERMS)
        + acts.code(TERMS_NODES).times(node_turns);
    let credits = (load.away * token_chunk / settings.credit_ib).min(1.0);
    let receive_end = fence.wait(acts.drain_local_ns(1024.0))
        + acts.code(RECEIVED)
        + acts.code(RECEIVED_NODES).times(node_turns)
        + acts.code(CREDIT).wait(acts.doorbell_ns()).times(credits);
    let receive_claim =
        summing(acts, RECEIVE, token_sum, token_chunk, receive_end) + acts.code(RECEIVE_NODES).times(node_turns);
    let receive_claims = tokens / token_chunk.max(f64::MIN_POSITIVE);

    let work = (send_claim.times(send_claims * ranks)
        + forward_claim.times(forward_claims * others)
        + receive_claim.times(receive_claims))
    .times(settings.sm_channels);
    let stream_ns = (send_claims * send_claim.ns).max(receive_claims * receive_claim.ns);
    let node_stream_ns = forward_claims * forward_claim.ns;

    // Rings: partial rows wait in their slots until the claim that adds them ends; sums until the claim of their token does.
    let within_ns = send_claim.ns + 2.0 * (acts.one_way_ns() + scan / 2.0);
    let takes_ns = receive_claim.ns.max(if others > 0.0 { forward_claim.ns } else { 0.0 });
    let rings_within = messages * (within_ns + takes_ns) / settings.depth_nv;
    let away_ns = acts.message_ns(settings.crosses_leaves);
    let between_ns = forward_claim.ns + receive_claim.ns + 2.0 * (away_ns + scan / 2.0) + acts.doorbell_ns();
    let rings_between = if others > 0.0 { summed * between_ns / settings.depth_ib } else { 0.0 };

    let partials = tokens * load.ranks * load.rank_most;
    let sums = tokens * load.away * load.node_most;
    let loads = (partials + tokens * load.ranks * load.relay_most + tokens * load.away) * slot * settings.sm_channels;
    let stores = (partials + sums + tokens) * slot * settings.sm_channels;

    let mut parts = moved.parts(acts, settings, chunk_ib);
    parts.extend([
        (Part::SmLoads, Acts::at_rate_ns(loads, acts.timing().gpu.sm_load_rate)),
        (Part::SmStores, Acts::at_rate_ns(stores, acts.timing().gpu.sm_store_rate)),
        (Part::Issue, acts.issue_ns(work.instructions)),
        (Part::Workers, work.ns / settings.combine_workers),
        (Part::Stream, stream_ns),
        (Part::NodeStream, node_stream_ns),
        (Part::RingsBetween, rings_between),
        (Part::RingsWithin, rings_within),
    ]);
    let between_fill = if others > 0.0 { forward_claim.ns + away_ns + scan / 2.0 } else { 0.0 };
    let fill_ns =
        settings.start_ns(acts) + send_claim.ns + acts.one_way_ns() + scan + between_fill + receive_claim.ns / 2.0;
    Terms::new(parts, coupling(nodes, settings.depth_ib / settings.chunk_ib), fill_ns)
}
