//! Dispatch: sending between nodes, forwarding within, receiving.

use super::acts::{Acts, Code, Work, PLAIN};
use super::claims::{chunk, moving, scan_ns, Rows};
use super::settings::{bulk_parts, Moved, Settings};
use super::terms::{Part, Terms, SHARPNESS};

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
/// So many elements of a row that is quantized: read, largest found, scaled, stored.
const QUANTIZED_AT_ONCE: f64 = 256.0;
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

/// What the kinds of stream share.
struct Common<'a> {
    acts: &'a Acts<'a>,
    settings: &'a Settings,
    fence: Work,
    scan_ns: f64,
    scale_turns: f64,
    /// Messages of a flow between two nodes.
    messages: f64,
}

/// The breakdown of the dispatch kernel.
pub(super) fn terms(acts: &Acts<'_>, settings: &Settings, moved: &Moved) -> Terms {
    let others = settings.nodes - 1.0;
    let common = Common {
        acts,
        settings,
        fence: Work::default().wait(acts.fence_ns()),
        scan_ns: scan_ns(acts, settings.dispatch_words, settings.queues),
        scale_turns: (settings.scales / 32.0).ceil(),
        messages: settings.channel_tokens * settings.load.away / others.max(1.0),
    };
    let kinds = Kinds { send: common.send(), own: common.own(), ring: common.ring(), receive: common.receive() };
    let work = kinds.work().times(settings.sm_channels);
    let mut parts = moved.parts(acts, settings, kinds.send.chunk);
    let first_round_ns = meet(&mut parts, others, &kinds.send);
    parts.extend(common.bulk());
    parts.extend([
        (Part::Issue, acts.issue_ns(work.instructions)),
        (Part::Workers, work.ns / settings.dispatch_workers),
        (Part::Stream, kinds.stream_ns()),
    ]);
    parts.extend(common.rings(&kinds));
    Terms::new(parts, SHARPNESS, common.fill_ns(&kinds) + first_round_ns)
}

/// Lets messages meet at NICs that several nodes send to; how long the first round of puts waits there.
fn meet(parts: &mut [(Part, f64)], others: f64, send: &Kind) -> f64 {
    let is_nic = |part: &&mut (Part, f64)| part.0.is_nic();
    let nic_ns = parts.iter_mut().filter(is_nic).fold(0.0_f64, |most, part| most.max(part.1));
    if others <= 1.0 {
        return 0.0;
    }
    parts.iter_mut().filter(is_nic).for_each(|part| part.1 *= MEETING);
    let round = (send.chunk / send.messages.max(1.0)).min(1.0);
    nic_ns * round * FIRST_ROUND * (1.0 - 1.0 / others)
}

/// The four kinds of stream.
struct Kinds {
    send: Kind,
    own: Kind,
    ring: Kind,
    receive: Kind,
}

impl Kinds {
    fn all(&self) -> [&Kind; 4] {
        [&self.send, &self.own, &self.ring, &self.receive]
    }

    /// Of a channel.
    fn work(&self) -> Work {
        self.all().iter().fold(Work::default(), |sum, kind| sum + kind.work())
    }

    fn stream_ns(&self) -> f64 {
        self.all().iter().filter(|kind| kind.streams > 0.0).fold(0.0, |most, kind| most.max(kind.stream_ns()))
    }
}

