//! Operations of whole worlds by the model.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use warpferry::bench::{Record, Source, Workload};
use warpferry::gate::Gate;
use warpferry::model::Wanted;
use warpferry::plan::{Fp8, Landing, Payload, Plan, ScaleKind, Shape, Tuning};
use warpferry::{Fabric, Result, Topology};

use super::models::Models;
use super::point::{Figure, How, Operation, Point, Rows, World};

/// Experts, choices of a token and elements of a row of every world here.
const EXPERTS: u32 = 256;
const TOPK: u32 = 8;
const HIDDEN: u32 = 7168;

/// A figure, and the same of the kernel alone where it holds more.
///
/// # Errors
/// As [`record`].
pub fn measure(operation: &Operation, machine: &str, models: &mut Models) -> Result<(f64, Option<f64>)> {
    let figures = record(&operation.world, machine, models)?.figures;
    let kernel_us = figures.dispatch_kernel_us.unwrap_or(figures.dispatch_us);
    let kernel_gbs = figures.dispatch_gbs_logical * figures.dispatch_us / kernel_us;
    Ok(match operation.figure {
        Figure::DispatchGbs => (figures.dispatch_gbs_logical, Some(kernel_gbs)),
        Figure::DispatchKernelGbs => (kernel_gbs, None),
        Figure::CombineGbs => (figures.combine_gbs_logical, None),
        Figure::DispatchUs => (figures.dispatch_us, Some(kernel_us)),
        Figure::CombineUs => (figures.combine_us, None),
    })
}

/// Makes the records that points need, several at a time.
///
/// # Errors
/// As [`record`].
pub fn prepare(points: &[&Point], models: &mut Models) -> Result<()> {
    let mut worlds: Vec<(&str, World)> = Vec::new();
    for point in points {
        if let How::Operation(operation) = &point.how {
            models.model(point.machine)?;
            worlds.push((point.machine, operation.world));
        }
    }
    worlds.dedup();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((machine, world)) = worlds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let record = made(world, machine, models);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((key(world, machine), record));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    for (key, record) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        models.records.insert(key, record?);
    }
    Ok(())
}

fn key(world: &World, machine: &str) -> String {
    format!("{machine} {world:?}")
}

/// The record of a world on a machine; each is made once.
///
/// # Errors
/// What the library says of the world, or the model.
pub fn record(world: &World, machine: &str, models: &mut Models) -> Result<Record> {
    let key = key(world, machine);
    if let Some(record) = models.records.get(&key) {
        return Ok(record.clone());
    }
    models.model(machine)?;
    let record = made(world, machine, models)?;
    models.records.insert(key, record.clone());
    Ok(record)
}

/// The record of a world on a machine whose model there is.
fn made(world: &World, machine: &str, models: &Models) -> Result<Record> {
    let (workload, plan) = (workload(world)?, plan(world)?);
    let model = &models.models[machine];
    plan.check_limits(&model.machine().limits())?;
    model.record(&workload, &plan, Wanted::BOTH, false)
}

/// What a world moves.
///
/// # Errors
/// What the library says of its numbers.
pub fn workload(world: &World) -> Result<Workload> {
    let gate = match world.node_limit {
        0 => Gate::Uniform,
        nodes => Gate::NodeLimited { nodes },
    };
    let (topology, shape) = (Topology::new(world.nodes, world.gpus)?, shape(world)?);
    Ok(Workload { topology, shape, tokens: world.tokens, source: Source::Drawn(gate), seed: 0 })
}

fn shape(world: &World) -> Result<Shape> {
    let payload = match world.rows {
        Rows::Fp8 => Payload::Fp8(Fp8::E4m3, ScaleKind::F32),
        Rows::Bf16 => Payload::Bf16,
    };
    Shape::new(HIDDEN, EXPERTS, TOPK, world.tokens)?.with_payload(payload)
}

/// How a world moves it.
///
/// # Errors
/// What the library says of its numbers.
pub fn plan(world: &World) -> Result<Plan> {
    let (topology, shape) = (Topology::new(world.nodes, world.gpus)?, shape(world)?);
    let mut tuning = Tuning::default_for(topology, shape.dispatch_row_bytes()).with_sms(topology, world.sms);
    if world.direct {
        tuning.landing = Landing::direct_for(topology, &shape);
    }
    Plan::new(topology, shape, tuning, Fabric::Mlx5)
}
