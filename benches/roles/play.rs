//! One dispatch and one combine of an emulated world, and what they took.
//!
//! Times are in millionths of a round of the emulator's schedule, see [`LaunchAccount`]: everyone who can act has a turn of
//! a few or some hundred instructions, every queue pair acts once, and a bulk copy lands when all others had a turn,
//! whatever its size. So they weigh how evenly warps are used, and say nothing about how fast a device is.

use std::time::Duration;

use warpferry::gate::{Gate, Load};
use warpferry::plan::{Op, Roles};
use warpferry::routing::Routing;
use warpferry::{Combine, Dispatch, Error, Result, Shape, Topology, Tuning, World, WorldConfig};
use warpferry_emu::{Checks, LaunchAccount, NicTurn, Schedule};

/// Longest that the host waits, in the cluster's time.
const WAIT: Duration = Duration::from_secs(1000);
/// Bytes of a row of DeepSeek-V3, after which chunks and rings are chosen.
const V3_ROW_BYTES: u32 = 14336;
/// Rows and stages are smaller than V3's by this: as many pieces a message, fewer bytes to emulate.
const SHRUNK: u32 = 8;
/// Experts and choices of drawn gates.
const EXPERTS: u32 = 256;
const TOPK: u32 = 8;

/// A world and how it moves, but for roles.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Nodes and GPUs.
    pub topology: Topology,
    /// Tokens of a rank.
    pub tokens: u32,
    /// Channels that a CTA serves: as many as by default.
    pub channels_per_cta: u32,
    /// CTAs of a launch.
    pub sms: u32,
    /// Worker warps of a CTA.
    pub workers: u32,
    /// Elements of a row.
    pub hidden: u32,
    /// Shared memory of a worker's stages.
    pub stage_bytes: u32,
}

impl Setting {
    /// V3's shape in small: its pieces a message, default channels a CTA, chunks and rings.
    pub fn small(topology: Topology, tokens: u32, workers: u32) -> Setting {
        let usual = Tuning::default_for(topology, V3_ROW_BYTES);
        Setting {
            topology,
            tokens,
            channels_per_cta: usual.channels / usual.dispatch_sms,
            sms: 1,
            workers,
            hidden: V3_ROW_BYTES / 2 / SHRUNK,
            stage_bytes: usual.stage_bytes / SHRUNK,
        }
    }

    fn tuning(&self, roles: &Roles) -> Tuning {
        Tuning {
            channels: self.channels_per_cta * self.sms,
            dispatch_sms: self.sms,
            combine_sms: self.sms,
            workers: self.workers,
            stage_bytes: self.stage_bytes,
            roles: roles.clone(),
            ..Tuning::default_for(self.topology, V3_ROW_BYTES)
        }
    }
}

/// Where tokens go.
#[derive(Debug)]
pub struct Choices {
    /// Gate or file.
    pub name: String,
    experts: u32,
    topk: u32,
    /// `[tokens, topk]` of each rank.
    ranks: Vec<Vec<i32>>,
}

impl Choices {
    /// Drawn from a gate over 256 experts, top-8.
    ///
    /// # Errors
    /// What the gate says.
    pub fn drawn(gate: Gate, setting: &Setting, seed: u64) -> Result<Choices> {
        let shape = Shape::new(setting.hidden, EXPERTS, TOPK, setting.tokens)?;
        let drawn = gate.draw(setting.topology, &shape, setting.tokens, seed)?;
        let ranks = drawn.into_iter().map(|choices| choices.topk_idx).collect();
        Ok(Choices { name: gate.to_string(), experts: EXPERTS, topk: TOPK, ranks })
    }

    /// The first tokens of a file.
    ///
    /// # Errors
    /// [`Error::Argument`] when its experts do not divide over the ranks, or it has too few tokens.
    pub fn recorded(name: &str, routing: &Routing, setting: &Setting) -> Result<Choices> {
        let dealt = routing.deal(setting.topology, setting.tokens)?;
        let ranks = dealt.iter().map(|rank| rank.topk_idx.to_vec()).collect();
        Ok(Choices { name: name.to_string(), experts: routing.experts(), topk: routing.topk(), ranks })
    }