impl Common<'_> {
    fn others(&self) -> f64 {
        self.settings.nodes - 1.0
    }

    /// Rows whose header takes `header`, each stored `copies` times.
    fn rows(&self, header: Work, copies: f64, of_hbm: bool) -> Rows {
        let bytes = self.settings.header_bytes + self.settings.row_bytes;
        Rows { bytes, piece_bytes: self.settings.piece_bytes, copies, header, of_hbm }
    }

    /// A header made of a token's choices, and its row quantized where it is.
    fn build(&self) -> Work {
        self.acts.code(BUILD)
            + self.acts.code(SCALES_IN).times(self.scale_turns)
            + self.acts.code(QUANTIZE).times(self.settings.quantized_elements / QUANTIZED_AT_ONCE)
    }

    /// Between nodes, into the ring that the NIC reads.
    fn send(&self) -> Kind {
        let (acts, messages) = (self.acts, self.messages);
        let drain_ns = acts.drain_local_ns(self.settings.piece_bytes);
        let end = self.fence.wait(drain_ns) + acts.code(SENT).wait(acts.doorbell_ns());
        let chunk = chunk(self.settings.chunk_ib, messages);
        let claim = moving(acts, SEND, &self.rows(self.build(), 1.0, true), chunk, end);
        Kind { messages, streams: self.others(), claim, chunk, gap_ns: 0.0 }
    }

    /// The drain behind rows that went to all ranks of a node that a token goes to.
    fn forwarded(&self) -> Work {
        self.fence.wait(self.acts.drain_peer_ns(self.settings.piece_bytes * self.settings.load.ranks_of_node()))
    }

    /// Own tokens to ranks of the own node.
    fn own(&self) -> Kind {
        let copies = self.settings.load.ranks_of_node();
        let messages = self.settings.channel_tokens * self.settings.load.home();
        let chunk = chunk(self.settings.chunk_nv, messages);
        let rows = self.rows(self.build() + self.acts.code(LIST), copies, true);
        let end = self.forwarded() + self.acts.code(FORWARDED);
        Kind { messages, streams: 1.0, claim: moving(self.acts, FORWARD_OWN, &rows, chunk, end), chunk, gap_ns: 0.0 }
    }

    /// Messages of another node to ranks of this one.
    fn ring(&self) -> Kind {
        let (acts, load) = (self.acts, &self.settings.load);
        let chunk = chunk(self.settings.chunk_nv, self.messages);
        let credits = (chunk / self.settings.credit_ib).min(1.0);
        let credit = acts.code(CREDIT).wait(acts.doorbell_ns()).times(credits);
        let rows = self.rows(acts.code(READ) + acts.code(LIST), load.ranks_of_node(), false);
        let end = self.forwarded() + acts.code(FORWARDED_RING) + credit;
        Kind {
            messages: self.messages * load.node_most,
            streams: self.others(),
            claim: moving(acts, FORWARD_RING, &rows, chunk, end),
            chunk,
            gap_ns: self.scan_ns / 2.0,
        }
    }

    /// Rows from a ring to the output; where rows land, one look a flow.
    fn receive(&self) -> Kind {
        let (acts, settings) = (self.acts, self.settings);
        let messages = settings.flow_messages();
        let (streams, gap_ns) = (settings.ranks, self.scan_ns / 2.0);
        if settings.lands {
            return Kind { messages: messages.min(1.0), streams, claim: acts.code(RECEIVE), chunk: 1.0, gap_ns };
        }
        let place = acts.code(PLACE) + acts.code(SCALES_OUT).times(self.scale_turns);
        let chunk = chunk(settings.chunk_nv, messages);
        let end = self.fence.wait(acts.drain_local_ns(settings.piece_bytes)) + acts.code(RECEIVED);
        let rows = self.rows(place, settings.row_copies, false);
        Kind { messages, streams, claim: moving(acts, RECEIVE, &rows, chunk, end), chunk, gap_ns }
    }

    /// Bulk loads and stores of an SM.
    fn bulk(&self) -> [(Part, f64); 2] {
        let (settings, load) = (self.settings, &self.settings.load);
        let tokens = settings.channel_tokens;
        let slots = (settings.header_bytes + settings.row_bytes) * settings.sm_channels;
        let received = if settings.lands { 0.0 } else { tokens * load.ranks * load.rank_most };
        let sent = tokens * load.away;
        let loads = sent + tokens * load.home() + sent * load.node_most + received;
        let stores = sent + tokens * load.ranks * load.relay_most + received * settings.row_copies;
        bulk_parts(self.acts, loads * slots, stores * slots)
    }

    /// Rings: a slot is away from when its message is begun to when its credit is back.
    fn rings(&self, kinds: &Kinds) -> [(Part, f64); 2] {
        let (acts, settings) = (self.acts, self.settings);
        let ways_ns = 2.0 * (acts.message_ns(settings.crosses_leaves) + self.scan_ns / 2.0);
        let between_ns = kinds.send.claim.ns + kinds.ring.claim.ns + ways_ns + acts.doorbell_ns();
        let between = if self.others() > 0.0 { self.messages * between_ns / settings.depth_ib } else { 0.0 };
        let ways_ns = 2.0 * (acts.one_way_ns() + self.scan_ns / 2.0);
        let within_ns = self.forward_ns(kinds) + kinds.receive.claim.ns + ways_ns;
        let within = if settings.lands { 0.0 } else { settings.flow_messages() * within_ns / settings.depth_nv };
        [(Part::RingsBetween, between), (Part::RingsWithin, within)]
    }

    /// The longer claim of those that forward.
    fn forward_ns(&self, kinds: &Kinds) -> f64 {
        let ring_ns = if self.others() > 0.0 { kinds.ring.claim.ns } else { 0.0 };
        kinds.own.claim.ns.max(ring_ns)
    }

    /// The first message's way, a claim at each stage.
    fn fill_ns(&self, kinds: &Kinds) -> f64 {
        let acts = self.acts;
        let away_ns = kinds.send.claim.ns + acts.message_ns(self.settings.crosses_leaves) + self.scan_ns / 2.0;
        let between_ns = if self.others() > 0.0 { away_ns } else { 0.0 };
        let within_ns = self.forward_ns(kinds) + kinds.receive.claim.ns + acts.one_way_ns() + self.scan_ns;
        self.settings.start_ns(acts) + between_ns + within_ns
    }
}
