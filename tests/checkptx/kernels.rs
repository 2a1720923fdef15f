//! The product's kernels: layout by itself, and whole worlds of dispatch and combine with the exchange between them.

use warpferry::kernel::KernelImage;
use warpferry::plan::blocks::{CommBlock, HandleHead, STATUS_LINE_BYTES};
use warpferry::plan::{Fabric, OutputLayout, Plan, Shape, Tuning};
use warpferry::reference::{channel_tokens, Layout};
use warpferry::Topology;

use crate::backend::{world_on, Backend};
use crate::case::{Case as WorldCase, Link, Numbers, Pattern, Warps};
use crate::cases::{Case, Mismatch};
use crate::check::{run_all, seeds, Check, Runs};
use crate::draw::Draw;
use crate::draws;
use crate::play::{attempt_in, kernels_with};
use crate::rig::{poison, Arg, Rig, Run};

pub static LAYOUT: Check = Check { name: "layout", cases: layouts, run: Runs::Kernels(run_layout) };
pub static WORLD: Check = Check { name: "world", cases: worlds, run: Runs::World(run_world) };

/// Threads of the layout kernel.
const LAYOUT_THREADS: u32 = 1024;
/// `CODE_EXPERT` of a status line.
const EXPERT: u32 = 6;

/// Token counts around warps, channels and the block; nodes of more than 32 ranks; a choice that is no expert.
fn layouts(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |nodes: u64, gpus: u64, per_rank: u64, topk: u64, tokens: u64, room: u64, channels: u64, bad: u64| {
        for seed in seeds(1, more) {
            let case = Case::new("layout").with("nodes", nodes).with("gpus", gpus).with("per_rank", per_rank);
            let case = case.with("topk", topk).with("tokens", tokens).with("room", room).with("channels", channels);
            let at = all.len() as u64;
            all.push(case.with("bad", bad).with("by_expert", at % 2).with("seed", seed * 1000 + at));
        }
    };
    for tokens in [0, 1, 2, 31, 32, 33, 63, 97, 257] {
        add(2, 2, 2, 3, tokens, tokens.max(1), 2, 0);
        add(3, 4, 1, 1, tokens, tokens + 5, 5, 0);
    }
    for tokens in [1023, 1025, 2051] {
        add(4, 8, 2, 8, tokens, tokens, 4, 0);
    }
    add(1, 1, 1, 1, 7, 9, 1, 0);
    add(1, 33, 1, 6, 65, 65, 3, 0);
    add(2, 40, 2, 8, 129, 131, 3, 0);
    for bad in 1..4 {
        add(2, 2, 2, 3, 40, 40, 2, bad);
    }
    all
}

