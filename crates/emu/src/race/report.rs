//! What a race report says.

use super::actor::{scope_name, Missing};
use super::mark::Mark;
use super::shadow::Conflict;
use super::{Name, Race};
use crate::error::{Location, Thread};
use crate::park::Where;
use crate::program::Order;
use std::fmt;
use thiserror::Error;

/// One of the two accesses of a race.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaceAccess {
    /// Who: a thread, a NIC's queue pair, a stream, the host.
    pub agent: String,
    /// The thread, or the thread that issued the copy.
    pub thread: Option<Box<Thread>>,
    /// GPU of the thread.
    pub gpu: Option<usize>,
    /// The instruction, when a thread gave it.
    pub location: Option<Box<Location>>,
    /// `reads`, `writes`, `reads and writes`.
    pub kind: &'static str,
    /// `weak`, `relaxed`, ...
    pub order: &'static str,
    /// `cta`, `gpu`, `sys`; empty for weak accesses.
    pub scope: &'static str,
    /// `generic`, `async`, `constant`, `device`.
    pub proxy: &'static str,
}

/// Two accesses that conflict, and that nothing orders.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct RaceReport {
    /// The access that came first in this run.
    pub first: RaceAccess,
    /// The access that just came.
    pub second: RaceAccess,
    /// Where both were: an address, or an offset of the CTA's shared memory.
    pub place: RacePlace,
    /// What lies there; filled in by the machine.
    pub region: String,
    /// The edge that is missing, in words.
    pub missing: String,
    /// The machine's schedule, to run it again.
    pub schedule: String,
}

/// Where a race was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RacePlace {
    /// Offset in the shared memory of the CTA.
    Shared(u64),
    /// Storage and offset: the machine makes an address of it.
    Global {
        /// Number of the storage.
        storage: usize,
        /// Offset in it.
        offset: u64,
    },
}

impl fmt::Display for RaceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}", self.agent, self.kind, self.order)?;
        if !self.scope.is_empty() {
            write!(f, ".{}", self.scope)?;
        }
        write!(f, ", {} proxy)", self.proxy)?;
        match &self.location {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RaceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data race: {} in {}", self.missing, self.region)?;
        write!(f, "\n  (1) earlier: {}", self.first)?;
        write!(f, "\n  (2) now:     {}", self.second)?;
        write!(f, "\n  schedule: {}", self.schedule)
    }
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Weak => "weak",
        Order::Volatile => "volatile",
        Order::Relaxed => "relaxed",
        Order::Acquire => "acquire",
        Order::Release => "release",
        Order::AcqRel => "acq_rel",
        Order::Sc => "sc",
    }
}

impl Race {
    fn describe(&self, mark: &Mark, completion: bool) -> RaceAccess {
        let time = if completion { self.completions.get(mark.time).issued } else { mark.time };
        let names = &self.names[mark.slot as usize];
        let (_, name) = names.iter().rev().find(|(from, _)| *from <= time).unwrap_or(&names[0]);
        let (mut thread, mut location, mut at) = (None, None, None);
        let mut agent = match name {
            Name::Warp { shape, cta, warp } => {
                let lane = mark.lanes.trailing_zeros();
                let linear = warp * 32 + lane;
                let [x, y, _] = shape.block;
                let index = [linear % x, linear / x % y, linear / (x * y)];
                let who = Thread { entry: shape.program.name.clone(), cta: *cta, warp: *warp, lane, thread: index };
                let lanes = match mark.lanes.count_ones() {
                    1 => String::new(),
                    count => format!(" and {} more lanes", count - 1),
                };
                let text = format!("gpu {} {who}{lanes}", shape.gpu);
                location = Some(Box::new(shape.program.location(mark.site)));
                thread = Some(Box::new(who));
                at = Some(shape.gpu);
                text
            }
            Name::QueuePair { nic, number } => {
                let purposes = [
                    "doorbell record",
                    "entry",
                    "payload",
                    "atomic",
                    "result of an atomic",
                    "completion",
                    "completion record",
                ];
                format!("{nic} {number} ({})", purposes.get(mark.site as usize).unwrap_or(&"?"))
            }
            Name::Stream { gpu, stream } => format!("a copy in stream {stream} of gpu {gpu}"),
            Name::Host => "the host".to_string(),
        };
        if mark.what.is_async() {
            agent = format!("bulk copy of {agent}");
        } else if mark.what.is_deferred() {
            agent = format!("asynchronous access of {agent}");
        }
        let kind = match (mark.what.is_atomic(), mark.what.writes()) {
            (true, _) => "reads and writes",
            (false, true) => "writes",
            (false, false) => "reads",
        };
        let scope = if mark.what.is_strong() { scope_name(mark.what.scope()) } else { "" };
        let proxy = match mark.what {
            w if w.is_async() => "async",
            w if w.is_constant() => "constant",
            w if w.is_device() => "device",
            _ => "generic",
        };
        RaceAccess { agent, thread, gpu: at, location, kind, order: order_name(mark.what.order()), scope, proxy }
    }

