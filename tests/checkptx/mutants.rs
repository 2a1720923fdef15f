//! Kernels damaged on purpose: a check that does not see its mutants could not fail.
//!
//! Method: text of a kernel is replaced, and the check's cases run on the emulator until one goes wrong: wrong bytes, a
//! broken guard, a fault, a deadline. What a sequentially consistent emulator cannot see (orders of generic accesses,
//! proxy fences) is not in the list.

use warpferry::kernel::{KernelImage, KERNELS};

use crate::backend::Backend;
use crate::cases::Mismatch;
use crate::check::Check;
use crate::{ALL, CHECKS};

/// The check that must see it, the kernel, the text replaced (all places), and what replaces it.
struct Mutant {
    check: &'static str,
    kernel: &'static str,
    name: &'static str,
    from: &'static str,
    to: &'static str,
}

/// A mutant of the kernel that is called like its check.
const fn of(check: &'static str, name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { check, kernel: check, name, from, to }
}

/// A mutant that worlds must see.
const fn world(kernel: &'static str, name: &'static str, from: &'static str, to: &'static str) -> Mutant {
    Mutant { check: "world", kernel, name, from, to }
}

const MUTANTS: &[Mutant] = &[
    of("bulk_copy", "a load is not awaited", "@!_landed bra _await;", ""),
    of("bulk_copy", "a stage is loaded while its store reads it", "cp.async.bulk.wait_group.read 1;", ""),
    of(
        "bulk_copy",
        "half of the parity is forgotten",
        "shr.u32 parity, stage_use, 2;",
        "shr.u32 parity, stage_use, 3;",
    ),
    of(
        "bulk_copy",
        "the last piece is as long as all",
        "min.u64 left, left, destination;",
        "mov.u64 left, destination;",
    ),
    of(
        "bulk_copy",
        "every piece is stored one word on",
        "add.u64 destination, to, store_offset;",
        "add.u64 destination, to, store_offset; add.u64 destination, destination, 16;",
    ),
    of("bulk_edit", "a word is not changed", "xor.b32 word2, word2, key;", ""),
    of(
        "bulk_edit",
        "every second column is not changed",
        "add.u32 column, column, 512;",
        "add.u32 column, column, 1024;",
    ),
    of("ring", "stores are published before they are written", "cp.async.bulk.wait_group 0;", ""),
    of(
        "ring",
        "stores are only read before they are published",
        "cp.async.bulk.wait_group 0;",
        "cp.async.bulk.wait_group.read 0;",
    ),
    of("ring", "a word is not awaited", "@_reached bra _here;", "bra _here;"),
    of("ring", "room is not asked for", "max.s64 reach, reach, 0;", "mov.u64 reach, 0;"),
    of(
        "ring",
        "a tail is one too high",
        "st.relaxed.sys.global.u64 [tail_word], value;",
        "add.u64 value, value, 1; @leader st.relaxed.sys.global.u64 [tail_word], value;",
    ),
    of("ring", "slots are not given back", "@leader st.relaxed.sys.global.u64 [head_word], value;", ""),
    of("claims", "a claim does not clear the bit", "old, [index + 640], after;", "old, [index + 640], 0xffffffff;"),
    of("claims", "a waiting stream is not given back", "atom.release.cta.shared.or.b32 old, [word + 256], bit;", ""),
    of("claims", "a ready stream is not given back", "atom.release.cta.shared.or.b32 old, [word + 640], bit;", ""),
    of(
        "claims",
        "a woken stream is not made ready",
        "atom.release.cta.shared.or.b32 set, [at + 640], reached_set;",
        "",
    ),
    of("claims", "a stream that is done stays open", "red.relaxed.cta.shared.add.u32 [smem + 0], 0xffffffff;", ""),
    of("claims", "progress is not written back", "st.shared.u32 [stream + 8], next;", ""),
    of("mover", "a load is not awaited", "@!_landed bra _await;", ""),
    of("mover", "a stage is loaded while its store reads it", "cp.async.bulk.wait_group.read 1;", ""),
    of("mover", "headers of rows are loaded", "max.u32 low, load_offset, skip_in;", "mov.u32 low, load_offset;"),
    of("mover", "bare headers are stored", "max.u32 low, piece_offset, skip_out;", "mov.u32 low, piece_offset;"),
    of("mover", "the ring does not wrap", "and.b32 slot, slot, depth_mask;", ""),
    of("mover", "loads of a claim cut short stay", "mov.pred drops, 0;", "mov.pred drops, 0; mov.u32 in_flight, 0;"),
    of("summer", "a sum starts from its second term", "mov.pred _fresh, 0;", ""),
    of(
        "summer",
        "a node's sum is not rounded",
        "setp.ge.u32 _in_home, _number, home_first;",
        "setp.lt.u32 _in_home, _number, _number;",
    ),
    of("summer", "a result is overwritten while its store reads it", "@leader cp.async.bulk.wait_group.read 1;", ""),
    of(
        "summer",
        "calls of headers are not looked at",
        "setp.ne.u32 bad, found_call, call;",
        "setp.ne.u32 bad, call, call;",
    ),
    of("summer", "whether weights follow is not looked at", "setp.ne.or.u32 bad, found_weighs, weighs, bad;", ""),
    of("summer", "weights of the terms are not added", "setp.eq.u32 is, weighs, 0;", "setp.eq.u32 is, weighs, weighs;"),
    of("summer", "a weight is stored one place on", "[from + 4], v1;", "[from + 8], v1;"),
    of("summer", "more weights are stored than there are", "setp.gt.u32 is, low, 3;", "setp.gt.u32 is, low, 0;"),
    of("summer", "a row is not scaled", "mul.rn.f32 x3, x3, _scale;", ""),
    of("summer", "the first row is not scaled", "mul.rn.f32 total7, total7, _scale;", ""),
    of("summer", "every row has the first one's scale", "add.u32 _entry, _entry, 4;", ""),
    of("summer", "own weights are summed like others", "@bare bra weight_own;", ""),
    of("summer", "rows are loaded with a header", "@bare bra load_bare;", ""),
    of("summer", "a bias is left out", "add.u32 adds, terms, biases;", "mov.u32 adds, terms;"),
    of(
        "summer",
        "biases are loaded with a header",
        "max.u32 low, load_offset, header_bytes;",
        "mov.u32 low, load_offset;",
    ),
    of(
        "eight",
        "two elements change places",
        "cvt.rn.bf16x2.f32 v1, total3, total2;",
        "cvt.rn.bf16x2.f32 v1, total2, total3;",
    ),
    of("eight", "rounding goes towards zero", "cvt.rn.bf16x2.f32 v0,", "cvt.rz.bf16x2.f32 v0,"),
    of(
        "eight",
        "an element is added twice",
        "add.rn.f32 total5, total5, x5;",
        "add.rn.f32 total5, total5, x5; add.rn.f32 total5, total5, x5;",
    ),
    of(
        "quant_e4m3",
        "half of a group is not asked",
        "shfl.sync.bfly.b32 _other, _amax, 8, 31, 0xffffffff;",
        "mov.b32 _other, _amax;",
    ),
    of(
        "quant_e4m3",
        "a group is a whole warp",
        "max.f32 _amax, _amax, 0f38d1b717;",
        "shfl.sync.bfly.b32 _inverse, _amax, 16, 31, 0xffffffff; max.f32 _amax, _amax, _inverse; \
         max.f32 _amax, _amax, 0f38d1b717;",
    ),
    of("quant_e4m3", "a NaN is the largest", "max.bf16x2 _amax,", "max.NaN.bf16x2 _amax,"),
    of("quant_e4m3", "negative elements are not counted", "max.xorsign.abs.bf16x2", "max.bf16x2"),
    of("quant_e4m3", "zeros have the scale zero", "max.f32 _amax, _amax, 0f38d1b717;", ""),
    of(
        "quant_e4m3",
        "an inverse is rounded twice",
        "div.rn.f32 _inverse, 0f43e00000, _amax;",
        "rcp.rn.f32 _inverse, scale;",
    ),
    of(
        "quant_e4m3",
        "a quotient that is a power of two is rounded up",
        "add.u32 scale, _amax, 0x1fffff;",
        "add.u32 scale, _amax, 0x200000;",
    ),
    of(
        "quant_e5m2",
        "a scale is below the quotient",
        "add.u32 scale, _amax, 0x1fffff;",
        "add.u32 scale, _amax, 0xffff;",
    ),
    of(
        "quant_e5m2",
        "two elements change places",
        "f32 _upper_pair, _odd, _even; mov.b32 q1,",
        "f32 _upper_pair, _even, _odd; mov.b32 q1,",
    ),
    of(
        "quant_e5m2",
        "pairs change places",
        "mov.b32 q0, {_lower_pair, _upper_pair};",
        "mov.b32 q0, {_upper_pair, _lower_pair};",
    ),
    of(
        "quant_e5m2",
        "elements keep the bits of their neighbours",
        "and.b32 _odd, v2, 0xffff0000;",
        "mov.b32 _odd, v2;",
    ),
    of(
        "quant_e5m2",
        "a scale byte is one too high",
        "shr.u32 scale_byte, scale, 23;",
        "shr.u32 scale_byte, scale, 23; add.u32 scale_byte, scale_byte, 1;",
    ),
    of(
        "quant_e5m2",
        "a quotient is a product",
        "div.rn.f32 scale, _amax, 0f47600000;",
        "mul.rn.f32 scale, _amax, 0f37924925;",
    ),
    of("bits", "a byte swap stops half-way", "prmt.b32 result, low, 0, 0x0123;", "prmt.b32 result, low, 0, 0x1032;"),
    of(
        "bits",
        "halves of a long word stay",
        "prmt.b32 result, _swap_high, 0, 0x0123;",
        "prmt.b32 result, _swap_low, 0, 0x0123;",
    ),
    of("bits", "the highest bit is found", "brev.b32 high, low; clz.b32 high, high;", "clz.b32 high, low;"),
    of(
        "bits",
        "counters are little-endian",
        "prmt.b32 _count_low, _count_high, 0, 0x4401;",
        "prmt.b32 _count_low, _count_high, 0, 0x4410;",
    ),
    of("addresses_mlx5", "a node counts itself", "selp.u32 word, 1, 0, _above;", "selp.u32 word, 0, 0, _above;"),
    of(
        "addresses_mlx5",
        "a flow is of another depth",
        "mul.lo.u32 _ring_flow, _ring_flow, depth_nv;",
        "mul.lo.u32 _ring_flow, _ring_flow, depth_ib;",
    ),
    of(
        "addresses_loopback",
        "the wrong node's window",
        "mul.wide.u32 _rail_entry, peer, 8;",
        "mul.wide.u32 _rail_entry, node, 8;",
    ),
    of(
        "post",
        "a queue's number is not swapped",
        "prmt.b32 _a1, _entry_number, 0, 0x0123;",
        "mov.b32 _a1, _entry_number;",
    ),
    of(
        "post",
        "a write is a word too long",
        "prmt.b32 _c0, bytes, 0, 0x0123;",
        "add.u32 _c0, bytes, 4; prmt.b32 _c0, _c0, 0, 0x0123;",
    ),
    of("post", "no doorbell", "st.mmio.relaxed.sys.global.u64 [_bell_record], first_words;", ""),
    of("post", "no doorbell record", "st.release.sys.global.u32 [_bell_record], _bell_count;", ""),
    of(
        "post",
        "an entry asks for no completion",
        "selp.u32 _entry_flags, 0x08000000, 0, signal;",
        "mov.u32 _entry_flags, 0;",
    ),
    of("put_mlx5", "a chunk does not wrap", "selp.u32 _entries, 3, 2, _wraps;", "selp.u32 _entries, 2, 2, _wraps;"),
    of(
        "put_mlx5",
        "posted requests are not kept",
        "@!_signal bra _rung; st.global.u64 [_posted_at], _posted;",
        "@!_signal bra _rung;",
    ),
    of("put_mlx5", "slots do not wait for the NIC", "@_covers st.global.u64 [_word], _posted;", ""),
    of(
        "put_loopback",
        "a tail is the chunk's start",
        "add.u64 _offset, _offset, position;",
        "mov.u64 _offset, position;",
    ),
    of("completions", "counts are not widened", "and.b64 _seen, _seen, 0xffff;", ""),
    of("completions", "an error is a completion", "@!_failed bra _widen;", "bra _widen;"),
    of(
        "completions",
        "an entry that nobody wrote counts",
        "setp.eq.u32 _skip, _opcode, 15;",
        "setp.ne.u32 _skip, _opcode, _opcode;",
    ),
    of(
        "room",
        "a credit queue takes one more",
        "cvt.u64.u32 _queue, _mask;",
        "add.u32 _mask, _mask, 1; cvt.u64.u32 _queue, _mask;",
    ),
    of("room", "the payload queue is asked for credits", "add.u32 _at, _at, (8 * 1);", "add.u32 _at, _at, (8 * 0);"),
    of(
        "room",
        "the first turn of a ring is one shorter",
        "setp.le.u64 _free, reach, _depth;",
        "setp.lt.u64 _free, reach, _depth;",
    ),
    of(
        "room",
        "slots are free before they are",
        "setp.ge.u64 _free, _done, need_value;",
        "setp.ge.u64 _free, need_value, _done;",
    ),
    of("give_up", "the last cause is kept", "@_first st.shared.u64 [smem + 40],", "st.shared.u64 [smem + 40],"),
    of("give_up", "nobody is told to leave", "@_first red.release.cta.shared.or.b32 [smem + 4], 1;", ""),
    of(
        "poison_shared",
        "some words stay",
        "add.u32 at, at, threads; bra fill;",
        "add.u32 at, at, threads; add.u32 at, at, threads; bra fill;",
    ),
    of(
        "layout",
        "a channel lists its tokens from one on",
        "add.u32 bit, bit, slot;",
        "add.u32 bit, bit, slot; add.u32 bit, bit, 1;",
    ),
    of(
        "layout",
        "a bit of the mask is another rank's",
        "rem.u32 local, rank, gpus;",
        "rem.u32 local, rank, gpus; xor.b32 local, local, 1;",
    ),
    of("layout", "a refused choice is not told", "st.release.sys.global.u32 [status + 0], 6;", ""),
    world("exchange_mlx5", "base rows ignore lower ranks", "sub.u32 sum, below, sum;", "mov.u32 sum, 0;"),
    world(
        "dispatch_staged_mlx5",
        "entries are not released before the doorbell",
        "st.release.sys.global.u32 [_bell_record], _bell_count; fence.acq_rel.sys;",
        "st.relaxed.sys.global.u32 [_bell_record], _bell_count;",
    ),
    world("dispatch_staged_mlx5", "stores are published before they are written", "cp.async.bulk.wait_group 0;", ""),
    world(
        "dispatch_staged_loopback",
        "the mask of the wrong node travels",
        "mad.lo.u32 word, token, nodes, peer;",
        "mad.lo.u32 word, token, nodes, node;",
    ),
    world("combine_staged_bf16_loopback", "a sum starts from its second term", "mov.pred _fresh, 0;", ""),
];

