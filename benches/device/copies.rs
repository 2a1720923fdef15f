//! Bulk copies: how fast SMs read, write, and do both, by stage size and copies under way.
//!
//! Each launch takes the next part of a buffer that is larger than L2. The first launch of a setting warms it up and is
//! checked; the others are timed.

use std::collections::BTreeMap;

use serde_json::json;
use warpferry::mem::Buffer;

use super::lab::{all, Lab, Shot, Value};
use super::pattern::{pattern, words};
use super::record::{Failure, Figure, Samples};
use super::{Scale, Suite};

/// Shared memory before the stages of `probe_read` and `probe_copy`.
const BARRIER_AREA: u32 = 1024;
/// Stages of a warp of `probe_copy`.
const COPY_STAGES: u32 = 4;
/// Warps whose data is checked.
const CHECKED_WARPS: u32 = 8;
/// Pieces whose data is checked.
const CHECKED_PIECES: u32 = 12;
/// Warps of a CTA of `probe_plain`, and bytes that one of them moves at a time.
const PLAIN_WARPS: u32 = 32;
const PLAIN_PIECE_BYTES: u32 = 512;
/// Bytes that an SM moves in a launch with a machine's clock.
const PLAIN_BYTES_PER_SM: u32 = 2 << 20;
/// Seed of what is read.
const SOURCE_SEED: u32 = 0x5eed_0001;

/// GB/s of the fastest plain copy by number of SMs: what operations are compared with.
#[derive(Debug, Default)]
pub struct Limits(BTreeMap<u32, f64>);

/// What one launch moves.
#[derive(Debug, Clone, Copy)]
struct Setting {
    sms: u32,
    warps: u32,
    piece_bytes: u32,
    pieces: u32,
}

impl Setting {
    /// As many whole pieces for each warp as fit in `bytes_per_sm`, one at least.
    fn new(sms: u32, warps: u32, piece_bytes: u32, bytes_per_sm: u32) -> Setting {
        let each = (bytes_per_sm / (warps * piece_bytes)).max(1);
        // Not a whole number of rounds, so that warps end at different pieces.
        let pieces = each * warps * sms + warps * sms / 2;
        Setting { sms, warps, piece_bytes, pieces }
    }

    fn grid_warps(self) -> u32 {
        self.sms * self.warps
    }

    fn bytes(self) -> u64 {
        u64::from(self.pieces) * u64::from(self.piece_bytes)
    }

    /// Pieces to look at: of the first and the last warp, at the start, in the middle, at the end.
    fn sample(self) -> Vec<u32> {
        let last = self.pieces - 1;
        let mut pieces: Vec<u32> = (0..CHECKED_PIECES).map(|part| part * last / (CHECKED_PIECES - 1)).collect();
        pieces.extend([1.min(last), last.saturating_sub(1), self.grid_warps().min(last)]);
        pieces.sort_unstable();
        pieces.dedup();
        pieces
    }
}

/// A buffer that launches go round in.
struct Ring {
    buffer: Buffer,
    next: u64,
}

impl Ring {
    /// Room for `bytes` that the last launches did not use.
    fn take(&mut self, bytes: u64) -> Result<(Value, u64), Failure> {
        if self.next + bytes > self.buffer.bytes() {
            self.next = 0;
        }
        if bytes > self.buffer.bytes() {
            return Err(Failure::wrong("a launch", &format!("{bytes} bytes, the buffer has {}", self.buffer.bytes())));
        }
        let at = self.next;
        self.next += bytes;
        Ok((Value::Memory(self.buffer.ptr().offset(at), bytes), at))
    }
}

/// Buffers and how often to launch.
struct Course {
    ring_bytes: u64,
    bytes_per_sm: u32,
    repeats: usize,
}

impl Course {
    fn new(suite: &Suite) -> Course {
        let room = suite.lab.driver().info().memory_bytes / 16;
        let small_bytes = suite.scale.modelled(20 << 20, 4 << 20);
        let ring_bytes = suite.scale.pick(small_bytes, 1 << 30, 2 << 30).min(room) / 4096 * 4096;
        Course {
            ring_bytes,
            bytes_per_sm: suite.scale.pick(suite.scale.modelled(256 << 10, 32 << 10), 4 << 20, 8 << 20),
            repeats: suite.scale.pick(1, 5, 7),
        }
    }

    /// A buffer of nothing in particular.
    fn ring(&self, lab: &Lab) -> Result<Ring, Failure> {
        Ok(Ring { buffer: lab.alloc(self.ring_bytes)?, next: 0 })
    }

