//! Runs that must fail: a rank that does not call, a NIC that breaks, a cancel. They lead kernels to where they give up
//! and tell why, which no run that goes well reaches.
//!
//! Method: every rank that is not the culprit must end with a status that fits, within the cluster's time, and say so
//! from then on. What all ranks said is given back as one text: a kernel that was not changed before the trouble says
//! the same as the sound one in the same schedule.

use std::time::Duration;

use warpferry::driver::emu::EmuMachine;
use warpferry::kernel::launch::KernelSet;
use warpferry::status::{Cause, StatusLine};
use warpferry::{Communicator, Error};
use warpferry_nic::{cqe, FaultAction, FaultMatch};

use crate::case::{Case, Link};
use crate::lanes::{Cluster, Lane, Mishap};
use crate::play::{self, Call, Stop, TIMEOUT};

/// Rounds that every rank tries.
const ROUNDS: u32 = 2;
/// Most time of the cluster for all of them.
const LIMIT: Duration = TIMEOUT.saturating_mul(4);
/// The rank that goes wrong, of 2 x 2, and the one at the other end of its rail.
const CULPRIT: u32 = 0;
const PEER: u32 = 2;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// The culprit never calls.
    NeverCalls,
    /// The culprit dispatches once and stops.
    DoesNotCombine,
    /// A queue pair of the culprit.
    Nic { lane: Lane, matching: FaultMatch, after: u64, action: FaultAction },
    /// The culprit cancels all others' calls.
    Cancels,
    /// The culprit gives an expert that is not there.
    BadExpert,
}

/// A case, and what goes wrong in it.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub case: Case,
    pub what: What,
}

/// All troubles of a fabric.
pub fn troubles(fabric: Link) -> Vec<Trouble> {
    let busy = Case {
        fabric,
        tokens: vec![24, 31],
        depth_ib: 4,
        depth_nv: 4,
        calls: ROUNDS,
        experts_per_rank: 4,
        races: true,
        ..Case::default()
    };
    let retry = FaultAction::DropToError { syndrome: cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED };
    let mut all = vec![What::NeverCalls, What::DoesNotCombine, What::Cancels, What::BadExpert];
    if fabric == Link::Mlx5 {
        let payload = Lane::Payload { channel: 0 };
        let credit = Lane::Credit { channel: 0 };
        for (lane, matching, action) in [
            (Lane::Exchange, FaultMatch::Write, retry),
            (Lane::Exchange, FaultMatch::Any, FaultAction::Stall),
            (payload, FaultMatch::Write, retry),
            (payload, FaultMatch::Any, FaultAction::Stall),
            (credit, FaultMatch::Atomic, retry),
            (credit, FaultMatch::Any, FaultAction::Stall),
        ] {
            all.push(What::Nic { lane, matching, after: 0, action });
        }
    }
    let many = Case { schedule: Some(3), sms: vec![(2, 2)], workers: 4, ..busy.clone() };
    let cases = |what| [Trouble { case: busy.clone(), what }, Trouble { case: many.clone(), what }];
    all.into_iter().flat_map(cases).collect()
}

/// Plays it; what all ranks said and the warp instructions it took, or what should not have been.
/// `prepare` sees the machine first.
pub fn suffer(
    trouble: &Trouble,
    kernels: KernelSet,
    warp_instructions: u64,
    prepare: impl FnOnce(&EmuMachine),
) -> Result<(String, u64), String> {
    let Trouble { case, what } = trouble;
    let mut config = case.config().map_err(|error| error.to_string())?;
    config.machine.limits.warp_instructions = warp_instructions;
    let calls = (0..ROUNDS)
        .map(|number| Call::new(case, config.topology, config.shape, number))
        .collect::<Result<Vec<Call>, _>>()
        .map_err(|error| error.to_string())?;
    let mut cluster = Cluster::with_kernels(config, kernels).map_err(|error| format!("world: {error}"))?;
    prepare(&cluster.machine);
    if let What::Nic { lane, matching, after, action } = *what {
        cluster.plan(&[Mishap { rank: CULPRIT, node: 1, lane, matching, after, action }]);
    }
    let cancellers: Vec<_> = (1..4).map(|rank| cluster.canceller(rank)).collect();
    let began = cluster.time();
    let act = |rank: &mut Communicator| -> Result<Vec<Error>, String> {
        if rank.rank() != CULPRIT {
            if matches!(what, What::BadExpert) {
                // The choice counts as masked, and the call goes on: what the others get is not what was drawn.
                drop(play::begin(rank, case, &calls[0]).and_then(|mut call| call.wait(play::PATIENCE)));
                return Ok(Vec::new());
            }
            return rounds(rank, case, &calls);
        }
        match what {
            What::NeverCalls => Ok(Vec::new()),
            What::Cancels => {
                let failed = cancellers.iter().filter_map(|canceller| canceller.cancel().err());
                failed.map(|error| Err(format!("cancel: {error}"))).collect::<Result<Vec<Error>, String>>()
            }
            What::DoesNotCombine => match play::dispatch(rank, case, &calls[0]) {
                Ok(_) => Ok(Vec::new()),
                Err(Stop::Error(error)) => Err(error.to_string()),
                Err(Stop::Wrong(wrong)) => Err(wrong),
            },
            What::BadExpert => {
                let mut bad = Call::new(case, rank.plan().topology, rank.plan().shape, 0).map_err(|e| e.to_string())?;
                bad.inputs[CULPRIT as usize].topk_idx[4] = 1 << 20;
                match play::round(rank, case, &bad) {
                    Ok(()) => Err("an expert that is not there was taken".to_string()),
                    Err(Stop::Error(error)) => Ok(vec![error]),
                    Err(Stop::Wrong(wrong)) => Err(wrong),
                }
            }
            What::Nic { .. } => rounds(rank, case, &calls),
        }
    };
    let outcomes = cluster.run(act).map_err(|error| format!("run: {error}"))?;
    let wrong: Vec<String> = (0..)
        .zip(&outcomes)
        .filter_map(|(rank, o): (u32, _)| o.as_ref().err().map(|e| format!("rank {rank}: {e}")))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n  "));
    }
    let errors: Vec<Vec<Error>> = outcomes.into_iter().map(Result::unwrap_or_default).collect();
    let said = told(&errors);
    let took = cluster.time() - began;
    judge(*what, &errors, took).map_err(|problem| format!("{problem}:{said}"))?;
    let cost = cluster.machine.with(|machine| machine.statistics().warp_instructions());
    cluster.close().map_err(|error| format!("close: {error}"))?;
    Ok((said, cost))
}

