//! One run of a test on the emulator.

use warpferry_emu::{Checks, FaultKind, Machine, MachineConfig, MemoryOrder, RunOutcome, Schedule};
use warpferry_litmus::Test;

use crate::kernel;
use crate::layout::Layout;
use crate::stage::{check_observed, Stage};
use crate::unplayed::Unplayed;

/// How a test is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sequential memory.
    Sequential,
    /// Sequential memory under the race check.
    Races,
    /// Weak memory.
    Weak,
}

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended with these values of the observed variables ([`Test::observed`]).
    State(Vec<i64>),
    /// It ended, but the test asks for what no run shows ([`Player::check_observed`]).
    Hidden,
    /// Somebody waits at a barrier or in a loop.
    Stuck,
    /// The race check found this.
    Race(String),
    /// A NIC found no entry where one should be.
    Broken(String),
}

/// Plays one test.
#[derive(Debug)]
pub struct Player<'a> {
    test: &'a Test,
    layout: Layout,
}

/// Warp instructions after which a run counts as stuck.
const INSTRUCTIONS: u64 = 2_000_000;

impl<'a> Player<'a> {
    /// Takes a test that has a like in PTX.
    ///
    /// # Errors
    /// [`Unplayed`], where it has not.
    pub fn new(test: &'a Test) -> Result<Self, Unplayed> {
        let player = Self { test, layout: Layout::new(test)? };
        player.ptx()?;
        Ok(player)
    }

    /// The entries that are run, of one GPU after another.
    ///
    /// # Errors
    /// [`Unplayed`], where an instruction has no like in PTX.
    pub fn ptx(&self) -> Result<Vec<String>, Unplayed> {
        let (stage, _) = Stage::set(self.test, &self.layout, self.config(Mode::Sequential, Schedule::RoundRobin))?;
        stage.busy().map(|gpu| kernel::text(&stage, gpu)).collect()
    }

    /// Whether a run shows all that the test asks for.
    ///
    /// # Errors
    /// [`Unplayed`], where it asks for shared memory or for what only a NIC knows.
    pub fn check_observed(&self) -> Result<(), Unplayed> {
        check_observed(self.test, &self.layout)
    }

    /// One run; the machine has what it did.
    ///
    /// # Errors
    /// [`Unplayed`], where the emulator does not take the program or ends it with a fault.
    pub fn play(&self, mode: Mode, schedule: Schedule) -> Result<(Outcome, Machine), Unplayed> {
        let (stage, mut machine) = Stage::set(self.test, &self.layout, self.config(mode, schedule))?;
        stage.launch(&mut machine)?;
        let outcome = match machine.run_until_idle() {
            Ok(RunOutcome::Stalled(_)) => Outcome::Stuck,
            Ok(RunOutcome::Idle | RunOutcome::Reached) => {
                if !stage.is_done(&machine)? {
                    Outcome::Stuck
                } else if self.check_observed().is_err() {
                    Outcome::Hidden
                } else {
                    Outcome::State(stage.state(&machine)?)
                }
            }
            Err(fault) => match &fault.kind {
                FaultKind::Race(_) => Outcome::Race(fault.to_string()),
                FaultKind::Nic(problem) => Outcome::Broken(problem.clone()),
                _ => return Err(Unplayed::failed(fault)),
            },
        };
        Ok((outcome, machine))
    }

    fn config(&self, mode: Mode, schedule: Schedule) -> MachineConfig {
        let (nodes, per_node) = Stage::shape(self.test, &self.layout);
        let mut config = MachineConfig::new(nodes, per_node);
        config.checks = match mode {
            Mode::Races => {
                // What is tested of a load may be what happens when nobody waits for it.
                Checks { uninitialized: false, bus_visibility: false, unawaited_copies: false, ..Checks::RACES }
            }
            Mode::Sequential | Mode::Weak => Checks::NONE,
        };
        config.memory = if mode == Mode::Weak { MemoryOrder::Weak } else { MemoryOrder::Sequential };
        config.schedule = schedule;
        config.limits.warp_instructions = INSTRUCTIONS;
        config
    }
}