    /// A buffer of the source pattern.
    fn source(&self, lab: &Lab) -> Result<Ring, Failure> {
        let ring = self.ring(lab)?;
        let count = (self.ring_bytes / 4) as u32;
        let args = [all(&ring.buffer), Value::Word(count), Value::Word(SOURCE_SEED)];
        let grid = lab.driver().info().sms.min(count.div_ceil(1024));
        lab.run(&Shot { kernel: "probe_fill", grid, warps: 8, shared_bytes: 0, args: &args, reach: &[] })?;
        Ok(ring)
    }

    /// One launch to warm up, which `act` may check, then the timed ones: GB/s.
    fn samples(&self, setting: Setting, mut act: impl FnMut(bool) -> Result<u64, Failure>) -> Result<Samples, Failure> {
        act(true)?;
        let mut samples = Samples::default();
        for _ in 0..self.repeats {
            let time_ns = act(false)?;
            samples.push(setting.bytes() as f64 / time_ns.max(1) as f64);
        }
        Ok(samples)
    }
}

fn sms(suite: &Suite) -> Vec<u32> {
    let most = suite.lab.driver().info().sms;
    let small: &[u32] = suite.scale.modelled(&[4, 8, 16, 20, 32], &[1, 2]);
    let list: &[u32] = suite.scale.pick(small, &[1, 4, 8, 16, 32, 128], &[1, 2, 4, 8, 16, 32, 64, 128]);
    list.iter().copied().filter(|&sms| sms <= most).collect()
}

fn piece_sizes(scale: Scale) -> &'static [u32] {
    scale.pick(&[1 << 10, 2 << 10], &[1 << 10, 4 << 10, 16 << 10], &[1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10])
}

/// A figure with GB/s of one SM beside the sum.
fn figure(name: &str, setting: Setting, outstanding: u32, samples: Samples) -> Figure {
    let parameters = vec![
        ("sms", json!(setting.sms)),
        ("stage_bytes", json!(setting.piece_bytes)),
        ("outstanding", json!(outstanding)),
        ("warps", json!(setting.warps)),
    ];
    let derived = vec![("gb_per_s_per_sm", samples.median() / f64::from(setting.sms))];
    Figure { derived, ..Figure::new(name, parameters, "GB/s", samples) }
}

/// Group `read`.
pub fn read(suite: &mut Suite) -> Result<(), Failure> {
    let course = Course::new(suite);
    let mut source = course.source(&suite.lab)?;
    let under_way: &[u32] = suite.scale.pick(&[1, 2], &[1, 4, 16], &[1, 2, 4, 8, 16, 32]);
    let room = suite.lab.driver().info().shared_bytes;
    for &piece_bytes in piece_sizes(suite.scale) {
        for &outstanding in under_way.iter().filter(|&&outstanding| BARRIER_AREA + outstanding * piece_bytes <= room) {
            for sms in sms(suite) {
                if suite.lacks_time("read") {
                    continue;
                }
                let warps = outstanding.min(8);
                let setting = Setting::new(sms, warps, piece_bytes, course.bytes_per_sm);
                let samples = read_samples(&course, &suite.lab, setting, outstanding / warps, &mut source)?;
                suite.report.probe("read", figure("bulk_read", setting, outstanding, samples));
            }
        }
    }
    Ok(())
}

fn read_samples(
    course: &Course,
    lab: &Lab,
    setting: Setting,
    stages: u32,
    source: &mut Ring,
) -> Result<Samples, Failure> {
    let sums = lab.alloc(4 * u64::from(setting.grid_warps()))?;
    course.samples(setting, |check| {
        let (from, offset) = source.take(setting.bytes())?;
        let words = [setting.pieces, setting.piece_bytes, stages].map(Value::Word);
        let args = [from, all(&sums), words[0], words[1], words[2]];
        let shared_bytes = BARRIER_AREA + setting.warps * stages * setting.piece_bytes;
        let (grid, warps) = (setting.sms, setting.warps);
        let time_ns = lab.run(&Shot { kernel: "probe_read", grid, warps, shared_bytes, args: &args, reach: &[] })?;
        if check {
            check_sums(lab, setting, stages, offset, &sums)?;
        }
        Ok(time_ns)
    })
}

