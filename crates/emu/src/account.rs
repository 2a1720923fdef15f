//! Accounts: how the warps of each launch spent its time.
//!
//! Method: with [`crate::MachineConfig::accounts`] a warp's life is cut at every `nanosleep`, parked or not. Sleeping is
//! idle, and so is a stretch between two sleeps in which the warp issued no bulk copy: it looked for work and found none, or
//! none that could go on. A warp that moves data by loads and stores alone would look idle here.
//!
//! Times are in ticks: picoseconds on a machine whose parts have times ([`crate::Timing`]), else millionths of a round. In a
//! round everyone who can act has one turn on average, be it long or short. So a copy lands after about a round, and a
//! computation takes as many rounds as the schedule cuts it into turns. By default all NICs together have one turn of a
//! round, and are what everybody waits for: see [`crate::NicTurn::EveryQueue`].

use crate::launch::LaunchId;

/// What a finished launch did with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchAccount {
    /// The launch.
    pub launch: LaunchId,
    /// Its GPU.
    pub gpu: usize,
    /// Name of the entry.
    pub entry: String,
    /// When it began, in ticks.
    pub began_ticks: u64,
    /// When it and all its copies were done.
    pub ended_ticks: u64,
    /// By index of the warp in its CTA, summed over the CTAs.
    pub warps: Vec<WarpAccount>,
}

/// What a warp did with its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarpAccount {
    /// Instructions executed by it, or by parts of it.
    pub instructions: u64,
    /// Turns of the scheduler.
    pub turns: u64,
    /// From the beginning to the end of its CTA.
    pub resident_ticks: u64,
    /// Of that, asleep, or awake from one sleep to the next without issuing a bulk copy.
    pub idle_ticks: u64,
}

/// The account of a warp that is resident.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    sum: WarpAccount,
    /// End of the last stretch that was counted.
    since: u64,
    asleep: bool,
    /// It has issued a bulk copy since then.
    copied: bool,
}

impl Tally {
    pub fn begin(now: u64) -> Tally {
        Tally { since: now, ..Tally::default() }
    }

    /// A turn went from `began` to `ended`; the warp is `asleep` after it.
    pub fn turn(&mut self, began: u64, ended: u64, instructions: u64, copied: bool, asleep: bool) {
        self.sum.instructions += instructions;
        self.sum.turns += 1;
        if self.asleep {
            self.cut(began);
        }
        self.copied |= copied;
        self.asleep = asleep;
        if asleep {
            self.cut(ended);
        }
    }

    /// The account when the CTA ends.
    pub fn end(mut self, now: u64) -> WarpAccount {
        self.cut(now);
        self.sum
    }

    fn cut(&mut self, now: u64) {
        let stretch = now - self.since;
        self.sum.resident_ticks += stretch;
        if !self.copied {
            self.sum.idle_ticks += stretch;
        }
        self.since = now;
        self.copied = false;
    }
}

impl LaunchAccount {
    pub(crate) fn add(&mut self, index: usize, warp: WarpAccount) {
        if self.warps.len() <= index {
            self.warps.resize(index + 1, WarpAccount::default());
        }
        let sum = &mut self.warps[index];
        sum.instructions += warp.instructions;
        sum.turns += warp.turns;
        sum.resident_ticks += warp.resident_ticks;
        sum.idle_ticks += warp.idle_ticks;
    }
}

#[test]
fn stretches_without_copies_are_idle() {
    let mut tally = Tally::begin(100);
    tally.turn(110, 120, 9, false, false); // looks
    tally.turn(130, 140, 9, true, false); // finds and copies
    tally.turn(150, 160, 9, false, true); // sleeps: 60 busy
    tally.turn(200, 210, 9, false, true); // woken, finds nothing: 50 idle
    tally.turn(220, 230, 9, true, false); // woken: 10 idle; copies until the end
    let account = tally.end(300);
    assert_eq!(account, WarpAccount { instructions: 45, turns: 5, resident_ticks: 200, idle_ticks: 60 });
}