    /// Puts a conflict into words.
    #[cold]
    pub(super) fn report(&self, place: Where, home: u32, conflict: Conflict) -> Box<RaceReport> {
        let Conflict { old, new, offset, missing } = conflict;
        // The arrival of a copy at its mbarrier has no completion of its own.
        let second = self.describe(&new, new.what.is_deferred() && !new.what.is_barrier());
        let first = self.describe(&old, old.what.is_deferred());
        let missing = match missing {
            Missing::Path => "no release/acquire path from the first access to the second".to_string(),
            Missing::ProxyFence if new.what.is_barrier() => {
                "no fence.mbarrier_init or fence.proxy.async between mbarrier.init and the bulk copy".to_string()
            }
            Missing::ProxyFence => {
                let space = if place == Where::Shared { "shared::cta" } else { "global" };
                format!("no fence.proxy.async (.{space}) between the first access and the bulk copy")
            }
            Missing::Completion => "the copy is not complete: nobody has waited for it".to_string(),
            Missing::WriteCompletion => {
                "the bulk copy's write is not complete: wait_group.read waits for its read only".to_string()
            }
            Missing::RelaxedWait => "the wait for the copy is relaxed, and no acquiring fence is behind it".to_string(),
            Missing::CompletionPath => {
                "no release/acquire path from the wait for the bulk copy to the second access".to_string()
            }
            Missing::Scopes => format!("scopes {} and {} do not include each other", first.scope, second.scope),
            Missing::Overlap => {
                format!("accesses of {} and {} bytes overlap in part", old.what.size(), new.what.size())
            }
            Missing::Constant => "a location is read through .nc and written while the kernel runs".to_string(),
            Missing::NextPhase => {
                "no path from the wait to an arrival at the next phase of the mbarrier: that phase may end \
                                   before the wait looks, which then misses its own"
                    .to_string()
            }
        };
        let place = match place {
            Where::Shared => RacePlace::Shared(offset as u64),
            Where::Global(storage) => RacePlace::Global { storage, offset: offset as u64 },
        };
        let region = match place {
            RacePlace::Shared(offset) => {
                let slot = self.ctas[home as usize].slots[0];
                let other = match self.names[slot as usize].last() {
                    Some((_, Name::Warp { shape, cta: [x, y, z], .. })) if shape.cluster != [1; 3] => {
                        format!(" of cta [{x}, {y}, {z}]")
                    }
                    _ => String::new(),
                };
                format!("shared memory +{offset:#x}{other}")
            }
            RacePlace::Global { offset, .. } => format!("an allocation, offset {offset:#x}"),
        };
        Box::new(RaceReport { first, second, place, region, missing, schedule: self.schedule.clone() })
    }
}
