//! Combine: sending within a node, sums of a node, sums of nodes.

use super::acts::{Acts, Code, Work, PLAIN};
use super::claims::{chunk, moving, scan_ns, sum, summing, Rows};
use super::settings::{bulk_parts, Moved, Settings};
use super::terms::{Part, Terms, SHARPNESS};

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
/// Bytes of a result's last store.
const RESULT_BYTES: f64 = 1024.0;
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
    let scan_ns = scan_ns(acts, settings.combine_words, settings.queues);
    let streams = Streams::new(acts, settings);
    let work = streams.work(settings);
    let mut parts = moved.parts(acts, settings, streams.forward.chunk);
    parts.extend(bulk(acts, settings));
    parts.extend([
        (Part::Issue, acts.issue_ns(work.instructions)),
        (Part::Workers, work.ns / settings.combine_workers),
        (Part::Stream, streams.send.ns().max(streams.receive.ns())),
        (Part::NodeStream, streams.forward.ns()),
    ]);
    parts.extend(rings(acts, settings, &streams, scan_ns));
    let away_ns = streams.forward.claim.ns + acts.message_ns(settings.crosses_leaves) + scan_ns / 2.0;
    let between_ns = if settings.nodes > 1.0 { away_ns } else { 0.0 };
    let send_ns = streams.send.claim.ns + acts.one_way_ns() + scan_ns;
    // A stream that is awaited begins in the middle of a claim, on average.
    let fill_ns = settings.start_ns(acts) + send_ns + between_ns + streams.receive.claim.ns / 2.0;
    Terms::new(parts, coupling(settings.nodes, settings.depth_ib / settings.chunk_ib), fill_ns)
}

/// One stream of a kind.
struct Stream {
    messages: f64,
    chunk: f64,
    claim: Work,
}

impl Stream {
    fn claims(&self) -> f64 {
        self.messages / self.chunk.max(f64::MIN_POSITIVE)
    }

    fn ns(&self) -> f64 {
        self.claims() * self.claim.ns
    }
}

/// The three kinds.
struct Streams {
    send: Stream,
    forward: Stream,
    receive: Stream,
}

impl Streams {
    fn new(acts: &Acts<'_>, settings: &Settings) -> Streams {
        let fence = Work::default().wait(acts.fence_ns());
        Streams {
            send: send(acts, settings, fence),
            forward: forward(acts, settings, fence),
            receive: receive(acts, settings, fence),
        }
    }

    /// Of an SM.
    fn work(&self, settings: &Settings) -> Work {
        let of = |stream: &Stream, streams: f64| stream.claim.times(stream.claims() * streams);
        let channel = of(&self.send, settings.ranks) + of(&self.forward, settings.nodes - 1.0) + of(&self.receive, 1.0);
        channel.times(settings.sm_channels)
    }
}

fn slot_bytes(settings: &Settings) -> f64 {
    settings.sum_header_bytes + settings.sum_row_bytes
}

/// The sum of so many terms of a message.
fn sum_of(acts: &Acts<'_>, settings: &Settings, terms: f64) -> Work {
    sum(acts, terms, slot_bytes(settings) as u32, settings.stage_bytes) + acts.code(TERMS)
}

/// Within the node: rows, or sums of a token's rows where these are by expert.
fn send(acts: &Acts<'_>, settings: &Settings, fence: Work) -> Stream {
    let messages = settings.flow_messages();
    let chunk = chunk(settings.chunk_nv, messages);
    let piece_bytes = settings.sum_piece_bytes;
    let end = fence.wait(acts.drain_peer_ns(piece_bytes)) + acts.code(SENT);
    let rows = Rows { bytes: slot_bytes(settings), piece_bytes, copies: 1.0, header: acts.code(HEADER), of_hbm: true };
    let claim = if settings.pairs_of_row > 1.0 {
        summing(acts, SEND, sum_of(acts, settings, settings.pairs_of_row), chunk, end)
    } else {
        moving(acts, SEND, &rows, chunk, end)
    };
    Stream { messages, chunk, claim }
}

/// Sums of the node for another one.
fn forward(acts: &Acts<'_>, settings: &Settings, fence: Work) -> Stream {
    let load = &settings.load;
    let others = settings.nodes - 1.0;
    let messages = settings.channel_tokens * load.away / others.max(1.0) * load.node_most;
    let chunk = chunk(settings.chunk_ib, messages);
    let end = fence.wait(acts.drain_local_ns(RESULT_BYTES)) + acts.code(FORWARDED).wait(acts.doorbell_ns());
    let claim = summing(acts, FORWARD, sum_of(acts, settings, load.ranks_of_node()), chunk, end);
    Stream { messages: if others > 0.0 { messages } else { 0.0 }, chunk, claim }
}

/// Sums of own tokens: rows of the own node, sums of others.
fn receive(acts: &Acts<'_>, settings: &Settings, fence: Work) -> Stream {
    let load = &settings.load;
    let node_turns = if settings.nodes > 1.0 { (settings.nodes / 32.0).ceil() } else { 0.0 };
    let messages = settings.channel_tokens;
    let chunk = chunk(settings.chunk_nv, messages);
    let terms = load.home() * load.ranks_of_node() + load.away;
    let message = sum_of(acts, settings, terms) + acts.code(TERMS_NODES).times(node_turns);
    let credits = (load.away * chunk / settings.credit_ib).min(1.0);
    let end = fence.wait(acts.drain_local_ns(RESULT_BYTES))
        + acts.code(RECEIVED)
        + acts.code(RECEIVED_NODES).times(node_turns)
        + acts.code(CREDIT).wait(acts.doorbell_ns()).times(credits);
    let claim = summing(acts, RECEIVE, message, chunk, end) + acts.code(RECEIVE_NODES).times(node_turns);
    Stream { messages, chunk, claim }
}

/// Rings: partial rows wait in their slots until the claim that adds them ends; sums until the claim of their token does.
fn rings(acts: &Acts<'_>, settings: &Settings, streams: &Streams, scan_ns: f64) -> [(Part, f64); 2] {
    let Streams { send, forward, receive } = streams;
    let others = settings.nodes - 1.0;
    let takes_ns = receive.claim.ns.max(if others > 0.0 { forward.claim.ns } else { 0.0 });
    let within_ns = send.claim.ns + takes_ns + 2.0 * (acts.one_way_ns() + scan_ns / 2.0);
    let ways_ns = 2.0 * (acts.message_ns(settings.crosses_leaves) + scan_ns / 2.0);
    let between_ns = forward.claim.ns + receive.claim.ns + ways_ns + acts.doorbell_ns();
    [
        (Part::RingsBetween, forward.messages * between_ns / settings.depth_ib),
        (Part::RingsWithin, send.messages * within_ns / settings.depth_nv),
    ]
}

/// Bulk loads and stores of an SM.
fn bulk(acts: &Acts<'_>, settings: &Settings) -> [(Part, f64); 2] {
    let (load, tokens) = (&settings.load, settings.channel_tokens);
    let slots = slot_bytes(settings) * settings.sm_channels;
    let partials = tokens * load.ranks * load.rank_most;
    let loads = partials + tokens * load.ranks * load.relay_most + tokens * load.away;
    let stores = partials + tokens * load.away * load.node_most + tokens;
    bulk_parts(acts, loads * slots, stores * slots)
}