fn run_layout(case: &Case, rig: &Rig) -> Result<(), Mismatch> {
    let (seed, tokens, topk) = (case.number("seed")?, case.number("tokens")?, case.word("topk")?);
    let topology = Topology::new(case.word("nodes")?, case.word("gpus")?)?;
    let experts = case.word("per_rank")? * topology.ranks();
    let by_expert = case.number("by_expert")? > 0;
    let layout = if by_expert { OutputLayout::Experts { align: 1 } } else { OutputLayout::Rows };
    let shape = Shape::new(64, experts, topk, case.word("room")?)?.with_layout(layout)?;
    let tuning = Tuning {
        channels: case.word("channels")?,
        dispatch_sms: 1,
        combine_sms: 1,
        ..Tuning::default_for(topology, shape.dispatch_row_bytes())
    };
    let plan = Plan::new(topology, shape, tuning, Fabric::Mlx5)?;
    let draw = &mut Draw::new(seed, &[1]);
    let mut choices: Vec<i32> = (0..tokens * u64::from(topk))
        .map(|_| if draw.below(8) == 0 { -1 } else { draw.below(experts) as i32 })
        .collect();
    let clean = |choices: &[i32]| -> Vec<i32> {
        choices.iter().map(|&choice| if (0..experts as i32).contains(&choice) { choice } else { -1 }).collect()
    };
    let place = draw.below(choices.len().max(1) as u32) as usize;
    let bad = [None, Some(experts as i32), Some(-2), Some(i32::MIN)][case.number("bad")? as usize];
    if let Some(bad) = bad {
        choices[place] = bad;
    }
    let valid = clean(&choices);
    let reference = Layout::new(topology, shape, &valid)?;
    // Pairs of each expert, of all channels together or of each.
    let channels = shape.expert_channels(&plan.tuning);
    let pairs: Vec<u32> = (0..channels)
        .flat_map(|channel| {
            let part = channel_tokens(tokens as u32, channel, channels);
            let range = (part.start * topk) as usize..(part.end * topk) as usize;
            let own = &valid[range];
            (0..experts as i32)
                .map(|expert| own.iter().filter(|&&choice| choice == expert).count() as u32)
                .collect::<Vec<_>>()
        })
        .collect();

    let given = rig.input("topk_idx", &draws::bytes_of32(choices.iter().map(|&choice| choice as u32)), 4)?;
    let comm = rig.input("comm", &layout_block(&plan).to_bytes(), 8)?;
    let handle = rig.output("handle", plan.handle.bytes, 128)?;
    let status = rig.shared("status", &[0; STATUS_LINE_BYTES], 0)?;
    rig.run(Run {
        kernel: "layout",
        grid: 1,
        block: LAYOUT_THREADS,
        shared_bytes: 0,
        args: &[
            ("comm", Arg::Zone(comm)),
            ("handle", Arg::Zone(handle)),
            ("topk_idx", Arg::Zone(given)),
            ("tokens", Arg::Word(tokens)),
            ("status", Arg::Zone(status)),
        ],
        reach: &[],
    })?;
    let mut line = vec![0; STATUS_LINE_BYTES];
    if let Some(bad) = bad {
        let (token, choice) = (place as u32 / topk, place as u32 % topk);
        line[..4].copy_from_slice(&EXPERT.to_le_bytes());
        line[12..16].copy_from_slice(&token.to_le_bytes());
        line[16..24].copy_from_slice(&u64::from(choice).to_le_bytes());
        line[24..32].copy_from_slice(&i64::from(bad).to_le_bytes());
    }
    rig.expect(status, &line)?;
    rig.expect(handle, &expected_handle(&plan, &reference, &pairs))
}

/// What the layout kernel reads of a communicator.
fn layout_block(plan: &Plan) -> CommBlock {
    let (topology, shape, handle) = (plan.topology, &plan.shape, &plan.handle);
    CommBlock {
        nodes: topology.nodes(),
        gpus: topology.gpus_per_node(),
        ranks: topology.ranks(),
        channels: plan.tuning.channels,
        experts: shape.experts(),
        experts_per_rank: shape.experts_per_rank(topology),
        topk: shape.topk(),
        expert_channels: shape.expert_channels(&plan.tuning),
        mask_words: topology.mask_words(),
        max_tokens: shape.max_tokens(),
        token_masks: handle.token_masks,
        send_tokens: handle.send_tokens,
        send_messages: handle.send_messages,
        send_rows: handle.send_rows,
        expert_rows: handle.expert_rows,
        ..CommBlock::default()
    }
}

