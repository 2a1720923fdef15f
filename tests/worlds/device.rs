//! Cases of the other modules on a GPU, all ranks of a world sharing it.
//!
//! `WARPFERRY_BACKEND` says where: `auto` (the default) takes a GPU when there is one, `cuda` fails without one, `emu`
//! asks for none. A machine without a GPU runs the same through the stand-in for the driver library, in a process of
//! its own: the library is opened once a process.

use std::process::Command;

use warpferry::driver::cuda::{summary, use_all_hardware_queues, Gpu};
use warpferry::fabric::Device;
use warpferry::World;

use crate::case::{Added, Carried, Case, Format, Link, Ordered, Pattern, Scales, Warps};
use crate::play::attempt_in;
use crate::said;
use crate::skip::skipped;
use crate::standin;

/// Streams of a rank: kernels, control, and those of a served NIC.
const STREAMS_PER_RANK: u32 = 3;
/// Hardware queues of a GPU, at most.
const QUEUES_MAX: u32 = 32;

/// What a GPU is tried with.
fn cases() -> Vec<Case> {
    let base = || Case { schedule: None, ..Case::default() };
    let worlds = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (2, 4), (1, 8)];
    let mut cases = Vec::new();
    for fabric in [Link::Loopback, Link::Mlx5] {
        cases.extend(worlds.map(|(nodes, gpus)| Case { nodes, gpus, fabric, calls: 2, experts_per_rank: 4, ..base() }));
        cases.push(Case { fabric, roles: Warps::Fixed, ..base() });
        cases.push(Case { fabric, hidden: 7168, stage_bytes: 16384, depth_ib: 8, depth_nv: 8, ..base() });
        cases.push(Case { fabric, hidden: 8, topk: 1, channels: 1, ..base() });
        cases.push(Case { fabric, topk: 32, experts_per_rank: 16, ..base() });
        cases.push(Case { fabric, pattern: Pattern::Skewed, tokens: vec![64, 0, 33, 1], views: true, ..base() });
        cases.push(Case { fabric, pattern: Pattern::Nowhere, ..base() });
        cases.push(Case { fabric, sms: vec![(2, 1), (1, 2)], weights: vec![true, false], ..base() });
        cases.push(Case { fabric, tokens: vec![24, 19, 0, 31], ..Case::recorded(2, 4) });
        // All that rows may hold, how they are ordered, and where they land.
        let back = Case { fabric, hidden: 528, weights_back: true, biases: vec![2, 0, 1], calls: 2, ..base() };
        let payload = Carried::Quantize(Format::E4m3, Scales::F32);
        cases.push(Case { payload, sum: Added::Fp32, ..back.clone() });
        cases.push(Case { payload: Carried::Fp8(Format::E5m2, Scales::Ue8m0), sum: Added::Fp16, ..back.clone() });
        cases.push(Case { layout: Ordered::Expert(4), scaled: vec![true, false], payload, ..back.clone() });
        cases.push(Case { bound: vec![Some(5), None], ..back.clone() });
        cases.push(Case { landing: 4096, payload, ..back.clone() });
        cases.push(Case { landing: 32, bound: vec![None, Some(0)], calls: 4, ..back });
    }
    cases
}

fn fits(case: &Case) -> bool {
    case.nodes * case.gpus * STREAMS_PER_RANK <= QUEUES_MAX
}

