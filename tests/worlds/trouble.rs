//! What goes wrong on purpose in a case, and what must hold then.
//!
//! Whatever it is: every rank's calls end within a few deadlines of the cluster's time; what comes back without an error
//! is right to the bit; a rank's first error says what it noticed, and from then on every call answers with that error;
//! and among those who stop, somebody names who is to blame. A trouble may miss: its request is never made, or nobody
//! depends on it any more. Then nothing may be noticed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use warpferry::kernel::launch::KernelSet;
use warpferry::status::{Cause, Stage, StatusLine, Wait};
use warpferry::{Communicator, Error};
use warpferry_nic::{cqe, FaultAction, FaultMatch};

use crate::case::{Case, Link};
use crate::damage::{Under, Word};
use crate::lanes::{Cluster, Lane, Mishap};
use crate::play::{self, Bounds, Call, Cost, Stop, TIMEOUT};

/// Most time of the cluster for all rounds: each of a rank's operations waits for at most one deadline, and the first
/// that fails is the last that waits.
pub const LIMIT: Duration = TIMEOUT.saturating_mul(4);

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A request of one queue pair of `rank`, the one that leads to `node`. Needs NICs.
    Nic { rank: u32, node: u32, lane: Lane, requests: Requests, after: u64, act: Act },
    /// All requests of a queue pair start this much later. Nothing else is wrong, so nothing may be noticed.
    Slow { rank: u32, node: u32, lane: Lane, ticks: u64 },
    /// A rank that stays away from the start.
    Absent { rank: u32 },
    /// A rank that stays away after the dispatch of this call.
    Quits { rank: u32, call: u32 },
    /// A rank that stays away from this call on and cancels all others'.
    Cancels { rank: u32, call: u32 },
    /// Kernels have this much time only.
    Hurry { timeout_us: u64 },
    /// A choice of a token of this call is no expert.
    NoExpert { rank: u32, call: u32 },
    /// No choice of this call is an expert; each is wrong in its own way.
    NoExperts { rank: u32, call: u32 },
    /// A rank that stays away from this call on; nobody tells the others.
    Leaves { rank: u32, call: u32 },
    /// All ranks are cancelled this much later than this rank launched a kernel of this call.
    CancelsWithin { rank: u32, call: u32, under: Under, after_ns: u64 },
    /// A word of a rank's memory changes in this call.
    Damaged { rank: u32, call: u32, word: Word },
    /// Arrivals run ahead this much later than the rank launched the kernel of this call that reads them.
    DamagedWithin { rank: u32, call: u32, word: Word, after_ns: u64 },
}

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requests {
    Any,
    Writes,
    Atomics,
}

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// It fails as after too many retries.
    Fails,
    /// It and all behind it never come to an end.
    Stalls,
    /// The peer refuses its key.
    KeyRefused,
    /// It completes and has had no effect.
    SignalLost,
}

/// How a run with trouble went.
#[derive(Debug)]
pub struct Suffered {
    pub cost: Cost,
    /// Whether the trouble came about at all.
    pub happened: bool,
    /// What the ranks that stopped noticed first.
    pub noticed: Vec<Noticed>,
    /// All that the ranks that stopped said, every field of their status lines.
    pub said: String,
}

/// Kinds of first errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noticed {
    Nic,
    Timeout,
    Cancelled,
    NoExpert,
    StaleSlot,
    Overlap,
    Disagree,
    Overflow,
    Aborted,
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Noticed::Nic => "nic error",
            Noticed::Timeout => "timeout",
            Noticed::Cancelled => "cancelled",
            Noticed::NoExpert => "no expert",
            Noticed::StaleSlot => "stale slot",
            Noticed::Overlap => "overlap",
            Noticed::Disagree => "another plan",
            Noticed::Overflow => "overflow",
            Noticed::Aborted => "gave up before",
        })
    }
}

