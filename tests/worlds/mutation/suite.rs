//! What mutants are tried with: runs that go well, smallest first, then runs that must fail; and which checker spoke.

use std::panic::{catch_unwind, AssertUnwindSafe};

use std::sync::{Arc, Mutex, PoisonError};

use warpferry::driver::emu::EmuMachine;
use warpferry::kernel::image::KernelImage;

use super::kernel::Kernel;
use super::reach::{reached, Seen, Watch};
use crate::case::{Carried, Case, Format, Link, Ordered, Pattern, Scales};
use crate::damage::{Under, Word};
use crate::lanes::Lane;
use crate::play::{attempt_within, Bounds, Played};
use crate::trouble::{Act, Requests, Trouble};

/// Instructions of a run beyond those of the sound kernels, as a factor, before it counts as endless.
const PATIENCE: u64 = 6;

/// Schedules in which a run that must fail is tried again: one where ranks say the same in all of them leaves nothing to
/// chance, and what they say is compared for every mutant.
const SCHEDULES: [u64; 4] = [101, 102, 103, 104];

/// A run, and what it is with the sound kernels.
#[derive(Debug, Clone)]
pub struct Tried {
    pub case: Case,
    /// Warp instructions after which it counts as endless.
    limit: u64,
    /// What ranks say when it must fail.
    said: String,
    /// They say it in other schedules too: no mutant may change it.
    steady: bool,
    /// Instructions that it may come by, by kernel.
    reached: Vec<Vec<bool>>,
}

/// Which checker saw a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    Race,
    Bus,
    Misuse,
    Uninitialized,
    Bounds,
    Nic,
    Bits,
    Status,
    Hang,
    /// What ranks said differs from what the sound kernels say in the same schedule.
    Report,
    Other,
}

impl Checker {
    pub const ALL: [Checker; 11] = [
        Checker::Race,
        Checker::Bus,
        Checker::Misuse,
        Checker::Uninitialized,
        Checker::Bounds,
        Checker::Nic,
        Checker::Bits,
        Checker::Status,
        Checker::Hang,
        Checker::Report,
        Checker::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Checker::Race => "race",
            Checker::Bus => "bus",
            Checker::Misuse => "misuse",
            Checker::Uninitialized => "uninitialized",
            Checker::Bounds => "bounds",
            Checker::Nic => "nic",
            Checker::Bits => "bits",
            Checker::Status => "status",
            Checker::Hang => "hang",
            Checker::Report => "report",
            Checker::Other => "other",
        }
    }

    /// By the words of an error: the first that fits, since others follow from it.
    fn of(what: &str) -> Checker {
        let any = |words: &[&str]| words.iter().any(|word| what.contains(word));
        if any(&["data race"]) {
            Checker::Race
        } else if any(&["not visible to the bus"]) {
            Checker::Bus
        } else if any(&["nobody wrote"]) {
            Checker::Uninitialized
        } else if any(&[
            "no region at",
            "out of bounds",
            "was freed",
            "not permitted",
            "launch's contract",
            "not aligned",
        ]) {
            Checker::Bounds
        } else if any(&["mbarrier:", "barrier:", "bulk copy:", "member mask", "doorbell:"]) {
            Checker::Misuse
        } else if any(&["NIC violations", "nic:"]) {
            Checker::Nic
        } else if any(&["instructions", "nothing can move", "stalled"]) {
            Checker::Hang
        } else if any(&[
            "stops for no reason",
            "does not say",
            "does not stay broken",
            "nobody ",
            "is not told so",
            "at rest",
        ]) {
            Checker::Status
        } else if any(&["expected", "weights came back", "bytes crossed"]) && !any(&["reached its deadline"]) {
            Checker::Bits
        } else if any(&["status:", "ended", "rank "]) {
            Checker::Status
        } else {
            Checker::Other
        }
    }
}

/// A mutant that was caught.
#[derive(Debug, Clone)]
pub struct Caught {
    pub run: usize,
    pub checker: Checker,
    pub what: String,
}

