//! Shapes: how times go with the world, with SMs, and beside a computation.

use warpferry::bench::median;
use warpferry::model::{Model, Wanted};
use warpferry::Result;

use super::models::Models;
use super::operations::{plan, record, workload};
use super::point::{Rows, World};
use super::points_operations::{hybrid, normal};

/// Machine of DeepEP's worlds, and of Hybrid-EP's.
const H800: &str = "h800-cx7";
const H100: &str = "h100-cx7";
/// SMs of the curve.
const SMS: [u32; 4] = [4, 8, 16, 32];
/// SMs of the public production trace, and its times against the same kernels alone (hardware the same): dispatch 1.8, along a
/// handle 1.45, combine 1.29.
const TRACE_SMS: u32 = 20;
const TRACE: (f64, f64) = (1.45, 1.29);

/// Dispatch and combine of one world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// The dispatch kernel.
    pub dispatch_us: f64,
    /// Combine.
    pub combine_us: f64,
    /// Logical GB/s of the dispatch kernel, and of combine.
    pub gbs: (f64, f64),
}

fn times(world: &World, machine: &str, models: &mut Models) -> Result<Times> {
    let figures = record(world, machine, models)?.figures;
    let dispatch_us = figures.dispatch_kernel_us.unwrap_or(figures.dispatch_us);
    let gbs = (figures.dispatch_gbs_logical * figures.dispatch_us / dispatch_us, figures.combine_gbs_logical);
    Ok(Times { dispatch_us, combine_us: figures.combine_us, gbs })
}

/// By nodes, of DeepEP's worlds.
///
/// # Errors
/// What the model says.
pub fn by_world(models: &mut Models) -> Result<Vec<(u32, Times)>> {
    [1, 2, 4, 8].into_iter().map(|nodes| Ok((nodes, times(&normal(nodes), H800, models)?))).collect()
}

/// By SMs, of Hybrid-EP's world of 16 ranks.
///
/// # Errors
/// What the model says.
pub fn by_sms(models: &mut Models) -> Result<Vec<(u32, Times)>> {
    let world = |sms| hybrid(2, sms, Rows::Bf16);
    SMS.into_iter().map(|sms| Ok((sms, times(&world(sms), H100, models)?))).collect()
}

/// Factors by which a matrix product beside them stretches the dispatch kernel and combine, of two nodes.
///
/// # Errors
/// What the model says.
pub fn beside(models: &mut Models) -> Result<(f64, f64)> {
    stretch(&World { sms: TRACE_SMS, ..normal(2) }, models)
}

/// The same of a small world.
///
/// # Errors
/// What the model says.
pub fn stretched(models: &mut Models) -> Result<(f64, f64)> {
    stretch(&small_world(2, 8), models)
}

fn stretch(world: &World, models: &mut Models) -> Result<(f64, f64)> {
    let alone = times(world, H800, models)?;
    let machine = models.machine(H800)?;
    let loaded = Model::new(machine.beside(machine.beside_arithmetic())).effort(models.warp_instructions());
    let samples = loaded.times(&workload(world)?, &plan(world)?, Wanted::BOTH)?.samples;
    Ok((median(&samples.dispatch_kernel_us) / alone.dispatch_us, median(&samples.combine_us) / alone.combine_us))
}

/// Times of a small world.
///
/// # Errors
/// What the model says.
pub fn small(nodes: u32, sms: u32, models: &mut Models) -> Result<Times> {
    times(&small_world(nodes, sms), H800, models)
}

/// Four GPUs a node and 512 tokens.
fn small_world(nodes: u32, sms: u32) -> World {
    World { gpus: 4, tokens: 512, sms, node_limit: 0, ..normal(nodes) }
}

/// All of them as tables.
///
/// # Errors
/// What the model says.
pub fn tables(models: &mut Models) -> Result<String> {
    let head = |what: &str| {
        let columns = "dispatch kernel, us | combine, us | dispatch kernel, GB/s logical | combine, GB/s logical";
        format!("| {what} | {columns} |\n| ---: | ---: | ---: | ---: | ---: |\n")
    };
    let row = |(at, times): &(u32, Times)| {
        let (there, back) = times.gbs;
        format!("| {at} | {:.0} | {:.0} | {there:.1} | {back:.1} |\n", times.dispatch_us, times.combine_us)
    };
    let rows = |rows: Vec<(u32, Times)>| rows.iter().map(row).collect::<String>();
    let mut text = "### Time by world\n\nDeepEP's worlds, nodes of 8 GPUs, h800-cx7, 24 SMs.\n\n".to_string();
    text += &(head("nodes") + &rows(by_world(models)?));
    text += "\n### Time by SMs\n\nTwo nodes of 8 GPUs, uniform gate, bf16, h100-cx7.\n\n";
    text += &(head("SMs") + &rows(by_sms(models)?));
    let (dispatch, combine) = beside(models)?;
    text += "\n### Beside a computation\n\nHow much longer they take beside a matrix product, two nodes, 20 SMs, h800-cx7.\n\n";
    text += "| operation | production trace of EP64 against DeepEP alone | modelled |\n| --- | ---: | ---: |\n";
    text +=
        &format!("| dispatch kernel | {:.2} | {dispatch:.2} |\n| combine | {:.2} | {combine:.2} |\n", TRACE.0, TRACE.1);
    text +=
        "\nWhat a matrix product keeps when SMs are held from it is a table of measured values (LOOM), not a model.\n";
    Ok(text)
}