    /// Rows of the rank that gets most, over the mean.
    ///
    /// # Errors
    /// What the shape says.
    pub fn rank_skew(&self, setting: &Setting) -> Result<f64> {
        let ranks: Vec<&[i32]> = self.ranks.iter().map(Vec::as_slice).collect();
        Ok(Load::new(setting.topology, &self.shape(setting)?, &ranks)?.rank_skew)
    }

    fn shape(&self, setting: &Setting) -> Result<Shape> {
        Shape::new(setting.hidden, self.experts, self.topk, setting.tokens)
    }
}

/// What an operation took, over all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// From the first launch's beginning to the last one's end.
    pub makespan: u64,
    /// Time of all worker warps, from beginning to end of their CTAs.
    pub resident: u64,
    /// Of that, idle: looking for a stream or asleep, without having moved anything.
    pub idle: u64,
    /// Instructions of all warps, scouts included.
    pub warp_instructions: u64,
}

/// One dispatch, then one combine, as a schedule drawn from `seed` has them.
///
/// # Errors
/// What the library says; [`Error::Bug`] when a CTA has another number of workers than asked for.
pub fn play(setting: &Setting, roles: &Roles, choices: &Choices, seed: u64) -> Result<[Took; 2]> {
    let shape = choices.shape(setting)?;
    let mut config = WorldConfig::new(setting.topology, shape).tuning(setting.tuning(roles));
    config.machine.checks = Checks::NONE;
    config.machine.accounts = true;
    config.machine.nic_turn = NicTurn::EveryQueue;
    config.machine.schedule = Schedule::Random { seed };
    let mut world = World::emulated(config)?;
    let (tokens, hidden, topk) = (setting.tokens as usize, setting.hidden as usize, choices.topk as usize);
    let dispatched = each(world.run(|rank| {
        let x = rank.tensor_of_bytes(shape.payload().dtype(), &vec![0; tokens * hidden * 2], &[tokens, hidden])?;
        let topk_idx = rank.tensor(&choices.ranks[rank.rank() as usize], &[tokens, topk])?;
        rank.dispatch(Dispatch::new(&x, &topk_idx))?.wait(WAIT)
    })?)?;
    let handles: Vec<_> = dispatched.iter().map(|got| (got.x.clone(), got.handle.clone())).collect();
    each(world.run(|rank| {
        let (x, handle) = &handles[rank.rank() as usize];
        rank.combine(Combine::new(x, handle))?.wait(WAIT)
    })?)?;
    let machine = world.machine().cloned().ok_or_else(|| Error::Bug("an emulated world has a machine".into()))?;
    let accounts = machine.with(warpferry_emu::Machine::take_accounts);
    world.close()?;
    Ok([took(setting, &accounts, Op::Dispatch)?, took(setting, &accounts, Op::Combine)?])
}

fn each<T>(ranks: Vec<Result<T>>) -> Result<Vec<T>> {
    ranks.into_iter().collect()
}

fn took(setting: &Setting, accounts: &[LaunchAccount], op: Op) -> Result<Took> {
    let entry = match op {
        Op::Dispatch => "dispatch",
        Op::Combine => "combine",
    };
    let launches: Vec<&LaunchAccount> = accounts.iter().filter(|launch| launch.entry.starts_with(entry)).collect();
    let workers = setting.workers as usize;
    if launches.len() != setting.topology.ranks() as usize || launches.iter().any(|it| it.warps.len() != workers + 1) {
        return Err(Error::Bug(format!("{} launches of {entry}, not all of {workers} workers", launches.len())));
    }
    let warps = launches.iter().flat_map(|launch| &launch.warps);
    // The scout is the last warp.
    let of_workers = || launches.iter().flat_map(|launch| &launch.warps[..workers]);
    let began = launches.iter().map(|launch| launch.began_ticks).min().unwrap_or(0);
    let ended = launches.iter().map(|launch| launch.ended_ticks).max().unwrap_or(0);
    Ok(Took {
        makespan: ended - began,
        resident: of_workers().map(|warp| warp.resident_ticks).sum(),
        idle: of_workers().map(|warp| warp.idle_ticks).sum(),
        warp_instructions: warps.map(|warp| warp.instructions).sum(),
    })
}
