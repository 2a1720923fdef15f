//! `demo`: dispatch and combine on a GPU or an emulated cluster, every bit compared with the reference.

use warpferry::bench::expected::{compare_load, Expected};
use warpferry::bench::traffic::Landed;
use warpferry::plan::{Landing, Op, Plan, Shape};
use warpferry::reference::{self, Layout};
use warpferry::{LoadStatistics, Result, WorldConfig};
use warpferry_emu::{Checks, Hosts, Schedule};
use warpferry_nic::Ordering;

use crate::backend::Choice;
use crate::inputs::{Inputs, Source, Turn};
use crate::memory::Need;
use crate::options::DemoOptions;
use crate::output::{command_line, complain, say};
use crate::report::{OpReport, Report};
use crate::transfer::{transfer, Done, How};

/// Mismatches printed before the rest is only counted.
const MISMATCHES_SHOWN: usize = 5;

/// Runs the demo; false when a result differs from the reference. What goes wrong with races checked says how to repeat it.
pub fn run(options: &DemoOptions) -> Result<bool> {
    let outcome = play(options);
    if outcome.is_err() && options.races {
        complain(format_args!("replay: {}", command_line()));
    }
    outcome
}

fn play(options: &DemoOptions) -> Result<bool> {
    let topology = options.topology()?;
    let source = Source::new(options, topology)?;
    let Choice { backend, why } = Choice::new(&options.place, options.of_emulator(), topology)?;
    let config = config(options, source.shape, backend.sms_of_rank(topology)?)?;
    let plan = config.plan(0)?;
    let memory_bytes = config.memory_bytes()?;
    let room = backend.room();
    let checked = backend.is_emulator() && config.machine.checks.uninitialized;
    let turns = u64::from(options.turns()) + u64::from(options.graph.is_some());
    let handles = u64::from(options.in_flight - 1) * plan.handle.bytes * u64::from(topology.ranks());
    let sent = u64::from(options.tokens) * turns;
    let need = |rows| Need::new(&plan, memory_bytes + handles, sent, turns * rows, checked);
    // Choices take memory too, so what is needed whatever they are is checked before they are made.
    need(0).check(&plan, options.tokens, room)?;
    let choices = source.choices(options, topology)?;
    let load = choices.load(topology, &source.shape)?;
    let cost = choices.cost(topology, &source.shape)?;
    let saving = source.saving(options, topology, &cost)?;
    let need = need(choices.rows(topology, source.shape)?);
    if !options.json {
        say(&plan);
        say(format_args!("backend  {} ({why})", backend.device()));
        say(format_args!("routing  {}: {load}", source.origin));
        say(format_args!("cost     dispatch {}", cost.dispatch));
        say(format_args!("         combine {}", cost.combine));
        if let Some((gate, share)) = &saving {
            say(format_args!("limit    against gate {gate}: {share}"));
        }
        say(format_args!("memory   {}\n", need.text(room)));
    }
    need.check(&plan, options.tokens, room)?;
    let inputs = Inputs::new(options, source, choices);
    let expected =
        inputs.turns.iter().map(|turn| Expected::new(&plan, &turn.ranks)).collect::<Result<Vec<Expected>>>()?;
    let emulated = backend.is_emulator();
    let mut mismatches = Vec::new();
    let how = |replays| How { bound: options.bound, timeout: options.place.timeout(), replays };
    // What rows that land save is told beside the same work through rings.
    let staged = if emulated && plan.landing().rows() > 0 {
        let mut config = config.clone();
        config.tuning.landing = Landing::Staged;
        let plan = config.plan(0)?;
        let done = transfer(&backend, config, how(None), &inputs)?;
        compare_all(&done, &expected, &mut mismatches);
        Some(OpReport::new(Op::Dispatch, &plan, done.dispatch, done.dispatch_time, done.landed)?)
    } else {
        None
    };
    let done = transfer(&backend, config, how(options.graph), &inputs)?;
    compare_all(&done, &expected, &mut mismatches);
    for (rank, (have, want)) in done.load.iter().zip(expected_load(&plan, &inputs.turns, &expected)).enumerate() {
        compare_load(rank, have, &want, &mut mismatches);
    }
    mismatches.extend(done.replays_wrong);
    let report = Report {
        verified: mismatches.is_empty(),
        backend: backend.name(),
        device: backend.device(),
        why,
        jit: options.place.jit,
        routing: inputs.origin.clone(),
        load,
        cost,
        saving,
        measured: done.load,
        tokens: options.tokens,
        roles: options.setting.roles.to_string(),
        unordered: emulated.then_some(options.unordered),
        checks: emulated.then_some(!options.no_checks),
        races_checked: emulated.then_some(options.races),
        seed: options.seed,
        schedule_seed: options.schedule_seed.or(options.seed).filter(|_| emulated),
        memory_bytes,
        memory_total_bytes: need.total_bytes(),
        biases: options.bias,
        bound: options.bound,
        in_flight: options.in_flight,
        cached: options.cached,
        graph_replays: options.graph,
        least: expected.iter().map(|expected| expected.least).sum(),
        rows: done.ranks.iter().flatten().map(|(output, _)| output.source.len() as u64).sum(),
        landed: done.landed,
        staged,
        dispatch: OpReport::new(Op::Dispatch, &plan, done.dispatch, done.dispatch_time, done.landed)?,
        combine: OpReport::new(Op::Combine, &plan, done.combine, done.combine_time, Landed::default())?,
        plan,
    };
    for mismatch in mismatches.iter().take(MISMATCHES_SHOWN) {
        complain(format_args!("differs from the reference: {mismatch}"));
    }
    if options.json {
        say(report.to_json());
    } else {
        say(&report);
    }
    Ok(report.verified)
}

fn config(options: &DemoOptions, shape: Shape, sms_of_rank: Option<u32>) -> Result<WorldConfig> {
    let topology = options.topology()?;
    let mut config = WorldConfig::new(topology, shape).fabric(options.place.fabric.fabric());
    config.tuning = options.tuning(topology, &shape, sms_of_rank)?;
    if let Some(seed) = options.schedule_seed.or(options.seed) {
        config.machine.schedule = Schedule::Random { seed };
    }
    if options.no_checks {
        config.machine.checks = Checks::NONE;
    }
    if options.races {
        config.machine.checks = Checks::RACES;
        // What one rank's host knows, another rank's kernel does not.
        config.machine.hosts = Hosts::PerGpu;
    }
    if options.unordered {
        config.machine.nic.ordering = Ordering::WritesUnordered;
    }
    Ok(config)
}

fn compare_all(done: &Done, expected: &[Expected], mismatches: &mut Vec<String>) {
    for (rank, turns) in done.ranks.iter().enumerate() {
        for ((rows, sums), expected) in turns.iter().zip(expected) {
            expected.compare(rank, rows, sums, mismatches);
        }
    }
}

/// What each rank must have counted: the turns that went along no handle.
fn expected_load(plan: &Plan, turns: &[Turn], expected: &[Expected]) -> Vec<LoadStatistics> {
    let counted = turns.iter().zip(expected).filter(|(turn, _)| turn.along.is_none());
    let calls: Vec<Vec<Layout>> = counted.map(|(_, expected)| expected.layouts.clone()).collect();
    let load = |rank| reference::load_statistics(plan.topology, plan.shape, rank, &calls);
    (0..plan.topology.ranks()).map(load).collect()
}
