//! Computations beside communication, beside SMs that are only held, and planned for fewer SMs: what each costs them.

use serde_json::json;
use warpferry::Tuning;

use super::gemm::{begin, time_ns, Computation, Hold};
use super::lab::Lab;
use super::operations::{combines, dispatch, dispatches, parameters, timed, works};
use super::ranks::{Inputs, Ranks};
use super::record::{Failure, Figure, Samples};
use super::Suite;

/// Most pairs of dispatch and combine beside the runs of a computation.
const PAIRS_MAX: u32 = 400;
/// How much longer communication is planned to run than the computation does alone: it is expected to slow down.
const COVER: f64 = 2.0;

/// Group `beside`.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    let Some(work) = works(suite)?.into_iter().next() else { return Ok(()) };
    let inputs = Inputs::new(work)?;
    let sms_in_all = suite.lab.driver().info().sms;
    let counts: &[u32] = suite.scale.pick(&[1], &[2, 5], &[1, 2, 4, 5, 8]);
    for &sms in counts {
        if suite.lacks_time("beside") {
            continue;
        }
        if sms * work.topology.ranks() >= sms_in_all {
            suite.report.skip(&format!("beside, {sms} SMs a rank"), &format!("the device has {sms_in_all} SMs"));
            continue;
        }
        setting(suite, &inputs, sms)?;
    }
    Ok(())
}

/// SMs of the device, SMs that are taken, rounds, runs of a computation between two events.
#[derive(Debug, Clone, Copy)]
struct Course {
    sms: u32,
    taken: u32,
    rounds: usize,
    runs: u32,
}

/// Nanoseconds of one run of a computation.
#[derive(Debug, Default)]
struct Times {
    alone: Samples,
    planned: Samples,
    held: Samples,
    communication: Samples,
    /// Microseconds of a pair of dispatch and combine beside it.
    pair: Samples,
    /// Communication went on until the computation had ended, every time.
    covered: bool,
}

fn setting(suite: &mut Suite, inputs: &Inputs, sms: u32) -> Result<(), Failure> {
    let work = &inputs.work;
    let course = Course {
        sms: suite.lab.driver().info().sms,
        taken: sms * work.topology.ranks(),
        rounds: suite.scale.pick(1, 3, 5),
        runs: suite.scale.pick(1, 10, 20),
    };
    let mut tuning = Tuning::default_for(work.topology, 2 * work.hidden);
    (tuning.dispatch_sms, tuning.combine_sms) = (sms, sms);
    if suite.scale.is_small() {
        (tuning.channels, tuning.workers) = (2, 3);
    }
    let mut world = Ranks::new(&suite.backend, inputs, &tuning, 1, Some(suite.scale))?;
    let pair_alone = pair_alone(&mut world, course)?;
    let names = world.run(|rank| {
        Ok(rank.beside.iter().flat_map(|beside| beside.computations.iter().map(|one| one.name())).collect::<Vec<_>>())
    })?;
    for (at, name) in names[0].iter().enumerate() {
        let times = measure(&mut world, course, at, pair_alone.median())?;
        report(suite, inputs, &tuning, course, name, times, pair_alone.median());
    }
    let settings = [parameters(work, &tuning), vec![("beside", json!("nothing"))]].concat();
    suite.report.operation("beside", Figure::new("dispatch_and_combine", settings, "us", pair_alone));
    world.close()
}

fn report(
    suite: &mut Suite,
    inputs: &Inputs,
    tuning: &Tuning,
    course: Course,
    name: &str,
    times: Times,
    pair_alone_us: f64,
) {
    let Times { alone, planned, held, communication, pair, covered } = times;
    let alone_ns = alone.median().max(1.0);
    let ideal = f64::from(course.sms) / f64::from(course.sms - course.taken);
    let cases =
        [("nothing", alone), ("planned_for_fewer", planned), ("sms_held", held), ("communication", communication)];
    for (beside, samples) in cases {
        let mut settings = parameters(&inputs.work, tuning);
        settings.extend([("beside", json!(beside)), ("sms_taken", json!(course.taken)), ("covered", json!(covered))]);
        let derived = vec![("slow_down", samples.median() / alone_ns), ("ideal_slow_down", ideal)];
        let figure = Figure::new(name, settings, "us", samples.scaled(1e-3));
        suite.report.operation("beside", Figure { derived, ..figure });
    }
    let mut settings = parameters(&inputs.work, tuning);
    settings.push(("beside", json!(name)));
    let derived = vec![("slow_down", pair.median() / pair_alone_us.max(1e-3))];
    let figure = Figure::new("dispatch_and_combine", settings, "us", pair);
    suite.report.operation("beside", Figure { derived, ..figure });
}