/// Compares each case on a GPU with the reference; with the driver's own compilation as well.
#[test]
fn on_a_gpu() {
    let backend = std::env::var("WARPFERRY_BACKEND").unwrap_or_else(|_| "auto".to_string());
    if backend == "emu" {
        return skipped("worlds on cuda", "WARPFERRY_BACKEND=emu");
    }
    use_all_hardware_queues();
    let gpu = match Gpu::open(0) {
        Ok(gpu) => gpu,
        Err(error) if backend == "cuda" => panic!("WARPFERRY_BACKEND=cuda: {error}"),
        Err(error) => return skipped("worlds on cuda", error),
    };
    let mut failures = Vec::new();
    let (tried, left): (Vec<Case>, Vec<Case>) = cases().into_iter().partition(fits);
    for (number, case) in tried.iter().enumerate() {
        // Every other one from the text, which the driver compiles.
        let gpu = if number % 2 == 0 { gpu.clone() } else { gpu.clone().compile_kernels() };
        if let Err(what) = play(case, &[gpu]) {
            println!("failed: {case}: {what}");
            let replay = said::line("WARPFERRY_CASE", case, "worlds", "device::replay_on_a_gpu");
            failures.push(format!("{what}\n  replay: {replay}"));
        }
    }
    let verified = tried.len() - failures.len();
    let (device, left) = (&gpu.facts().name, left.len());
    println!("{verified} of {} cases verified on {device}; {left} need more hardware queues", tried.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs the case of `WARPFERRY_CASE` on a GPU.
#[test]
fn replay_on_a_gpu() {
    let Ok(text) = std::env::var("WARPFERRY_CASE") else {
        return skipped("replay on cuda", "WARPFERRY_CASE names no case");
    };
    let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("WARPFERRY_CASE: {error}"));
    use_all_hardware_queues();
    match Gpu::open(0) {
        Ok(gpu) => play(&case, &[gpu]).unwrap_or_else(|what| panic!("{what}")),
        Err(error) => skipped("replay on cuda", error),
    }
}

/// Compares worlds over all GPUs of the machine with the reference: windows are reached by peer access.
#[test]
fn on_several_gpus() {
    use_all_hardware_queues();
    let gpus: Vec<Gpu> = match summary() {
        Ok(summary) => (0..summary.gpus.len()).filter_map(|gpu| Gpu::open(gpu).ok()).collect(),
        Err(error) => return skipped("worlds on several GPUs", error),
    };
    if gpus.len() < 2 {
        return skipped("worlds on several GPUs", format_args!("two are needed, here is {}", gpus.len()));
    }
    let count = gpus.len() as u32;
    for fabric in [Link::Loopback, Link::Mlx5] {
        for (nodes, gpus_per_node) in [(1, count), (count, 1), (2, count)] {
            let case = Case { nodes, gpus: gpus_per_node, fabric, experts_per_rank: 4, ..Case::default() };
            play(&case, &gpus).unwrap_or_else(|what| panic!("{case}: {what}"));
        }
    }
    println!("worlds verified on {count} GPUs");
}

/// Method: two ranks on one GPU with drivers that each have it for themselves, and a GPU named twice.
#[test]
fn ranks_that_share_a_gpu_must_know() {
    use_all_hardware_queues();
    let gpu = match Gpu::open(0) {
        Ok(gpu) => gpu,
        Err(error) => return skipped("ranks that share a GPU", error),
    };
    let config = Case { nodes: 1, experts_per_rank: 4, fabric: Link::Loopback, ..Case::default() }.config();
    let config = config.expect("a small case is valid");
    let alone = || Device::new(gpu.driver().expect("the GPU takes a rank"));
    let said = |made: warpferry::Result<World>| made.expect_err("it must be refused").to_string();
    let refused = said(World::on_devices(&config, &[alone(), alone()]));
    assert!(refused.contains("argument `devices` = 2 ranks on GPU 0, with drivers for 1"), "{refused}");
    let refused = said(World::on_gpus(&config, &[gpu.clone(), gpu.clone()]));
    assert!(refused.contains("argument `gpus` = GPU 0 twice"), "{refused}");
    println!("both were refused");
}

#[test]
fn ranks_that_share_a_gpu_of_the_stand_in_must_know() {
    let Some((ended_well, said)) = stand_in("device::ranks_that_share_a_gpu_must_know", &[]) else { return };
    assert!(ended_well && said.contains("both were refused"), "{said}");
}

fn play(case: &Case, gpus: &[Gpu]) -> Result<(), String> {
    let config = case.config().map_err(|error| format!("the case is not valid: {error}"))?;
    let mut world = World::on_gpus(&config, gpus).map_err(|error| format!("world: {error}"))?;
    attempt_in(case, &mut world)?;
    world.close().map_err(|error| format!("close: {error}"))
}

/// A test in a process whose driver library is the stand-in, with these settings; what it said.
pub fn stand_in(test: &str, settings: &[(&str, &str)]) -> Option<(bool, String)> {
    let folder = standin::folder()?;
    let own = std::env::current_exe().expect("a test has a program");
    let output = Command::new(own)
        .args([test, "--exact", "--nocapture"])
        .env("LD_LIBRARY_PATH", folder.path())
        .env("WARPFERRY_BACKEND", "cuda")
        .env("RUST_BACKTRACE", "0")
        .envs(settings.iter().copied())
        .output()
        .expect("the test's own program runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), said))
}

/// Method: every case; taking, freeing and loading wait for running kernels, as a GPU's driver may.
#[test]
fn on_the_stand_in() {
    let Some((ended_well, said)) = stand_in("device::on_a_gpu", &[("WARPFERRY_CUDA_EMU_STRICT_SYNC", "1")]) else {
        return;
    };
    assert!(ended_well && said.contains(" cases verified on"), "{said}");
}

#[test]
fn on_two_gpus_of_the_stand_in() {
    let Some((ended_well, said)) = stand_in("device::on_several_gpus", &[("WARPFERRY_CUDA_EMU_DEVICES", "2")]) else {
        return;
    };
    assert!(ended_well && said.contains("worlds verified on 2 GPUs"), "{said}");
}

/// Method: the library is told to fail; the case must end with an error that says what and where, and end at all.
#[test]
fn failures_of_the_driver_are_told() {
    let case = Case { gpus: 1, fabric: Link::Loopback, ..Case::default() }.to_string();
    let tried = [
        ("on_several_gpus", "WARPFERRY_CUDA_EMU_PEERS", "0", "needs peer access from GPU "),
        (
            "replay_on_a_gpu",
            "WARPFERRY_CUDA_EMU_FAIL",
            "cuLaunchKernel:719:3",
            "cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED (719)",
        ),
        (
            "replay_on_a_gpu",
            "WARPFERRY_CUDA_EMU_FAIL",
            "cuMemAlloc_v2:2:1,cuMemAlloc_v2:2:2",
            "cuMemAlloc_v2 failed: CUDA_ERROR_OUT_OF_MEMORY (2)",
        ),
        ("replay_on_a_gpu", "WARPFERRY_CUDA_EMU_FAIL", "cuModuleLoadDataEx:218:2", "CUDA_ERROR_INVALID_PTX (218)"),
        (
            "replay_on_a_gpu",
            "CUDA_DEVICE_MAX_CONNECTIONS",
            "2",
            "argument `CUDA_DEVICE_MAX_CONNECTIONS` = 2 hardware queues",
        ),
    ];
    for (test, name, value, want) in tried {
        let settings = [(name, value), ("WARPFERRY_CASE", &case), ("WARPFERRY_CUDA_EMU_DEVICES", "2")];
        let test = format!("device::{test}");
        let Some((ended_well, said)) = stand_in(&test, &settings) else { return };
        assert!(!ended_well && said.contains(want), "{name}={value}: `{want}` is not in\n{said}");
    }
}
