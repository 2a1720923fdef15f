//! Dispatch: sending between nodes, forwarding within, receiving.

use super::acts::{Acts, Code, Work};
use super::claims::{moving, scan_ns, Rows};
use super::settings::{Moved, Settings};
use super::terms::{Part, Terms, SHARPNESS};

const PLAIN: Code = Code { instructions: 0.0, exchanges: 0.0, shared: 0.0, atomics: 0.0, loads: 0.0, copies: 0.0 };
/// What the NIC's time grows by since messages of several senders meet at one receiver, fitted.
const MEETING: f64 = 1.16;
/// Part of the first round of puts that waits at its receivers, fitted: all nodes begin with the same node.
const FIRST_ROUND: f64 = 0.5;
/// Beginnings of claims: positions, heads or tails, lists of tokens.
const SEND: Code = Code { instructions: 90.0, exchanges: 5.0, loads: 9.0, ..PLAIN };
const FORWARD_OWN: Code = Code { instructions: 80.0, exchanges: 2.0, loads: 6.0, ..PLAIN };
const FORWARD_RING: Code = Code { instructions: 130.0, exchanges: 6.0, loads: 12.0, atomics: 1.0, ..PLAIN };
const RECEIVE: Code = Code { instructions: 50.0, exchanges: 4.0, loads: 5.0, ..PLAIN };
/// Ends: what is stored and told.
const SENT: Code = Code { instructions: 130.0, exchanges: 2.0, loads: 12.0, ..PLAIN };
const FORWARDED: Code = Code { instructions: 45.0, exchanges: 1.0, loads: 4.0, ..PLAIN };
const FORWARDED_RING: Code = Code { instructions: 65.0, exchanges: 1.0, loads: 7.0, ..PLAIN };
const RECEIVED: Code = Code { instructions: 35.0, exchanges: 1.0, loads: 4.0, ..PLAIN };
/// Credit over the NIC.
const CREDIT: Code = Code { instructions: 90.0, loads: 8.0, ..PLAIN };
/// Headers: made of a token's choices, read, and read by who receives.
const BUILD: Code = Code { instructions: 60.0, exchanges: 3.0, loads: 4.0, ..PLAIN };
const READ: Code = Code { instructions: 30.0, exchanges: 1.0, shared: 3.0, loads: 1.0, ..PLAIN };
const LIST: Code = Code { instructions: 70.0, exchanges: 4.0, shared: 7.0, loads: 2.0, ..PLAIN };
const PLACE: Code = Code { instructions: 70.0, exchanges: 2.0, shared: 4.0, ..PLAIN };
/// 32 scales of a row, made or given; and stored.
const SCALES_IN: Code = Code { instructions: 16.0, loads: 1.0, ..PLAIN };
const SCALES_OUT: Code = Code { instructions: 12.0, shared: 1.0, ..PLAIN };
/// 256 elements of a row that is quantized: read, largest found, scaled, stored.
const QUANTIZE: Code = Code { instructions: 90.0, exchanges: 5.0, shared: 2.0, ..PLAIN };

/// Claims of the four kinds of stream: of one channel's stream and how many a channel has.
struct Kind {
    /// Messages of one stream.
    messages: f64,
    /// Streams of a channel.
    streams: f64,
    /// A claim.
    claim: Work,
    /// Messages of a claim.
    chunk: f64,
    /// From one claim of a stream to the next.
    gap_ns: f64,
}

impl Kind {
    fn claims(&self) -> f64 {
        self.messages / self.chunk.max(f64::MIN_POSITIVE)
    }

    fn stream_ns(&self) -> f64 {
        self.claims() * (self.claim.ns + self.gap_ns)
    }

    fn work(&self) -> Work {
        self.claim.times(self.claims() * self.streams)
    }
}