/// The handle after layout: what it does not write is poison.
fn expected_handle(plan: &Plan, layout: &Layout, pairs: &[u32]) -> Vec<u8> {
    let (topology, channels, tokens) = (plan.topology, plan.tuning.channels, layout.tokens());
    let mut handle: Vec<u8> = (0..plan.handle.bytes).map(poison).collect();
    let head = HandleHead { tokens, ..HandleHead::default() }.to_bytes();
    handle[..head.len()].copy_from_slice(&head);
    let mut put = |array: u64, index: usize, values: &[u32]| {
        let bytes = draws::bytes_of32(values.iter().copied());
        handle[array as usize + 4 * index..][..bytes.len()].copy_from_slice(&bytes);
    };
    put(plan.handle.token_masks, 0, &layout.token_masks());
    put(plan.handle.expert_rows, 0, pairs);
    for node in 0..topology.nodes() {
        let all = layout.node_tokens(node);
        for channel in 0..channels {
            let part = channel_tokens(tokens, channel, channels);
            let listed: Vec<u32> = all.iter().copied().filter(|token| part.contains(token)).collect();
            let first = node * plan.shape.max_tokens() + part.start;
            put(plan.handle.send_tokens, first as usize, &listed);
            let entry = (channel * topology.nodes() + node) as usize;
            put(plan.handle.send_messages, entry, &[layout.messages(channel, channels, node)]);
        }
    }
    for channel in 0..channels {
        for rank in 0..topology.ranks() {
            let entry = (channel * topology.ranks() + rank) as usize;
            put(plan.handle.send_rows, entry, &[layout.rows(channel, channels, rank)]);
        }
    }
    handle
}

/// Worlds of one to eight ranks, both fabrics; rows around pieces and stages, token counts around chunks and rings,
/// several block sizes, tensors that begin inside larger ones.
fn worlds(more: u64) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |case: WorldCase| {
        for seed in seeds(1, more) {
            let seed = seed * 1000 + all.len() as u64;
            all.push(Case::new("world").with("case", WorldCase { seed, ..case.clone() }).with("seed", seed));
        }
    };
    let shapes = [(1, 1), (1, 2), (2, 1), (3, 1), (2, 2), (1, 5), (3, 2), (7, 1), (2, 4), (4, 2), (1, 8), (8, 1)];
    for (at, (nodes, gpus)) in shapes.into_iter().enumerate() {
        for fabric in [Link::Mlx5, Link::Loopback] {
            let at = at + usize::from(fabric == Link::Loopback);
            add(WorldCase {
                nodes,
                gpus,
                fabric,
                calls: 2,
                experts_per_rank: 3,
                topk: [1, 2, 3][at % 3],
                tokens: vec![9, 0, 17, 4],
                hidden: [8, 16, 248, 256, 264, 504, 520][at % 7],
                workers: [3, 5, 7, 15][at % 4],
                views: at % 2 == 0,
                weights: vec![at % 3 > 0],
                pattern: [Pattern::Uniform { masked_percent: 20 }, Pattern::Skewed, Pattern::Everywhere][at % 3],
                ..WorldCase::default()
            });
        }
    }
    for hidden in [1016, 1024, 1032, 2056] {
        add(WorldCase { hidden, tokens: vec![5, 3], roles: Warps::Fixed, ..WorldCase::default() });
    }
    for (chunk, depth, tokens) in [(1, 2, 11), (2, 8, 33), (4, 16, 70)] {
        add(WorldCase {
            chunk_ib: chunk,
            chunk_nv: chunk,
            depth_ib: depth,
            depth_nv: depth,
            tokens: vec![tokens, tokens - 1, tokens + 1],
            channels: 3,
            sms: vec![(2, 1), (1, 3)],
            numbers: Numbers::Usual,
            ..WorldCase::default()
        });
    }
    all
}

fn run_world(case: &Case, on: Backend, mutant: Option<&'static KernelImage>) -> Result<(), Mismatch> {
    let text = case.text("case").unwrap_or("{}");
    let mut world_case = WorldCase::parse(text).map_err(Mismatch::Failed)?;
    if let Backend::Emulator { schedule } = on {
        world_case.schedule = schedule;
    }
    let config = world_case.config()?;
    let kernels = kernels_with(&config, mutant)?;
    let mut world = world_on(on, config, kernels)?;
    attempt_in(&world_case, &mut world).map_err(Mismatch::Failed)?;
    Ok(world.close()?)
}

#[test]
fn layout_counts_and_lists() {
    run_all(&LAYOUT);
}

#[test]
fn worlds_dispatch_and_combine() {
    run_all(&WORLD);
}
