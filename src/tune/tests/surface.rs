//! Cost surfaces for tests and benches: a model of a machine in a page, no measurement of any.
//!
//! Time is a fixed latency, the slowest of wire, NVLink, SM copies, claims and streams with a part of the others, and the tail
//! of the last chunks. What it lacks: everything that has an order in time. Numbers are round ones near those of real machines.

use std::collections::HashSet;

use warpferry::plan::{Op, Plan};
use warpferry::tune::{Beside, Bound, Job, Load, Measure, Timing, Verdict};
use warpferry::Result;

/// Numbers of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub name: &'static str,
    pub sms: u32,
    pub ib_gbs: f64,
    pub nvlink_gbs: f64,
    /// Bytes that one SM writes.
    pub sm_gbs: f64,
    /// Time of a claim beside its bytes, between nodes and within.
    pub claim_us: [f64; 2],
    /// Round trip of a slot, between nodes and within.
    pub trip_us: [f64; 2],
    pub fixed_us: f64,
    /// Bytes that rings may have before they fall out of the L2 cache.
    pub cache_bytes: f64,
}

pub const H800: Machine = Machine {
    name: "h800-like",
    sms: 132,
    ib_gbs: 47.0,
    nvlink_gbs: 155.0,
    sm_gbs: 40.0,
    claim_us: [3.2, 1.4],
    trip_us: [8.0, 2.5],
    fixed_us: 18.0,
    cache_bytes: 25e6,
};

pub const B200: Machine = Machine {
    name: "b200-like",
    sms: 148,
    ib_gbs: 47.0,
    nvlink_gbs: 660.0,
    sm_gbs: 45.0,
    claim_us: [3.0, 1.2],
    trip_us: [8.0, 2.2],
    fixed_us: 14.0,
    cache_bytes: 60e6,
};

/// A machine, and what is wrong with it on purpose.
#[derive(Debug, Clone)]
pub struct Surface {
    pub machine: Machine,
    /// Settings for which results are wrong: by channels.
    pub wrong_channels: HashSet<u32>,
    /// Jobs that were asked for.
    pub checked: u64,
    pub timed: u64,
    /// Fails when so many were timed, as a process that is ended.
    pub fails_behind: Option<u64>,
}

impl Surface {
    pub fn new(machine: Machine) -> Surface {
        Surface { machine, wrong_channels: HashSet::new(), checked: 0, timed: 0, fails_behind: None }
    }

    pub fn timing(&self, job: &Job, load: &Load) -> Timing {
        let plan = &job.plan;
        let sms = f64::from(plan.launch(job.op).sms);
        let Load::Beside { bound, alone_us } = *load else {
            let us = self.us(plan, job.op, 1.0);
            return Timing { us, spread_us: 0.0, sm_ms: us * sms / 1e3, beside: None };
        };
        // Beside a computation bulk copies are slower, and the computation lacks SMs and cache or memory bandwidth.
        let us = self.us(plan, job.op, if bound == Bound::Memory { 0.5 } else { 0.8 });
        let held = sms / f64::from(self.machine.sms);
        let rings = ring_bytes(plan) / self.machine.cache_bytes;
        let slower = match bound {
            Bound::Arithmetic => 1.6 * held + 0.02 * rings,
            Bound::Memory => 0.4 * held + 0.06 * rings,
        };
        // It is slowed down as long as both go on.
        let slowdown_us = slower * us.min(alone_us);
        let step_us = (alone_us + slowdown_us).max(us);
        Timing { us, spread_us: 0.0, sm_ms: us * sms / 1e3, beside: Some(Beside { step_us, slowdown_us, alone_us }) }
    }