/// All runs of a fabric.
pub fn runs(fabric: Link) -> Vec<Case> {
    let base = Case { fabric, races: true, ..Case::default() };
    let mut all = vec![
        Case { nodes: 2, gpus: 1, hidden: 8, tokens: vec![2, 1], ..base.clone() },
        Case { tokens: vec![5, 3], calls: 2, ..base.clone() },
        base.clone(),
        Case {
            nodes: 3,
            gpus: 2,
            experts_per_rank: 3,
            calls: 2,
            channels: 4,
            sms: vec![(2, 3), (3, 1)],
            ..base.clone()
        },
        Case { nodes: 1, gpus: 2, tokens: vec![9, 20], schedule: Some(11), ..base.clone() },
    ];
    all.extend(carried(&base));
    all.extend(landing(&base));
    for seed in 1..=6 {
        all.push(Case {
            calls: 2,
            seed,
            schedule: Some(seed),
            unordered: seed % 2 == 0 && fabric == Link::Mlx5,
            retransmit: seed % 2 == 1,
            read_before_post: seed % 3 != 1,
            piece_bytes: if seed % 2 == 0 { 64 } else { 4096 },
            outstanding: [16, 1, 4][seed as usize % 3],
            depth_ib: 2,
            depth_nv: 2,
            chunk_ib: 1,
            chunk_nv: 1,
            hidden: if seed % 3 == 0 { 2048 } else { 264 },
            workers: 4,
            sms: vec![(1 + seed as u32 % 2, 2)],
            tokens: vec![9, 13],
            ..base.clone()
        });
    }
    all.push(Case {
        hidden: 2056,
        tokens: vec![20, 17],
        topk: 6,
        depth_ib: 8,
        depth_nv: 8,
        chunk_ib: 4,
        chunk_nv: 4,
        pattern: Pattern::Skewed,
        schedule: Some(7),
        views: true,
        weights: vec![true, false],
        ..base.clone()
    });
    // More local ranks, nodes and channels than a warp has lanes; more tokens than the layout has threads.
    let wide = Case { experts_per_rank: 1, tokens: vec![2, 1], channels: 1, hidden: 8, workers: 2, ..base.clone() };
    all.push(Case { nodes: 1, gpus: 33, ..wide.clone() });
    all.push(Case { nodes: 33, gpus: 1, ..wide });
    all.push(Case { gpus: 1, hidden: 8, tokens: vec![40, 2], channels: 40, schedule: Some(5), ..base.clone() });
    // More streams of a CTA than it has threads.
    all.push(Case { gpus: 1, hidden: 8, tokens: vec![80, 70], channels: 70, workers: 1, ..base.clone() });
    // A third launch shows what the second left.
    all.push(Case { nodes: 2, gpus: 1, hidden: 8, tokens: vec![2, 1], calls: 3, ..base.clone() });
    // So many credits of a flow that their queue goes round within a call.
    let credits =
        Case { gpus: 1, hidden: 8, tokens: vec![90, 80], channels: 1, depth_ib: 2, chunk_ib: 1, ..base.clone() };
    all.push(Case { calls: 2, schedule: Some(12), ..credits.clone() });
    if fabric == Link::Mlx5 {
        all.extend(late(&base, &credits));
    }
    // Weak memory shows what no pair of accesses does: values that are old and allowed.
    for seed in 1..=4 {
        let weak =
            Case { weak: true, races: false, schedule: Some(seed), workers: 1 + seed as u32 % 4, ..base.clone() };
        let small = Case { depth_ib: 2, depth_nv: 2, chunk_ib: 1, chunk_nv: 1, channels: 1, calls: 2, ..weak.clone() };
        all.push(Case { tokens: vec![14, 19], ..small });
        all.push(Case { channels: 4, topk: 6, sms: vec![(2, 3), (3, 1)], tokens: vec![12, 9], ..weak });
    }
    // Every token goes to every node, and the masks of the forwarded end where the handle ends.
    let full = Case { gpus: 1, hidden: 8, tokens: vec![16], experts_per_rank: 1, topk: 2, ..base.clone() };
    all.push(Case { channels: 2, ..full.clone() });
    all.push(Case { gpus: 2, topk: 4, channels: 3, workers: 2, calls: 2, ..full });
    all.push(Case {
        gpus: 1,
        nodes: 1,
        hidden: 8,
        tokens: vec![1100],
        topk: 1,
        depth_nv: 64,
        chunk_nv: 32,
        ..base.clone()
    });
    // Few threads of layout and exchange: every stride of theirs goes round.
    let narrow = Case { setup_threads: Some(64), hidden: 8, workers: 2, ..base.clone() };
    all.push(Case { gpus: 1, tokens: vec![70, 3], experts_per_rank: 140, topk: 2, ..narrow.clone() });
    all.push(Case { nodes: 66, gpus: 1, tokens: vec![1], experts_per_rank: 1, topk: 2, channels: 1, ..narrow });
    all.extend(troubled(fabric));
    // More experts than the layout has threads.
    all.push(Case { gpus: 2, nodes: 1, hidden: 8, tokens: vec![20, 7], experts_per_rank: 1030, ..base.clone() });
    // Little room at more local ranks than a warp has lanes.
    let crowded =
        Case { nodes: 1, gpus: 33, experts_per_rank: 1, topk: 20, hidden: 8, channels: 1, workers: 2, ..base };
    all.push(Case { tokens: vec![5, 4], depth_nv: 2, chunk_nv: 1, ..crowded.clone() });
    all.push(Case { nodes: 2, tokens: vec![3, 2], topk: 30, depth_nv: 2, chunk_nv: 1, ..crowded.clone() });
    // Tokens for the last rank of a node alone, whose bit is in the second word of masks.
    let last = Pattern::OneExpert { expert: 65 };
    all.push(Case { nodes: 2, tokens: vec![2, 1], topk: 1, pattern: last, ..crowded.clone() });
    let last = Case { pattern: Pattern::OneExpert { expert: 32 }, tokens: vec![5, 4], topk: 1, ..crowded };
    all.extend([292, 131].map(|seed| Case { depth_nv: 2, chunk_nv: 1, schedule: Some(seed), ..last.clone() }));
    all
}