impl Trouble {
    /// Its kind, for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Trouble::Nic { act: Act::Fails, .. } => "request fails",
            Trouble::Nic { act: Act::Stalls, .. } => "queue stalls",
            Trouble::Nic { act: Act::KeyRefused, .. } => "key refused",
            Trouble::Nic { act: Act::SignalLost, .. } => "signal lost",
            Trouble::Slow { .. } => "slow queue",
            Trouble::Absent { .. } => "absent rank",
            Trouble::Quits { .. } => "rank quits",
            Trouble::Cancels { .. } => "cancel",
            Trouble::CancelsWithin { .. } => "cancel within",
            Trouble::Hurry { .. } => "short deadline",
            Trouble::NoExpert { .. } => "no expert",
            Trouble::NoExperts { .. } => "no experts",
            Trouble::Leaves { .. } => "rank leaves",
            Trouble::Damaged { .. } => "damage",
            Trouble::DamagedWithin { .. } => "damage within",
        }
    }

    /// Longest that kernels go without progress.
    pub fn timeout(&self) -> Duration {
        match *self {
            Trouble::Hurry { timeout_us } => Duration::from_micros(timeout_us),
            _ => TIMEOUT,
        }
    }

    /// Where `rank` gives wrong experts in call number `call`, among `choices` of them, and which.
    pub fn no_experts(&self, case: &Case, rank: u32, call: u32, choices: usize) -> Vec<(usize, i32)> {
        let experts = (case.experts_per_rank * case.nodes * case.gpus) as i32;
        match *self {
            _ if choices == 0 => Vec::new(),
            Trouble::NoExpert { rank: whose, call: when } if (whose, when) == (rank, call) => {
                let wrong = [experts, -2, i32::MAX, i32::MIN][case.seed as usize % 4];
                vec![((case.seed >> 2) as usize % choices, wrong)]
            }
            Trouble::NoExperts { rank: whose, call: when } if (whose, when) == (rank, call) => {
                (0..choices).map(|at| (at, experts + 7 * at as i32)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What one rank did.
struct Rounds {
    errors: Vec<Error>,
    wrong: Option<String>,
    /// Time of the cluster when it ended.
    ended: Duration,
}

/// Runs `case` with its trouble, kept to bounds; says what went otherwise than it must.
pub fn suffer_within(case: &Case, trouble: Trouble, kernels: KernelSet, bounds: &Bounds) -> Result<Suffered, String> {
    let mut config = case.config().map_err(|error| format!("the case is not valid: {error}"))?;
    config.machine.limits.warp_instructions = bounds.warp_instructions;
    let call = |number| Call::new(case, config.topology, config.shape, number);
    let calls: Vec<Call> =
        (0..case.calls).map(call).collect::<Result<_, _>>().map_err(|error| format!("reference: {error}"))?;
    let mut cluster = Cluster::with_kernels(config, kernels).map_err(|error| format!("world: {error}"))?;
    (bounds.prepare)(&cluster.machine);
    prepare(&cluster, trouble);
    let machine = cluster.machine.clone();
    let time = || Duration::from_nanos(machine.with(|machine| machine.time_ns()));
    let cancellers: Vec<_> = (0..(case.nodes * case.gpus) as usize).map(|rank| cluster.canceller(rank)).collect();
    let began = time();
    let act = |rank: &mut Communicator| {
        let (mut errors, wrong) = rounds(rank, case, &calls, trouble);
        if matches!(trouble, Trouble::Cancels { rank: whose, .. } if whose == rank.rank()) {
            errors.extend(cancellers.iter().filter_map(|canceller| canceller.cancel().err()));
        }
        Rounds { errors, wrong, ended: time() }
    };
    let outcomes = cluster.run(act).map_err(|error| format!("run: {error}"))?;
    if let Some(fault) = cluster.fault() {
        return Err(fault);
    }
    let happened = match trouble {
        Trouble::Nic { .. } => cluster.fired() != 0,
        Trouble::NoExpert { rank, call } | Trouble::NoExperts { rank, call } => {
            calls.get(call as usize).is_some_and(|call| !call.inputs[rank as usize].topk_idx.is_empty())
        }
        Trouble::Damaged { .. } | Trouble::DamagedWithin { .. } | Trouble::CancelsWithin { .. } => cluster.is_damaged(),
        _ => true,
    };
    let cost = play::cost(&cluster.machine);
    let noticed = judge(case, trouble, happened, began, &outcomes)?;
    cluster.close().map_err(|error| format!("close: {error}"))?;
    Ok(Suffered { cost, happened, noticed, said: written(&outcomes) })
}

fn prepare(cluster: &Cluster, trouble: Trouble) {
    match trouble {
        Trouble::Nic { rank, node, lane, requests, after, act } => {
            let matching = match requests {
                Requests::Any => FaultMatch::Any,
                Requests::Writes => FaultMatch::Write,
                Requests::Atomics => FaultMatch::Atomic,
            };
            let action = match act {
                Act::Fails => FaultAction::DropToError { syndrome: cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED },
                Act::Stalls => FaultAction::Stall,
                Act::KeyRefused => FaultAction::CorruptKey,
                Act::SignalLost => FaultAction::LoseSignal,
            };
            cluster.plan(&[Mishap { rank, node, lane, matching, after, action }]);
        }
        Trouble::Slow { rank, node, lane, ticks } => cluster.delay(rank, lane, node, ticks),
        Trouble::Damaged { rank, call, word } => cluster.damage(rank, call, word),
        Trouble::DamagedWithin { rank, call, word, after_ns } => {
            cluster.damage_within(rank, call, word, Duration::from_nanos(after_ns));
        }
        Trouble::CancelsWithin { rank, call, under, after_ns } => {
            cluster.cancel_within(rank, call, under, Duration::from_nanos(after_ns));
        }
        _ => {}
    }
}

/// Tries what the trouble leaves of all rounds; errors in order, and what came back wrong.
fn rounds(rank: &mut Communicator, case: &Case, calls: &[Call], trouble: Trouble) -> (Vec<Error>, Option<String>) {
    let own = rank.rank();
    let mut errors = Vec::new();
    for (number, call) in (0..).zip(calls) {
        let outcome = match trouble {
            Trouble::Absent { rank: whose } if whose == own => break,
            Trouble::Cancels { rank: whose, call } | Trouble::Leaves { rank: whose, call }
                if whose == own && call == number =>
            {
                break;
            }
            Trouble::Quits { rank: whose, call: last } if whose == own && last == number => {
                play::dispatch(rank, case, call).map(drop)
            }
            _ => play::round(rank, case, call),
        };
        match outcome {
            Ok(()) => {}
            Err(Stop::Error(error)) => errors.push(error),
            Err(Stop::Wrong(what)) => return (errors, Some(what)),
        }
        if matches!(trouble, Trouble::Quits { rank: whose, call } if whose == own && call == number) {
            break;
        }
    }
    (errors, None)
}

/// What must hold of all ranks' outcomes.
fn judge(
    case: &Case,
    trouble: Trouble,
    happened: bool,
    began: Duration,
    outcomes: &[Rounds],
) -> Result<Vec<Noticed>, String> {
    for (rank, outcome) in outcomes.iter().enumerate() {
        if let Some(what) = &outcome.wrong {
            return Err(format!("rank {rank}: {what}"));
        }
        let took = outcome.ended - began;
        if took >= LIMIT {
            return Err(format!("rank {rank} took {took:?} for all rounds{}", told(outcomes)));
        }
    }
    let mut noticed = Vec::new();
    for (rank, Rounds { errors, .. }) in (0..).zip(outcomes) {
        let Some((first, later)) = errors.split_first() else { continue };
        let stays = |error: &Error| match error {
            Error::Broken { cause, .. } => cause.to_string() == first.to_string(),
            _ => false,
        };
        if !later.iter().all(stays) {
            return Err(format!("rank {rank} does not stay broken{}", told(outcomes)));
        }
        if let Some(what) = implausible(case, rank, first) {
            return Err(format!("rank {rank} does not say what can be: {what}{}", told(outcomes)));
        }
        match explained(case, trouble, rank, first) {
            Some(kind) => noticed.push(kind),
            None => return Err(format!("rank {rank} stops for no reason that was given{}", told(outcomes))),
        }
    }
    let blame = match (noticed.is_empty(), happened) {
        (false, false) => Err("nothing went wrong"),
        (true, _) => must_be_noticed(case, trouble, happened),
        (false, true) => blamed(case, trouble, outcomes),
    };
    blame.map(|()| noticed).map_err(|what| format!("{what}{}", told(outcomes)))
}

/// What a first error says, when it is one that this trouble can lead to.
fn explained(case: &Case, trouble: Trouble, rank: u32, first: &Error) -> Option<Noticed> {
    if let Error::Argument { argument, value, .. } = first {
        let (Trouble::NoExpert { call, .. } | Trouble::NoExperts { call, .. }) = trouble else { return None };
        // One choice that was given, and what was given there.
        let choices = (case.tokens_of(rank, call) * case.topk) as usize;
        let is_it = |&(at, wrong): &(usize, i32)| {
            let (token, choice) = (at / case.topk as usize, at % case.topk as usize);
            *argument == format!("topk_idx[{token}][{choice}]") && *value == wrong.to_string()
        };
        return trouble.no_experts(case, rank, call, choices).iter().any(is_it).then_some(Noticed::NoExpert);
    }
    if let Error::Overflow { rank: by, need, have, .. } = first {
        // Rows beyond what is there are dropped, and the rank goes on; others may miss it all the same.
        let (Trouble::Damaged { rank: whose, word, .. } | Trouble::DamagedWithin { rank: whose, word, .. }) = trouble
        else {
            return None;
        };
        let is_it = *by == rank && whose == rank && word.overflows(*need, *have);
        return is_it.then_some(Noticed::Overflow);
    }
    let hurried = matches!(trouble, Trouble::Hurry { .. });
    lines(first).find_map(|line| match line.cause {
        Cause::Nic { syndrome, .. } => is_of(trouble, syndrome).then_some(Noticed::Nic),
        // What comes at the very last moment may be there when the line is written.
        Cause::Timeout if hurried || line.waits.iter().any(|wait| wait.seen < wait.needed) => Some(Noticed::Timeout),
        Cause::Cancelled if matches!(trouble, Trouble::Cancels { .. } | Trouble::CancelsWithin { .. }) => {
            Some(Noticed::Cancelled)
        }
        cause => match trouble {
            Trouble::Damaged { rank: whose, call, word } | Trouble::DamagedWithin { rank: whose, call, word, .. }
                if whose == rank
                    && word.is_named_by(line, call, plan_hash(case))
                    && is_first(case, rank, word, line)
                    && is_in_place(case, word, line)
                    || whose != rank
                        && word.reaches(line, whose, call, plan_hash(case))
                        && is_in_place(case, word, line) =>
            {
                match cause {
                    Cause::StaleSlot { .. } => Some(Noticed::StaleSlot),
                    Cause::Overlap => Some(Noticed::Overlap),
                    Cause::Disagree { .. } => Some(Noticed::Disagree),
                    _ => Some(Noticed::Aborted),
                }
            }
            _ => None,
        },
    })
}

/// Whether a slot of another call, where a rank of a single node counts its dispatches wrong, is named as the first header
/// from another rank: no token was seen before it, and its own is one of that rank's.
fn is_first(case: &Case, rank: u32, word: Word, line: &StatusLine) -> bool {
    let Cause::StaleSlot { peer, expected, seen } = line.cause else { return true };
    if word != Word::DispatchCalls || case.nodes > 1 && case.gpus > 1 {
        return true;
    }
    let most = case.tokens.iter().max().copied().unwrap_or(0);
    peer != rank && peer < case.nodes * case.gpus && expected as u32 == 0 && (seen as u32) < most
}

/// Whether a slot of another combine is told as what it is: at the position that was looked at, from a node.
fn is_in_place(case: &Case, word: Word, line: &StatusLine) -> bool {
    let Cause::StaleSlot { peer, expected, seen } = line.cause else { return true };
    word != Word::CombineCalls || peer < case.nodes && expected as u32 == seen as u32
}

/// What in the lines of a dispatch or combine cannot be, whatever the trouble.
fn implausible(case: &Case, rank: u32, error: &Error) -> Option<&'static str> {
    let Error::Ended { op, .. } = error else { return None };
    let (dispatch_sms, combine_sms) = case.sms[rank as usize % case.sms.len()];
    let combines = *op == "combine";
    let sms = if combines { combine_sms } else { dispatch_sms };
    let most = u64::from(case.chunk_ib.max(case.chunk_nv));
    lines(error).find_map(|line| {
        if line.cta >= sms.min(case.channels) {
            return Some("a CTA that the launch has not");
        }
        line.waits.iter().filter(|wait| wait.stage != Stage::Exchange).find_map(|wait| match wait {
            _ if wait.channel >= case.channels => Some("a channel that is not there"),
            _ if wait.peer >= case.nodes * case.gpus => Some("a rank that is not there"),
            _ if wait.needed == 0 => Some("a wait for nothing"),
            _ if combines && case.nodes == 1 && wait.stage == Stage::Forward => {
                Some("a combine that forwards in one node")
            }
            // Arrivals are awaited one by one, room for a chunk. Completions are awaited where NICs are.
            _ if case.fabric == Link::Loopback && wait.needed > wait.seen + most => {
                Some("a wait for more than a chunk")
            }
            _ => None,
        })
    })
}

/// Whether a NIC's trouble leads to this syndrome: its own, or that of the requests behind it.
fn is_of(trouble: Trouble, syndrome: u32) -> bool {
    let Trouble::Nic { act, .. } = trouble else { return false };
    let own = match act {
        Act::Fails => Some(cqe::SYNDROME_TRANSPORT_RETRY_EXCEEDED),
        Act::KeyRefused => Some(cqe::SYNDROME_REMOTE_ACCESS),
        Act::Stalls | Act::SignalLost => None,
    };
    own.is_some_and(|own| [own, cqe::SYNDROME_FLUSHED].map(u32::from).contains(&syndrome))
}

/// Nobody noticed anything: may that be?
fn must_be_noticed(case: &Case, trouble: Trouble, happened: bool) -> Result<(), &'static str> {
    let others = case.nodes * case.gpus > 1;
    let seen = match trouble {
        // The request may have been one that nobody needs: a credit at the end of the last call.
        Trouble::Nic { .. } | Trouble::Slow { .. } | Trouble::Hurry { .. } => false,
        // All kernels may have ended before.
        Trouble::CancelsWithin { .. } | Trouble::DamagedWithin { .. } => false,
        Trouble::Absent { .. } => others,
        // The combine may need nothing of this rank; the next exchange does.
        Trouble::Quits { call, .. } => others && call + 1 < case.calls,
        Trouble::Cancels { call, .. } => others && call < case.calls,
        Trouble::NoExpert { .. } | Trouble::NoExperts { .. } => happened,
        Trouble::Damaged { word, .. } => happened && !word.runs_ahead(),
        Trouble::Leaves { call, .. } => others && call < case.calls,
    };
    if seen {
        return Err("nobody noticed");
    }
    Ok(())
}

/// Somebody names who is to blame.
fn blamed(case: &Case, trouble: Trouble, outcomes: &[Rounds]) -> Result<(), &'static str> {
    let says =
        |rank: u32, what: &dyn Fn(&StatusLine) -> bool| outcomes[rank as usize].errors.iter().flat_map(lines).any(what);
    let waits_for =
        |line: &StatusLine, rank: u32| line.waits.iter().any(|wait| wait.peer == rank && wait.seen < wait.needed);
    let anybody =
        |named: u32| (0..outcomes.len() as u32).any(|rank| rank != named && says(rank, &|line| waits_for(line, named)));
    match trouble {
        Trouble::Nic { rank, node, lane, requests, after, act } => {
            let peer = node * case.gpus + rank % case.gpus;
            let between = |own: u32, other: u32| {
                says(own, &|line| {
                    waits_for(line, other) || matches!(line.cause, Cause::Nic { peer, .. } if peer == other)
                })
            };
            if !between(rank, peer) && !between(peer, rank) {
                return Err("no end of the queue pair names the other");
            }
            let never_left = matches!((lane, requests, after), (Lane::Exchange, Requests::Any, 0));
            if never_left && act == Act::Stalls && !says(rank, &|line| waits_for(line, peer)) {
                return Err("the rank whose box never left does not wait for it");
            }
            let fails = matches!(act, Act::Fails | Act::KeyRefused);
            let channel = match lane {
                Lane::Payload { channel } | Lane::Credit { channel } => channel,
                // It belongs to no channel.
                Lane::Exchange => 0,
            };
            let failed = |line: &StatusLine| match line.cause {
                Cause::Nic { peer: at, channel: of, .. } => at == peer && channel == of,
                _ => false,
            };
            // The last credit of a flow is not waited for: its kernel may have ended, and the peer finds the queue pair broken.
            let told_by_peer = matches!(lane, Lane::Credit { .. })
                && says(peer, &|line| matches!(line.cause, Cause::Nic { peer: at, .. } if at == rank));
            if fails && !says(rank, &failed) && !told_by_peer {
                return Err("the rank whose request failed does not name its queue pair");
            }
            Ok(())
        }
        Trouble::Slow { .. } => Err("a slow queue pair is no failure"),
        Trouble::Absent { rank } | Trouble::Quits { rank, .. } if !anybody(rank) => {
            Err("nobody names the missing rank")
        }
        Trouble::Cancels { rank, .. } => {
            let cancelled = |other: u32| says(other, &|line| line.cause == Cause::Cancelled);
            let told = (0..outcomes.len() as u32).any(|other| other != rank && cancelled(other));
            told.then_some(()).ok_or("nobody says that it was cancelled")
        }
        Trouble::CancelsWithin { .. } => {
            let cancelled = |rank: u32| says(rank, &|line| line.cause == Cause::Cancelled);
            (0..outcomes.len() as u32).any(cancelled).then_some(()).ok_or("nobody says that it was cancelled")
        }
        Trouble::NoExpert { rank, .. } | Trouble::NoExperts { rank, .. } => {
            let refused = matches!(outcomes[rank as usize].errors.first(), Some(Error::Argument { .. }));
            refused.then_some(()).ok_or("the rank with the wrong expert is not told so")
        }
        // Behind a node that is missed others are not looked at any more; with two there are none.
        Trouble::Leaves { rank, call } if case.nodes <= 2 => waits_for_boxes(outcomes, rank, call),
        Trouble::Leaves { rank, .. } if !anybody(rank) => Err("nobody names the missing rank"),
        Trouble::Damaged { rank, call, word } | Trouble::DamagedWithin { rank, call, word, .. } => {
            let hash = plan_hash(case);
            let overflows =
                |error: &Error| matches!(error, Error::Overflow { need, have, .. } if word.overflows(*need, *have));
            let told = outcomes[rank as usize].errors.iter().any(overflows);
            if !told && !says(rank, &|line| word.is_named_by(line, call, hash)) {
                return Err("the damaged rank does not say what is damaged");
            }
            match word {
                Word::AbortedExchange if case.nodes <= 2 => waits_for_boxes(outcomes, rank, call),
                Word::PlanHash if case.nodes * case.gpus > 1 => {
                    let told = (0..outcomes.len() as u32)
                        .any(|other| says(other, &|line| word.reaches(line, rank, call, hash)));
                    told.then_some(()).ok_or("nobody else says that the rank has another plan")
                }
                _ => Ok(()),
            }
        }
        Trouble::Absent { .. } | Trouble::Quits { .. } | Trouble::Hurry { .. } | Trouble::Leaves { .. } => Ok(()),
    }
}

/// Every other rank's first error is one line, and it says in every field that its exchange waits for this rank.
fn waits_for_boxes(outcomes: &[Rounds], missing: u32, call: u32) -> Result<(), &'static str> {
    let (needed, seen) = (u64::from(call) + 1, u64::from(call));
    let wait = Wait { stage: Stage::Exchange, channel: 0, peer: missing, draining: false, needed, seen };
    let want = StatusLine { cta: 0, cause: Cause::Timeout, waits: vec![wait] };
    let is_told = |errors: &[Error]| errors.first().is_some_and(|first| lines(first).eq([&want]));
    let others = (0..).zip(outcomes).filter(|(rank, _)| *rank != missing);
    let all = others.into_iter().all(|(_, outcome)| is_told(&outcome.errors));
    all.then_some(()).ok_or("another rank does not say just what its exchange waits for")
}

/// What ranks agree on.
fn plan_hash(case: &Case) -> u64 {
    let plan = case.config().and_then(|config| config.plan(0));
    plan.unwrap_or_else(|error| panic!("the case ran: {error}")).agreement_hash()
}

fn lines(error: &Error) -> impl Iterator<Item = &StatusLine> {
    let report = match error {
        Error::Ended { report, .. } => Some(&report.lines),
        _ => None,
    };
    report.into_iter().flatten()
}

fn told(outcomes: &[Rounds]) -> String {
    let mut text = String::new();
    for (rank, Rounds { errors, .. }) in outcomes.iter().enumerate() {
        for error in errors {
            text.push_str(&format!("\n  rank {rank}: {error}"));
        }
    }
    text
}

/// Errors, and the status lines behind them in full.
fn written(outcomes: &[Rounds]) -> String {
    let mut text = told(outcomes);
    for (rank, Rounds { errors, .. }) in outcomes.iter().enumerate() {
        for line in errors.iter().flat_map(lines) {
            text.push_str(&format!("\n  rank {rank}: {line:?}"));
        }
    }
    text
}