    /// Time of an operation; `rate` is what is left of the SMs' copy rate.
    fn us(&self, plan: &Plan, op: Op, rate: f64) -> f64 {
        let (machine, tuning, shape, topology) = (&self.machine, &plan.tuning, &plan.shape, plan.topology);
        let launch = plan.launch(op);
        let bytes = f64::from(match op {
            Op::Dispatch => shape.dispatch_slot_bytes(topology),
            Op::Combine => shape.combine_slot_bytes(),
        });
        let (nodes, ranks) = (f64::from(topology.nodes()), f64::from(topology.ranks()));
        let (tokens, topk) = (f64::from(shape.max_tokens()), f64::from(shape.topk()));
        let reached = |of: f64| of * (1.0 - (1.0 - 1.0 / of).powf(topk));
        let (between, within) = (tokens * reached(nodes) * (nodes - 1.0) / nodes, tokens * reached(ranks));
        let workers = f64::from(launch.sms * launch.block.workers);
        let (channels, sms) = (f64::from(tuning.channels), f64::from(launch.sms));
        // A stage of more bytes hides more latency; fixed roles leave some warps idle.
        let piece = f64::from(launch.block.piece_bytes);
        let busy = if tuning.roles == warpferry::plan::Roles::Fixed { 0.8 } else { 1.0 };
        let worker_gbs = busy * 7.0 * piece / (piece + 1500.0);
        let sm_gbs = rate * machine.sm_gbs.min(f64::from(launch.block.workers) * worker_gbs);
        let landed = if op == Op::Dispatch && plan.landing().rows() > 0 { 0.5 } else { 1.0 };
        let copied = (between + within * (1.0 + landed)) * bytes;
        let claims = between / f64::from(tuning.chunk_ib) * machine.claim_us[0]
            + 2.0 * within / f64::from(tuning.chunk_nv) * machine.claim_us[1];
        // A ring's slots beyond the chunk that is made are in flight.
        let flying = |depth: u32, chunk: u32| f64::from(depth) - 0.5 * f64::from(chunk);
        let ib_stream =
            channels * (nodes - 1.0) * flying(tuning.depth_ib, tuning.chunk_ib) * bytes / machine.trip_us[0];
        let nv_stream = channels * ranks * flying(tuning.depth_nv, tuning.chunk_nv) * bytes / machine.trip_us[1];
        let spill = 1.0 + 0.25 * (ring_bytes(plan) / machine.cache_bytes - 1.0).clamp(0.0, 2.0);
        let gbs = |gbs: f64| gbs * 1e3; // bytes a microsecond
        let times = [
            between * bytes / gbs(machine.ib_gbs),
            within * bytes * spill / gbs(machine.nvlink_gbs),
            copied / gbs(sms * sm_gbs),
            claims / workers,
            if nodes > 1.0 { between * bytes / ib_stream } else { 0.0 },
            within * bytes / nv_stream,
            // The narrowest stage has one worker a channel.
            within * bytes / gbs(channels * 6.0),
        ];
        let most = times.iter().fold(0.0_f64, |most, &time| most.max(time));
        let rest = times.iter().sum::<f64>() - most;
        let tail = f64::from(tuning.chunk_ib) * bytes * channels / gbs(machine.ib_gbs) * (nodes - 1.0).min(1.0)
            + 2.0 * f64::from(tuning.chunk_nv) * bytes / gbs(worker_gbs);
        machine.fixed_us + 0.02 * channels + most + 0.08 * rest + 0.5 * tail
    }
}

fn ring_bytes(plan: &Plan) -> f64 {
    (plan.window.bytes - plan.window.counter_bytes) as f64 / 4.0
}

impl Measure for Surface {
    fn name(&self) -> String {
        format!("surface {}", self.machine.name)
    }

    fn check(&mut self, jobs: &[Job]) -> Result<Vec<Verdict>> {
        self.checked += jobs.len() as u64;
        let judged = jobs.iter().map(|job| match self.wrong_channels.contains(&job.plan.tuning.channels) {
            true => Verdict::Wrong("a row differs".to_string()),
            false => Verdict::Correct,
        });
        Ok(judged.collect())
    }

    fn time(&mut self, jobs: &[Job], load: &Load) -> Result<Vec<Timing>> {
        self.timed += jobs.len() as u64;
        if self.fails_behind.is_some_and(|most| self.timed > most) {
            return Err(warpferry::Error::Driver { call: "time", message: "ended".to_string() });
        }
        Ok(jobs.iter().map(|job| self.timing(job, load)).collect())
    }
}