/// Rows with scales and rows that are quantized, of one piece and of several; weights and biases on the way back.
fn carried(base: &Case) -> Vec<Case> {
    let quantized = |format, scales| Carried::Quantize(format, scales);
    let back = Case { weights_back: true, biases: vec![2, 0, 1], ..base.clone() };
    vec![
        Case { payload: quantized(Format::E4m3, Scales::F32), hidden: 272, tokens: vec![5, 3], ..back.clone() },
        Case { payload: Carried::Fp8(Format::E5m2, Scales::F32), hidden: 144, topk: 5, calls: 2, ..back.clone() },
        Case {
            payload: quantized(Format::E4m3, Scales::Ue8m0),
            hidden: 1040,
            tokens: vec![9, 14],
            calls: 2,
            workers: 4,
            schedule: Some(21),
            ..base.clone()
        },
        Case {
            payload: quantized(Format::E4m3, Scales::PowerOfTwo),
            hidden: 16,
            depth_ib: 2,
            depth_nv: 2,
            chunk_ib: 1,
            chunk_nv: 1,
            tokens: vec![14, 19],
            schedule: Some(22),
            ..base.clone()
        },
        Case {
            payload: quantized(Format::E4m3, Scales::F32),
            hidden: 272,
            depth_ib: 16,
            depth_nv: 16,
            chunk_ib: 8,
            chunk_nv: 8,
            tokens: vec![30, 24],
            schedule: Some(23),
            ..base.clone()
        },
        // Messages of one piece, several of them at once: headers wait for nothing but their buffers.
        Case {
            payload: quantized(Format::E4m3, Scales::F32),
            hidden: 64,
            depth_ib: 16,
            depth_nv: 16,
            chunk_ib: 8,
            chunk_nv: 8,
            tokens: vec![30, 24],
            schedule: Some(29),
            ..base.clone()
        },
        // Lines of a piece that are no column of all lanes; scales of a byte beside the padding of their header.
        Case { payload: Carried::Fp8(Format::E4m3, Scales::Ue8m0), hidden: 4352, tokens: vec![3], ..base.clone() },
        // As many terms as lanes, and biases beside them; weights that end within 16 bytes and at their end.
        Case { nodes: 4, gpus: 8, topk: 32, experts_per_rank: 1, channels: 1, tokens: vec![2, 1], ..back.clone() },
        Case {
            topk: 4,
            hidden: 2056,
            tokens: vec![8, 5],
            pattern: Pattern::Skewed,
            schedule: Some(24),
            ..back.clone()
        },
        Case {
            payload: quantized(Format::E4m3, Scales::F32),
            hidden: 528,
            weak: true,
            races: false,
            schedule: Some(25),
            tokens: vec![14, 19],
            calls: 2,
            ..base.clone()
        },
        Case { weak: true, races: false, schedule: Some(26), tokens: vec![12, 9], calls: 2, ..back.clone() },
        // Rows by expert: few experts and many, one twice, parts that are full and parts that are padded.
        Case { layout: Ordered::Expert(4), scaled: vec![true], tokens: vec![5, 9], along: 1, ..back.clone() },
        Case { along: 2, schedule: Some(30), tokens: vec![9, 13], depth_nv: 2, chunk_nv: 1, ..base.clone() },
        Case {
            layout: Ordered::Expert(2),
            scaled: vec![false, true],
            payload: Carried::Fp8(Format::E4m3, Scales::F32),
            hidden: 272,
            pattern: Pattern::Skewed,
            topk: 6,
            channels: 3,
            sms: vec![(2, 1), (1, 3)],
            schedule: Some(27),
            tokens: vec![20, 17],
            ..back.clone()
        },
        Case { layout: Ordered::Expert(1), experts_per_rank: 70, topk: 9, tokens: vec![6, 3], gpus: 1, ..back.clone() },
        Case {
            layout: Ordered::Expert(3),
            scaled: vec![true],
            weak: true,
            races: false,
            schedule: Some(28),
            depth_nv: 2,
            chunk_nv: 1,
            tokens: vec![12, 9],
            calls: 2,
            ..back
        },
    ]
}

