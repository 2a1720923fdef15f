//! Streams: claimed by one worker at a time, given back, woken, and named in a status line when nothing comes.

use warpferry::plan::blocks::{CommBlock, LaunchBlock, StateHead, StatusHead, StatusWait, StreamRecord};
use warpferry::plan::blocks::{STATUS_LINE_BYTES, STATUS_WAITS};

use crate::cases::{same, Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draws;
use crate::rig::{Arg, Rig, Run};

pub static CLAIMS: Check = Check { name: "claims", cases, run: Runs::Kernels(run) };

const KINDS: u64 = 3;
const SEND: u64 = 0;
/// Codes of a status line.
const TIMEOUT: u32 = 1;
const ABORTED: u32 = 9;
/// No stream is mute.
const NONE: u64 = 0xffff_ffff;

fn cases(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add =
        |channels: u64, ranks: u64, grid: u64, workers: u64, chunk: u64, distance: u64, most: u64, mute: u64| {
            for seed in seeds(1, more) {
                let at = all.len() as u64;
                let case = Case::new("claims").with("channels", channels).with("ranks", ranks).with("grid", grid);
                let case = case.with("workers", workers).with("chunk", chunk).with("distance", distance);
                let case = case.with("most", most).with("roles", ["dynamic", "fixed"][at as usize % 2]);
                all.push(case.with("mute", mute).with("seed", seed * 1000 + at));
            }
        };
    for workers in [3, 7, 15] {
        add(1, 1, 1, workers, 1, 1, 5, NONE);
        add(2, 4, 1, workers, 2, 7, 9, NONE);
        add(4, 8, 3, workers, 4, 13, 6, NONE);
        // Bit sets of several words, the last of them full or not.
        add(2, 32, 1, workers, 3, 100, 3, NONE);
        add(3, 33, 2, workers, 3, 1, 3, NONE);
    }
    add(2, 3, 2, 3, 2, 0, 7, NONE);
    add(1, 1, 1, 3, 1, 1, 3, 1);
    add(1, 1, 1, 4, 2, 2, 6, 0);
    add(2, 3, 2, 3, 2, 4, 7, 5);
    all
}

/// Offsets of shared memory, as the plan lays it out.
fn launch(case: &Case) -> Result<(LaunchBlock, u32), Mismatch> {
    let (workers, streams) =
        (case.word("workers")?, case.word("channels")?.div_ceil(case.word("grid")?) * case.word("ranks")?);
    let words = streams.div_ceil(32);
    let barriers = 1024;
    let completed = barriers + workers * 48;
    let scratch = completed.next_multiple_of(128);
    let records = scratch + workers * 512;
    let stages = records + 3 * words * 32 * StreamRecord::BYTES as u32;
    let fixed = case.text("roles") == Some("fixed");
    let roles = std::array::from_fn(|warp| if fixed { [0x1, 0x2, 0x3][warp % 3] } else { [0x321, 0x132][warp % 2] });
    let block = LaunchBlock {
        chunk_ib: case.word("chunk")?,
        chunk_nv: case.word("chunk")?,
        workers,
        send_words: words,
        forward_words: words,
        receive_words: words,
        words: 3 * words,
        barriers,
        completed,
        scratch,
        streams: records,
        stages,
        results: stages,
        scratch_bytes: 512,
        stage_bytes: 0,
        result_bytes: 0,
        counters: 0,
        piece_bytes: 0,
        roles,
    };
    Ok((block, stages))
}

fn run(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, channels, ranks) = (case.number("seed")?, case.number("channels")?, case.number("ranks")?);
    let (grid, distance, mute) = (case.number("grid")?, case.number("distance")?, case.number("mute")?);
    let streams = channels * ranks * KINDS;
    let most = case.number("most")?;
    let counts: Vec<u64> = draws::words(seed, 1, streams as usize)
        .iter()
        .map(|word| if mute == NONE { (word % (most + 1)) * u64::from(word >> 61 > 0) } else { most })
        .collect();
    let (block, shared_bytes) = launch(case)?;
    let launch = rig.input("launch", &block.to_bytes(), 4)?;
    let calls = draws::words(seed, 2, 1)[0] as u32 & 0xffff;
    let head = StateHead { dispatch_calls: calls, ..StateHead::default() };
    let state = rig.shared("state", &head.to_bytes(), 8)?;
    let comm = CommBlock {
        nodes: 1,
        gpus: ranks as u32,
        ranks: ranks as u32,
        channels: channels as u32,
        state: state.start.address(),
        ..CommBlock::default()
    };
    let comm = rig.input("comm", &comm.to_bytes(), 8)?;
    let handle = rig.input("handle", &draws::bytes_of32(counts.iter().map(|&count| count as u32)), 4)?;
    let words = rig.shared("words", &vec![0; 8 * streams as usize], 8)?;
    let sums = rig.shared("sums", &vec![0; 16 * streams as usize], 16)?;
    let status = rig.shared("status", &vec![0; STATUS_LINE_BYTES * grid as usize], 0)?;
    rig.run(Run {
        kernel: "claims",
        grid: grid as u32,
        block: 32 * (block.workers + 1),
        shared_bytes,
        args: &[
            ("comm", Arg::Zone(comm)),
            ("launch", Arg::Zone(launch)),
            ("handle", Arg::Zone(handle)),
            ("words", Arg::Zone(words)),
            ("sums", Arg::Zone(sums)),
            ("distance", Arg::Word(distance)),
            ("mute", Arg::Word(mute)),
            ("status", Arg::Zone(status)),
            ("deadline_ns", Arg::Word(rig.deadline_ns(mute != NONE))),
        ],
        reach: &[(state, true)],
    })?;

    let end = End::new(&counts, distance, mute);
    if mute == NONE {
        rig.expect(status, &vec![0; status.bytes as usize])?;
    } else {
        check_lines(&rig.read(status)?, &end, ranks)?;
    }
    let word = |(stream, &done): (usize, &u64)| if stream as u64 == mute { 0 } else { done };
    rig.expect(words, &draws::bytes_of(end.done.iter().enumerate().map(word)))?;
    rig.expect(sums, &draws::bytes_of(end.done.iter().flat_map(|&done| [mixed(done), 0])))?;
    let left = StateHead { dispatch_calls: calls + 1, abort: u32::from(mute != NONE), ..head };
    rig.expect(state, &left.to_bytes())
}

