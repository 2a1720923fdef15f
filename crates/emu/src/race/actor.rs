//! Who makes an access, and what is ordered before it.

use super::clock::{Clock, Knowledge, Seat, View};
use super::completion::Completions;
use super::mark::{Mark, What};
use super::warp::WarpClock;
use super::Scope;
use crate::program::lanes as each;

/// Who makes an access.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// Lanes of a warp, through the generic proxy.
    Warp(&'a WarpClock),
    /// A bulk copy that this lane issued at the view's time, at one end of it.
    Copy { view: &'a View, lane: u32, space: usize, cta: u64 },
    /// A NIC, a stream or the host: all that it did before is ordered before what it does.
    Plain { slot: u32, know: &'a Knowledge },
}

/// In place of the time at which a warp began: no launch of the slot runs.
pub(crate) const IDLE: u32 = u32::MAX;

/// Who makes an access, with what the check of it needs.
#[derive(Clone, Copy)]
pub(crate) struct Actor<'a> {
    pub who: Who<'a>,
    pub seat: Seat,
    pub completions: &'a Completions,
    /// CTA of each slot now.
    pub seats: &'a [Seat],
    /// When the warp of each slot whose launch runs began there; [`IDLE`] for others.
    pub running: &'a [u32],
}

/// Why an access may not be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// No chain of releases and acquires.
    Path,
    /// A chain, without a proxy fence.
    ProxyFence,
    /// The earlier access is a bulk copy that nobody waited for.
    Completion,
    /// Its group was waited for with `.read` only.
    WriteCompletion,
    /// It was waited for by `.relaxed` waits only, with no acquiring fence behind.
    RelaxedWait,
    /// It was waited for, and no path comes from there.
    CompletionPath,
    /// Both are strong, and their scopes do not include each other.
    Scopes,
    /// Both are strong, and they overlap in part.
    Overlap,
    /// A location read through `.nc` is written while the kernel runs.
    Constant,
    /// The phase of an mbarrier ends while a wait for the one before may still be to come.
    NextPhase,
}