/// Rows that land by themselves, all or some, quantized where they leave; longer flows than rings, and several calls, so that
/// positions and rows differ; ranks that wait for one that does not begin.
fn landing(base: &Case) -> Vec<Case> {
    let payload = Carried::Quantize(Format::E4m3, Scales::F32);
    let direct = Case { payload, landing: 4096, hidden: 272, calls: 3, weights_back: true, ..base.clone() };
    let small = Case { depth_ib: 2, depth_nv: 2, chunk_ib: 1, chunk_nv: 1, channels: 1, hidden: 16, ..direct.clone() };
    let trouble = |trouble| Case { trouble: Some(trouble), calls: 2, tokens: vec![24, 31], ..direct.clone() };
    let mut all = vec![
        Case { tokens: vec![5, 3], calls: 1, along: 3, ..direct.clone() },
        Case { tokens: vec![9, 14, 0], along: 1, bound: vec![Some(3), None], schedule: Some(31), ..direct.clone() },
        Case { tokens: vec![20, 33], schedule: Some(32), along: 2, calls: 1, ..small.clone() },
        Case { pattern: Pattern::OneExpert { expert: 3 }, tokens: vec![40, 9], schedule: Some(33), ..small.clone() },
        Case { landing: 32, tokens: vec![2, 16, 9, 24, 0], calls: 5, schedule: Some(34), ..direct.clone() },
        Case { landing: 16, tokens: vec![1, 6, 0, 9], calls: 4, topk: 2, ..small.clone() },
        Case { nodes: 1, gpus: 33, experts_per_rank: 1, tokens: vec![2, 1], workers: 2, topk: 20, ..small.clone() },
        Case {
            nodes: 3,
            gpus: 2,
            channels: 3,
            sms: vec![(2, 1), (3, 1)],
            topk: 6,
            tokens: vec![9, 14],
            ..direct.clone()
        },
        Case {
            payload: Carried::Quantize(Format::E4m3, Scales::Ue8m0),
            tokens: vec![5, 9],
            along: 1,
            ..direct.clone()
        },
        // More scales than lanes.
        Case { hidden: 4352, stage_bytes: 3072, tokens: vec![3], calls: 1, ..direct.clone() },
        trouble(Trouble::Absent { rank: 3 }),
        trouble(Trouble::Leaves { rank: 1, call: 1 }),
        trouble(Trouble::Cancels { rank: 0, call: 1 }),
    ];
    for seed in 41..=44 {
        let weak = Case { weak: true, races: false, schedule: Some(seed), tokens: vec![12, 9], ..direct.clone() };
        all.push(Case {
            along: seed as u32 % 2,
            landing: if seed % 2 == 0 { 48 } else { 4096 },
            pct: (seed == 44).then_some(3),
            ..weak
        });
    }
    all
}

