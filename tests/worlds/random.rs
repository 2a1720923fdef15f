//! Cases from a generator, which shrinks a failing one to the smallest that still fails.
//!
//! `WARPFERRY_SEED` chooses other cases, `WARPFERRY_CASES` how many.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::case::{Added, Carried, Case, Format, Link, Numbers, Ordered, Pattern, Scales, Warps};
use crate::play::play;

/// Cases without `WARPFERRY_CASES`.
const CASES: u32 = 48;
/// Most attempts to make a failing case smaller.
const SHRINKS_MAX: u32 = 200;
/// Most rows that a case moves, so that none takes long.
const ROWS_MAX: u32 = 1200;

/// An environment variable's number.
pub fn number(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} = `{text}` is no number")),
        Err(_) => usual,
    }
}

#[test]
fn cases_from_a_generator() {
    let seed = number("WARPFERRY_SEED", 1);
    let cases = number("WARPFERRY_CASES", CASES.into()) as u32;
    println!("WARPFERRY_SEED={seed} WARPFERRY_CASES={cases}");
    let mut runner = runner(cases, seed);
    let outcome = runner.run(&cases_that_are_valid(), |case| {
        play(&case).map(drop).map_err(|failure| TestCaseError::fail(failure.to_string()))
    });
    if let Err(error) = outcome {
        panic!("WARPFERRY_SEED={seed}: {error}");
    }
}