impl Actor<'_> {
    /// Whether `mark` is ordered before what each of `lanes` does.
    #[inline(always)]
    pub fn ordered(&self, mark: &Mark, lanes: u32) -> bool {
        if let Who::Warp(warp) = self.who {
            if !mark.what.is_deferred() && warp.common.caused.all(mark.slot) >= mark.time {
                return true;
            }
        }
        self.ordered_slow(mark, lanes)
    }

    #[inline(never)]
    fn ordered_slow(&self, mark: &Mark, lanes: u32) -> bool {
        if !mark.what.is_deferred() {
            return match self.who {
                Who::Warp(warp) => {
                    let told = mark.slot == warp.slot && warp.is_told(mark.lanes, mark.time);
                    told || each(lanes).all(|lane| warp.knows(lane, mark.slot, mark.lanes, mark.time))
                }
                Who::Copy { view, lane, space, .. } => fenced_all(view, lane, space, mark),
                Who::Plain { slot, know } => mark.slot == slot || know.caused.knows(mark.slot, mark.lanes, mark.time),
            };
        }
        let known = |knows: &dyn Fn(u32, u32, u32) -> bool| self.completions.is_known(mark.time, knows);
        match self.who {
            Who::Warp(warp) => {
                // Mostly all lanes waited themselves, or share what they know.
                let by_all =
                    |s, l: u32, t| (s == warp.slot && lanes & !l == 0) || warp.common.caused.knows_any(s, l, t);
                known(&by_all) || each(lanes).all(|lane| known(&|s, l, t| warp.knows_any(lane, s, l, t)))
            }
            Who::Copy { view, lane, space, cta } => {
                // The same proxy of the same CTA needs no fence (PTX ISA, "Causality Order").
                if mark.what.is_async() && cta != 0 && self.seats[mark.slot as usize].cta == cta {
                    known(&|s, l, t| caused_any(view, lane, s, l, t))
                } else {
                    known(&|s, l, t| fenced_any(view, lane, space, s, l, t))
                }
            }
            Who::Plain { know, .. } => known(&|s, l, t| know.caused.knows_any(s, l, t)),
        }
    }

    /// Whether `old` may stand unordered beside an access that is like `new`, which conflicts with it.
    fn morally_strong(&self, old: &Mark, new: &Mark) -> Result<(), Missing> {
        let (a, b) = (old.what, new.what);
        // Operations on an mbarrier object count whatever their scopes; those say whom they synchronize with.
        if a.is_barrier() && b.is_barrier() && a.is_strong() && b.is_strong() {
            return Ok(());
        }
        if !a.is_strong() || !b.is_strong() || a.is_async() != b.is_async() {
            return Err(Missing::Path);
        }
        let seat = self.seats[old.slot as usize];
        if !seat.meet(a.scope(), self.seat, b.scope()) {
            return Err(Missing::Scopes);
        }
        let whole =
            a.is_device() || b.is_device() || (a.size() == b.size() && (a.size() >= 4 || old.bytes == new.bytes));
        if whole {
            Ok(())
        } else {
            Err(Missing::Overlap)
        }
    }

    /// Whether `new` by `lanes` may come after `old`.
    #[inline(always)]
    pub fn check(&self, old: &Mark, new: &Mark) -> Result<(), Missing> {
        if old.what.is_none() || !(old.what.writes() || new.what.writes()) || old.bytes & new.bytes == 0 {
            return Ok(());
        }
        if (old.what.is_constant() || new.what.is_constant()) && !self.constant(old, new) {
            return Err(Missing::Constant);
        }
        if self.ordered(old, new.lanes) {
            return Ok(());
        }
        self.unordered(old, new)
    }

    #[cold]
    fn unordered(&self, old: &Mark, new: &Mark) -> Result<(), Missing> {
        let Err(missing) = self.morally_strong(old, new) else { return Ok(()) };
        if missing != Missing::Path {
            return Err(missing);
        }
        let caused = match self.who {
            _ if old.what.is_deferred() => {
                let completion = self.completions.get(old.time);
                if !self.completions.is_observed(old.time) {
                    return Err(match () {
                        () if completion.only_read && old.what.writes() => Missing::WriteCompletion,
                        () if completion.relaxed_wait => Missing::RelaxedWait,
                        () => Missing::Completion,
                    });
                }
                let Who::Copy { view, lane, .. } = self.who else { return Err(Missing::CompletionPath) };
                if !self.completions.is_known(old.time, &|s, l, t| caused_any(view, lane, s, l, t)) {
                    return Err(Missing::CompletionPath);
                }
                true
            }
            Who::Copy { view, lane, .. } => {
                let later = old.slot == view.slot && old.time > view.now;
                let only_read = !new.what.is_barrier() && self.completions.get(new.time).only_read;
                if only_read && new.what.writes() {
                    return Err(Missing::WriteCompletion);
                }
                if later {
                    return Err(Missing::Completion);
                }
                caused_any(view, lane, old.slot, old.lanes, old.time)
            }
            _ => false,
        };
        Err(if caused { Missing::ProxyFence } else { Missing::Path })
    }

    /// The rule of `.nc`: nobody writes while the kernel runs.
    #[cold]
    fn constant(&self, old: &Mark, new: &Mark) -> bool {
        if old.what.is_constant() {
            let began = self.running[old.slot as usize];
            return !new.what.writes() || old.time < began;
        }
        let Who::Warp(warp) = self.who else { return true };
        let base = &warp.base.caused;
        if old.what.is_deferred() {
            return self.completions.is_known(old.time, &|s, l, t| base.knows_any(s, l, t));
        }
        base.knows(old.slot, old.lanes, old.time)
    }

    /// Whether later accesses need no look at `old` when they look at `new`.
    #[inline(always)]
    pub fn supersedes(&self, old: &Mark, new: &Mark) -> bool {
        let stricter = !new.what.is_strong() || (old.what.is_strong() && old.what.scope() >= new.what.scope());
        stricter
            && old.bytes & !new.bytes == 0
            && (new.what.writes() || !old.what.writes())
            && (!old.what.is_constant() || new.what.is_constant())
            && self.covers_proxy(old.what, new.what)
            && self.ordered(old, new.lanes)
    }

    /// Ordered before the new one does not imply it for a later access through another proxy.
    #[inline(always)]
    fn covers_proxy(&self, old: What, new: What) -> bool {
        old.is_async() || !new.is_async() || matches!(self.who, Who::Copy { .. })
    }
}

fn clock_any(clock: &Clock, slot: u32, lanes: u32, time: u32) -> bool {
    clock.knows_any(slot, lanes, time)
}

/// Some lane's act is ordered before the copy was issued.
fn caused_any(view: &View, lane: u32, slot: u32, lanes: u32, time: u32) -> bool {
    let own = slot == view.slot
        && ((lanes >> lane & 1 == 1 && time <= view.now) || each(lanes).any(|l| view.told[l] >= time));
    own || clock_any(&view.know.caused, slot, lanes, time)
}

/// As [`caused_any`], with a proxy fence.
fn fenced_any(view: &View, lane: u32, space: usize, slot: u32, lanes: u32, time: u32) -> bool {
    let own = slot == view.slot
        && ((lanes >> lane & 1 == 1 && view.own_fenced[space][lane as usize] >= time)
            || each(lanes).any(|l| view.proxied[space][l] >= time));
    own || clock_any(&view.know.fenced[space], slot, lanes, time)
}

/// All lanes of the mark are ordered before the copy was issued, with a proxy fence.
fn fenced_all(view: &View, lane: u32, space: usize, mark: &Mark) -> bool {
    let Mark { slot, lanes, time, .. } = *mark;
    let fenced = &view.know.fenced[space];
    if fenced.all(slot) >= time {
        return true;
    }
    let own = |l: usize| {
        slot == view.slot && (view.proxied[space][l] >= time || (l as u32 == lane && view.own_fenced[space][l] >= time))
    };
    each(lanes).all(|l| own(l) || fenced.knows(slot, 1 << l, time))
}

/// Words of a scope.
pub(crate) fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Cta => "cta",
        Scope::Cluster => "cluster",
        Scope::Gpu => "gpu",
        Scope::Sys => "sys",
    }
}