/// Runs in which NICs are late or early: queues fill, slots wait for their requests, and entries are fetched before their
/// doorbell.
fn late(base: &Case, credits: &Case) -> Vec<Case> {
    let late = Case { late_completions: true, retransmit: true, outstanding: 16, ..credits.clone() };
    let mut all = Vec::new();
    for seed in 1..=6 {
        let tokens = [vec![61, 50], vec![21, 20]][seed as usize % 2].clone();
        let (pct, workers) = ([None, Some(2), Some(4)][seed as usize % 3], 1 + seed as u32 % 4);
        let (depth_ib, chunk_ib) = [(2, 1), (4, 2), (8, 2)][seed as usize % 3];
        all.push(Case { tokens, calls: 2, schedule: Some(seed), pct, workers, depth_ib, chunk_ib, ..late.clone() });
    }
    for (seed, pct, workers, depth_ib, tokens) in [(381, 4, 1, 8, vec![61, 50]), (302, 2, 2, 4, vec![93, 80])] {
        let again = Case { gpus: 2, tokens, calls: 2, schedule: Some(seed), pct: Some(pct), workers, ..late.clone() };
        all.push(Case { depth_ib, chunk_ib: 2, races: false, ..again });
    }
    // Chunks that do not divide their ring: they wrap at other slots in every round.
    for (seed, chunk_ib, depth_ib) in [(1, 3, 8), (2, 3, 8), (3, 5, 16), (4, 6, 16)] {
        let uneven = Case { chunk_ib, depth_ib, tokens: vec![60, 50], workers: 2, pct: Some(2), ..late.clone() };
        all.push(Case { schedule: Some(seed), races: seed % 2 == 0, ..uneven });
    }
    // A slot's bytes are read again behind the credit for it: only the count of completions keeps its next writer away.
    let again = Case { gpus: 2, late_completions: false, ..late.clone() };
    all.push(Case {
        hidden: 264,
        tokens: vec![30, 5],
        outstanding: 4,
        schedule: Some(13),
        workers: 4,
        channels: 2,
        ..again.clone()
    });
    all.push(Case { tokens: vec![21, 20], calls: 2, read_before_post: true, schedule: Some(4), workers: 2, ..again });
    let behind =
        Case { tokens: vec![9, 13], calls: 2, pct: Some(1), schedule: Some(6), retransmit: false, ..late.clone() };
    all.push(Case { gpus: 2, workers: 4, outstanding: 4, piece_bytes: 64, depth_ib: 4, chunk_ib: 2, ..behind });
    // Credit queues fill, and all orders of claim and completion come by.
    let orders = [(489, None, 1), (167, Some(4), 1), (241, Some(2), 2), (472, Some(4), 1), (129, Some(4), 1)];
    for (seed, pct, workers) in orders {
        let full = Case { retransmit: false, tokens: vec![60, 50], calls: 2, ..late.clone() };
        all.push(Case { schedule: Some(seed), pct, workers, ..full });
    }
    // A record is read while its doorbell is not rung yet.
    let busy = Case { gpus: 1, hidden: 8, tokens: vec![20, 20], channels: 2, calls: 2, ..base.clone() };
    let busy = Case { depth_ib: 8, chunk_ib: 1, workers: 2, read_before_post: true, outstanding: 4, ..busy };
    all.extend([18, 19, 20].map(|seed| Case { schedule: Some(seed), ..busy.clone() }));
    let busy = Case { gpus: 1, hidden: 8, tokens: vec![70, 50], calls: 2, depth_ib: 2, chunk_ib: 1, ..base.clone() };
    let busy = Case { read_before_post: true, late_completions: true, ..busy };
    let orders = [(4, 2, 16, 146), (4, 2, 16, 841), (1, 2, 4, 248), (1, 4, 16, 484), (2, 2, 4, 462)];
    all.extend(orders.map(|(channels, workers, outstanding, seed)| {
        let tokens = if seed == 462 { vec![40, 30] } else { busy.tokens.clone() };
        Case { channels, workers, outstanding, tokens, schedule: Some(seed), ..busy.clone() }
    }));
    all
}

