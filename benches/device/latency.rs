//! Launch to done for few tokens.

use std::time::Instant;

use serde_json::json;
use warpferry::Tuning;

use super::operations::{combine, dispatch, dispatches, parameters, timed};
use super::ranks::{Gate, Inputs, Ranks, Work};
use super::record::{Failure, Figure, Samples};
use super::Suite;

/// Group `latency`: call to done, on the host's clock, and what the stream's events say; on the emulator events alone.
pub fn group(suite: &mut Suite) -> Result<(), Failure> {
    let (nodes, gpus) = suite.scale.pick((1, 2), (1, 4), (1, 4));
    let topology = warpferry::Topology::new(nodes, gpus)?;
    for tokens in [1, suite.scale.pick(8, 128, 128)] {
        let hidden = suite.scale.pick(64, 7168, 7168);
        let work = Work { topology, hidden, tokens, experts: 256, topk: 8, gate: Gate::Uniform };
        let inputs = Inputs::new(work)?;
        let mut tuning = Tuning::default_for(topology, 2 * hidden);
        if suite.scale.is_small() {
            (tuning.channels, tuning.dispatch_sms, tuning.combine_sms, tuning.workers) = (2, 2, 2, 3);
        }
        let rounds = suite.scale.pick(1, 20, 50);
        let mut world = Ranks::new(&suite.backend, &inputs, &tuning, 1, None)?;
        let times = world.run(|rank| {
            let first = dispatch(rank)?;
            let mut times: [[Samples; 2]; 3] = Default::default();
            for round in 0..=rounds {
                for (act, times) in times.iter_mut().enumerate() {
                    let began = Instant::now();
                    let events = timed(rank, |rank| match act {
                        0 => dispatch(rank).map(drop),
                        1 => dispatches(rank, &first.handle, 1),
                        _ => combine(rank, &first.x, &first.handle).map(drop),
                    })?;
                    if round > 0 {
                        times[0].push(began.elapsed().as_secs_f64() * 1e6);
                        times[1].push(events / 1e3);
                    }
                }
            }
            Ok(times)
        })?;
        world.close()?;
        let names = ["dispatch_with_exchange", "dispatch", "combine"];
        for (act, name) in names.into_iter().enumerate() {
            for (clock, name_of_clock) in ["host", "events"].into_iter().enumerate() {
                if clock == 0 && suite.scale.is_small() {
                    continue; // how fast this computer emulates is no figure
                }
                let slowest = times.iter().map(|times| &times[act][clock]);
                let slowest = slowest.max_by(|a, b| a.median().total_cmp(&b.median())).cloned().unwrap_or_default();
                let mut parameters = parameters(&work, &tuning);
                parameters.push(("clock", json!(name_of_clock)));
                suite.report.operation("latency", Figure::new(name, parameters, "us", slowest));
            }
        }
    }
    Ok(())
}
