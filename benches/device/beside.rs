//! The computation beside communication, beside SMs that are only held, and planned for fewer SMs: what each costs it.

use serde_json::json;
use warpferry::Tuning;

use super::gemm::{self, Gemm, Hold};
use super::lab::Lab;
use super::operations::{combines, dispatch, dispatches, parameters, timed, works};
use super::ranks::{Ranks, Work};
use super::record::{Failure, Figure, Samples};
use super::Suite;

/// Most pairs of dispatch and combine beside one run of the computation.
const PAIRS_MAX: u32 = 400;

/// Group `beside`.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    let Some(work) = works(suite)?.into_iter().next() else { return Ok(()) };
    let choices = work.choices()?;
    let counts: &[u32] = suite.scale.pick(&[1], &[2, 5], &[1, 2, 4, 5, 8]);
    for &sms in counts {
        if suite.spent() {
            suite.report.skip(&format!("beside, {sms} SMs a rank"), "the budget of seconds is spent");
            continue;
        }
        setting(suite, &work, &choices, sms)?;
    }
    Ok(())
}

/// What rank 0 saw.
#[derive(Debug, Clone, Copy)]
struct Seen {
    gemm_ns: f64,
    pair_alone_ns: f64,
    pair_beside_ns: f64,
    covered: bool,
}

fn setting(suite: &mut Suite, work: &Work, choices: &[Vec<i32>], sms: u32) -> Result<(), Failure> {
    let held = sms * work.topology.ranks();
    let all_sms = suite.lab.driver().info().sms;
    let (rows, columns, depth) = gemm::sizes(suite);
    let (rounds, count) = (suite.scale.pick(1, 3, 5), suite.scale.pick(1, 10, 20));

    // alone; planned for fewer SMs; beside SMs that are held
    let gemm = Gemm::new(&suite.lab, rows, columns, depth)?;
    gemm.time_ns(&suite.lab, all_sms, 1)?;
    let [mut alone, mut planned, mut beside_held] = [Samples::default(), Samples::default(), Samples::default()];
    for _ in 0..rounds {
        alone.push(gemm.time_ns(&suite.lab, all_sms, count)?);
        planned.push(gemm.time_ns(&suite.lab, all_sms - held, count)?);
        let hold = Hold::new(Lab::new(suite.lab.driver().clone())?, held)?;
        beside_held.push(gemm.time_ns(&suite.lab, all_sms, count)?);
        hold.release()?;
    }
    drop(gemm);

    let mut tuning = Tuning::default_for(work.topology, 2 * work.hidden);
    (tuning.dispatch_sms, tuning.combine_sms) = (sms, sms);
    if suite.scale == super::Scale::Tiny {
        (tuning.channels, tuning.workers) = (2, 3);
    }
    let mut world = Ranks::new(&suite.backend, work, choices, &tuning, true)?;
    let alone_ns = alone.median();
    let mut beside = Samples::default();
    let mut pairs = [Samples::default(), Samples::default()];
    let mut covered = true;
    for _ in 0..rounds {
        let seen = beside_once(&mut world, (rows, columns, depth), all_sms, count, alone_ns)?;
        beside.push(seen.gemm_ns);
        pairs[0].push(seen.pair_alone_ns / 1e3);
        pairs[1].push(seen.pair_beside_ns / 1e3);
        covered &= seen.covered;
    }
    world.close()?;

    let ideal = f64::from(all_sms) / f64::from(all_sms - held);
    let cases =
        [("alone", alone), ("planned_for_fewer", planned), ("sms_held", beside_held), ("communication", beside)];
    for (beside_what, samples) in cases {
        let mut settings = parameters(work, &tuning);
        settings.extend([("beside", json!(beside_what)), ("sms_taken", json!(held)), ("covered", json!(covered))]);
        let derived = vec![("slow_down", samples.median() / alone_ns.max(1.0)), ("ideal_slow_down", ideal)];
        let figure = Figure::new("gemm_f32", settings, "us", samples.scaled(1e-3));
        suite.report.operation("beside", Figure { derived, ..figure });
    }
    let pair_alone = pairs[0].median();
    for (beside_what, samples) in ["nothing", "gemm"].into_iter().zip(pairs) {
        let mut settings = parameters(work, &tuning);
        settings.push(("beside", json!(beside_what)));
        let derived = vec![("slow_down", if pair_alone > 0.0 { samples.median() / pair_alone } else { 0.0 })];
        let figure = Figure::new("dispatch_and_combine", settings, "us", samples);
        suite.report.operation("beside", Figure { derived, ..figure });
    }
    Ok(())
}

/// Pairs of dispatch and combine on all ranks, for at least as long as rank 0's computation runs.
fn beside_once(
    world: &mut Ranks,
    (rows, columns, depth): (u32, u32, u32),
    sms: u32,
    count: u32,
    alone_ns: f64,
) -> Result<Seen, Failure> {
    let pair_ns = world.run(|rank| {
        let first = dispatch(rank)?;
        timed(rank, |rank| {
            dispatches(rank, &first.handle, 1)?;
            combines(rank, &first, 1)
        })
    })?;
    let pair_alone_ns = pair_ns.iter().copied().fold(0.0, f64::max);
    // Twice as long as the computation needs alone: it is expected to slow down.
    let pairs = (2.0 * alone_ns * f64::from(count) / pair_alone_ns.max(1.0)).ceil() as u32 + 1;
    let pairs = pairs.min(PAIRS_MAX);
    let seen = world.run(|rank| {
        let lab = rank.lab.take();
        let gemm = lab.as_ref().map(|lab| Gemm::new(lab, rows, columns, depth)).transpose()?;
        let first = dispatch(rank)?;
        let mut covered = false;
        let pairs_ns = timed(rank, |rank| {
            // Communication first: it must not wait for a computation that has taken every SM.
            for pair in 0..pairs {
                dispatches(rank, &first.handle, 1)?;
                if let (0, Some(lab), Some(gemm)) = (pair, &lab, &gemm) {
                    gemm.begin(lab, sms, count)?;
                }
                combines(rank, &first, 1)?;
            }
            covered = lab.as_ref().map(|lab| lab.timer().ended()).transpose()?.unwrap_or(true);
            Ok(())
        })?;
        let mut gemm_ns = 0.0;
        if let (Some(lab), Some(gemm)) = (&lab, &gemm) {
            gemm_ns = lab.timer().time_ns()? as f64 / f64::from(count);
            gemm.check(lab)?;
        }
        rank.lab = lab;
        Ok(Seen { gemm_ns, pair_alone_ns, pair_beside_ns: pairs_ns / f64::from(pairs), covered })
    })?;
    Ok(seen[0])
}