/// Runs that must fail: they lead kernels to where they give up.
fn troubled(fabric: Link) -> Vec<Case> {
    let base =
        Case { seed: 30, fabric, races: true, calls: 2, tokens: vec![24, 31], experts_per_rank: 4, ..Case::default() };
    let (rank, call) = (0, 0);
    let mut extra = Vec::new();
    let mut all = vec![
        Trouble::Absent { rank },
        Trouble::Quits { rank, call },
        Trouble::Cancels { rank, call },
        Trouble::Cancels { rank, call: 1 },
        Trouble::NoExpert { rank, call },
        Trouble::Hurry { timeout_us: 3 },
        Trouble::Hurry { timeout_us: 9 },
    ];
    if fabric == Link::Mlx5 {
        let (payload, credit) = (Lane::Payload { channel: 0 }, Lane::Credit { channel: 0 });
        for (lane, requests, act) in [
            (Lane::Exchange, Requests::Writes, Act::Fails),
            (Lane::Exchange, Requests::Any, Act::Stalls),
            (payload, Requests::Writes, Act::Fails),
            (payload, Requests::Any, Act::Stalls),
            (credit, Requests::Atomics, Act::Fails),
            (credit, Requests::Any, Act::Stalls),
            (payload, Requests::Atomics, Act::SignalLost),
        ] {
            all.push(Trouble::Nic { rank, node: 1, lane, requests, after: 0, act });
        }
    }
    // The rank with the trouble has no number that is 0, and what ranks waited for before has come.
    let (rank, call) = (3, 1);
    all.extend([
        Trouble::Absent { rank },
        Trouble::Leaves { rank, call },
        Trouble::NoExpert { rank, call },
        Trouble::NoExperts { rank, call },
    ]);
    all.extend(Word::ALL.map(|word| Trouble::Damaged { rank, call, word }));
    // Whoever is missed or damaged has other numbers here than there.
    all.push(Trouble::Leaves { rank: 1, call });
    all.extend([Word::DispatchCalls, Word::CombineCalls].map(|word| Trouble::Damaged { rank: 0, call, word }));
    if fabric == Link::Mlx5 {
        for (requests, act) in
            [(Requests::Writes, Act::Fails), (Requests::Atomics, Act::Fails), (Requests::Any, Act::Stalls)]
        {
            let after = if requests == Requests::Any { 2 } else { 1 };
            let lane = Lane::Payload { channel: 1 };
            all.push(Trouble::Nic { rank: 1, node: 1, lane, requests, after, act });
            all.push(Trouble::Nic { rank: 1, node: 1, lane: Lane::Exchange, requests, after, act });
            all.push(Trouble::Nic { rank, node: 0, lane: Lane::Exchange, requests, after, act });
        }
    }
    if fabric == Link::Mlx5 {
        // Writes that combine posts.
        for (rank, node, after) in [(1, 1, 9), (1, 1, 12), (3, 0, 9), (0, 1, 12)] {
            let (lane, requests, act) = (Lane::Payload { channel: 1 }, Requests::Writes, Act::Fails);
            all.push(Trouble::Nic { rank, node, lane, requests, after, act });
        }
    }
    // Kernels are cancelled at all their waits.
    let within = [
        (Under::Exchange, [0, 336, 464, 896, 1400]),
        (Under::Dispatch, [0, 104, 464, 896, 1400]),
        (Under::Combine, [0, 104, 464, 896, 1400]),
    ];
    for (under, times) in within {
        all.extend(times.map(|after_ns| Trouble::CancelsWithin { rank, call, under, after_ns }));
    }
    if fabric == Link::Mlx5 {
        // Threads of exchange wait for several queues at once, or one for several.
        let three = Case { nodes: 3, gpus: 1, experts_per_rank: 4, trouble: None, ..base.clone() };
        let narrow = Case {
            nodes: 66,
            gpus: 1,
            tokens: vec![1],
            experts_per_rank: 1,
            topk: 2,
            channels: 1,
            hidden: 8,
            workers: 2,
            setup_threads: Some(64),
            calls: 1,
            ..base.clone()
        };
        let lane = Lane::Exchange;
        for (requests, act) in [(Requests::Writes, Act::Fails), (Requests::Any, Act::Stalls)] {
            let trouble = Some(Trouble::Nic { rank: 0, node: 1, lane, requests, after: 0, act });
            extra.extend((5..9).map(|seed| Case { schedule: Some(seed), trouble, ..three.clone() }));
        }
        let stalls = Trouble::Nic { rank: 0, node: 64, lane, requests: Requests::Any, after: 0, act: Act::Stalls };
        extra.push(Case { trouble: Some(stalls), ..narrow });
    }
    // Several find their slots stale, while the scout writes down what the first of them found.
    let trouble = Some(Trouble::Damaged { rank: 0, call: 1, word: Word::DispatchCalls });
    let stale = Case { experts_per_rank: 4, hidden: 8, tokens: vec![60], channels: 2, calls: 2, ..Case::default() };
    extra.push(Case { fabric, races: true, schedule: Some(7), workers: 8, trouble, ..stale });
    // What is found at the first header of a flow, in a world where it can be only one thing.
    let trouble = Some(Trouble::Damaged { rank: 1, call: 1, word: Word::DispatchCalls });
    let two = Case { nodes: 1, gpus: 2, hidden: 8, tokens: vec![1], topk: 6, trouble, ..base.clone() };
    extra.push(Case { nodes: 2, gpus: 1, ..two.clone() });
    extra.push(two);
    // Whoever gives up may do so while its copies are slow.
    for word in Word::ALL.into_iter().filter(|word| word.runs_ahead()) {
        let trouble = Some(Trouble::Damaged { rank, call: 1, word });
        extra.extend((1..4).map(|seed| {
            let slow = Case { schedule: Some(seed), pct: Some(3), trouble, ..base.clone() };
            Case { races: false, ..slow }
        }));
        // Slots of this call are looked at too early, behind messages that were sound.
        for (schedule, after_ns) in [(1, 300), (2, 600), (3, 900), (4, 1400), (5, 2000)] {
            let trouble = Some(Trouble::DamagedWithin { rank, call: 1, word, after_ns });
            let small =
                Case { depth_ib: 4, depth_nv: 4, chunk_ib: 2, chunk_nv: 2, channels: 1, hidden: 8, ..base.clone() };
            extra.push(Case { trouble, races: false, schedule: Some(schedule), ..small });
        }
        extra.extend(slots_again(fabric, word));
        // Sends that wait for room, at ranks that see no trouble of their own.
        let trouble = Some(Trouble::Damaged { rank: 1, call: 1, word });
        extra.extend((1..4).map(|seed| Case {
            nodes: 1,
            gpus: 2,
            tokens: vec![24, 31],
            schedule: Some(seed),
            trouble,
            ..smallest_rings(fabric)
        }));
        // Rows of several pieces, of which the later ones are on their way when the first is looked at.
        let pieces = Case { hidden: 2056, trouble, ..base.clone() };
        extra.push(Case { races: false, ..pieces });
    }
    // A dispatch is launched behind an exchange that gives up: only the word of its rank keeps it from the handle.
    let trouble = Some(Trouble::Leaves { rank: 1, call: 1 });
    for layout in [Ordered::Source, Ordered::Expert(4)] {
        extra.push(Case { bound: vec![Some(4)], layout, trouble, ..base.clone() });
    }
    let many = Case { schedule: Some(3), sms: vec![(2, 2)], workers: 4, ..base.clone() };
    let troubled = |trouble| {
        // Who reads a slot before it was written races with whoever writes it.
        let runs_ahead = matches!(trouble, Trouble::Damaged { word, .. } if word.runs_ahead());
        [&base, &many].map(|case| Case { trouble: Some(trouble), races: !runs_ahead, ..case.clone() })
    };
    // A completion entry becomes visible word by word: who sees its opcode may not see its syndrome yet.
    let failing = all.iter().filter(|trouble| matches!(trouble, Trouble::Nic { act: Act::Fails, .. }));
    let weak = failing.flat_map(|&trouble| {
        let weak = Case { trouble: Some(trouble), weak: true, races: false, ..base.clone() };
        [9, 3].map(|seed| Case { schedule: Some(seed), ..weak.clone() })
    });
    let weak: Vec<Case> = weak.collect();
    all.into_iter().flat_map(troubled).chain(weak).chain(extra).collect()
}