/// The breakdown of the dispatch kernel.
pub(super) fn terms(acts: &Acts<'_>, settings: &Settings, moved: &Moved) -> Terms {
    let load = &settings.load;
    let (nodes, ranks) = (settings.nodes, settings.ranks);
    let others = nodes - 1.0;
    let tokens = settings.channel_tokens;
    let (header, row) = (settings.header_bytes, settings.row_bytes);
    let scale_turns = (settings.scales / 32.0).ceil();
    let build = acts.code(BUILD)
        + acts.code(SCALES_IN).times(scale_turns)
        + acts.code(QUANTIZE).times(settings.quantized_elements / 256.0);
    let rows = |header_work: Work, copies: f64, of_hbm: bool| Rows {
        bytes: header + row,
        piece_bytes: settings.piece_bytes,
        copies,
        header: header_work,
        of_hbm,
    };
    let fence = Work::default().wait(acts.fence_ns());
    let scan = scan_ns(acts, settings.dispatch_words, settings.queues);
    let copies = load.ranks_of_node();

    let send_rows = rows(build, 1.0, true);
    let send_end = fence.wait(acts.drain_local_ns(settings.piece_bytes)) + acts.code(SENT).wait(acts.doorbell_ns());
    let messages = tokens * load.away / others.max(1.0);
    let chunk_ib = settings.chunk_ib.min(messages.max(1.0));
    let send = Kind {
        messages,
        streams: others,
        claim: moving(acts, SEND, &send_rows, chunk_ib, send_end),
        chunk: chunk_ib,
        gap_ns: 0.0,
    };

    let list = acts.code(LIST);
    let own_rows = rows(build + list, copies, true);
    let own_end = fence.wait(acts.drain_peer_ns(settings.piece_bytes * copies)) + acts.code(FORWARDED);
    let own_messages = tokens * load.home();
    let own_chunk = settings.chunk_nv.min(own_messages.max(1.0));
    let own = Kind {
        messages: own_messages,
        streams: 1.0,
        claim: moving(acts, FORWARD_OWN, &own_rows, own_chunk, own_end),
        chunk: own_chunk,
        gap_ns: 0.0,
    };

    let ring_rows = rows(acts.code(READ) + list, copies, false);
    let ring_chunk = settings.chunk_nv.min(messages.max(1.0));
    let credit = acts.code(CREDIT).wait(acts.doorbell_ns()).times((ring_chunk / settings.credit_ib).min(1.0));
    let ring_end = fence.wait(acts.drain_peer_ns(settings.piece_bytes * copies)) + acts.code(FORWARDED_RING) + credit;
    let ring = Kind {
        messages: messages * load.node_most,
        streams: others,
        claim: moving(acts, FORWARD_RING, &ring_rows, ring_chunk, ring_end),
        chunk: ring_chunk,
        gap_ns: scan / 2.0,
    };

    let place = acts.code(PLACE) + acts.code(SCALES_OUT).times(scale_turns);
    let receive_rows = rows(place, settings.row_copies, false);
    let arrivals = tokens * load.ranks / ranks * load.rank_most;
    let receive_chunk = settings.chunk_nv.min(arrivals.max(1.0));
    let receive_end = fence.wait(acts.drain_local_ns(settings.piece_bytes)) + acts.code(RECEIVED);
    let receive_claim = moving(acts, RECEIVE, &receive_rows, receive_chunk, receive_end);
    let receive = if settings.lands {
        // One look a flow: nothing is moved.
        Kind { messages: arrivals.min(1.0), streams: ranks, claim: acts.code(RECEIVE), chunk: 1.0, gap_ns: scan / 2.0 }
    } else {
        Kind { messages: arrivals, streams: ranks, claim: receive_claim, chunk: receive_chunk, gap_ns: scan / 2.0 }
    };

    let kinds = [&send, &own, &ring, &receive];
    let work = kinds.iter().fold(Work::default(), |sum, kind| sum + kind.work()).times(settings.sm_channels);
    let stream_ns = kinds.iter().fold(0.0_f64, |most, kind| most.max(kind.stream_ns()));

    // Rings: a slot is away from when its message is begun to when its credit is back.
    let away_ns = acts.message_ns(settings.crosses_leaves);
    let between_ns = send.claim.ns + ring.claim.ns + 2.0 * (away_ns + scan / 2.0) + acts.doorbell_ns();
    let rings_between = if others > 0.0 { messages * between_ns / settings.depth_ib } else { 0.0 };
    let forward_ns = own.claim.ns.max(if others > 0.0 { ring.claim.ns } else { 0.0 });
    let within_ns = forward_ns + receive.claim.ns + 2.0 * (acts.one_way_ns() + scan / 2.0);
    let rings_within = if settings.lands { 0.0 } else { arrivals * within_ns / settings.depth_nv };

    let slot = header + row;
    let forwarded = tokens * load.ranks * load.relay_most;
    let received = if settings.lands { 0.0 } else { tokens * load.ranks * load.rank_most };
    let sent = tokens * load.away;
    let loads = (sent + tokens * load.home() + sent * load.node_most + received) * slot * settings.sm_channels;
    let stores = (sent + forwarded + received * settings.row_copies) * slot * settings.sm_channels;

    let mut parts = moved.parts(acts, settings, chunk_ib);
    let nic_ns = parts.iter().filter(|(part, _)| part.is_nic()).fold(0.0_f64, |most, (_, ns)| most.max(*ns));
    if others > 1.0 {
        parts.iter_mut().filter(|(part, _)| part.is_nic()).for_each(|(_, ns)| *ns *= MEETING);
    }
    let first_round_ns = nic_ns * (chunk_ib / messages.max(1.0)).min(1.0) * FIRST_ROUND * (1.0 - 1.0 / others.max(1.0));
    parts.extend([
        (Part::SmLoads, Acts::at_rate_ns(loads, acts.timing().gpu.sm_load_rate)),
        (Part::SmStores, Acts::at_rate_ns(stores, acts.timing().gpu.sm_store_rate)),
        (Part::Issue, acts.issue_ns(work.instructions)),
        (Part::Workers, work.ns / settings.dispatch_workers),
        (Part::Stream, stream_ns),
        (Part::RingsBetween, rings_between),
        (Part::RingsWithin, rings_within),
    ]);
    let between_fill = if others > 0.0 { send.claim.ns + away_ns + scan / 2.0 } else { 0.0 };
    let fill_ns = settings.start_ns(acts)
        + between_fill
        + forward_ns
        + receive.claim.ns
        + acts.one_way_ns()
        + scan
        + first_round_ns;
    Terms::new(parts, SHARPNESS, fill_ns)
}
