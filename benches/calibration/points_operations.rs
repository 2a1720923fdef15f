//! Points that are operations of whole worlds.
//!
//! Their authors tuned their kernels for each of them; ours have the library's defaults for the SMs of the point. DeepEP timed dispatch along a handle, from the call on; its figures are compared with
//! whole dispatches, as everywhere in this library, and with the kernel alone beside.
//!
//! DeepEP: README and tests of deepseek-ai/DeepEP, V1. Hybrid-EP: README of its branch `hybrid-ep`.

use super::point::{Figure, How, Operation, Point, Rows, World};

const NORMAL: &str = "DeepEP V1, normal kernels, 24 SMs";
const LOW: &str = "DeepEP V1, low latency kernels";
const HYBRID: &str = "Hybrid-EP, random router, kernel only";

/// DeepEP's normal worlds by nodes.
pub const fn normal(nodes: u32) -> World {
    let node_limit = match nodes {
        1 => 0,
        2..=3 => nodes,
        _ => 4,
    };
    World { nodes, gpus: 8, tokens: 4096, node_limit, rows: Rows::Fp8, sms: 24, direct: false }
}

/// Hybrid-EP's worlds. Its kernels write rows where they belong, as direct landing does.
pub const fn hybrid(nodes: u32, sms: u32, rows: Rows) -> World {
    World { nodes, gpus: 8, tokens: 4096, node_limit: 0, rows, sms, direct: true }
}

/// Low latency: one node of 8, or nodes of one GPU, so that everything goes by NIC.
pub const fn low(nodes: u32, gpus: u32) -> World {
    let sms = match nodes {
        1 => 24,
        2..=32 => 16,
        _ => 3,
    };
    World { nodes, gpus, tokens: 128, node_limit: 0, rows: Rows::Fp8, sms, direct: false }
}

const fn point(
    (group, source, machine): (&'static str, &'static str, &'static str),
    name: &'static str,
    world: World,
    figure: Figure,
    published: f64,
) -> Point {
    let unit = if matches!(figure, Figure::DispatchUs | Figure::CombineUs) { "us" } else { "GB/s" };
    Point { group, name, source, machine, published, unit, how: How::Operation(Operation { world, figure }) }
}

const DEEPEP: (&str, &str, &str) = ("DeepEP normal", NORMAL, "h800-cx7");
const DEEPEP_LOW: (&str, &str, &str) = ("DeepEP low latency", LOW, "h800-cx7");
const HYBRID_EP: (&str, &str, &str) = ("Hybrid-EP", HYBRID, "h100-cx7");

use Figure::{CombineGbs, CombineUs, DispatchGbs, DispatchKernelGbs, DispatchUs};
use Rows::{Bf16, Fp8};

/// Bandwidths at 4,096 tokens.
pub const THROUGHPUT: &[Point] = &[
    point(DEEPEP, "EP8 dispatch FP8", normal(1), DispatchGbs, 153.0),
    point(DEEPEP, "EP8 combine", normal(1), CombineGbs, 158.0),
    point(DEEPEP, "EP16 dispatch FP8", normal(2), DispatchGbs, 43.0),
    point(DEEPEP, "EP16 combine", normal(2), CombineGbs, 43.0),
    point(DEEPEP, "EP64 dispatch FP8", normal(8), DispatchGbs, 51.0),
    point(DEEPEP, "EP64 combine", normal(8), CombineGbs, 50.0),
    point(HYBRID_EP, "EP16, 4 SMs, dispatch FP8", hybrid(2, 4, Fp8), DispatchKernelGbs, 34.0),
    point(HYBRID_EP, "EP16, 4 SMs, dispatch bf16", hybrid(2, 4, Bf16), DispatchKernelGbs, 44.4),
    point(HYBRID_EP, "EP16, 4 SMs, combine", hybrid(2, 4, Bf16), CombineGbs, 52.0),
    point(HYBRID_EP, "EP16, 16 SMs, dispatch FP8", hybrid(2, 16, Fp8), DispatchKernelGbs, 68.5),
    point(HYBRID_EP, "EP16, 16 SMs, dispatch bf16", hybrid(2, 16, Bf16), DispatchKernelGbs, 71.7),
    point(HYBRID_EP, "EP16, 16 SMs, combine", hybrid(2, 16, Bf16), CombineGbs, 63.0),
    point(HYBRID_EP, "EP32, 4 SMs, dispatch FP8", hybrid(4, 4, Fp8), DispatchKernelGbs, 38.5),
    point(HYBRID_EP, "EP32, 4 SMs, dispatch bf16", hybrid(4, 4, Bf16), DispatchKernelGbs, 52.6),
    point(HYBRID_EP, "EP32, 4 SMs, combine", hybrid(4, 4, Bf16), CombineGbs, 51.0),
    point(HYBRID_EP, "EP32, 16 SMs, dispatch FP8", hybrid(4, 16, Fp8), DispatchKernelGbs, 55.4),
    point(HYBRID_EP, "EP32, 16 SMs, dispatch bf16", hybrid(4, 16, Bf16), DispatchKernelGbs, 57.7),
    point(HYBRID_EP, "EP32, 16 SMs, combine", hybrid(4, 16, Bf16), CombineGbs, 57.5),
    point(HYBRID_EP, "EP64, 4 SMs, dispatch FP8", hybrid(8, 4, Fp8), DispatchKernelGbs, 37.5),
    point(HYBRID_EP, "EP64, 4 SMs, dispatch bf16", hybrid(8, 4, Bf16), DispatchKernelGbs, 48.0),
    point(HYBRID_EP, "EP64, 4 SMs, combine", hybrid(8, 4, Bf16), CombineGbs, 46.0),
    point(HYBRID_EP, "EP64, 16 SMs, dispatch FP8", hybrid(8, 16, Fp8), DispatchKernelGbs, 46.5),
    point(HYBRID_EP, "EP64, 16 SMs, dispatch bf16", hybrid(8, 16, Bf16), DispatchKernelGbs, 50.0),
    point(HYBRID_EP, "EP64, 16 SMs, combine", hybrid(8, 16, Bf16), CombineGbs, 49.8),
];

/// Times at 128 tokens.
pub const LATENCY: &[Point] = &[
    point(DEEPEP_LOW, "EP8 dispatch", low(1, 8), DispatchUs, 77.0),
    point(DEEPEP_LOW, "EP8 combine", low(1, 8), CombineUs, 114.0),
    point(DEEPEP_LOW, "EP32 dispatch", low(32, 1), DispatchUs, 155.0),
    point(DEEPEP_LOW, "EP32 combine", low(32, 1), CombineUs, 273.0),
    point(DEEPEP_LOW, "EP128 dispatch", low(128, 1), DispatchUs, 192.0),
    point(DEEPEP_LOW, "EP128 combine", low(128, 1), CombineUs, 369.0),
];