/// Rings of two slots, a message at a time.
fn smallest_rings(fabric: Link) -> Case {
    Case {
        depth_ib: 2,
        depth_nv: 2,
        chunk_ib: 1,
        chunk_nv: 1,
        channels: 1,
        hidden: 8,
        calls: 2,
        fabric,
        ..Case::default()
    }
}

/// Slots of a call that were sound and are looked at a second time, for a word of arrivals that runs ahead.
pub fn slots_again(fabric: Link, word: Word) -> Vec<Case> {
    let times: [(u64, u32, u32, u32, u64); 5] = match (fabric, word) {
        (Link::Loopback, Word::ReceiveTail | Word::PartialTail) => {
            [(89, 3, 1, 2, 4910), (449, 2, 1, 8, 4614), (1, 3, 1, 2, 4700), (2, 3, 1, 2, 4800), (3, 2, 2, 3, 5000)]
        }
        (Link::Loopback, _) => {
            [(412, 5, 2, 3, 4651), (222, 3, 2, 8, 4688), (1, 5, 2, 3, 4660), (2, 3, 2, 8, 4670), (3, 5, 2, 3, 4900)]
        }
        (Link::Mlx5, Word::ReceiveTail | Word::PartialTail) => {
            [(13, 2, 1, 2, 10051), (438, 2, 1, 8, 8014), (1, 2, 1, 2, 9000), (2, 2, 1, 8, 8500), (3, 2, 2, 3, 7000)]
        }
        (Link::Mlx5, _) => {
            [(287, 5, 2, 3, 6656), (18, 3, 2, 2, 3358), (1, 5, 2, 3, 6500), (2, 3, 2, 2, 3400), (3, 5, 2, 3, 7000)]
        }
    };
    let cases = times.map(|(seed, depth, gpus, workers, after_ns)| {
        let trouble = Some(Trouble::DamagedWithin { rank: 1, call: 1, word, after_ns });
        let small = matches!(seed, 18 | 412 | 222 | 449);
        let tokens = if small { vec![9, 12] } else { vec![24, 31] };
        Case { schedule: Some(seed), pct: Some(depth), gpus, workers, tokens, trouble, ..smallest_rings(fabric) }
    });
    cases.into()
}