/// Microseconds of a dispatch and a combine with nothing beside them, of the slowest rank.
fn pair_alone(world: &mut Ranks, course: Course) -> Result<Samples, Failure> {
    let rounds = course.rounds;
    let times = world.run(|rank| {
        let first = dispatch(rank)?;
        let mut samples = Samples::default();
        for round in 0..=rounds {
            let time_ns = timed(rank, |rank| {
                dispatches(rank, &first.handle, 1)?;
                combines(rank, &first, 1)
            })?;
            if round > 0 {
                samples.push(time_ns / 1e3);
            }
        }
        Ok(samples)
    })?;
    let slowest = times.into_iter().max_by(|a, b| a.median().total_cmp(&b.median()));
    Ok(slowest.unwrap_or_default())
}

/// One computation: by itself on rank 0's stream, then with all ranks communicating.
fn measure(world: &mut Ranks, course: Course, at: usize, pair_alone_us: f64) -> Result<Times, Failure> {
    let mut times = Times { covered: true, ..Times::default() };
    let solo = world.run(|rank| match &rank.beside {
        Some(beside) => {
            // The held SMs' kernel has a stream of its own.
            let holder = Lab::new(beside.lab.driver().clone())?;
            alone(&*beside.computations[at], &beside.lab, &holder, course).map(Some)
        }
        None => Ok(None),
    })?;
    if let Some([alone, planned, held]) = solo.into_iter().flatten().next() {
        (times.alone, times.planned, times.held) = (alone, planned, held);
    }
    let runs_us = times.alone.median() * f64::from(course.runs) / 1e3;
    let pairs = ((COVER * runs_us / pair_alone_us.max(1e-3)).ceil() as u32 + 1).min(PAIRS_MAX);
    for _ in 0..course.rounds {
        let (run_ns, pair_ns, covered) = together(world, course, at, pairs)?;
        times.communication.push(run_ns);
        times.pair.push(pair_ns / 1e3);
        times.covered &= covered;
    }
    Ok(times)
}

/// With nothing beside; planned for the SMs that communication would leave; beside SMs that are held.
fn alone(computation: &dyn Computation, lab: &Lab, holder: &Lab, course: Course) -> Result<[Samples; 3], Failure> {
    let Course { sms, taken, rounds, runs } = course;
    let mut samples: [Samples; 3] = Default::default();
    time_ns(computation, lab, sms, 1)?;
    for _ in 0..rounds {
        samples[0].push(time_ns(computation, lab, sms, runs)?);
        samples[1].push(time_ns(computation, lab, sms - taken, runs)?);
        let hold = Hold::new(holder, taken)?;
        samples[2].push(time_ns(computation, lab, sms, runs)?);
        hold.release()?;
    }
    Ok(samples)
}

/// Pairs of dispatch and combine on all ranks while rank 0 computes: nanoseconds of a run, of a pair at rank 0, and
/// whether communication went on until the last run had ended.
fn together(world: &mut Ranks, course: Course, at: usize, pairs: u32) -> Result<(f64, f64, bool), Failure> {
    let seen = world.run(|rank| {
        let first = dispatch(rank)?;
        let beside = rank.beside.take();
        let mut covered = false;
        let pairs_ns = timed(rank, |rank| {
            for pair in 0..pairs {
                dispatches(rank, &first.handle, 1)?;
                if let (0, Some(beside)) = (pair, &beside) {
                    begin(&*beside.computations[at], &beside.lab, course.sms, course.runs)?;
                }
                combines(rank, &first, 1)?;
            }
            if let Some(beside) = &beside {
                covered = beside.lab.timer().ended()?;
            }
            Ok(())
        })?;
        let mut run_ns = 0.0;
        if let Some(beside) = &beside {
            run_ns = beside.lab.timer().time_ns()? as f64 / f64::from(course.runs);
            beside.computations[at].check(&beside.lab)?;
        }
        rank.beside = beside;
        Ok((run_ns, pairs_ns / f64::from(pairs), covered))
    })?;
    Ok(seen[0])
}