/// Tries all rounds; errors in order. Wrong bits, and errors that are no status, are told apart.
fn rounds(rank: &mut Communicator, case: &Case, calls: &[Call]) -> Result<Vec<Error>, String> {
    let mut errors = Vec::new();
    for call in calls {
        match play::round(rank, case, call) {
            Ok(()) => {}
            Err(Stop::Error(error @ (Error::Ended { .. } | Error::Broken { .. }))) => errors.push(error),
            Err(Stop::Error(error)) => return Err(error.to_string()),
            Err(Stop::Wrong(what)) => return Err(what),
        }
    }
    Ok(errors)
}

fn lines(errors: &[Error]) -> impl Iterator<Item = &StatusLine> {
    errors
        .iter()
        .filter_map(|error| match error {
            Error::Ended { report, .. } => Some(&report.lines),
            _ => None,
        })
        .flatten()
}

fn told(errors: &[Vec<Error>]) -> String {
    let mut text = String::new();
    for (rank, errors) in errors.iter().enumerate() {
        for error in errors {
            text.push_str(&format!("\n  rank {rank}: {error}"));
        }
        for line in lines(errors) {
            text.push_str(&format!("\n  rank {rank}: {line:?}"));
        }
    }
    text
}

/// Everybody ends in time and says why.
fn judge(what: What, errors: &[Vec<Error>], took: Duration) -> Result<(), String> {
    let spared = !matches!(what, What::Nic { .. });
    let limit = if matches!(what, What::Cancels) { TIMEOUT / 2 } else { LIMIT };
    if took >= limit {
        return Err(format!("status: {took:?} for all rounds"));
    }
    for (rank, errors) in (0..).zip(errors) {
        if matches!(what, What::BadExpert) || (rank == CULPRIT && spared) {
            continue;
        }
        let Some((first, later)) = errors.split_first() else {
            return Err(format!("status: rank {rank} noticed nothing"));
        };
        let fits = lines(std::slice::from_ref(first)).any(|line| match (what, line.cause) {
            (What::Cancels, cause) => cause == Cause::Cancelled,
            (What::Nic { .. }, Cause::Nic { peer, .. }) => [CULPRIT, PEER].contains(&peer),
            (_, Cause::Timeout) => line.waits.iter().any(|wait| wait.seen < wait.needed && wait.peer != rank),
            _ => false,
        });
        if !fits {
            return Err(format!("status: rank {rank} does not say why"));
        }
        let stays =
            later.iter().all(|e| matches!(e, Error::Broken { cause, .. } if cause.to_string() == first.to_string()));
        if !stays {
            return Err(format!("status: rank {rank} goes on"));
        }
    }
    let named = match what {
        What::NeverCalls => errors.iter().all(|errors| errors.is_empty() || waits_for(errors, CULPRIT)),
        What::DoesNotCombine => errors.iter().any(|errors| waits_for(errors, CULPRIT)),
        What::BadExpert => matches!(&errors[CULPRIT as usize][..], [Error::Argument { .. }]),
        What::Nic { action: FaultAction::DropToError { syndrome }, .. } => {
            lines(&errors[CULPRIT as usize]).any(|line| {
                matches!(line.cause, Cause::Nic { syndrome: seen, peer: PEER, .. }
                if seen == u32::from(syndrome) || seen == u32::from(cqe::SYNDROME_FLUSHED))
            })
        }
        What::Nic { .. } => errors.iter().any(|errors| waits_for(errors, CULPRIT) || waits_for(errors, PEER)),
        What::Cancels => true,
    };
    if named {
        Ok(())
    } else {
        Err("status: nobody names the culprit".to_string())
    }
}

fn waits_for(errors: &[Error], rank: u32) -> bool {
    lines(errors).flat_map(|line| &line.waits).any(|wait| wait.peer == rank && wait.seen < wait.needed)
}