/// Runs, tried with the sound kernels.
#[derive(Debug)]
pub struct Suite {
    pub tried: Vec<Tried>,
}

impl Suite {
    /// Every run must be right with the sound kernels.
    pub fn new(runs: Vec<Case>, kernels: &[Kernel]) -> Suite {
        let tried = runs
            .into_iter()
            .map(|case| {
                let seen: Arc<Mutex<Seen>> = Arc::default();
                let prepare = |machine: &EmuMachine| {
                    let watch = Watch::new(Arc::clone(&seen));
                    machine.with(|machine| machine.set_observer(Some(Box::new(watch))));
                };
                let sound_run = |case: &Case, bounds: &Bounds| {
                    attempt_within(case, None, bounds)
                        .unwrap_or_else(|what| panic!("the sound kernels fail: {what}\n  {case}"))
                };
                let bounds = Bounds { warp_instructions: u64::MAX, prepare: &prepare };
                let Played { cost, said } = sound_run(&case, &bounds);
                let steady = case.trouble.is_some()
                    && SCHEDULES.iter().all(|&seed| {
                        let other = Case { schedule: Some(seed), races: false, ..case.clone() };
                        sound_run(&other, &Bounds::default()).said == said
                    });
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let reached = kernels.iter().map(|kernel| reached(kernel, &seen)).collect();
                Tried { case, limit: cost.warp_instructions * PATIENCE, said, steady, reached }
            })
            .collect();
        Suite { tried }
    }

    /// Runs that may come by an instruction.
    pub fn by(&self, kernel: usize, at: usize) -> Vec<usize> {
        (0..self.tried.len()).filter(|&run| self.tried[run].reached[kernel][at]).collect()
    }

    /// The first of `runs` that catches this kernel. `exact`: what ranks say when a run fails must be what they say with
    /// the sound kernels. `edges`: the race check is on from the start; for others it is on once all have gone without.
    pub fn catch(&self, runs: &[usize], mutant: &'static KernelImage, exact: bool, edges: bool) -> Option<Caught> {
        let passes: &[bool] = if edges { &[true] } else { &[false, true] };
        passes.iter().find_map(|&races| {
            runs.iter().find_map(|&run| {
                let what = self.attempt(run, mutant, exact, races)?;
                Some(Caught { run, checker: checker(&what), what })
            })
        })
    }

    /// What goes wrong in a run, if anything.
    pub fn attempt(&self, run: usize, mutant: &'static KernelImage, exact: bool, races: bool) -> Option<String> {
        let Tried { case, limit, said, steady, .. } = &self.tried[run];
        let case = Case { races: races && case.races, ..case.clone() };
        let bounds = Bounds { warp_instructions: *limit, ..Bounds::default() };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let now = attempt_within(&case, Some(mutant), &bounds)?.said;
            if (exact || *steady) && *said != now {
                return Err(format!("report: ranks said{said}\n  and now{now}"));
            }
            Ok(())
        }));
        match outcome {
            Ok(outcome) => outcome.err(),
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                Some(format!("panic: {}", words.unwrap_or_else(|| "of the host's side".to_string())))
            }
        }
    }
}

fn checker(what: &str) -> Checker {
    if what.starts_with("report:") {
        Checker::Report
    } else if what.starts_with("panic:") {
        Checker::Other
    } else {
        Checker::of(what)
    }
}