/// Each warp's sum is that of the pieces that it read last.
fn check_sums(lab: &Lab, setting: Setting, stages: u32, offset: u64, sums: &Buffer) -> Result<(), Failure> {
    let found: Vec<u32> = words(&lab.read(sums.ptr(), sums.bytes() as usize)?).collect();
    let warps = setting.grid_warps();
    for warp in (0..warps).step_by((warps / CHECKED_WARPS).max(1) as usize) {
        let count = (setting.pieces - warp).div_ceil(warps);
        let piece_words = setting.piece_bytes / 4;
        let last = (count - count.min(stages)..count).map(|round| warp + round * warps);
        let expected = last.fold(0_u32, |sum, piece| {
            let first = (offset / 4) as u32 + piece * piece_words;
            (first..first + piece_words).fold(sum, |sum, word| sum.wrapping_add(pattern(word, SOURCE_SEED)))
        });
        if found[warp as usize] != expected {
            let found = found[warp as usize];
            let why = format!("warp {warp} summed {found:#x}, expected {expected:#x}; {setting:?}, {stages} stages");
            return Err(Failure::wrong("probe_read", &why));
        }
    }
    Ok(())
}

/// Variants of `probe_write`: what is waited for, copies of a warp under way, name.
const WRITES: [(&str, u32, &str); 8] = [
    ("done", 1, "probe_write_done_1"),
    ("done", 2, "probe_write_done_2"),
    ("done", 4, "probe_write_done_4"),
    ("done", 8, "probe_write_done_8"),
    ("read", 1, "probe_write_read_1"),
    ("read", 2, "probe_write_read_2"),
    ("read", 4, "probe_write_read_4"),
    ("read", 8, "probe_write_read_8"),
];

/// Group `write`.
pub fn write(suite: &mut Suite) -> Result<(), Failure> {
    let course = Course::new(suite);
    let mut destination = course.ring(&suite.lab)?;
    let room = suite.lab.driver().info().shared_bytes;
    let mut seed = 0;
    for &piece_bytes in piece_sizes(suite.scale) {
        for (waits, of_warp, kernel) in WRITES {
            for &warps in suite.scale.pick(&[2_u32][..], &[8], &[1, 4, 8]) {
                if warps * of_warp * piece_bytes > room {
                    continue;
                }
                for sms in sms(suite) {
                    if suite.lacks_time("write") {
                        continue;
                    }
                    let setting = Setting::new(sms, warps, piece_bytes, course.bytes_per_sm);
                    seed += 1;
                    let samples =
                        write_samples(&course, &suite.lab, setting, (kernel, of_warp), seed, &mut destination)?;
                    let mut figure = figure("bulk_write", setting, warps * of_warp, samples);
                    figure.parameters.push(("waits_for", json!(waits)));
                    suite.report.probe("write", figure);
                }
            }
        }
    }
    Ok(())
}

