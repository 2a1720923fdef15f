//! The one source of choices.

use crate::config::Schedule;

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
    Replay { choices: Vec<u32>, next: usize },
}

impl Choices {
    pub fn new(schedule: &Schedule, record: bool) -> Choices {
        let source = match schedule {
            Schedule::RoundRobin => Source::Plain,
            Schedule::Random { seed } => Source::Random(*seed),
            Schedule::Replay(choices) => Source::Replay { choices: choices.clone(), next: 0 },
        };
        Choices { source, record: record.then(Vec::new) }
    }

    /// True when choices are anything but plain.
    pub fn varies(&self) -> bool {
        !matches!(self.source, Source::Plain)
    }

    /// A number in `0..n`; 0 is the plain choice.
    pub fn choose(&mut self, n: usize) -> usize {
        if n <= 1 {
            return 0;
        }
        let chosen = match &mut self.source {
            Source::Plain => return 0,
            Source::Random(state) => (splitmix(state) % n as u64) as usize,
            Source::Replay { choices, next } => {
                let chosen = choices.get(*next).map_or(0, |&c| c as usize % n);
                *next += 1;
                chosen
            }
        };
        if let Some(record) = &mut self.record {
            record.push(chosen as u32);
        }
        chosen
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
