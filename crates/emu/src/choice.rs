//! The one source of choices.

use crate::config::Schedule;
use crate::pct::Pct;

/// Draws, replays and records the choices of a machine.
#[derive(Debug)]
pub(crate) struct Choices {
    source: Source,
    record: Option<Vec<u32>>,
}

#[derive(Debug)]
enum Source {
    Plain,
    Random(u64),
    Pct(Box<Pct>),
    Replay {
        choices: Vec<u32>,
        next: usize,
    },
    /// The first choices, and all that were made with the number that each was among.
    Explore {
        choices: Vec<u32>,
        made: Vec<(u32, u32)>,
    },
}

impl Choices {
    pub fn new(schedule: &Schedule, record: bool) -> Choices {
        let source = match schedule {
            Schedule::RoundRobin => Source::Plain,
            Schedule::Random { seed } => Source::Random(*seed),
            Schedule::Pct { seed, depth, steps } => Source::Pct(Box::new(Pct::new(*seed, *depth, *steps))),
            Schedule::Explore { choices } => Source::Explore { choices: choices.clone(), made: Vec::new() },
            Schedule::Replay(choices) => Source::Replay { choices: choices.clone(), next: 0 },
        };
        Choices { source, record: record.then(Vec::new) }
    }

    /// True when lengths of turns and of copies are chosen too.
    pub fn varies(&self) -> bool {
        !matches!(self.source, Source::Plain | Source::Explore { .. })
    }

    /// True when turns end where another agent could make a difference.
    pub fn explores(&self) -> bool {
        matches!(self.source, Source::Explore { .. })
    }

    /// Which of `n` agents acts, known by the numbers that `name` gives them.
    pub fn pick(&mut self, n: usize, name: impl Fn(usize) -> u64) -> usize {
        let Source::Pct(pct) = &mut self.source else { return self.choose(n) };
        let chosen = pct.pick(n, name);
        if n > 1 {
            self.note(chosen);
        }
        chosen
    }

    /// A number in `0..n`, where 0, the last value of memory, is drawn more often than the others.
    pub fn late(&mut self, n: usize) -> usize {
        let state = match &mut self.source {
            Source::Random(state) => state,
            Source::Pct(pct) => &mut pct.state,
            _ => return self.choose(n),
        };
        if n <= 1 {
            return 0;
        }
        let drawn = splitmix(state);
        let chosen = if drawn & 1 == 0 { 0 } else { ((drawn >> 1) % n as u64) as usize };
        self.note(chosen);
        chosen
    }

    fn note(&mut self, chosen: usize) {
        if let Some(record) = &mut self.record {
            record.push(chosen as u32);
        }
    }

    /// A number in `0..n`; 0 is the plain choice.
    pub fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let chosen = match &mut self.source {
            Source::Plain => return 0,
            Source::Random(state) => (splitmix(state) % n as u64) as usize,
            Source::Pct(pct) => (splitmix(&mut pct.state) % n as u64) as usize,
            Source::Explore { choices, made } => {
                let chosen = choices.get(made.len()).map_or(0, |&c| c as usize % n);
                made.push((chosen as u32, n as u32));
                chosen
            }
            Source::Replay { choices, next } => {
                let chosen = choices.get(*next).map_or(0, |&c| c as usize % n);
                *next += 1;
                chosen
            }
        };
        self.note(chosen);
        chosen
    }

    /// Choices of an exploration, each with the number that it was among.
    pub fn explored(&self) -> &[(u32, u32)] {
        match &self.source {
            Source::Explore { made, .. } => made,
            _ => &[],
        }
    }

    pub fn recorded(&self) -> Option<&[u32]> {
        self.record.as_deref()
    }
}

impl warpferry_nic::Choose for Choices {
    fn choose(&mut self, n: usize) -> usize {
        Choices::choose(self, n)
    }
}

/// The next number of a SplitMix64 sequence.
pub(crate) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What undefined registers and memory hold: noise from a seed, or zeros.
#[derive(Debug)]
pub(crate) struct Garbage(Option<u64>);

impl Garbage {
    /// Noise for stream `stream` of `seed`; seed 0 gives zeros.
    pub fn new(seed: u64, stream: u64) -> Garbage {
        Garbage((seed != 0).then(|| seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub fn next(&mut self) -> u64 {
        self.0.as_mut().map_or(0, splitmix)
    }
}