/// The sum that a stream's messages make, in order and once each.
fn mixed(messages: u64) -> u64 {
    (0..messages).fold(0_u64, |sum, message| sum.wrapping_mul(31).wrapping_add(message + 1))
}

/// Where everything stands when nothing can go on.
struct End {
    counts: Vec<u64>,
    distance: u64,
    /// What others see of a stream.
    seen: Vec<u64>,
    done: Vec<u64>,
}

impl End {
    fn new(counts: &[u64], distance: u64, mute: u64) -> End {
        let streams = counts.len();
        let mut end = End { counts: counts.to_vec(), distance, seen: vec![0; streams], done: vec![0; streams] };
        loop {
            let before = end.done.clone();
            for stream in 0..streams {
                let other = end.other(stream);
                let all = end.seen[other] >= counts[other];
                let most = if all { counts[stream] } else { counts[stream].min(end.seen[other] + 1) };
                end.done[stream] = end.done[stream].max(most);
                if stream as u64 != mute {
                    end.seen[stream] = end.done[stream];
                }
            }
            if end.done == before {
                return end;
            }
        }
    }

    fn other(&self, stream: usize) -> usize {
        (stream + self.distance as usize) % self.counts.len()
    }

    /// What a stream waits for: draining, value needed, value seen.
    fn wait(&self, stream: usize) -> Option<(bool, u64, u64)> {
        let other = self.other(stream);
        let all = self.seen[other] >= self.counts[other];
        let drains = stream as u64 % KINDS == SEND;
        match self.done[stream] < self.counts[stream] {
            true => Some((false, self.done[stream], self.seen[other])),
            false if drains && !all && self.counts[stream] > 0 => Some((true, self.counts[other], self.seen[other])),
            false => None,
        }
    }
}

/// Lines of a launch that gave up: one CTA by its deadline, others perhaps because it did. The waits of a CTA that has
/// all streams are known.
fn check_lines(lines: &[u8], end: &End, ranks: u64) -> Result<(), Mismatch> {
    let mut late = 0;
    let ctas = lines.len() / STATUS_LINE_BYTES;
    for line in lines.chunks(STATUS_LINE_BYTES) {
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| line[at + byte]));
        let long = |at: usize| u64::from(word(at + 4)) << 32 | u64::from(word(at));
        let code = word(0);
        late += u32::from(code == TIMEOUT);
        if code != TIMEOUT && code != ABORTED && code != 0 {
            return Err(Mismatch::value("code of a CTA that waits in vain", [TIMEOUT, ABORTED, 0], code));
        }
        if ctas > 1 {
            continue;
        }
        let mut waits = Vec::new();
        for kind in 0..KINDS {
            for flow in 0..end.counts.len() as u64 / KINDS {
                let stream = flow * KINDS + kind;
                if let Some((drains, needed, seen)) = end.wait(stream as usize) {
                    let name = kind | u64::from(drains) << 8 | (flow / ranks) << 16;
                    let peer = end.other(stream as usize) as u64 / KINDS % ranks;
                    waits.push([name, peer, needed, seen]);
                }
            }
        }
        waits.truncate(STATUS_WAITS);
        let recorded: Vec<[u64; 4]> = (0..word(4) as usize)
            .map(|wait| StatusHead::BYTES + wait.min(STATUS_WAITS - 1) * StatusWait::BYTES)
            .map(|at| [word(at).into(), word(at + 4).into(), long(at + 8), long(at + 16)])
            .collect();
        same("streams that wait in vain: name, rank, needed, seen", recorded, waits)?;
    }
    if late == 0 {
        return Err(Mismatch::value("CTAs that end by their deadline", "one at least", late));
    }
    Ok(())
}

#[test]
fn a_stream_has_one_owner() {
    run_all(&CLAIMS);
}
