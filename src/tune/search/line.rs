//! Search along one axis that has one valley: look at both sides, follow the better one with steps that double, then halve.
//!
//! A line only says which places it wants to know; several lines can be walked in lockstep.

use super::super::objective::Cost;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The neighbours of the start.
    Around,
    /// Two places away, where both neighbours are no better and one no worse.
    Over,
    /// Away from the start, this far.
    Far {
        down: bool,
        step: usize,
    },
    /// Both sides of the best, this far.
    Near {
        step: usize,
    },
    Done,
}

/// A walk along the places `0..len` of an axis.
#[derive(Debug, Clone)]
pub(super) struct Line {
    len: usize,
    best: usize,
    cost: Option<Cost>,
    phase: Phase,
}

impl Line {
    /// From place `start`, whose cost is known unless it is invalid.
    pub fn new(len: usize, start: usize, cost: Option<Cost>) -> Line {
        let phase = if len > 1 { Phase::Around } else { Phase::Done };
        Line { len, best: start, cost, phase }
    }

    /// The best place so far.
    pub fn best(&self) -> usize {
        self.best
    }

    /// Places whose costs the line wants; none when it is done.
    pub fn wanted(&mut self) -> Vec<usize> {
        // Each phase ends after one list, and `Far` at the end of the axis.
        for _ in 0..=2 * self.len {
            let list = match self.phase {
                Phase::Done => return Vec::new(),
                Phase::Around => self.sides(1),
                Phase::Over => self.sides(2),
                Phase::Near { step } => self.sides(step),
                Phase::Far { down, step } => self.side(down, step).into_iter().collect(),
            };
            if !list.is_empty() {
                return list;
            }
            self.phase = self.behind(false);
        }
        Vec::new()
    }

    /// Takes the costs of what was wanted; None for places that are no candidates.
    pub fn told(&mut self, answers: &[(usize, Option<Cost>)]) {
        let before = self.best;
        let level = answers.iter().any(|(_, cost)| self.is_level(cost.as_ref()));
        for (place, cost) in answers {
            let Some(cost) = cost else { continue };
            if self.cost.is_none_or(|best| cost.beats(&best)) {
                (self.best, self.cost) = (*place, Some(*cost));
            }
        }
        self.phase = match self.phase {
            Phase::Around | Phase::Over if self.best != before => Phase::Far { down: self.best < before, step: 2 },
            Phase::Around if level => Phase::Over,
            _ => self.behind(self.best != before),
        };
    }

    /// The phase behind the present one.
    fn behind(&self, better: bool) -> Phase {
        match self.phase {
            Phase::Far { down, step } if better => Phase::Far { down, step: 2 * step },
            Phase::Far { step, .. } if step > 1 => Phase::Near { step: step / 2 },
            Phase::Near { step } if step > 1 => Phase::Near { step: step / 2 },
            Phase::Near { .. } if better => Phase::Near { step: 1 },
            _ => Phase::Done,
        }
    }

    fn is_level(&self, cost: Option<&Cost>) -> bool {
        match (cost, &self.cost) {
            (Some(cost), Some(best)) => cost.is_level_with(best),
            _ => false,
        }
    }

    fn side(&self, down: bool, step: usize) -> Option<usize> {
        let place = if down { self.best.checked_sub(step) } else { self.best.checked_add(step) };
        place.filter(|&place| place < self.len)
    }

    fn sides(&self, step: usize) -> Vec<usize> {
        [self.side(true, step), self.side(false, step)].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Walks to the end; the best place and how many places were asked for.
    fn walk(costs: &[f64], start: usize) -> (usize, usize) {
        let cost = |place: usize| Some(Cost { main: costs[place], sm_ms: 0.0 });
        let (mut line, mut asked) = (Line::new(costs.len(), start, cost(start)), BTreeSet::from([start]));
        for _ in 0..100 {
            let wanted = line.wanted();
            if wanted.is_empty() {
                return (line.best(), asked.len());
            }
            asked.extend(&wanted);
            line.told(&wanted.iter().map(|&place| (place, cost(place))).collect::<Vec<_>>());
        }
        panic!("a line without end");
    }

    /// Method: every length, valley and start; both slopes steep or gentle.
    #[test]
    fn a_valley_is_found_from_everywhere() {
        for len in 1..=24_usize {
            for (valley, start) in (0..len).flat_map(|valley| (0..len).map(move |start| (valley, start))) {
                for (left, right) in [(1.0, 1.0), (5.0, 0.3), (0.3, 5.0)] {
                    let slope = |place: usize| if place < valley { left } else { right };
                    let costs: Vec<f64> = (0..len).map(|at| 10.0 + slope(at) * at.abs_diff(valley) as f64).collect();
                    let (best, asked) = walk(&costs, start);
                    assert_eq!(best, valley, "{len} places from {start}");
                    assert!(asked <= 12, "{asked} of {len} places from {start} to {valley}");
                }
            }
        }
    }

    #[test]
    fn a_level_step_is_stepped_over_once() {
        assert_eq!(walk(&[9.0, 9.0, 5.0, 9.0], 0).0, 2);
        assert_eq!(walk(&[9.0, 9.0, 9.0, 9.0, 5.0], 0).0, 0);
    }

    #[test]
    fn a_start_that_is_no_candidate_is_left() {
        let mut line = Line::new(3, 1, None);
        assert_eq!(line.wanted(), [0, 2]);
        line.told(&[(0, None), (2, Some(Cost { main: 1.0, sm_ms: 0.0 }))]);
        assert_eq!(line.best(), 2);
    }
}