/// The kernel with `from` replaced; `None` when it is not there.
fn damaged(mutant: &Mutant) -> Option<&'static KernelImage> {
    let image = CHECKS.iter().chain(KERNELS).find(|image| image.name == mutant.kernel)?;
    // Expanded text has runs of blanks, and phrases over several lines: one line with single blanks has neither. The
    // text without markers is taken, since a marker needs a line of its own.
    let text = image.text.lines().map(code).collect::<Vec<_>>().join(" ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.contains(mutant.from) {
        return None;
    }
    let text: &'static str = Box::leak(text.replace(mutant.from, mutant.to).into_boxed_str());
    Some(Box::leak(Box::new(KernelImage { text, marked_text: text, cubins: &[], ..*image })))
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The first case in which a check sees a mutant.
fn seen(check: &Check, mutant: &'static KernelImage) -> Option<Mismatch> {
    let schedules = [None, Some(1), Some(2), Some(3), Some(4)];
    let cases = (check.cases)(1);
    schedules.into_iter().find_map(|schedule| {
        cases.iter().find_map(|case| check.run(case, Backend::Emulator { schedule }, Some(mutant)).err())
    })
}

#[test]
fn every_mutant_is_seen() {
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let name = format!("{}, {}: {}", mutant.check, mutant.kernel, mutant.name);
        let check = ALL.iter().find(|check| check.name == mutant.check).expect("the mutant's check is listed");
        let Some(image) = damaged(mutant) else {
            survivors.push(format!("{name}: `{}` is not in the kernel any more", mutant.from));
            continue;
        };
        match seen(check, image) {
            Some(mismatch) => {
                let what = mismatch.to_string();
                println!("{name}: {}", what.lines().next().unwrap_or_default().chars().take(160).collect::<String>());
            }
            None => survivors.push(name),
        }
    }
    assert!(
        survivors.is_empty(),
        "{} of {} mutants survive:\n  {}",
        survivors.len(),
        MUTANTS.len(),
        survivors.join("\n  ")
    );
}

#[test]
fn every_check_has_a_mutant() {
    let without: Vec<&str> =
        ALL.iter().map(|check| check.name).filter(|name| MUTANTS.iter().all(|mutant| mutant.check != *name)).collect();
    assert!(without.is_empty(), "no mutant shows that these checks can fail: {without:?}");
}

#[test]
fn every_check_kernel_has_a_check() {
    let without: Vec<&str> =
        CHECKS.iter().map(|image| image.name).filter(|name| ALL.iter().all(|check| check.name != *name)).collect();
    assert!(without.is_empty(), "check kernels that nobody runs: {without:?}");
}
