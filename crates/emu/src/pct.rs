//! Probabilistic concurrency testing: priorities instead of draws.
//!
//! Every agent gets a random priority when it is first seen, and the highest acts. At `depth - 1` turns, drawn from the
//! first `steps`, the agent that would act gets a priority below all others. An error that needs `depth` ordering
//! constraints among `n` agents is then found with a chance of at least 1 / (n * steps^(depth-1)) a run.
//!
//! Kernels wait by spinning, which the scheme does not foresee: an agent that acts [`PATIENCE`] times on end while others
//! could gives way to all of them.

use crate::choice::splitmix;
use std::collections::HashMap;

/// Turns on end after which an agent gives way.
const PATIENCE: u32 = 24;

/// State of the scheme.
#[derive(Debug)]
pub(crate) struct Pct {
    /// Where everything else is drawn from.
    pub state: u64,
    priorities: HashMap<u64, u64>,
    /// Turns at which priorities change, the next one last.
    changes: Vec<u64>,
    turn: u64,
    /// Below every priority given so far.
    lowest: u64,
    last: u64,
    on_end: u32,
}

impl Pct {
    pub fn new(seed: u64, depth: u32, steps: u32) -> Pct {
        let mut state = seed;
        let draw = |_| splitmix(&mut state) % u64::from(steps.max(1));
        let mut changes: Vec<u64> = (1..depth).map(draw).collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Pct { state, priorities: HashMap::new(), changes, turn: 0, lowest: 1 << 32, last: 0, on_end: 0 }
    }

    /// The agent to act of `n`, known by the numbers that `name` gives them.
    pub fn pick(&mut self, n: usize, name: impl Fn(usize) -> u64) -> usize {
        if n <= 1 {
            return 0;
        }
        loop {
            let chosen = self.highest(n, &name);
            let agent = name(chosen);
            let turn = self.turn;
            self.on_end = if agent == self.last { self.on_end + 1 } else { 0 };
            self.last = agent;
            if self.changes.last().is_some_and(|&at| at <= turn) {
                self.changes.pop();
            } else if self.on_end < PATIENCE {
                self.turn += 1;
                return chosen;
            }
            self.on_end = 0;
            self.lowest -= 1;
            self.priorities.insert(agent, self.lowest);
        }
    }

    fn highest(&mut self, n: usize, name: &impl Fn(usize) -> u64) -> usize {
        let mut best = (0, 0);
        for index in 0..n {
            let agent = name(index);
            let state = &mut self.state;
            // Above all that gave way.
            let priority = *self.priorities.entry(agent).or_insert_with(|| splitmix(state) | 1 << 33);
            if index == 0 || priority > best.1 {
                best = (index, priority);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_acts_until_priorities_change() {
        let mut pct = Pct::new(5, 3, 20);
        let picks: Vec<usize> = (0..20).map(|_| pct.pick(3, |index| index as u64 + 10)).collect();
        let switches = picks.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!((1..=2).contains(&switches), "{picks:?}");
    }

    #[test]
    fn who_spins_gives_way() {
        let mut pct = Pct::new(1, 1, 10);
        let picks: Vec<usize> = (0..200).map(|_| pct.pick(3, |index| index as u64)).collect();
        (0..3).for_each(|agent| assert!(picks.contains(&agent), "{agent} starves: {picks:?}"));
    }
}
