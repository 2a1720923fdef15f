//! Bounded exhaustive exploration: every sequence of choices of a small program, one run each.
//!
//! A run under [`Schedule::Explore`] takes the given choices and then plain ones, and tells which choices there were. The
//! next run changes the last one that has another alternative (depth first). A turn lasts until the agent would read
//! behind a write of its own (or use an atomic, `fence.sc` or a barrier there): in weak memory an earlier end of the turn
//! shows nothing more, since reads take any value that is still allowed and stores may go before others in coherence
//! order. In sequential memory it is not every interleaving.
//!
//! Loops make the tree of choices infinite; [`Exploration::deviations`] bounds the choices of a run that are not plain.

use crate::config::Schedule;
use crate::machine::Machine;

/// The runs of one program.
#[derive(Debug, Clone)]
pub struct Exploration {
    choices: Vec<u32>,
    runs: u64,
    runs_max: u64,
    deviations_max: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Going,
    /// Every sequence of choices within the bounds was run.
    Finished,
    /// The runs are used up.
    Cut,
}

impl Exploration {
    /// At most so many runs.
    pub fn new(runs_max: u64) -> Exploration {
        Exploration { choices: Vec::new(), runs: 0, runs_max, deviations_max: usize::MAX, state: State::Going }
    }

    /// Only runs with at most this many choices that are not plain.
    pub fn deviations(self, deviations_max: usize) -> Exploration {
        Exploration { deviations_max, ..self }
    }

    /// The schedule of the next run; none when there is no other.
    pub fn schedule(&self) -> Option<Schedule> {
        (self.state == State::Going).then(|| Schedule::Explore { choices: self.choices.clone() })
    }

    /// A machine with the last [`Exploration::schedule`] has run.
    pub fn ran(&mut self, machine: &Machine) {
        self.runs += 1;
        let mut made = machine.explored_choices().to_vec();
        self.state = State::Finished;
        while let Some((chosen, among)) = made.pop() {
            let before = made.iter().filter(|(chosen, _)| *chosen != 0).count();
            if chosen + 1 < among && before < self.deviations_max {
                self.choices = made.iter().map(|(chosen, _)| *chosen).collect();
                self.choices.push(chosen + 1);
                self.state = if self.runs < self.runs_max { State::Going } else { State::Cut };
                return;
            }
        }
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Whether every sequence of choices within the bound on deviations was run.
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }
}