fn write_samples(
    course: &Course,
    lab: &Lab,
    setting: Setting,
    (kernel, stages): (&'static str, u32),
    seed: u32,
    destination: &mut Ring,
) -> Result<Samples, Failure> {
    course.samples(setting, |check| {
        let (into, offset) = destination.take(setting.bytes())?;
        let args = [into, Value::Word(setting.pieces), Value::Word(setting.piece_bytes), Value::Word(seed)];
        let shared_bytes = setting.warps * stages * setting.piece_bytes;
        let (grid, warps) = (setting.sms, setting.warps);
        let time_ns = lab.run(&Shot { kernel, grid, warps, shared_bytes, args: &args, reach: &[] })?;
        if check {
            let piece_words = setting.piece_bytes / 4;
            check_pieces(lab, setting, kernel, destination, offset, |piece, word| {
                let (warp, round) = (piece % setting.grid_warps(), piece / setting.grid_warps());
                let stage = warp % setting.warps * stages + round % stages;
                pattern(stage * piece_words + word, seed)
            })?;
        }
        Ok(time_ns)
    })
}

/// Reads sampled pieces back and compares every word with `expected(piece, word)`.
fn check_pieces(
    lab: &Lab,
    setting: Setting,
    kernel: &str,
    ring: &Ring,
    offset: u64,
    expected: impl Fn(u32, u32) -> u32,
) -> Result<(), Failure> {
    for piece in setting.sample() {
        let at = ring.buffer.ptr().offset(offset + u64::from(piece) * u64::from(setting.piece_bytes));
        let bytes = lab.read(at, setting.piece_bytes as usize)?;
        for (word, found) in (0_u32..).zip(words(&bytes)) {
            let expected = expected(piece, word);
            if found != expected {
                let why = format!("piece {piece}, word {word} is {found:#x}, expected {expected:#x}; {setting:?}");
                return Err(Failure::wrong(kernel, &why));
            }
        }
    }
    Ok(())
}

/// Group `copy`.
pub fn copy(suite: &mut Suite) -> Result<(), Failure> {
    for sms in sms(suite) {
        measure_copy(suite, sms)?;
        measure_plain(suite, sms)?;
    }
    Ok(())
}

/// A copy by loads and stores of threads.
fn measure_plain(suite: &mut Suite, sms: u32) -> Result<(), Failure> {
    let mut course = Course::new(suite);
    if suite.scale == Scale::Modelled {
        // Long enough that the launch does not count; as much memory as the two launches touch.
        course.bytes_per_sm = PLAIN_BYTES_PER_SM;
    }
    let setting = Setting::new(sms, PLAIN_WARPS, PLAIN_PIECE_BYTES, course.bytes_per_sm);
    course.ring_bytes = course.ring_bytes.max((2 * setting.bytes()).next_multiple_of(4096));
    let mut source = course.source(&suite.lab)?;
    let mut destination = course.ring(&suite.lab)?;
    let samples = plain_samples(&course, &suite.lab, setting, &mut source, &mut destination)?;
    suite.report.probe("copy", figure("plain_copy", setting, PLAIN_WARPS, samples));
    Ok(())
}

fn plain_samples(
    course: &Course,
    lab: &Lab,
    setting: Setting,
    source: &mut Ring,
    destination: &mut Ring,
) -> Result<Samples, Failure> {
    course.samples(setting, |check| {
        let (from, from_offset) = source.take(setting.bytes())?;
        let (into, into_offset) = destination.take(setting.bytes())?;
        let args = [from, into, Value::Long(setting.bytes())];
        let (grid, warps) = (setting.sms, setting.warps);
        let time_ns =
            lab.run(&Shot { kernel: "probe_plain", grid, warps, shared_bytes: 0, args: &args, reach: &[] })?;
        if check {
            let first = (from_offset / 4) as u32;
            check_pieces(lab, setting, "probe_plain", destination, into_offset, |piece, word| {
                pattern(first + piece * (setting.piece_bytes / 4) + word, SOURCE_SEED)
            })?;
        }
        Ok(time_ns)
    })
}

/// GB/s of the fastest plain copy on `sms` SMs, measured if it was not yet.
pub fn limit(suite: &mut Suite, sms: u32) -> Result<f64, Failure> {
    if !suite.limits.0.contains_key(&sms) {
        measure_copy(suite, sms)?;
    }
    Ok(suite.limits.0.get(&sms).copied().unwrap_or(0.0))
}

fn measure_copy(suite: &mut Suite, sms: u32) -> Result<(), Failure> {
    let course = Course::new(suite);
    let mut source = course.source(&suite.lab)?;
    let mut destination = course.ring(&suite.lab)?;
    let room = suite.lab.driver().info().shared_bytes;
    let mut best = 0.0_f64;
    let (small_pieces, small_warps) = suite.scale.modelled((&[4_u32 << 10][..], 11), (&[1 << 10, 4 << 10][..], 3_u32));
    for &piece_bytes in suite.scale.pick(small_pieces, &[2 << 10, 4 << 10], &[1 << 10, 2 << 10, 4 << 10, 8 << 10]) {
        for &warps in suite.scale.pick(&[small_warps][..], &[11], &[1, 4, 8, 11, 15]) {
            if BARRIER_AREA + warps * COPY_STAGES * piece_bytes > room {
                continue;
            }
            let setting = Setting::new(sms, warps, piece_bytes, course.bytes_per_sm);
            let samples = copy_samples(&course, &suite.lab, setting, &mut source, &mut destination)?;
            best = best.max(samples.median());
            suite.report.probe("copy", figure("bulk_copy", setting, warps * COPY_STAGES, samples));
        }
    }
    suite.limits.0.insert(sms, best);
    Ok(())
}

fn copy_samples(
    course: &Course,
    lab: &Lab,
    setting: Setting,
    source: &mut Ring,
    destination: &mut Ring,
) -> Result<Samples, Failure> {
    course.samples(setting, |check| {
        let (from, from_offset) = source.take(setting.bytes())?;
        let (into, into_offset) = destination.take(setting.bytes())?;
        if let (Value::Memory(address, bytes), true) = (into, check) {
            lab.driver().fill(address, 0xa5, bytes, lab.timer().stream())?;
        }
        let args = [from, into, Value::Word(setting.pieces), Value::Word(setting.piece_bytes)];
        let shared_bytes = BARRIER_AREA + setting.warps * COPY_STAGES * setting.piece_bytes;
        let (grid, warps) = (setting.sms, setting.warps);
        let time_ns = lab.run(&Shot { kernel: "probe_copy", grid, warps, shared_bytes, args: &args, reach: &[] })?;
        if check {
            let first = (from_offset / 4) as u32;
            check_pieces(lab, setting, "probe_copy", destination, into_offset, |piece, word| {
                pattern(first + piece * (setting.piece_bytes / 4) + word, SOURCE_SEED)
            })?;
        }
        Ok(time_ns)
    })
}
