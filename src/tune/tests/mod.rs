//! Tests of the tuner on cost surfaces whose best point is known by looking at all.

mod files;
mod searching;
mod spaces;
mod stores;
mod surface;

use super::*;
use crate::plan::{Fabric, Fp8, Limits, Payload, ScaleKind, Shape};
use crate::topology::Topology;
use surface::{Machine, Surface, B200, H800};

fn limits(machine: &Machine) -> Limits {
    Limits { name: machine.name.to_string(), sms: machine.sms, shared_bytes: 232_448, memory_bytes: 80 << 30 }
}

fn shape(tokens: u32) -> Shape {
    let payload = Payload::Fp8(Fp8::E4m3, ScaleKind::F32);
    let shape = Shape::new(7168, 256, 8, tokens).expect("a shape");
    shape.with_payload(payload).expect("rows of FP8")
}

/// The whole space of a machine and a world.
fn whole(machine: &Machine, nodes: u32, gpus: u32, tokens: u32) -> Space {
    let topology = Topology::new(nodes, gpus).expect("a world");
    Space::new(topology, shape(tokens), Fabric::Mlx5, limits(machine)).expect("a space")
}

/// A space that is small enough to look at all of it.
fn small(machine: &Machine, nodes: u32, gpus: u32, tokens: u32) -> Space {
    let narrowed: &[(Axis, &[u32])] = &[
        (Axis::DispatchSms, &[2, 4, 8, 12, 16, 24]),
        (Axis::CombineSms, &[2, 4, 8, 12, 16, 24]),
        (Axis::Channels, &[8, 16, 32]),
        (Axis::ChunkIb, &[1, 2, 4, 8]),
        (Axis::DepthIb, &[8, 16]),
        (Axis::DepthNv, &[4, 8]),
        (Axis::Workers, &[7, 11, 15]),
        (Axis::StageBytes, &[8192, 16384]),
        (Axis::Roles, &[0]),
    ];
    let space = whole(machine, nodes, gpus, tokens);
    let keep = |axis: Axis| nodes > 1 || !matches!(axis, Axis::ChunkIb | Axis::DepthIb);
    let narrowed = narrowed.iter().filter(|(axis, _)| keep(*axis));
    narrowed.fold(space, |space, (axis, values)| space.with_axis(*axis, values).expect("an axis"))
}

fn run(space: &Space, machine: Machine, objective: Objective, load: Load) -> Outcome {
    let search = Search::new(space, "uniform").objective(objective).load(load);
    search.run(&mut Surface::new(machine)).unwrap_or_else(|error| panic!("{error}"))
}

fn exhaust(space: &Space, machine: Machine, objective: Objective, load: Load) -> Outcome {
    let search = Search::new(space, "uniform").objective(objective).load(load);
    search.exhaustive(&mut Surface::new(machine)).unwrap_or_else(|error| panic!("{error}"))
}