/// A runner of this many cases, from this seed.
pub fn runner(cases: u32, seed: u64) -> TestRunner {
    let config = Config { cases, max_shrink_iters: SHRINKS_MAX, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Everything generated must be a case that the library takes: a generator that makes others tests less than it says.
#[test]
fn generated_cases_are_valid() {
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&cases_that_are_valid(), |case| {
        let fail = |error: warpferry::Error| TestCaseError::fail(format!("{case}: {error}"));
        let config = case.config().map_err(fail)?;
        for rank in 0..config.topology.ranks() {
            config.plan(rank).map_err(fail)?;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Seeds, of which none is smaller than another.
pub fn seeds() -> impl Strategy<Value = u64> {
    any::<u64>().no_shrink()
}

fn worlds() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![
        4 => (1..=3u32, 1..=3u32),
        1 => (1..=6u32, Just(1u32)),
        1 => (Just(1u32), 4..=8u32),
        1 => Just((4, 2)),
    ]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        5 => (0..=60u32).prop_map(|masked_percent| Pattern::Uniform { masked_percent }),
        1 => Just(Pattern::Skewed),
        1 => (0..64u32).prop_map(|expert| Pattern::OneExpert { expert }),
        1 => Just(Pattern::Everywhere),
    ]
}

fn formats() -> impl Strategy<Value = Format> {
    select(&Format::ALL)
}

fn scales() -> impl Strategy<Value = Scales> {
    select(&Scales::ALL)
}

/// What rows hold: mostly bf16 both ways, else any pair.
pub fn held() -> impl Strategy<Value = (Carried, Added)> {
    let carried = prop_oneof![
        Just(Carried::Bf16),
        Just(Carried::Fp16),
        Just(Carried::Fp32),
        (1..=40u32).prop_map(|sixteens| Carried::Bytes(16 * sixteens)),
        (formats(), scales()).prop_map(|(format, scales)| Carried::Fp8(format, scales)),
        (formats(), scales()).prop_map(|(format, scales)| Carried::Quantize(format, scales)),
    ];
    let added = prop_oneof![Just(Added::Bf16), Just(Added::Fp16), Just(Added::Fp32)];
    prop_oneof![2 => Just((Carried::Bf16, Added::Bf16)), 3 => (carried, added)]
}

/// Elements of a row, more where they are of one byte.
pub fn rows_of_16_bytes(payload: Carried, hidden: u32) -> u32 {
    match payload {
        Carried::Fp8(..) | Carried::Quantize(..) => hidden.next_multiple_of(16),
        _ => hidden,
    }
}

prop_compose! {
    fn moved()(
        seed in seeds(),
        calls in 1..=3u32,
        eighths in prop_oneof![4 => 1..=20u32, 1 => 100..=300u32],
        experts_per_rank in 1..=5u32,
        topk in 1..=32u32,
        tokens in prop::collection::vec(prop_oneof![1 => Just(0u32), 5 => 1..=40u32], 1..=5),
        pattern in patterns(),
        any in any::<bool>(),
        weights in prop::collection::vec(any::<bool>(), 1..=3),
        views in any::<bool>(),
        (payload, sum) in held(),
        weights_back in any::<bool>(),
        biases in prop::collection::vec(0..=2u32, 1..=3),
        layout in prop_oneof![1 => Just(Ordered::Source), 1 => (1..=17u32).prop_map(Ordered::Expert)],
        scaled in prop::collection::vec(any::<bool>(), 1..=3),
        along in prop_oneof![4 => Just(0u32), 1 => 1..=2u32],
        bound in prop_oneof![2 => Just(vec![None]), 1 => prop::collection::vec(prop::option::of(0..=9u32), 1..=3)],
    ) -> Case {
        let numbers = if any { Numbers::Any } else { Numbers::Usual };
        let hidden = rows_of_16_bytes(payload, 8 * eighths);
        Case {
            seed,
            calls,
            along,
            hidden,
            payload,
            sum,
            experts_per_rank,
            topk,
            tokens,
            pattern,
            numbers,
            weights,
            layout,
            scaled,
            bound,
            weights_back,
            biases,
            views,
            ..Case::default()
        }
    }
}

/// Roles that cover every kind when dealt out to the workers: each list has all three letters in its first words.
fn roles() -> impl Strategy<Value = (u32, Warps)> {
    let custom =
        |workers: u32, words: &[&str]| (workers, Warps::Custom(words.iter().map(|word| word.to_string()).collect()));
    prop_oneof![
        3 => (1..=6u32).prop_map(|workers| (workers, Warps::Dynamic)),
        2 => (3..=6u32).prop_map(|workers| (workers, Warps::Fixed)),
        1 => Just(custom(1, &["rsf"])),
        1 => Just(custom(2, &["fs", "r"])),
        1 => Just(custom(4, &["s", "f", "r"])),
    ]
}

prop_compose! {
    fn tuned()(
        channels in 1..=6u32,
        sms in prop::collection::vec((1..=6u32, 1..=6u32), 1..=3),
        depths in (1..=5u32, 1..=5u32),
        chunks in (1..=16u32, 1..=16u32),
        (workers, roles) in roles(),
        stage_kib in prop_oneof![Just(2u32), Just(3), Just(16)],
        schedule in prop::option::of(seeds()),
        resident_ctas in prop::option::of(1..=3usize),
        loopback in prop::bool::weighted(0.3),
        unordered in any::<bool>(),
        piece_bytes in prop_oneof![Just(4096u32), Just(256), Just(64)],
        outstanding in 1..=16u32,
        again in any::<(bool, bool)>(),
        late_completions in prop::bool::weighted(0.3),
        landing in prop_oneof![2 => Just(0u32), 1 => 1..=6u32, 1 => Just(200)],
    ) -> Case {
        let (depth_ib, depth_nv) = (1 << depths.0, 1 << depths.1);
        Case {
            channels,
            sms: sms.iter().map(|&(dispatch, combine)| (dispatch.min(channels), combine.min(channels))).collect(),
            depth_ib,
            depth_nv,
            chunk_ib: chunks.0.min(depth_ib / 2),
            chunk_nv: chunks.1.min(depth_nv / 2),
            workers,
            roles,
            stage_bytes: stage_kib << 10,
            landing: 16 * landing,
            schedule,
            resident_ctas,
            fabric: if loopback { Link::Loopback } else { Link::Mlx5 },
            unordered,
            piece_bytes,
            outstanding,
            retransmit: again.0,
            late_completions,
            read_before_post: again.1,
            ..Case::default()
        }
    }
}

/// Cases that the library takes.
pub fn cases_that_are_valid() -> impl Strategy<Value = Case> {
    (worlds(), moved(), tuned()).prop_map(|((nodes, gpus), moved, tuned)| {
        let ranks = nodes * gpus;
        let topk = moved.topk.min(moved.experts_per_rank * ranks);
        // Rows of a rank's token: at most one a choice and one a rank.
        let rounds = moved.calls * (1 + moved.along);
        let tokens_max = (ROWS_MAX / (ranks * topk.min(ranks) * rounds)).max(1);
        Case {
            nodes,
            gpus,
            topk,
            seed: moved.seed,
            calls: moved.calls,
            along: moved.along,
            hidden: moved.hidden,
            payload: moved.payload,
            sum: moved.sum,
            experts_per_rank: moved.experts_per_rank,
            tokens: moved.tokens.iter().map(|&tokens| tokens.min(tokens_max)).collect(),
            pattern: moved.pattern,
            numbers: moved.numbers,
            weights: moved.weights,
            layout: moved.layout,
            scaled: moved.scaled,
            bound: moved.bound,
            weights_back: moved.weights_back,
            biases: moved.biases,
            views: moved.views,
            ..tuned
        }
    })
}
